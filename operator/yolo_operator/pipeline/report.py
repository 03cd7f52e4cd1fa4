"""Reading a stage's report and judging a finished Job by it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated

from pydantic import Field, ValidationError

from yolo_operator.api.base import OpenModel
from yolo_operator.api.status import Artifact, Metrics, Warn
from yolo_operator.pipeline.values import JobState, JobView, PodView, StageKey
from yolo_operator.toolkit.failures import FailureClass as FailureClass


class Report(OpenModel):
    """The report as the container wrote it (docs/stage-contract.md)."""

    digest: str
    attempt: int
    outcome: str
    reason: Annotated[str, Field(max_length=128)]
    message: str = ""
    class_: Annotated[str | None, Field(alias="class")] = None
    started_at: str | None = None
    finished_at: str | None = None
    reused: bool = False
    resumed_from_epoch: int | None = None
    metrics: Metrics = Metrics()
    artifacts: list[Artifact] = []
    fingerprint: Annotated[str, Field(max_length=64)] | None = None
    unlabelled_fingerprint: Annotated[str, Field(max_length=64)] | None = None
    warnings: list[Warn] = []
    input: Annotated[str, Field(max_length=1024)] | None = None
    """The input that is missing or changed, as in the instructions."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of an attempt."""

    succeeded: bool
    reason: str
    message: str
    failure: FailureClass = FailureClass.TRANSIENT
    """Meaningful when it did not succeed."""
    report: Report | None = None
    node: str | None = None
    image: str | None = None
    started: str | None = None
    finished: str | None = None


@lru_cache(maxsize=256)
def parse_report(text: str, digest: str) -> Report | None:
    """The report in a termination message, or None when there is none for this digest (or none at all).

    Remembered, as every look at an experiment asks for those whose results are in no status yet. Nobody may change it.
    """
    try:
        report = Report.model_validate_json(text)
    except ValidationError:
        return None
    return report if report.digest == digest else None


def judge(job: JobView, pods: tuple[PodView, ...]) -> Verdict:
    """The verdict on a finished Job.

    A Complete Job without a readable report is no success: its next attempt finds the result in the workspace and reports it.
    """
    # The newest pod speaks for the Job; earlier ones were replaced after a disruption, maybe within the same second.
    pod = max(pods, key=lambda p: (p.created, not p.disrupted, p.name), default=None)
    report = parse_report(pod.termination_message, job.digest) if pod else None
    return replace(
        _verdict(job, pod, report),
        report=report,
        node=pod.node if pod else None,
        image=(pod.image or None) if pod else None,
        started=pod.start_time if pod else job.start_time,
        finished=(pod.finish_time if pod else None) or job.finish_time,
    )


def _verdict(job: JobView, pod: PodView | None, report: Report | None) -> Verdict:
    if report is not None and job.reason == "DeadlineExceeded" and report.outcome == "Interrupted":
        # The signal came from the Job's own deadline: trying for ever would not end sooner.
        message = f"the attempt ran past its deadline (retry.activeDeadlineSeconds): {report.message}"
        return Verdict(False, "DeadlineExceeded", message, FailureClass.TRANSIENT)
    if report is not None and report.outcome == "Interrupted" and pod is not None and pod.evicted:
        # The signal came for what the pod did itself: as an interruption it would be tried again for ever.
        failure, reason, message = _evicted(pod)
        return Verdict(False, reason, message, failure)
    if report is not None and report.outcome == "Succeeded" and job.state is JobState.COMPLETE:
        if lacking := _lacking(job.stage, report):
            message = f"the stage succeeded, but its report lacks what the next one reads: {', '.join(lacking)}"
            return Verdict(False, "ReportIncomplete", message, FailureClass.TRANSIENT)
        return Verdict(True, report.reason, report.message)
    if report is not None and report.outcome != "Succeeded":
        return Verdict(False, report.reason, report.message, _class_of(report.class_))
    failure, reason, message = _without_report(job, pod)
    return Verdict(False, reason, message, failure)


def _lacking(stage: StageKey, report: Report) -> list[str]:
    """What a success of the stage must report and this one does not."""
    there = {
        "fingerprint": report.fingerprint is not None,
        "metrics.anchors": bool(report.metrics.anchors),
        "metrics.mAP": report.metrics.m_ap is not None,
        "metrics.parameterRatio": report.metrics.parameter_ratio is not None,
        "metrics.labels": report.metrics.labels is not None,
        "artifacts": bool(report.artifacts),
    }
    wanted = _WANTED.get(stage.group, ())
    return [name for name in wanted if not there[name]]


_WANTED = {
    "prepare": ("fingerprint",),
    "anchors": ("metrics.anchors",),
    "weights": ("artifacts",),
    "train": ("artifacts",),
    "evaluate": ("metrics.mAP",),
    "prune": ("metrics.parameterRatio", "artifacts"),
    "retrain": ("artifacts",),
    "pseudo_label": ("artifacts",),
    "merge": ("metrics.labels", "artifacts"),
    "fine_tune": ("artifacts",),
    "export": ("artifacts",),
}


def _class_of(name: str | None) -> FailureClass:
    try:
        return FailureClass(name or "")
    except ValueError:
        return FailureClass.TRANSIENT


def _without_report(job: JobView, pod: PodView | None) -> tuple[FailureClass, str, str]:
    if job.deleting:
        # Its containers were killed for that, whatever their exit code says.
        return FailureClass.INFRASTRUCTURE, "JobDeleted", f"Job {job.name} was deleted by someone"
    if job.reason == "DeadlineExceeded":
        return FailureClass.TRANSIENT, "DeadlineExceeded", job.message or "the stage ran past its deadline"
    if pod is None:
        return FailureClass.INFRASTRUCTURE, "PodLost", "the stage's pod is gone and left no report: node loss or clean-up"
    if pod.disrupted:
        return FailureClass.INFRASTRUCTURE, pod.disrupted, f"the pod was disrupted on node {pod.node}: {pod.disrupted}"
    if pod.evicted:
        return _evicted(pod)
    if pod.failed_reason and pod.start_time is None and pod.exit_code is None:
        message = f"node {pod.node} did not take the pod: {pod.failed_message or pod.failed_reason}"
        return FailureClass.INFRASTRUCTURE, pod.failed_reason, message
    if pod.terminated_reason == "OOMKilled":
        message = "the container ran out of memory and was killed: raise resources.limits.memory or lower the batch size"
        return FailureClass.TRANSIENT, "OutOfMemory", message
    if job.state is JobState.COMPLETE or pod.phase == "Succeeded":
        return FailureClass.INFRASTRUCTURE, "ReportLost", "the container ended well but its report could not be read"
    code = "" if pod.exit_code is None else f" with exit code {pod.exit_code}"
    lines = [line.strip() for line in pod.termination_message.splitlines() if line.strip()]
    detail = " | ".join(lines[-3:])[-400:] or job.message
    return FailureClass.TRANSIENT, "ContainerFailed", f"the container ended{code} and left no report: {detail}"


def _evicted(pod: PodView) -> tuple[FailureClass, str, str]:
    said = pod.failed_message.strip().rstrip(".") or "it used more of the node's disk than its limit"
    hint = "raise the stage's resources.limits of ephemeral-storage; what is large belongs into the workspace"
    return FailureClass.TRANSIENT, "Evicted", f"the kubelet of node {pod.node} evicted the pod: {said}: {hint}"
