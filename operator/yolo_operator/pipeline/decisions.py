"""What is decided on the way: from the records of one part of the graph to what the next part is made of.

A part's decision is a function of the spec, the records so far and the decisions before it. Nothing is remembered: the same
records give the same decisions, in every look.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from yolo_operator.api.spec import Spec
from yolo_operator.api.status import Metrics, StageState, StageStatus
from yolo_operator.pipeline import keys
from yolo_operator.pipeline.choice import Choice, Variant, best_retrained, choose
from yolo_operator.pipeline.values import StageKey

Records = Mapping[StageKey, StageStatus]
"""The records of all stages before."""

AWAITS_CHOICE = "the choice among the variants"
AWAITS_RETRAINED = "the choice among the retrained candidates"


@dataclass(frozen=True, slots=True)
class RoundResult:
    """What a pseudo-label round came to."""

    number: int
    start: StageKey | None
    """The stage whose model it began from."""
    before: float
    """mAP of that model."""
    metrics: Metrics
    """Those of its merge."""
    after: float | None = None
    """mAP of its own model; None while it is open, or without one."""
    kept: bool | None = None
    """Whether its model goes on; None while that is open."""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Decisions:
    """What is decided so far."""

    known: frozenset[StageKey] = frozenset()
    """The stages that have a record already: while a decision is open again, they keep theirs."""
    best: StageKey | None = None
    """The stage whose model goes on; None while that is open."""
    evaluation: StageKey | None = None
    """The stage that measured that model."""
    after: tuple[StageKey, ...] = ()
    """What whoever reads the best model has to wait for."""
    awaits: str = ""
    """What is open, in words; empty when nothing is."""
    variants: tuple[Variant, ...] = ()
    """The sweep's variants, once all are evaluated."""
    choice: Choice | None = None
    """Among the variants; None while that is open, or without a sweep."""
    retrained: StageKey | None = None
    """The stage that measured the retrained model that goes on."""
    winner: Variant | None = None
    """The variant that goes on, once it is the only one."""
    message: str = ""
    """Why the winner is the winner."""
    rounds: tuple[RoundResult, ...] = ()
    """The pseudo-label rounds that have their labels."""
    stopped: str = ""
    """Why there are no further rounds; empty while there may be."""


def after_sweep(spec: Spec, records: Records, so_far: Decisions) -> Decisions:
    """Which variants go on, once every variant is evaluated."""
    so_far = replace(so_far, after=(keys.EVALUATE,))
    if spec.prune is None:
        return replace(so_far, best=keys.TRAIN, evaluation=keys.EVALUATE)
    variants, trained_map = _variants(spec, records), map_of(records, keys.EVALUATE)
    if variants is None or trained_map is None:
        return replace(so_far, awaits=AWAITS_CHOICE)
    choice = choose(variants, spec.prune.select, trained_map, spec.retrain.candidates if spec.retrain else 1)
    so_far = replace(so_far, variants=variants, choice=choice, awaits="" if choice.variant else AWAITS_CHOICE)
    if len(choice.candidates) != 1:
        return so_far
    (winner,) = choice.candidates
    best, evaluation = StageKey("prune", winner.name), StageKey("evaluate-pruned", winner.name)
    return replace(so_far, winner=winner, message=choice.message, best=best, evaluation=evaluation)


def retrained_keys(spec: Spec, decisions: Decisions) -> tuple[tuple[StageKey, StageKey], ...]:
    """The stages that retrain and evaluate each candidate; without a variant while none is known, or with one candidate."""
    candidates = decisions.choice.candidates if decisions.choice else ()
    names = [variant.name for variant in candidates]
    if not candidates:
        names = sorted(key.variant for key in decisions.known if key.name == keys.RETRAIN.name and key.variant)
    if not names or spec.retrain is None or spec.retrain.candidates == 1:
        return ((keys.RETRAIN, keys.EVALUATE_RETRAINED),)
    return tuple((StageKey("retrain", name), StageKey("evaluate-retrained", name)) for name in names)


def after_retraining(spec: Spec, records: Records, so_far: Decisions) -> Decisions:
    """Which retrained model goes on, once every candidate is evaluated."""
    if spec.retrain is None:
        return so_far
    pairs = retrained_keys(spec, so_far)
    so_far = replace(so_far, best=None, evaluation=None, after=tuple(evaluated for _, evaluated in pairs))
    if so_far.choice is None or so_far.choice.variant is None:
        return so_far
    if len(pairs) == 1:
        return replace(so_far, best=pairs[0][0], evaluation=pairs[0][1], retrained=pairs[0][1])
    maps = {evaluated.variant: map_of(records, evaluated) for _, evaluated in pairs}
    known = {name: value for name, value in maps.items() if value is not None}
    if len(known) < len(pairs):
        return replace(so_far, awaits=AWAITS_RETRAINED)
    choice = best_retrained(so_far.choice.candidates, known)
    (winner,) = choice.candidates
    best, evaluation = StageKey("retrain", winner.name), StageKey("evaluate-retrained", winner.name)
    return replace(so_far, winner=winner, message=choice.message, best=best, evaluation=evaluation, retrained=evaluation)


def _variants(spec: Spec, records: Records) -> tuple[Variant, ...] | None:
    """All variants with their figures; None while one is missing."""
    found = []
    for threshold in spec.prune.thresholds if spec.prune else ():
        pruned = records.get(keys.prune_key(threshold))
        if pruned is None:
            return None
        ratio = pruned.metrics.parameter_ratio if pruned.metrics else None
        m_ap = map_of(records, keys.evaluate_pruned_key(threshold))
        if ratio is None or m_ap is None or not pruned.artifacts:
            return None
        found.append(Variant(pruned.variant, threshold, ratio, m_ap, pruned.artifacts[0].bytes))
    return tuple(found)


def map_of(records: Records, key: StageKey) -> float | None:
    """mAP that a stage has measured; None while it has not."""
    record = records.get(key)
    if record is None or record.state is not StageState.SUCCEEDED or record.metrics is None:
        return None
    return record.metrics.m_ap
