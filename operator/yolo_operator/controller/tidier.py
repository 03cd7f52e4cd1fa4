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
CALM_SECONDS = 1.0
"""Without pressure, before a Job is let go."""
LONGEST_WAIT = 20.0
"""Seconds between two under a load that never ends, while few wait."""
MANY = 50
"""Each so many that wait shorten that once more: of 1,000, one goes each second; some 3 KiB each they take meanwhile."""
TRIES = 20
"""For each Job. One that is given up is asked for again by the next look at its experiment."""

logger = logging.getLogger(__name__)


def longest_wait(waiting: int) -> float:
    """Seconds after which one of so many is let go, whatever presses."""
    return LONGEST_WAIT / (1 + waiting / MANY)


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
            await self._leisure.come(longest_wait(len(self._waiting)))
            if not await self.write_one():
                await asyncio.sleep(PAUSE_SECONDS)

    async def write_one(self) -> bool:
        """Write what waits for longest; whether that went well."""
        place, (patch, tries) = next(iter(self._waiting.items()))
        well = await self._write(*place, patch)
        # It waits until now: a look meanwhile would ask for it again.
        del self._waiting[place]
        if not well and tries < TRIES:
            self._waiting[place] = (patch, tries + 1)
        if not self._waiting:
            self._some.clear()
        return well

    async def _write(self, namespace: str, name: str, patch: Object) -> bool:
        self._cache.going.add((namespace, name))
        try:
            self._cache.put_job(await self._cluster.patch(JOBS, namespace, name, patch))
        except ApiError as error:
            if not error.not_found:
                logger.warning("Job %s/%s is not let go yet: %s", namespace, name, error)
            return error.not_found
        finally:
            self._cache.going.discard((namespace, name))
        return True

    @property
    def waiting(self) -> int:
        """Jobs to be let go."""
        return len(self._waiting)
