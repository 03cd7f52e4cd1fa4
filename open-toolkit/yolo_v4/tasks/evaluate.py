"""``yolo_v4 evaluate``: average precision on the spec's validation images, of a checkpoint or an exported model."""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

from yolo_v4.evaluation.detector import load_detector
from yolo_v4.evaluation.evaluate import evaluate
from yolo_v4.model.names import check_classes
from yolo_v4.reporting.status import RUNNING, StatusLog
from yolo_v4.reporting.table import precision_table
from yolo_v4.spec import load_spec
from yolo_v4.tasks.common import image_mean, labelled_samples, recorded, spec_classes


def run(arguments: argparse.Namespace) -> None:
    """Print the table; with a results folder write it to status.json too."""
    status = StatusLog(arguments.results_dir)
    recorded(
        status,
        "Evaluation",
        "Starting Yolo_V4 Evaluation job",
        "Evaluation finished successfully.",
        lambda: _evaluate(arguments, status),
    )


def _evaluate(arguments: argparse.Namespace, status: StatusLog) -> None:
    experiment = load_spec(arguments.experiment_spec)
    classes = spec_classes(experiment)
    mean = image_mean(experiment)
    config = experiment.augmentation_config
    detector = load_detector(arguments.model_path, (config.output_width, config.output_height), mean)
    check_classes(detector.classes, classes, arguments.model_path)
    samples = labelled_samples(experiment, experiment.dataset_config.validation_data_sources, "validation")

    def predict(
        images: NDArray[np.uint8], _targets: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return detector(images)

    result = evaluate(predict, samples, experiment, classes, mean)
    print("Start to calculate AP for each class")
    print(precision_table(result.precisions, result.mean), flush=True)
    kpi = {"mAP": result.mean, **{f"AP_{name}": value for name, value in result.precisions.items()}}
    status.write(RUNNING, "Evaluation metrics generated.", kpi=kpi)
