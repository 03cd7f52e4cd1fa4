"""`spec.export` and `spec.inference`: what leaves the experiment."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from yolo_operator.api.base import Model, Rule, SafePath
from yolo_operator.api.experiment_spec import Count, OpenUnit
from yolo_operator.api.rounds import Rounds


class ExportFormat(StrEnum):
    """etlt: TAO 3's encrypted ONNX. onnx: plain."""

    ONNX = "onnx"
    ETLT = "etlt"


class DataType(StrEnum):
    """Precision of the exported model."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


class Calibration(Model):
    """Images that int8 ranges are measured on when the model was not trained with QAT."""

    images: SafePath | None = None
    """Absent: the training images."""
    batches: Count = 10
    batch_size: Count = 8


class Export(Model):
    """The exported model."""

    format: ExportFormat
    data_type: DataType = DataType.FP32
    calibration: Calibration | None = None
    """Used for int8 of a model trained without QAT."""


class Inference(Model):
    """Annotated images and pseudo-labels for `dataset.unlabelled`."""

    threshold: OpenUnit = 0.3
    """Confidence from which a box is kept."""
    rounds: Rounds | None = None
    """Absent: the pseudo-labels are left as they are."""

    rules: ClassVar = (
        Rule(
            cel="!has(self.rounds)"
            " || (has(self.rounds.threshold) ? self.rounds.threshold : self.threshold) <= self.rounds.minConfidence",
            message="minConfidence must not be below the threshold (rounds.threshold, else inference.threshold)",
            check=lambda i: i.rounds is None or (i.rounds.threshold or i.threshold) <= i.rounds.min_confidence,
            field=".rounds.minConfidence",
        ),
    )
