"""Gates: whether a model is good enough for the experiment to go on.

Nothing is remembered of a gate: it is open or closed by the recorded evaluations and the bounds as they are now. So an edit of
the bounds opens it, and everything that was there before stands.
"""

from __future__ import annotations

from collections.abc import Iterator

from yolo_operator.api.gates import Gate, GateStage
from yolo_operator.api.spec import Spec
from yolo_operator.api.status import GateStatus, Metrics
from yolo_operator.pipeline import keys
from yolo_operator.pipeline.decisions import Decisions, Records, map_of
from yolo_operator.pipeline.values import StageKey

_TOLERANCE = 1e-9


def gates(spec: Spec, records: Records, decisions: Decisions) -> tuple[GateStatus, ...]:
    """The gates whose models are measured, in order."""
    found = ((stage, spec.gates.of(stage) if spec.gates else None) for stage in GateStage)
    return tuple(
        status for stage, gate in found if gate is not None and (status := _gate(stage, gate, records, decisions)) is not None
    )


def _gate(stage: GateStage, gate: Gate, records: Records, decisions: Decisions) -> GateStatus | None:
    evaluations = _evaluations(stage, decisions)
    if not evaluations or any(map_of(records, key) is None for key in evaluations):
        return None
    complaints, figures = [], []
    for key in evaluations:
        metrics = records[key].metrics or Metrics()
        prefix = f"{key}: " if len(evaluations) > 1 else ""
        figures.append(f"{prefix}mAP {metrics.m_ap:.4f}")
        complaints += [prefix + complaint for complaint in _complaints(gate, metrics, records, decisions)]
    return GateStatus(name=stage.value, open=not complaints, message="; ".join(complaints or figures)[:1024])


def _complaints(gate: Gate, metrics: Metrics, records: Records, decisions: Decisions) -> Iterator[str]:
    """The bounds that the numbers are beyond."""
    m_ap = metrics.m_ap or 0.0
    if gate.min_map is not None and m_ap < gate.min_map - _TOLERANCE:
        yield f"mAP {m_ap:.4f} is below minMap {gate.min_map:g}"
    for name, bound in sorted((gate.min_ap or {}).items()):
        value = (metrics.ap or {}).get(name)
        if value is None:
            yield f"there is no AP of class {name}, which minAp wants at {bound:g}"
        elif value < bound - _TOLERANCE:
            yield f"AP of {name} {value:.4f} is below minAp {bound:g}"
    if gate.max_map_drop is not None:
        of, by = gate.max_map_drop.of, gate.max_map_drop.by
        known = [value for key in _evaluations(of, decisions) if (value := map_of(records, key)) is not None]
        if known and max(known) - m_ap > by + _TOLERANCE:
            yield f"mAP {m_ap:.4f} is {max(known) - m_ap:.4f} below that of {of} ({max(known):.4f}); maxMapDrop allows {by:g}"


def _evaluations(stage: GateStage, decisions: Decisions) -> tuple[StageKey, ...]:
    """The stages that measure a model: none while it is not known which ones."""
    match stage:
        case GateStage.TRAIN:
            return (keys.EVALUATE,)
        case GateStage.PRUNE:
            candidates = decisions.choice.candidates if decisions.choice else ()
            return tuple(StageKey("evaluate-pruned", variant.name) for variant in candidates)
        case GateStage.RETRAIN:
            return (decisions.retrained,) if decisions.retrained else ()
        case GateStage.ROUNDS:
            return (decisions.evaluation,) if decisions.evaluation and not decisions.awaits else ()
        case GateStage.EXPORT:
            return (keys.EVALUATE_EXPORTED,)
