"""What TAO's validators check, and what they should have: every fault of a spec is reported at once."""

from __future__ import annotations

from collections.abc import Iterator

from yolo_v4.errors import SpecError
from yolo_v4.spec.anchors import parse_anchors
from yolo_v4.spec.messages import Experiment, RegularizationType

_ACTIVATIONS = ("", "relu", "leaky_relu", "mish")
_RESNETS = (10, 18, 34)


def validate(experiment: Experiment) -> None:
    """Raise SpecError naming each field that is out of its range."""
    faults = [
        *_yolov4(experiment),
        *_training(experiment),
        *_learning_rate(experiment),
        *_optimizer(experiment),
        *_evaluation(experiment),
        *_augmentation(experiment),
        *_dataset(experiment),
        *_open(experiment),
    ]
    if faults:
        raise SpecError("; ".join(faults))


def _within(
    path: str, value: float, low: float, high: float, *, open_low: bool = False, open_high: bool = False
) -> Iterator[str]:
    above = value > low if open_low else value >= low
    below = value < high if open_high else value <= high
    if not (above and below):  # also catches nan
        left, right = "(" if open_low else "[", ")" if open_high else "]"
        yield f"{path} must be in {left}{low:g}, {high:g}{right}, is {value:g}"


def _positive(path: str, value: float) -> Iterator[str]:
    if not value > 0:
        yield f"{path} must be set and greater than 0"


def _yolov4(experiment: Experiment) -> Iterator[str]:
    config = experiment.yolov4_config
    for scale in ("big", "mid", "small"):
        name = f"yolov4_config.{scale}_anchor_shape"
        try:
            parse_anchors(getattr(config, f"{scale}_anchor_shape"), name)
        except SpecError as error:
            yield str(error)
        yield from _within(f"yolov4_config.{scale}_grid_xy_extend", getattr(config, f"{scale}_grid_xy_extend"), 0, 0.3)
    yield from _within("yolov4_config.box_matching_iou", config.box_matching_iou, 0, 1, open_low=True)
    yield from _within(
        "yolov4_config.matching_neutral_box_iou", config.matching_neutral_box_iou, 0.25, 1, open_low=True
    )
    if config.arch != "resnet" or config.nlayers not in _RESNETS:
        known = ", ".join(map(str, _RESNETS))
        given = f"{config.arch!r} {config.nlayers}"
        yield f"yolov4_config: the open toolkit has arch resnet with nlayers {known}, not {given}"
    if config.activation not in _ACTIVATIONS:
        yield f"yolov4_config.activation must be relu, leaky_relu or mish, is {config.activation!r}"
    for name in ("loss_loc_weight", "loss_neg_obj_weights", "loss_class_weights"):
        # TAO accepts 0, which is what "unset" reads as, and then silently learns no boxes or no classes.
        yield from _positive(f"yolov4_config.{name}", getattr(config, name))
    yield from _within("yolov4_config.label_smoothing", config.label_smoothing, 0, 0.3)
    yield from _within("yolov4_config.focal_loss_alpha", config.focal_loss_alpha, 0, 1, open_high=True)
    if not config.focal_loss_gamma >= 0:
        yield "yolov4_config.focal_loss_gamma must not be negative"


def _training(experiment: Experiment) -> Iterator[str]:
    config = experiment.training_config
    yield from _positive("training_config.batch_size_per_gpu", config.batch_size_per_gpu)
    yield from _positive("training_config.num_epochs", config.num_epochs)
    yield from _positive("training_config.checkpoint_interval", config.checkpoint_interval)
    if config.regularizer.type != RegularizationType.NO_REG:
        yield from _within(
            "training_config.regularizer.weight", config.regularizer.weight, 0, 1, open_low=True, open_high=True
        )
    stopping = config.early_stopping
    if stopping is not None:
        if stopping.monitor != "loss":
            yield 'training_config.early_stopping.monitor must be "loss"'
        if not stopping.min_delta >= 0:
            yield "training_config.early_stopping.min_delta must not be negative"
        yield from _positive("training_config.early_stopping.patience", stopping.patience)


def _learning_rate(experiment: Experiment) -> Iterator[str]:
    schedules = experiment.training_config.learning_rate
    schedule = schedules.soft_start_annealing_schedule or schedules.soft_start_cosine_annealing_schedule
    path = "training_config.learning_rate"
    if schedule is None:
        yield f"{path} needs soft_start_annealing_schedule or soft_start_cosine_annealing_schedule"
        return
    if not 0 < schedule.min_learning_rate < schedule.max_learning_rate:
        yield f"{path}: needs 0 < min_learning_rate < max_learning_rate"
    yield from _within(f"{path}.soft_start", schedule.soft_start, 0, 1)
    annealing = schedules.soft_start_annealing_schedule
    if annealing is not None:
        yield from _within(f"{path}.annealing", annealing.annealing, annealing.soft_start, 1)


def _optimizer(experiment: Experiment) -> Iterator[str]:
    config = experiment.training_config.optimizer
    path = "training_config.optimizer"
    if config.adam is not None:
        yield from _positive(f"{path}.adam.epsilon", config.adam.epsilon)
        for name in ("beta1", "beta2"):
            value = getattr(config.adam, name)
            yield from _within(f"{path}.adam.{name}", value, 0, 1, open_low=True, open_high=True)
    elif config.sgd is not None:
        if not config.sgd.momentum >= 0:
            yield f"{path}.sgd.momentum must not be negative"
    elif config.rmsprop is not None:
        yield from _positive(f"{path}.rmsprop.epsilon", config.rmsprop.epsilon)
        yield from _within(f"{path}.rmsprop.rho", config.rmsprop.rho, 0, 1, open_low=True, open_high=True)
    else:
        yield f"{path} needs adam, sgd or rmsprop"


def _evaluation(experiment: Experiment) -> Iterator[str]:
    evaluation, nms = experiment.eval_config, experiment.nms_config
    yield from _positive("eval_config.batch_size", evaluation.batch_size)
    yield from _within("eval_config.matching_iou_threshold", evaluation.matching_iou_threshold, 0, 1, open_low=True)
    yield from _within("nms_config.clustering_iou_threshold", nms.clustering_iou_threshold, 0, 1, open_low=True)
    # With 0, unmatched ground truth counts as found and every model looks better than it is.
    yield from _within("nms_config.confidence_threshold", nms.confidence_threshold, 0, 1, open_low=True, open_high=True)
    yield from _positive("nms_config.top_k", nms.top_k)


def _augmentation(experiment: Experiment) -> Iterator[str]:
    config = experiment.augmentation_config
    path = "augmentation_config"
    for name in ("hue", "vertical_flip", "horizontal_flip", "jitter", "mosaic_prob"):
        yield from _within(f"{path}.{name}", getattr(config, name), 0, 1)
    for name in ("saturation", "exposure"):
        if not getattr(config, name) >= 1:
            yield f"{path}.{name} must be set and at least 1"
    for name in ("output_width", "output_height"):
        side = getattr(config, name)
        if side < 32 or side % 32:
            yield f"{path}.{name} must be a multiple of 32, at least 32, is {side}"
    if config.output_channel != 3:
        yield f"{path}.output_channel: the open toolkit reads 3 channels, not {config.output_channel}"
    if config.output_depth not in (0, 8):
        yield f"{path}.output_depth must be 8"
    yield from _within(f"{path}.mosaic_min_ratio", config.mosaic_min_ratio, 0, 0.5, open_low=True, open_high=True)
    for key in config.image_mean:
        if key not in ("r", "g", "b"):
            yield f"{path}.image_mean has keys r, g, b, not {key!r}"


def _dataset(experiment: Experiment) -> Iterator[str]:
    config = experiment.dataset_config
    if not config.data_sources:
        yield "dataset_config.data_sources is missing"
    if not config.target_class_mapping:
        yield "dataset_config.target_class_mapping is missing"
    for name in ("data_sources", "validation_data_sources"):
        for index, source in enumerate(getattr(config, name)):
            path = f"dataset_config.{name}[{index}]"
            if source.tfrecords_path:
                yield f"{path}: the open toolkit reads label folders, not tfrecords"
            elif not source.label_directory_path or not source.image_directory_path:
                yield f"{path} needs label_directory_path and image_directory_path"
    if not config.validation_data_sources:
        yield "dataset_config.validation_data_sources is missing (a validation_fold needs tfrecords)"


def _open(experiment: Experiment) -> Iterator[str]:
    config = experiment.open_config
    yield from _within("open_config.width_multiplier", config.width_multiplier, 0, 1)
    classes = {value.lower() for value in experiment.dataset_config.target_class_mapping.values()}
    seen: set[str] = set()
    for pair in config.flip_pairs:
        for name in (pair.left.lower(), pair.right.lower()):
            if name not in classes:
                yield f"open_config.flip_pairs: {name!r} is not a class"
            if name in seen:
                yield f"open_config.flip_pairs: {name!r} is named twice"
            seen.add(name)
