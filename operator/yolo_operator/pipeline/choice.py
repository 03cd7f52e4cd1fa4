"""Which pruned variants go on, and which retrained one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from yolo_operator.api.pruning import Select

_TOLERANCE = 1e-9
"""Keeps 0.90 - 0.87 <= 0.03 true in binary floating point."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A pruned and evaluated variant."""

    name: str
    threshold: float
    parameter_ratio: float
    """Parameters over those of the trained model."""
    m_ap: float
    bytes: int

    def figures(self, trained_map: float) -> str:
        """Its numbers, for people."""
        return f"{self.parameter_ratio:.3f} of the parameters, mAP {self.m_ap:.4f} ({self.m_ap - trained_map:+.4f})"


@dataclass(frozen=True, slots=True)
class Choice:
    """The variants that go on, the smallest first (none: no variant qualifies), and why."""

    candidates: tuple[Variant, ...]
    message: str

    @property
    def variant(self) -> Variant | None:
        """The smallest of them."""
        return self.candidates[0] if self.candidates else None


def choose(variants: Sequence[Variant], select: Select, trained_map: float, count: int = 1) -> Choice:
    """The variants with the fewest parameters within the bounds; on a tie the one with the higher mAP.

    Args:
        variants: all variants of the sweep.
        select: the bounds, or one threshold.
        trained_map: mAP of the trained, unpruned model.
        count: at most so many.
    """
    if select.threshold is not None:
        (named,) = [variant for variant in variants if variant.threshold == select.threshold]
        return Choice((named,), f"threshold {named.name} was asked for: {named.figures(trained_map)}")
    fitting = [variant for variant in variants if not misfit(variant, select, trained_map)]
    if not fitting:
        table = "; ".join(f"{variant.name}: {variant.figures(trained_map)}" for variant in variants)
        return Choice((), f"no variant is within {_bounds(select)} of mAP {trained_map:.4f} ({table})")
    best = tuple(sorted(fitting, key=lambda variant: (variant.parameter_ratio, -variant.m_ap, variant.threshold))[:count])
    first = best[0]
    message = f"threshold {first.name} is the smallest of {len(fitting)} within {_bounds(select)}: {first.figures(trained_map)}"
    if len(best) > 1:
        names = ", ".join(variant.name for variant in best)
        message = f"thresholds {names} are the smallest {len(best)} of {len(fitting)} within {_bounds(select)}"
    return Choice(best, message)


def misfit(variant: Variant, select: Select, trained_map: float) -> str:
    """Which bound the variant is beyond, and by what; empty when it is within all of them."""
    drop = trained_map - variant.m_ap
    if select.max_map_drop is not None and drop > select.max_map_drop + _TOLERANCE:
        return f"mAP drop {drop:.4f} is above {select.max_map_drop:g}"
    if select.max_parameter_ratio is not None and variant.parameter_ratio > select.max_parameter_ratio + _TOLERANCE:
        return f"parameter ratio {variant.parameter_ratio:.4f} is above {select.max_parameter_ratio:g}"
    if select.max_bytes is not None and variant.bytes > select.max_bytes:
        return f"{variant.bytes} bytes are above {select.max_bytes}"
    if select.threshold is not None and variant.threshold != select.threshold:
        return f"threshold {select.threshold:g} was asked for"
    return ""


def pareto(variants: Sequence[Variant]) -> set[str]:
    """Names of the variants that no other one beats: none is at most as large and at least as good, and better in one of both."""

    def beaten(variant: Variant) -> bool:
        return any(
            other.parameter_ratio <= variant.parameter_ratio
            and other.m_ap >= variant.m_ap
            and (other.parameter_ratio, other.m_ap) != (variant.parameter_ratio, variant.m_ap)
            for other in variants
        )

    return {variant.name for variant in variants if not beaten(variant)}


def best_retrained(candidates: Sequence[Variant], retrained: dict[str, float]) -> Choice:
    """The candidate with the best mAP after retraining; on a tie the one with fewer parameters.

    Args:
        candidates: the variants that were retrained.
        retrained: mAP after retraining by the variant's name.
    """
    ordered = sorted(candidates, key=lambda variant: (-retrained[variant.name], variant.parameter_ratio, variant.threshold))
    table = ", ".join(f"{variant.name}: mAP {retrained[variant.name]:.4f}" for variant in ordered)
    return Choice((ordered[0],), f"threshold {ordered[0].name} is the best of {len(ordered)} after retraining ({table})")


def _bounds(select: Select) -> str:
    parts = []
    if select.max_map_drop is not None:
        parts.append(f"maxMapDrop {select.max_map_drop:g}")
    if select.max_parameter_ratio is not None:
        parts.append(f"maxParameterRatio {select.max_parameter_ratio:g}")
    if select.max_bytes is not None:
        parts.append(f"maxBytes {select.max_bytes}")
    return " and ".join(parts)
