"""A start into bad weather: what may pass is waited out, request by request.

A process that ended instead would be started again ever later (the kubelet's back-off goes up to five minutes), and each start
needs some forty requests, all of which would have to succeed in a row.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from yolo_operator.kube.cluster import Cluster, Kind, Object, Page
from yolo_operator.kube.errors import ApiError

T = TypeVar("T")

FIRST_SECONDS, LONGEST_SECONDS = 0.25, 2.5
"""Between two attempts."""

logger = logging.getLogger(__name__)


async def patiently(attempt: Callable[[], Awaitable[T]], longest: float) -> T:
    """The attempt's result; while its errors may pass it is made again, for so many seconds.

    Raises:
        ApiError: that will not pass by itself, or has not in that time.
    """
    delay, end = FIRST_SECONDS, time.monotonic() + longest
    while True:
        try:
            return await attempt()
        except ApiError as error:
            wait = max(delay, error.retry_after or 0.0)
            if not error.may_pass or time.monotonic() + wait > end:
                raise
            logger.warning("the API server does not answer; tried again in %.1f s: %s", wait, error)
            await asyncio.sleep(wait)
            delay = min(LONGEST_SECONDS, 2 * delay)


class Patient:
    """`Cluster` for the checks at the start, which read and ask only."""

    def __init__(self, cluster: Cluster, longest: float) -> None:
        self._cluster, self._longest = cluster, longest

    async def pages(
        self, kind: Kind, namespace: str | None = None, *, selector: str = "", limit: int = 500
    ) -> AsyncIterator[Page]:
        """The first page alone."""

        async def first() -> Page:
            async for page in self._cluster.pages(kind, namespace, selector=selector, limit=limit):
                return page
            return Page([], 0)

        yield await patiently(first, self._longest)

    async def create(self, kind: Kind, namespace: str | None, body: Object) -> Object:
        """A review, which may be asked twice."""
        return await patiently(lambda: self._cluster.create(kind, namespace, body), self._longest)
