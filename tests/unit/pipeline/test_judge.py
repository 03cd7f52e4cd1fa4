"""What a report may be, and what is concluded from a finished Job with or without one."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yolo_operator.api.status import StageState, StageStatus, Status
from yolo_operator.pipeline.report import FailureClass, judge, parse_report
from yolo_operator.pipeline.stages import backoff
from yolo_operator.pipeline.summary import notices
from yolo_operator.pipeline.values import JobState, JobView, PodView, StageKey

from examples import experiment

DIGEST = "d" * 64
JOB = JobView("lab", "plates-train-1", "job", "owner", "plates", StageKey("train"), DIGEST, 1, JobState.COMPLETE)
FAILED = replace(JOB, state=JobState.FAILED, reason="BackoffLimitExceeded", message="Job has reached the specified backoff limit")
POD = PodView(
    "lab",
    "plates-train-1-x",
    "pod",
    JOB.name,
    "plates",
    "Succeeded",
    "2026-01-01T00:00:00Z",
    node="n1",
    start_time="2026-01-01T00:00:05Z",
    finish_time="2026-01-01T00:01:05Z",
    exit_code=0,
)


def report(**changes: Any) -> str:
    body = {"version": 1, "digest": DIGEST, "attempt": 1, "outcome": "Succeeded", "reason": "Completed", "message": "done"}
    return json.dumps({**body, **changes})


def bad(failure: str | None, reason: str = "BadSpec") -> str:
    return report(outcome="Failed", reason=reason, **({"class": failure} if failure else {}))


def pod(message: str = "", **changes: Any) -> PodView:
    return replace(POD, termination_message=message, **changes)


def ended(code: int, message: str = "", **changes: Any) -> PodView:
    return pod(message, phase="Failed", exit_code=code, **changes)


@given(st.text() | st.binary().map(lambda raw: raw.decode(errors="replace")))
def test_any_text_is_no_report_at_worst(text: str) -> None:
    assert parse_report(text, DIGEST) is None


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=200)
values = st.recursive(
    scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=8), v, max_size=3), max_leaves=6
)


@given(
    st.dictionaries(st.sampled_from(["metrics", "artifacts", "warnings", "reason", "message", "fingerprint", "class"]), values)
)
def test_a_report_with_anything_in_it_never_raises_and_fits_the_status(changes: dict[str, Any]) -> None:
    verdict = judge(JOB, (pod(report(**changes)),))
    if verdict.report is not None:
        assert len(verdict.reason) <= 128
        assert len(verdict.report.fingerprint or "") <= 64


@pytest.mark.parametrize("text", ["", "[]", "null", '"x"', "1e999", '{"digest": 1}', report(digest="e" * 64), report()[:-5]])
def test_what_is_no_report_of_this_digest(text: str) -> None:
    assert parse_report(text, DIGEST) is None


def test_what_a_newer_runner_adds_is_ignored() -> None:
    found = parse_report(report(future={"a": 1}, metrics={"mAP": 0.5, "new": 1}), DIGEST)
    assert found is not None
    assert found.metrics.m_ap == 0.5


INFRA = FailureClass.INFRASTRUCTURE
EVICTED = {"failed_reason": "Evicted", "failed_message": "Pod ephemeral local storage usage exceeds the limit of 300Mi. "}
INTERRUPTED = report(outcome="Interrupted", reason="Interrupted", **{"class": "infrastructure"})
REFUSED = replace(
    POD, phase="Failed", exit_code=None, start_time=None, failed_reason="UnexpectedAdmissionError", failed_message="no device"
)


@pytest.mark.parametrize(
    ("job", "pods", "failure", "reason"),
    [
        (FAILED, (ended(10, bad("user")),), FailureClass.USER, "BadSpec"),
        (FAILED, (ended(11, bad("transient")),), FailureClass.TRANSIENT, "BadSpec"),
        (FAILED, (ended(143, bad("infrastructure")),), FailureClass.INFRASTRUCTURE, "BadSpec"),
        (FAILED, (ended(11, bad(None)),), FailureClass.TRANSIENT, "BadSpec"),
        (FAILED, (ended(11, bad("weather")),), FailureClass.TRANSIENT, "BadSpec"),
        (JOB, (pod(bad("user")),), FailureClass.USER, "BadSpec"),
        (JOB, (pod(),), FailureClass.INFRASTRUCTURE, "ReportLost"),
        (JOB, (pod(report(digest="e" * 64)),), FailureClass.INFRASTRUCTURE, "ReportLost"),
        (JOB, (), FailureClass.INFRASTRUCTURE, "PodLost"),
        (FAILED, (), FailureClass.INFRASTRUCTURE, "PodLost"),
        (FAILED, (ended(137, terminated_reason="OOMKilled"),), FailureClass.TRANSIENT, "OutOfMemory"),
        (FAILED, (ended(137, disrupted="PreemptionByScheduler"),), FailureClass.INFRASTRUCTURE, "PreemptionByScheduler"),
        (FAILED, (ended(137, **EVICTED),), FailureClass.TRANSIENT, "Evicted"),
        (FAILED, (ended(143, INTERRUPTED, **EVICTED),), FailureClass.TRANSIENT, "Evicted"),
        (FAILED, (ended(137, disrupted="TerminationByKubelet", **EVICTED),), INFRA, "TerminationByKubelet"),
        (
            FAILED,
            (ended(143, INTERRUPTED, disrupted="TerminationByKubelet", **EVICTED),),
            FailureClass.INFRASTRUCTURE,
            "Interrupted",
        ),
        (FAILED, (ended(10, bad("user"), **EVICTED),), FailureClass.USER, "BadSpec"),
        (FAILED, (REFUSED,), FailureClass.INFRASTRUCTURE, "UnexpectedAdmissionError"),
        (FAILED, (ended(1, "Traceback"),), FailureClass.TRANSIENT, "ContainerFailed"),
        (FAILED, (replace(POD, phase="Failed", exit_code=None),), FailureClass.TRANSIENT, "ContainerFailed"),
        (FAILED, (pod(report(), phase="Succeeded"),), FailureClass.INFRASTRUCTURE, "ReportLost"),
        (replace(FAILED, reason="DeadlineExceeded"), (), FailureClass.TRANSIENT, "DeadlineExceeded"),
        (replace(FAILED, deleting=True), (ended(137),), FailureClass.INFRASTRUCTURE, "JobDeleted"),
        (replace(FAILED, deleting=True), (ended(10, bad("user")),), FailureClass.USER, "BadSpec"),
    ],
)
def test_what_is_no_success(job: JobView, pods: tuple[PodView, ...], failure: FailureClass, reason: str) -> None:
    verdict = judge(job, pods)
    assert not verdict.succeeded
    assert (verdict.failure, verdict.reason) == (failure, reason)
    assert verdict.message or verdict.report is not None


def test_a_success_needs_the_job_and_the_report() -> None:
    verdict = judge(JOB, (pod(report(artifacts=[CHECKPOINT])),))
    assert verdict.succeeded
    assert (verdict.node, verdict.started, verdict.finished) == ("n1", POD.start_time, POD.finish_time)


def test_the_replacement_speaks_for_the_job_even_when_both_were_made_in_one_second() -> None:
    first = ended(143, report(outcome="Interrupted", **{"class": "infrastructure"}), name="z", disrupted="Eviction")
    second = pod(report(artifacts=[CHECKPOINT]), name="a")
    assert judge(JOB, (first, second)).succeeded
    assert judge(JOB, (second, first)).succeeded


def test_a_long_reason_or_fingerprint_is_no_report() -> None:
    # They would not fit the status, and the API server would refuse it for ever.
    assert parse_report(report(reason="x" * 129), DIGEST) is None
    assert parse_report(report(fingerprint="x" * 65), DIGEST) is None


# --- backoff and notices ---


def record(**changes: Any) -> StageStatus:
    return StageStatus.model_validate({"name": "train", "state": "Pending", **changes})


def test_backoff_doubles_and_is_bounded() -> None:
    retry = experiment().spec.retry
    waits = [backoff(FailureClass.TRANSIENT, failures, record(), retry) for failures in range(1, 15)]
    assert waits[:4] == [10, 20, 40, 80]
    assert waits[-1] == 3600
    assert waits == sorted(waits)


def test_the_infrastructures_backoff_grows_with_its_failures() -> None:
    past = [{"number": number, "reason": "PodLost", "class": "infrastructure"} for number in range(1, 11)]
    waits = [
        backoff(FailureClass.INFRASTRUCTURE, 0, record(attempts=past[:count]), experiment().spec.retry) for count in range(1, 11)
    ]
    assert waits[:3] == [5, 10, 20]
    assert max(waits) == 300


def test_nothing_new_is_nothing_to_tell() -> None:
    status = Status(stages=[record(state=StageState.STARTING, attempt=1, job="a"), record(name="x", attempts=[])])
    assert notices(status, status) == []


def test_an_attempt_is_told_once() -> None:
    past = {"number": 1, "reason": "ToolkitFailed", "class": "transient", "message": "CUDA"}
    before = Status(stages=[record(digest=DIGEST, attempt=1)])
    after = Status(stages=[record(digest=DIGEST, attempt=1, attempts=[past])])
    assert [notice.reason for notice in notices(before, after)] == ["ToolkitFailed"]
    assert notices(after, after) == []


MODEL = {"name": "model", "path": "stages/x/model", "bytes": 1, "sha256": "0" * 64}
CHECKPOINT = {**MODEL, "name": "checkpoint"}


@pytest.mark.parametrize(
    ("stage", "whole", "lacking"),
    [
        ("prepare", {"fingerprint": "f"}, "fingerprint"),
        ("anchors", {"metrics": {"anchors": [[1, 2]]}}, "metrics.anchors"),
        ("train", {"artifacts": [CHECKPOINT]}, "artifacts"),
        ("retrain", {"artifacts": [CHECKPOINT]}, "artifacts"),
        ("evaluate", {"metrics": {"mAP": 0.5}}, "metrics.mAP"),
        ("evaluate-pruned", {"metrics": {"mAP": 0.0}}, "metrics.mAP"),
        ("prune", {"metrics": {"parameterRatio": 0.5}, "artifacts": [MODEL]}, "metrics.parameterRatio"),
        ("prune", {"metrics": {"parameterRatio": 0.5}, "artifacts": [MODEL]}, "artifacts"),
        ("export", {"artifacts": [MODEL]}, "artifacts"),
    ],
)
def test_a_success_without_what_the_next_stage_reads_is_none(stage: str, whole: dict[str, Any], lacking: str) -> None:
    job = replace(JOB, stage=StageKey(stage))
    assert judge(job, (pod(report(**whole)),)).succeeded
    section, _, name = lacking.partition(".")
    less = {**whole, section: {k: v for k, v in whole[section].items() if k != name} if name else None}
    verdict = judge(job, (pod(report(**{key: value for key, value in less.items() if value is not None})),))
    assert not verdict.succeeded
    assert (verdict.reason, verdict.failure) == ("ReportIncomplete", FailureClass.TRANSIENT)
    assert lacking in verdict.message
