"""`spec.export` and `spec.inference`: what leaves the experiment."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from yolo_operator.api.base import Model, Rule, SafePath, at_most_one
from yolo_operator.api.experiment_spec import Count, OpenUnit
from yolo_operator.api.rounds import Rounds
from yolo_operator.dialects.base import BATCH_SIZE, BATCHES


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
    """What int8 ranges are measured on when the model was not trained with QAT. A path counts from the dataset."""

    images: SafePath | None = None
    """A directory of images: batches × batchSize of them. Absent: the training images."""
    tensorfile: SafePath | None = None
    """TAO's calibration tensorfile (HDF5), made before: no image is read."""
    batches: Count = BATCHES
    batch_size: Count = BATCH_SIZE

    rules: ClassVar = (at_most_one("images", "tensorfile"),)


class Engine(Model):
    """A TensorRT engine beside the exported model, built on the GPU that the export runs on and good for that kind alone."""

    min_batch_size: Count | None = None
    """Absent: 1, as of the other two."""
    opt_batch_size: Count | None = None
    max_batch_size: Count | None = None
    max_workspace_size: Annotated[int, Field(ge=1, le=2**40)] | None = None
    """Bytes that TensorRT may use while it builds; absent: 2 GiB."""
    strict_types: bool = False
    """Keep to the precision even where another one would be faster."""

    rules: ClassVar = (
        Rule(
            cel="(has(self.minBatchSize) ? self.minBatchSize : 1) <= (has(self.optBatchSize) ? self.optBatchSize : 1)"
            " && (has(self.optBatchSize) ? self.optBatchSize : 1) <= (has(self.maxBatchSize) ? self.maxBatchSize : 1)",
            message="minBatchSize, optBatchSize and maxBatchSize (1 where absent) must not fall",
            check=lambda e: (e.min_batch_size or 1) <= (e.opt_batch_size or 1) <= (e.max_batch_size or 1),
            field=".maxBatchSize",
        ),
    )


class Export(Model):
    """The exported model."""

    format: ExportFormat
    data_type: DataType = DataType.FP32
    calibration: Calibration | None = None
    """Used for int8 of a model trained without QAT."""
    gen_ds_config: bool = False
    """Also write `labels.txt` and `nvinfer_config.txt` for DeepStream. TAO puts its key into the latter; here it is masked."""
    engine: Engine | None = None
    """Absent: no TensorRT engine. TAO's profiles only."""

    rules: ClassVar = (
        Rule(
            cel="self.dataType == 'int8' || !has(self.calibration)",
            message="calibration is for int8: leave it out with another dataType",
            check=lambda e: e.data_type is DataType.INT8 or e.calibration is None,
            field=".calibration",
        ),
    )


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
