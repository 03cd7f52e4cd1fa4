"""The labelled images of an experiment spec's data sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from yolo_v4.data.labels import Box, list_images, parse_labels
from yolo_v4.errors import DatasetError
from yolo_v4.spec.messages import DataSource

_TRAINING_EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif")

Pixels = NDArray[np.uint8]
"""(height, width, 3), RGB."""


@dataclass(frozen=True)
class Sample:
    """One image and its objects.

    boxes: float32 (n, 4), x1 y1 x2 y2 in fractions of the image. classes: int64 (n,). difficult: bool (n,).
    """

    path: Path
    size: tuple[int, int]
    boxes: NDArray[np.float32]
    classes: NDArray[np.int64]
    difficult: NDArray[np.bool_]


def load_samples(sources: Sequence[DataSource], ids: Mapping[str, int], what: str) -> list[Sample]:
    """Read all labels; an image without a label file is skipped, one without objects is kept.

    Raises:
        DatasetError: a folder is missing, a file is broken, or there is nothing to use (``what`` says for what).

    """
    samples = [sample for source in sources for sample in _source_samples(source, ids)]
    if not samples:
        places = ", ".join(source.image_directory_path for source in sources)
        extensions = " ".join(_TRAINING_EXTENSIONS)
        raise DatasetError(f"no {what} image with a label file in {places} (extensions in lower case: {extensions})")
    return samples


def _source_samples(source: DataSource, ids: Mapping[str, int]) -> list[Sample]:
    labels = Path(source.label_directory_path)
    if not labels.is_dir():
        raise DatasetError(f"no label folder {labels}")
    samples = []
    for path in list_images(source.image_directory_path, _TRAINING_EXTENSIONS):
        label = labels / f"{path.stem}.txt"
        if label.is_file():
            samples.append(_read_sample(path, label, ids))
    return samples


def _read_sample(path: Path, label: Path, ids: Mapping[str, int]) -> Sample:
    size = image_size(path)
    try:
        text = label.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"cannot read {label}: {error}") from error
    return make_sample(path, size, parse_labels(text, ids, size, str(label)))


def make_sample(path: Path, size: tuple[int, int], boxes: Sequence[Box]) -> Sample:
    """A sample from parsed boxes."""
    corners = np.array([[b.x1, b.y1, b.x2, b.y2] for b in boxes], dtype=np.float32).reshape(-1, 4)
    classes = np.array([b.class_id for b in boxes], dtype=np.int64)
    return Sample(path, size, corners, classes, np.array([b.difficult for b in boxes], dtype=np.bool_))


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) from the file's header; raises DatasetError."""
    try:
        with Image.open(path) as image:
            return image.size
    except OSError as error:
        raise DatasetError(f"cannot read the image {path}: {error}") from error


def read_image(path: Path) -> Pixels:
    """All pixels as RGB; raises DatasetError."""
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except OSError as error:
        raise DatasetError(f"cannot read the image {path}: {error}") from error
