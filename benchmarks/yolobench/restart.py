"""A restart among thousands of finished experiments, and what new work costs beside them."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

from yolo_operator.kube.client import KubernetesCluster
from yolo_operator.kube.cluster import EXPERIMENTS, JOBS

from yolobench import audit, contenders, workload
from yolobench.contenders import Operator, client, install_crd, sampled
from yolobench.plane import Plane, Sampler, Usage

CHAINS = 50


async def measure(plane: Plane, present: int, out: Path) -> dict[str, Any]:
    """Fill the control plane with finished experiments, restart the operator, then run CHAINS new ones.

    Returns:
        restartSeconds (start of the process to the last experiment looked at), restartWrites, readyMiB (resident then), rssMiB
        (the largest, new work included), cpuMsPerStage of the new chains.
    """
    await install_crd(plane)
    async with client(plane) as cluster:
        await workload.prepare(cluster)
        await _fill(plane, cluster, present, out)
        started = time.time()
        operator = Operator(plane, out / f"operator-restart-{present}.log")
        try:
            await operator.ready()
            await _all_looked_at(operator, present)
            seconds = time.monotonic() - operator.started
            ready = Usage.of(operator.process.pid).rss_mib
            await asyncio.sleep(3)
            writes = audit.read(plane.audit_log, agent="yolo-operator", unit="jobs", since=started).writes
            sampler = Sampler({"controller": operator.process.pid})
            names = [f"new-{number:05d}" for number in range(CHAINS)]
            await workload.submit(cluster, [workload.body(name, workload.chain_spec(name)) for name in names])
            await sampled(
                sampler, lambda: operator.phases("Succeeded", "Failed") >= present + CHAINS, every=contenders.SCRAPE_SECONDS
            )
            await asyncio.sleep(2)
            sampler.look()
        finally:
            operator.stop()
    stages = CHAINS * len(workload.CHAIN)
    return {
        "restartSeconds": seconds,
        "restartWrites": writes,
        "readyMiB": ready,
        "rssMiB": sampler.peak("controller"),
        "cpuMsPerStage": 1000 * sampler.cpu("controller") / stages,
    }


async def _fill(plane: Plane, cluster: KubernetesCluster, present: int, out: Path) -> None:
    """One experiment really runs to its end; the others get its status, as if each had."""
    operator = Operator(plane, out / "operator-first.log")
    try:
        await operator.ready()
        await workload.submit(cluster, [workload.body("first", workload.chain_spec("first"))])
        await sampled(Sampler({}), lambda: operator.phases("Succeeded") >= 1, patience=120)
        await asyncio.sleep(3)
    finally:
        operator.stop()
    first = await cluster.get(EXPERIMENTS, workload.NAMESPACE, "first")
    if first is None:
        raise LookupError("the first experiment is gone")
    names = [f"old-{number:05d}" for number in range(present - 1)]
    await workload.submit(cluster, [workload.body(name, workload.chain_spec(name)) for name in names])
    text = json.dumps(first["status"])
    gate = asyncio.Semaphore(workload.AT_ONCE)

    async def finish(name: str) -> None:
        # Its own directory and Jobs, so that every record is one of this very experiment.
        status = json.loads(text.replace("first", name))
        async with gate:
            await cluster.patch(EXPERIMENTS, workload.NAMESPACE, name, {"status": status}, subresource="status")

    await asyncio.gather(*(finish(name) for name in names))
    async for page in cluster.pages(JOBS, workload.NAMESPACE):
        for job in page.items:
            await cluster.delete(JOBS, workload.NAMESPACE, job["metadata"]["name"])


async def _all_looked_at(operator: Operator, present: int) -> None:
    """Until every experiment has been reconciled once, by the operator's own count, and the queue is empty."""
    end = time.monotonic() + contenders.PATIENCE
    while time.monotonic() < end:
        seen = operator.value(r"yolo_operator_reconcile_duration_seconds_count\{[^}]*\}")
        if seen >= present and operator.value("workqueue_depth") == 0:
            return
        await asyncio.sleep(0.25)
    raise TimeoutError("the restarted operator has not looked at all experiments")
