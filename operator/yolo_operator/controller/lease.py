"""Who leads, by a Lease of coordination.k8s.io: one replica works, the others wait to take over.

`decide` is the whole rule, a function of values. `Elector` applies it; `Fenced` ends all writes when the lease may have run out.

How long ago a holder last renewed is measured by our own monotonic clock, from the moment we saw the Lease change: clocks of two
machines are never compared. A holder counts its own time from before its renewal was sent, so it stops before anybody may take
over. kopf's peering is not used: it compares wall clocks and fences nothing.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import NamedTuple

from yolo_operator.kube.cluster import LEASES, Change, Cluster, Kind, Object, Page
from yolo_operator.kube.errors import ApiError

RENEW_PART, RETRY_PART = 2 / 3, 1 / 6
"""Of the lease's time: after how much without a renewal a leader stops, and how often everybody looks."""

logger = logging.getLogger(__name__)


class LeaseLost(Exception):  # noqa: N818 - it names what happened
    """Somebody else may lead from now on; the message says why."""


@dataclass(frozen=True, slots=True)
class LeaseSettings:
    """Which Lease, who we are, and for how long it holds."""

    namespace: str
    name: str
    identity: str
    seconds: int = 15

    @property
    def renew_seconds(self) -> float:
        """So long without a renewal, a leader stops."""
        return self.seconds * RENEW_PART

    @property
    def retry_seconds(self) -> float:
        """Between two looks."""
        return self.seconds * RETRY_PART


class Seen(NamedTuple):
    """The Lease as we last saw it change, and when that was by our monotonic clock."""

    version: str
    since: float


class Step(Enum):
    """What to do about the Lease."""

    CREATE = auto()
    TAKE = auto()
    RENEW = auto()
    WAIT = auto()


def decide(lease: Object | None, seen: Seen | None, settings: LeaseSettings, now: float) -> Step:
    """What one who wants to lead does next; `seen` is about this very version of the Lease."""
    if lease is None:
        return Step.CREATE
    spec = lease.get("spec") or {}
    holder = spec.get("holderIdentity") or ""
    if holder == settings.identity:
        return Step.RENEW
    if not holder:
        return Step.TAKE
    # The holder's own promise counts, not our setting: during an upgrade they may differ.
    seconds = spec.get("leaseDurationSeconds") or settings.seconds
    return Step.TAKE if seen is not None and now - seen.since >= seconds else Step.WAIT


def written(step: Step, lease: Object | None, settings: LeaseSettings, now: datetime) -> Object:
    """The Lease to create, or the merge patch; a patch holds only for the version that was decided about."""
    time = now.isoformat(timespec="microseconds").replace("+00:00", "Z")
    spec: Object = {"holderIdentity": settings.identity, "leaseDurationSeconds": settings.seconds, "renewTime": time}
    if step is Step.CREATE:
        meta: Object = {"name": settings.name}
        kind = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
        return {**kind, "metadata": meta, "spec": {**spec, "acquireTime": time, "leaseTransitions": 0}}
    known = lease or {}
    if step is Step.TAKE:
        changes = int((known.get("spec") or {}).get("leaseTransitions") or 0)
        spec |= {"acquireTime": time, "leaseTransitions": changes + 1}
    return {"metadata": {"resourceVersion": known["metadata"]["resourceVersion"]}, "spec": spec}


class Elector:
    """Takes the Lease, keeps it, gives it back."""

    def __init__(
        self,
        cluster: Cluster,
        settings: LeaseSettings,
        *,
        monotonic: Callable[[], float],
        wall: Callable[[], datetime],
    ) -> None:
        self._cluster, self.settings = cluster, settings
        self._monotonic, self._wall = monotonic, wall
        self._seen: Seen | None = None
        self._lease: Object | None = None
        self._renewed: float | None = None
        """When the last renewal that succeeded was sent; None: we do not lead."""
        self.heard: float | None = None
        """When the API server last answered about the Lease."""

    @property
    def leads(self) -> bool:
        """Whether nobody else can have taken over, however late it is noticed."""
        return self._renewed is not None and self._monotonic() - self._renewed < self.settings.renew_seconds

    @property
    def holder(self) -> str:
        """Who leads, as far as was seen."""
        return str(((self._lease or {}).get("spec") or {}).get("holderIdentity") or "")

    async def acquire(self) -> None:
        """Return when we lead. What the API server refuses or does not answer is tried again."""
        told = None
        while True:
            try:
                await self.look()
                if self.leads:
                    logger.info("%s leads", self.settings.identity)
                    return
                if self.holder != told:
                    told = self.holder
                    logger.info("standing by: %s leads", told or "nobody")
            except ApiError as error:
                if not error.conflict:
                    logger.warning("the lease cannot be read or taken; tried again: %s", error)
            await self._pause()

    async def hold(self) -> None:
        """Renew until that fails.

        Raises:
            LeaseLost: when somebody else holds it, or may.
        """
        while True:
            await self._pause()
            left = self.settings.renew_seconds - (self._monotonic() - (self._renewed or 0.0))
            try:
                async with asyncio.timeout(max(0.0, left)):
                    await self.look()
            except (ApiError, TimeoutError) as error:
                logger.warning("the lease was not renewed: %s", error or "no answer in time")
            if self.holder != self.settings.identity:
                self._renewed = None
                raise LeaseLost(f"{self.holder or 'nobody'} holds the lease now")
            if not self.leads:
                self._renewed = None
                raise LeaseLost(f"the lease could not be renewed for {self.settings.renew_seconds:.0f} s")

    async def release(self) -> None:
        """Give it back, so that another one need not wait. To be called when all work has ended."""
        lease, self._renewed = self._lease, None
        if lease is None or self.holder != self.settings.identity:
            return
        patch = {
            "metadata": {"resourceVersion": lease["metadata"]["resourceVersion"]},
            "spec": {"holderIdentity": "", "leaseDurationSeconds": 1},
        }
        try:
            async with asyncio.timeout(self.settings.retry_seconds):
                self._take_in(await self._patch(patch))
            logger.info("%s gave up the lease", self.settings.identity)
        except (ApiError, TimeoutError) as error:
            logger.warning("the lease could not be given back and runs out by itself: %s", error or "no answer in time")

    async def look(self) -> None:
        """One look at the Lease, and what follows from it.

        Raises:
            ApiError: as the API server answers; a conflict means that another one was quicker.
        """
        sent = self._monotonic()
        lease = await self._cluster.get(LEASES, self.settings.namespace, self.settings.name)
        self._take_in(lease)
        step = decide(lease, self._seen, self.settings, self._monotonic())
        if step is Step.WAIT:
            return
        body = written(step, lease, self.settings, self._wall())
        if step is Step.CREATE:
            self._take_in(await self._cluster.create(LEASES, self.settings.namespace, body))
        else:
            self._take_in(await self._patch(body))
        self._renewed = sent

    async def _patch(self, body: Object) -> Object:
        return await self._cluster.patch(LEASES, self.settings.namespace, self.settings.name, body)

    def _take_in(self, lease: Object | None) -> None:
        self.heard, self._lease = self._monotonic(), lease
        version = "" if lease is None else str(lease["metadata"]["resourceVersion"])
        if self._seen is None or self._seen.version != version:
            self._seen = Seen(version, self.heard)

    async def _pause(self) -> None:
        # Jitter, so that two who wait do not always ask together.
        await asyncio.sleep(self.settings.retry_seconds * random.uniform(0.8, 1.2))  # noqa: S311


class Fenced:
    """`Cluster` that writes only while we lead. Reading is always allowed."""

    def __init__(self, cluster: Cluster, leads: Callable[[], bool]) -> None:
        self._cluster, self._leads = cluster, leads

    def pages(
        self, kind: Kind, namespace: str | None = None, *, selector: str = "", fields: str = "", limit: int = 500
    ) -> AsyncIterator[Page]:
        return self._cluster.pages(kind, namespace, selector=selector, fields=fields, limit=limit)

    def changes(
        self, kind: Kind, namespace: str | None = None, *, selector: str = "", version: int, seconds: int
    ) -> AsyncIterator[Change]:
        return self._cluster.changes(kind, namespace, selector=selector, version=version, seconds=seconds)

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        return await self._cluster.get(kind, namespace, name)

    async def create(self, kind: Kind, namespace: str | None, body: Object) -> Object:
        self._check()
        return await self._cluster.create(kind, namespace, body)

    async def patch(self, kind: Kind, namespace: str, name: str, body: Object, *, subresource: str = "") -> Object:
        self._check()
        return await self._cluster.patch(kind, namespace, name, body, subresource=subresource)

    async def delete(self, kind: Kind, namespace: str, name: str, *, uid: str | None = None, foreground: bool = False) -> bool:
        self._check()
        return await self._cluster.delete(kind, namespace, name, uid=uid, foreground=foreground)

    async def log_tail(self, namespace: str, pod: str, *, lines: int) -> str:
        return await self._cluster.log_tail(namespace, pod, lines=lines)

    def _check(self) -> None:
        if not self._leads():
            raise ApiError(0, "NotLeader", "the lease may have run out: nothing is written any more")
