"""What is watched: experiments by kopf, which also hears the signals; Jobs and Pods by followers. All feed cache and queue.

No change handlers, daemons or timers: they would write annotations and finalizers onto the user's objects, two patches each. The
storages below store nothing for the same reason, and because their deep copies were half of the cost of an event.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from functools import lru_cache
from typing import Any

import kopf
from kubernetes.aio.client import Configuration

from yolo_operator.api import resource
from yolo_operator.controller.cache import Cache, Key
from yolo_operator.controller.follower import Follower
from yolo_operator.controller.kopf_watch import Enlist
from yolo_operator.controller.metrics import OperatorMetrics
from yolo_operator.controller.queue import WorkQueue
from yolo_operator.controller.sync import SELECTORS, Synchroniser
from yolo_operator.kube.cluster import EXPERIMENTS, JOBS, PODS, Change, Cluster, Kind, Object
from yolo_operator.pipeline.values import JobView

SETTLE_SECONDS = 1.5
"""How long news wait that decide nothing."""


class NoDiffBase(kopf.DiffBaseStorage):
    """Remembers no last-handled state."""

    def build(self, *, body: Any, extra_fields: Any = None) -> Any:
        return {}

    def fetch(self, *, body: Any) -> None:
        return None

    def store(self, *, body: Any, patch: Any, essence: Any) -> None:
        return None


class NoProgress(kopf.ProgressStorage):
    """Remembers no handler's progress."""

    def fetch(self, *, key: Any, body: Any) -> None:
        return None

    def store(self, *, key: Any, record: Any, body: Any, patch: Any) -> None:
        return None

    def purge(self, *, key: Any, body: Any, patch: Any) -> None:
        return None

    def touch(self, *, body: Any, patch: Any, value: Any) -> None:
        return None

    def clear(self, *, essence: Any) -> Any:
        return essence


def operator_settings() -> kopf.OperatorSettings:
    """kopf's settings; why each, in docs/architecture.md."""
    settings = kopf.OperatorSettings()
    settings.persistence.diffbase_storage = NoDiffBase()
    settings.persistence.progress_storage = NoProgress()
    settings.peering.standalone = True
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.networking.request_timeout = 30
    settings.watching.server_timeout = 600
    # From the signal on: kopf's own end, work in flight, Events, the Lease. The pod has 30 s.
    settings.process.ultimate_exiting_timeout = 25
    return settings


class Feed:
    """What the watches tell goes into the cache, the experiments that it concerns into the queue. Nothing awaits or raises."""

    def __init__(self, cache: Cache, queue: WorkQueue[Key], metrics: OperatorMetrics) -> None:
        self._cache, self._queue = cache, queue
        # prometheus_client finds a series anew each time: a fiftieth of the operator's CPU.
        self._counted = lru_cache(maxsize=None)(metrics.watch_events.labels)
        self._last = lru_cache(maxsize=None)(metrics.last_event.labels)

    def experiment(self, event: str, body: Object) -> None:
        """A change of an experiment."""
        self._count("experiment", event)
        deleted = event == "DELETED"
        keys = self._cache.remove_experiment(body) if deleted else [self._cache.put_experiment(body)]
        for key in filter(None, keys):
            self._queue.add(key)

    def job(self, change: Change) -> None:
        """A change of a Job."""
        self._count("job", change.type)
        body = change.body
        if change.type == "DELETED":
            place = (body["metadata"]["namespace"], body["metadata"]["name"])
            known = self._cache.jobs.get(*place)
            key = self._cache.remove_job(body)
            # One that was let go has only left the watch.
            if known is None or not (known.final or place in self._cache.going):
                self._hurry(key)
        elif (key := self._cache.put_job(body)) is not None:
            view = self._cache.jobs.get(key.namespace, body["metadata"]["name"])
            if view is None or decides(view):
                self._queue.add(key)
            else:
                self._queue.add_after(key, SETTLE_SECONDS, idle=True)

    def pod(self, change: Change) -> None:
        """A change of a Pod: how it ended is told by its Job."""
        self._count("pod", change.type)
        if change.type == "DELETED":
            self._hurry(self._cache.remove_pod(change.body))
        elif (key := self._cache.put_pod(change.body)) is not None:
            self._queue.add_after(key, SETTLE_SECONDS, idle=True)

    def _hurry(self, key: Key | None) -> None:
        if key is not None:
            self._queue.add(key)

    def _count(self, kind: str, event: str) -> None:
        self._counted(kind, event).inc()
        self._last(kind).set(time.time())


def decides(job: JobView) -> bool:
    """Whether a Job's news let the experiment go on: that it ended, is going, or is held.

    That its pod was made, or runs, is for people: it waits a moment, and is not written at all when the stage has ended by then.
    """
    return job.finished or job.deleting or job.suspended


def followers(
    cluster: Cluster, synchroniser: Synchroniser, feed: Feed, metrics: OperatorMetrics
) -> list[Coroutine[Any, Any, None]]:
    """The watches of Jobs and Pods, from where the first list ended."""

    def follow(kind: Kind, take: Callable[[Change], None], namespace: str | None) -> Coroutine[Any, Any, None]:
        async def enlist() -> int:
            metrics.watch_restarts.labels(kind.plural.removesuffix("s")).inc()
            return await synchroniser.enlist(kind, namespace)

        version = synchroniser.versions.get((kind, namespace), 0)
        return Follower(cluster, kind, namespace, SELECTORS[kind], take, enlist).run(version)

    kinds = ((JOBS, feed.job), (PODS, feed.pod))
    return [follow(*kind, namespace) for kind in kinds for namespace in synchroniser.namespaces or (None,)]


def experiments_list(synchroniser: Synchroniser, metrics: OperatorMetrics) -> Enlist:
    """How kopf's watch of the experiments begins: where the first list ended, and later with a list anew."""
    first = {place: version for (kind, place), version in synchroniser.versions.items() if kind == EXPERIMENTS}

    async def enlist(namespace: str | None) -> int:
        if (version := first.pop(namespace, None)) is not None:
            return version
        metrics.watch_restarts.labels("experiment").inc()
        return await synchroniser.enlist(EXPERIMENTS, namespace)

    return enlist


def registry(feed: Feed, config: Configuration) -> kopf.OperatorRegistry:
    """kopf's part: the experiments, and how to log in."""
    handlers = kopf.OperatorRegistry()

    @kopf.on.event(resource.GROUP, resource.VERSION, resource.PLURAL, id="experiments", registry=handlers)
    async def on_experiment(event: Any, **_: Any) -> None:
        feed.experiment(event["type"], event["object"])

    @kopf.on.login(registry=handlers)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        return await connection(config)

    return handlers


async def connection(config: Configuration) -> kopf.ConnectionInfo:
    """The client's credentials in kopf's terms."""
    scheme, _, token = str(await config.get_api_key_with_prefix("BearerToken") or "").rpartition(" ")
    return kopf.ConnectionInfo(
        server=config.host,
        ca_path=config.ssl_ca_cert,
        insecure=not config.verify_ssl,
        token=token or None,
        scheme=scheme or None,
        certificate_path=config.cert_file,
        private_key_path=config.key_file,
    )
