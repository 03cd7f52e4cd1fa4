"""kopf's watch of the experiments, in two points other than kopf has it; it has no settings for them.

An error event other than 410 in a watch, HTTP 410 in place of one, or 5xx for a minute end kopf's whole operator. It cannot be
run again in the same process: from its end on it counts down to a SIGKILL. So the error ends here, where one watch begins:
kopf's own loop then lists and watches anew, as it does after an expired version; other watches and all that is known stay.

kopf's list makes a task with a queue for each object, all of them at once: of 5,000 experiments 100 MiB that the process keeps.
And it does not tell what is gone. So the list is our own, as it is for Jobs and Pods, and kopf gets an empty one of its version.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from kopf._cogs.clients import fetching, watching
from kopf._cogs.clients.errors import APIError

from yolo_operator.api import resource
from yolo_operator.kube.errors import ApiError

AGAIN_SECONDS = 2.0
"""Between the end of a watch and the next list."""

logger = logging.getLogger(__name__)
Watch = Callable[..., AsyncIterator[Any]]
Enlist = Callable[[str | None], Awaitable[int]]
"""Lists the experiments of a namespace (None: of all), takes them in; the version to go on from."""

_KOPFS_WATCH, _KOPFS_LIST = watching.continuous_watch, fetching.fetch_objs


def adapt(enlist: Enlist) -> None:
    """Of this process, from now on."""
    watching.continuous_watch = enduring(_KOPFS_WATCH)
    fetching.fetch_objs = listing(_KOPFS_LIST, enlist)


def enduring(watch: Watch) -> Watch:
    """The watch, which ends in silence where it would have raised an error of the API server."""

    async def endure(**how: Any) -> AsyncIterator[Any]:
        try:
            async for event in watch(**how):
                yield event
        except (APIError, ApiError, watching.WatchingError) as error:
            logger.warning("the watch of %s has ended and begins anew in %g s: %s", how["resource"], AGAIN_SECONDS, error)
            await asyncio.sleep(AGAIN_SECONDS)

    return endure


def listing(fetch: Watch, enlist: Enlist) -> Watch:
    """The list in chunks: for experiments one that is empty, after they were taken in by our own."""

    async def chunks(**how: Any) -> AsyncIterator[Any]:
        if how["resource"].plural == resource.PLURAL:
            yield [], str(await enlist(how["namespace"]))
        else:
            async for chunk in fetch(**how):
                yield chunk

    return chunks
