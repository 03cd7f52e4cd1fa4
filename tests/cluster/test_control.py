"""`kubectl yolo` commands that change an experiment, against the real API server: what they write is what the operator reads."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from job_simulator import JobSimulator, report_of
from playground import Playground
from yolo_operator.api import resource
from yolo_operator.kube.cluster import JOBS, PODS, Object

from examples import NAME, small_spec

Say = Callable[..., str]


@pytest.fixture
def say(ground: Playground) -> Say:
    """The real program."""

    def run(*arguments: str, code: int = 0) -> str:
        command = [Path(sys.executable).parent / "kubectl-yolo", *arguments]
        where = ["-n", ground.namespace, "--kubeconfig", str(ground.kubeconfig)]
        done = subprocess.run([*command, *where], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    return run


async def status_where(ground: Playground, holds: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        status = (await ground.experiment() or {}).get("status") or {}
        return status if status and holds(status) else None

    return dict(await ground.until(look, what))


async def a_job(ground: Playground) -> Object:
    async def there() -> list[Object]:
        return await ground.jobs()

    return dict((await ground.until(there, "a Job is made"))[-1])


async def test_suspend_and_resume(ground: Playground, say: Say) -> None:
    await ground.apply(small_spec())
    ground.operator()
    await a_job(ground)
    await status_where(ground, lambda status: status["stages"][0]["state"] == "Starting", "prepare starts")
    assert "prepare is being stopped" in say("suspend", NAME)
    await status_where(ground, lambda status: status["phase"] == "Suspended", "the experiment is suspended")
    assert await ground.jobs() == []
    say("resume", NAME)
    assert (await a_job(ground))["metadata"]["annotations"][resource.ANNOTATION_ATTEMPT] == "2"


async def test_retry_after_a_users_mistake(ground: Playground, say: Say) -> None:
    await ground.apply(small_spec())
    ground.operator()

    async def waiting() -> list[Object]:
        return await ground.listed(PODS)

    (pod,) = await ground.until(waiting, "prepare's pod")
    instructions = json.loads(pod["metadata"]["annotations"][resource.ANNOTATION_INSTRUCTIONS])
    report = report_of(instructions, "Failed", "EmptyLabelFile", "user", "train/labels/a.txt is empty")
    await ground.end_pod(pod, 10, json.dumps(report))
    await status_where(ground, lambda status: status["phase"] == "Failed", "the experiment fails")
    assert "prepare of" in say("retry", NAME)

    async def second() -> bool:
        return len(await ground.jobs()) == 2

    await ground.until(second, "the second attempt")


async def test_a_job_goes_after_its_report_is_recorded(ground: Playground, simulator: JobSimulator) -> None:
    await ground.apply(small_spec(ttlSecondsAfterFinished=1))
    ground.operator()

    async def ended() -> bool:
        await ground.play(simulator)
        status = (await ground.experiment() or {}).get("status") or {}
        return status.get("phase") == "Succeeded"

    await ground.until(ended, "the experiment ends")

    async def gone() -> bool:
        return not await ground.jobs() and not await ground.pods()

    await ground.until(gone, "Kubernetes removes the Jobs")
    status = (await ground.experiment() or {})["status"]
    assert status["phase"] == "Succeeded"
    assert all(record["attempt"] == 1 and record["state"] == "Succeeded" for record in status["stages"])


async def test_no_job_goes_before(ground: Playground, simulator: JobSimulator) -> None:
    """The operator is away while a Job ends: it stays, with its report, however long that takes."""
    await ground.apply(small_spec(ttlSecondsAfterFinished=0))
    operator = ground.operator()
    name = (await a_job(ground))["metadata"]["name"]
    operator.kill()

    async def there() -> list[Object]:
        return await ground.listed(PODS)

    await ground.until(there, "prepare's pod")
    await ground.play(simulator)

    async def finished() -> bool:
        job = await ground.cluster.get(JOBS, ground.namespace, name)
        assert job is not None
        return bool([c for c in job["status"].get("conditions") or () if c["type"] == "Complete"])

    await ground.until(finished, "the Job is complete")
    job = await ground.cluster.get(JOBS, ground.namespace, name)
    assert job is not None
    assert "ttlSecondsAfterFinished" not in job["spec"]
    ground.operator()
    await status_where(ground, lambda status: status["stages"][0]["state"] == "Succeeded", "the report is read")

    async def gone() -> bool:
        return await ground.cluster.get(JOBS, ground.namespace, name) is None

    await ground.until(gone, "then the Job goes")


async def test_rerun_makes_the_stage_and_what_reads_it_anew(ground: Playground, say: Say, simulator: JobSimulator) -> None:
    await ground.apply(small_spec())
    ground.operator()

    async def ended() -> dict[str, Any] | None:
        await ground.play(simulator)
        status = (await ground.experiment() or {}).get("status") or {}
        return status if status.get("phase") == "Succeeded" else None

    before = {record["name"]: record for record in (await ground.until(ended, "the experiment ends"))["stages"]}
    say("rerun", NAME, "--from", "train")

    async def ran() -> dict[str, Any] | None:
        status = await ended()
        digests = {record["name"]: record["digest"] for record in (status or {}).get("stages") or ()}
        return status if digests and digests["train"] != before["train"]["digest"] else None

    after = {record["name"]: record for record in (await ground.until(ran, "the training ran again"))["stages"]}
    assert len(await ground.jobs()) == len(before) + 2
    for name in ("prepare", "anchors"):
        assert after[name]["finishTime"] == before[name]["finishTime"]
    assert after["evaluate"]["digest"] != before["evaluate"]["digest"]


async def test_cancel_ends_it_and_resume_takes_that_back(ground: Playground, say: Say, simulator: JobSimulator) -> None:
    await ground.apply(small_spec())
    ground.operator()
    await a_job(ground)
    say("cancel", NAME)
    status = await status_where(ground, lambda status: status["phase"] == "Failed", "the experiment is cancelled")
    (failed,) = [condition for condition in status["conditions"] if condition["type"] == "Failed"]
    assert failed["reason"] == "Cancelled"

    async def gone() -> bool:
        return not [job for job in await ground.jobs() if not job["status"].get("completionTime")]

    await ground.until(gone, "nothing runs")
    say("resume", NAME)

    async def ended() -> bool:
        await ground.play(simulator)
        return ((await ground.experiment() or {}).get("status") or {}).get("phase") == "Succeeded"

    await ground.until(ended, "the experiment goes on to its end")
