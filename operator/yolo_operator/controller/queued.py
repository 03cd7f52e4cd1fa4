"""Why Kueue holds Jobs. Workloads are not watched, since most clusters have none: they are looked up while a Job waits."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from yolo_operator.kube.cluster import Cluster
from yolo_operator.kube.errors import ApiError
from yolo_operator.kube.kueue import held, workload_of
from yolo_operator.pipeline import times
from yolo_operator.pipeline.values import Held, JobView

logger = logging.getLogger(__name__)

SECONDS = 10
"""Between two looks at one Workload; more when very many wait."""
LOOKS_PER_SECOND = 10
"""On average, over all Jobs that wait."""
WITHOUT_KUEUE_SECONDS = 600
"""For so long nothing is looked up after the API server has shown that there is no Kueue, or that it may not be read."""
FORGET = 10
"""Intervals after which a Job that nobody asks about is forgotten."""


@dataclass(slots=True)
class _Look:
    when: datetime
    found: Held | None


@dataclass(slots=True)
class QueueReasons:
    """What Kueue says of the Jobs that wait, as of the last look at each."""

    cluster: Cluster
    clock: Callable[[], datetime]
    _looks: dict[str, _Look] = field(default_factory=dict)
    """By the Job's uid."""
    _closed_since: datetime | None = None

    async def of(self, jobs: Iterable[JobView]) -> dict[str, Held]:
        """By name, for those of the Jobs that are held and of which Kueue says why. Never raises: it is only for people."""
        found: dict[str, Held] = {}
        for job in jobs:
            if job.finished or job.deleting or not job.suspended:
                self._looks.pop(job.uid, None)
            elif (reason := await self._of(job)) is not None:
                found[job.name] = reason
        return found

    def interval(self) -> float:
        """Seconds after which a waiting Job is worth another look."""
        return max(SECONDS, len(self._looks) / LOOKS_PER_SECOND)

    async def _of(self, job: JobView) -> Held | None:
        now, known = self.clock(), self._looks.get(job.uid)
        if known is not None and not times.passed(known.when, now, self.interval()):
            return known.found
        if self._closed_since is not None and not times.passed(self._closed_since, now, WITHOUT_KUEUE_SECONDS):
            return None
        reason = known.found if known else None
        try:
            workload = await workload_of(self.cluster, job.namespace, job.uid)
            reason = held(workload) if workload is not None else None
        except ApiError as error:
            if error.status in (403, 404):
                self._closed_since = now
            logger.info("%s/%s: why Kueue holds it cannot be read: %s", job.namespace, job.name, error)
        self._looks[job.uid] = _Look(now, reason)
        self._forget(now)
        return reason

    def _forget(self, now: datetime) -> None:
        """Those of Jobs that went while they waited."""
        longest = FORGET * self.interval()
        for uid in [uid for uid, look in self._looks.items() if times.passed(look.when, now, longest)]:
            del self._looks[uid]
