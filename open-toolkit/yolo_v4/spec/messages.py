"""The experiment spec's messages, with TAO's field names; ranges are checked in ``validate``."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from yolo_v4.spec.schema import (
    boolean,
    choice,
    ignored,
    message,
    optional,
    real,
    real_map,
    reals,
    repeated,
    string,
    string_map,
    uint32,
)


class RegularizationType(enum.IntEnum):
    """Penalty on the kernels of convolutions."""

    NO_REG = 0
    L1 = 1
    L2 = 2


class AveragePrecisionMode(enum.IntEnum):
    """SAMPLE: VOC2007's eleven points. INTEGRATE: the area under the envelope."""

    SAMPLE = 0
    INTEGRATE = 1


@dataclass
class YOLOv4Config:
    """The network and its loss; anchors are literal lists of (width, height) in network pixels."""

    big_anchor_shape: str = string()
    mid_anchor_shape: str = string()
    small_anchor_shape: str = string()
    matching_neutral_box_iou: float = real()
    box_matching_iou: float = real()
    arch: str = string()
    nlayers: int = uint32()
    arch_conv_blocks: int = uint32()
    loss_loc_weight: float = real()
    loss_neg_obj_weights: float = real()
    loss_class_weights: float = real()
    label_smoothing: float = real()
    focal_loss_alpha: float = real()
    focal_loss_gamma: float = real()
    freeze_blocks: list[float] = reals()
    freeze_bn: bool = boolean()
    force_relu: bool = boolean()
    activation: str = string()
    big_grid_xy_extend: float = real()
    mid_grid_xy_extend: float = real()
    small_grid_xy_extend: float = real()


@dataclass
class SoftStartAnnealing:
    """Warm-up, plateau, exponential decay."""

    min_learning_rate: float = real()
    max_learning_rate: float = real()
    soft_start: float = real()
    annealing: float = real()


@dataclass
class SoftStartCosineAnnealing:
    """Warm-up, then TAO's cosine."""

    max_learning_rate: float = real()
    soft_start: float = real()
    min_learning_rate: float = real()


@dataclass
class LearningRate:
    """Exactly one schedule."""

    soft_start_annealing_schedule: SoftStartAnnealing | None = optional(SoftStartAnnealing, "learning_rate")
    soft_start_cosine_annealing_schedule: SoftStartCosineAnnealing | None = optional(
        SoftStartCosineAnnealing, "learning_rate"
    )


@dataclass
class Regularizer:
    """Penalty on kernels; the weight is the factor of the sum of |w| or w²."""

    type: RegularizationType = choice(RegularizationType)
    weight: float = real()


@dataclass
class Adam:
    """Adam's constants."""

    epsilon: float = real()
    beta1: float = real()
    beta2: float = real()
    amsgrad: bool = boolean()


@dataclass
class SGD:
    """SGD's constants."""

    momentum: float = real()
    nesterov: bool = boolean()


@dataclass
class RMSProp:
    """RMSProp's constants."""

    rho: float = real()
    momentum: float = real()
    epsilon: float = real()
    centered: bool = boolean()


@dataclass
class Optimizer:
    """Exactly one optimizer."""

    adam: Adam | None = optional(Adam, "optimizer")
    sgd: SGD | None = optional(SGD, "optimizer")
    rmsprop: RMSProp | None = optional(RMSProp, "optimizer")


@dataclass
class EarlyStopping:
    """Stop when the training loss no longer falls by ``min_delta`` within ``patience`` epochs."""

    monitor: str = string()
    min_delta: float = real()
    patience: int = uint32()


@dataclass
class Visualizer:
    """Accepted and ignored: there is no TensorBoard here."""

    enabled: bool = boolean()
    num_images: int = uint32()
    weight_histograms: bool = boolean()
    wandb_config: object = ignored()
    clearml_config: object = ignored()


@dataclass
class TrainingConfig:
    """How to train."""

    batch_size_per_gpu: int = uint32()
    num_epochs: int = uint32()
    enable_qat: bool = boolean()
    checkpoint_interval: int = uint32()
    resume_model_path: str = string("load_model")
    pretrain_model_path: str = string("load_model")
    pruned_model_path: str = string("load_model")
    learning_rate: LearningRate = message(LearningRate)
    regularizer: Regularizer = message(Regularizer)
    optimizer: Optimizer = message(Optimizer)
    n_workers: int = uint32()
    max_queue_size: int = uint32()
    use_multiprocessing: bool = boolean()
    early_stopping: EarlyStopping | None = optional(EarlyStopping)
    model_ema: bool = boolean()
    visualizer: Visualizer = message(Visualizer)
    cost_scaling: object = ignored()


@dataclass
class EvalConfig:
    """How to evaluate."""

    average_precision_mode: AveragePrecisionMode = choice(AveragePrecisionMode)
    batch_size: int = uint32()
    matching_iou_threshold: float = real()
    visualize_pr_curve: bool = boolean()


@dataclass
class NMSConfig:
    """Non-maximum suppression, per class."""

    confidence_threshold: float = real()
    clustering_iou_threshold: float = real()
    top_k: int = uint32()
    infer_nms_score_bits: int = uint32()
    force_on_cpu: bool = boolean()


@dataclass
class AugmentationConfig:
    """Input size in pixels and the training augmentation."""

    hue: float = real()
    saturation: float = real()
    exposure: float = real()
    vertical_flip: float = real()
    horizontal_flip: float = real()
    jitter: float = real()
    output_width: int = uint32()
    output_height: int = uint32()
    output_channel: int = uint32()
    output_depth: int = uint32()
    randomize_input_shape_period: int = uint32()
    mosaic_prob: float = real()
    mosaic_min_ratio: float = real()
    image_mean: dict[str, float] = real_map()


@dataclass
class DataSource:
    """A folder of images and one of KITTI labels of the same stems."""

    label_directory_path: str = string("labels_format")
    tfrecords_path: str = string("labels_format")
    image_directory_path: str = string()
    root_path: str = string()
    source_weight: float = real()


@dataclass
class DatasetConfig:
    """Where the images are and which classes there are."""

    data_sources: list[DataSource] = repeated(DataSource)
    validation_data_sources: list[DataSource] = repeated(DataSource)
    target_class_mapping: dict[str, str] = string_map()
    validation_fold: int = uint32()
    include_difficult_in_training: bool = boolean()
    image_extension: str = string()
    type: str = string()
    is_monochrome: bool = boolean()


@dataclass
class ClassWeightingConfig:
    """Factors of a class's loss, 1.0 where absent."""

    class_weighting: dict[str, float] = real_map()
    enable_auto: bool = boolean()


@dataclass
class FlipPair:
    """Two classes that a horizontal mirror turns into each other."""

    left: str = string()
    right: str = string()


@dataclass
class OpenConfig:
    """The open toolkit's own options; TAO does not know this message."""

    width_multiplier: float = real()
    """Channels of every hidden layer relative to the standard network, in (0, 1]; 0 means 1."""
    flip_pairs: list[FlipPair] = repeated(FlipPair)


@dataclass
class Experiment:
    """The whole experiment spec."""

    random_seed: int = uint32()
    dataset_config: DatasetConfig = message(DatasetConfig)
    augmentation_config: AugmentationConfig = message(AugmentationConfig)
    training_config: TrainingConfig = message(TrainingConfig)
    eval_config: EvalConfig = message(EvalConfig)
    nms_config: NMSConfig = message(NMSConfig)
    yolov4_config: YOLOv4Config = message(YOLOv4Config)
    class_weighting_config: ClassWeightingConfig = message(ClassWeightingConfig)
    open_config: OpenConfig = message(OpenConfig)
