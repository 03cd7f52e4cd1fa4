"""The experiment spec: TAO's sections and field names in camelCase, with TAO's ranges and what TAO fails to check.

Field by field after contract §2. Python names are TAO's own text names, so that rendering needs no table of names.
`dataset_config` is not here: it is derived from `spec.dataset`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from yolo_operator.api.base import Model, ObjectName, Rule, SafeName, SafePath, at_most_one, exactly_one
from yolo_operator.api.single import MOST, SINGLE

_NUMBER = r"[0-9]+(\.[0-9]+)?"
_PAIR = rf"\(\s*{_NUMBER}\s*,\s*{_NUMBER}\s*\)"
ANCHORS = rf"^\s*\[\s*{_PAIR}(\s*,\s*{_PAIR})*\s*,?\s*\]\s*$"

AnchorShape = Annotated[str, Field(pattern=ANCHORS, max_length=512)]


Unit = Annotated[float, Field(ge=0, le=1)]
OpenUnit = Annotated[float, Field(gt=0, lt=1)]
# What TAO's messages hold, in 32 bits:
Unit32 = Annotated[float, Field(ge=0, le=1), SINGLE]
PositiveUnit32 = Annotated[float, Field(gt=0, le=1), SINGLE]
OpenUnit32 = Annotated[float, Field(gt=0, lt=1), SINGLE]
Extend32 = Annotated[float, Field(ge=0, le=0.3), SINGLE]
Positive32 = Annotated[float, Field(gt=0, le=MOST), SINGLE]
NonNegative32 = Annotated[float, Field(ge=0, le=MOST), SINGLE]
Count = Annotated[int, Field(ge=1, le=4294967295)]
Uint32 = Annotated[int, Field(ge=0, le=4294967295)]


class Arch(StrEnum):
    """Backbones of `yolo_v4`."""

    RESNET = "resnet"
    VGG = "vgg"
    DARKNET = "darknet"
    CSPDARKNET = "cspdarknet"
    CSPDARKNET_TINY = "cspdarknet_tiny"
    CSPDARKNET_TINY_3L = "cspdarknet_tiny_3l"
    EFFICIENTNET_B0 = "efficientnet_b0"
    MOBILENET_V1 = "mobilenet_v1"
    MOBILENET_V2 = "mobilenet_v2"
    SQUEEZENET = "squeezenet"
    GOOGLENET = "googlenet"


LAYERS: dict[Arch, tuple[int, ...]] = {
    Arch.RESNET: (10, 18, 34, 50, 101),
    Arch.VGG: (16, 19),
    Arch.DARKNET: (19, 53),
    Arch.CSPDARKNET: (19, 53),
}
"""Legal `nlayers` of the backbones that have them; the others ignore the field."""


def _layers_cel() -> str:
    cases = [f"(self.arch == '{arch.value}' && self.nlayers in {list(layers)})" for arch, layers in LAYERS.items()]
    sized = "[" + ", ".join(f"'{arch.value}'" for arch in LAYERS) + "]"
    return f"!(self.arch in {sized}) || (has(self.nlayers) && ({' || '.join(cases)}))"


class Yolov4Config(Model):
    """`yolov4_config`: the network and its loss."""

    big_anchor_shape: AnchorShape | None = None
    """Anchors of the coarsest scale, in network pixels: "[(w, h), …]". Left out when anchors are computed (`anchors.auto`)."""
    mid_anchor_shape: AnchorShape | None = None
    """Anchors of the middle scale, in network pixels."""
    small_anchor_shape: AnchorShape | None = None
    """Anchors of the finest scale, in network pixels; absent with cspdarknet_tiny."""
    box_matching_iou: PositiveUnit32 = 0.25
    """An anchor whose IoU with a box is at least this is a positive."""
    matching_neutral_box_iou: Annotated[float, Field(gt=0.25, le=1), SINGLE] = 0.5
    """A prediction whose IoU with a box is above this is no negative."""
    arch: Arch
    """The backbone."""
    nlayers: Uint32 | None = None
    """Depth of resnet (10, 18, 34, 50, 101), vgg (16, 19), darknet and cspdarknet (19, 53)."""
    arch_conv_blocks: Annotated[int, Field(ge=0, le=2)] | None = None
    """Read by TAO and unused in v4."""
    loss_loc_weight: Positive32 = 1.0
    """Weight of the box loss. TAO takes 0 when unset and then learns no boxes: here it must be above 0."""
    loss_neg_obj_weights: Positive32 = 1.0
    """Weight of the objectness loss where there is no object."""
    loss_class_weights: Positive32 = 1.0
    """Weight of the class loss."""
    label_smoothing: Extend32 = 0.0
    focal_loss_alpha: Annotated[float, Field(ge=0, lt=1), SINGLE] | None = None
    """Focal loss is active only when alpha and gamma are both above 0."""
    focal_loss_gamma: NonNegative32 | None = None
    freeze_blocks: Annotated[list[Annotated[int, Field(ge=0, le=5)]], Field(max_length=6)] | None = None
    """Backbone blocks whose weights stay as they are. `[0]` really freezes block 0."""
    freeze_bn: bool = False
    """Batch-normalisation layers keep their statistics and weights."""
    force_relu: bool = False
    """ReLU in place of the backbone's own activation."""
    activation: SafeName | None = None
    """Activation of the backbone: leaky_relu, mish, relu."""
    big_grid_xy_extend: Extend32 = 0.05
    mid_grid_xy_extend: Extend32 = 0.1
    small_grid_xy_extend: Extend32 = 0.2

    rules: ClassVar = (
        Rule(
            cel=_layers_cel(),
            message="nlayers must be one of resnet: 10, 18, 34, 50, 101; vgg: 16, 19; darknet, cspdarknet: 19, 53",
            check=lambda c: c.arch not in LAYERS or c.nlayers in LAYERS[c.arch],
            field=".nlayers",
        ),
        Rule(
            cel="self.arch != 'cspdarknet_tiny' || (!has(self.smallAnchorShape)"
            " && (!has(self.smallGridXyExtend) || self.smallGridXyExtend == 0.0))",
            message="cspdarknet_tiny has two scales: leave smallAnchorShape out and set smallGridXyExtend to 0",
            check=lambda c: c.arch is not Arch.CSPDARKNET_TINY or (c.small_anchor_shape is None and c.small_grid_xy_extend == 0),
        ),
        Rule(
            cel="has(self.bigAnchorShape) == has(self.midAnchorShape) && (self.arch == 'cspdarknet_tiny'"
            " || has(self.bigAnchorShape) == has(self.smallAnchorShape))",
            message="give the anchors of every scale (bigAnchorShape, midAnchorShape, smallAnchorShape) or of none",
            check=lambda c: (
                (c.big_anchor_shape is None) == (c.mid_anchor_shape is None)
                and (c.arch is Arch.CSPDARKNET_TINY or (c.big_anchor_shape is None) == (c.small_anchor_shape is None))
            ),
        ),
    )


class SoftStartAnnealingSchedule(Model):
    """Linear warm-up, a plateau, then exponential decay from `annealing` on."""

    min_learning_rate: Positive32
    max_learning_rate: Positive32
    soft_start: Unit32
    """Part of the training spent warming up."""
    annealing: Unit32
    """Part of the training after which the rate decays."""

    rules: ClassVar = (
        Rule(
            cel="self.minLearningRate < self.maxLearningRate",
            message="minLearningRate must be below maxLearningRate",
            check=lambda s: s.min_learning_rate < s.max_learning_rate,
            field=".minLearningRate",
        ),
        Rule(
            cel="self.softStart < self.annealing",
            message="softStart must be below annealing",
            check=lambda s: s.soft_start < s.annealing,
            field=".softStart",
        ),
    )


class SoftStartCosineAnnealingSchedule(Model):
    """Linear warm-up, then a cosine that TAO does not rescale: with softStart 0.3 it ends at about 21 % of the maximum."""

    max_learning_rate: Positive32
    soft_start: Unit32
    min_learning_rate: Positive32

    rules: ClassVar = (SoftStartAnnealingSchedule.rules[0],)


class LearningRate(Model):
    """`learning_rate`: one schedule."""

    soft_start_annealing_schedule: SoftStartAnnealingSchedule | None = None
    soft_start_cosine_annealing_schedule: SoftStartCosineAnnealingSchedule | None = None

    rules: ClassVar = (exactly_one("soft_start_annealing_schedule", "soft_start_cosine_annealing_schedule"),)


class RegularizerType(StrEnum):
    """Weight regularisation."""

    NO_REG = "NO_REG"
    L1 = "L1"
    L2 = "L2"


class Regularizer(Model):
    """`regularizer`. L1 drives channels towards zero, which pruning then removes."""

    type: RegularizerType
    weight: OpenUnit32 | None = None

    rules: ClassVar = (
        Rule(
            cel="self.type == 'NO_REG' || has(self.weight)",
            message="weight is needed with L1 and L2",
            check=lambda r: r.type is RegularizerType.NO_REG or r.weight is not None,
            field=".weight",
        ),
    )


class Adam(Model):
    """Adam."""

    epsilon: Positive32 = 1e-7
    beta1: OpenUnit32 = 0.9
    beta2: OpenUnit32 = 0.999
    amsgrad: bool = False


class Sgd(Model):
    """Stochastic gradient descent."""

    momentum: NonNegative32 = 0.9
    nesterov: bool = False


class Rmsprop(Model):
    """RMSProp. TAO crashes while it checks it, so it is for the open toolkit alone."""

    rho: OpenUnit32 = 0.9
    momentum: NonNegative32 = 0.0
    epsilon: Positive32 = 1e-7
    centered: bool = False


class Optimizer(Model):
    """`optimizer`: one of them."""

    adam: Adam | None = None
    sgd: Sgd | None = None
    rmsprop: Rmsprop | None = None

    rules: ClassVar = (exactly_one("adam", "sgd", "rmsprop"),)


class CostScaling(Model):
    """`cost_scaling`: read by TAO and unused in v4."""

    enabled: bool | None = None
    initial_exponent: float | None = None
    increment: float | None = None
    decrement: float | None = None


class Monitor(StrEnum):
    """What early stopping looks at; TAO takes nothing else."""

    LOSS = "loss"


class EarlyStopping(Model):
    """`early_stopping`."""

    monitor: Monitor = Monitor.LOSS
    min_delta: NonNegative32
    patience: Count


Words = Annotated[str, Field(max_length=256)]
Tags = Annotated[list[Annotated[str, Field(min_length=1, max_length=64)]], Field(max_length=16)]


class WandbMode(StrEnum):
    """Where Weights & Biases writes."""

    ONLINE = "ONLINE"
    OFFLINE = "OFFLINE"
    DISABLED = "DISABLED"


class WandbConfig(Model):
    """`wandb_config`: Weights & Biases. TAO's `key` is not here: a secret has no place in an object (see the user guide)."""

    enabled: bool = False
    project: Words | None = None
    entity: Words | None = None
    reinit: bool | None = None
    name: Words | None = None
    tags: Tags | None = None
    wandb_dir: SafePath | None = None
    notes: Words | None = None
    mode: WandbMode | None = None


class ClearmlConfig(Model):
    """`clearml_config`: ClearML, which finds its credentials in the environment."""

    project: Words | None = None
    task: Words | None = None
    tags: Tags | None = None
    reuse_last_task_id: bool | None = None
    continue_last_task: bool | None = None
    deferred_init: bool | None = None


class Visualizer(Model):
    """`visualizer`: TensorBoard, Weights & Biases, ClearML. Trouble with the latter two is only a warning to TAO."""

    enabled: bool = False
    num_images: Uint32 | None = None
    weight_histograms: bool | None = None
    wandb_config: WandbConfig | None = None
    clearml_config: ClearmlConfig | None = None


class TrainingConfig(Model):
    """`training_config`."""

    batch_size_per_gpu: Count
    num_epochs: Count
    checkpoint_interval: Count
    """Epochs between checkpoints: what an eviction can cost at most."""
    enable_qat: bool = False
    """Quantisation-aware training from the start. For QAT after pruning see `retrain.enableQat`."""
    learning_rate: LearningRate
    regularizer: Regularizer
    optimizer: Optimizer
    pretrain_model_path: SafePath | None = None
    """Backbone weights to start from."""
    pruned_model_path: SafePath | None = None
    """A pruned model of your own to start from; the operator sets it by itself for `retrain`."""
    n_workers: Annotated[int, Field(ge=1, le=256)] | None = None
    """Loader workers; absent: 8 with TAO, as many as the container's CPU limit with the open toolkit."""
    max_queue_size: Count | None = None
    use_multiprocessing: bool | None = None
    early_stopping: EarlyStopping | None = None
    model_ema: bool | None = None
    """Moving average of the weights is what is validated and saved."""
    visualizer: Visualizer | None = None
    cost_scaling: CostScaling | None = None

    rules: ClassVar = (
        at_most_one("pretrain_model_path", "pruned_model_path"),
        Rule(
            cel="self.checkpointInterval <= self.numEpochs",
            message="checkpointInterval must not be above numEpochs: no checkpoint would be written",
            check=lambda t: t.checkpoint_interval <= t.num_epochs,
            field=".checkpointInterval",
        ),
    )


class AveragePrecisionMode(StrEnum):
    """SAMPLE: VOC2007, 11 points. INTEGRATE: area under the curve, VOC2010 and later."""

    SAMPLE = "SAMPLE"
    INTEGRATE = "INTEGRATE"


class EvalConfig(Model):
    """`eval_config`."""

    average_precision_mode: AveragePrecisionMode = AveragePrecisionMode.SAMPLE
    batch_size: Count
    """Also used by inference."""
    matching_iou_threshold: PositiveUnit32 = 0.5
    visualize_pr_curve: bool | None = None


class NmsConfig(Model):
    """`nms_config`: non-maximum suppression."""

    confidence_threshold: PositiveUnit32 = 0.001
    """TAO accepts 0 and then counts objects it never found as found: here it must be above 0."""
    clustering_iou_threshold: PositiveUnit32 = 0.5
    top_k: Count = 200
    """Boxes kept per image. TAO accepts 0 and then finds nothing."""
    infer_nms_score_bits: Annotated[int, Field(ge=0, le=10)] | None = None
    """Bits of a score in TensorRT's plugin; written into the exported model. 0: its own choice."""
    force_on_cpu: bool | None = None
    """TAO 3.21.11 then suppresses on the CPU; TAO 5.0 reads it and decides by itself."""


Side = Annotated[int, Field(ge=32, le=4096, multiple_of=32)]


class AugmentationConfig(Model):
    """`augmentation_config`: network input and augmentation."""

    output_width: Side
    """Network input width in pixels, a multiple of 32."""
    output_height: Side
    output_channel: Annotated[int, Field(ge=1, le=3)] = 3
    """3 (RGB) or 1 (gray)."""
    output_depth: Annotated[int, Field(ge=8, le=16)] | None = None
    hue: Unit32 = 0.1
    saturation: Annotated[float, Field(ge=1, le=MOST), SINGLE] = 1.5
    exposure: Annotated[float, Field(ge=1, le=MOST), SINGLE] = 1.5
    vertical_flip: Unit32 = 0.0
    horizontal_flip: Unit32 = 0.5
    jitter: Unit32 = 0.3
    randomize_input_shape_period: Annotated[int, Field(ge=0, le=2147483647)] = 0
    """Batches between changes of the input's shape (0.6 to 1.5 times the output size); 0: never. Memory peaks at 2.25 times."""
    mosaic_prob: Unit32 = 0.5
    mosaic_min_ratio: Annotated[float, Field(gt=0, lt=0.5), SINGLE] = 0.2
    image_mean: Annotated[dict[str, NonNegative32], Field(max_length=3)] | None = None
    """Means by channel: keys r, g, b, or l for one channel."""

    rules: ClassVar = (
        Rule(
            cel="self.outputChannel in [1, 3]",
            message="outputChannel must be 1 or 3",
            check=lambda a: a.output_channel in (1, 3),
            field=".outputChannel",
        ),
        Rule(
            cel="!has(self.outputDepth) || self.outputDepth in [8, 16]",
            message="outputDepth must be 8 or 16",
            check=lambda a: a.output_depth in (None, 8, 16),
            field=".outputDepth",
        ),
        Rule(
            cel="!has(self.outputDepth) || self.outputDepth != 16 || self.outputChannel == 1",
            message="outputDepth 16 is for gray images: set outputChannel to 1",
            check=lambda a: a.output_depth != 16 or a.output_channel == 1,
            field=".outputDepth",
        ),
        Rule(
            # TAO takes 0 for a key that is missing.
            cel="!has(self.imageMean) || (self.outputChannel == 1 ? self.imageMean.size() == 1 && 'l' in self.imageMean"
            " : self.imageMean.size() == 3 && ['r', 'g', 'b'].all(k, k in self.imageMean))",
            message="imageMean has the keys r, g, b with 3 channels, l with 1",
            check=lambda a: a.image_mean is None or set(a.image_mean) == ({"l"} if a.output_channel == 1 else {"r", "g", "b"}),
            field=".imageMean",
        ),
    )


class ClassWeightingConfig(Model):
    """`class_weighting_config`: loss weights by class, 1 unless given."""

    class_weighting: Annotated[dict[str, NonNegative32], Field(max_length=256)] | None = None
    enable_auto: bool | None = None


class FlipPair(Model):
    """Two classes that swap when an image is mirrored."""

    left: SafeName
    right: SafeName


class OpenConfig(Model):
    """What only the open toolkit knows (`open_config`); an error with a TAO profile."""

    width_multiplier: PositiveUnit32 = 1.0
    """Channels of every layer, relative to the standard network."""
    flip_pairs: Annotated[list[FlipPair], Field(max_length=64)] | None = None
    """Classes that swap on a horizontal flip, for example left and right corners."""


class ExperimentSpec(Model):
    """TAO's experiment spec without `dataset_config`."""

    random_seed: Uint32 = 42
    yolov4_config: Yolov4Config
    training_config: TrainingConfig
    eval_config: EvalConfig
    nms_config: NmsConfig = NmsConfig()
    augmentation_config: AugmentationConfig
    class_weighting_config: ClassWeightingConfig | None = None
    open_config: OpenConfig | None = None


class ConfigMapKeyRef(Model):
    """A key of a ConfigMap in the experiment's namespace."""

    name: ObjectName
    key: Annotated[str, Field(pattern=r"^[-._a-zA-Z0-9]+$", min_length=1, max_length=253)] = "config.txt"


class ExperimentSpecSource(Model):
    """Where TAO's own text of an experiment spec is."""

    config_map_key_ref: ConfigMapKeyRef
