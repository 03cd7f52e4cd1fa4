"""Live progress of running stages, from the tails of their pods' logs, within a request budget."""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Awaitable, Callable
from typing import Any

from prometheus_client import Gauge
from pydantic import Field

from yolo_operator.api.status import Progress
from yolo_operator.controller.cache import Cache, Key
from yolo_operator.controller.queue import WorkQueue
from yolo_operator.kube.cluster import Cluster
from yolo_operator.kube.errors import ApiError
from yolo_operator.pipeline.stages import PROGRESS_SECONDS, PROGRESS_STEP
from yolo_operator.pipeline.values import PodView

TAIL_LINES = 60
"""An evaluation prints a table of classes between two progress lines."""
AT_ONCE = 8
ANSWER_SECONDS = 5.0
"""A log that takes longer is not waited for: its node is away, and would hold up the looks at all others."""

logger = logging.getLogger(__name__)


class LiveProgress(Progress):
    """Progress with the numbers that go to metrics alone: they are never dumped, so they never reach the status."""

    validation_loss: float | None = Field(default=None, exclude=True)
    learning_rate: float | None = Field(default=None, exclude=True)


def latest(log: str) -> LiveProgress | None:
    """The newest progress line in a log's tail."""
    for line in reversed(log.splitlines()):
        start = line.find('{"yoloProgress"')
        if start < 0:
            continue
        try:
            return _progress(json.loads(line[start:])["yoloProgress"])
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError):
            # A container may print anything.
            continue
    return None


def _progress(numbers: dict[str, Any]) -> LiveProgress:
    progress = LiveProgress.model_validate(
        {
            name: _rounded(numbers[name])
            for name in ("epoch", "epochs", "loss", "mAP", "etaSeconds", "resumedFromEpoch")
            if numbers.get(name) is not None
        }
        | {name: numbers[name] for name in ("validationLoss", "learningRate") if _finite(numbers.get(name))}
    )
    return progress.model_copy(update={"percent": _percent(numbers)})


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _rounded(value: Any) -> Any:
    return round(value, 5) if isinstance(value, float) else value


def _percent(numbers: dict[str, Any]) -> int | None:
    """Of the epochs, the running one by its steps; of the steps where there are no epochs."""
    step, steps = numbers.get("step"), numbers.get("steps")
    part = step / steps if step is not None and steps else None
    epoch, epochs = numbers.get("epoch"), numbers.get("epochs")
    if epoch is not None and epochs:
        done = (epoch - 1 + part if part is not None else epoch) / epochs
    elif part is not None:
        done = part
    else:
        return None
    return max(0, min(100, int(100 * done)))


class ProgressReader:
    """Looks at every running stage again and again; the more run, the less often.

    Args:
        cluster: where the logs are.
        cache: knows the running pods.
        queue: gets the experiments whose progress is worth a status.
        store: the newest progress by `namespace/job`.
        seconds: shortest time between two looks at a stage.
        budget: looks a second for all stages together, evenly spaced.
        interval: is told the time between two looks at a stage.
        sleep: for tests.
    """

    def __init__(
        self,
        cluster: Cluster,
        cache: Cache,
        queue: WorkQueue[Key],
        store: dict[str, Progress],
        *,
        seconds: float,
        budget: float,
        interval: Gauge | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._cluster, self._cache, self._queue, self._store = cluster, cache, queue, store
        self._seconds, self._budget, self._interval, self._sleep = seconds, budget, interval, sleep
        self._told: dict[str, tuple[int, float]] = {}
        self._away: set[str | None] = set()
        """Nodes that have not answered in this round: their other pods are not asked."""

    async def run(self, now: Callable[[], float]) -> None:
        """Read until cancelled."""
        while True:
            running, began = [pod for pod in self._cache.pods if pod.running], now()
            interval = max(self._seconds, len(running) / self._budget)
            if self._interval is not None:
                self._interval.set(interval)
            await self._read_all(running, now)
            self._forget({_place(pod) for pod in running})
            await self._sleep(max(0.0, began + interval - now()))

    async def _read_all(self, pods: list[PodView], now: Callable[[], float]) -> None:
        gate = asyncio.Semaphore(AT_ONCE)
        self._away.clear()

        async def read(pod: PodView) -> None:
            try:
                await self._read(pod, now)
            finally:
                gate.release()

        async with asyncio.TaskGroup() as group:
            for pod in pods:
                await gate.acquire()
                group.create_task(read(pod))
                await self._sleep(1 / self._budget)

    async def _read(self, pod: PodView, now: Callable[[], float]) -> None:
        if pod.node in self._away:
            return
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                log = await self._cluster.log_tail(pod.namespace, pod.name, lines=TAIL_LINES)
        except TimeoutError:
            self._away.add(pod.node)
            logger.debug("no log of pod %s/%s within %g s: node %s is away", pod.namespace, pod.name, ANSWER_SECONDS, pod.node)
            return
        except ApiError as error:
            # The pod may have ended, or its node may be away: progress is a courtesy.
            logger.debug("no log of pod %s/%s: %s", pod.namespace, pod.name, error)
            return
        progress = latest(log)
        if progress is None:
            return
        place = _place(pod)
        self._store[place] = progress
        percent, told_at = self._told.get(place, (-PROGRESS_STEP, 0.0))
        if abs((progress.percent or 0) - percent) >= PROGRESS_STEP or now() - told_at >= PROGRESS_SECONDS:
            self._told[place] = (progress.percent or 0, now())
            self._queue.add(Key(pod.namespace, pod.owner_name))

    def _forget(self, places: set[str]) -> None:
        for place in [place for place in self._store if place not in places]:
            del self._store[place]
            self._told.pop(place, None)


def _place(pod: PodView) -> str:
    return f"{pod.namespace}/{pod.job}"
