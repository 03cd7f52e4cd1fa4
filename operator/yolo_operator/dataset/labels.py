"""The lines of label files: darknet's and KITTI's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

TOLERANCE = 0.001
"""How far a fraction may lie outside 0 to 1: annotation tools round."""
TOO_SMALL = 0.001
"""The toolkit drops boxes whose width or height is not above this fraction of the image."""
KITTI_COLUMNS = 15
KITTI_LEAST = 9
"""Training reads lines of 9 columns; anchors (kmeans) need 15."""
IGNORED = "dontcare"


class LabelError(ValueError):
    """What is wrong with a line, and what to do."""


@dataclass(frozen=True, slots=True)
class Box:
    """An object: the model's class and its corners in pixels of the image, inside it."""

    name: str
    x1: float
    y1: float
    x2: float
    y2: float
    columns: int = KITTI_COLUMNS

    def is_tiny(self, width: int, height: int) -> bool:
        return self.x2 - self.x1 <= TOO_SMALL * width or self.y2 - self.y1 <= TOO_SMALL * height

    def kitti(self) -> str:
        """The 15 columns; occlusion is a whole number, as the toolkit insists."""
        corners = " ".join(f"{value:.2f}" for value in (self.x1, self.y1, self.x2, self.y2))
        return f"{self.name} 0.00 0 0.00 {corners} 0.00 0.00 0.00 0.00 0.00 0.00 0.00"


def darknet(line: str, classes: Mapping[str, str], width: int, height: int) -> Box:
    """`id cx cy w h`, fractions of an image of width × height pixels, clipped to it.

    Raises LabelError.
    """
    columns = line.split()
    if len(columns) != 5:
        raise LabelError(f"{len(columns)} columns instead of 5 (id cx cy w h): correct or remove the line")
    if not (columns[0].isascii() and columns[0].isdecimal()):
        raise LabelError(f"the class id `{columns[0]}` is not a whole number: correct the line")
    name = classes.get(str(int(columns[0])))
    if name is None:
        raise LabelError(f"the class id {int(columns[0])} is not in spec.dataset.classes: map it, or remove the line")
    values = _numbers(columns[1:])
    for value, what in zip(values, ("cx", "cy", "w", "h"), strict=True):
        if not -TOLERANCE <= value <= 1 + TOLERANCE:
            raise LabelError(f"{what} is {value:g}, outside 0 to 1: darknet's coordinates are fractions of the image")
    cx, cy, w, h = values
    return _box(name, ((cx - w / 2) * width, (cy - h / 2) * height, (cx + w / 2) * width, (cy + h / 2) * height), width, height)


def kitti(line: str, classes: Mapping[str, str], width: int, height: int) -> Box | None:
    """A KITTI line as the toolkit's training reads it; None for DontCare.

    Raises LabelError. `classes` has lower-case names.
    """
    columns = line.split()
    if len(columns) < KITTI_LEAST:
        raise LabelError(f"{len(columns)} columns, KITTI has {KITTI_COLUMNS}: correct or remove the line")
    try:
        int(columns[2])
    except ValueError:
        raise LabelError(f"occlusion (column 3) is `{columns[2]}`, not a whole number: write 0") from None
    corners = _numbers(columns[4:8])
    if columns[0].lower() == IGNORED:
        return None
    name = classes.get(columns[0].lower())
    if name is None:
        raise LabelError(f"the class `{columns[0]}` is not in spec.dataset.classes: map it, or remove the line")
    return _box(name, corners, width, height, min(len(columns), KITTI_COLUMNS))


def _numbers(columns: Sequence[str]) -> list[float]:
    numbers = []
    for text in columns:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise LabelError(f"`{text}` is not a number: correct the line")
        numbers.append(number)
    return numbers


def _box(name: str, corners: Sequence[float], width: int, height: int, columns: int = KITTI_COLUMNS) -> Box:
    """A box clipped to its image."""
    if corners[2] <= corners[0] or corners[3] <= corners[1]:
        raise LabelError("the box has no width or no height: correct or remove the line")
    x1, x2 = (min(max(value, 0.0), float(width)) for value in (corners[0], corners[2]))
    y1, y2 = (min(max(value, 0.0), float(height)) for value in (corners[1], corners[3]))
    if x2 <= x1 or y2 <= y1:
        raise LabelError(f"the box lies outside its image of {width} x {height} pixels: correct or remove the line")
    return Box(name, x1, y1, x2, y2, columns)
