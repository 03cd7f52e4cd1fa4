"""A work queue with client-go's semantics: a key is worked on by one worker at a time and waits in the queue once.

A key added while it is worked on comes again afterwards. Failures wait exponentially longer, with jitter, key by key.
A token bucket bounds what all keys together may start. Beside client-go's there is a lane for keys that may wait until nothing
presses.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

K = TypeVar("K", bound=Hashable)

FIRST_DELAY = 0.05
LONGEST_DELAY = 300.0
CALM_SECONDS = 0.25
"""After the last key that presses, before those are given out that may wait: a crowd has many moments that are shorter."""
IDLE_PATIENCE = 15.0
"""Seconds after which a key that may wait presses like any other."""


class ShutDown(Exception):  # noqa: N818 - an answer, not an error
    """The queue gives out nothing more."""


@dataclass(slots=True)
class QueueStats:
    """What dashboards for client-go's queues show."""

    adds: int = 0
    retries: int = 0
    waited_seconds: float = 0.0
    """Sum over all keys given out of the time they waited."""
    given: int = 0


class Histogram(Protocol):
    """What a queue tells its times to."""

    def observe(self, amount: float) -> None:
        """Take in so many seconds."""
        ...


class WorkQueue(Generic[K]):
    """Keys to be worked on; tells how long each waited and was worked on, if somebody wants to know."""

    def __init__(
        self,
        *,
        rate: float = 500.0,
        burst: int = 1000,
        clock: Callable[[], float] | None = None,
        waited: Histogram | None = None,
        worked: Histogram | None = None,
        presses: Callable[[], bool] = lambda: False,
    ) -> None:
        self.stats = QueueStats()
        self._waited, self._worked, self._presses = waited, worked, presses
        self._clock: Callable[[], float] = clock or asyncio.get_running_loop().time
        self._waiting: deque[K] = deque()
        self._since: dict[K, float] = {}
        self._processing: dict[K, float] = {}
        self._dirty: set[K] = set()
        self._failures: dict[K, int] = {}
        self._delayed: dict[K, tuple[float, asyncio.TimerHandle]] = {}
        self._idle: dict[K, tuple[float, asyncio.TimerHandle]] = {}
        self._at_leisure: set[K] = set()
        """Keys in work that were given out of the idle lane."""
        self._moved = self._clock()
        self._pressed_at = float("-inf")
        """When a key was last there that presses."""
        self._looks_again = False
        self._wake = asyncio.Event()
        self._closed = False
        self._rate, self._burst = rate, float(burst)
        self._tokens, self._filled = float(burst), self._clock()

    def add(self, key: K) -> None:
        """Work on the key soon. That makes an appointment of later needless: each look makes its own next one."""
        if self._closed:
            return
        if key in self._delayed:
            self._delayed.pop(key)[1].cancel()
        if key in self._idle:
            self._idle.pop(key)[1].cancel()
        if key in self._dirty:
            return
        self._pressed_at = self._clock()
        self._put(key)

    def _put(self, key: K) -> None:
        self.stats.adds += 1
        self._dirty.add(key)
        self._since[key] = self._clock()
        if key not in self._processing:
            self._waiting.append(key)
            self._wake.set()

    def add_idle(self, key: K, patience: float = IDLE_PATIENCE) -> None:
        """Work on the key when nothing presses, or after `patience` in seconds; the shortest of several such calls counts."""
        if self._closed or (key in self._dirty and key not in self._processing):
            return
        due = self._clock() + patience
        if key in self._idle:
            known, timer = self._idle[key]
            if known <= due:
                return
            timer.cancel()
        self._idle[key] = (due, asyncio.get_running_loop().call_later(patience, self.add, key))
        self._wake.set()

    def add_after(self, key: K, seconds: float, *, idle: bool = False) -> None:
        """Work on the key after a while; the earliest of several such calls counts. `idle`: and then when nothing presses."""
        if self._closed or (key in self._dirty and key not in self._processing):
            return
        due = self._clock() + seconds
        if key in self._delayed:
            known, timer = self._delayed[key]
            if known <= due:
                return
            timer.cancel()
        handle = asyncio.get_running_loop().call_later(seconds, self._due, key, idle)
        self._delayed[key] = (due, handle)

    def retry(self, key: K, at_least: float = 0.0, *, at_most: float = LONGEST_DELAY) -> float:
        """Work on the key again after its own, growing delay; returns the delay in seconds, `at_most` before the jitter."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self.stats.retries += 1
        # Jitter keeps keys that failed together from coming back together.
        delay = min(at_most, FIRST_DELAY * 2.0 ** min(failures, 30)) * random.uniform(0.8, 1.2)  # noqa: S311
        delay = max(at_least, delay)
        self.add_after(key, delay)
        return delay

    def forget(self, key: K) -> None:
        """The key is well: its next failure starts with the shortest delay."""
        self._failures.pop(key, None)

    async def get(self) -> K:
        """The next key; `done` must follow.

        Raises:
            ShutDown: when the queue is closed.
        """
        while True:
            if self._closed:
                raise ShutDown
            if self._idle and self._calm():
                key = next(iter(self._idle))
                self._idle.pop(key)[1].cancel()
                self._at_leisure.add(key)
                if key not in self._dirty:
                    self._put(key)
            if self._waiting:
                await self._take_token()
                if self._waiting and not self._closed:
                    break
                continue
            self._wake.clear()
            await self._wake.wait()
        key = self._waiting.popleft()
        now = self._clock()
        waited = now - self._since.pop(key, now)
        self.stats.given += 1
        self.stats.waited_seconds += waited
        if self._waited is not None:
            self._waited.observe(waited)
        self._dirty.discard(key)
        self._processing[key] = now
        return key

    def _calm(self) -> bool:
        """Whether nothing presses, and has not for a moment; if not, it is looked again after it."""
        left = self._pressed_at + CALM_SECONDS - self._clock()
        if not self.pressed and left <= 0:
            return True
        if not self._looks_again and left > 0:
            self._looks_again = True
            asyncio.get_running_loop().call_later(left, self._look_again)
        return False

    def _look_again(self) -> None:
        self._looks_again = False
        self._wake.set()

    def done(self, key: K) -> None:
        """The worker is through with the key."""
        began = self._processing.pop(key, None)
        self._at_leisure.discard(key)
        self._moved = self._clock()
        if self._worked is not None and began is not None:
            self._worked.observe(self._clock() - began)
        if key in self._dirty:
            self._waiting.append(key)
        if self._waiting or self._idle:
            self._wake.set()

    def close(self) -> None:
        """Give out nothing more; keys in work may be finished."""
        self._closed = True
        for _, handle in self._delayed.values():
            handle.cancel()
        for _, timer in self._idle.values():
            timer.cancel()
        self._delayed.clear()
        self._idle.clear()
        self._wake.set()

    @property
    def depth(self) -> int:
        """Keys that wait."""
        return len(self._waiting)

    @property
    def pressed(self) -> bool:
        """Whether keys wait, more than one is worked on, or whoever made the queue says so: no time for what may wait."""
        return bool(self._waiting) or len(self._processing) > 1 or self._presses()

    def presses(self, key: K) -> bool:
        """The same for a key in work: a moment that was found for it is its own, even when others come meanwhile.

        Otherwise they would send each other away, again and again.
        """
        return key not in self._at_leisure and self.pressed

    @property
    def busy(self) -> int:
        """Keys that are worked on."""
        return len(self._processing)

    def oldest_seconds(self) -> float:
        """Age of the key that has waited or been worked on for longest."""
        starts = [*self._since.values(), *self._processing.values()]
        return self._clock() - min(starts) if starts else 0.0

    def unfinished_seconds(self) -> float:
        """Time spent so far on all keys that are worked on."""
        now = self._clock()
        return sum(now - began for began in self._processing.values())

    def longest_seconds(self) -> float:
        """Time spent so far on the key that is worked on for longest."""
        return self._clock() - min(self._processing.values()) if self._processing else 0.0

    def still_seconds(self) -> float:
        """For how long keys have waited or been worked on without one being done; 0 when there are none."""
        starts = [*self._since.values(), *self._processing.values()]
        return self._clock() - max(self._moved, min(starts)) if starts else 0.0

    def _due(self, key: K, idle: bool) -> None:
        self._delayed.pop(key, None)
        if idle:
            self.add_idle(key)
        else:
            self.add(key)

    async def _take_token(self) -> None:
        while True:
            now = self._clock()
            self._tokens = min(self._burst, self._tokens + (now - self._filled) * self._rate)
            self._filled = now
            if self._tokens >= 1:
                self._tokens -= 1
                return
            await asyncio.sleep((1 - self._tokens) / self._rate)
