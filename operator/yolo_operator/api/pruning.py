"""`spec.prune`: the sweep of thresholds, and which variant goes on."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from yolo_operator.api.base import Model, Rule, SafeName
from yolo_operator.api.experiment_spec import OpenUnit, Unit


class EqualizationCriterion(StrEnum):
    """How channels that must stay equal in number (residual sums) are judged together."""

    UNION = "union"
    INTERSECTION = "intersection"
    ARITHMETIC_MEAN = "arithmetic_mean"
    GEOMETRIC_MEAN = "geometric_mean"


class Normalizer(StrEnum):
    """What a channel's norm is divided by."""

    MAX = "max"
    L2 = "L2"


class Select(Model):
    """Which variants go on: the smallest among those within the bounds. Several bounds hold together."""

    max_map_drop: Unit | None = None
    """At most this much below the trained model's mAP."""
    max_parameter_ratio: Annotated[float, Field(gt=0, le=1)] | None = None
    """At most this part of the trained model's parameters."""
    max_bytes: Annotated[int, Field(ge=1)] | None = None
    """At most so many bytes of the pruned model's file."""
    threshold: OpenUnit | None = None
    """This variant, whatever it costs."""

    rules: ClassVar = (
        Rule(
            cel="[has(self.maxMapDrop) || has(self.maxParameterRatio) || has(self.maxBytes), has(self.threshold)]"
            ".filter(x, x).size() == 1",
            message="set threshold, or bounds (maxMapDrop, maxParameterRatio, maxBytes)",
            check=lambda s: s.bounded != (s.threshold is not None),
        ),
    )

    @property
    def bounded(self) -> bool:
        """Whether it is by bounds."""
        return any(bound is not None for bound in (self.max_map_drop, self.max_parameter_ratio, self.max_bytes))


class Prune(Model):
    """A sweep of pruning thresholds; each is a variant, pruned and evaluated."""

    thresholds: Annotated[list[OpenUnit], Field(min_length=1, max_length=16)]
    """Channels whose relative norm is below the threshold go. Strongly non-linear: see docs."""
    equalization_criterion: EqualizationCriterion = EqualizationCriterion.UNION
    normalizer: Normalizer = Normalizer.MAX
    pruning_granularity: Annotated[int, Field(ge=1, le=256)] = 8
    """Channels are kept in multiples of this."""
    min_num_filters: Annotated[int, Field(ge=1, le=4096)] = 16
    excluded_layers: Annotated[list[SafeName], Field(max_length=64)] | None = None
    select: Select

    rules: ClassVar = (
        Rule(
            cel="self.thresholds.all(t, self.thresholds.exists_one(u, u == t))",
            message="thresholds must differ from each other",
            check=lambda p: len(set(p.thresholds)) == len(p.thresholds),
            field=".thresholds",
        ),
        Rule(
            cel="!has(self.select.threshold) || self.select.threshold in self.thresholds",
            message="select.threshold must be one of thresholds",
            check=lambda p: p.select.threshold is None or p.select.threshold in p.thresholds,
            field=".select.threshold",
        ),
    )
