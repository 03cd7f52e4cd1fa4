"""Two replicas and one Lease, processes that die, pause and are told to end, and an API server that goes away."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import yaml
from aiohttp import ClientError, ClientSession
from faulty_line import FaultyLine
from job_simulator import JobSimulator, stage_of
from playground import OperatorProcess, Playground
from yolo_operator.kube.cluster import LEASES, Object

from examples import small_spec, whole_spec

LEASE = "yolo-operator"


def replica(ground: Playground, seconds: int = 6, **environment: str) -> OperatorProcess:
    """One more replica."""
    lease = {"YOLO_OPERATOR_LEASE": f"{ground.namespace}/{LEASE}", "YOLO_OPERATOR_LEASE_SECONDS": str(seconds)}
    return ground.operator(**(lease | environment))


async def answer(operator: OperatorProcess, path: str) -> tuple[int, str]:
    """What it serves there; 0 while it serves nothing."""
    async with ClientSession(f"http://127.0.0.1:{operator.port}") as client:
        try:
            response = await client.get(path)
            return response.status, await response.text()
        except ClientError:
            return 0, ""


async def leads(operator: OperatorProcess) -> bool:
    """Whether it leads, has filled its caches, and says so."""
    ready, metrics = await answer(operator, "/readyz"), await answer(operator, "/metrics")
    return ready[0] == 200 and "yolo_operator_leader 1.0" in metrics[1]


async def stands_by(operator: OperatorProcess) -> bool:
    """Whether it is ready and does not lead."""
    ready, metrics = await answer(operator, "/readyz"), await answer(operator, "/metrics")
    return ready[0] == 200 and "yolo_operator_leader 0.0" in metrics[1]


async def two(ground: Playground, seconds: int = 6) -> tuple[OperatorProcess, OperatorProcess]:
    """A leader and its standby."""
    leader = replica(ground, seconds)
    await ground.until(lambda: leads(leader), "the first replica leads")
    standby = replica(ground, seconds)
    await ground.until(lambda: stands_by(standby), "the second one stands by")
    return leader, standby


async def play(ground: Playground, simulator: JobSimulator, jobs: int = 0) -> Object:
    """Let pods run until so many Jobs were made; 0: until the experiment ends."""

    async def enough() -> Object | None:
        await ground.play(simulator)
        body = await ground.experiment() or {}
        if jobs:
            return body if len(await ground.jobs()) >= jobs else None
        return body if (body.get("status") or {}).get("phase") in ("Succeeded", "Failed") else None

    body: Object = await ground.until(enough, f"{jobs} jobs" if jobs else "the experiment ends")
    return body


async def once_each(ground: Playground, body: Object) -> None:
    """Every stage had one Job and one attempt."""
    status = body["status"]
    assert status["phase"] == "Succeeded"
    assert {record["attempt"] for record in status["stages"]} == {1}
    jobs = Counter(stage_of(job) for job in await ground.jobs())
    assert set(jobs.values()) == {1}
    assert len(jobs) == len(status["stages"])


async def lease_of(ground: Playground) -> Object:
    body = await ground.cluster.get(LEASES, ground.namespace, LEASE)
    assert body is not None
    return dict(body["spec"])


async def test_a_leader_that_dies_is_followed_and_nothing_runs_twice(ground: Playground, simulator: JobSimulator) -> None:
    leader, standby = await two(ground)
    await ground.apply(whole_spec())
    await play(ground, simulator, jobs=4)
    leader.kill()
    died = time.monotonic()
    await ground.until(lambda: leads(standby), "the standby leads")
    assert time.monotonic() - died < 20
    await once_each(ground, await play(ground, simulator))
    assert (await lease_of(ground))["leaseTransitions"] == 1


async def test_a_leader_that_is_told_to_end_hands_over_at_once(ground: Playground, simulator: JobSimulator) -> None:
    leader, standby = await two(ground, seconds=60)
    await ground.apply(small_spec())
    await play(ground, simulator, jobs=2)
    leader.process.terminate()
    assert await leader.ended() == 0
    assert "gave up the lease" in leader.log()
    assert "Traceback" not in leader.log()
    began = time.monotonic()
    await ground.until(lambda: leads(standby), "the standby leads")
    # A look each 10 s, where the lease would have lasted 60.
    assert time.monotonic() - began < 20
    await once_each(ground, await play(ground, simulator))


async def test_a_standby_ends_when_it_is_told_to(ground: Playground) -> None:
    leader, standby = await two(ground)
    standby.process.terminate()
    assert await standby.ended() == 0
    assert await leads(leader)


async def test_a_leader_that_slept_too_long_writes_nothing_more(ground: Playground, simulator: JobSimulator) -> None:
    leader, standby = await two(ground)
    await ground.apply(small_spec())
    await play(ground, simulator, jobs=1)
    leader.process.send_signal(signal.SIGSTOP)
    await ground.until(lambda: leads(standby), "the standby leads")
    said = len(leader.log())
    await play(ground, simulator, jobs=2)
    leader.process.send_signal(signal.SIGCONT)
    assert await leader.ended() != 0
    assert "another replica goes on" in leader.log()
    assert "runs as Job" not in leader.log()[said:]
    await once_each(ground, await play(ground, simulator))


# --- the API server ---


def through(ground: Playground, line: FaultyLine) -> str:
    """A kubeconfig whose server is the line's near end."""
    config = yaml.safe_load(ground.kubeconfig.read_text())
    for entry in config["clusters"]:
        entry["cluster"]["server"] = f"https://127.0.0.1:{line.port}"
    path: Path = ground.directory / "line-kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return str(path)


def line_to(ground: Playground) -> FaultyLine:
    """A line to the API server."""
    (cluster,) = yaml.safe_load(ground.kubeconfig.read_text())["clusters"]
    address = urlsplit(cluster["cluster"]["server"])
    assert address.hostname is not None
    return FaultyLine(address.hostname, address.port or 443)


async def test_an_outage_of_the_api_server_is_caught_up(ground: Playground, simulator: JobSimulator) -> None:
    async with line_to(ground) as line:
        operator = ground.operator(KUBECONFIG=through(ground, line))
        await ground.apply(small_spec())
        await play(ground, simulator, jobs=1)
        line.cut()
        # What happens meanwhile is seen afterwards.
        for _ in range(8):
            await ground.play(simulator)
            await asyncio.sleep(1)
        assert len(await ground.jobs()) == 1
        assert (await answer(operator, "/healthz"))[0] == 200
        line.mend()
        await once_each(ground, await play(ground, simulator))
        assert operator.process.poll() is None


async def test_a_leader_that_loses_the_api_server_stops_and_one_that_starts_into_the_outage_waits(
    ground: Playground, simulator: JobSimulator
) -> None:
    async with line_to(ground) as line:
        kubeconfig = through(ground, line)
        leader = replica(ground, KUBECONFIG=kubeconfig)
        await ground.until(lambda: leads(leader), "it leads")
        await ground.apply(small_spec())
        await play(ground, simulator, jobs=1)
        line.cut()
        assert await leader.ended() != 0
        assert "the lease could not be renewed" in leader.log()
        again = replica(ground, KUBECONFIG=kubeconfig)

        async def waits() -> bool:
            healthy, ready = await answer(again, "/healthz"), await answer(again, "/readyz")
            return (healthy[0], ready[0]) == (200, 503) and "does not answer" in again.log()

        await ground.until(waits, "the new process waits")
        line.mend()
        await ground.until(lambda: leads(again), "it leads")
        await once_each(ground, await play(ground, simulator))
