"""Full lists: to fill the cache before anything is decided, and later to find what the watches missed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from yolo_operator.api import resource
from yolo_operator.controller.cache import Cache, Key
from yolo_operator.controller.metrics import OperatorMetrics
from yolo_operator.controller.queue import WorkQueue
from yolo_operator.kube.cluster import EXPERIMENTS, JOBS, PODS, Cluster, Kind, Object
from yolo_operator.kube.errors import ApiError
from yolo_operator.kube.runner_map import remove_unused

WATCHED = f"{resource.LABEL_MANAGED_BY}={resource.MANAGED_BY},{resource.LABEL_COMPONENT}=stage"
"""Selector of the pods that are watched."""
WATCHED_JOBS = f"{WATCHED},{resource.LABEL_FINAL}!=true"
"""Selector of the Jobs that are watched: not those whose report is recorded."""

SELECTORS = {JOBS: WATCHED_JOBS, PODS: WATCHED, EXPERIMENTS: ""}
"""Of what is listed and watched."""

PAGE = 100
"""Objects at once: some 100 KiB each while they are read, which the process keeps."""

logger = logging.getLogger(__name__)


class _Taker(NamedTuple):
    """How a kind is taken in."""

    put: Callable[[Object], Key | None]
    sweep: Callable[[set[str], int, Callable[[str], bool]], list[Key]]


class Synchroniser:
    """Lists everything, takes it in, forgets what is gone."""

    def __init__(
        self,
        cluster: Cluster,
        cache: Cache,
        queue: WorkQueue[Key],
        metrics: OperatorMetrics,
        *,
        namespaces: tuple[str, ...],
        runner_name: str,
    ) -> None:
        self._cluster, self._cache, self._queue, self._metrics = cluster, cache, queue, metrics
        self.namespaces, self._runner_name = namespaces, runner_name
        self._takers = {
            JOBS: _Taker(cache.put_job, cache.sweep_jobs),
            PODS: _Taker(cache.put_pod, cache.sweep_pods),
            EXPERIMENTS: _Taker(cache.put_experiment, cache.sweep_experiments),
        }
        self.versions: dict[tuple[Kind, str | None], int] = {}
        """Of the last complete lists, by kind and namespace."""
        self.last: float | None = None
        """When it last came through, by the monotonic clock."""

    async def once(self) -> None:
        """List all kinds; experiments that changed, and those of Jobs that did, are queued.

        Raises:
            ApiError: when a list failed; what was taken in so far stays.
        """
        # Jobs and Pods first: an experiment is never looked at without them.
        for kind in (JOBS, PODS, EXPERIMENTS):
            for namespace in self.namespaces or (None,):
                self.versions[kind, namespace] = await self.enlist(kind, namespace)
        self.last = time.monotonic()
        self._metrics.last_resync.set(time.time())

    async def run(self, seconds: float) -> None:
        """List now and then until cancelled."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.once()
                await self._clean()
            except ApiError as error:
                logger.warning("the periodic list failed and is tried again in %g s: %s", seconds, error)

    async def enlist(self, kind: Kind, namespace: str | None) -> int:
        """List a kind, take it in, forget what is gone; the list's version.

        Raises:
            ApiError: when the list failed; what was taken in so far stays.
        """
        take = self._takers[kind]
        listed: set[str] = set()
        version = 0
        async for page in self._cluster.pages(kind, namespace, selector=SELECTORS[kind], limit=PAGE):
            version = page.resource_version
            for body in page.items:
                listed.add(body["metadata"]["uid"])
                self._enqueue(filter(None, [take.put(body)]))
        ghosts = take.sweep(listed, version, _served(namespace))
        if ghosts:
            self._metrics.ghosts.labels(kind.plural).inc(len(ghosts))
            self._enqueue(ghosts)
        return version

    def _enqueue(self, keys: Iterable[Key] | Iterator[Key]) -> None:
        for key in keys:
            self._queue.add(key)

    async def _clean(self) -> None:
        """Runner ConfigMaps that no stage can need any more."""
        busy = {job.namespace for job in self._cache.jobs if not job.finished}
        used = {row.key.namespace for row in self._cache.experiments}
        for namespace in used - busy:
            removed = await remove_unused(self._cluster, namespace, keep=self._runner_name)
            if removed:
                logger.info("namespace %s: removed unused runners %s", namespace, ", ".join(removed))


def _served(namespace: str | None) -> Callable[[str], bool]:
    return lambda place: namespace is None or place == namespace
