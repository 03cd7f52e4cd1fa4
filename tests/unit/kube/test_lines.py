"""The lines of a watch, over a real connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from yolo_operator.kube import lines
from yolo_operator.kube.lines import lines_of

Play = Callable[[web.StreamResponse], Awaitable[None]]


@asynccontextmanager
async def watch(play: Play) -> AsyncIterator[aiohttp.ClientResponse]:
    """An answer that the server writes as `play` says."""

    async def handle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await play(response)
        return response

    app = web.Application()
    app.router.add_get("/", handle)
    async with TestServer(app) as server, aiohttp.ClientSession() as session, session.get(server.make_url("/")) as response:
        yield response


async def test_lines_come_whole_however_they_were_cut() -> None:
    async def play(response: web.StreamResponse) -> None:
        for piece in (b"on", b"e\ntwo\nth", b"r", b"ee\n", b"last"):
            await response.write(piece)
            await asyncio.sleep(0.02)

    async with watch(play) as response:
        assert [line async for line in lines_of(response)] == [b"one", b"two", b"three", b"last"]


async def test_a_line_alone_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "REST_SECONDS", 30.0)
    heard = asyncio.Event()

    async def play(response: web.StreamResponse) -> None:
        await response.write(b"alone\n")
        await heard.wait()

    async with watch(play) as response:
        assert await asyncio.wait_for(anext(lines_of(response)), 5) == b"alone"
        heard.set()


async def test_a_crowd_comes_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST_REST", 0.05)
    rests: list[float] = []
    rest = lines._rest

    async def counted(response: aiohttp.ClientResponse, seconds: float) -> None:
        rests.append(seconds)
        await rest(response, seconds)

    async def play(response: web.StreamResponse) -> None:
        for number in range(300):
            await response.write(b"%d\n" % number)
            await asyncio.sleep(0.001)

    monkeypatch.setattr(lines, "_rest", counted)
    async with watch(play) as response:
        assert [line async for line in lines_of(response)] == [b"%d" % number for number in range(300)]
    assert 0 < len(rests) < 60
    assert max(rests) == 0.05


async def test_a_watch_that_breaks_while_it_rests_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "REST_SECONDS", 0.05)

    async def play(response: web.StreamResponse) -> None:
        await response.write(b"one\n")
        await asyncio.sleep(0.02)
        assert response._req is not None
        assert response._req.transport is not None
        response._req.transport.abort()

    async with watch(play) as response:
        with pytest.raises(aiohttp.ClientError):
            [line async for line in lines_of(response)]


async def test_whoever_ends_the_watch_while_it_rests_ends_it() -> None:
    async def play(response: web.StreamResponse) -> None:
        await response.write(b"one\n" * 20)
        await asyncio.sleep(1)

    async def read(response: aiohttp.ClientResponse) -> None:
        async for _ in lines_of(response):
            pass

    async with watch(play) as response:
        reading = asyncio.create_task(read(response))
        await asyncio.sleep(0.05)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
