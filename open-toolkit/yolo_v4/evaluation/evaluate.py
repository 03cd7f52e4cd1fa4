"""Running a detector over labelled images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from yolo_v4.cpus import available_cpus
from yolo_v4.data.letterbox import Mean, letterbox
from yolo_v4.data.samples import Pixels, Sample, read_image
from yolo_v4.evaluation.average_precision import PrecisionMeter, Truth
from yolo_v4.evaluation.suppression import suppress
from yolo_v4.reporting.bars import PredictionBar
from yolo_v4.spec.messages import Experiment

Predict = Callable[[NDArray[np.uint8], NDArray[np.float32]], tuple[NDArray[np.float32], NDArray[np.float32]]]
"""Images uint8 (batch, h, w, 3) RGB and targets (n, 6) as in ``loader.Batch`` to corners (batch, n, 4) and scores
(batch, n, classes)."""


@dataclass(frozen=True)
class Evaluation:
    """Average precision by class name, and the mean over all classes."""

    precisions: dict[str, float]
    mean: float


def evaluate(
    predict: Predict,
    samples: Sequence[Sample],
    experiment: Experiment,
    classes: Sequence[str],
    mean: Mean,
    on_batch: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Average precision of a detector on samples; ``on_batch`` is called after every batch and may raise."""
    config = experiment.eval_config
    meter = PrecisionMeter(len(classes), config.matching_iou_threshold)
    bar = PredictionBar(-(-len(samples) // config.batch_size))
    for number, (images, truths) in enumerate(_batches(samples, experiment, mean), start=1):
        corners, scores = predict(images, _targets(truths))
        for index, truth in enumerate(truths):
            meter.add(suppress(corners[index], scores[index], experiment.nms_config), truth)
        bar.update(number)
        on_batch()
    values = meter.precisions(config.average_precision_mode)
    return Evaluation(dict(zip(classes, values, strict=True)), float(np.mean(values)))


def _batches(
    samples: Sequence[Sample], experiment: Experiment, mean: Mean
) -> Iterator[tuple[NDArray[np.uint8], list[Truth]]]:
    size = (experiment.augmentation_config.output_width, experiment.augmentation_config.output_height)
    step = experiment.eval_config.batch_size
    with ThreadPoolExecutor(available_cpus(), thread_name_prefix="images") as pool:
        for start in range(0, len(samples), step):
            made = list(pool.map(lambda sample: _prepare(sample, size, mean), samples[start : start + step]))
            yield np.stack([pixels for pixels, _ in made]), [truth for _, truth in made]


def _prepare(sample: Sample, size: tuple[int, int], mean: Mean) -> tuple[Pixels, Truth]:
    pixels, placement = letterbox(read_image(sample.path), size, mean, centred=True)
    return pixels, Truth(placement.to_network(sample.boxes), sample.classes, sample.difficult)


def _targets(truths: Sequence[Truth]) -> NDArray[np.float32]:
    """(n, 6) rows for the loss; difficult objects are left out, as in training by default."""
    rows = []
    for index, truth in enumerate(truths):
        boxes, classes = truth.boxes[~truth.difficult], truth.classes[~truth.difficult]
        centres, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
        head = np.stack([np.full(len(classes), index), classes], axis=1)
        rows.append(np.concatenate([head, centres, sides], axis=1).astype(np.float32))
    return np.concatenate(rows)
