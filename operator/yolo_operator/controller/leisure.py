"""When a write may go that decides nothing: Events, the label that lets a finished Job go, a status that its Jobs tell as well.

Together they are most of the operator's writes. While experiments wait to be looked at, or the API server is slow to answer, each
of them delays a Job somewhere.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

SLOW_SECONDS = 0.05
"""A write that takes less is never slow."""
SLOW_FACTOR = 3.0
"""What is slow for an API server, against its own best."""
MEMORY_SECONDS = 2.0
"""For so long its last answers count."""
LONGEST_WAIT = 1.0
"""Seconds after which such a write goes all the same: under a load that never ends, one a second."""
STEP = 0.05


@dataclass(slots=True)
class Pace:
    """How quickly the API server answers writes, lately and at its best."""

    clock: Callable[[], float] = time.monotonic
    recent: float = 0.0
    """Mean of the last answers in seconds, the newest weighing a fifth."""
    best: float = 0.0
    """The quickest mean so far; forgotten slowly, as an API server may move further away."""
    _last: float = float("-inf")

    def observe(self, seconds: float) -> None:
        """A write was answered after so many seconds."""
        fresh = self.clock() - self._last > MEMORY_SECONDS
        self.recent = seconds if fresh else 0.8 * self.recent + 0.2 * seconds
        self.best = min(self.recent, self.best * 1.001) if self.best else self.recent
        self._last = self.clock()

    @property
    def slow(self) -> bool:
        """Whether it has more to do than it can."""
        known = self.clock() - self._last <= MEMORY_SECONDS
        return known and self.recent > max(SLOW_SECONDS, SLOW_FACTOR * self.best)


@dataclass(slots=True)
class Leisure:
    """Waits for a moment in which nothing presses."""

    presses: Callable[[], bool]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    hurry: bool = False
    """The process ends: nothing waits any more."""
    calm: float = 0.0
    """Seconds without pressure that make such a moment: among a crowd there are many that are shorter."""
    _quiet: float = 0.0
    """For how long nothing has pressed, as far as it was looked at."""

    async def come(self, longest: float = LONGEST_WAIT) -> None:
        """Return when nothing presses, or after so many seconds."""
        for _ in range(round(longest / STEP)):
            if self.hurry:
                return
            if self.presses():
                self._quiet = 0.0
            elif self._quiet >= self.calm:
                return
            else:
                self._quiet += STEP
            await self.sleep(STEP)
