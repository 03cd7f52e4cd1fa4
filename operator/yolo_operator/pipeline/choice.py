"""Which pruned variant goes on."""

from __future__ import annotations

from dataclasses import dataclass

from yolo_operator.api.pruning import Select


@dataclass(frozen=True, slots=True)
class Variant:
    """A pruned and evaluated variant."""

    name: str
    threshold: float
    parameter_ratio: float
    """Parameters over those of the trained model."""
    m_ap: float
    bytes: int


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen variant, or none, and why."""

    variant: Variant | None
    message: str


def choose(variants: list[Variant], select: Select, trained_map: float) -> Choice:
    """The variant with the fewest parameters within the bounds; on a tie the one with the higher mAP.

    Args:
        variants: all variants of the sweep.
        select: the bounds, or one threshold.
        trained_map: mAP of the trained, unpruned model.
    """
    if select.threshold is not None:
        (named,) = [variant for variant in variants if variant.threshold == select.threshold]
        return Choice(named, f"threshold {named.name} was asked for: {_figures(named, trained_map)}")
    fitting = [variant for variant in variants if _fits(variant, select, trained_map)]
    if not fitting:
        table = "; ".join(f"{variant.name}: {_figures(variant, trained_map)}" for variant in variants)
        return Choice(None, f"no variant is within {_bounds(select)} of mAP {trained_map:.4f} ({table})")
    best = min(fitting, key=lambda variant: (variant.parameter_ratio, -variant.m_ap, variant.threshold))
    return Choice(
        best, f"threshold {best.name} is the smallest of {len(fitting)} within {_bounds(select)}: {_figures(best, trained_map)}"
    )


def _fits(variant: Variant, select: Select, trained_map: float) -> bool:
    # The tolerance keeps 0.90 - 0.87 <= 0.03 true in binary floating point.
    drop_fits = select.max_map_drop is None or trained_map - variant.m_ap <= select.max_map_drop + 1e-9
    ratio_fits = select.max_parameter_ratio is None or variant.parameter_ratio <= select.max_parameter_ratio + 1e-9
    return drop_fits and ratio_fits


def _bounds(select: Select) -> str:
    parts = []
    if select.max_map_drop is not None:
        parts.append(f"maxMapDrop {select.max_map_drop:g}")
    if select.max_parameter_ratio is not None:
        parts.append(f"maxParameterRatio {select.max_parameter_ratio:g}")
    return " and ".join(parts)


def _figures(variant: Variant, trained_map: float) -> str:
    return f"{variant.parameter_ratio:.3f} of the parameters, mAP {variant.m_ap:.4f} ({variant.m_ap - trained_map:+.4f})"
