"""`spec` of a YoloExperiment: what a person writes."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import Field

from yolo_operator.api.base import Model, ObjectName, Quantity, Rule, SafeName, SafePath, exactly_one
from yolo_operator.api.experiment_spec import Count, ExperimentSpec, LearningRate, OpenUnit, Regularizer, Uint32, Unit
from yolo_operator.api.pods import Resources, Retry, Scheduling, SecurityContext, StageOverrides


class Profile(StrEnum):
    """A toolkit's command-line dialect and outputs."""

    TAO_3_21_11 = "tao-3.21.11"
    TAO_5_0 = "tao-5.0"
    OPEN = "open"


class SecretKeyRef(Model):
    """A key of a Secret in the experiment's namespace. The operator never reads it; the stage's pod does."""

    name: ObjectName
    key: Annotated[str, Field(pattern=r"^[-._a-zA-Z0-9]+$", min_length=1, max_length=253)]


class LocalRef(Model):
    """A reference to an object of the same namespace."""

    name: ObjectName


class PullPolicy(StrEnum):
    """When the kubelet pulls the image."""

    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


class Toolkit(Model):
    """The image that runs the stages and the dialect it speaks."""

    profile: Profile
    image: Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[A-Za-z0-9._/:@-]+$")] | None = None
    """Absent: the profile's own image."""
    image_pull_policy: PullPolicy = PullPolicy.IF_NOT_PRESENT
    image_pull_secrets: Annotated[list[LocalRef], Field(max_length=8)] | None = None
    encryption_key_secret_ref: SecretKeyRef | None = None
    """The passphrase of TAO's encrypted models (`-k`). Mandatory with tao-3.21.11; one key for all stages."""

    rules: ClassVar = (
        Rule(
            cel="self.profile != 'tao-3.21.11' || has(self.encryptionKeySecretRef)",
            message="tao-3.21.11 encrypts its models: encryptionKeySecretRef must name the Secret that holds the key",
            check=lambda t: t.profile is not Profile.TAO_3_21_11 or t.encryption_key_secret_ref is not None,
            field=".encryptionKeySecretRef",
        ),
    )


class Retention(StrEnum):
    """What happens to a claim made from the template when the experiment is deleted."""

    RETAIN = "Retain"
    DELETE = "Delete"


class AccessMode(StrEnum):
    """How many nodes may mount the claim."""

    READ_WRITE_ONCE = "ReadWriteOnce"
    READ_WRITE_MANY = "ReadWriteMany"
    READ_WRITE_ONCE_POD = "ReadWriteOncePod"


class VolumeClaimTemplate(Model):
    """A claim that the operator makes, named after the experiment."""

    storage_class_name: ObjectName | None = None
    access_modes: Annotated[list[AccessMode], Field(min_length=1, max_length=3)] = [AccessMode.READ_WRITE_ONCE]
    storage: Quantity
    """Size, for example 20Gi."""


class Workspace(Model):
    """Where data and artifacts live: a directory on a claim, for this experiment alone."""

    claim_name: ObjectName | None = None
    """An existing PersistentVolumeClaim."""
    volume_claim_template: VolumeClaimTemplate | None = None
    """Or one that the operator makes."""
    sub_path: Annotated[SafePath, Field(max_length=256)] | None = None
    """The directory on the claim; absent: its root."""
    mount_path: Annotated[str, Field(pattern=r"^/[A-Za-z0-9._/-]+$", max_length=256)] = "/workspace"
    """Where the stages see it. Absolute paths in the experiment spec refer to it."""
    retention: Retention = Retention.RETAIN
    """Of a claim from the template. An existing claim is never deleted."""

    rules: ClassVar = (
        exactly_one("claim_name", "volume_claim_template"),
        Rule(
            cel="!has(self.subPath) || !(self.subPath.startsWith('/') || '..' in self.subPath.split('/'))",
            message="subPath must be relative and without '..'",
            check=lambda w: w.sub_path is None or not (w.sub_path.startswith("/") or ".." in w.sub_path.split("/")),
            field=".subPath",
        ),
        Rule(
            cel="!has(self.volumeClaimTemplate) || !has(self.subPath)",
            message="subPath goes with claimName: a claim made for one experiment is used from its root",
            check=lambda w: w.volume_claim_template is None or w.sub_path is None,
            field=".subPath",
        ),
    )


class LabelFormat(StrEnum):
    """How boxes are written."""

    KITTI = "kitti"
    DARKNET = "darknet"


class LabelledImages(Model):
    """A directory of images and the one of their label files (the same is fine for darknet)."""

    images: SafePath
    labels: SafePath


class Images(Model):
    """A directory of images."""

    images: SafePath


class Dataset(Model):
    """The data. Paths are relative to the dataset's claim when one is named, else to the workspace."""

    format: LabelFormat
    """darknet: `id cx cy w h`; `prepare` converts it to KITTI. kitti: used as it is after checks."""
    claim_name: ObjectName | None = None
    """A claim of the same namespace, mounted read-only at /dataset; absent: the data lie in the workspace."""
    sub_path: Annotated[SafePath, Field(max_length=256)] | None = None
    """The directory on the dataset's claim."""
    train: LabelledImages
    validation: LabelledImages
    unlabelled: Images | None = None
    """Images without labels: the input of `inference`."""
    classes: Annotated[dict[str, SafeName], Field(min_length=1, max_length=256)]
    """Label file's class (darknet: the id, kitti: the name) to the model's class."""

    rules: ClassVar = (
        Rule(
            cel="self.format != 'darknet' || self.classes.all(k, k.matches('^[0-9]+$'))",
            message="darknet labels name classes by id: the keys must be whole numbers",
            check=lambda d: d.format is not LabelFormat.DARKNET or all(key.isdecimal() for key in d.classes),
            field=".classes",
        ),
        Rule(
            cel="!has(self.subPath) || has(self.claimName)",
            message="subPath is the directory on dataset.claimName, which is not set",
            check=lambda d: d.sub_path is None or d.claim_name is not None,
            field=".subPath",
        ),
    )


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


class Train(Model):
    """What of the training goes on."""

    checkpoint: Checkpoint = "best"


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
    """Which variant goes on: the fewest parameters among those within the bounds."""

    max_map_drop: Unit | None = None
    """At most this much below the trained model's mAP."""
    max_parameter_ratio: Annotated[float, Field(gt=0, le=1)] | None = None
    """At most this part of the trained model's parameters."""
    threshold: OpenUnit | None = None
    """This variant, whatever it costs."""

    rules: ClassVar = (
        Rule(
            cel="[has(self.maxMapDrop) || has(self.maxParameterRatio), has(self.threshold)].filter(x, x).size() == 1",
            message="set threshold, or bounds (maxMapDrop, maxParameterRatio)",
            check=lambda s: (s.max_map_drop is not None or s.max_parameter_ratio is not None) != (s.threshold is not None),
        ),
    )


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

    rules: ClassVar = (
        Rule(
            cel="!has(self.checkpointInterval) || self.checkpointInterval <= self.numEpochs",
            message="checkpointInterval must not be above numEpochs: no checkpoint would be written",
            check=lambda r: r.checkpoint_interval is None or r.checkpoint_interval <= r.num_epochs,
            field=".checkpointInterval",
        ),
    )


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


class Spec(Model):
    """One YOLOv4 experiment."""

    toolkit: Toolkit
    workspace: Workspace
    dataset: Dataset
    experiment_spec: ExperimentSpec
    anchors: Anchors | None = None
    """Absent: the experiment spec's own anchors."""
    train: Train = Train()
    prune: Prune | None = None
    """Absent: no pruning."""
    retrain: Retrain | None = None
    """Absent: no retraining."""
    export: Export | None = None
    """Absent: no export."""
    inference: Inference | None = None
    """Absent: no inference."""
    resources: Resources = Resources()
    scheduling: Scheduling = Scheduling()
    security_context: SecurityContext | None = None
    retry: Retry = Retry()
    stages: StageOverrides | None = None
    max_parallel: Annotated[int, Field(ge=1, le=64)] = 4
    """Jobs of this experiment at the same time."""
    suspend: bool = False
    """Stops what runs (checkpoints are kept) and starts nothing until it is false again."""
    queue_name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", max_length=63)] | None = None
    """A Kueue LocalQueue."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.anchors) || has(self.experimentSpec.yolov4Config.bigAnchorShape)",
            message="no anchors: set anchors.auto, or the three anchor shapes in experimentSpec.yolov4Config",
            check=lambda s: s.anchors is not None or s.experiment_spec.yolov4_config.big_anchor_shape is not None,
        ),
        Rule(
            cel="!has(self.anchors) || self.experimentSpec.yolov4Config.arch != 'cspdarknet_tiny'"
            " || self.anchors.auto.count % 2 == 0",
            message="cspdarknet_tiny has two scales: count must be even, for example 6",
            check=lambda s: (
                s.anchors is None or s.experiment_spec.yolov4_config.arch != "cspdarknet_tiny" or s.anchors.auto.count % 2 == 0
            ),
            field=".anchors.auto.count",
        ),
        Rule(
            cel="!has(self.retrain) || has(self.prune)",
            message="retrain works on the chosen pruned variant: set prune",
            check=lambda s: s.retrain is None or s.prune is not None,
            field=".retrain",
        ),
        Rule(
            cel="!has(self.inference) || has(self.dataset.unlabelled)",
            message="inference needs dataset.unlabelled",
            check=lambda s: s.inference is None or s.dataset.unlabelled is not None,
            field=".inference",
        ),
        Rule(
            cel="self.toolkit.profile == 'open' || !has(self.experimentSpec.openConfig)",
            message="openConfig is the open toolkit's alone: leave it out with a TAO profile",
            check=lambda s: s.toolkit.profile is Profile.OPEN or s.experiment_spec.open_config is None,
            field=".experimentSpec.openConfig",
        ),
        Rule(
            cel="!has(self.export) || (self.toolkit.profile == 'tao-3.21.11') == (self.export.format == 'etlt')",
            message="tao-3.21.11 exports etlt; tao-5.0 and open export onnx",
            check=lambda s: (
                s.export is None or (s.toolkit.profile is Profile.TAO_3_21_11) == (s.export.format is ExportFormat.ETLT)
            ),
            field=".export.format",
        ),
        Rule(
            cel="self.toolkit.profile != 'open' || !has(self.export) || self.export.dataType != 'fp16'",
            message="the open toolkit exports fp32 or int8",
            check=lambda s: s.toolkit.profile is not Profile.OPEN or s.export is None or s.export.data_type is not DataType.FP16,
            field=".export.dataType",
        ),
        Rule(
            cel="self.toolkit.profile != 'open' || !has(self.experimentSpec.yolov4Config.arch)"
            " || (self.experimentSpec.yolov4Config.arch == 'resnet' && self.experimentSpec.yolov4Config.nlayers in [10, 18, 34])",
            message="the open toolkit has arch resnet with nlayers 10, 18 or 34",
            check=lambda s: (
                s.toolkit.profile is not Profile.OPEN
                or (s.experiment_spec.yolov4_config.arch == "resnet" and s.experiment_spec.yolov4_config.nlayers in (10, 18, 34))
            ),
            field=".experimentSpec.yolov4Config.arch",
        ),
        Rule(
            cel="!has(self.queueName) || !self.suspend",
            message="with queueName Kueue decides what runs; set suspend on its Workload, or stop the queue",
            check=lambda s: s.queue_name is None or not s.suspend,
            field=".suspend",
        ),
    )


def parse_spec(raw: dict[str, Any]) -> Spec:
    """The spec as a model. Fields have the API server's names, and no others.

    Raises:
        pydantic.ValidationError: with the path of each wrong field.
    """
    return Spec.model_validate(raw, by_alias=True, by_name=False)
