"""`spec.gates`: what a model must reach for the experiment to go on."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from yolo_operator.api.base import Model, Rule, SafeName
from yolo_operator.api.experiment_spec import Unit


class GateStage(StrEnum):
    """Whose model is measured, in the order in which models come to be."""

    TRAIN = "train"
    PRUNE = "prune"
    RETRAIN = "retrain"
    ROUNDS = "rounds"
    EXPORT = "export"

    @property
    def before(self) -> tuple[GateStage, ...]:
        """The stages whose models are there already."""
        order = tuple(GateStage)
        return order[: order.index(self)]


class MapDrop(Model):
    """How much worse than an earlier model."""

    of: GateStage = GateStage.TRAIN
    """The stage whose model it is compared with."""
    by: Unit
    """mAP may be at most this much below."""


class Gate(Model):
    """Bounds of one model, as its evaluation measured it. All of them hold together."""

    min_map: Unit | None = None
    min_ap: Annotated[dict[SafeName, Unit], Field(min_length=1, max_length=64)] | None = None
    """Least average precision by the model's class."""
    max_map_drop: MapDrop | None = None

    rules: ClassVar = (
        Rule(
            cel="has(self.minMap) || has(self.minAp) || has(self.maxMapDrop)",
            message="set minMap, minAp or maxMapDrop",
            check=lambda g: g.min_map is not None or g.min_ap is not None or g.max_map_drop is not None,
        ),
    )


def _compared_with_earlier(gates: Gates) -> bool:
    set_gates = ((stage, gates.of(stage)) for stage in GateStage)
    return all(gate is None or gate.max_map_drop is None or gate.max_map_drop.of in stage.before for stage, gate in set_gates)


class Gates(Model):
    """A closed gate ends the experiment: what comes after it does not run, what there is stays. Wider bounds let it go on."""

    train: Gate | None = None
    prune: Gate | None = None
    """The chosen variant before retraining; with several candidates each of them."""
    retrain: Gate | None = None
    """The retrained model that goes on."""
    rounds: Gate | None = None
    """The model after the rounds of pseudo-labels."""
    export: Gate | None = None
    """The exported model, where the toolkit can evaluate it."""

    rules: ClassVar = (
        Rule(
            cel=" && ".join(
                f"(!has(self.{stage}) || !has(self.{stage}.maxMapDrop)"
                f" || self.{stage}.maxMapDrop.of in {[earlier.value for earlier in stage.before]})"
                for stage in GateStage
            ),
            message="maxMapDrop.of must name an earlier stage: train, prune, retrain, rounds, export",
            check=_compared_with_earlier,
        ),
    )

    def of(self, stage: GateStage) -> Gate | None:
        """The gate after a stage's model."""
        gate: Gate | None = getattr(self, stage.value)
        return gate
