"""Rules about what a toolkit can do, made from the facts in `yolo_operator.dialects`: a new toolkit brings its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic.alias_generators import to_camel

from yolo_operator.api.base import Rule
from yolo_operator.api.pods import StageOverrides
from yolo_operator.api.toolkit import allowed_cel, profile_in_cel, profiles_that, told_by_profile
from yolo_operator.dialects import DIALECTS
from yolo_operator.dialects.base import Dialect

if TYPE_CHECKING:
    from yolo_operator.api.spec import Spec


def _facts(spec: Spec) -> Dialect:
    return DIALECTS[spec.toolkit.profile]


_OPEN_CONFIG = profiles_that(lambda known: known.open_config)
_NEEDY = profiles_that(lambda known: known.needs_gpu)
_ENGINES = profiles_that(lambda known: known.engine)
_TENSORFILES = profiles_that(lambda known: known.tensorfile)
_MIXED = profiles_that(lambda known: known.mixed_precision)


GPU_STAGES = tuple(name for name in StageOverrides.model_fields if name not in ("prepare", "merge", "weights"))
"""Overrides of stages that run in the toolkit's image, not in the operator's own."""


def _asks_for_no_gpu(spec: Spec) -> bool:
    """Whether a stage of the toolkit's is told to do without a GPU."""
    overrides = [getattr(spec.stages, name) for name in GPU_STAGES] if spec.stages else []
    resources = [spec.resources, *(override.resources for override in overrides if override and override.resources)]
    return any(found.gpus == 0 for found in resources)


def _architecture_fits(spec: Spec) -> bool:
    known, network = _facts(spec).architectures, spec.experiment_spec.yolov4_config
    return known is None or network.nlayers in known.get(network.arch.value, ())


def _architecture_rule(known: Dialect) -> Rule:
    """One for each toolkit that has less than all."""
    layers = {name: list(counts) for name, counts in (known.architectures or {}).items()}
    network = "self.experimentSpec.yolov4Config"
    fits = " || ".join(f"({network}.arch == {name!r} && {network}.nlayers in {counts})" for name, counts in layers.items())
    said = "; ".join(f"{name} with nlayers {', '.join(map(str, counts))}" for name, counts in layers.items())
    return Rule(
        # Beside an nlayers that is missing the network's own rule speaks.
        cel=f"!({profile_in_cel([known.profile])}) || (has({network}.nlayers) && ({fits}))",
        message=f"{known.title} has arch {said}",
        check=lambda s: s.toolkit.profile != known.profile or _architecture_fits(s),
        field=".experimentSpec.yolov4Config.arch",
    )


def _have(profiles: list[str]) -> str:
    return " and ".join(profiles)


RULES = (
    Rule(
        cel=f"!({profile_in_cel(_NEEDY)}) || (self.?resources.?gpus.orValue(1) > 0 && ["
        + ", ".join(f"self.?stages.?{to_camel(name)}.?resources.?gpus.orValue(1)" for name in GPU_STAGES)
        + "].all(gpus, gpus > 0))",
        message="TAO looks for a GPU before every task, whatever it is: gpus must not be 0",
        check=lambda s: not _facts(s).needs_gpu or not _asks_for_no_gpu(s),
        field=".resources",
    ),
    Rule(
        cel=f"{profile_in_cel(_OPEN_CONFIG)} || !has(self.experimentSpec.openConfig)",
        message="openConfig is the open toolkit's alone: leave it out with a TAO profile",
        check=lambda s: _facts(s).open_config or s.experiment_spec.open_config is None,
        field=".experimentSpec.openConfig",
    ),
    *(_architecture_rule(known) for known in DIALECTS.values() if known.architectures is not None),
    Rule(
        cel=f"!has(self.export) || {allowed_cel('self.export.format', lambda known: known.export_formats)}",
        message=f"the toolkit exports another format ({told_by_profile(lambda known: known.export_formats)})",
        check=lambda s: s.export is None or s.export.format.value in _facts(s).export_formats,
        field=".export.format",
    ),
    Rule(
        cel=f"!has(self.export) || {allowed_cel('self.export.dataType', lambda known: known.data_types)}",
        message=f"the toolkit exports other precisions ({told_by_profile(lambda known: known.data_types)})",
        check=lambda s: s.export is None or s.export.data_type.value in _facts(s).data_types,
        field=".export.dataType",
    ),
    Rule(
        cel=f"!has(self.export) || !has(self.export.engine) || {profile_in_cel(_ENGINES)}",
        message=f"only {_have(_ENGINES)} build TensorRT engines",
        check=lambda s: s.export is None or s.export.engine is None or _facts(s).engine,
        field=".export.engine",
    ),
    Rule(
        cel="!has(self.export) || !has(self.export.calibration) || !has(self.export.calibration.tensorfile)"
        f" || {profile_in_cel(_TENSORFILES)}",
        message=f"only {_have(_TENSORFILES)} read a calibration tensorfile: name images",
        check=lambda s: (
            s.export is None or s.export.calibration is None or s.export.calibration.tensorfile is None or _facts(s).tensorfile
        ),
        field=".export.calibration",
    ),
    Rule(
        cel="!(self.train.useAmp || (has(self.retrain) && has(self.retrain.useAmp) && self.retrain.useAmp))"
        f" || {profile_in_cel(_MIXED)}",
        message=f"only {_have(_MIXED)} have automatic mixed precision: leave useAmp out",
        check=lambda s: _facts(s).mixed_precision or not (s.train.use_amp or (s.retrain is not None and s.retrain.use_amp)),
        field=".train.useAmp",
    ),
)
