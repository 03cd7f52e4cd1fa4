"""Follows the Jobs, or the Pods, of one namespace or of all: one list, then one watch after the other.

Of a stage's dozen changes of Job and Pod each is a dictionary look-up here. kopf, which follows the experiments, assembles the
causes of handlers for each, in a task of the object's own: ten times the CPU, and a third of what the operator cost.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from yolo_operator.kube.cluster import Change, Cluster, Kind
from yolo_operator.kube.errors import ApiError

WATCH_SECONDS = (300, 600)
"""A watch ends by itself somewhere between, so that those of a restarted API server do not end together for ever."""
FIRST_DELAY, LONGEST_DELAY = 0.1, 15.0
"""Seconds before a broken watch is opened again; doubled each time."""
EXPIRED = 410

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Follower:
    """One watch, kept open."""

    cluster: Cluster
    kind: Kind
    namespace: str | None
    """None: all."""
    selector: str
    take: Callable[[Change], None]
    """Told every change, in order; some of them twice after a list."""
    enlist: Callable[[], Awaitable[int]]
    """Lists what there is, takes it in, forgets what is gone; the version to go on from."""

    async def run(self, version: int = 0) -> None:
        """Follow until cancelled, from a version or, for 0, from a list."""
        delay = FIRST_DELAY
        while True:
            try:
                version = version or await self.enlist()
                silent = True
                seconds = random.randint(*WATCH_SECONDS)  # noqa: S311
                async for change in self.cluster.changes(
                    self.kind, self.namespace, selector=self.selector, version=version, seconds=seconds
                ):
                    silent, delay = False, FIRST_DELAY
                    version = int(change.body["metadata"].get("resourceVersion") or 0) or version
                    if change.type != "BOOKMARK":
                        self.take(change)
                if silent:
                    raise ApiError(0, "Silent", "it ended without a word, not even a bookmark")
            except ApiError as error:
                if error.status == EXPIRED:
                    logger.info("the watch of %s is too far behind: listed anew", self.kind.plural)
                    version = 0
                else:
                    logger.warning("the watch of %s broke and is opened again in %.1f s: %s", self.kind.plural, delay, error)
                # Jitter: several watches break together.
                await asyncio.sleep(max(delay * random.uniform(0.8, 1.2), error.retry_after or 0))  # noqa: S311
                delay = min(LONGEST_DELAY, 2 * delay)
