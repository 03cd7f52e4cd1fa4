"""Which process is ours: a pid alone is no name, because the kernel gives it out again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Identity:
    """One process for good: its pid, when it started (clock ticks since boot) and which boot that was."""

    pid: int
    started: int
    boot: str

    @classmethod
    def from_document(cls, document: dict[str, Any] | None) -> Identity | None:
        """Read back what `document` gave; None for anything else."""
        try:
            return cls(**document) if document else None
        except TypeError:
            return None

    def document(self) -> dict[str, Any]:
        """Give the identity as plain JSON values."""
        return asdict(self)


def parse_stat(text: str) -> tuple[str, int]:
    """Give the state letter and the start time of a `/proc/PID/stat` line.

    The command's name stands in parentheses and may itself hold blanks and parentheses, so fields count from the last `)`.
    """
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[19])


def boot_id() -> str:
    """Give what names this boot of the machine: start times count from it."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def identify(pid: int) -> Identity | None:
    """Give the identity of the living process that has this pid now; a zombie is no living process."""
    try:
        state, started = parse_stat(Path(f"/proc/{pid}/stat").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in "ZX" else Identity(pid, started, boot_id())


def alive(process: Identity | None) -> bool:
    """Tell whether this very process still lives, not just one with its number."""
    return process is not None and identify(process.pid) == process


def children(pid: int) -> list[int]:
    """Give the pids of a process's children."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def stop(process: Identity | None, grace_seconds: float) -> bool:
    """End a process of ours: ask, wait, then kill; True when it is gone at the end."""
    if process is None or not alive(process):
        return True
    for sign, seconds in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, 10.0)):
        if seconds <= 0:
            continue
        try:
            os.kill(process.pid, sign)
        except ProcessLookupError:
            return True
        if wait_until(lambda: not alive(process), seconds):
            return True
    return False


def wait_until(true: Callable[[], bool], seconds: float, poll: float = POLL_SECONDS) -> bool:
    """Wait until something holds, for some seconds at most; tell whether it does."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() >= deadline:
            return False
        time.sleep(poll)
    return True
