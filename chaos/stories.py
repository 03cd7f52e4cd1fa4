"""What happens in a run, apart from the faults: a spec, how its stages end, what the user does in the middle."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from job_simulator import JobSimulator
from yolo_operator.kube.cluster import EXPERIMENTS

from chaos import kubelet
from chaos.case import Case
from chaos.kubelet import Ending
from examples import small_spec, whole_spec

Object = dict[str, Any]
_NINTH_ANCHOR = "(36.00, 27.00)"
"""As the simulator computes it, in the text of an experiment spec."""


@dataclass(frozen=True)
class Story:
    """One pipeline."""

    name: str
    spec: Callable[[], Object]
    ending: Callable[[JobSimulator, Object], Ending] = kubelet.success
    run_seconds: Callable[[Object], float] = lambda _: 0.0
    user: Callable[[Case], Callable[[], Awaitable[None]]] | None = None
    """Makes what is done at every look, until it has been done."""


def _pruning() -> Object:
    return whole_spec(prune={"thresholds": [0.1, 0.5], "select": {"maxMapDrop": 0.03}}, maxParallel=2)


def _first_training_fails(simulator: JobSimulator, instructions: Object) -> Ending:
    if instructions["stage"] == "train" and instructions["attempt"] == 1:
        return kubelet.transient(instructions)
    return kubelet.success(simulator, instructions)


def _until_the_edit(instructions: Object) -> float:
    """The second training ends only by being deleted, so that the edit meets it however slow the machine is."""
    before = _NINTH_ANCHOR in instructions.get("experimentSpec", "")
    return 3600.0 if instructions["stage"] == "train" and instructions["attempt"] == 2 and before else 0.0


def _edits(case: Case) -> Callable[[], Awaitable[None]]:
    """Another number of anchors while the second training runs: its Job is deleted, anchors and training run anew."""
    done: list[str] = []

    async def look() -> None:
        if done:
            return
        path = EXPERIMENTS.path(case.namespace, "plates")
        status, body = await case.lab.upstream.call("GET", path)
        records = (body.get("status") or {}).get("stages") or []
        running = [record for record in records if (record["name"], record["state"]) == ("train", "Running")]
        if status == 200 and any(record["attempt"] == 2 for record in running):
            patch = {"spec": {"anchors": {"auto": {"count": 6}}}}
            await case.lab.upstream.call("PATCH", path, patch, content="application/merge-patch+json")
            done.append("edited")

    return look


SMALL = Story("small", small_spec)
WHOLE = Story("whole", _pruning)
"""Every stage there is, two variants."""
TROUBLED = Story(
    "troubled",
    lambda: small_spec(retry={"limit": 2, "backoffSeconds": 1}, export={"format": "onnx"}),
    ending=_first_training_fails,
    run_seconds=_until_the_edit,
    user=_edits,
)
"""A training that fails once, is tried again, and is made needless by an edit while it runs."""
