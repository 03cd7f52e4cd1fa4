"""Average precision as TAO computes it.

In every image the predictions, best first, each take the best *still unmatched* object of their class. (The VOC kit
takes the best object even if it is taken, and then counts a false positive.) A prediction that takes a difficult object
does not count at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from yolo_v4.evaluation.suppression import Detections, pairwise_iou
from yolo_v4.spec.messages import AveragePrecisionMode

_SAMPLES = 11
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Truth:
    """The objects of one image: boxes float32 (n, 4) corners, classes int64 (n,), difficult bool (n,)."""

    boxes: NDArray[np.float32]
    classes: NDArray[np.int64]
    difficult: NDArray[np.bool_]


class PrecisionMeter:
    """Collects matches image by image."""

    def __init__(self, classes: int, matching_iou: float) -> None:
        self._matching_iou = matching_iou
        self._scores: list[list[float]] = [[] for _ in range(classes)]
        self._hits: list[list[bool]] = [[] for _ in range(classes)]
        self._objects = [0] * classes

    def add(self, detections: Detections, truth: Truth) -> None:
        """Match one image's detections (best first) with its objects."""
        overlap = pairwise_iou(detections.boxes, truth.boxes)
        free = np.ones(len(truth.boxes), dtype=np.bool_)
        for class_id in range(len(self._objects)):
            self._objects[class_id] += int(np.sum((truth.classes == class_id) & ~truth.difficult))
        for index, (score, class_id) in enumerate(zip(detections.scores, detections.classes, strict=True)):
            candidates = np.flatnonzero(free & (truth.classes == class_id))
            best = candidates[np.argmax(overlap[index, candidates])] if len(candidates) else None
            hit = best is not None and bool(overlap[index, best] >= self._matching_iou)
            if hit and best is not None:
                free[best] = False
                if truth.difficult[best]:
                    continue
            self._scores[class_id].append(float(score))
            self._hits[class_id].append(hit)

    def precisions(self, mode: AveragePrecisionMode) -> list[float]:
        """Average precision of each class; 0 for a class that is neither there nor predicted."""
        return [
            average_precision(scores, hits, objects, mode)
            for scores, hits, objects in zip(self._scores, self._hits, self._objects, strict=True)
        ]


def average_precision(scores: Sequence[float], hits: Sequence[bool], objects: int, mode: AveragePrecisionMode) -> float:
    """One class.

    Args:
        scores: of all predictions of all images.
        hits: whether each matched an object.
        objects: number of objects, matched or not.
        mode: SAMPLE: mean over recalls 0, 0.1 … 1 of the best precision at that recall or above. INTEGRATE: area under
            the falling envelope of the precision-recall curve.

    """
    if not objects or not len(scores):
        return 0.0
    order = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")
    found = np.cumsum(np.asarray(hits, dtype=np.float64)[order])
    recall = found / objects
    precision = found / np.arange(1, len(found) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    if mode == AveragePrecisionMode.SAMPLE:
        wanted = np.arange(_SAMPLES) / (_SAMPLES - 1)
        place = np.searchsorted(recall, wanted - _TOLERANCE)
        return float(np.append(envelope, 0.0)[place].mean())
    steps = np.diff(np.concatenate([[0.0], recall]))
    return float((steps * envelope).sum())
