"""A watch that is kept open, whatever ends it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from yolo_operator.controller import follower
from yolo_operator.controller.follower import Follower
from yolo_operator.kube.cluster import JOBS, Change
from yolo_operator.kube.errors import ApiError


def change(version: int, kind: str = "MODIFIED") -> Change:
    return Change(kind, {"metadata": {"name": f"job-{version}", "resourceVersion": str(version)}})


class Server:
    """Plays one script a watch: changes, and the error that ends it. After the last script it says nothing for ever."""

    def __init__(self, *scripts: list[Change | ApiError]) -> None:
        self.scripts = list(scripts)
        self.opened: list[int] = []
        self.lists = 0
        self.taken: list[int] = []
        self.done = asyncio.Event()

    async def changes(self, kind: Any, namespace: Any, *, selector: str, version: int, seconds: int) -> AsyncIterator[Change]:
        assert (kind, namespace, selector) == (JOBS, None, "a=b")
        assert seconds >= 300
        self.opened.append(version)
        if not self.scripts:
            self.done.set()
            await asyncio.Event().wait()
        for step in self.scripts.pop(0):
            if isinstance(step, ApiError):
                raise step
            yield step

    async def enlist(self) -> int:
        self.lists += 1
        return 100 * self.lists

    def take(self, one: Change) -> None:
        self.taken.append(int(one.body["metadata"]["resourceVersion"]))

    async def follow(self, version: int = 0) -> None:
        """Follow until the scripts are played."""
        taker = Follower(self, JOBS, None, "a=b", self.take, self.enlist)  # type: ignore[arg-type]
        task = asyncio.create_task(taker.run(version))
        await asyncio.wait_for(self.done.wait(), 20)
        task.cancel()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "FIRST_DELAY", 0.001)


async def test_it_goes_on_from_the_first_list() -> None:
    server = Server([change(8), change(9, "DELETED")])
    await server.follow(7)
    assert (server.opened, server.taken, server.lists) == ([7, 9], [8, 9], 0)


async def test_without_a_version_it_lists() -> None:
    server = Server()
    await server.follow()
    assert (server.opened, server.lists) == ([100], 1)


async def test_a_bookmark_moves_the_place_and_is_no_news() -> None:
    server = Server([change(8), change(20, "BOOKMARK")])
    await server.follow(7)
    assert (server.opened, server.taken) == ([7, 20], [8])


@pytest.mark.parametrize("error", [ApiError(0, "ClientPayloadError", "gone"), ApiError(500, "x", "y"), ApiError(429, "x", "y")])
async def test_a_broken_watch_goes_on_where_it_was(error: ApiError) -> None:
    server = Server([change(8), error], [error], [change(9)])
    await server.follow(7)
    assert (server.opened, server.taken, server.lists) == ([7, 8, 8, 9], [8, 9], 0)


async def test_a_place_that_is_lost_is_listed_anew() -> None:
    server = Server([change(8), ApiError(410, "Expired", "too old resource version")], [change(101)])
    await server.follow(7)
    assert (server.opened, server.taken, server.lists) == ([7, 100, 101], [8, 101], 1)


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds between two watches, which do not pass."""
    slept: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await real(0)

    monkeypatch.setattr(follower.asyncio, "sleep", sleep)
    return slept


async def test_the_delay_doubles_until_something_is_heard(slept: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower.random, "uniform", lambda low, high: 1.0)
    broken = ApiError(0, "ClientError", "refused")
    # A watch that ends without a word counts as broken: else it would be opened again in a tight loop.
    server = Server([broken], [], [broken], [change(8), broken])
    await server.follow(7)
    assert slept == pytest.approx([0.001, 0.002, 0.004, 0.001])


async def test_the_server_s_own_wish_is_kept(slept: list[float]) -> None:
    server = Server([ApiError(429, "TooManyRequests", "later", retry_after=7)])
    await server.follow(7)
    assert slept == [7]
