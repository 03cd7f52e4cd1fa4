"""Which anchor of which cell is responsible for which object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Assignment:
    """The responsible anchors of one scale; parallel int64 arrays (k,), ``target`` indexes the targets' rows."""

    image: NDArray[np.int64]
    anchor: NDArray[np.int64]
    row: NDArray[np.int64]
    column: NDArray[np.int64]
    target: NDArray[np.int64]


def assign(
    targets: NDArray[np.float32],
    anchors: Sequence[Sequence[tuple[float, float]]],
    grids: Sequence[tuple[int, int]],
    strides: Sequence[int],
    matching_iou: float,
) -> list[Assignment]:
    """Match objects to anchors by the overlap of their shapes.

    The best anchor of all scales is always taken, and every other one that overlaps by more than ``matching_iou``. Where two
    objects want the same anchor of the same cell, the better fit has it.

    Args:
        targets: (n, 6) image, class, centre x, centre y, width, height in network pixels.
        anchors: for each scale (width, height) pairs in network pixels.
        grids: for each scale (rows, columns).
        strides: for each scale network pixels a cell.
        matching_iou: bound for anchors beside the best one.

    """
    flat = np.array([anchor for scale in anchors for anchor in scale], dtype=np.float32)
    overlap = shape_iou(targets[:, 4:6], flat)
    matches = overlap > matching_iou
    if len(targets):
        matches[np.arange(len(targets)), overlap.argmax(axis=1)] = True
    result, first = [], 0
    for scale, (rows, columns) in enumerate(grids):
        count = len(anchors[scale])
        target, anchor = np.nonzero(matches[:, first : first + count])
        fit = overlap[target, first + anchor]
        image = targets[target, 0].astype(np.int64)
        column = np.clip(targets[target, 2] / strides[scale], 0, columns - 1).astype(np.int64)
        row = np.clip(targets[target, 3] / strides[scale], 0, rows - 1).astype(np.int64)
        slot = ((image * count + anchor) * rows + row) * columns + column
        best_first = np.argsort(-fit, kind="stable")
        _, unique = np.unique(slot[best_first], return_index=True)
        kept = best_first[unique]
        result.append(Assignment(image[kept], anchor[kept], row[kept], column[kept], target[kept]))
        first += count
    return result


def shape_iou(sizes: NDArray[np.float32], anchors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Overlap of (n, 2) with (m, 2) shapes that share their centre: (n, m)."""
    shared = np.minimum(sizes[:, None], anchors[None]).prod(axis=-1)
    union = sizes.prod(axis=-1)[:, None] + anchors.prod(axis=-1)[None] - shared
    overlap: NDArray[np.float32] = shared / np.maximum(union, 1e-9)
    return overlap
