"""`spec.inference.rounds`: pseudo-labels of the unlabelled images join the training set, as long as the model gains by it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from yolo_operator.api.base import Model, Rule
from yolo_operator.api.experiment_spec import Count, LearningRate, OpenUnit, Regularizer, Unit
from yolo_operator.api.training import Checkpoint

MOST_ROUNDS = 5


class Uncertain(StrEnum):
    """What a label that is not good enough means for its image: training takes an object without a label for background."""

    DROP_IMAGE = "DropImage"
    DROP_LABEL = "DropLabel"


class FineTune(Model):
    """The training of a round. What is absent is as in `retrain`, without one as in `trainingConfig`."""

    num_epochs: Count
    checkpoint_interval: Count | None = None
    """Absent: numEpochs when that is less than the one it would take over."""
    batch_size_per_gpu: Count | None = None
    learning_rate: LearningRate | None = None
    """Lower than that of the training: the model is nearly there."""
    regularizer: Regularizer | None = None
    checkpoint: Checkpoint = "best"

    rules: ClassVar = (
        Rule(
            cel="!has(self.checkpointInterval) || self.checkpointInterval <= self.numEpochs",
            message="checkpointInterval must not be above numEpochs: no checkpoint would be written",
            check=lambda f: f.checkpoint_interval is None or f.checkpoint_interval <= f.num_epochs,
            field=".checkpointInterval",
        ),
    )


class Rounds(Model):
    """Each round labels `dataset.unlabelled` with the best model, keeps the sure labels, fine-tunes with them, and evaluates.

    Its model is kept when it gains; the first round without a gain is the last. No file of the dataset is changed: the labels are
    a second source of training data.
    """

    count: Annotated[int, Field(ge=1, le=MOST_ROUNDS)] = 1
    """Rounds at most."""
    threshold: OpenUnit | None = None
    """Confidence from which a detection counts as one. Absent: inference.threshold."""
    min_confidence: OpenUnit = 0.6
    """Confidence from which a detection becomes a label."""
    min_confidence_per_class: Annotated[dict[str, OpenUnit], Field(max_length=64)] | None = None
    """In place of minConfidence, by the model's class."""
    max_per_class: Count | None = None
    """Labels of one class at most, the surest images first. Absent: no limit."""
    min_per_image: Annotated[int, Field(ge=1, le=1000)] = 1
    """An image with fewer labels is not used."""
    max_images: Count | None = None
    """Images at most, the surest first. Absent: no limit."""
    uncertain: Uncertain = Uncertain.DROP_IMAGE
    """DropImage: an image with a detection that becomes no label is not used. DropLabel: it is used without that label."""
    min_gain: Unit = 0.001
    """mAP that a round's model must be better by to be kept; 0 keeps one that is as good."""
    fine_tune: FineTune
