"""Rules of the whole spec about gates, and about the checkpoints that its trainings leave."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yolo_operator.api.base import Rule
from yolo_operator.api.gates import Gate, GateStage
from yolo_operator.api.toolkit import profile_in_cel, profiles_that
from yolo_operator.dialects import DIALECTS

if TYPE_CHECKING:
    from yolo_operator.api.spec import Spec

_EVALUATES_EXPORT = profiles_that(lambda known: known.evaluates_export)
_SAVES_LAST = profiles_that(lambda known: known.saves_last_epoch)

# --- gates ---

_THERE = {
    GateStage.TRAIN: "true",
    GateStage.PRUNE: "has(self.prune)",
    GateStage.RETRAIN: "has(self.retrain)",
    GateStage.ROUNDS: "(has(self.inference) && has(self.inference.rounds))",
    GateStage.EXPORT: f"(has(self.export) && {profile_in_cel(_EVALUATES_EXPORT)})",
}
"""When a stage's model is there and measured, in CEL."""


def _there(spec: Spec) -> set[GateStage]:
    """The same in Python."""
    found = {
        GateStage.TRAIN: True,
        GateStage.PRUNE: spec.prune is not None,
        GateStage.RETRAIN: spec.retrain is not None,
        GateStage.ROUNDS: spec.inference is not None and spec.inference.rounds is not None,
        GateStage.EXPORT: spec.export is not None and spec.toolkit.profile in _EVALUATES_EXPORT,
    }
    return {stage for stage, there in found.items() if there}


def _gates(spec: Spec) -> list[tuple[GateStage, Gate]]:
    found = [(stage, spec.gates.of(stage)) for stage in GateStage] if spec.gates else []
    return [(stage, gate) for stage, gate in found if gate is not None]


def _each(holds: dict[GateStage, str]) -> str:
    """In CEL: what must hold for every gate that is set."""
    parts = [f"(!has(self.gates.{stage.value}) || ({text}))" for stage, text in holds.items()]
    return f"!has(self.gates) || ({' && '.join(parts)})"


def _stands(stage: GateStage) -> str:
    drop = f"self.gates.{stage.value}.maxMapDrop"
    others = " || ".join(f"({drop}.of == '{earlier.value}' && {_THERE[earlier]})" for earlier in stage.before) or "true"
    return f"{_THERE[stage]} && (!has({drop}) || {others})"


def _knows_classes(stage: GateStage) -> str:
    bounds = f"self.gates.{stage.value}.minAp"
    return f"!has({bounds}) || {bounds}.all(c, self.dataset.classes.exists(k, self.dataset.classes[k] == c))"


def _gates_stand(spec: Spec) -> bool:
    compared = {gate.max_map_drop.of for _, gate in _gates(spec) if gate.max_map_drop}
    return {stage for stage, _ in _gates(spec)} | compared <= _there(spec)


# --- checkpoints ---


def _saved_cel(training: str, epochs: str, interval: str) -> str:
    epoch = f"int({training}.checkpoint)"
    return (
        f"{training}.checkpoint in ['best', 'last'] || ({epoch} <= {epochs} && {epoch} % ({interval}) == 0)"
        f" || ({epoch} == {epochs} && {profile_in_cel(_SAVES_LAST)})"
    )


def _saved(spec: Spec, checkpoint: str, epochs: int, interval: int) -> bool:
    """Whether an epoch has a checkpoint."""
    if not checkpoint.isdecimal():
        return True
    last = int(checkpoint) == epochs and DIALECTS[spec.toolkit.profile].saves_last_epoch
    return last or (int(checkpoint) <= epochs and int(checkpoint) % interval == 0)


def _trained_saved(spec: Spec) -> bool:
    config = spec.experiment_spec.training_config
    return _saved(spec, spec.train.checkpoint, config.num_epochs, config.checkpoint_interval)


def _retrained_saved(spec: Spec) -> bool:
    if spec.retrain is None:
        return True
    interval = spec.retrain.checkpoint_interval or spec.experiment_spec.training_config.checkpoint_interval
    return _saved(spec, spec.retrain.checkpoint, spec.retrain.num_epochs, min(interval, spec.retrain.num_epochs))


_CONFIG = "self.experimentSpec.trainingConfig"
_INTERVAL = (
    "has(self.retrain.checkpointInterval) ? self.retrain.checkpointInterval"
    f" : {_CONFIG}.checkpointInterval < self.retrain.numEpochs ? {_CONFIG}.checkpointInterval : self.retrain.numEpochs"
)

RULES: tuple[Rule, ...] = (
    Rule(
        cel=_each({stage: _stands(stage) for stage in GateStage}),
        message="a gate, and what it compares with, need their stage: prune, retrain, inference.rounds, export (open)",
        check=_gates_stand,
        field=".gates",
    ),
    Rule(
        cel=_each({stage: _knows_classes(stage) for stage in GateStage}),
        message="minAp names a class that dataset.classes does not map to",
        check=lambda s: all(set(gate.min_ap or ()) <= set(s.dataset.classes.values()) for _, gate in _gates(s)),
        field=".gates",
    ),
    Rule(
        cel=_saved_cel("self.train", f"{_CONFIG}.numEpochs", f"{_CONFIG}.checkpointInterval"),
        message="train.checkpoint must be a saved epoch: a multiple of checkpointInterval (numEpochs, but not with TAO 3)",
        check=_trained_saved,
        field=".train.checkpoint",
    ),
    Rule(
        cel=f"!has(self.retrain) || {_saved_cel('self.retrain', 'self.retrain.numEpochs', _INTERVAL)}",
        message="retrain.checkpoint must be a saved epoch: a multiple of checkpointInterval (numEpochs, but not with TAO 3)",
        check=_retrained_saved,
        field=".retrain.checkpoint",
    ),
)
