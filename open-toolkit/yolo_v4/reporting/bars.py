"""Progress bars with the text of Keras 2.2 (training) and tqdm (predictions), which tools read."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from typing import TextIO

_WIDTH = 30
_INTERVAL_SECONDS = 0.5


class KerasBar:
    """The bar of one epoch.

    Without a terminal every update goes on a line of its own, at most two a second, and the last always.
    """

    def __init__(self, target: int, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._target = target
        self._stream = stream or sys.stdout
        self._clock = clock
        self._start = clock()
        self._last = -math.inf
        self._terminal = self._stream.isatty()
        self._shown = 0

    def update(self, current: int, loss: float) -> None:
        """Show that ``current`` steps are done with this mean loss."""
        now = self._clock()
        if current < self._target and now - self._last < _INTERVAL_SECONDS:
            return
        self._last = now
        line = f"{self._bar(current)}{self._times(current, now - self._start)} - loss: {format_loss(loss)}"
        if self._terminal:
            self._stream.write("\r" + line.ljust(self._shown))
            self._shown = len(line)
        else:
            self._stream.write("\n" + line)
        if current >= self._target:
            self._stream.write("\n")
        self._stream.flush()

    def _bar(self, current: int) -> str:
        digits = len(str(self._target))
        filled = _WIDTH * current // self._target
        arrow = "=" if current >= self._target else ">"
        bar = ("=" * (filled - 1) + arrow if filled else "").ljust(_WIDTH, ".")
        return f"{current:{digits}d}/{self._target} [{bar}]"

    def _times(self, current: int, elapsed: float) -> str:
        per_step = elapsed / max(1, current)
        if current >= self._target:
            return f" - {elapsed:.0f}s {_per_step(per_step)}/step"
        return f" - ETA: {_remaining(per_step * (self._target - current))}"


def format_loss(loss: float) -> str:
    """Four decimals, or an exponent when that would show nothing."""
    return f"{loss:.4e}" if abs(loss) <= 1e-3 else f"{loss:.4f}"


def _per_step(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.0f}s"
    if seconds >= 1e-3:
        return f"{seconds * 1e3:.0f}ms"
    return f"{seconds * 1e6:.0f}us"


def _remaining(seconds: float) -> str:
    total = int(seconds)
    if total > 3600:
        return f"{total // 3600}:{total % 3600 // 60:02d}:{total % 60:02d}"
    if total > 60:
        return f"{total // 60}:{total % 60:02d}"
    return f"{total}s"


class PredictionBar:
    """The bar over batches of a validation; updates are separated by carriage returns."""

    def __init__(
        self,
        target: int,
        title: str = "Producing predictions",
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._target = target
        self._title = title
        self._stream = stream or sys.stdout
        self._clock = clock
        self._start = clock()
        self._last = -math.inf

    def update(self, current: int) -> None:
        """Show that ``current`` batches are done."""
        now = self._clock()
        if current < self._target and now - self._last < _INTERVAL_SECONDS:
            return
        self._last = now
        elapsed = now - self._start
        rate = current / elapsed if elapsed > 0 else 0.0
        left = (self._target - current) / rate if rate else 0.0
        bar = ("█" * (_WIDTH * current // self._target)).ljust(_WIDTH)
        self._stream.write(
            f"\r{self._title}: {100 * current // self._target:3d}%|{bar}| {current}/{self._target} "
            f"[{_clock_text(elapsed)}<{_clock_text(left)}, {rate:5.2f}it/s]"
        )
        if current >= self._target:
            self._stream.write("\n")
        self._stream.flush()


def _clock_text(seconds: float) -> str:
    total = int(seconds)
    if total >= 3600:
        return f"{total // 3600}:{total % 3600 // 60:02d}:{total % 60:02d}"
    return f"{total // 60:02d}:{total % 60:02d}"
