"""A thousand trainings at once, each telling its progress: what does it cost to watch them, how old is what the status says?"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from yolo_operator.controller.families import CACHE_OBJECTS, LAST_RESYNC, PROGRESS_INTERVAL
from yolo_operator.controller.settings import Settings
from yolo_operator.kube.client import KubernetesCluster
from yolo_operator.kube.cluster import EXPERIMENTS

from yolobench import audit, kubelet, workload
from yolobench.contenders import SCRAPE_SECONDS, Operator, client, install_crd, sampled
from yolobench.plane import Plane, Sampler

TRAIN_SECONDS = 1500.0
"""How long a training takes: between two looks at each of a thousand it comes far enough for a write of the status."""
WINDOW = 180.0
LOOKS = 3
"""At the progress in all statuses within the window."""
POLL_SECONDS = 5
SETTLE_SECONDS = 120.0
"""At most, for the finished Jobs of the stages before to be let go."""
RESYNC_SECONDS = 60
"""A resync takes no longer."""
AGENTS = ("yolo-operator", "kopf")
"""How the operator's user agents begin: the client's, and that of kopf's watches."""
BUDGET = Settings(image="").progress_requests_per_second
STATUS = f"{EXPERIMENTS.plural}/status"
_JOBS = rf'{CACHE_OBJECTS.name}\{{kind="job"\}}'
_LOGS, _WRITES = "get pods/log", f"patch {STATUS}"


async def measure(plane: Plane, experiments: int, out: Path, *, window: float = WINDOW) -> dict[str, Any]:
    """Watch the operator for `window` seconds while so many experiments train; the trainings are never waited for.

    Returns:
        cpuShare (of one core), rssMiB at the start, at the end and at most, rates (requests a second by verb and resource),
        lists outside a resync, statusWritesPerSecond, logsPerSecond, othersPerSecond, progressAgeP50, progressAgeMax (seconds),
        finishedJobs that are not let go at the end, and more.
    """
    await install_crd(plane)
    async with client(plane) as cluster:
        await workload.prepare(cluster)
        with kubelet.serving(plane, TRAIN_SECONDS, out / "logs.log") as trainings:
            operator = Operator(plane, out / "operator-running.log")
            try:
                await operator.ready()
                whole = Sampler({"controller": operator.process.pid})
                names = [f"running-{number:05d}" for number in range(experiments)]
                await workload.submit(cluster, [workload.body(name, workload.chain_spec(name)) for name in names])
                await _all_train(plane, operator, whole, experiments)
                sampler = Sampler({"controller": operator.process.pid, "apiserver": plane.pid("kube-apiserver")})
                began = time.time()
                ages, silent = await _watch(cluster, operator, sampler, trainings, window)
                ended = time.time()
                resync, jobs = operator.value(LAST_RESYNC.name), operator.value(_JOBS)
            finally:
                operator.stop()
    return {
        **_of_log(plane.audit_log, began, ended, resync),
        **_used(sampler),
        "experiments": experiments,
        "rampSeconds": whole.samples["controller"][-1][0],
        "progressAgeP50": audit.quantile(sorted(ages), 0.5),
        "progressAgeMax": max(ages, default=float("nan")),
        "withoutProgress": silent,
        "finishedJobs": round(jobs) - experiments,
        "queueOldestSeconds": operator.queue_oldest,
        "trainedSeconds": TRAIN_SECONDS - trainings.left(ended),
        "ramp": whole.samples["controller"],
    }


async def _all_train(plane: Plane, operator: Operator, sampler: Sampler, experiments: int) -> None:
    """Until all train and the operator has begun to look at every one in turn; then a while for finished Jobs to be let go."""

    def training() -> int:
        chosen = ("-l", "yolo-operator.dev/stage=train", "--field-selector", "status.phase=Running", "--no-headers")
        return len(plane.kubectl("get", "pods", "-n", workload.NAMESPACE, *chosen).splitlines())

    def in_turn() -> bool:
        return operator.value(PROGRESS_INTERVAL.name) >= 0.999 * experiments / BUDGET

    await sampled(sampler, lambda: training() >= experiments, every=POLL_SECONDS)
    await sampled(sampler, in_turn, every=POLL_SECONDS)
    with suppress(TimeoutError):
        await sampled(sampler, lambda: operator.value(_JOBS) <= experiments, every=POLL_SECONDS, patience=SETTLE_SECONDS)


async def _watch(
    cluster: KubernetesCluster, operator: Operator, sampler: Sampler, trainings: kubelet.Trainings, window: float
) -> tuple[list[float], int]:
    """Pass the window; give the ages of the progress in all statuses, at each look, and how many have none at the end."""
    ages: list[float] = []
    silent = 0
    for _ in range(LOOKS):
        await _pass(sampler, operator, window / LOOKS)
        silent = 0
        async for page in cluster.pages(EXPERIMENTS, workload.NAMESPACE):
            left = trainings.left(time.time())
            told = [eta(one) for one in page.items]
            silent += told.count(None)
            ages += [seconds - left for seconds in told if seconds is not None]
    sampler.look()
    return ages, silent


async def _pass(sampler: Sampler, operator: Operator, seconds: float) -> None:
    """Sample every second, and scrape as Prometheus would."""
    began = time.monotonic()
    scrapes = 0
    while (passed := time.monotonic() - began) < seconds:
        sampler.look()
        if passed >= scrapes * SCRAPE_SECONDS:
            scrapes += 1
            await asyncio.to_thread(operator.metrics)
        await asyncio.sleep(1)


def eta(experiment: dict[str, Any]) -> float | None:
    """Seconds that the training still needs by the experiment's status; None: it has no progress."""
    for stage in experiment.get("status", {}).get("stages") or ():
        if stage["name"] == "train":
            found: float | None = (stage.get("progress") or {}).get("etaSeconds")
            return found
    return None


def _of_log(log: Path, began: float, ended: float, resync: float) -> dict[str, Any]:
    """What the audit log tells of the window."""
    ours = [
        request
        for request in audit.requests(log, since=began - RESYNC_SECONDS)
        if request.agent.startswith(AGENTS) and request.complete and began <= request.answered <= ended
    ]
    rates = per_second(ours, ended - began)
    return {
        "seconds": ended - began,
        "rates": rates,
        "statusWritesPerSecond": rates.get(_WRITES, 0.0),
        "logsPerSecond": rates.get(_LOGS, 0.0),
        "othersPerSecond": sum(rate for name, rate in rates.items() if name not in (_LOGS, _WRITES)),
        "logsBudget": BUDGET,
        "resyncs": int(began <= resync <= ended),
        "lists": len(lists_outside(ours, resync)),
        "refused": dict(Counter(f"{one.verb} {one.resource} {one.code}" for one in ours if not one.good and one.verb != "watch")),
        "statusGapMax": longest_gap(ours, STATUS),
    }


def per_second(requests: Iterable[audit.Request], seconds: float) -> dict[str, float]:
    """Requests a second by verb and resource, the most frequent first."""
    numbers = Counter(f"{request.verb} {request.resource}" for request in requests)
    return {name: number / seconds for name, number in numbers.most_common()}


def lists_outside(requests: Iterable[audit.Request], resync: float) -> list[audit.Request]:
    """The lists that are none of the resync that ended then."""
    return [one for one in requests if one.verb == "list" and not resync - RESYNC_SECONDS <= one.came <= resync]


def longest_gap(requests: Iterable[audit.Request], resource: str) -> float:
    """The longest time between two writes of one object in a row; nan when none was written twice."""
    before: dict[str, float] = {}
    gaps: list[float] = []
    for one in sorted(requests, key=lambda request: request.answered):
        if one.resource == resource and one.verb in audit.WRITES and one.good:
            if one.name in before:
                gaps.append(one.answered - before[one.name])
            before[one.name] = one.answered
    return max(gaps, default=float("nan"))


def _used(sampler: Sampler) -> dict[str, Any]:
    """CPU and memory within the window."""
    samples = sampler.samples["controller"]
    seconds = samples[-1][0] - samples[0][0]
    return {
        "cpuShare": (samples[-1][1] - samples[0][1]) / seconds,
        "apiCpuShare": sampler.cpu("apiserver") / seconds,
        "rssFirstMiB": samples[0][2],
        "rssLastMiB": samples[-1][2],
        "rssMiB": sampler.peak("controller"),
        "samples": sampler.samples,
    }
