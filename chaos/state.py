"""What a run has left behind, without what differs from run to run: times, uids, versions, the namespace's name."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from yolo_operator.api import resource
from yolo_operator.kube.cluster import CLAIMS, CONFIG_MAPS, EXPERIMENTS, JOBS, Kind

from chaos.proxy import Upstream

Object = dict[str, Any]
_TIMES = re.compile(r"(Time|^time|Seconds|^seconds)$")
_CONTROLLER_UID = re.compile(r"controller-uid$")
_REPORT = re.compile(r"-report-[0-9a-f]{8}\b")
"""The tag of a report's Job is made of the experiment's uid and times."""
_LEFT_OUT = {"uid", "resourceVersion", "creationTimestamp", "managedFields", "generation", "volumeName"}
ENDED = ("Succeeded", "Failed")


@dataclass(frozen=True)
class State:
    """Of one namespace."""

    objects: dict[str, Any]
    """`plural/name` -> the object, made comparable."""
    jobs: Counter[str]
    """Number of Jobs by `stage variant`; of those that are no stage's by their component."""
    settled: bool
    """Every experiment is at its end, and every Job of it is recorded."""

    def differences(self, other: State) -> list[str]:
        """Paths and values in which this differs from another; empty when they are equal."""
        return list(_differences(self.objects, other.objects, ""))

    def more_jobs(self, other: State) -> int:
        """Jobs that this has in excess of another."""
        return sum((self.jobs - other.jobs).values())


async def listed(upstream: Upstream, kind: Kind, namespace: str, selector: str = "") -> list[Object]:
    """All objects of a kind.

    Raises:
        RuntimeError: when the API server does not list them.
    """
    query = {"labelSelector": selector} if selector else {}
    status, body = await upstream.call("GET", kind.path(namespace), query=query)
    if status != 200:
        raise RuntimeError(f"list of {kind.plural} in {namespace}: {status} {body.get('message')}")
    return list(body["items"])


async def state_of(upstream: Upstream, namespace: str) -> State:
    """The namespace as it is now."""
    experiments = await listed(upstream, EXPERIMENTS, namespace)
    jobs = await listed(upstream, JOBS, namespace)
    maps = await listed(upstream, CONFIG_MAPS, namespace, f"{resource.LABEL_MANAGED_BY}={resource.MANAGED_BY}")
    claims = await listed(upstream, CLAIMS, namespace)
    uids = {body["metadata"]["uid"]: "UID" for body in experiments}
    objects: dict[str, Any] = {}
    for kind, bodies in ((EXPERIMENTS, experiments), (JOBS, jobs), (CONFIG_MAPS, maps), (CLAIMS, claims)):
        for body in bodies:
            text = _REPORT.sub("-report-TAG", json.dumps(_comparable(body)).replace(namespace, "NAMESPACE"))
            for uid in uids:
                text = text.replace(uid, "UID")
            objects[_REPORT.sub("-report-TAG", f"{kind.plural}/{body['metadata']['name']}")] = json.loads(text)
    phases = [(body.get("status") or {}).get("phase") for body in experiments]
    stages = [body["metadata"]["labels"] for body in jobs if resource.LABEL_STAGE in body["metadata"]["labels"]]
    final = all(labels.get(resource.LABEL_FINAL) == "true" for labels in stages)
    settled = bool(phases) and all(phase in ENDED for phase in phases) and final
    return State(objects, Counter(_stage(job) for job in jobs), settled)


def _stage(job: Object) -> str:
    labels = job["metadata"]["labels"]
    return (
        f"{labels.get(resource.LABEL_STAGE, labels[resource.LABEL_COMPONENT])} {labels.get(resource.LABEL_VARIANT, '')}".strip()
    )


def _comparable(value: Any, key: str = "") -> Any:
    if key == "data":  # of the runner's ConfigMap: its name is its content
        return None
    if key == resource.ANNOTATION_INSTRUCTIONS and '"report":' in str(value):  # the status, times and all, in another form
        return None
    if isinstance(value, dict):
        return {
            name: _comparable(inner, name)
            for name, inner in sorted(value.items())
            if name not in _LEFT_OUT and not _TIMES.search(name) and not _CONTROLLER_UID.search(name)
        }
    if isinstance(value, list):
        return [_comparable(inner) for inner in value]
    return value


def _differences(mine: Any, others: Any, path: str) -> Iterator[str]:
    if isinstance(mine, dict) and isinstance(others, dict):
        for name in sorted(mine.keys() | others.keys()):
            yield from _differences(mine.get(name), others.get(name), f"{path}.{name}")
    elif isinstance(mine, list) and isinstance(others, list) and len(mine) == len(others):
        for number, (one, other) in enumerate(zip(mine, others, strict=True)):
            yield from _differences(one, other, f"{path}[{number}]")
    elif mine != others:
        yield f"{path.lstrip('.')}: {json.dumps(mine)[:200]} instead of {json.dumps(others)[:200]}"
