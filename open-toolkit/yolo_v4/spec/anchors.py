"""Anchor shapes: a literal such as ``[(21.07, 8.14), (16.10, 17.86)]``.

TAO executes this string with ``eval``; here it is only ever read.
"""

from __future__ import annotations

import ast
import math
import numbers

from yolo_v4.errors import SpecError


def parse_anchors(text: str, name: str) -> list[tuple[float, float]]:
    """(width, height) pairs in network pixels; ``name`` is the field, for the message of the SpecError."""
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise SpecError(f"{name}: not a list of (width, height) pairs: {text!r}") from error
    if not isinstance(value, list | tuple) or not value:
        raise SpecError(f"{name}: expected a list of (width, height) pairs, got {text!r}")
    return [_pair(item, name) for item in value]


def _pair(item: object, name: str) -> tuple[float, float]:
    if not isinstance(item, list | tuple) or len(item) != 2:
        raise SpecError(f"{name}: {item!r} is not a (width, height) pair")
    width, height = item
    for side in (width, height):
        if not isinstance(side, numbers.Real) or isinstance(side, bool) or not math.isfinite(side) or side <= 0:
            raise SpecError(f"{name}: {item!r} must hold two positive numbers")
    return float(width), float(height)
