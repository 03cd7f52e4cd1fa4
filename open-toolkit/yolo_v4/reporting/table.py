"""The table of average precisions."""

from __future__ import annotations

from collections.abc import Mapping

_RULE = "*" * 31
_NAME_WIDTH = 14


def precision_table(precisions: Mapping[str, float], mean: float) -> str:
    """One line a class, then the mean.

    TAO runs names of 14 and more characters into the next column; here a blank always follows.
    """
    lines = [_line(name, "AP", value) for name, value in sorted(precisions.items())]
    return "\n".join([_RULE, *lines, _line("", "mAP", mean), _RULE])


def _line(name: str, what: str, value: float) -> str:
    head = name.ljust(_NAME_WIDTH) if len(name) < _NAME_WIDTH else f"{name} "
    return f"{head}{what.ljust(6)}{round(value, 5)}"
