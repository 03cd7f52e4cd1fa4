"""`yolo-operator`: the process. Everything is put together here and nothing is decided."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import logging
import signal
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import kopf
import uvloop
from kubernetes.aio.client import Configuration
from prometheus_client import CollectorRegistry, ProcessCollector

from yolo_operator import __version__
from yolo_operator.controller import kopf_watch, server, tidier, watch
from yolo_operator.controller.cache import Cache, Key
from yolo_operator.controller.checks import NotReady, check_cluster
from yolo_operator.controller.lease import Elector, Fenced, LeaseLost
from yolo_operator.controller.leisure import Leisure, Pace
from yolo_operator.controller.metrics import LimitsCollector, OperatorMetrics, StateCollector
from yolo_operator.controller.patience import Patient, patiently
from yolo_operator.controller.places import Places
from yolo_operator.controller.progress import ProgressReader
from yolo_operator.controller.queue import CALM_SECONDS, WorkQueue
from yolo_operator.controller.reconcile import Reconciler
from yolo_operator.controller.recorder import Recorder
from yolo_operator.controller.settings import Settings, SettingsError
from yolo_operator.controller.sync import Synchroniser
from yolo_operator.controller.worker import work
from yolo_operator.kube.client import KubernetesCluster, configuration
from yolo_operator.kube.cluster import Cluster
from yolo_operator.kube.errors import ApiError
from yolo_operator.kube.runner_map import runner_files, runner_manifest

STUCK_SECONDS = 300
"""A key that is worked on for longer, or so long a time without any that is done, says that the queue does not move."""
CATCH_UP_SECONDS = 10
"""What reconciles in flight get to finish at shutdown."""
GARBAGE = 50_000
"""Objects more than at the last collection, a few MiB, that start the next: Python's own 2,000 cost a tenth of the CPU."""

logger = logging.getLogger("yolo_operator")


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {"time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"), "level": record.levelname, "logger": record.name}
        entry["message"] = record.getMessage()
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def configure_logging(settings: Settings) -> None:
    """Log lines to stderr; kopf's own per-object chatter only when something is wrong."""
    handler = logging.StreamHandler()
    plain = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else plain)
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)


@dataclass(slots=True)
class Operator:
    """The parts that work together for as long as the process may work."""

    settings: Settings
    metrics: OperatorMetrics
    config: Configuration
    cluster: Cluster
    cache: Cache
    queue: WorkQueue[Key]
    recorder: Recorder
    reconciler: Reconciler
    synchroniser: Synchroniser
    reader: ProgressReader

    async def serve(self, stop: asyncio.Event) -> None:
        """Fill the cache, then work until a signal comes."""
        self.metrics.leader.set(1)
        if not await _unless(stop, patiently(self.synchroniser.once, self.settings.start_seconds)):
            return
        logger.info("cache filled: %d experiments, %d jobs", len(self.cache.experiments), len(self.cache.jobs))
        # Modules and models live as long as the process: no collection need look at them again, which was a twentieth of the CPU.
        gc.collect()
        gc.freeze()
        gc.set_threshold(GARBAGE, 20, 20)
        settings = self.settings
        feed = watch.Feed(self.cache, self.queue, self.metrics)
        background = [
            self.recorder.run(),
            self.reconciler.tidier.run(),
            self.synchroniser.run(settings.resync_seconds),
            self.reader.run(time.monotonic),
            *watch.followers(self.cluster, self.synchroniser, feed, self.metrics),
        ]
        workers = [work(self.queue, self.reconciler, self.metrics) for _ in range(settings.workers)]
        async with _running(background), _running(workers) as tasks:
            # From here on kopf hears the signals; one that came before is in `stop`.
            kopf_watch.adapt(watch.experiments_list(self.synchroniser, self.metrics))
            await kopf.operator(
                registry=watch.registry(feed, self.config),
                settings=watch.operator_settings(),
                clusterwide=not settings.namespaces,
                namespaces=settings.namespaces,
                stop_flag=stop,
            )
            logger.info("shutting down")
            self.queue.close()
            await asyncio.wait(tasks, timeout=CATCH_UP_SECONDS)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.recorder.drain(), CATCH_UP_SECONDS / 2)

    def problem(self) -> str | None:
        """Why the process should be started anew, if it should."""
        if (seconds := self.queue.longest_seconds()) > STUCK_SECONDS:
            return f"an experiment has been worked on for {seconds:.0f} s"
        if (seconds := self.queue.still_seconds()) > STUCK_SECONDS:
            return f"the work queue has not moved for {seconds:.0f} s"
        # Watches may be silent for hours; the periodic list is what proves that the API server is heard.
        last = self.synchroniser.last
        if last is not None and time.monotonic() - last > 4 * self.settings.resync_seconds:
            return f"no complete list of objects for {time.monotonic() - last:.0f} s"
        return None


def assemble(
    settings: Settings,
    registry: CollectorRegistry,
    metrics: OperatorMetrics,
    config: Configuration,
    cluster: Cluster,
    pace: Pace | None = None,
) -> Operator:
    """Put the parts together; `pace` is the API server's."""
    cache, pace = Cache(), pace or Pace()
    queue = WorkQueue[Key](waited=metrics.queue_waited, worked=metrics.queue_worked, presses=lambda: pace.slow)
    leisure = Leisure(lambda: queue.pressed, calm=CALM_SECONDS)
    patient = Leisure(lambda: queue.pressed, calm=tidier.CALM_SECONDS)
    recorder, letting_go = Recorder(cluster, _now, leisure), tidier.Tidier(cluster, cache, patient)
    runner = runner_manifest(runner_files())
    reconciler = Reconciler(cluster, cache, recorder, letting_go, _now, settings.image, runner, reports=settings.reports)
    reconciler.pressed, reconciler.later = queue.presses, queue.add_idle
    if settings.limits is not None:
        reconciler.places = places = Places(cache, settings.limits, _now, queue.add)
        registry.register(LimitsCollector(places))
    registry.register(
        StateCollector(cache, queue, reconciler.progress, classes=settings.metrics_classes, limit=settings.metrics_experiments)
    )
    synchroniser = Synchroniser(
        cluster, cache, queue, metrics, namespaces=settings.namespaces, runner_name=runner["metadata"]["name"]
    )
    reader = ProgressReader(
        cluster,
        cache,
        queue,
        reconciler.progress,
        seconds=settings.progress_seconds,
        budget=settings.progress_requests_per_second,
        interval=metrics.progress_interval,
    )
    return Operator(settings, metrics, config, cluster, cache, queue, recorder, reconciler, synchroniser, reader)


async def run(settings: Settings) -> None:
    """Serve until a signal comes.

    Raises:
        NotReady: when the cluster is not prepared.
        ApiError: when the API server refuses what the start needs; or does not answer for too long.
        LeaseLost: when another replica may lead; this process must not go on.
    """
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    registry = CollectorRegistry()
    metrics = OperatorMetrics(registry)
    ProcessCollector(registry=registry)
    config = await configuration()
    pace = Pace()

    def observe(verb: str, resource: str, code: int, seconds: float) -> None:
        metrics.request(verb, resource, code)
        if verb in ("create", "patch"):
            pace.observe(seconds)

    cluster = KubernetesCluster(config, user_agent=f"yolo-operator/{__version__}", observer=observe)
    elector = None
    if settings.lease is not None:
        elector = Elector(cluster, settings.lease, monotonic=time.monotonic, wall=_now)
    fenced: Cluster = cluster if elector is None else Fenced(cluster, lambda: elector.leads)
    operator = assemble(settings, registry, metrics, config, fenced, pace)
    app = server.application(registry, health=operator.problem, ready=lambda: not_ready(operator, elector))
    try:
        web = await server.serve(app, settings.host, settings.port)
        if await _unless(stop, _prepared(cluster, settings)):
            await (operator.serve(stop) if elector is None else _lead(operator, elector, stop))
        await web.cleanup()
    finally:
        await cluster.close()


async def _prepared(cluster: Cluster, settings: Settings) -> None:
    lease = settings.lease
    await check_cluster(
        Patient(cluster, settings.start_seconds), settings.namespaces, (lease.namespace, lease.name) if lease else None
    )


async def _lead(operator: Operator, elector: Elector, stop: asyncio.Event) -> None:
    """Stand by, lead, give the lease back when nothing works any more."""
    operator.metrics.leader.set(0)
    if not await _unless(stop, elector.acquire()):
        return
    try:
        async with _running([elector.hold()]):
            await operator.serve(stop)
    finally:
        operator.metrics.leader.set(0)
        await elector.release()


def not_ready(operator: Operator, elector: Elector | None) -> str | None:
    """Why the replica is not ready: a leader has to have its caches full, a standby to be able to take over at any moment."""
    if elector is not None and not elector.leads:
        longest = elector.settings.seconds
        heard = elector.heard
        silent = heard is None or time.monotonic() - heard > longest
        return f"standing by, but the API server has not told of the lease for {longest} s" if silent else None
    return None if operator.synchroniser.last is not None else "the cache is being filled"


async def _unless(stop: asyncio.Event, coroutine: Coroutine[Any, Any, None]) -> bool:
    """Run it to its end unless the process is asked to stop before; whether it came to its end."""
    task, stopped = asyncio.create_task(coroutine), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([task, stopped], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            return False
        task.result()
        return True
    finally:
        for each in (task, stopped):
            each.cancel()
        await asyncio.gather(task, stopped, return_exceptions=True)


@contextlib.asynccontextmanager
async def _running(coroutines: list[Coroutine[Any, Any, None]]) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Tasks beside the body. One that ends with an error ends the body, with that error: a half-working operator helps nobody."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    body = asyncio.current_task()
    failures: list[BaseException] = []

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None and body is not None:
            if not failures:
                body.cancel()
            failures.append(error)

    for task in tasks:
        task.add_done_callback(ended)
    try:
        yield tasks
    except asyncio.CancelledError:
        if failures and body is not None:
            body.uncancel()
            raise failures[0] from None
        raise
    finally:
        for task in tasks:
            task.remove_done_callback(ended)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _now() -> datetime:
    return datetime.now(UTC)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="yolo-operator", description="Runs YoloExperiments on Kubernetes.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="serve the cluster (settings: YOLO_OPERATOR_* in the environment)")
    parser.parse_args()
    try:
        settings = Settings.from_environment()
        configure_logging(settings)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(settings))
    except (SettingsError, NotReady) as error:
        sys.exit(f"yolo-operator: {error}")
    except LeaseLost as error:
        sys.exit(f"yolo-operator: {error}; another replica goes on, and this one starts anew to stand by")
    except ApiError as error:
        sys.exit(f"yolo-operator: the API server did not answer as expected: {error}")


if __name__ == "__main__":
    main()
