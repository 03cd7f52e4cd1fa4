"""Talking to the person at the terminal: everything goes to stderr, so that stdout stays for answers that scripts read."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

HEARTBEAT_SECONDS = 15


class ClusterError(Exception):
    """Something a person must know about, said in a sentence; the command line prints it without a traceback."""


def say(message: str) -> None:
    """Print one line of progress."""
    print(message, file=sys.stderr, flush=True)


def elapsed(seconds: float) -> str:
    """Say a duration the way people do: `8.2 s`, `3 min 05 s`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"


@contextmanager
def step(title: str, hint: str = "") -> Iterator[None]:
    """Announce a piece of work, show that it is still alive now and then, and tell what it took."""
    started = time.monotonic()
    done = threading.Event()
    say(f"{title} …{f' ({hint})' if hint else ''}")

    def beat() -> None:
        while not done.wait(HEARTBEAT_SECONDS):
            say(f"  {title}: {elapsed(time.monotonic() - started)} so far")

    threading.Thread(target=beat, daemon=True).start()
    try:
        yield
    finally:
        done.set()
    say(f"  {title}: done in {elapsed(time.monotonic() - started)}")
