"""`spec.anchors`, `spec.train` and `spec.retrain`: what of a training is decided outside of the experiment spec."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from yolo_operator.api.base import Model, Rule
from yolo_operator.api.experiment_spec import Count, LearningRate, Regularizer, Uint32


class AutoAnchors(Model):
    """k-means over the training boxes."""

    count: Annotated[int, Field(ge=3, le=27, multiple_of=3)] = 9
    """Anchors in all: a third for each scale, a half for the two scales of cspdarknet_tiny (then 6)."""
    max_steps: Count | None = None
    min_width: Uint32 | None = None
    """Boxes whose width in network pixels is not above this are left out."""
    min_height: Uint32 | None = None


class Anchors(Model):
    """How anchors are found. Absent: the experiment spec's own."""

    auto: AutoAnchors


Checkpoint = Annotated[str, Field(pattern=r"^(best|last|[1-9][0-9]{0,4})$", max_length=5)]
"""best: highest validation mAP; last; or an epoch's number."""


class Qat(StrEnum):
    """Where quantisation-aware training (QAT) begins."""

    FROM_TRAIN = "FromTrain"
    """In the first training: the QAT model is pruned, and retrained with QAT. The order that works with every toolkit."""
    FROM_RETRAIN = "FromRetrain"
    """In the retraining only. TAO ignores it on a pruned model."""
    OFF = "Off"


class Train(Model):
    """What of the training goes on."""

    checkpoint: Checkpoint = "best"
    use_amp: bool = False
    """Automatic mixed precision (`--use_amp`): faster on GPUs with tensor cores. TAO's profiles only."""


class Retrain(Model):
    """Retraining of the chosen variant. What is absent is as in `trainingConfig`."""

    enable_qat: bool = False
    """Quantisation-aware training. TAO ignores it on a pruned model (contract §8.1); the open toolkit does it."""
    num_epochs: Count
    checkpoint_interval: Count | None = None
    """Absent: trainingConfig's, or numEpochs when that is less."""
    batch_size_per_gpu: Count | None = None
    learning_rate: LearningRate | None = None
    regularizer: Regularizer | None = None
    """NO_REG lets a pruned model come back best."""
    checkpoint: Checkpoint = "best"
    candidates: Annotated[int, Field(ge=1, le=8)] = 1
    """So many of the variants within `prune.select`, the smallest first, are retrained; the best by mAP after that goes on."""
    use_amp: bool | None = None
    """Absent: as `train.useAmp`."""

    rules: ClassVar = (
        Rule(
            cel="!has(self.checkpointInterval) || self.checkpointInterval <= self.numEpochs",
            message="checkpointInterval must not be above numEpochs: no checkpoint would be written",
            check=lambda r: r.checkpoint_interval is None or r.checkpoint_interval <= r.num_epochs,
            field=".checkpointInterval",
        ),
    )
