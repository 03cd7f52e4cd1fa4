"""Rules between the experiment spec and the rest of the resource: what TAO would find minutes later, or never."""

from __future__ import annotations

from yolo_operator.api.base import Rule
from yolo_operator.api.dataset import ImageExtension
from yolo_operator.api.toolkit import profile_in_cel, profiles_that

_RMSPROP = profiles_that(lambda known: known.rmsprop)

RULES: tuple[Rule, ...] = (
    Rule(
        cel=f"{profile_in_cel(_RMSPROP)} || !has(self.experimentSpec.trainingConfig.optimizer.rmsprop)",
        message="TAO crashes while it checks rmsprop, as it looks for a beta2 in it: take adam or sgd",
        check=lambda s: s.toolkit.profile in _RMSPROP or s.experiment_spec.training_config.optimizer.rmsprop is None,
        field=".experimentSpec.trainingConfig.optimizer.rmsprop",
    ),
    Rule(
        cel="!has(self.experimentSpec.augmentationConfig.outputDepth)"
        " || self.experimentSpec.augmentationConfig.outputDepth != 16"
        " || (has(self.dataset.imageExtension) && self.dataset.imageExtension == 'png')",
        message="images of 16 bits are png: set dataset.imageExtension to png",
        check=lambda s: (
            s.experiment_spec.augmentation_config.output_depth != 16 or s.dataset.image_extension is ImageExtension.PNG
        ),
        field=".dataset.imageExtension",
    ),
)
