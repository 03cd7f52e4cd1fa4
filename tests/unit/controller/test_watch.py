"""What the watches' news lead to: a look at once, or a moment later."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from yolo_operator.api import resource
from yolo_operator.controller.cache import Cache, Key
from yolo_operator.controller.metrics import OperatorMetrics
from yolo_operator.controller.watch import SETTLE_SECONDS, decides, registry

from examples import NAME, NAMESPACE, experiment_body


def job(**status: Any) -> dict[str, Any]:
    meta = {
        "namespace": NAMESPACE, "name": "plates-train-1", "uid": "u", "resourceVersion": "1",
        "labels": {resource.LABEL_EXPERIMENT: NAME, resource.LABEL_STAGE: "train"},
    }  # fmt: skip
    return {"metadata": meta, "spec": {}, "status": status}


ENDED = {"conditions": [{"type": "Complete", "status": "True"}]}
FAILED = {"conditions": [{"type": "Failed", "status": "True"}]}


@pytest.mark.parametrize(("status", "pressing"), [({}, False), ({"active": 1}, False), (ENDED, True), (FAILED, True)])
def test_only_a_job_that_ended_presses(status: dict[str, Any], pressing: bool) -> None:
    assert decides(job(**status)) is pressing


def test_a_job_that_is_held_or_goes_presses() -> None:
    assert decides(job() | {"spec": {"suspend": True}})
    going = job()
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert decides(going)


class Notes:
    """A queue that notes what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Key]] = []

    def add(self, key: Key) -> None:
        self.asked.append(("now", key))

    def add_after(self, key: Key, seconds: float) -> None:
        assert seconds == SETTLE_SECONDS
        self.asked.append(("later", key))


async def test_every_handler_enqueues_the_experiment() -> None:
    notes, key = Notes(), Key(NAMESPACE, NAME)
    handlers = registry(Cache(), notes, OperatorMetrics(CollectorRegistry()), SimpleNamespace())  # type: ignore[arg-type]
    by_kind = {handler.id: handler.fn for handler in handlers._watching.get_all_handlers()}
    experiment = experiment_body()
    experiment["metadata"] |= {"namespace": NAMESPACE, "uid": "x", "resourceVersion": "1"}
    pod = job(phase="Running")
    news = [
        ("experiments", "ADDED", experiment, "now"),
        ("jobs", "ADDED", job(), "later"),
        ("pods", "ADDED", pod, "later"),
        ("pods", "DELETED", pod, "now"),
        ("jobs", "DELETED", job(), "now"),
    ]
    for kind, event, body, when in news:
        await by_kind[kind](event={"type": event, "object": body})
        assert notes.asked.pop() == (when, key), (kind, event)
    assert not notes.asked
