"""When a write may go that decides nothing: Events, and the label that lets a finished Job go.

Together they are half of the operator's writes. While experiments wait to be looked at, each of them delays a Job somewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

LONGEST_WAIT = 1.0
"""Seconds after which such a write goes all the same: under a load that never ends, one a second."""
STEP = 0.05


@dataclass(slots=True)
class Leisure:
    """Waits for a moment in which nothing presses."""

    presses: Callable[[], bool]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    hurry: bool = False
    """The process ends: nothing waits any more."""

    async def come(self) -> None:
        """Return when nothing presses, or after `LONGEST_WAIT`."""
        for _ in range(round(LONGEST_WAIT / STEP)):
            if self.hurry or not self.presses():
                return
            await self.sleep(STEP)
