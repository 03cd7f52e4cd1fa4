"""What must come of an experiment, told from its spec and script alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from job_simulator import Outcome, Script
from yolo_operator.api.spec import parse_spec
from yolo_operator.pipeline import graph
from yolo_operator.pipeline.choice import Variant, choose


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
    found = Expected("Succeeded")
    fine: set[graph.StageKey] = set()
    for node in graph.graph(spec):
        if not set(node.needs) <= fine:
            continue
        if node.needs_choice and found.chosen is None:
            continue
        good, number = jobs_of(list(script.get((node.key.name, node.key.variant), ())), spec.retry.limit)
        (found.succeeded if good else found.failed)[str(node.key)] = number
        if good:
            fine.add(node.key)
        if spec.prune and found.chosen is None and found.reason is None:
            evaluated = [graph.evaluate_pruned_key(threshold) for threshold in spec.prune.thresholds]
            if set(evaluated) <= fine:
                variants = [
                    Variant(key.variant, threshold, ratio_of(key.variant), map_of("evaluate-pruned", key.variant), 0)
                    for key, threshold in zip(evaluated, spec.prune.thresholds, strict=True)
                ]
                choice = choose(variants, spec.prune.select, map_of("evaluate", ""))
                found.chosen = choice.variant.name if choice.variant else None
                found.reason = None if choice.variant else "NoVariantQualifies"
    if found.failed or found.reason:
        found.phase = "Failed"
    return found
