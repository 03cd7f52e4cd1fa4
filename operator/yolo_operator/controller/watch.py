"""kopf's part: authentication, list and watch with their reconnects, signals. Its handlers feed the cache and the queue.

No change handlers, daemons or timers: they would write annotations and finalizers onto the user's objects, two patches each. The
storages below store nothing for the same reason, and because their deep copies were half of the cost of an event.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import kopf
from kubernetes.aio.client import Configuration

from yolo_operator.api import resource
from yolo_operator.controller.cache import Cache, Key
from yolo_operator.controller.metrics import Listings, OperatorMetrics
from yolo_operator.controller.queue import WorkQueue
from yolo_operator.controller.sync import WATCHED, WATCHED_JOBS
from yolo_operator.kube.cluster import Object
from yolo_operator.kube.views import job_view

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
    settings.watching.chunk_size = 500
    settings.watching.label_selectors["batch", "v1", "jobs"] = WATCHED_JOBS
    settings.watching.label_selectors["v1", "pods"] = WATCHED
    # From the signal on: kopf's own end, work in flight, Events, the Lease. The pod has 30 s.
    settings.process.ultimate_exiting_timeout = 25
    return settings


def registry(
    cache: Cache, queue: WorkQueue[Key], metrics: OperatorMetrics, config: Configuration, *, by_namespace: bool = False
) -> kopf.OperatorRegistry:
    """Handlers for experiments, Jobs and Pods. Each is a few dictionary look-ups; none awaits, none raises."""
    handlers, listings = kopf.OperatorRegistry(), Listings()

    def feed(
        kind: str,
        put: Callable[[Object], Key | None],
        remove: Callable[[Object], list[Key]],
        pressing: Callable[[Object], bool] = lambda _: True,
    ) -> Callable[..., Any]:
        async def on_event(event: Any, **_: Any) -> None:
            body = event["object"]
            deleted = event["type"] == "DELETED"
            metrics.watch_events.labels(kind, event["type"] or "LISTED").inc()
            metrics.last_event.labels(kind).set(time.time())
            place = body["metadata"]["namespace"] if by_namespace else ""
            if event["type"] is None and listings.restarted(kind, place, body["metadata"]["uid"]):
                metrics.watch_restarts.labels(kind).inc()
            for key in remove(body) if deleted else [put(body)]:
                if key is not None and (deleted or pressing(body)):
                    queue.add(key)
                elif key is not None:
                    queue.add_after(key, SETTLE_SECONDS)

        return on_event

    def one(remove: Callable[[Object], Key | None]) -> Callable[[Object], list[Key]]:
        return lambda body: [key for key in [remove(body)] if key is not None]

    kopf.on.event(resource.GROUP, resource.VERSION, resource.PLURAL, id="experiments", registry=handlers)(
        feed("experiment", cache.put_experiment, cache.remove_experiment)
    )
    kopf.on.event("batch", "v1", "jobs", id="jobs", registry=handlers)(
        feed("job", cache.put_job, one(cache.remove_job), pressing=decides)
    )
    kopf.on.event("v1", "pods", id="pods", registry=handlers)(
        feed("pod", cache.put_pod, one(cache.remove_pod), pressing=lambda _: False)
    )

    @kopf.on.login(registry=handlers)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        return await connection(config)

    return handlers


def decides(job: Object) -> bool:
    """Whether a Job's news let the experiment go on: that it ended, is going, or is held.

    That its pod was made, or runs, is for people: it waits a moment, and is not written at all when the stage has ended by then.
    """
    view = job_view(job)
    return view.finished or view.deleting or view.suspended


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
