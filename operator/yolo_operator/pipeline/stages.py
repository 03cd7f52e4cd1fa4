"""The life of one stage: from its record, its Jobs and their Pods to the next record.

    Pending -> Starting -> Running -> Succeeded | Failed
       ^          (Queued while Kueue holds the Job)
       '-- an attempt ended that may be tried again (retryTime), or was suspended

`job` is set in a record exactly while an attempt is live, that is: created and not judged yet.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from yolo_operator.api.pods import Retry
from yolo_operator.api.spec import Spec
from yolo_operator.api.status import Attempt, Progress, StageState, StageStatus
from yolo_operator.pipeline import graph, times
from yolo_operator.pipeline.foreseen import foreseen
from yolo_operator.pipeline.names import job_name
from yolo_operator.pipeline.report import FailureClass, Report, Verdict, judge
from yolo_operator.pipeline.values import (
    Action,
    CreateJob,
    DeleteJob,
    Experiment,
    Held,
    JobView,
    MarkFinal,
    Observed,
    PodView,
    StageKey,
    StageRun,
)

COMPLETED = "Completed"
SUSPENDED = "Suspended"
NEW = "new"
INPUT_MISSING, INPUT_CHANGED, NOTHING_TO_ADOPT = "InputMissing", "InputChanged", "NothingToAdopt"
"""Reasons of the runner that the operator acts on."""
LIMIT_REACHED = "LimitReached"
"""The operator's limits do not let it start yet."""
QUOTA_EXCEEDED = "QuotaExceeded"
"""A ResourceQuota of the namespace has no room for its Job or its pod."""
WAITS = (LIMIT_REACHED, QUOTA_EXCEEDED)
"""Reasons to wait that go away by themselves."""
LIMIT_TOO_LOW, QUOTA_TOO_LOW = "LimitTooLow", "QuotaTooLow"
"""There will never be room for it."""
FAILED_CREATE = "FailedCreate"
"""The Job controller cannot make its pod: an admission policy, for example."""
NOT_NEEDED = "NotNeeded"
"""A stage that a decision made unnecessary: the experiment is complete without it."""
HISTORY = 10
PROGRESS_STEP = 5
"""Percent of progress that are worth a status write."""
PROGRESS_SECONDS = 180
"""Age after which any progress is."""
LONGEST_BACKOFF = 3600
NO_POD = "NoPod"
INFRASTRUCTURE_BACKOFF = 5
LONGEST_INFRASTRUCTURE_BACKOFF = 300


@dataclass(slots=True)
class Step:
    """What comes of looking at one stage."""

    record: StageStatus
    actions: list[Action] = field(default_factory=list)
    confirm: list[str] = field(default_factory=list)
    start: CreateJob | None = None
    """The attempt to start when there is a free place."""
    lost: Lost | None = None
    """What the attempt that has just failed did not find as it was recorded."""


@dataclass(frozen=True, slots=True)
class Lost:
    """An input that is not what the operator took it for."""

    path: str
    """Absolute, as in the instructions."""
    reason: str
    """InputMissing or InputChanged."""


def key_of(record: StageStatus) -> StageKey:
    """The stage a record is about."""
    return StageKey(record.name, record.variant)


def holds_result(record: StageStatus) -> bool:
    """Whether the record carries a success, even while the stage waits to learn whether it still stands."""
    return record.reason == COMPLETED and record.finish_time is not None


def settled(record: StageStatus) -> bool:
    """Whether nothing more is wanted of a stage."""
    return record.state is StageState.SUCCEEDED or record.reason == NOT_NEEDED


def waiting(
    key: StageKey, previous: StageStatus | None, jobs: list[JobView], *, state: StageState = StageState.PENDING, message: str = ""
) -> Step:
    """The step of a stage whose inputs are not settled: an earlier result is kept, a running attempt is stopped."""
    actions: list[Action] = [DeleteJob(job.name, job.uid, "its inputs changed") for job in jobs if _live(job)]
    if previous is None or previous.reason == NOT_NEEDED:
        return Step(StageStatus(name=key.name, variant=key.variant, state=state, message=message), actions)
    changes: dict[str, Any] = {"state": state, "job": None, "progress": None, "retry_time": None}
    if not holds_result(previous):
        changes["message"] = message
    return Step(previous.model_copy(update=changes), actions)


def unneeded(key: StageKey, jobs: list[JobView], why: str) -> Step:
    """The step of a stage that a decision made unnecessary: an earlier result is dropped, a running attempt is stopped."""
    actions: list[Action] = [DeleteJob(job.name, job.uid, why) for job in jobs if _live(job)]
    actions += [MarkFinal(job.name) for job in jobs if job.finished and not job.final and not job.deleting]
    record = StageStatus(name=key.name, variant=key.variant, state=StageState.SKIPPED, reason=NOT_NEEDED, message=why[:1024])
    return Step(record, actions)


def advance(experiment: Experiment, run: StageRun, previous: StageStatus | None, observed: Observed, now: datetime) -> Step:
    """The next step of a stage whose inputs are all there."""
    of_stage = [job for job in observed.jobs if job.stage == run.key]
    mine = [job for job in of_stage if (job.digest, job.place) == (run.digest, run.place)]
    step = Step(_record_for(experiment, run, previous))
    step.actions += _clear_others([job for job in of_stage if job not in mine])
    if holds_result(step.record) or step.record.state is StageState.FAILED:
        if holds_result(step.record):
            step.record = step.record.model_copy(update={"state": StageState.SUCCEEDED})
        step.actions += [MarkFinal(job.name) for job in mine if job.finished and not job.final and not job.deleting]
        return step
    _adopt(step, mine)
    if step.record.job is not None:
        _look_at_attempt(step, experiment, run, mine, observed, now)
    # An attempt judged just now is relabelled only when its report is safely in status: at the next look.
    step.actions += [
        MarkFinal(job.name)
        for job in mine
        if job.finished
        and not job.final
        and previous
        and job.attempt <= previous.attempt
        and previous.job != job.name
        and previous.digest == run.digest
    ]
    # What was skipped may run again once nothing ends the experiment any more.
    if step.record.job is None and step.record.state not in (StageState.SUCCEEDED, StageState.FAILED):
        _want_start(step, experiment, run, of_stage, now)
    return step


def start(record: StageStatus, action: CreateJob, now: datetime) -> StageStatus:
    """The record once the attempt is created."""
    changes = {
        "state": StageState.STARTING,
        "attempt": action.attempt,
        "job": action.name,
        "directory": _relative(action.run),
        "reason": None,
        "message": None,
        "wait_time": record.wait_time if record.reason in WAITS else None,
        "create_time": times.to_text(now),
        "start_time": None,
        "finish_time": None,
        "retry_time": None,
        "progress": None,
        "resumed_from_epoch": None,
    }
    return record.model_copy(update=changes)


def refused(record: StageStatus, reason: str, message: str) -> StageStatus:
    """The record of a stage whose Job the API server does not take."""
    return record.model_copy(update={"state": StageState.PENDING, "reason": reason, "message": message[:1024]})


def held_back(record: StageStatus, why: Held, now: datetime) -> StageStatus:
    """The record of a stage for which there is no room yet."""
    since = record.wait_time if record.reason in WAITS and record.wait_time else times.to_text(now)
    changes = {"state": StageState.PENDING, "reason": why.reason, "message": why.message[:1024], "wait_time": since}
    return record.model_copy(update=changes)


def waits_no_more(record: StageStatus) -> StageStatus:
    """The record of a stage that no longer asks for a place."""
    return record.model_copy(update={"reason": None, "message": None, "wait_time": None})


def made_again(record: StageStatus, lost: Lost, reader: StageKey) -> StageStatus:
    """The record of a finished stage that has to run once more: a stage that reads its artifact did not find it as recorded."""
    changed = lost.reason == INPUT_CHANGED
    what = "is not what was recorded" if changed else "is not there any more"
    why = f"made again: {reader} found that {lost.path} {what}"
    return record.model_copy(
        update={
            "state": StageState.PENDING,
            "reason": "ArtifactChanged" if changed else "ArtifactMissing",
            "message": why[:1024],
            "why": why[:256],
            "remakes": (record.remakes or 0) + 1,
            # What lies beside a changed file, checkpoints above all, is not trusted either: it begins in an empty directory.
            "spoiled": (record.spoiled or 0) + changed or None,
            "finish_time": None,
            "reused": None,
            "metrics": None,
            "artifacts": None,
            "fingerprint": None,
            "unlabelled_fingerprint": None,
        }
    )


def awaits_remake(record: StageStatus, producer: StageKey) -> StageStatus:
    """The record of the stage that missed the artifact: no fault of its own."""
    message = f"{record.message}; {producer} makes it again"
    return record.model_copy(update={"state": StageState.PENDING, "message": message[:1024], "finish_time": None})


# --- the record to go on from ---


def _record_for(experiment: Experiment, run: StageRun, previous: StageStatus | None) -> StageStatus:
    if previous is None or previous.digest != run.digest:
        return _fresh(experiment.spec, run, _why(experiment, run, previous))
    if experiment.retry_token != (experiment.status.retry or ""):
        if previous.state is StageState.FAILED:
            # Attempts go on counting, so that the next Job has a name of its own.
            kept = {name: getattr(previous, name) for name in ("attempt", "attempts", "spoiled", "not_adopted")}
            return _fresh(experiment.spec, run, "tried again: the retry annotation").model_copy(update=kept)
        return previous.model_copy(update={"remakes": None})
    return previous


def _why(experiment: Experiment, run: StageRun, previous: StageStatus | None) -> str:
    """Why a stage is looked at anew: what differs from what it was made of before."""
    if previous is None or previous.digest is None:
        return NEW
    before, now = previous.parts or {}, run.parts
    changed = [name for name in dict.fromkeys((*before, *now)) if before.get(name) != now.get(name)]
    if changed == ["rerun"]:
        token = experiment.rerun.get(str(run.key)) or experiment.rerun.get(run.key.name)
        return f"asked for: rerun {token}"[:256] if token else "asked for: rerun of an earlier stage"
    return f"inputs changed: {', '.join(changed)}"[:256] if changed else "inputs changed"


def _fresh(spec: Spec, run: StageRun, why: str) -> StageStatus:
    warnings = foreseen(spec, run.key)
    return StageStatus(
        name=run.key.name,
        variant=run.key.variant,
        state=StageState.PENDING,
        digest=run.digest,
        parts=dict(run.parts),
        why=why,
        directory=_relative(run),
        warnings=warnings,
    )


def _relative(run: StageRun) -> str:
    return run.directory.removeprefix(f"{run.instructions['workspace']}/")


def _adopt(step: Step, mine: list[JobView]) -> None:
    """Take over a Job that is not in the status: the predecessor crashed before it wrote that, or it is put off."""
    newest = max(mine, key=lambda job: job.attempt, default=None)
    if newest is not None and newest.attempt > step.record.attempt:
        step.record = step.record.model_copy(
            update={
                "attempt": newest.attempt,
                "job": newest.name,
                "state": StageState.STARTING,
                "create_time": newest.created or None,
                "retry_time": None,
            }
        )


def _clear_others(others: list[JobView]) -> list[Action]:
    """Jobs of another digest: stopped when they run, let go when they ended."""
    stop: list[Action] = [DeleteJob(job.name, job.uid, "the stage's input changed") for job in others if _live(job)]
    return stop + [MarkFinal(job.name) for job in others if job.finished and not job.final and not job.deleting]


def _live(job: JobView) -> bool:
    return not job.finished and not job.deleting


# --- a live attempt ---


def _look_at_attempt(
    step: Step, experiment: Experiment, run: StageRun, mine: list[JobView], observed: Observed, now: datetime
) -> None:
    record, name = step.record, step.record.job or ""
    job = next((job for job in mine if job.name == name), None)
    stopped, retry = experiment.stopped, graph.stage_retry(experiment.spec, run.key)
    if job is None:
        if name not in observed.absent:
            step.confirm.append(name)
        elif stopped or record.reason == SUSPENDED:
            step.record = _stopped(record)
        else:
            gone = Verdict(False, "JobDeleted", f"Job {name} was deleted by someone", FailureClass.INFRASTRUCTURE)
            step.record = _failed(record, gone, retry, now)
    elif job.finished:
        verdict = judge(job, tuple(pod for pod in observed.pods if pod.job == job.name))
        if not verdict.succeeded and name not in observed.looked:
            # The pods' watch may be behind the Jobs': no failure is believed before a live look.
            step.confirm.append(name)
        elif not verdict.succeeded and (record.reason == SUSPENDED or (stopped and job.deleting)):
            step.record = _stopped(record)
        else:
            _settle(step, run, verdict, retry, now)
    elif stopped:
        if not job.deleting:
            why = "spec.suspend is true" if experiment.spec.suspend else "the experiment is cancelled"
            step.actions.append(DeleteJob(job.name, job.uid, why))
        step.record = record.model_copy(
            update={"state": StageState.SUSPENDED, "reason": SUSPENDED, "message": "is being stopped"}
        )
    elif not job.deleting:
        step.record = _live_record(record, job, observed, now)


def _live_record(record: StageStatus, job: JobView, observed: Observed, now: datetime) -> StageStatus:
    if job.suspended:
        return _queued(record, job, observed)
    pods = [pod for pod in observed.pods if pod.job == job.name]
    pod = max((p for p in pods if p.exit_code is None and not p.deleting), key=lambda p: (p.created, p.name), default=None)
    if pod is None and pods:
        # It has just ended, and the Job controller will say how; or it is to end, which a node that is away never tells.
        leaving = next((p for p in pods if p.deleting and p.exit_code is None), None)
        return record.model_copy(update={"message": _leaving(leaving)}) if leaving is not None else record
    if pod is None:
        # Whoever watches how long it has had none may be another process by now.
        told = (record.reason, record.message) if record.reason == NO_POD else (None, None)
        reason, message = observed.held.get(job.name) or told
        return record.model_copy(update={"state": StageState.STARTING, "reason": reason, "message": message and message[:1024]})
    if not pod.running:
        reason, message = _why_not_running(pod)
        return record.model_copy(update={"state": StageState.STARTING, "reason": reason, "message": message, "node": pod.node})
    live = observed.progress.get(job.name)
    epoch = live.resumed_from_epoch if live and live.resumed_from_epoch is not None else record.resumed_from_epoch
    return record.model_copy(
        update={
            "state": StageState.RUNNING,
            "reason": None,
            "message": f"resumed from epoch {epoch}" if epoch else None,
            "resumed_from_epoch": epoch,
            "node": pod.node,
            "image": pod.image or record.image,
            "start_time": record.start_time or pod.start_time,
            "progress": _progress(record.progress, live, now),
        }
    )


def _leaving(pod: PodView) -> str:
    return (
        f"its pod on node {pod.node} is being deleted; should the node not answer, no other pod takes over before the Node"
        " is deleted or tainted node.kubernetes.io/out-of-service"
    )


def _queued(record: StageStatus, job: JobView, observed: Observed) -> StageStatus:
    """Its queue holds the Job: it waits for its turn, or had to give way to another. Neither is a failure."""
    began = record.start_time is not None or job.start_time is not None
    if (held := observed.held.get(job.name)) is not None:
        reason, message = held
    elif began:
        reason, message = "Preempted", "stopped by its queue; goes on from its last checkpoint when it is admitted again"
    else:
        reason, message = "Queued", "held until its queue admits it"
    changes = {"state": StageState.QUEUED, "reason": reason, "message": message[:1024], "node": None}
    return record.model_copy(update=changes)


def _why_not_running(pod: PodView) -> tuple[str | None, str | None]:
    if pod.unschedulable:
        return "Unschedulable", pod.unschedulable[:1024]
    if pod.waiting_reason and pod.waiting_reason not in ("ContainerCreating", "PodInitializing"):
        return pod.waiting_reason, pod.waiting_message[:1024]
    return None, None


def _progress(recorded: Progress | None, live: Progress | None, now: datetime) -> Progress | None:
    """Live progress only when it is worth a write: it goes to metrics anyway."""
    if live is None:
        return recorded
    stamped = live.model_copy(update={"time": times.to_text(now)})
    if recorded is None or recorded.time is None:
        return stamped
    moved = abs((live.percent or 0) - (recorded.percent or 0)) >= PROGRESS_STEP
    old = times.seconds_between(recorded.time, times.to_text(now)) >= PROGRESS_SECONDS
    return stamped if moved or old else recorded


# --- an attempt that ended ---


def _settle(step: Step, run: StageRun, verdict: Verdict, retry: Retry, now: datetime) -> None:
    report = verdict.report
    if verdict.succeeded and report is not None:
        step.record = _succeeded(step.record, run, verdict, report, now)
        return
    if verdict.reason == NOTHING_TO_ADOPT or (run.adopt and verdict.failure is not FailureClass.INFRASTRUCTURE):
        # Whatever keeps it from taking over another's result, running the stage is the way out. It is tried once.
        verdict = replace(verdict, failure=FailureClass.INFRASTRUCTURE)
        step.record = step.record.model_copy(update={"not_adopted": True, "why": NEW})
    elif report is not None and report.input and verdict.reason in (INPUT_MISSING, INPUT_CHANGED):
        step.lost = Lost(report.input, verdict.reason)
    step.record = _failed(step.record, verdict, retry, now)


def _succeeded(record: StageStatus, run: StageRun, verdict: Verdict, report: Report, now: datetime) -> StageStatus:
    why = record.why
    if run.adopt is not None:
        why = f"reused: from experiment {run.adopt.experiment}"
    elif report.reused and not record.attempts:
        why = "reused: the workspace held this result"
    changes = {
        "why": why,
        "state": StageState.SUCCEEDED,
        "job": None,
        "reason": COMPLETED,
        "message": report.message[:1024],
        "node": verdict.node,
        "image": verdict.image or record.image,
        "start_time": verdict.started or record.start_time or record.create_time,
        "finish_time": verdict.finished or times.to_text(now),
        "progress": None,
        "retry_time": None,
        "reused": report.reused or None,
        "resumed_from_epoch": report.resumed_from_epoch,
        "metrics": report.metrics,
        "artifacts": report.artifacts[:8],
        "fingerprint": report.fingerprint,
        "unlabelled_fingerprint": report.unlabelled_fingerprint,
        "warnings": ([*(record.warnings or ()), *report.warnings])[:8] or None,
    }
    return record.model_copy(update=changes)


def _failed(record: StageStatus, verdict: Verdict, retry: Retry, now: datetime) -> StageStatus:
    finished = verdict.finished or times.to_text(now)
    past = Attempt.model_validate(
        {
            "number": record.attempt,
            "reason": verdict.reason,
            "message": verdict.message[:1024],
            "class": verdict.failure.value,
            "node": verdict.node,
            "log": f"{record.directory}/logs/attempt-{record.attempt}.log" if record.directory else None,
            "startTime": verdict.started or record.start_time,
            "finishTime": finished,
        }
    )
    counted = record.failures + (verdict.failure is FailureClass.TRANSIENT)
    over = verdict.failure is FailureClass.USER or counted > retry.limit
    record = record.model_copy(
        update={
            "failures": counted,
            "attempts": [*(record.attempts or ()), past][-HISTORY:],
            "image": verdict.image or record.image,
        }
    )
    if over:
        ended = _ended(record, StageState.FAILED, verdict.reason, verdict.message[:1024])
        return ended.model_copy(update={"finish_time": finished, "start_time": verdict.started or record.start_time})
    wait = backoff(verdict.failure, counted, record, retry)
    message = f"attempt {record.attempt} ended ({verdict.reason}): {verdict.message}; tried again in {wait} s"
    return _ended(record, StageState.PENDING, verdict.reason, message[:1024]).model_copy(
        update={"retry_time": times.after(now, wait), "finish_time": None}
    )


def seconds_to_retry(retry_time: str, now: datetime) -> float:
    """Until a retry is due. No wait is longer than LONGEST_BACKOFF: one that seems to be comes from a clock that was set back."""
    wait = times.seconds_between(times.to_text(now), retry_time)
    return wait if wait <= LONGEST_BACKOFF + 1 else 0.0


def backoff(failure: FailureClass, failures: int, record: StageStatus, retry: Retry) -> int:
    """Seconds before the next attempt.

    What the infrastructure did is tried again soon, and slower when it happens over and over.
    """
    if failure is FailureClass.INFRASTRUCTURE:
        streak = sum(1 for past in record.attempts or () if past.class_ == FailureClass.INFRASTRUCTURE.value)
        return int(min(LONGEST_INFRASTRUCTURE_BACKOFF, INFRASTRUCTURE_BACKOFF * 2 ** max(0, streak - 1)))
    return int(min(LONGEST_BACKOFF, retry.backoff_seconds * 2 ** max(0, failures - 1)))


def _ended(record: StageStatus, state: StageState, reason: str, message: str) -> StageStatus:
    return record.model_copy(update={"state": state, "job": None, "reason": reason, "message": message, "progress": None})


def _stopped(record: StageStatus) -> StageStatus:
    return _ended(record, StageState.SUSPENDED, SUSPENDED, "stopped; goes on from its last checkpoint")


# --- the next attempt ---


def _want_start(step: Step, experiment: Experiment, run: StageRun, of_stage: list[JobView], now: datetime) -> None:
    record = step.record
    if experiment.stopped:
        step.record = record.model_copy(update={"state": StageState.SUSPENDED, "retry_time": None})
        return
    if record.state is not StageState.PENDING:
        step.record = record = record.model_copy(update={"state": StageState.PENDING})
    if any(not job.finished for job in of_stage):
        # Its pod may still be writing into the directory.
        return
    if record.retry_time is not None and seconds_to_retry(record.retry_time, now) > 0:
        return
    attempt = record.attempt + 1
    step.start = CreateJob(job_name(experiment.name, run.key, run.digest, attempt, run.place), attempt, run)
