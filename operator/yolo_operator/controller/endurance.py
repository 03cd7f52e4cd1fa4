"""Watches that outlive what kopf takes for the end of the process.

An error event other than 410 in a watch, HTTP 410 in place of one, or 5xx for a minute end kopf's whole operator. It cannot be
run again in the same process: from its end on it counts down to a SIGKILL. So the error ends here, where one watch begins:
kopf's own loop then lists and watches anew, as it does after an expired version; other watches and all that is known stay.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

from kopf._cogs.clients import watching
from kopf._cogs.clients.errors import APIError

AGAIN_SECONDS = 2.0
"""Between the end of a watch and the next list."""

logger = logging.getLogger(__name__)
Watch = Callable[..., AsyncIterator[Any]]


def enduring(watch: Watch) -> Watch:
    """The watch, which ends in silence where it would have raised an error of the API server."""

    async def endure(**how: Any) -> AsyncIterator[Any]:
        try:
            async for event in watch(**how):
                yield event
        except (APIError, watching.WatchingError) as error:
            logger.warning("the watch of %s has ended and begins anew in %g s: %s", how["resource"], AGAIN_SECONDS, error)
            await asyncio.sleep(AGAIN_SECONDS)

    endure.enduring = True  # type: ignore[attr-defined]
    return endure


def let_watches_endure() -> None:
    """Of this process. kopf has no setting for it."""
    if not hasattr(watching.continuous_watch, "enduring"):
        watching.continuous_watch = enduring(watching.continuous_watch)
