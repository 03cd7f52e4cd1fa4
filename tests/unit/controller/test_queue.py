"""The work queue, under an event loop whose time the test moves."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from yolo_operator.controller.queue import CALM_SECONDS, FIRST_DELAY, LONGEST_DELAY, ShutDown, WorkQueue


async def settle() -> None:
    """Let every task run as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_key_waits_once() -> None:
    queue = WorkQueue[str]()
    for key in ("a", "b", "a", "a"):
        queue.add(key)
    assert queue.depth == 2
    assert [await queue.get(), await queue.get()] == ["a", "b"]
    assert queue.stats.adds == 2


async def test_a_key_added_while_it_is_worked_on_comes_again_afterwards() -> None:
    queue = WorkQueue[str]()
    queue.add("a")
    await queue.get()
    queue.add("a")
    queue.add("a")
    assert queue.depth == 0
    assert queue.busy == 1
    queue.done("a")
    assert queue.depth == 1
    assert await queue.get() == "a"
    queue.done("a")
    assert (queue.depth, queue.busy) == (0, 0)


async def test_no_key_is_worked_on_twice_at_once() -> None:
    queue, at_work, worked = WorkQueue[int](rate=1e6, burst=10_000), Counter[int](), Counter[int]()

    async def worker() -> None:
        while True:
            try:
                key = await queue.get()
            except ShutDown:
                return
            at_work[key] += 1
            assert at_work[key] == 1
            await asyncio.sleep(0)
            worked[key] += 1
            if worked[key] < 20:
                queue.add(key)
            await asyncio.sleep(0)
            at_work[key] -= 1
            queue.done(key)

    workers = [asyncio.create_task(worker()) for _ in range(8)]
    for key in range(5):
        queue.add(key)
    while any(worked[key] < 20 for key in range(5)):
        for key in range(5):
            queue.add(key)
        await asyncio.sleep(0)
    queue.close()
    await asyncio.gather(*workers)


async def test_the_earliest_of_several_delays_counts() -> None:
    queue = WorkQueue[str]()
    queue.add_after("a", 30)
    queue.add_after("a", 0.01)
    queue.add_after("a", 30)
    assert await asyncio.wait_for(queue.get(), 5) == "a"


async def test_failures_wait_longer_and_success_forgets_them() -> None:
    queue = WorkQueue[str]()
    delays = [queue.retry("a") for _ in range(40)]
    for number, delay in enumerate(delays[:5]):
        assert 0.8 <= delay / (FIRST_DELAY * 2**number) <= 1.2
    assert max(delays) <= LONGEST_DELAY * 1.2
    assert queue.retry("b") <= FIRST_DELAY * 1.2
    queue.forget("a")
    assert queue.retry("a") <= FIRST_DELAY * 1.2
    assert queue.retry("b", at_least=7.0) == 7.0
    assert queue.stats.retries == 43
    assert all(queue.retry("c", at_most=15.0) <= 15.0 * 1.2 for _ in range(40))


async def test_close_wakes_every_worker_and_drops_what_waits() -> None:
    queue = WorkQueue[str]()
    waiting = [asyncio.create_task(queue.get()) for _ in range(3)]
    await settle()
    queue.add_after("a", 0.01)
    queue.close()
    for task in waiting:
        with pytest.raises(ShutDown):
            await task
    queue.add("b")
    await asyncio.sleep(0.02)
    assert queue.depth == 0
    with pytest.raises(ShutDown):
        await queue.get()


async def test_the_token_bucket_bounds_the_rate() -> None:
    now = [0.0]
    queue = WorkQueue[int](rate=1000.0, burst=3, clock=lambda: now[0])
    for key in range(5):
        queue.add(key)
    for _ in range(3):
        await asyncio.wait_for(queue.get(), 1)
    fourth = asyncio.create_task(queue.get())
    await asyncio.sleep(0.01)
    assert not fourth.done()
    now[0] += 0.001
    assert await asyncio.wait_for(fourth, 1) == 3


async def test_ages() -> None:
    now = [100.0]
    queue = WorkQueue[str](clock=lambda: now[0])
    assert queue.oldest_seconds() == 0
    queue.add("a")
    now[0] += 5
    assert queue.oldest_seconds() == 5
    await queue.get()
    assert queue.stats.waited_seconds == 5
    now[0] += 2
    assert queue.oldest_seconds() == 2
    queue.done("a")
    assert queue.oldest_seconds() == 0


async def test_a_key_that_is_wanted_now_keeps_no_appointment() -> None:
    queue = WorkQueue[str]()
    queue.add_after("a", 0.01)
    queue.add("a")
    queue.add_after("a", 0.01)
    assert await queue.get() == "a"
    queue.done("a")
    await asyncio.sleep(0.03)
    assert queue.depth == 0


async def test_news_that_can_wait_come_after_the_work_that_is_going_on() -> None:
    queue = WorkQueue[str]()
    queue.add("a")
    await queue.get()
    queue.add_after("a", 0.01)
    queue.done("a")
    assert queue.depth == 0
    await asyncio.sleep(0.03)
    assert queue.depth == 1


# --- what may wait ---


async def test_a_key_that_may_wait_waits_while_others_do() -> None:
    queue = WorkQueue[str](rate=1e6, burst=1000)
    queue.add_idle("idle")
    for key in ("a", "b"):
        queue.add(key)
    assert [await queue.get(), await queue.get()] == ["a", "b"]
    assert queue.pressed
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    queue.done("a")
    assert await asyncio.wait_for(waiting, 1) == "idle"


async def test_a_key_that_waited_for_long_presses() -> None:
    queue = WorkQueue[str](rate=1e6, burst=1000)
    for key in ("a", "b"):
        queue.add(key)
        await queue.get()
    queue.add_idle("idle")
    queue.add_idle("idle", 0.02)
    queue.add_idle("idle", 5)
    assert await asyncio.wait_for(queue.get(), 1) == "idle"
    assert queue.presses("idle")


async def test_the_moment_that_was_found_for_a_key_is_its_own() -> None:
    queue = WorkQueue[str](rate=1e6, burst=1000)
    queue.add_idle("idle")
    assert await queue.get() == "idle"
    for key in ("a", "b"):
        queue.add(key)
    assert (await queue.get(), queue.presses("a"), queue.presses("idle")) == ("a", True, False)
    queue.done("idle")
    queue.add("idle")
    assert [await queue.get(), await queue.get()] == ["b", "idle"]
    assert queue.presses("idle"), "this time it came like any other"


async def test_pressing_takes_a_key_out_of_the_idle_ones() -> None:
    queue = WorkQueue[str](rate=1e6, burst=1000)
    queue.add_idle("a")
    queue.add("a")
    assert await queue.get() == "a"
    queue.done("a")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.get(), 0.02)


async def test_an_appointment_may_wait_too() -> None:
    queue = WorkQueue[str](rate=1e6, burst=1000)
    for key in ("a", "b"):
        queue.add(key)
        await queue.get()
    queue.add_after("later", 0.01, idle=True)
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0.03)
    assert not waiting.done()
    queue.done("b")
    assert await asyncio.wait_for(waiting, 1) == "later"


async def test_what_may_wait_waits_for_a_moment_without_pressure() -> None:
    queue = WorkQueue[str]()
    queue.add("a")
    queue.add_idle("idle")
    assert await queue.get() == "a"
    queue.done("a")
    began = asyncio.get_running_loop().time()
    assert await asyncio.wait_for(queue.get(), 5) == "idle"
    assert asyncio.get_running_loop().time() - began >= CALM_SECONDS * 0.9
    assert not queue.presses("idle")
    queue.add_idle("another")
    queue.done("idle")
    began = asyncio.get_running_loop().time()
    assert await asyncio.wait_for(queue.get(), 5) == "another"
    assert asyncio.get_running_loop().time() - began < CALM_SECONDS / 2, "others that may wait do not press"
