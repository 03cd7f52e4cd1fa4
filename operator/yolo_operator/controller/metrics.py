"""Prometheus metrics: of experiments, read from the cache at each scrape (deleted ones leave no series), and of the operator."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from yolo_operator.api.status import Phase, Progress, StageState, StageStatus
from yolo_operator.controller.cache import Cache, Key
from yolo_operator.controller.queue import WorkQueue
from yolo_operator.pipeline import times

_STAGE = ["namespace", "experiment", "stage", "variant"]


class OperatorMetrics:
    """What the operator counts about itself."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "yolo_operator_kube_requests", "Requests to the API server", ["verb", "resource", "code"], registry=registry
        )
        self.reconciles = Histogram(
            "yolo_operator_reconcile_duration_seconds",
            "Time of one look at an experiment",
            ["result"],
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
            registry=registry,
        )
        self.watch_events = Counter("yolo_operator_watch_events", "Events of the watches", ["kind", "type"], registry=registry)
        self.last_event = Gauge(
            "yolo_operator_watch_last_event_timestamp_seconds", "When a watch last told something", ["kind"], registry=registry
        )
        self.last_resync = Gauge(
            "yolo_operator_last_resync_timestamp_seconds", "When all objects were last listed and compared", registry=registry
        )
        self.ghosts = Counter("yolo_operator_resync_ghosts", "Objects that were gone without a word", ["kind"], registry=registry)

    def request(self, verb: str, resource: str, code: int) -> None:
        """Count a request; code 0 is one that got no answer."""
        self.requests.labels(verb, resource, str(code)).inc()


class StateCollector(Collector):
    """Experiments, stages and the work queue as they are now."""

    def __init__(self, cache: Cache, queue: WorkQueue[Key], progress: dict[str, Progress]) -> None:
        self._cache, self._queue, self._progress = cache, queue, progress

    def collect(self) -> Iterator[Metric]:
        """All families."""
        yield from self._experiments()
        yield from self._stages()
        yield from self._operator()

    def _experiments(self) -> Iterator[Metric]:
        phases: Tally[tuple[str, str]] = Tally()
        info = GaugeMetricFamily(
            "yolo_experiment_phase", "1 for the experiment's phase", labels=["namespace", "experiment", "phase"]
        )
        for row in self._cache.experiments:
            phase = str(row.status.get("phase") or Phase.PENDING.value)
            phases[row.key.namespace, phase] += 1
            info.add_metric([row.key.namespace, row.key.name, phase], 1)
        count = GaugeMetricFamily("yolo_experiments", "Experiments by phase", labels=["namespace", "phase"])
        for (namespace, phase), number in sorted(phases.items()):
            count.add_metric([namespace, phase], number)
        yield count
        yield info

    def _stages(self) -> Iterator[Metric]:
        families = {
            "state": GaugeMetricFamily("yolo_stage_state", "1 for the stage's state", labels=[*_STAGE, "state"]),
            "epoch": GaugeMetricFamily("yolo_stage_epoch", "Epoch of the training", labels=_STAGE),
            "epochs": GaugeMetricFamily("yolo_stage_epochs", "Epochs that the training is to have", labels=_STAGE),
            "loss": GaugeMetricFamily("yolo_stage_loss", "Training loss", labels=_STAGE),
            "m_ap": GaugeMetricFamily("yolo_stage_map", "Mean average precision, 0 to 1", labels=_STAGE),
            "eta": GaugeMetricFamily("yolo_stage_eta_seconds", "Time the stage still needs, by its own estimate", labels=_STAGE),
            "ratio": GaugeMetricFamily(
                "yolo_stage_parameter_ratio", "Parameters of the pruned model over the trained one's", labels=_STAGE
            ),
            "seconds": GaugeMetricFamily(
                "yolo_stage_duration_seconds", "Time from the container's start to its end", labels=_STAGE
            ),
            "attempts": GaugeMetricFamily("yolo_stage_attempts", "Attempts of the stage", labels=_STAGE),
        }
        for row in self._cache.experiments:
            for record in (row.experiment.status.stages or ()) if row.experiment else ():
                labels = [row.key.namespace, row.key.name, record.name, record.variant]
                families["state"].add_metric([*labels, record.state.value], 1)
                live = self._progress.get(f"{row.key.namespace}/{record.job}") if record.job else None
                for name, value in _numbers(record, live).items():
                    families[name].add_metric(labels, value)
        yield from families.values()

    def _operator(self) -> Iterator[Metric]:
        stats = self._queue.stats
        yield GaugeMetricFamily("workqueue_depth", "Keys that wait", value=self._queue.depth)
        yield GaugeMetricFamily("workqueue_busy", "Keys that are worked on", value=self._queue.busy)
        yield GaugeMetricFamily("workqueue_oldest_seconds", "Age of the oldest key", value=self._queue.oldest_seconds())
        yield CounterMetricFamily("workqueue_adds", "Keys added", value=stats.adds)
        yield CounterMetricFamily("workqueue_retries", "Keys added again after a failure", value=stats.retries)
        kinds = GaugeMetricFamily("yolo_operator_cache_objects", "Objects in the cache", labels=["kind"])
        for kind, table in (("experiment", self._cache.experiments), ("job", self._cache.jobs), ("pod", self._cache.pods)):
            kinds.add_metric([kind], len(table))
        yield kinds


def _numbers(record: StageStatus, live: Progress | None) -> dict[str, float]:
    """A stage's numbers: the recorded result's, or the live ones while it runs."""
    found: dict[str, float | int | None] = {"attempts": record.attempt}
    if record.state is StageState.SUCCEEDED and record.metrics is not None:
        metrics = record.metrics
        found |= {"epoch": metrics.epoch, "epochs": metrics.epochs, "loss": metrics.loss, "m_ap": metrics.m_ap}
        found["ratio"] = metrics.parameter_ratio
        if record.start_time and record.finish_time:
            found["seconds"] = times.seconds_between(record.start_time, record.finish_time)
    elif (progress := live or record.progress) is not None:
        found |= {"epoch": progress.epoch, "epochs": progress.epochs, "loss": progress.loss, "m_ap": progress.m_ap}
        found["eta"] = progress.eta_seconds
    return {name: float(value) for name, value in found.items() if value is not None}
