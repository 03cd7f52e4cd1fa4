"""The experiment spec of a stage, as TAO reads it.

A resource's `experimentSpec` holds what a person decides. Its text adds what follows from the rest of the resource: where the
data lie (`dataset_config`), computed anchors, and what a retraining changes. Maps are written in the order of their keys, so
that the same experiment always has the same text, and with it the same digest.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Any

from yolo_operator.api.base import Model
from yolo_operator.api.dataset import Dataset, LabelFormat
from yolo_operator.api.experiment_spec import (
    ANCHORS,
    Arch,
    AveragePrecisionMode,
    RegularizerType,
    TrainingConfig,
    Yolov4Config,
)
from yolo_operator.api.rounds import FineTune
from yolo_operator.api.spec import Spec
from yolo_operator.api.training import Retrain
from yolo_operator.toolkit import text
from yolo_operator.toolkit.dialects import dialect
from yolo_operator.toolkit.invocation import DataPaths

# Fields stand in the order in which TAO's samples have them; what is not named here follows in the model's order.
_ORDER: dict[type[Model], tuple[str, ...]] = {
    Yolov4Config: (
        *("big_anchor_shape", "mid_anchor_shape", "small_anchor_shape", "box_matching_iou", "matching_neutral_box_iou"),
        *("arch", "nlayers", "arch_conv_blocks", "activation"),
        *("loss_loc_weight", "loss_neg_obj_weights", "loss_class_weights", "label_smoothing"),
        *("focal_loss_alpha", "focal_loss_gamma", "big_grid_xy_extend", "mid_grid_xy_extend", "small_grid_xy_extend"),
    ),
    TrainingConfig: (
        *("batch_size_per_gpu", "num_epochs", "enable_qat", "checkpoint_interval"),
        *("n_workers", "max_queue_size", "use_multiprocessing"),
    ),
}
_SIDES = re.compile(r"\(\s*([0-9.]+)\s*,\s*([0-9.]+)\s*\)")


def experiment_text(
    spec: Spec,
    data: DataPaths,
    *,
    anchors: Sequence[Sequence[float]] | None = None,
    pruned_model: str | None = None,
    fine_tune: FineTune | None = None,
) -> str:
    """The whole experiment spec of a stage, in protobuf's text format.

    Args:
        spec: the experiment.
        data: where its images and labels lie in the container.
        anchors: computed anchors, [width, height] in network pixels; None: the experiment spec's own.
        pruned_model: the model that a retraining or fine-tuning starts from; None: the text is for the first training and what
            follows from it.
        fine_tune: what a round's training changes; None: `pruned_model` is retrained.

    Raises:
        ValueError: when there are no anchors, or not the same number for every scale; when `spec.retrain` is missing.
    """
    experiment = spec.experiment_spec
    fields = [
        text.Field("random_seed", experiment.random_seed),
        *_fields("yolov4_config", _network(experiment.yolov4_config, anchors)),
        *_fields("training_config", _training(spec, pruned_model, fine_tune)),
        *_fields("eval_config", experiment.eval_config),
        *_fields("nms_config", experiment.nms_config),
        *_fields("augmentation_config", experiment.augmentation_config),
        *_fields("class_weighting_config", experiment.class_weighting_config),
        text.Field("dataset_config", _dataset(spec.dataset, data)),
    ]
    if dialect(spec.toolkit.profile).open_config:
        fields += _fields("open_config", experiment.open_config)
    return text.render(text.Message(tuple(fields)))


def class_mapping(dataset: Dataset) -> dict[str, str]:
    """`target_class_mapping`: class in the KITTI label files to the model's class.

    Darknet labels are converted by `prepare`, which writes the model's classes already.
    """
    if dataset.format is LabelFormat.DARKNET:
        return {name: name for name in sorted(set(dataset.classes.values()))}
    return dict(sorted(dataset.classes.items()))


def label_names(dataset: Dataset) -> dict[str, str]:
    """The model's class to the name that a label file for training has to have: `class_mapping` the other way round."""
    return {target: source for source, target in sorted(class_mapping(dataset).items(), reverse=True)}


def in_workspace(spec: Spec, path: str) -> str:
    """An absolute path; a relative one counts from the workspace."""
    return path if path.startswith("/") else f"{spec.workspace.mount_path}/{path}"


# --- anchors ---


def parse_anchors(literal: str) -> list[tuple[float, float]]:
    """Width and height of each anchor of "[(w, h), …]". TAO evaluates this string as Python; here it is only ever read."""
    if not re.match(ANCHORS, literal):
        raise ValueError(f"not a list of (width, height) pairs: {literal!r}")
    return [(float(width), float(height)) for width, height in _SIDES.findall(literal)]


def format_anchors(anchors: Sequence[Sequence[float]]) -> str:
    """As TAO's users write them: "[(100.44, 22.34), (157.33, 28.14)]"."""
    return "[" + ", ".join(f"({_side(width)}, {_side(height)})" for width, height in anchors) + "]"


def split_anchors(anchors: Sequence[Sequence[float]], arch: Arch) -> dict[str, str]:
    """Anchor shapes by field name: the smallest to the finest scale, the biggest to the coarsest, as many to each."""
    scales = ("mid", "big") if arch is Arch.CSPDARKNET_TINY else ("small", "mid", "big")
    each, rest = divmod(len(anchors), len(scales))
    if rest or not each:
        raise ValueError(f"{len(anchors)} anchors cannot be shared out evenly among {len(scales)} scales")
    if not all(math.isfinite(side) and side > 0 for anchor in anchors for side in anchor):
        raise ValueError(f"anchors must be positive numbers: {anchors}")
    ascending = sorted(anchors, key=lambda anchor: anchor[0] * anchor[1])
    return {
        f"{scale}_anchor_shape": format_anchors(ascending[index * each : (index + 1) * each])
        for index, scale in enumerate(scales)
    }


def _side(value: float) -> str:
    hundredths = f"{value:.2f}"
    return hundredths if float(hundredths) == value else f"{Decimal(repr(value)):f}"


# --- sections ---


def _network(config: Yolov4Config, anchors: Sequence[Sequence[float]] | None) -> Yolov4Config:
    shapes: dict[str, str | None] = {}
    if anchors is not None:
        shapes |= {"small_anchor_shape": None, **split_anchors(anchors, config.arch)}
    else:
        for name in ("big_anchor_shape", "mid_anchor_shape", "small_anchor_shape"):
            literal = getattr(config, name)
            shapes[name] = None if literal is None else format_anchors(parse_anchors(literal))
        if shapes["big_anchor_shape"] is None:
            raise ValueError("the experiment spec has no anchors, and none were computed")
    return config.model_copy(update=shapes)


def _training(spec: Spec, pruned_model: str | None, fine_tune: FineTune | None) -> TrainingConfig:
    config = spec.experiment_spec.training_config
    changes: dict[str, Any] = {"enable_qat": spec.trains_with_qat}
    if config.n_workers is None:
        changes["n_workers"] = dialect(spec.toolkit.profile).default_workers
    if pruned_model is not None:
        if spec.retrain is None and fine_tune is None:
            raise ValueError("a pruned model is trained again only when spec.retrain says how")
        changes |= {"pretrain_model_path": None, "pruned_model_path": in_workspace(spec, pruned_model)}
        if spec.retrain is not None:
            changes |= {"enable_qat": spec.retrains_with_qat, **_retraining(config, spec.retrain)}
        if fine_tune is not None:
            changes |= _retraining(config.model_copy(update=changes), fine_tune)
    else:
        for name in ("pretrain_model_path", "pruned_model_path"):
            path = getattr(config, name)
            changes[name] = None if path is None else in_workspace(spec, path)
    return config.model_copy(update=changes)


def _retraining(config: TrainingConfig, retrain: Retrain | FineTune) -> dict[str, Any]:
    return {
        "num_epochs": retrain.num_epochs,
        "checkpoint_interval": retrain.checkpoint_interval or min(config.checkpoint_interval, retrain.num_epochs),
        "batch_size_per_gpu": retrain.batch_size_per_gpu or config.batch_size_per_gpu,
        "learning_rate": retrain.learning_rate or config.learning_rate,
        "regularizer": retrain.regularizer or config.regularizer,
    }


def _dataset(dataset: Dataset, data: DataPaths) -> text.Message:
    return text.Message(
        (
            text.Field("data_sources", _source(data.train_labels, data.train_images)),
            *_pseudo_labels(data),
            text.Field("include_difficult_in_training", value=False),
            *_fields("target_class_mapping", class_mapping(dataset)),
            text.Field("validation_data_sources", _source(data.validation_labels, data.validation_images)),
        )
    )


def _pseudo_labels(data: DataPaths) -> list[text.Field]:
    if data.pseudo_labels is None or data.unlabelled_images is None:
        return []
    return [text.Field("data_sources", _source(data.pseudo_labels, data.unlabelled_images))]


def _source(labels: str, images: str) -> text.Message:
    return text.Message((text.Field("label_directory_path", labels), text.Field("image_directory_path", images)))


# --- models as messages ---


def _fields(name: str, value: Any) -> list[text.Field]:
    """The occurrences of a field: none when it is absent, one for each item of a list or entry of a map."""
    match value:
        case None:
            return []
        case list():
            return [field for item in value for field in _fields(name, item)]
        case Mapping():
            return [
                text.Field(name, text.Message((text.Field("key", key), text.Field("value", value[key])))) for key in sorted(value)
            ]
        case Model():
            return [text.Field(name, _message(value))]
        case AveragePrecisionMode() | RegularizerType():
            return [text.Field(name, text.Name(value.value))]
        case StrEnum():  # an enum of ours, a string of TAO's
            return [text.Field(name, value.value)]
        case _:
            return [text.Field(name, value)]


def _message(model: Model) -> text.Message:
    first = _ORDER.get(type(model), ())
    names = [*first, *(name for name in type(model).model_fields if name not in first)]
    return text.Message(tuple(field for name in names for field in _fields(name, getattr(model, name))))
