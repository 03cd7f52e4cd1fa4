"""Hundreds of experiments submitted as fast as the API server takes them: how soon does each get its first Job?"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from yolo_operator.kube.client import KubernetesCluster
from yolo_operator.kube.cluster import EXPERIMENTS, JOBS

from yolobench import audit, workload
from yolobench.contenders import EXPERIMENT_STATUS, Operator, client, install_crd, let_go, sampled
from yolobench.plane import Plane, Sampler

CONNECTIONS = 128
"""Through which the experiments are submitted side by side."""
WHOLE_EVERY = 10
"""Of so many experiments one has all stages and four variants."""
LOOK_SECONDS = 5
"""Between looks at the age of the oldest key in the work queue."""


async def measure(plane: Plane, experiments: int, out: Path) -> dict[str, Any]:
    """Submit them all at once to an operator that has nothing else to do, and see them through.

    Most are chains of six stages. Some evaluations fail at first, if the plane's Stages let them.

    Returns:
        submissionSeconds (first create to the last one's answer), firstJobP50 and firstJobP99 (answer to an experiment's create
        to the create of its first Job), makespan (first create to the last one's end in its status), jobs and again (second
        attempts among them), cpuMsPerStep, rssMiB (the largest), writesPerStep, queueOldestSeconds (the largest), queueAges over
        time, and what else there is to know.
    """
    await install_crd(plane)
    async with client(plane, CONNECTIONS) as cluster:
        await workload.prepare(cluster)
        operator = Operator(plane, out / "operator-burst.log")
        try:
            await operator.ready()
            sampler = Sampler({"controller": operator.process.pid, "apiserver": plane.pid("kube-apiserver")})
            names = [f"burst-{number:05d}" for number in range(experiments)]
            whole = set(names[::WHOLE_EVERY])
            bodies = [
                workload.body(name, (workload.whole_spec if name in whole else workload.chain_spec)(name)) for name in names
            ]
            await asyncio.gather(
                workload.submit(cluster, bodies, at_once=CONNECTIONS),
                sampled(sampler, lambda: operator.ended() >= experiments, every=LOOK_SECONDS),
            )
            await let_go(cluster)
            sampler.look()
            jobs, phases = await _left(cluster)
        finally:
            operator.stop()
    return _found(plane.audit_log, jobs, sampler) | {
        "experiments": experiments,
        "phases": phases,
        "queueOldestSeconds": operator.queue_oldest,
        "queueAges": operator.queue_ages,
        "looks": len(operator.queue_ages),
        "samples": sampler.samples,
    }


async def _left(cluster: KubernetesCluster) -> tuple[list[dict[str, Any]], list[str]]:
    jobs = [job async for page in cluster.pages(JOBS, workload.NAMESPACE) for job in page.items]
    phases = {e["status"]["phase"] async for page in cluster.pages(EXPERIMENTS, workload.NAMESPACE) for e in page.items}
    return jobs, sorted(phases)


def _found(log: Path, jobs: list[dict[str, Any]], sampler: Sampler) -> dict[str, Any]:
    made = {
        request.name: request
        for request in audit.requests(log, namespace=workload.NAMESPACE)
        if (request.verb, request.resource) == ("create", EXPERIMENTS.plural) and request.good
    }
    found = audit.read(log, agent="yolo-operator", unit="jobs", whole=EXPERIMENT_STATUS, namespace=workload.NAMESPACE)
    began = min(request.came for request in made.values())
    waits = first_jobs({name: request.answered for name, request in made.items()}, found.created, firsts(jobs))
    handovers = audit.handovers(found, workload.chains_of(jobs))
    return {
        "jobs": len(jobs),
        "again": sum(job["metadata"]["annotations"]["yolo-operator.dev/attempt"] != "1" for job in jobs),
        "submissionSeconds": max(request.answered for request in made.values()) - began,
        "firstJobs": len(waits),
        "firstJobP50": audit.quantile(waits, 0.5),
        "firstJobP99": audit.quantile(waits, 0.99),
        "makespan": found.last - began,
        "handoverP50": audit.quantile(handovers, 0.5),
        "handoverP99": audit.quantile(handovers, 0.99),
        "cpuMsPerStep": 1000 * sampler.cpu("controller") / len(jobs),
        "rssMiB": sampler.peak("controller"),
        "writesPerStep": found.writes / len(jobs),
        "requests": {f"{verb} {resource}": number for (verb, resource), number in sorted(found.requests.items())},
    }


def firsts(jobs: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Experiment -> its Job of the first stage."""
    found = {}
    for job in jobs:
        labels = job["metadata"]["labels"]
        if labels["yolo-operator.dev/stage"] == workload.CHAIN[0]:
            found[labels["yolo-operator.dev/experiment"]] = job["metadata"]["name"]
    return found


def first_jobs(made: Mapping[str, float], created: Mapping[str, float], first: Mapping[str, str]) -> list[float]:
    """Seconds from when each experiment was there to when its first Job was asked for, sorted.

    Args:
        made: experiment -> when its create was answered.
        created: Job -> when its create came.
        first: experiment -> its first Job.
    """
    return sorted(created[job] - made[name] for name, job in first.items() if name in made and job in created)
