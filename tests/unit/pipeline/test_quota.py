"""A namespace's ResourceQuota has no room: which one, what is used, and on it goes by itself."""

from __future__ import annotations

from typing import Any

from memory_cluster import Clock, MemoryCluster, Request
from world import World
from yolo_operator.controller.podless import PodlessJobs
from yolo_operator.kube.cluster import EVENTS, JOBS, Object
from yolo_operator.kube.errors import ApiError
from yolo_operator.pipeline.values import JobState, JobView, Observed, StageKey

from examples import NAME, NAMESPACE, small_spec

FULL = "exceeded quota: team, requested: count/jobs.batch=1, used: count/jobs.batch=4, limited: count/jobs.batch=4"
SMALL = "exceeded quota: team, requested: limits.cpu=9, used: limits.cpu=0, limited: limits.cpu=8"


def refusing(world: World, message: str, stage: str = "") -> None:
    def refuse(request: Request) -> None:
        if request.verb == "create" and request.resource == "jobs" and stage in request.name:
            raise ApiError(403, "Forbidden", f'jobs.batch "{request.name}" is forbidden: {message}')

    world.cluster.on_request = refuse


def test_a_job_without_room_waits_says_for_what_and_is_made_when_there_is() -> None:
    world = World(small_spec())
    refusing(world, FULL)
    world.until(lambda: world.status().get("phase") == "Queued")
    for _ in range(50):
        world.round()
    first = world.status()["stages"][0]
    assert (first["state"], first["reason"]) == ("Pending", "QuotaExceeded")
    assert first["message"] == "ResourceQuota team has no room for count/jobs.batch: asks for 1, 4 of 4 in use"
    assert world.status()["message"] == f"prepare: {first['message']}"
    assert world.condition("Stalled")["status"] == "False"
    assert world.reasons().count("QuotaExceeded") == 1
    assert world.operator.queue.retries == 0, "it is no error"
    world.cluster.on_request = lambda _: None
    world.rest()
    assert world.status()["phase"] == "Succeeded"
    assert world.status()["stages"][0]["waitTime"] == first["waitTime"]


def test_between_stages_it_stays_running() -> None:
    world = World(small_spec())
    refusing(world, FULL, "-train-")
    world.until(lambda: world.status().get("phase") == "Running" and world.stage("train").get("reason") == "QuotaExceeded")
    world.cluster.on_request = lambda _: None
    assert world.rest().status()["phase"] == "Succeeded"


def test_a_quota_that_is_too_small_stalls_it_until_it_is_larger() -> None:
    world = World(small_spec())
    refusing(world, SMALL)
    world.until(lambda: bool(world.status()))
    stalled = world.condition("Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", "QuotaTooLow")
    assert "asks for 9, 0 of 8 in use; it never will" in stalled["message"]
    assert "QuotaTooLow" in world.reasons()
    world.cluster.on_request = lambda _: None
    assert world.rest().status()["phase"] == "Succeeded"


def told(world: World, message: str) -> Object:
    """The Job controller's Event on the training's Job; it makes no pod meanwhile."""
    job = world.cluster.peek(JOBS, NAMESPACE, world.stage("train")["job"])
    assert job is not None
    event = {
        "metadata": {"name": f"e-{len(world.cluster.objects(EVENTS))}"},
        "involvedObject": {"kind": "Job", "uid": job["metadata"]["uid"]},
        "reason": "FailedCreate",
        "message": message,
        "lastTimestamp": world.clock.text,
    }
    world.cluster.add(EVENTS, NAMESPACE, event)
    return event


def podless(monkeypatch: Any) -> tuple[World, Any]:
    """A world whose Job controller makes no pod of a training."""
    world = World(small_spec())
    make = world.simulator._new_pod
    monkeypatch.setattr(world.simulator, "_new_pod", lambda job: None if "-train-" in job["metadata"]["name"] else make(job))
    world.until(lambda: world.states().get("train") == "Starting")
    return world, lambda: monkeypatch.setattr(world.simulator, "_new_pod", make)


def test_a_pod_without_room_is_told_by_the_jobs_event(monkeypatch: Any) -> None:
    world, admit = podless(monkeypatch)
    told(world, 'Error creating: pods "x" is forbidden: ' + FULL.replace("count/jobs.batch", "requests.nvidia.com/gpu"))
    world.until(lambda: world.stage("train").get("reason") == "QuotaExceeded")
    assert world.stage("train")["state"] == "Starting"
    message = "ResourceQuota team has no room for requests.nvidia.com/gpu: asks for 1, 4 of 4 in use"
    assert world.stage("train")["message"] == message
    assert "QuotaExceeded" in world.reasons()
    admit()
    world.until(lambda: world.states()["train"] == "Running")
    assert world.stage("train").get("reason") is None
    assert world.rest().status()["phase"] == "Succeeded"


def test_any_other_reason_not_to_make_a_pod_is_told_too(monkeypatch: Any) -> None:
    world, admit = podless(monkeypatch)
    told(world, "first")
    world.clock.advance(1)
    why = 'pods "x" is forbidden: violates PodSecurity "restricted:latest"'
    told(world, f"(combined from similar events): Error creating: {why}")
    world.until(lambda: world.stage("train").get("reason") == "FailedCreate")
    assert world.stage("train")["message"] == f"its pod cannot be made: {why}"
    admit()
    assert world.rest().status()["phase"] == "Succeeded"


def test_who_may_not_read_events_runs_all_the_same(monkeypatch: Any) -> None:
    world, admit = podless(monkeypatch)
    listed = 0

    def refuse(request: Request) -> None:
        nonlocal listed
        if (request.verb, request.resource) == ("list", "events"):
            listed += 1
            raise ApiError(403, "Forbidden", "no")

    world.cluster.on_request = refuse
    world.until(lambda: listed > 0)
    admit()
    assert world.rest().status()["phase"] == "Succeeded"


async def test_a_job_that_went_without_ever_having_a_pod_is_forgotten() -> None:
    clock = Clock()
    podless = PodlessJobs(MemoryCluster(clock), clock)
    jobs = [JobView(NAMESPACE, name, name, "o", NAME, StageKey("train"), "d", 1, JobState.ACTIVE) for name in ("gone", "here")]
    await podless.of(Observed(jobs=tuple(jobs)))
    for _ in range(30):
        clock.advance(10)
        await podless.of(Observed(jobs=(jobs[1],)))
    assert set(podless._jobs) == {"here"}


async def test_while_the_api_server_has_too_much_to_do_nobody_asks_for_events() -> None:
    clock = Clock()
    cluster = MemoryCluster(clock)
    podless = PodlessJobs(cluster, clock)
    job = JobView(NAMESPACE, "train-1", "u", "o", NAME, StageKey("train"), "d", 1, JobState.ACTIVE)
    for _ in range(3):
        assert await podless.of(Observed(jobs=(job,)), ask=False) == {}
        clock.advance(10)
    assert not cluster.requests
    await podless.of(Observed(jobs=(job,)))
    assert len(cluster.requests) == 1
