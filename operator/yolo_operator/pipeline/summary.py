"""Phase, conditions and figures of a whole experiment, and the Events that a change of status is worth."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from yolo_operator.api.status import (
    Chosen,
    Condition,
    ConditionType,
    GateStatus,
    Phase,
    StageState,
    StageStatus,
    Status,
    VariantStatus,
)
from yolo_operator.pipeline import graph, times
from yolo_operator.pipeline.names import workspace_claim
from yolo_operator.pipeline.stages import COMPLETED, LIMIT_TOO_LOW, NOT_NEEDED, QUOTA_TOO_LOW, WAITS, key_of, settled
from yolo_operator.pipeline.values import EventKind, Experiment, Notice, StageKey


@dataclass(frozen=True, slots=True)
class Ending:
    """Why nothing further may start."""

    reason: str
    message: str
    stage: str | None = None
    accepted: bool = True
    """False: the experiment itself has to change, or what it refers to has to appear."""
    final: bool = True
    """False: it goes on by itself when the cause goes away."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What was decided from the records."""

    chosen: Chosen | None = None
    variants: tuple[VariantStatus, ...] = ()
    gates: tuple[GateStatus, ...] = ()
    evaluation: StageKey | None = None
    """The stage that measured the model that goes on."""
    placed: bool = True
    """Whether the experiment has its place under the operator's limits."""


def summarise(
    experiment: Experiment, records: list[StageStatus], findings: Findings, ending: Ending | None, now: datetime
) -> Status:
    """The whole status from the records of its stages, and from what was decided from them."""
    previous, chosen = experiment.status, findings.chosen
    phase = _phase(experiment, records, ending, placed=findings.placed)
    done = phase.final
    finishes = [record.finish_time for record in records if record.finish_time]
    return Status(
        observed_generation=experiment.generation,
        phase=phase,
        stage=_stage(records, ending, phase),
        progress=_progress(records),
        m_ap=_newest_map(records, findings.evaluation),
        pruned=round(chosen.parameter_ratio, 4) if chosen and chosen.parameter_ratio is not None else None,
        message=_message(records, ending, phase),
        start_time=previous.start_time or min((r.create_time for r in records if r.create_time), default=None),
        completion_time=max(finishes, default=previous.completion_time or times.to_text(now)) if done else None,
        claim_name=workspace_claim(experiment.name, experiment.spec.workspace),
        sub_path=experiment.spec.workspace.sub_path,
        retry=experiment.retry_token or None,
        chosen=chosen,
        variants=list(findings.variants) or None,
        gates=list(findings.gates) or None,
        stages=records,
        conditions=_conditions(experiment, phase, ending, records, now),
    )


def _phase(experiment: Experiment, records: list[StageStatus], ending: Ending | None, *, placed: bool) -> Phase:
    states = {record.state for record in records}
    if ending is None and all(settled(record) for record in records):
        return Phase.SUCCEEDED
    active = {state for state in states if state.active}
    stopping = any(record.job for record in records)
    if ending is not None and ending.final and ending.accepted and not active and not stopping:
        return Phase.FAILED
    # A stage that is still being stopped keeps its Job: whoever waits for Suspended wants to know that nothing runs any more.
    if experiment.spec.suspend and not active and not stopping:
        return Phase.SUSPENDED
    if active == {StageState.QUEUED}:
        return Phase.QUEUED
    if not placed and not active:
        # Running is what the limits count: it is written of nobody who has no place.
        return Phase.QUEUED if _waits(records) else Phase.PENDING
    if any(record.attempt for record in records):
        return Phase.RUNNING
    return Phase.QUEUED if _waits(records) else Phase.PENDING


def _waits(records: list[StageStatus]) -> bool:
    return any(record.reason in WAITS for record in records)


def _stage(records: list[StageStatus], ending: Ending | None, phase: Phase) -> str | None:
    active = [str(key_of(record)) for record in records if record.state.active]
    if active:
        return ", ".join(active)[:253]
    if phase is Phase.FAILED and ending is not None:
        return ending.stage
    waiting = next((str(key_of(r)) for r in records if r.state in (StageState.PENDING, StageState.SUSPENDED)), None)
    return waiting if phase in (Phase.RUNNING, Phase.SUSPENDED) else None


def _progress(records: list[StageStatus]) -> str:
    wanted = [record for record in records if record.reason != NOT_NEEDED]
    done = sum(record.state is StageState.SUCCEEDED for record in wanted)
    running = [
        r.progress.percent for r in records if r.state is StageState.RUNNING and r.progress and r.progress.percent is not None
    ]
    text = f"{done}/{len(wanted)}"
    return f"{text} ({max(running)}%)" if running else text


def _newest_map(records: list[StageStatus], evaluation: StageKey | None) -> float | None:
    """mAP of the model furthest down the line that is evaluated; of the training while nothing is."""
    by_key = {key_of(record): record for record in records}
    for key in (graph.EVALUATE_EXPORTED, evaluation, graph.EVALUATE, graph.TRAIN):
        record = by_key.get(key) if key else None
        if record is None:
            continue
        if record.state is StageState.SUCCEEDED and record.metrics and record.metrics.m_ap is not None:
            return round(record.metrics.m_ap, 5)
        if record.progress and record.progress.m_ap is not None:
            return round(record.progress.m_ap, 5)
    return None


def _message(records: list[StageStatus], ending: Ending | None, phase: Phase) -> str | None:
    if ending is not None:
        return ending.message[:1024]
    if phase is Phase.SUCCEEDED:
        needed = sum(record.reason != NOT_NEEDED for record in records)
        return f"all {needed} stages succeeded"
    # A stage that is to run anew keeps its earlier result until then: that tells nothing of what is waited for.
    waiting = (r for r in records if r.message and r.reason not in (None, "", COMPLETED) and not r.state.final)
    told = next((f"{key_of(r)}: {r.message}" for r in waiting), None)
    return told[:1024] if told else None


def _conditions(
    experiment: Experiment, phase: Phase, ending: Ending | None, records: list[StageStatus], now: datetime
) -> list[Condition]:
    done = phase.final
    reason = ending.reason if ending else phase.value
    message = ending.message[:1024] if ending else ""
    stuck = next((r for r in records if r.reason in _STUCK and r.state.active), None)
    stalled = ending is not None or stuck is not None
    if stuck is not None and ending is None:
        reason, message = stuck.reason or "", f"stage {key_of(stuck)}: {stuck.message}"[:1024]
    accepted = ending is None or ending.accepted
    going = not done and not stalled and phase is not Phase.SUSPENDED
    now_stage = _stage(records, ending, phase) or ""
    facts: list[tuple[ConditionType, bool, str, str]] = [
        (ConditionType.ACCEPTED, accepted, "Valid" if accepted else reason, "" if accepted else message),
        (ConditionType.RECONCILING, going, phase.value, f"{now_stage} {_progress(records)}".strip() if going else ""),
        (ConditionType.SUSPENDED, phase is Phase.SUSPENDED, phase.value, ""),
        (ConditionType.COMPLETE, phase is Phase.SUCCEEDED, phase.value, ""),
        (
            ConditionType.FAILED,
            phase is Phase.FAILED,
            reason if phase is Phase.FAILED else phase.value,
            message if phase is Phase.FAILED else "",
        ),
        (ConditionType.STALLED, stalled, reason if stalled else phase.value, message if stalled else ""),
    ]
    previous = {condition.type: condition for condition in experiment.status.conditions or ()}
    return [_condition(kind, holds, why, text, previous.get(kind.value), experiment, now) for kind, holds, why, text in facts]


REFUSALS = ("Rejected", "NameTaken", LIMIT_TOO_LOW, QUOTA_TOO_LOW)
"""What the plan wants cannot be: admission policy, a name in use, a limit or quota below what a single stage asks for."""
_STUCK = {"ImagePullBackOff", "ErrImagePull", "InvalidImageName", "CreateContainerConfigError", "CreateContainerError"}
"""Why a container waits for a person."""


def _condition(
    kind: ConditionType, holds: bool, reason: str, message: str, previous: Condition | None, experiment: Experiment, now: datetime
) -> Condition:
    status = "True" if holds else "False"
    told = (status, reason, message, experiment.generation)
    if previous is not None and told == (previous.status, previous.reason, previous.message, previous.observed_generation):
        return previous
    same = previous is not None and previous.status == status
    return Condition(
        type=kind.value,
        status=status,
        reason=reason,
        message=message,
        last_transition_time=previous.last_transition_time if previous is not None and same else times.to_text(now),
        observed_generation=experiment.generation,
    )


def only_goes_on(before: Status, after: Status) -> bool:
    """Whether an experiment's step says nothing that its Jobs do not say: it runs, stages started, run, succeeded.

    Failures are no such step: when the next attempt is due is known from the status alone.
    """
    if after.phase is not Phase.RUNNING or before.phase not in (None, Phase.PENDING, Phase.RUNNING):
        return False
    if before.observed_generation not in (None, after.observed_generation):
        return False
    known = {key_of(record): record for record in before.stages or ()}
    return before.retry == after.retry and all(_goes_on(known.get(key_of(record)), record) for record in after.stages or ())


def _goes_on(before: StageStatus | None, after: StageStatus) -> bool:
    told = ("attempts", "retry_time", "remakes", "spoiled", "not_adopted", "wait_time")
    if any(getattr(before, name, None) != getattr(after, name) for name in told):
        return False
    if before is None:
        return (after.attempt or 0) <= 1 and after.state in (StageState.PENDING, *_GOING_ON)
    if before.attempt and before.digest != after.digest:
        return False
    return after.state is before.state or after.state in _GOING_ON


_GOING_ON = (StageState.STARTING, StageState.RUNNING, StageState.SUCCEEDED)


def just_ended(before: Status, after: Status) -> bool:
    """Whether this step ends the experiment, or ends it under another spec; of one in whose workspace something has run.

    One that had ended under an earlier operator is none: an upgrade writes no reports.
    """
    ended = after.phase is not None and after.phase.final and any(record.attempt for record in after.stages or ())
    return ended and (before.phase, before.observed_generation) != (after.phase, after.observed_generation)


def notices(before: Status, after: Status) -> list[Notice]:
    """The Events that the step from one status to the next is worth."""
    known = {key_of(record): record for record in before.stages or ()}
    found = [notice for record in after.stages or () for notice in _stage_notices(known.get(key_of(record)), record)]
    if after.chosen is not None and (before.chosen is None or before.chosen.variant != after.chosen.variant):
        found.append(Notice(EventKind.NORMAL, "VariantChosen", after.chosen.message))
    found += _round_notices(before, after)
    return found + list(_condition_notices(before, after))


def _stage_notices(before: StageStatus | None, after: StageStatus) -> Iterable[Notice]:
    stage = str(key_of(after))
    past = before.attempts[-1].number if before and before.attempts else 0
    same = before is not None and before.digest == after.digest
    for attempt in after.attempts or ():
        if attempt.number > past or not same:
            yield Notice(EventKind.WARNING, attempt.reason, f"stage {stage}, attempt {attempt.number}: {attempt.message}")
    running = after.state is StageState.RUNNING
    if running and not (same and before and before.state is StageState.RUNNING and before.attempt == after.attempt):
        yield Notice(EventKind.NORMAL, "StageStarted", f"stage {stage}: attempt {after.attempt} as Job {after.job}")
    for warning in after.warnings or ():
        # Also of a stage that only waits: what is wrong with it should not be learnt when it ends.
        if warning not in ((before.warnings if before else None) or ()):
            yield Notice(EventKind.WARNING, warning.reason, f"stage {stage}: {warning.message}")
    epoch = after.resumed_from_epoch if after.state is StageState.RUNNING else None
    if epoch and not (same and before and before.resumed_from_epoch):
        yield Notice(EventKind.NORMAL, "StageResumed", f"stage {stage}: attempt {after.attempt} resumed from epoch {epoch}")
    if after.remakes and after.remakes > (before.remakes or 0 if before and same else 0):
        yield Notice(EventKind.WARNING, after.reason or "ArtifactMissing", f"stage {stage}: {after.message}")
    done = after.state is StageState.SUCCEEDED
    if done and not (same and before and before.finish_time == after.finish_time):
        reused = f" ({after.why})" if after.reused and after.why else ""
        yield Notice(EventKind.NORMAL, "StageSucceeded", f"stage {stage}{reused}: {after.message}")
    waits = after.state.active or after.reason in WAITS
    if waits and after.reason and (before is None or before.reason != after.reason):
        # A queue is no trouble.
        kind = EventKind.WARNING if after.state is StageState.STARTING else EventKind.NORMAL
        yield Notice(kind, after.reason, f"stage {stage}: {after.message}")


def _round_notices(before: Status, after: Status) -> Iterable[Notice]:
    known = {one.number: one for one in before.rounds or ()}
    for one in after.rounds or ():
        decided = one.kept is not None and (one.number not in known or known[one.number].kept is not one.kept)
        if decided:
            yield Notice(EventKind.NORMAL, "RoundKept" if one.kept else "RoundNotKept", one.message)


def _condition_notices(before: Status, after: Status) -> Iterable[Notice]:
    held = {condition.type: condition for condition in before.conditions or ()}
    for condition in after.conditions or ():
        earlier = held.get(condition.type)
        changed = earlier is None or earlier.status != condition.status
        if not changed:
            continue
        if condition.type == ConditionType.COMPLETE and condition.status == "True":
            yield Notice(EventKind.NORMAL, "Complete", after.message or "")
        if condition.type == ConditionType.FAILED and condition.status == "True":
            yield Notice(EventKind.WARNING, condition.reason, condition.message)
        if condition.type == ConditionType.ACCEPTED and condition.status == "False":
            yield Notice(EventKind.WARNING, condition.reason, condition.message)
        if condition.type == ConditionType.STALLED and condition.status == "True" and condition.reason in REFUSALS:
            yield Notice(EventKind.WARNING, condition.reason, condition.message)
        if condition.type == ConditionType.SUSPENDED and (condition.status == "True" or earlier is not None):
            on = condition.status == "True"
            yield Notice(EventKind.NORMAL, "Suspended" if on else "Resumed", "spec.suspend is " + ("true" if on else "false"))


def refused(
    status: dict[str, Any], generation: int, reason: str, message: str, now: datetime, *, accepted: bool = False
) -> dict[str, Any]:
    """A status that says why nothing can be done, for an experiment that cannot be planned or whose objects are refused.

    Works on plain JSON: the status may have been written under other rules.
    """
    held = {condition.get("type"): condition for condition in status.get("conditions") or ()}
    facts = {ConditionType.ACCEPTED: accepted, ConditionType.RECONCILING: False, ConditionType.STALLED: True}
    for kind, holds in facts.items():
        old, state = held.get(kind.value), "True" if holds else "False"
        since = old["lastTransitionTime"] if old and old.get("status") == state else times.to_text(now)
        about = {} if kind is ConditionType.RECONCILING else {"message": message[:1024]}
        held[kind.value] = {
            "type": kind.value,
            "status": state,
            "reason": reason,
            "message": "",
            "lastTransitionTime": since,
            "observedGeneration": generation,
        } | about
    return {
        **status,
        "phase": status.get("phase") or Phase.PENDING.value,
        "observedGeneration": generation,
        "message": message[:1024],
        "conditions": list(held.values()),
    }
