"""Full lists: to fill the cache before anything is decided, and later to find what the watches missed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator

from yolo_operator.api import resource
from yolo_operator.controller.cache import Cache, Key
from yolo_operator.controller.metrics import OperatorMetrics
from yolo_operator.controller.queue import WorkQueue
from yolo_operator.kube.cluster import EXPERIMENTS, JOBS, PODS, Cluster, Kind, Object, Page
from yolo_operator.kube.errors import ApiError
from yolo_operator.kube.runner_map import remove_unused

WATCHED = f"{resource.LABEL_MANAGED_BY}={resource.MANAGED_BY},{resource.LABEL_COMPONENT}=stage"
"""Selector of the pods that are watched."""
WATCHED_JOBS = f"{WATCHED},{resource.LABEL_FINAL}!=true"
"""Selector of the Jobs that are watched: not those whose report is recorded."""

logger = logging.getLogger(__name__)


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
        self._namespaces, self._runner_name = namespaces, runner_name
        self.last: float | None = None
        """When it last came through, by the monotonic clock."""

    async def once(self) -> None:
        """List all kinds; experiments that changed, and those of Jobs that did, are queued.

        Raises:
            ApiError: when a list failed; what was taken in so far stays.
        """
        cache = self._cache
        # Jobs and Pods first: an experiment is never looked at without them.
        await self._kind(JOBS, WATCHED_JOBS, cache.put_job, cache.sweep_jobs)
        await self._kind(PODS, WATCHED, cache.put_pod, cache.sweep_pods)
        await self._kind(EXPERIMENTS, "", cache.put_experiment, cache.sweep_experiments)
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

    async def _kind(
        self,
        kind: Kind,
        selector: str,
        put: Callable[[Object], Key | None],
        sweep: Callable[[set[str], int, Callable[[str], bool]], list[Key]],
    ) -> None:
        listed: set[str] = set()
        for namespace in self._namespaces or (None,):
            version = 0
            async for page in self._pages(kind, namespace, selector):
                version = page.resource_version
                for body in page.items:
                    listed.add(body["metadata"]["uid"])
                    self._enqueue(filter(None, [put(body)]))
            ghosts = sweep(listed, version, _served(namespace))
            if ghosts:
                self._metrics.ghosts.labels(kind.plural).inc(len(ghosts))
                self._enqueue(ghosts)

    def _pages(self, kind: Kind, namespace: str | None, selector: str) -> AsyncIterator[Page]:
        return self._cluster.pages(kind, namespace, selector=selector)

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
