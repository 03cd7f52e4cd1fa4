"""Pseudo-label rounds: what each came to, and whether the next one is worth it.

A round has two decisions. Once its labels are counted: without any there is nothing to learn from. Once its model is evaluated:
it goes on when it gains enough, and a round without a gain is the last, since the next would begin from the same model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from yolo_operator.api.rounds import Rounds
from yolo_operator.api.spec import Spec
from yolo_operator.api.status import Metrics, RoundStatus, StageState
from yolo_operator.pipeline import keys
from yolo_operator.pipeline.decisions import Decisions, Records, RoundResult, map_of
from yolo_operator.pipeline.values import StageKey

Decide = Callable[[Spec, Records, Decisions], Decisions]

_TOLERANCE = 1e-9
"""Keeps 0.93 - 0.92 >= 0.01 true in binary floating point."""


def rounds_of(spec: Spec) -> Rounds | None:
    """What the spec says of rounds, if anything."""
    return spec.inference.rounds if spec.inference is not None else None


def after_labelling(number: int) -> Decide:
    """Whether a round has labels to learn from."""

    def decide(spec: Spec, records: Records, so_far: Decisions) -> Decisions:  # noqa: ARG001
        if so_far.stopped:
            return so_far
        merge, open_round = keys.merge_key(number), f"round {number}"
        metrics = _metrics(records, merge)
        before = map_of(records, so_far.evaluation) if so_far.evaluation is not None else None
        if metrics is None or metrics.labels is None or before is None:
            return replace(so_far, after=(merge,), awaits=so_far.awaits or open_round)
        result = RoundResult(number, so_far.best, before, metrics)
        if metrics.labels:
            return replace(so_far, rounds=(*so_far.rounds, result), after=(merge,))
        why = f"round {number}: no detection became a label, so there is nothing to learn from"
        result = replace(result, kept=False, message=f"{why}; {_goes_on(so_far.best, before)}")
        return replace(so_far, rounds=(*so_far.rounds, result), after=(merge,), stopped=why)

    return decide


def after_tuning(number: int) -> Decide:
    """Whether a round's model goes on."""

    def decide(spec: Spec, records: Records, so_far: Decisions) -> Decisions:
        rounds = rounds_of(spec)
        if so_far.stopped or rounds is None:
            return so_far
        evaluated = keys.evaluate_round_key(number)
        after = map_of(records, evaluated)
        so_far = replace(so_far, after=(evaluated,))
        if after is None or len(so_far.rounds) < number:
            return replace(so_far, awaits=so_far.awaits or f"round {number}")
        result = so_far.rounds[-1]
        gain = after - result.before
        kept = gain >= rounds.min_gain - _TOLERANCE
        figures = f"round {number}: mAP {result.before:.4f} to {after:.4f} ({gain:+.4f}, {rounds.min_gain:g} is asked for)"
        message = f"{figures}: its model goes on" if kept else f"{figures}: {_goes_on(so_far.best, result.before)}"
        so_far = replace(so_far, rounds=(*so_far.rounds[:-1], replace(result, after=after, kept=kept, message=message)))
        if not kept:
            return replace(so_far, stopped=f"round {number} gained too little ({gain:+.4f}, {rounds.min_gain:g} is asked for)")
        return replace(so_far, best=keys.fine_tune_key(number), evaluation=evaluated)

    return decide


def round_statuses(spec: Spec, records: Records, decisions: Decisions) -> list[RoundStatus] | None:
    """Every round as the status shows it; None when the spec asks for none."""
    rounds = rounds_of(spec)
    if rounds is None:
        return None
    known = {result.number: result for result in decisions.rounds}
    return [_status(number, known.get(number), records, decisions) for number in range(1, rounds.count + 1)]


def _status(number: int, result: RoundResult | None, records: Records, decisions: Decisions) -> RoundStatus:
    if result is None:
        message = f"not run: {decisions.stopped}" if decisions.stopped else _standing(number, records)
        return RoundStatus(number=number, message=message[:1024])
    figures = result.metrics
    return RoundStatus.model_validate(
        {
            "number": number,
            "kept": result.kept,
            "message": (result.message or _standing(number, records))[:1024],
            "images": figures.images,
            "labels": figures.labels,
            "dropped": figures.dropped_labels,
            "labelsByClass": figures.labels_by_class,
            "droppedByClass": figures.dropped_by_class,
            "droppedByReason": figures.dropped_by_reason,
            "mAPBefore": round(result.before, 5),
            "mAPAfter": None if result.after is None else round(result.after, 5),
        }
    )


def _standing(number: int, records: Records) -> str:
    """What an open round does, in words that change only when a stage does."""
    of_round = [
        keys.pseudo_label_key(number),
        keys.merge_key(number),
        keys.fine_tune_key(number),
        keys.evaluate_round_key(number),
    ]
    begun = [key for key in of_round if key in records and records[key].attempt]
    return f"at stage {begun[-1]}" if begun else "not begun"


def _metrics(records: Records, key: StageKey) -> Metrics | None:
    record = records.get(key)
    return record.metrics if record is not None and record.state is StageState.SUCCEEDED else None


def _goes_on(best: StageKey | None, m_ap: float) -> str:
    return f"the model of {best} goes on with mAP {m_ap:.4f}"
