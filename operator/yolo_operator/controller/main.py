"""`yolo-operator`: the process. Everything is put together here and nothing is decided."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from datetime import UTC, datetime
from typing import Any

import kopf
from prometheus_client import CollectorRegistry, ProcessCollector

from yolo_operator import __version__
from yolo_operator.controller import server, watch
from yolo_operator.controller.cache import Cache, Key
from yolo_operator.controller.checks import NotReady, check_cluster
from yolo_operator.controller.metrics import OperatorMetrics, StateCollector
from yolo_operator.controller.progress import ProgressReader
from yolo_operator.controller.queue import WorkQueue
from yolo_operator.controller.reconcile import Reconciler
from yolo_operator.controller.recorder import Recorder
from yolo_operator.controller.settings import Settings, SettingsError
from yolo_operator.controller.sync import Synchroniser
from yolo_operator.controller.worker import work
from yolo_operator.kube.client import KubernetesCluster, configuration
from yolo_operator.kube.errors import ApiError
from yolo_operator.kube.runner_map import runner_manifest, runner_source

STUCK_SECONDS = 300
"""A key older than this says that the queue does not move."""
CATCH_UP_SECONDS = 10
"""What reconciles in flight get to finish at shutdown."""

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


async def run(settings: Settings) -> None:
    """Serve until a signal comes.

    Raises:
        NotReady: when the cluster is not prepared.
        ApiError: when the API server cannot be reached at start.
    """
    metrics_registry = CollectorRegistry()
    metrics = OperatorMetrics(metrics_registry)
    ProcessCollector(registry=metrics_registry)
    config = await configuration()
    cluster = KubernetesCluster(config, user_agent=f"yolo-operator/{__version__}", observer=metrics.request)
    try:
        await check_cluster(cluster, settings.namespaces)
        cache = Cache()
        queue = WorkQueue[Key](waited=metrics.queue_waited, worked=metrics.queue_worked)
        recorder = Recorder(cluster, _now)
        runner = runner_manifest(runner_source())
        reconciler = Reconciler(cluster, cache, recorder, _now, settings.image, runner)
        metrics_registry.register(
            StateCollector(
                cache, queue, reconciler.progress, classes=settings.metrics_classes, limit=settings.metrics_experiments
            )
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
        web = await server.serve(
            server.application(
                metrics_registry, health=lambda: _health(queue, synchroniser, settings), ready=lambda: _ready(synchroniser)
            ),
            settings.host,
            settings.port,
        )
        await synchroniser.once()
        logger.info("cache filled: %d experiments, %d jobs", len(cache.experiments), len(cache.jobs))
        background = [recorder.run(), synchroniser.run(settings.resync_seconds), reader.run(time.monotonic)]
        workers = [work(queue, reconciler, metrics) for _ in range(settings.workers)]
        async with _running(background), _running(workers) as tasks:
            await kopf.operator(
                registry=watch.registry(cache, queue, metrics, config, by_namespace=bool(settings.namespaces)),
                settings=watch.operator_settings(),
                clusterwide=not settings.namespaces,
                namespaces=settings.namespaces,
            )
            logger.info("shutting down")
            queue.close()
            await asyncio.wait(tasks, timeout=CATCH_UP_SECONDS)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(recorder.drain(), CATCH_UP_SECONDS / 2)
        await web.cleanup()
    finally:
        await cluster.close()


@contextlib.asynccontextmanager
async def _running(coroutines: list[Coroutine[Any, Any, None]]) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Tasks beside the body. One that ends with an error ends the process: a half-working operator helps nobody."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    body = asyncio.current_task()

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None and body is not None:
            logger.critical("a background task failed", exc_info=task.exception())
            body.cancel()

    for task in tasks:
        task.add_done_callback(ended)
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _now() -> datetime:
    return datetime.now(UTC)


def _health(queue: WorkQueue[Key], synchroniser: Synchroniser, settings: Settings) -> str | None:
    if queue.busy and queue.oldest_seconds() > STUCK_SECONDS:
        return f"the work queue has not moved for {queue.oldest_seconds():.0f} s"
    # Watches may be silent for hours; the periodic list is what proves that the API server is heard.
    if synchroniser.last is not None and time.monotonic() - synchroniser.last > 4 * settings.resync_seconds:
        return f"no complete list of objects for {time.monotonic() - synchroniser.last:.0f} s"
    return None


def _ready(synchroniser: Synchroniser) -> str | None:
    return None if synchroniser.last is not None else "the cache is being filled"


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
        asyncio.run(run(settings))
    except (SettingsError, NotReady) as error:
        sys.exit(f"yolo-operator: {error}")
    except ApiError as error:
        sys.exit(f"yolo-operator: the API server did not answer as expected: {error}")


if __name__ == "__main__":
    main()
