"""Lets finished Jobs go, one by one, when nothing presses: a label takes them out of the watch, and they get a time to live."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict

from yolo_operator.controller.cache import Cache
from yolo_operator.controller.leisure import Leisure
from yolo_operator.kube.cluster import JOBS, Cluster, Object
from yolo_operator.kube.errors import ApiError

PAUSE_SECONDS = 5.0
"""After a patch that failed: what hinders one hinders most."""
TRIES = 20
"""For each Job. One that is given up is asked for again by the next look at its experiment."""

logger = logging.getLogger(__name__)


class Tidier:
    """Patches that wait."""

    def __init__(self, cluster: Cluster, cache: Cache, leisure: Leisure) -> None:
        self._cluster, self._cache, self._leisure = cluster, cache, leisure
        self._waiting: OrderedDict[tuple[str, str], tuple[Object, int]] = OrderedDict()
        self._some = asyncio.Event()

    def add(self, namespace: str, job: str, patch: Object) -> None:
        """Patch this Job, once, sometime."""
        self._waiting.setdefault((namespace, job), (patch, 1))
        self._some.set()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._some.wait()
            await self._leisure.come()
            if not await self.write_one():
                await asyncio.sleep(PAUSE_SECONDS)

    async def write_one(self) -> bool:
        """Write what waits for longest; whether that went well."""
        place, (patch, tries) = next(iter(self._waiting.items()))
        namespace, name = place
        try:
            self._cache.put_job(await self._cluster.patch(JOBS, namespace, name, patch))
        except ApiError as error:
            if error.not_found:
                self._done(place)
                return True
            logger.warning("Job %s/%s is not let go yet: %s", namespace, name, error)
            self._done(place)
            if tries < TRIES:
                self._waiting[place] = (patch, tries + 1)
                self._some.set()
            return False
        # Not before: a look meanwhile would ask for it again.
        self._done(place)
        return True

    def _done(self, place: tuple[str, str]) -> None:
        del self._waiting[place]
        if not self._waiting:
            self._some.clear()

    @property
    def waiting(self) -> int:
        """Jobs to be let go."""
        return len(self._waiting)
