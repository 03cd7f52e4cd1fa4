"""Kubernetes Events: one object per distinct message, counted, and never more than a bucket's worth per experiment."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime

from yolo_operator.api import resource
from yolo_operator.kube.cluster import EVENTS, Cluster, Object
from yolo_operator.kube.errors import ApiError
from yolo_operator.pipeline import times
from yolo_operator.pipeline.values import Experiment, Notice

BURST = 60
"""A whole experiment with a large sweep fits."""
REFILL_SECONDS = 20.0
REMEMBERED = 4096
BACKLOG = 1000
_LONGEST_MESSAGE = 1024

logger = logging.getLogger(__name__)


class Recorder:
    """Writes Events in the background: a slow or failing API server delays no decision."""

    def __init__(self, cluster: Cluster, clock: Callable[[], datetime]) -> None:
        self._cluster, self._clock = cluster, clock
        self._counts: OrderedDict[str, int] = OrderedDict()
        self._buckets: OrderedDict[str, tuple[float, datetime]] = OrderedDict()
        self._backlog: asyncio.Queue[Object] = asyncio.Queue(BACKLOG)
        self.dropped = 0

    def record(self, experiment: Experiment, notices: list[Notice]) -> None:
        """Queue Events about an experiment."""
        for notice in notices:
            if not self._allowed(experiment.uid) or self._backlog.full():
                self.dropped += 1
                continue
            self._backlog.put_nowait(event(experiment, notice, self._clock()))

    async def run(self) -> None:
        """Write what was recorded, until cancelled."""
        while True:
            body = await self._backlog.get()
            try:
                await self._write(body)
            except ApiError as error:
                logger.warning("Event %s on %s was not written: %s", body["reason"], body["involvedObject"]["name"], error)
            finally:
                self._backlog.task_done()

    async def drain(self) -> None:
        """Wait until all is written."""
        await self._backlog.join()

    async def _write(self, body: Object) -> None:
        meta = body["metadata"]
        known = self._counts.get(meta["name"], 0)
        self._remember(meta["name"], known + 1)
        if not known:
            try:
                await self._cluster.create(EVENTS, meta["namespace"], body)
            except ApiError as error:
                if not error.conflict:
                    raise
            else:
                return
        # Also after a restart: the Event of an earlier process is brought up to date rather than doubled.
        change = {"lastTimestamp": body["lastTimestamp"]} | ({"count": known + 1} if known else {})
        try:
            await self._cluster.patch(EVENTS, meta["namespace"], meta["name"], change)
        except ApiError as error:
            if not error.not_found:
                raise
            # The API server forgets Events after an hour.
            await self._cluster.create(EVENTS, meta["namespace"], body)
            self._remember(meta["name"], 1)

    def _remember(self, name: str, count: int) -> None:
        self._counts[name] = count
        self._counts.move_to_end(name)
        while len(self._counts) > REMEMBERED:
            self._counts.popitem(last=False)

    def _allowed(self, uid: str) -> bool:
        now = self._clock()
        tokens, filled = self._buckets.get(uid, (float(BURST), now))
        tokens = min(float(BURST), tokens + (now - filled).total_seconds() / REFILL_SECONDS)
        allowed = tokens >= 1
        self._buckets[uid] = (tokens - 1 if allowed else tokens, now)
        self._buckets.move_to_end(uid)
        while len(self._buckets) > REMEMBERED:
            self._buckets.popitem(last=False)
        return allowed


def event(experiment: Experiment, notice: Notice, now: datetime) -> Object:
    """The Event object: its name tells the same message again from another one."""
    message = notice.message[:_LONGEST_MESSAGE]
    identity = "\0".join((experiment.uid, notice.kind.value, notice.reason, message))
    tag = hashlib.sha256(identity.encode()).hexdigest()[:16]
    stamp = times.to_text(now)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{experiment.name}.{tag}", "namespace": experiment.namespace},
        "involvedObject": {
            "apiVersion": resource.API_VERSION,
            "kind": resource.KIND,
            "name": experiment.name,
            "namespace": experiment.namespace,
            "uid": experiment.uid,
        },
        "type": notice.kind.value,
        "reason": notice.reason,
        "message": message,
        "source": {"component": resource.MANAGED_BY},
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
    }
