"""Why a Job has no pod: the Job controller says so in an Event alone, which is looked up when it has had none for a while."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from yolo_operator.kube.cluster import EVENTS, Cluster, Object
from yolo_operator.kube.errors import ApiError
from yolo_operator.kube.quota import exceeded
from yolo_operator.pipeline import times
from yolo_operator.pipeline.stages import FAILED_CREATE, NO_POD, QUOTA_EXCEEDED
from yolo_operator.pipeline.values import Held, JobView, Observed

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 5
"""A Job may be without a pod for so long before anybody wonders."""
NO_POD_SECONDS = 30
"""After these it is said, with or without an Event that tells why."""
SECONDS = 15
"""Between two looks at one Job's Events; more when very many are without a pod."""
LOOKS_PER_SECOND = 10
"""On average, over all Jobs."""
FORGET = 10
"""Intervals after which a Job that nobody asks about is forgotten."""


@dataclass(slots=True)
class _Job:
    since: datetime
    asked: datetime
    looked: datetime | None = None
    found: Held | None = None


@dataclass(slots=True)
class PodlessJobs:
    """What is known of the Jobs that have no pod."""

    cluster: Cluster
    clock: Callable[[], datetime]
    _jobs: dict[str, _Job] = field(default_factory=dict)
    """By uid."""

    async def of(self, observed: Observed, *, ask: bool = True) -> dict[str, Held]:
        """Why, by the Job's name, of those of which it is known. Never raises: it is only for people.

        `ask`: whether there is time for it. The API server goes through all Events of the namespace, and while it has too much
        to do every new Job is without a pod for a while.
        """
        found: dict[str, Held] = {}
        without = self._without(observed)
        for job in observed.jobs:
            if job.name not in without:
                self._jobs.pop(job.uid, None)
            elif (reason := await self._of(job, ask)) is not None:
                found[job.name] = reason
        return found

    def interval(self, observed: Observed) -> float | None:
        """Seconds after which an experiment is worth another look for this; None: all its Jobs have their pods."""
        if not (without := self._without(observed)):
            return None
        known = [self._jobs.get(job.uid) for job in observed.jobs if job.name in without]
        fresh = any(job is None or job.looked is None for job in known)
        return PATIENCE_SECONDS if fresh else self._seconds()

    def _seconds(self) -> float:
        return max(SECONDS, len(self._jobs) / LOOKS_PER_SECOND)

    @staticmethod
    def _without(observed: Observed) -> set[str]:
        live = {job.name for job in observed.jobs if not (job.finished or job.suspended or job.deleting)}
        return live - {pod.job for pod in observed.pods} if live else live

    async def _of(self, job: JobView, ask: bool) -> Held | None:
        now = self.clock()
        known = self._jobs.setdefault(job.uid, _Job(now, now))
        known.asked = now
        if not times.passed(known.since, now, PATIENCE_SECONDS):
            return None
        if ask and (known.looked is None or times.passed(known.looked, now, self._seconds())):
            known.looked = now
            self._forget(now)
            try:
                known.found = await self._told(job)
            except ApiError as error:
                logger.info("%s/%s: why it has no pod cannot be read: %s", job.namespace, job.name, error)
        if known.found is None and times.passed(known.since, now, NO_POD_SECONDS):
            return _no_pod(job)
        return known.found

    def _forget(self, now: datetime) -> None:
        """Those of Jobs that went before they had a pod."""
        longest = FORGET * self._seconds()
        for uid in [uid for uid, known in self._jobs.items() if times.passed(known.asked, now, longest)]:
            del self._jobs[uid]

    async def _told(self, job: JobView) -> Held | None:
        events: list[Object] = []
        fields = f"involvedObject.uid={job.uid},reason={FAILED_CREATE}"
        async for page in self.cluster.pages(EVENTS, job.namespace, fields=fields):
            events += page.items
        if not events:
            return None
        message = str(max(events, key=_moment).get("message") or "")
        for said_already in ("(combined from similar events): ", "Error creating: "):
            message = message.removeprefix(said_already)
        quota = exceeded(message)
        return Held(FAILED_CREATE, f"its pod cannot be made: {message}") if quota is None else Held(QUOTA_EXCEEDED, quota.message)


def _no_pod(job: JobView) -> Held:
    """It has had none for a while, and no Event says why."""
    told = (
        f"the Job has no pod for {NO_POD_SECONDS} s: `kubectl describe job {job.name}` tells what forbids it"
        " (a quota, Pod Security, a PriorityClass or RuntimeClass that does not exist);"
        " after pods that were lost it may be the Job controller's own delay, 10 minutes at most"
    )
    return Held(NO_POD, told)


def _moment(event: Object) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or "")
