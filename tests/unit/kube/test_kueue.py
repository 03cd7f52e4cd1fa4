"""What Kueue says of a Job."""

from __future__ import annotations

from typing import Any

import pytest
from memory_cluster import MemoryCluster, finish
from yolo_operator.kube.errors import ApiError
from yolo_operator.kube.kueue import LABEL_JOB_UID, WORKLOADS, held, workload_of
from yolo_operator.pipeline.values import Held

NEWER, OLDER = WORKLOADS


def condition(kind: str, status: str, reason: str = "", message: str = "") -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": reason, "message": message}


NO_QUOTA = condition("QuotaReserved", "False", "Pending", "1 more needed")
EVICTED = condition("Evicted", "True", "Preempted", "to accommodate another")


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ([], None),
        ([NO_QUOTA], Held("Pending", "1 more needed")),
        ([condition("QuotaReserved", "True"), condition("Admitted", "False", "NoChecks", "waits for a check")],
         Held("NoChecks", "waits for a check")),
        ([condition("QuotaReserved", "True"), condition("Admitted", "True")], None),
        ([EVICTED, NO_QUOTA], Held("Preempted", "to accommodate another; 1 more needed")),
        ([EVICTED, {**NO_QUOTA, "message": "to accommodate another"}], Held("Preempted", "to accommodate another")),
        ([condition("Evicted", "False", "QuotaReserved", "admitted again"), condition("QuotaReserved", "True")], None),
        ([condition("Evicted", "True")], Held("Evicted", "evicted by Kueue")),
        ([condition("QuotaReserved", "False")], Held("Pending", "waits in its queue")),
    ],
)  # fmt: skip
def test_held(conditions: list[dict[str, Any]], expected: Held | None) -> None:
    assert held({"status": {"conditions": conditions}}) == expected


@pytest.mark.parametrize("workload", [{}, {"status": None}, {"status": {"conditions": None}}])
def test_a_workload_that_says_nothing(workload: dict[str, Any]) -> None:
    assert held(workload) is None


def a_workload(uid: str) -> dict[str, Any]:
    return {"metadata": {"name": f"job-{uid}", "labels": {LABEL_JOB_UID: uid}}}


@pytest.mark.parametrize("kind", WORKLOADS)
def test_the_workload_of_a_job_in_either_version(kind: Any) -> None:
    cluster = MemoryCluster()
    cluster.serve(kind)
    for uid in ("a", "b"):
        cluster.add(kind, "lab", a_workload(uid))
    found = finish(workload_of(cluster, "lab", "b"))
    assert found is not None
    assert found["metadata"]["name"] == "job-b"
    assert finish(workload_of(cluster, "lab", "c")) is None


def test_without_kueue() -> None:
    with pytest.raises(ApiError) as error:
        finish(workload_of(MemoryCluster(), "lab", "a"))
    assert error.value.not_found
