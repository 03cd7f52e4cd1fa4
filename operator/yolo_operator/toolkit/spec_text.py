"""The experiment spec of a stage, as TAO reads it.

A resource's `experimentSpec` holds what a person decides. Its text adds what follows from the rest of the resource: where the
data lie (`dataset_config`), computed anchors, and what a retraining changes. Maps are written in the order of their keys, so
that the same experiment always has the same text, and with it the same digest.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from decimal import Decimal

from google.protobuf import json_format

from yolo_operator.api.dataset import Dataset, LabelFormat
from yolo_operator.api.experiment_spec import ANCHORS, Arch, ExperimentSpec, Yolov4Config
from yolo_operator.api.rounds import FineTune
from yolo_operator.api.spec import Spec
from yolo_operator.api.training import Retrain
from yolo_operator.toolkit import text
from yolo_operator.toolkit.dialects import dialect
from yolo_operator.toolkit.invocation import DataPaths
from yolo_operator.toolkit.proto.experiment_pb2 import DatasetConfig, Experiment, TrainingConfig, YOLOv4Config

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
    written = spec.experiment_spec
    experiment = message_of(written)
    if not dialect(spec.toolkit.profile).open_config:
        experiment.ClearField("open_config")
    _set_anchors(experiment.yolov4_config, written.yolov4_config, anchors)
    _set_training(experiment.training_config, spec, pruned_model, fine_tune)
    _set_dataset(experiment.dataset_config, spec.dataset, data)
    return text.render(experiment)


def message_of(model: ExperimentSpec) -> Experiment:
    """The experiment spec alone as TAO's message; its fields have the same names."""
    # The constructor takes nested dicts; json_format.ParseDict comes to the same thirty times as slowly.
    return Experiment(**model.model_dump(mode="json", exclude_none=True))


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


def _set_anchors(message: YOLOv4Config, config: Yolov4Config, anchors: Sequence[Sequence[float]] | None) -> None:
    if anchors is not None:
        shapes = split_anchors(anchors, config.arch)
    else:
        own = {name: getattr(config, name) for name in ("big_anchor_shape", "mid_anchor_shape", "small_anchor_shape")}
        shapes = {name: format_anchors(parse_anchors(literal)) for name, literal in own.items() if literal is not None}
        if "big_anchor_shape" not in shapes:
            raise ValueError("the experiment spec has no anchors, and none were computed")
    message.ClearField("small_anchor_shape")
    for name, shape in shapes.items():
        setattr(message, name, shape)


def _set_training(message: TrainingConfig, spec: Spec, pruned_model: str | None, fine_tune: FineTune | None) -> None:
    message.enable_qat = spec.trains_with_qat
    workers = dialect(spec.toolkit.profile).default_workers
    if not message.HasField("n_workers") and workers is not None:
        message.n_workers = workers
    if pruned_model is not None:
        if spec.retrain is None and fine_tune is None:
            raise ValueError("a pruned model is trained again only when spec.retrain says how")
        message.pruned_model_path = in_workspace(spec, pruned_model)  # and with it no pretrain_model_path
        if spec.retrain is not None:
            message.enable_qat = spec.retrains_with_qat
        for changes in (spec.retrain, fine_tune):
            if changes is not None:
                _set_retraining(message, changes)
    elif start := message.WhichOneof("load_model"):
        setattr(message, start, in_workspace(spec, getattr(message, start)))


def _set_retraining(message: TrainingConfig, retrain: Retrain | FineTune) -> None:
    message.num_epochs = retrain.num_epochs
    message.checkpoint_interval = retrain.checkpoint_interval or min(message.checkpoint_interval, retrain.num_epochs)
    message.batch_size_per_gpu = retrain.batch_size_per_gpu or message.batch_size_per_gpu
    for name in ("learning_rate", "regularizer"):
        if (section := getattr(retrain, name)) is not None:
            message.ClearField(name)
            json_format.ParseDict(section.model_dump(mode="json", exclude_none=True), getattr(message, name))


def _set_dataset(message: DatasetConfig, dataset: Dataset, data: DataPaths) -> None:
    message.data_sources.add(label_directory_path=data.train_labels, image_directory_path=data.train_images)
    if data.pseudo_labels is not None and data.unlabelled_images is not None:
        message.data_sources.add(label_directory_path=data.pseudo_labels, image_directory_path=data.unlabelled_images)
    message.validation_data_sources.add(label_directory_path=data.validation_labels, image_directory_path=data.validation_images)
    message.target_class_mapping.update(class_mapping(dataset))
    message.include_difficult_in_training = dataset.include_difficult_in_training
    if dataset.image_extension is not None:
        message.image_extension = dataset.image_extension
