"""What is measured side by side: the floor, our operator, Argo Workflows. Each gets a fresh control plane and the same chains."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubernetes.aio import client as kube_client
from kubernetes.aio import config as kube_config
from yolo_operator.controller.families import QUEUE_OLDEST
from yolo_operator.controller.sync import WATCHED_JOBS
from yolo_operator.kube.client import KubernetesCluster
from yolo_operator.kube.cluster import EXPERIMENTS, JOBS, Kind

from yolobench import argo, audit, image, workload
from yolobench.floor import CHAIN, like
from yolobench.plane import ROOT, Plane, Sampler

PATIENCE = 3600.0
CRD_SECONDS = 30
JOBS_FILE = "jobs.json"
SCRAPE_SECONDS = 30
"""Between looks at the operator's metrics, as in the chart's ServiceMonitor: a page with hundreds of experiments costs it CPU."""
_QUEUE_OLDEST = re.compile(rf"^{QUEUE_OLDEST.name}\{{[^}}]*\}} (\S+)$", re.MULTILINE)
EXPERIMENT_STATUS = "yoloexperiments/status"
WORKFLOWS = Kind("/apis/argoproj.io/v1alpha1", "workflows")


@dataclass
class Measured:
    """One contender under one load."""

    contender: str
    chains: int
    steps: int
    makespan: float
    """Seconds from the first create of the contender until the last chain is said to be at its end, in the status of its
    experiment or workflow. The floor has no such thing: there it is the end of the last Job."""
    cpu_seconds: float
    """Of the contender's process."""
    rss_mib: float
    api_cpu_seconds: float
    handover_p50: float
    handover_p99: float
    writes: int
    """The contender's mutating requests."""
    requests: dict[str, int] = field(default_factory=dict)
    samples: dict[str, list[tuple[float, float, float]]] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def units(self) -> int:
        """Steps in all."""
        return self.chains * self.steps

    @property
    def cpu_ms_per_step(self) -> float:
        """CPU of the contender for one step, milliseconds."""
        return 1000 * self.cpu_seconds / self.units


@asynccontextmanager
async def client(plane: Plane, connections: int = workload.AT_ONCE) -> AsyncIterator[KubernetesCluster]:
    """A client as the admin."""
    config = kube_client.Configuration()
    config.connection_pool_maxsize = connections
    await kube_config.load_kube_config(config_file=str(plane.kubeconfig), client_configuration=config, persist_config=False)
    cluster = KubernetesCluster(config, user_agent="yolo-bench")
    try:
        yield cluster
    finally:
        await cluster.close()


class Operator:
    """The operator's real process against a control plane."""

    def __init__(self, plane: Plane, log: Path, **environment: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        settings = {
            "YOLO_OPERATOR_IMAGE": "yolo-operator/operator:dev",
            "YOLO_OPERATOR_LISTEN": f"127.0.0.1:{self.port}",
            # A Job more for each experiment, which the peers do not have.
            "YOLO_OPERATOR_REPORTS": "false",
        }
        self._log = log
        image.root()
        self.queue_ages: list[tuple[float, float]] = []
        """(seconds since its start, age of the oldest key in its work queue) at each look at its metrics."""
        self.started = time.monotonic()
        self.process = image.start(plane.kubeconfig, log, {**settings, **environment})

    def metrics(self) -> str:
        """What it tells Prometheus; nothing while it does not listen yet."""
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            text: str = answer.read().decode()
            if found := _QUEUE_OLDEST.search(text):
                self.queue_ages.append((time.monotonic() - self.started, float(found[1])))
            return text
        return ""

    @property
    def queue_oldest(self) -> float:
        """The largest of those ages."""
        return max((age for _, age in self.queue_ages), default=0.0)

    def value(self, pattern: str) -> float:
        """The sum over all series that match; only to know when to look at the API server, never as a result."""
        return sum(float(found) for found in re.findall(rf"^{pattern} (\S+)$", self.metrics(), re.MULTILINE))

    def phases(self, *phases: str) -> int:
        """Experiments in one of these phases."""
        return int(self.value(rf'yolo_experiments\{{[^}}]*phase="(?:{"|".join(phases)})"[^}}]*\}}'))

    def ended(self) -> int:
        """Experiments at their end."""
        return self.phases("Succeeded", "Failed")

    async def ready(self) -> float:
        """Wait until it is ready; seconds since it was started."""
        while True:
            if self.process.poll() is not None:
                raise RuntimeError(f"the operator ended with {self.process.returncode}: see {self._log}")
            if await asyncio.to_thread(self._answers):
                return time.monotonic() - self.started
            await asyncio.sleep(0.1)

    def _answers(self) -> bool:
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5):
            return True
        return False

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()


async def sampled(sampler: Sampler, done: Callable[[], bool], *, every: float = 1.0, patience: float = PATIENCE) -> None:
    """Sample every second, or more often, until it is done, which is asked `every` so many seconds.

    Raises:
        TimeoutError: when that takes too long.
    """
    end = time.monotonic() + patience
    while not await asyncio.to_thread(done):
        if time.monotonic() > end:
            raise TimeoutError(f"not done after {patience:g} s")
        again = time.monotonic() + every
        while time.monotonic() < again:
            sampler.look()
            await asyncio.sleep(min(1.0, every))
    sampler.look()


async def install_crd(plane: Plane) -> None:
    """The CRD, and wait until it is served."""
    path = str(ROOT / "crds" / "yoloexperiments.yaml")
    plane.kubectl("apply", "--server-side", "-f", path)
    end = time.monotonic() + CRD_SECONDS
    while True:
        # Just after it was made it has no conditions yet, which `kubectl wait` takes for an error.
        try:
            plane.kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", path)
        except subprocess.CalledProcessError:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.5)
        else:
            return


async def ours(plane: Plane, chains: int, at_once: int, out: Path, spec: Callable[[str], Any] = workload.chain_spec) -> Measured:
    """Our operator."""
    await install_crd(plane)
    async with client(plane) as cluster:
        await workload.prepare(cluster)
        operator = Operator(plane, out / "operator.log")
        try:
            await operator.ready()
            sampler = Sampler({"controller": operator.process.pid, "apiserver": plane.pid("kube-apiserver")})
            names = [f"chain-{number:05d}" for number in range(chains)]
            bodies = [workload.body(name, spec(name)) for name in names]
            submitted = 0
            while submitted < chains:
                more = bodies[submitted : operator.ended() + at_once]
                await workload.submit(cluster, more)
                submitted += len(more)
                sampler.look()
                await asyncio.sleep(0 if submitted == chains else 2)
            await sampled(sampler, lambda: operator.ended() >= chains, every=SCRAPE_SECONDS)
            await let_go(cluster)
            sampler.look()
            jobs = [job async for page in cluster.pages(JOBS, workload.NAMESPACE) for job in page.items]
            phases = [e["status"]["phase"] async for page in cluster.pages(EXPERIMENTS, workload.NAMESPACE) for e in page.items]
            _keep_jobs(jobs, out / JOBS_FILE)
        finally:
            operator.stop()
    found = audit.read(plane.audit_log, agent="yolo-operator", unit="jobs", whole=EXPERIMENT_STATUS, namespace=workload.NAMESPACE)
    handovers = audit.handovers(found, workload.chains_of(jobs))
    steps = len(jobs) / chains
    notes = {"phases": sorted(set(phases)), "jobs": len(jobs), "queueOldestSeconds": operator.queue_oldest}
    return _measured("yolo-operator", chains, round(steps), found, handovers, sampler, **notes)


def _keep_jobs(jobs: list[dict[str, Any]], path: Path) -> None:
    """One chain's Jobs in the order of their stages, for the floor."""
    of_one = {
        job["metadata"]["labels"]["yolo-operator.dev/stage"]: like(job)
        for job in jobs
        if job["metadata"]["labels"]["yolo-operator.dev/experiment"] == CHAIN
    }
    path.write_text(json.dumps([of_one[stage] for stage in workload.CHAIN if stage in of_one]))


async def let_go(cluster: KubernetesCluster) -> None:
    """Until the last Job is relabelled, so that what the operator puts off is counted, too."""
    while True:
        async for page in cluster.pages(JOBS, workload.NAMESPACE, selector=WATCHED_JOBS, limit=1):
            if not page.items:
                # Events may be a moment behind.
                return await asyncio.sleep(3)
            break
        await asyncio.sleep(2)


async def floor(plane: Plane, chains: int, at_once: int, out: Path, *, bare: bool = False) -> Measured:
    """The script that only creates the next Job: the operator's Jobs, as its last run has left them, or bare ones.

    Raises:
        FileNotFoundError: when the operator has not run yet.
    """
    jobs = out / JOBS_FILE
    if not (bare or jobs.exists()):
        raise FileNotFoundError(f"{jobs}: let the operator (`ours`) run first, its Jobs are the floor's")
    async with client(plane) as cluster:
        await workload.prepare(cluster)
    steps = len(workload.CHAIN)
    words = [workload.NAMESPACE, str(chains), str(steps), str(at_once), *([] if bare else [str(jobs)])]
    with (out / "floor.log").open("w") as log:
        process = subprocess.Popen(  # noqa: ASYNC220 - starting is quick; it is waited for by polling
            [sys.executable, "-m", "yolobench.floor", *words],
            cwd=ROOT / "benchmarks",
            env={**os.environ, "KUBECONFIG": str(plane.kubeconfig)},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        sampler = Sampler({"controller": process.pid, "apiserver": plane.pid("kube-apiserver")})
        await sampled(sampler, lambda: process.poll() is not None, every=0.25)
    if process.returncode:
        raise RuntimeError(f"the floor ended with {process.returncode}: see {out / 'floor.log'}")
    found = audit.read(plane.audit_log, agent="yolo-floor", unit="jobs", namespace=workload.NAMESPACE)
    pairs = [(f"chain-{c:05d}-{s}", f"chain-{c:05d}-{s + 1}") for c in range(chains) for s in range(1, steps)]
    return _measured(
        "bare floor" if bare else "floor", chains, steps, found, audit.handovers(found, pairs), sampler, jobs=len(found.created)
    )


async def argo_workflows(plane: Plane, chains: int, at_once: int, out: Path, requeue: str = "") -> Measured:
    """Argo's workflow-controller with the same steps; `requeue` is its DEFAULT_REQUEUE_TIME."""
    async with client(plane) as cluster:
        await workload.prepare(cluster)
        argo.install(plane, workload.NAMESPACE)
        process = argo.start(plane, workload.NAMESPACE, out / f"argo{requeue}.log", requeue)
        try:
            sampler = Sampler({"controller": process.pid, "apiserver": plane.pid("kube-apiserver")})
            await asyncio.sleep(5)
            bodies = [argo.workflow(f"chain-{number:05d}", len(workload.CHAIN)) for number in range(chains)]
            await workload.submit(cluster, bodies[:at_once], kind=WORKFLOWS)
            submitted = min(at_once, chains)
            while True:
                ended = await asyncio.to_thread(argo.completed, plane, workload.NAMESPACE)
                sampler.look()
                if ended >= chains:
                    break
                if process.poll() is not None:
                    raise RuntimeError(f"the workflow-controller ended: see {out}")
                more = bodies[submitted : ended + at_once]
                await workload.submit(cluster, more, kind=WORKFLOWS)
                submitted += len(more)
                await asyncio.sleep(2)
            names = await asyncio.to_thread(argo.steps_by_workflow, plane, workload.NAMESPACE)
        finally:
            process.terminate()
            process.wait(30)
    found = audit.read(plane.audit_log, agent="workflow-controller", unit="pods", whole="workflows", namespace=workload.NAMESPACE)
    pairs = [pair for steps in names.values() for pair in itertools.pairwise(steps)]
    name = "argo-workflows" + (f" {requeue}" if requeue else "")
    return _measured(name, chains, len(workload.CHAIN), found, audit.handovers(found, pairs), sampler, pods=len(found.created))


def _measured(
    name: str, chains: int, steps: int, found: audit.Findings, handovers: list[float], sampler: Sampler, **notes: Any
) -> Measured:
    return Measured(
        contender=name,
        chains=chains,
        steps=steps,
        makespan=found.last - found.first,
        cpu_seconds=sampler.cpu("controller"),
        rss_mib=sampler.peak("controller"),
        api_cpu_seconds=sampler.cpu("apiserver"),
        handover_p50=audit.quantile(handovers, 0.5),
        handover_p99=audit.quantile(handovers, 0.99),
        writes=found.writes,
        requests={f"{verb} {resource}": number for (verb, resource), number in sorted(found.requests.items())},
        samples=sampler.samples,
        notes={**notes, "handovers": len(handovers)},
    )


def load_json(path: Path) -> Any:
    """A result of an earlier run, or nothing."""
    return json.loads(path.read_text()) if path.exists() else {}
