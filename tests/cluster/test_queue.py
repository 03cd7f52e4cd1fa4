"""Jobs that a queue holds, admits and evicts: the operator and the real Job controller; Kueue is played (support/kueue.py)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest_asyncio
from job_simulator import JobSimulator
from kueue import FLAVOUR, NO_QUOTA, PREEMPTED, Kueue
from playground import Playground
from yolo_operator.api import resource
from yolo_operator.kube.cluster import EVENTS, EXPERIMENTS, JOBS, PODS, Object

from examples import NAME, small_spec

QUEUED = {"queueName": "gpus", "queuePriorityClass": "high"}


@pytest_asyncio.fixture
async def kueue(ground: Playground) -> AsyncIterator[Kueue]:
    """Kueue in the test's namespace."""
    found = Kueue(ground)
    await found.install()
    yield found
    await found.remove()


async def the_job(ground: Playground) -> Object:
    async def there() -> list[Object]:
        return [job for job in await ground.jobs() if job["metadata"]["name"] != "probe"]

    return dict((await ground.until(there, "a Job is made"))[0])


async def the_pod(ground: Playground) -> Object:
    async def there() -> list[Object]:
        return [pod for pod in await ground.listed(PODS) if not pod["metadata"].get("deletionTimestamp")]

    return dict((await ground.until(there, "the Job has a pod"))[0])


async def status_where(ground: Playground, holds: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        status = (await ground.experiment() or {}).get("status") or {}
        return status if status and holds(status) else None

    return dict(await ground.until(look, what))


def first(status: dict[str, Any]) -> dict[str, Any]:
    return dict(status["stages"][0])


async def test_a_queued_job_has_no_pod_and_says_what_it_waits_for(ground: Playground, kueue: Kueue) -> None:
    await ground.apply(small_spec(**QUEUED))
    ground.operator()
    job = await the_job(ground)
    assert job["metadata"]["labels"][resource.LABEL_QUEUE] == "gpus"
    assert job["metadata"]["labels"][resource.LABEL_PRIORITY] == "high"
    status = await status_where(ground, lambda status: status.get("phase") == "Queued", "the experiment is queued")
    assert first(status)["state"] == "Queued"
    assert await ground.listed(PODS) == []
    await kueue.hold(job)
    status = await status_where(ground, lambda status: first(status).get("message") == NO_QUOTA, "Kueue's own words")
    assert first(status)["reason"] == "Pending"
    assert NO_QUOTA in status["message"]
    # It waits by itself and needs nobody.
    conditions = {condition["type"]: condition["status"] for condition in status["conditions"]}
    assert (conditions["Stalled"], conditions["Reconciling"]) == ("False", "True")


async def test_an_admitted_job_runs_where_kueue_wants_it(ground: Playground, kueue: Kueue, simulator: JobSimulator) -> None:
    await ground.apply(small_spec(**QUEUED))
    operator = ground.operator()
    seen: dict[str, Object] = {}

    async def play() -> dict[str, Any] | None:
        for job in await ground.jobs():
            name = job["metadata"]["name"]
            if name != "probe" and job["spec"].get("suspend") and name not in seen:
                seen[name] = job
                await kueue.hold(job)
                await kueue.admit(job)
        await ground.play(simulator)
        status = (await ground.experiment() or {}).get("status") or {}
        return status if status.get("phase") in ("Succeeded", "Failed") else None

    status = await ground.until(play, "the experiment ends")
    assert status["phase"] == "Succeeded"
    assert len(seen) == len(status["stages"])
    assert all(record["attempt"] == 1 for record in status["stages"])
    # Kueue's changes stand: nobody wrote over them.
    for job in await ground.jobs():
        if job["metadata"]["name"] in seen:
            assert job["spec"]["template"]["spec"]["nodeSelector"] == FLAVOUR
            assert job["spec"]["suspend"] is False
    assert "Traceback" not in operator.log()


async def test_an_evicted_job_is_preempted_and_goes_on_as_the_same_attempt(
    ground: Playground, kueue: Kueue, simulator: JobSimulator
) -> None:
    await ground.apply(small_spec(**QUEUED))
    ground.operator()
    job = await the_job(ground)
    await kueue.hold(job)
    await kueue.admit(job)
    pod = await the_pod(ground)
    await ground.run_pod(pod)
    await status_where(ground, lambda status: first(status)["state"] == "Running", "the stage runs")
    await kueue.evict(job)

    async def gone() -> bool:
        return not await ground.listed(PODS)

    await ground.until(gone, "the Job controller removes the pod")
    status = await status_where(ground, lambda status: first(status)["state"] == "Queued", "the stage is queued again")
    record = first(status)
    assert (record["reason"], record["message"]) == ("Preempted", PREEMPTED)
    assert (record["attempt"], record["failures"], record.get("attempts")) == (1, 0, None)
    await kueue.admit(job)
    replaced = await the_pod(ground)
    assert replaced["metadata"]["uid"] != pod["metadata"]["uid"]
    await ground.play(simulator)
    status = await status_where(ground, lambda status: first(status)["state"] == "Succeeded", "the stage succeeds")
    assert (first(status)["attempt"], first(status)["failures"]) == (1, 0)

    async def told() -> bool:
        events = {event["reason"]: event["type"] for event in await ground.listed(EVENTS) if event.get("involvedObject")}
        return events.get("Preempted") == "Normal"

    await ground.until(told, "the Event of the preemption")


async def test_suspending_a_queued_experiment_takes_its_job_out_of_the_queue(ground: Playground, kueue: Kueue) -> None:
    await ground.apply(small_spec(**QUEUED))
    ground.operator()
    job = await the_job(ground)
    await ground.cluster.patch(EXPERIMENTS, ground.namespace, NAME, {"spec": {"suspend": True}})
    await status_where(ground, lambda status: status["phase"] == "Suspended", "the experiment is suspended")
    assert await ground.cluster.get(JOBS, ground.namespace, job["metadata"]["name"]) is None
    await ground.cluster.patch(EXPERIMENTS, ground.namespace, NAME, {"spec": {"suspend": False}})
    second = await the_job(ground)
    assert second["metadata"]["annotations"][resource.ANNOTATION_ATTEMPT] == "2"
    assert second["spec"]["suspend"] is True


async def test_a_held_job_is_never_written_to(ground: Playground, kueue: Kueue) -> None:
    await ground.apply(small_spec(**QUEUED))
    ground.operator()
    job = await the_job(ground)
    await status_where(ground, lambda status: status.get("phase") == "Queued", "the experiment is queued")
    # An edit that concerns only other things must not reach the Job.
    await ground.cluster.patch(EXPERIMENTS, ground.namespace, NAME, {"spec": {"maxParallel": 2, "ttlSecondsAfterFinished": 60}})
    await status_where(ground, lambda status: status["observedGeneration"] == 2, "the operator has seen the edit")
    await asyncio.sleep(2)
    now = await ground.cluster.get(JOBS, ground.namespace, job["metadata"]["name"])
    assert now is not None
    managers = {entry["manager"]: entry.get("subresource", "") for entry in now["metadata"]["managedFields"]}
    assert now["metadata"]["generation"] == 1
    assert now["spec"] == job["spec"]
    assert set(managers.values()) <= {"", "status"}
