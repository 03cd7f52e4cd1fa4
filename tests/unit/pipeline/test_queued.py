"""A Job that its queue holds: waiting for its turn, or having had to give way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from memory_cluster import Clock
from yolo_operator.api.status import StageState, Status
from yolo_operator.pipeline import graph
from yolo_operator.pipeline.plan import plan
from yolo_operator.pipeline.values import ClaimState, Experiment, Held, JobState, JobView, Observed
from yolo_operator.pipeline.work import Results, stage_run

from examples import NAME, NAMESPACE, UID, experiment, small_spec

RUN = stage_run(experiment(small_spec(queueName="gpus")), graph.PREPARE, Results({}))
JOB = JobView(
    namespace=NAMESPACE, name="job-1", uid="j", owner_uid=UID, owner_name=NAME, stage=graph.PREPARE, digest=RUN.digest, attempt=1,
    state=JobState.ACTIVE, suspended=True, place=RUN.place,
)  # fmt: skip


def waiting(**record: Any) -> Experiment:
    """An experiment whose first stage has a Job."""
    entry = {"name": "prepare", "state": "Starting", "digest": RUN.digest, "attempt": 1, "job": "job-1", **record}
    return experiment(small_spec(queueName="gpus"), Status.model_validate({"stages": [entry]}))


@pytest.mark.parametrize(
    ("record", "job", "held", "reason", "words"),
    [
        ({}, {}, None, "Queued", "until its queue admits it"),
        ({}, {}, Held("Pending", "1 more needed"), "Pending", "1 more needed"),
        ({"startTime": "2026-01-01T00:00:00Z", "state": "Running"}, {}, None, "Preempted", "goes on from its last checkpoint"),
        ({}, {"start_time": "2026-01-01T00:00:00Z"}, None, "Preempted", "goes on from its last checkpoint"),
        ({"startTime": "2026-01-01T00:00:00Z"}, {}, Held("PodsReadyTimeout", "too slow"), "PodsReadyTimeout", "too slow"),
    ],
)
def test_the_reason(record: dict[str, Any], job: dict[str, Any], held: Held | None, reason: str, words: str) -> None:
    observed = Observed(jobs=(replace(JOB, **job),), claim=ClaimState.PRESENT, held={"job-1": held} if held else {})
    decision = plan(waiting(**record), observed, Clock()())
    assert decision.status.stages is not None
    entry = decision.status.stages[0]
    assert (entry.state, entry.reason) == (StageState.QUEUED, reason)
    assert words in (entry.message or "")
    assert (entry.attempt, entry.failures, entry.attempts) == (1, 0, None)
    assert decision.status.phase == "Queued"
    # Nothing is written to a Job that a queue holds, and nothing is made beside it.
    assert decision.actions == ()
