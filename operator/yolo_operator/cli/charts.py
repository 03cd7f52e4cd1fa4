"""Small charts as SVG text: lines over epochs, points, dots by class. Pure.

Colours are CSS variables of the page, so that light and dark are the page's business; every mark says its numbers in a tooltip
(`<title>`), without a script.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 560, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 16, 14, 42
COLOURS = 6
"""`--series-0` to `--series-5` of the page; more series begin again."""

_LARGEST = 1e15
"""A number beyond it (or none at all) is a training that went wrong, and no point of a curve."""

Point = tuple[float, float]


class Series(NamedTuple):
    """One line."""

    name: str
    points: Sequence[Point]
    """Ascending in x; values that are not finite, or beyond all reason, are left out."""


class Mark(NamedTuple):
    """One point of a scatter."""

    name: str
    x: float
    y: float
    strong: bool = False


class Axis:
    """A linear scale with round ticks.

    Args:
        values: what must lie on it; finite, at least one.
        start: the first pixel.
        end: the last pixel.
        zero: whether it begins at zero.
        most: ticks at most, about.
    """

    def __init__(self, values: Iterable[float], start: float, end: float, *, zero: bool = False, most: int = 6) -> None:
        numbers = list(values)
        low, high = min(numbers), max(numbers)
        low, high = (min(0.0, low), max(0.0, high)) if zero else (low, high)
        if high - low < 1e-6 * max(1.0, abs(low), abs(high)):
            room = max(0.05 * abs(high), 1e-3)
            low, high = low - room, high + room
        step = _round_step((high - low) / most)
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        self.ticks = [round(number * step, 10) for number in range(first, last + 1)]
        self._low, self._high, self._start, self._end = self.ticks[0], self.ticks[-1], start, end

    def at(self, value: float) -> float:
        """The pixel of a value."""
        return self._start + (value - self._low) / (self._high - self._low) * (self._end - self._start)


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))


def lines(series: Sequence[Series], *, x_label: str, y_label: str, zero: bool = False) -> str:
    """Lines over whole numbers; empty text when there is nothing to draw."""
    kept = [Series(one.name, _finite(one.points)) for one in series]
    kept = [one for one in kept if one.points]
    if not kept:
        return ""
    xs = [x for one in kept for x, _ in one.points]
    x_axis = Axis([*xs, 0], _LEFT, WIDTH - _RIGHT, most=8)
    y_axis = Axis([y for one in kept for _, y in one.points], HEIGHT - _BOTTOM, _TOP, zero=zero)
    parts = [_frame(x_axis, y_axis, x_label, y_label)]
    for index, one in enumerate(kept):
        colour = f"var(--series-{index % COLOURS})"
        path = " ".join(f"{x_axis.at(x):.1f},{y_axis.at(y):.1f}" for x, y in one.points)
        parts.append(f'<polyline class="line" style="stroke:{colour}" points="{path}"/>')
        parts += [
            f'<circle cx="{x_axis.at(x):.1f}" cy="{y_axis.at(y):.1f}" r="{3 if len(one.points) <= 40 else 1.5}" '
            f'style="fill:{colour}"><title>{escape(one.name)}, {x_label} {x:g}: {y:.5g}</title></circle>'
            for x, y in one.points
        ]
    return _svg("".join(parts), f"{y_label} by {x_label}") + legend([one.name for one in kept])


def scatter(marks: Sequence[Mark], *, x_label: str, y_label: str) -> str:
    """Named points, the strong ones filled; those that no other point beats (less x, more y) are joined by a line."""
    kept = [mark for mark in marks if _finite([(mark.x, mark.y)])]
    if not kept:
        return ""
    x_axis = Axis([*(mark.x for mark in kept), 0, 1], _LEFT, WIDTH - _RIGHT)
    y_axis = Axis([mark.y for mark in kept], HEIGHT - _BOTTOM, _TOP, zero=True)
    parts = [_frame(x_axis, y_axis, x_label, y_label)]
    front = pareto(kept)
    path = " ".join(f"{x_axis.at(mark.x):.1f},{y_axis.at(mark.y):.1f}" for mark in front)
    parts.append(f'<polyline class="front" points="{path}"/>')
    for mark in kept:
        x, y = x_axis.at(mark.x), y_axis.at(mark.y)
        near_end = x > WIDTH - 90
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" class="{"mark strong" if mark.strong else "mark"}">'
            f"<title>{escape(mark.name)}: {x_label} {mark.x:.4g}, {y_label} {mark.y:.5g}</title></circle>"
            f'<text class="name" x="{x - 10 if near_end else x + 10:.1f}" y="{y - 8:.1f}" '
            f'text-anchor="{"end" if near_end else "start"}">{escape(mark.name)}</text>'
        )
    return _svg("".join(parts), f"{y_label} over {x_label}")


def pareto(marks: Sequence[Mark]) -> list[Mark]:
    """Those that no other one beats: none has as little x and as much y; ascending in x."""
    front: list[Mark] = []
    for mark in sorted(marks, key=lambda mark: (mark.x, -mark.y)):
        if not front or mark.y > front[-1].y:
            front.append(mark)
    return front


def dots(rows: Sequence[tuple[str, Sequence[float | None]]], names: Sequence[str], *, x_label: str) -> str:
    """A row a class, a dot a model, from 0 to 1."""
    if not rows:
        return ""
    left = min(190, 16 + 7 * max(len(name) for name, _ in rows))
    height = 22 * len(rows) + 40
    axis = Axis([0, 1], left, WIDTH - _RIGHT, zero=True)
    parts = [
        f'<line class="grid" x1="{axis.at(tick):.1f}" x2="{axis.at(tick):.1f}" y1="6" y2="{height - 34}"/>'
        f'<text class="tick" x="{axis.at(tick):.1f}" y="{height - 18}" text-anchor="middle">{tick:g}</text>'
        for tick in axis.ticks
    ]
    parts.append(
        f'<text class="axis" x="{(left + WIDTH - _RIGHT) / 2:.0f}" y="{height - 5}" text-anchor="middle">{x_label}</text>'
    )
    for index, (name, values) in enumerate(rows):
        y = 18 + 22 * index
        parts.append(f'<text class="row" x="{left - 8}" y="{y + 4}" text-anchor="end">{escape(_short(name, left // 7))}</text>')
        parts.append(f'<line class="grid" x1="{left}" x2="{WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        parts += [
            f'<circle cx="{axis.at(value):.1f}" cy="{y + 4 * (at - (len(values) - 1) / 2):g}" r="4.5" '
            f'style="fill:var(--series-{at % COLOURS})">'
            f"<title>{escape(name)}, {escape(names[at])}: {value:.5f}</title></circle>"
            for at, value in enumerate(values)
            if value is not None and math.isfinite(value)
        ]
    return _svg("".join(parts), x_label, height) + legend(names)


def legend(names: Sequence[str]) -> str:
    """What each colour is."""
    entries = "".join(
        f'<span><i style="background:var(--series-{index % COLOURS})"></i>{escape(name)}</span>'
        for index, name in enumerate(names)
    )
    return f'<p class="legend">{entries}</p>'


def _finite(points: Sequence[Point]) -> list[Point]:
    return [(x, y) for x, y in points if abs(x) < _LARGEST and abs(y) < _LARGEST]


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _frame(x_axis: Axis, y_axis: Axis, x_label: str, y_label: str) -> str:
    bottom = HEIGHT - _BOTTOM
    parts = [
        f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y_axis.at(tick):.1f}" y2="{y_axis.at(tick):.1f}"/>'
        f'<text class="tick" x="{_LEFT - 8}" y="{y_axis.at(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>'
        for tick in y_axis.ticks
    ]
    parts += [
        f'<text class="tick" x="{x_axis.at(tick):.1f}" y="{bottom + 18}" text-anchor="middle">{tick:g}</text>'
        for tick in x_axis.ticks
    ]
    parts.append(
        f'<text class="axis" x="{(WIDTH + _LEFT) / 2:.0f}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x_label)}</text>'
    )
    parts.append(
        f'<text class="axis" transform="translate(12 {bottom / 2:.0f}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>'
    )
    return "".join(parts)


def _svg(content: str, label: str, height: float = HEIGHT) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(label)}">{content}</svg>'
