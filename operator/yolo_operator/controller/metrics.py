"""Prometheus metrics of the operator itself, and the registry that /metrics shows."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from yolo_operator.api import resource
from yolo_operator.api.status import Progress
from yolo_operator.controller import families
from yolo_operator.controller.cache import Cache, Key
from yolo_operator.controller.experiment_metrics import LIMIT, ExperimentCollector
from yolo_operator.controller.places import Places
from yolo_operator.controller.queue import WorkQueue
from yolo_operator.pipeline.limits import EXPERIMENTS, GPUS

QUEUE = "experiments"
"""The work queue's name in its metrics."""


class OperatorMetrics:
    """What the operator counts about itself."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = families.REQUESTS.instrument(registry)
        self.reconciles = families.RECONCILES.instrument(registry)
        self.reconcile_errors = families.RECONCILE_ERRORS.instrument(registry)
        self.watch_events = families.WATCH_EVENTS.instrument(registry)
        self.watch_restarts = families.WATCH_RESTARTS.instrument(registry)
        self.last_event = families.LAST_EVENT.instrument(registry)
        self.last_resync = families.LAST_RESYNC.instrument(registry)
        self.leader = families.LEADER.instrument(registry)
        self.ghosts = families.GHOSTS.instrument(registry)
        self.progress_interval = families.PROGRESS_INTERVAL.instrument(registry)
        self.queue_waited = families.QUEUE_WAITED.instrument(registry).labels(QUEUE)
        self.queue_worked = families.QUEUE_WORKED.instrument(registry).labels(QUEUE)
        for kind in ("experiment", "job", "pod"):
            # A series that starts at 0 lets a query see the first restart.
            self.watch_restarts.labels(kind)
        for plural in (resource.PLURAL, "jobs", "pods"):
            self.ghosts.labels(plural)
        for reason in ("conflict", "api-error", "name-taken", "bug"):
            self.reconcile_errors.labels(reason)

    def request(self, verb: str, resource: str, code: int) -> None:
        """Count a request; code 0 is one that got no answer."""
        self.requests.labels(verb, resource, str(code)).inc()

    def reconciled(self, result: str, seconds: float) -> None:
        """Count a look at an experiment; any result but `ok` is an error's reason."""
        self.reconciles.labels(result).observe(seconds)
        if result != "ok":
            self.reconcile_errors.labels(result).inc()


class LimitsCollector(Collector):
    """What the operator's limits allow, what is used of it, and who waits; by namespace, and the same of all together."""

    def __init__(self, places: Places) -> None:
        self._places = places

    def collect(self) -> Iterator[Metric]:
        """All families; a namespace appears once something of it ran or waited, or when it has limits of its own."""
        rules, usage, waiting = self._places.rules, self._places.usage(), self._places.waiting()
        limits, used, waits = families.LIMIT.snapshot(), families.LIMIT_USED.snapshot(), families.LIMIT_WAITING.snapshot()
        total: Tally[str] = Tally()
        for namespace in sorted({*usage, *waiting, *rules.limits.namespaces}):
            total.update(usage.get(namespace, {}))
            _bounds(limits, used, namespace, rules.of(namespace), usage.get(namespace, {}))
            waits.add_metric([namespace], waiting.get(namespace, 0))
        _bounds(limits, used, "", rules.cluster, total)
        yield from (limits, used, waits)


def _bounds(limits: Any, used: Any, namespace: str, bounds: Mapping[str, int], use: Mapping[str, int]) -> None:
    for name in sorted({*bounds, EXPERIMENTS, GPUS}):
        if name in bounds:
            limits.add_metric([namespace, name], bounds[name])
        used.add_metric([namespace, name], use.get(name, 0))


class StateCollector(Collector):
    """Experiments, stages and the work queue as they are now. Options are those of `ExperimentCollector`."""

    def __init__(
        self,
        cache: Cache,
        queue: WorkQueue[Key],
        progress: Mapping[str, Progress],
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        classes: bool = True,
        limit: int = LIMIT,
    ) -> None:
        self._cache, self._queue = cache, queue
        self._experiments = ExperimentCollector(cache, progress, clock=clock, classes=classes, limit=limit)

    def collect(self) -> Iterator[Metric]:
        """All families."""
        yield from self._experiments.collect()
        queue = self._queue
        numbers: dict[families.Family, Any] = {
            families.QUEUE_DEPTH: queue.depth,
            families.QUEUE_OLDEST: queue.oldest_seconds(),
            families.QUEUE_UNFINISHED: queue.unfinished_seconds(),
            families.QUEUE_LONGEST: queue.longest_seconds(),
            families.QUEUE_ADDS: queue.stats.adds,
            families.QUEUE_RETRIES: queue.stats.retries,
        }
        for family, value in numbers.items():
            metric = family.snapshot()
            metric.add_metric([QUEUE], value)
            yield metric
        kinds = families.CACHE_OBJECTS.snapshot()
        for kind, table in (("experiment", self._cache.experiments), ("job", self._cache.jobs), ("pod", self._cache.pods)):
            kinds.add_metric([kind], len(table))
        yield kinds
