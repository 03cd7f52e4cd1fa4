"""Finished Jobs are let go in the background, once each; what fails is asked for again by the next look."""

from __future__ import annotations

import asyncio

import pytest
from memory_cluster import Clock, MemoryCluster
from prometheus_client import CollectorRegistry
from world import World
from yolo_operator.api import resource
from yolo_operator.controller.cache import Cache, Key
from yolo_operator.controller.leisure import LONGEST_WAIT, MEMORY_SECONDS, STEP, Leisure, Pace
from yolo_operator.controller.metrics import OperatorMetrics
from yolo_operator.controller.queue import WorkQueue
from yolo_operator.controller.tidier import TRIES, Tidier, longest_wait
from yolo_operator.controller.watch import Feed
from yolo_operator.kube.cluster import JOBS, Change
from yolo_operator.kube.errors import ApiError

from examples import NAMESPACE, small_spec

PATCH = {"metadata": {"labels": {resource.LABEL_FINAL: "true"}}}


def tidier(cluster: MemoryCluster) -> Tidier:
    return Tidier(cluster, Cache(), Leisure(lambda: False))


async def test_a_job_is_patched_once_and_known_by_its_new_label() -> None:
    world = World(small_spec()).rest()
    names = {job["metadata"]["name"] for job in world.cluster.objects(JOBS)}
    patches = [r for r in world.cluster.requests if (r.verb, r.resource) == ("patch", "jobs")]
    assert sorted(request.name for request in patches) == sorted(names)
    assert all(job.final for job in world.operator.cache.jobs)


async def test_a_job_that_is_gone_is_let_go_already() -> None:
    cluster = MemoryCluster(Clock())
    one = tidier(cluster)
    one.add(NAMESPACE, "gone", PATCH)
    one.add(NAMESPACE, "gone", PATCH)
    assert one.waiting == 1
    assert await one.write_one()
    assert one.waiting == 0


async def test_what_fails_is_tried_again_a_bounded_number_of_times() -> None:
    cluster, refusals = MemoryCluster(Clock()), 0

    def refuse(request: object) -> None:
        nonlocal refusals
        refusals += 1
        raise ApiError(503, "ServiceUnavailable", "later")

    cluster.on_request = refuse
    one = tidier(cluster)
    one.add(NAMESPACE, "held", PATCH)
    while one.waiting:
        assert not await one.write_one()
    assert refusals == TRIES


async def test_under_a_load_that_never_ends_it_waits_a_second() -> None:
    slept = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal slept
        slept += seconds

    await Leisure(lambda: True, sleep).come()
    assert slept == pytest.approx(LONGEST_WAIT, abs=STEP)


async def test_a_moment_is_calm_only_after_a_while() -> None:
    presses, looks = [True, False, True, False, False, False, False, False], 0

    async def sleep(_: float) -> None:
        nonlocal looks
        looks += 1

    leisure = Leisure(lambda: presses[looks], sleep, calm=3 * STEP)
    await leisure.come()
    assert looks == 6
    await leisure.come()
    assert looks == 6, "it is calm still"


async def test_the_more_jobs_wait_the_shorter_each_waits_for_leisure() -> None:
    assert [round(longest_wait(number), 1) for number in (1, 50, 950, 3950)] == [19.6, 10.0, 1.0, 0.2]
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await asyncio.sleep(0)

    one = Tidier(MemoryCluster(Clock()), Cache(), Leisure(lambda: True, sleep))
    for number in range(951):
        one.add(NAMESPACE, f"job-{number}", PATCH)
    running = asyncio.create_task(one.run())
    while one.waiting > 949:  # noqa: ASYNC110 - its own steps
        await asyncio.sleep(0)
    running.cancel()
    assert sum(slept) == pytest.approx(2.0, abs=0.2)


async def test_a_job_that_leaves_the_watch_before_the_answer_presses_nobody() -> None:
    cluster, cache, looks = MemoryCluster(Clock()), Cache(), WorkQueue[Key]()
    world = World(small_spec())
    world.until(lambda: bool(world.created_jobs()))
    job = world.created_jobs()[0]
    cluster.add(JOBS, NAMESPACE, job)
    cache.put_job(job)
    feed = Feed(cache, looks, OperatorMetrics(CollectorRegistry()))
    # The watch is quicker than the answer.
    cluster.on_request = lambda _: feed.job(Change("DELETED", job))
    one = Tidier(cluster, cache, Leisure(lambda: False))
    one.add(NAMESPACE, job["metadata"]["name"], PATCH)
    assert await one.write_one()
    assert looks.depth == 0


# --- the API server's pace ---


def observe(pace: Pace, seconds: float, times: int) -> None:
    for _ in range(times):
        pace.observe(seconds)


def test_an_api_server_is_slow_against_its_own_best() -> None:
    now = 0.0
    pace = Pace(lambda: now)
    assert not pace.slow
    observe(pace, 0.005, 20)
    assert not pace.slow
    observe(pace, 0.2, 10)
    assert pace.slow
    now += MEMORY_SECONDS + 1
    assert not pace.slow, "what was long ago says nothing"
    pace.observe(0.005)
    assert not pace.slow


def test_one_that_is_far_away_is_not_slow() -> None:
    pace = Pace(lambda: 0.0)
    observe(pace, 0.15, 50)
    assert not pace.slow
    observe(pace, 0.6, 20)
    assert pace.slow


def test_a_best_that_is_gone_for_good_is_forgotten() -> None:
    pace = Pace(lambda: 0.0)
    pace.observe(0.02)
    observe(pace, 0.2, 3000)
    assert not pace.slow
