"""Looking up why Kueue holds Jobs: seldom, and never an error."""

from __future__ import annotations

from typing import Any

import pytest
from memory_cluster import Clock, MemoryCluster, finish
from yolo_operator.controller.queued import FORGET, LOOKS_PER_SECOND, SECONDS, WITHOUT_KUEUE_SECONDS, QueueReasons
from yolo_operator.kube.errors import ApiError
from yolo_operator.kube.kueue import LABEL_JOB_UID, WORKLOADS
from yolo_operator.pipeline.values import Held, JobState, JobView, StageKey

WORKLOAD = WORKLOADS[0]


def job(name: str = "a", **changes: Any) -> JobView:
    values: dict[str, Any] = {
        "namespace": "lab",
        "name": name,
        "uid": f"uid-{name}",
        "owner_uid": "u",
        "owner_name": "plates",
        "stage": StageKey("train"),
        "digest": "d",
        "attempt": 1,
        "state": JobState.ACTIVE,
        "suspended": True,
    }
    return JobView(**(values | changes))


class Ground:
    """A cluster with Kueue, and what looks at it."""

    def __init__(self, *, kueue: bool = True) -> None:
        self.clock = Clock()
        self.cluster = MemoryCluster(self.clock)
        if kueue:
            self.cluster.serve(WORKLOAD)
        self.reasons = QueueReasons(self.cluster, self.clock)

    def say(self, name: str, message: str) -> None:
        status = {"conditions": [{"type": "QuotaReserved", "status": "False", "reason": "Pending", "message": message}]}
        if self.cluster.peek(WORKLOAD, "lab", name) is None:
            body = {"metadata": {"name": name, "labels": {LABEL_JOB_UID: f"uid-{name}"}}}
            self.cluster.add(WORKLOAD, "lab", body)
        self.cluster.update(WORKLOAD, "lab", name, {"status": status})

    def look(self, *jobs: JobView) -> dict[str, Held]:
        return finish(self.reasons.of(jobs))

    @property
    def requests(self) -> int:
        return len(self.cluster.requests)


def test_it_looks_again_only_after_a_while() -> None:
    ground = Ground()
    ground.say("a", "first")
    assert ground.look(job()) == {"a": Held("Pending", "first")}
    ground.say("a", "second")
    asked = ground.requests
    assert ground.look(job()) == {"a": Held("Pending", "first")}
    assert ground.requests == asked
    ground.clock.advance(SECONDS)
    assert ground.look(job()) == {"a": Held("Pending", "second")}


@pytest.mark.parametrize("changes", [{"suspended": False}, {"deleting": True}, {"state": JobState.COMPLETE}])
def test_only_held_jobs_are_looked_up(changes: dict[str, Any]) -> None:
    ground = Ground()
    ground.say("a", "first")
    assert ground.look(job(**changes)) == {}
    assert ground.requests == 0


def test_without_kueue_it_asks_seldom() -> None:
    ground = Ground(kueue=False)
    assert ground.look(job()) == {}
    asked = ground.requests
    for _ in range(5):
        ground.clock.advance(SECONDS)
        assert ground.look(job(), job("b")) == {}
    assert ground.requests == asked
    ground.clock.advance(WITHOUT_KUEUE_SECONDS)
    ground.look(job())
    assert ground.requests > asked


def test_trouble_keeps_the_last_answer() -> None:
    ground = Ground()
    ground.say("a", "first")
    ground.look(job())
    ground.clock.advance(SECONDS)

    def refuse(request: Any) -> None:
        raise ApiError(500, "InternalError", "boom")

    ground.cluster.on_request = refuse
    assert ground.look(job()) == {"a": Held("Pending", "first")}


def test_many_that_wait_are_looked_at_less_often() -> None:
    ground = Ground()
    jobs = [job(str(number)) for number in range(1000)]
    ground.look(*jobs)
    assert ground.reasons.interval() == 1000 / LOOKS_PER_SECOND
    # Jobs that nobody asks about any more are forgotten.
    ground.clock.advance(2 * FORGET * ground.reasons.interval())
    ground.say("a", "first")
    ground.look(job())
    assert ground.reasons.interval() == SECONDS
