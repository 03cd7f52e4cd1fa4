"""The lines of a watch, those that come in a crowd together.

A line that is read by itself costs a wake-up of the process: the kernel, TLS, HTTP, the event loop, some five times what its
JSON costs. So the stream rests for a moment after each line that came: one alone is told at once, and nothing comes after it;
when hundreds come a second, they arrive by the dozen.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp

REST_SECONDS, LONGEST_REST = 0.01, 0.25
"""For each line that came, and in all."""


async def lines_of(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The lines of an answer that goes on; a last one that has no end is told as it is.

    Raises:
        aiohttp.ClientError: when the connection broke.
    """
    begun = b""
    while chunk := await response.content.readany():
        *lines, begun = (begun + chunk).split(b"\n")
        for line in lines:
            yield line
        await _rest(response, min(LONGEST_REST, REST_SECONDS * len(lines)))
    if begun:
        yield begun


async def _rest(response: aiohttp.ClientResponse, seconds: float) -> None:
    """Read nothing for so long, so that what comes meanwhile waits in the kernel."""
    transport = response.connection.transport if response.connection is not None else None
    if transport is None or not seconds:
        return
    transport.pause_reading()
    try:
        await asyncio.sleep(seconds)
    finally:
        transport.resume_reading()
