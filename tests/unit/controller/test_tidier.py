"""Finished Jobs are let go in the background, once each; what fails is asked for again by the next look."""

from __future__ import annotations

import asyncio

import pytest
from memory_cluster import Clock, MemoryCluster
from world import World
from yolo_operator.api import resource
from yolo_operator.controller.cache import Cache
from yolo_operator.controller.leisure import LONGEST_WAIT, MEMORY_SECONDS, STEP, Leisure, Pace
from yolo_operator.controller.tidier import BACKLOG, TRIES, Tidier
from yolo_operator.kube.cluster import JOBS
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


async def test_a_backlog_of_jobs_does_not_wait_for_leisure() -> None:
    one = Tidier(MemoryCluster(Clock()), Cache(), Leisure(lambda: True, longest=3600))
    for number in range(BACKLOG + 2):
        one.add(NAMESPACE, f"job-{number}", PATCH)
    running = asyncio.create_task(one.run())
    await asyncio.sleep(0.05)
    running.cancel()
    assert one.waiting == BACKLOG


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
