"""``yolo_v4 kmeans``: anchor shapes that fit a dataset's boxes."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from yolo_v4.data.labels import list_images, parse_sizes
from yolo_v4.data.samples import image_size
from yolo_v4.errors import DatasetError, UsageError
from yolo_v4.reporting.status import RUNNING, StatusLog
from yolo_v4.tasks.common import recorded

_EXTENSIONS = (".jpg", ".jpeg", ".JPG", ".JPEG", ".png", ".PNG")
_SHOW_EVERY = 10

Shapes = NDArray[np.float64]
"""(n, 2): width, height."""


def run(arguments: argparse.Namespace) -> None:
    """Print the anchors, smallest area first: the first third is for the fine scale, the last for the coarse one."""
    if len(arguments.label_folders) != len(arguments.image_folders):
        raise UsageError("--label_folders and --image_folders must name equally many folders")
    if arguments.num_clusters < 1:
        raise UsageError("--num_clusters must be at least 1")
    status = StatusLog(arguments.results_dir)
    recorded(
        status, "k-means", "Starting k-means.", "K-means finished successfully.", lambda: _anchors(arguments, status)
    )


def _anchors(arguments: argparse.Namespace, status: StatusLog) -> None:
    network = np.array([arguments.size_x, arguments.size_y], dtype=np.float64)
    shapes = _read_shapes(arguments.label_folders, arguments.image_folders)
    shapes = shapes[(shapes * network > [arguments.min_x, arguments.min_y]).all(axis=1)]
    anchors = cluster(shapes, arguments.num_clusters, arguments.max_steps, arguments.seed) * network
    anchors = anchors[np.argsort(anchors.prod(axis=1), kind="stable")]
    print("Please use following anchor sizes in YOLO config:")
    for width, height in anchors:
        print(f"({width:.2f}, {height:.2f})")
    generated = [(round(float(w), 2), round(float(h), 2)) for w, h in anchors]
    status.write(RUNNING, "K-means generated anchors.", kpi={"k-means generated anchors": str(generated)})


def _read_shapes(label_folders: list[str], image_folders: list[str]) -> Shapes:
    """Widths and heights of all boxes in fractions of their images."""
    shapes: list[tuple[float, float]] = []
    for labels, images in zip(label_folders, image_folders, strict=True):
        for image in list_images(images, _EXTENSIONS):
            label = Path(labels) / f"{image.stem}.txt"
            if label.is_file():
                text = label.read_text(encoding="utf-8", errors="replace")
                shapes += parse_sizes(text, image_size(image), str(label))
            else:
                print(f"Cannot find: {label}")
    return np.array(shapes, dtype=np.float64).reshape(-1, 2)


def cluster(shapes: Shapes, count: int, max_steps: int, seed: int) -> Shapes:
    """K-means with overlap as nearness and medians as centres.

    Args:
        shapes: (n, 2) box shapes.
        count: clusters; must be fewer than boxes.
        max_steps: bound on iterations.
        seed: of the choice of the first centres (TAO does not seed, and answers differently every time).

    Returns:
        (count, 2) centres, unordered. A cluster that runs empty keeps its centre (in TAO it becomes NaN).

    Raises:
        DatasetError: too few boxes.

    """
    distinct = np.unique(shapes, axis=0)
    if len(shapes) <= count or len(distinct) < count:
        raise DatasetError(f"{len(shapes)} boxes ({len(distinct)} distinct) are too few for {count} clusters")
    rng = np.random.default_rng(seed)
    centres = distinct[rng.choice(len(distinct), count, replace=False)]
    nearest = np.full(len(shapes), -1)
    for step in range(max_steps):
        if step % _SHOW_EVERY == 0:
            print(f"Start optimization iteration: {step + 1}", flush=True)
        previous, nearest = nearest, _overlap(shapes, centres).argmax(axis=1)
        if (previous == nearest).all():
            break
        for index in range(count):
            members = shapes[nearest == index]
            if len(members):
                centres[index] = np.median(members, axis=0)
    return centres


def _overlap(shapes: Shapes, centres: Shapes) -> Shapes:
    """Overlap of co-centred boxes: (n, count)."""
    shared = np.minimum(shapes[:, None], centres[None]).prod(axis=-1)
    overlap: Shapes = shared / (shapes.prod(axis=-1)[:, None] + centres.prod(axis=-1)[None] - shared)
    return overlap
