"""SIGTERM and SIGINT.

As process 1 of a container a program without a handler ignores SIGTERM until it is killed, so there is always one. By
default it raises at once; training defers it to the end of the step.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from yolo_v4.errors import InterruptedRunError


class _State:
    deferring = False
    pending: int | None = None


def install() -> None:
    """Turn both signals into InterruptedRunError."""
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, _handle)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Within the block signals only surface where ``check`` is called."""
    _State.deferring = True
    try:
        yield
    finally:
        _State.deferring = False


def check() -> None:
    """Raise InterruptedRunError when a signal has arrived meanwhile."""
    if _State.pending is not None:
        signum, _State.pending = _State.pending, None
        raise InterruptedRunError(signum)


def _handle(signum: int, _frame: FrameType | None) -> None:
    if _State.deferring:
        _State.pending = signum
    else:
        raise InterruptedRunError(signum)
