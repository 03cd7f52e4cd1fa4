"""Kubernetes Events: one object per distinct message, counted, and never more than a bucket's worth per experiment.

They are written when nothing presses. What waits together for one experiment and reason becomes one Event: `stage prepare: done;
stage anchors: done`.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from yolo_operator.api import resource
from yolo_operator.controller.leisure import Leisure
from yolo_operator.kube.cluster import EVENTS, Cluster, Object
from yolo_operator.kube.errors import ApiError
from yolo_operator.pipeline import times
from yolo_operator.pipeline.values import EventKind, Experiment, Notice

BURST = 60
"""A whole experiment with a large sweep fits."""
REFILL_SECONDS = 20.0
REMEMBERED = 4096
BACKLOG = 4096
_LONGEST_MESSAGE = 1024

logger = logging.getLogger(__name__)

_Place = tuple[str, EventKind, str]
"""An experiment's uid, kind and reason."""


@dataclass(slots=True)
class _Waiting:
    """Messages of one reason that wait together, with how often each came."""

    experiment: Experiment
    kind: EventKind
    reason: str
    messages: dict[str, int]
    first: datetime
    last: datetime

    @property
    def message(self) -> str:
        return "; ".join(self.messages)

    def body(self) -> Object:
        """The Event."""
        body = event(self.experiment, Notice(self.kind, self.reason, self.message), self.last)
        count = next(iter(self.messages.values())) if len(self.messages) == 1 else 1
        return body | {"firstTimestamp": times.to_text(self.first), "count": count}


class Recorder:
    """Writes Events in the background: a slow or failing API server delays no decision."""

    def __init__(self, cluster: Cluster, clock: Callable[[], datetime], leisure: Leisure | None = None) -> None:
        self._cluster, self._clock = cluster, clock
        self._leisure = leisure or Leisure(lambda: False)
        self._counts: OrderedDict[str, int] = OrderedDict()
        self._buckets: OrderedDict[str, tuple[float, datetime]] = OrderedDict()
        self._backlog: OrderedDict[_Place, _Waiting] = OrderedDict()
        self._some, self._none = asyncio.Event(), asyncio.Event()
        self._none.set()
        self.dropped = 0

    def record(self, experiment: Experiment, notices: list[Notice]) -> None:
        """Let Events about an experiment be written."""
        for notice in notices:
            if not self._allowed(experiment.uid) or not self._take(experiment, notice):
                self.dropped += 1

    async def run(self) -> None:
        """Write what was recorded, until cancelled."""
        while True:
            await self._some.wait()
            await self._leisure.come()
            body = self._next().body()
            try:
                await self._write(body)
            except ApiError as error:
                logger.warning("Event %s on %s was not written: %s", body["reason"], body["involvedObject"]["name"], error)
            if not self._backlog:
                self._some.clear()
                self._none.set()

    async def drain(self) -> None:
        """Wait until all is written, now."""
        self._leisure.hurry = True
        await self._none.wait()

    def _next(self) -> _Waiting:
        """The oldest warning, else what is oldest."""
        places = iter(self._backlog)
        oldest = next(places)
        if oldest[1] is not EventKind.WARNING:
            oldest = next((place for place in places if place[1] is EventKind.WARNING), oldest)
        return self._backlog.pop(oldest)

    def _take(self, experiment: Experiment, notice: Notice) -> bool:
        place, now = (experiment.uid, notice.kind, notice.reason), self._clock()
        message = notice.message[:_LONGEST_MESSAGE]
        waiting = self._backlog.get(place)
        if waiting is not None and len(waiting.message) + len(message) + 2 > _LONGEST_MESSAGE and message not in waiting.messages:
            # Full: it waits on under a name of its own.
            self._backlog[experiment.uid, notice.kind, f"{notice.reason} {id(waiting)}"] = self._backlog.pop(place)
            waiting = None
        if waiting is None:
            if len(self._backlog) >= BACKLOG:
                return False
            waiting = self._backlog[place] = _Waiting(experiment, notice.kind, notice.reason, {}, now, now)
        waiting.messages[message] = waiting.messages.get(message, 0) + 1
        waiting.last = now
        self._none.clear()
        self._some.set()
        return True

    async def _write(self, body: Object) -> None:
        meta = body["metadata"]
        known = self._counts.get(meta["name"], 0)
        self._remember(meta["name"], known + body["count"])
        if not known:
            try:
                await self._cluster.create(EVENTS, meta["namespace"], body)
            except ApiError as error:
                if not error.conflict:
                    raise
            else:
                return
        # Also after a restart: the Event of an earlier process is brought up to date rather than doubled.
        change = {"lastTimestamp": body["lastTimestamp"]} | ({"count": known + body["count"]} if known else {})
        try:
            await self._cluster.patch(EVENTS, meta["namespace"], meta["name"], change)
        except ApiError as error:
            if not error.not_found:
                raise
            # The API server forgets Events after an hour.
            await self._cluster.create(EVENTS, meta["namespace"], body)
            self._remember(meta["name"], body["count"])

    def _remember(self, name: str, count: int) -> None:
        self._counts[name] = count
        self._counts.move_to_end(name)
        while len(self._counts) > REMEMBERED:
            self._counts.popitem(last=False)

    def _allowed(self, uid: str) -> bool:
        now = self._clock()
        tokens, filled = self._buckets.get(uid, (float(BURST), now))
        # A clock that was set back takes nothing away.
        tokens = min(float(BURST), tokens + max(0.0, (now - filled).total_seconds()) / REFILL_SECONDS)
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
