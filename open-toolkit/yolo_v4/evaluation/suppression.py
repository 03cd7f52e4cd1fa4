"""Non-maximum suppression for each class on its own."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from yolo_v4.spec.messages import NMSConfig


class Detections(NamedTuple):
    """Found in one image, best first: boxes float32 (n, 4) corners, scores float32 (n,), classes int64 (n,)."""

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.int64]


def suppress(corners: NDArray[np.float32], scores: NDArray[np.float32], config: NMSConfig) -> Detections:
    """Candidates (n, 4) with scores (n, classes) to at most ``top_k`` detections above the confidence threshold."""
    boxes, kept_scores, classes = [], [], []
    for class_id in range(scores.shape[1]):
        column = scores[:, class_id]
        candidates = np.flatnonzero(column > config.confidence_threshold)
        order = candidates[np.argsort(-column[candidates], kind="stable")][: 2 * config.top_k]
        kept = order[_greedy(corners[order], config.clustering_iou_threshold)]
        boxes.append(corners[kept])
        kept_scores.append(column[kept])
        classes.append(np.full(len(kept), class_id, dtype=np.int64))
    all_scores = np.concatenate(kept_scores)
    best = np.argsort(-all_scores, kind="stable")[: config.top_k]
    return Detections(np.concatenate(boxes)[best], all_scores[best], np.concatenate(classes)[best])


def _greedy(boxes: NDArray[np.float32], bound: float) -> NDArray[np.int64]:
    """Indices of the boxes (sorted best first) that no better kept box overlaps by more than ``bound``."""
    overlap = pairwise_iou(boxes, boxes) > bound
    alive = np.ones(len(boxes), dtype=np.bool_)
    kept = []
    for index in range(len(boxes)):
        if alive[index]:
            kept.append(index)
            alive &= ~overlap[index]
    return np.array(kept, dtype=np.int64)


def pairwise_iou(boxes: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Overlap of corners (n, 4) with (m, 4): (n, m)."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=-1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=-1)[:, None] + (others[:, 2:] - others[:, :2]).prod(axis=-1)
    overlap: NDArray[np.float32] = shared / np.maximum(areas - shared, 1e-9)
    return overlap
