"""What must come of an experiment, told from its spec and script alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from job_simulator import LABELS, Outcome, Script
from yolo_operator.api.spec import parse_spec
from yolo_operator.api.status import StageState, StageStatus
from yolo_operator.pipeline import gates, graph
from yolo_operator.pipeline.decisions import Decisions

CLASSES = ("top_left", "license_plate")


@dataclass
class Expected:
    """The end of an experiment."""

    phase: str
    succeeded: dict[str, int] = field(default_factory=dict)
    """Jobs by stages that succeed."""
    failed: dict[str, int] = field(default_factory=dict)
    """Jobs by stages that fail, where they come to run."""
    chosen: str | None = None
    reason: str | None = None


def jobs_of(outcomes: list[Outcome], limit: int) -> tuple[bool, int]:
    """Whether a stage succeeds, and with how many Jobs."""
    failures, has_result = 0, False
    for number, outcome in enumerate(outcomes, start=1):
        if outcome.succeeds or (has_result and outcome.seen_through):
            return True, number
        if outcome is Outcome.USER:
            return False, number
        has_result |= outcome is Outcome.NO_REPORT
        failures += outcome.counted
        if failures > limit:
            return False, number
    return True, len(outcomes) + 1


def expect(
    raw: dict[str, object], script: Script, *, map_of: Callable[[str, str], float], ratio_of: Callable[[str], float]
) -> Expected:
    """The end that every undisturbed or disturbed run must come to."""
    spec = parse_spec(raw)
    found, decisions = Expected("Succeeded"), Decisions()
    fine: dict[graph.StageKey, StageStatus] = {}
    for part in graph.parts(spec):
        for node in part.nodes(spec, decisions):
            if node.unneeded or node.awaits or not set(node.needs) <= fine.keys():
                continue
            if any(not gate.open and gate.name != "export" for gate in gates.gates(spec, fine, decisions)):
                # An exported model's gate closes beside the inference, which has begun by then.
                continue
            good, number = jobs_of(list(script.get((node.key.name, node.key.variant), ())), spec.retry.limit)
            (found.succeeded if good else found.failed)[str(node.key)] = number
            if good:
                fine[node.key] = _record(node.key, map_of, ratio_of)
        decisions = part.decide(spec, fine, decisions)
    found.chosen = decisions.winner.name if decisions.winner else None
    if decisions.choice is not None and decisions.choice.variant is None:
        found.reason = "NoVariantQualifies"
    if any(not gate.open for gate in gates.gates(spec, fine, decisions)):
        found.reason = "GateClosed"
    if found.failed or found.reason:
        found.phase = "Failed"
    return found


def _record(key: graph.StageKey, map_of: Callable[[str, str], float], ratio_of: Callable[[str], float]) -> StageStatus:
    """What a success of the stage is recorded as, as far as decisions read it."""
    ratio = {"parameterRatio": ratio_of(key.variant)} if key.name == "prune" else {}
    model = {"name": "model", "path": "x", "bytes": int(100_000 * ratio["parameterRatio"]) if ratio else 1, "sha256": "0"}
    return StageStatus.model_validate(
        {
            "name": key.name,
            "variant": key.variant,
            "state": StageState.SUCCEEDED,
            "metrics": {
                "mAP": (m_ap := map_of(key.name, key.variant)),
                "AP": dict.fromkeys(CLASSES, m_ap),
                "labels": LABELS,
                **ratio,
            },
            "artifacts": [model],
        }
    )
