"""Which anchor of which cell is responsible for which object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Assignment:
    """The responsible anchors; parallel int64 arrays (k,).

    image: index in the batch. place: index among an image's candidates (scale by scale, anchor, row, column). target:
    index among the targets.
    """

    image: NDArray[np.int64]
    place: NDArray[np.int64]
    target: NDArray[np.int64]


def assign(
    targets: NDArray[np.float32],
    anchors: Sequence[Sequence[tuple[float, float]]],
    grids: Sequence[tuple[int, int]],
    strides: Sequence[int],
    matching_iou: float,
) -> Assignment:
    """Match objects to anchors by the overlap of their shapes, in the cell that holds the object's centre.

    The best anchor of all scales is always taken, and every other one that overlaps by more than ``matching_iou``.
    Where two objects want the same anchor of the same cell, the better fit has it.

    Args:
        targets: (n, 6) image, class, centre x, centre y, width, height in network pixels.
        anchors: for each scale (width, height) pairs in network pixels.
        grids: for each scale (rows, columns).
        strides: for each scale network pixels a cell.
        matching_iou: bound for anchors beside the best one.

    """
    flat = np.array([anchor for scale in anchors for anchor in scale], dtype=np.float32)
    counts = [len(scale) for scale in anchors]
    rows, columns, stride = (
        np.repeat(values, counts) for values in ([g[0] for g in grids], [g[1] for g in grids], strides)
    )
    cells = rows * columns
    first = np.concatenate([[0], np.cumsum(cells)[:-1]])
    overlap = shape_iou(targets[:, 4:6], flat)
    matches = overlap > matching_iou
    if len(targets):
        matches[np.arange(len(targets)), overlap.argmax(axis=1)] = True
    target, anchor = np.nonzero(matches)
    column = np.clip(targets[target, 2] / stride[anchor], 0, columns[anchor] - 1).astype(np.int64)
    row = np.clip(targets[target, 3] / stride[anchor], 0, rows[anchor] - 1).astype(np.int64)
    place = first[anchor] + row * columns[anchor] + column
    image = targets[target, 0].astype(np.int64)
    best_first = np.argsort(-overlap[target, anchor], kind="stable")
    _, unique = np.unique((image * int(cells.sum()) + place)[best_first], return_index=True)
    kept = best_first[unique]
    return Assignment(image[kept], place[kept], target[kept])


def shape_iou(sizes: NDArray[np.float32], anchors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Overlap of (n, 2) with (m, 2) shapes that share their centre: (n, m)."""
    shared = np.minimum(sizes[:, None], anchors[None]).prod(axis=-1)
    union = sizes.prod(axis=-1)[:, None] + anchors.prod(axis=-1)[None] - shared
    overlap: NDArray[np.float32] = shared / np.maximum(union, 1e-9)
    return overlap
