"""KITTI label files and the class list, by TAO's rules.

Training and evaluation take lines with at least 9 columns (``name truncation occlusion alpha x1 y1 x2 y2 …``),
lower-case the name, skip unknown names, clip boxes to the image and drop those not wider and higher than a thousandth
of it. A non-zero occlusion marks an object as difficult.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from yolo_v4.errors import DatasetError

_TRAINING_COLUMNS = 9
_KMEANS_COLUMNS = 15
_SMALLEST_SIDE = 0.001
"""Of the image's side."""


@dataclass(frozen=True)
class Box:
    """One labelled object; corners in fractions of the image's width and height."""

    class_id: int
    x1: float
    y1: float
    x2: float
    y2: float
    difficult: bool = False


def class_names(mapping: Mapping[str, str]) -> list[str]:
    """The sorted, lower-cased target classes of a ``target_class_mapping``; a class's index is its id everywhere."""
    return sorted({target.lower() for target in mapping.values()})


def class_ids(mapping: Mapping[str, str]) -> dict[str, int]:
    """Class id by lower-cased source name."""
    order = {name: index for index, name in enumerate(class_names(mapping))}
    return {source.lower(): order[target.lower()] for source, target in mapping.items()}


def parse_labels(text: str, ids: Mapping[str, int], size: tuple[int, int], where: str) -> list[Box]:
    """Boxes of one label file.

    Args:
        text: the file's content.
        ids: class id by lower-cased name in the label file.
        size: (width, height) of the image in pixels.
        where: the file's name, for errors.

    Raises:
        DatasetError: a column that must be a number is none; TAO fails there as well.

    """
    boxes = []
    for number, line in enumerate(text.splitlines(), start=1):
        columns = line.split()
        if len(columns) < _TRAINING_COLUMNS or columns[0].lower() not in ids:
            continue
        try:
            difficult = int(columns[2]) != 0
            corners = [float(column) for column in columns[4:8]]
        except ValueError as error:
            raise DatasetError(f"{where}:{number}: {error}") from error
        box = _clip(ids[columns[0].lower()], corners, size, difficult=difficult)
        if box is not None:
            boxes.append(box)
    return boxes


def _clip(class_id: int, corners: list[float], size: tuple[int, int], *, difficult: bool) -> Box | None:
    width, height = size
    x1, x2 = (min(max(x / width, 0.0), 1.0) for x in (corners[0], corners[2]))
    y1, y2 = (min(max(y / height, 0.0), 1.0) for y in (corners[1], corners[3]))
    # Written so that nan, which compares false, is dropped too.
    if x2 - x1 > _SMALLEST_SIDE and y2 - y1 > _SMALLEST_SIDE:
        return Box(class_id, x1, y1, x2, y2, difficult)
    return None


def parse_sizes(text: str, size: tuple[int, int], where: str) -> list[tuple[float, float]]:
    """(width, height) of every box in fractions of the image, of any class: what kmeans clusters."""
    sizes = []
    for number, line in enumerate(text.splitlines(), start=1):
        columns = line.split()
        if len(columns) < _KMEANS_COLUMNS:
            continue
        try:
            x1, y1, x2, y2 = (float(column) for column in columns[4:8])
        except ValueError as error:
            raise DatasetError(f"{where}:{number}: {error}") from error
        sizes.append(((x2 - x1) / size[0], (y2 - y1) / size[1]))
    return sizes


def list_images(folder: str | Path, extensions: Iterable[str]) -> list[Path]:
    """The folder's images, sorted by name, not recursive; raises DatasetError when there is no such folder."""
    wanted = tuple(extensions)
    try:
        return sorted(path for path in Path(folder).iterdir() if path.name.endswith(wanted) and path.is_file())
    except OSError as error:
        raise DatasetError(f"cannot list the image folder {folder}: {error.strerror}") from error
