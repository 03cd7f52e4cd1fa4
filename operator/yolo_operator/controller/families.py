"""Every metric family of the operator, once: the collectors expose what is declared here, and docs/metrics.md is written from it.

Names and units follow Prometheus's conventions: base units, ratios from 0 to 1, `_total` on counters. The work queue carries
client-go's names, so that dashboards for Go controllers show it.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

EXPERIMENT = ("namespace", "experiment")
STAGE = (*EXPERIMENT, "stage", "variant")


class Family(NamedTuple):
    """One metric family."""

    name: str
    """As a query writes it: a counter's ends in `_total`."""
    kind: Literal["gauge", "counter", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    def snapshot(self) -> GaugeMetricFamily | CounterMetricFamily:
        """An empty family for one scrape."""
        if self.kind == "counter":
            return CounterMetricFamily(self.name.removesuffix("_total"), self.help, labels=self.labels)
        return GaugeMetricFamily(self.name, self.help, labels=self.labels)

    def instrument(self, registry: CollectorRegistry) -> Any:
        """A live metric of the family, registered."""
        if self.kind == "histogram":
            return Histogram(self.name, self.help, self.labels, buckets=self.buckets, registry=registry)
        return (Counter if self.kind == "counter" else Gauge)(self.name, self.help, self.labels, registry=registry)


_LOOK_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_QUEUE_BUCKETS = (0.001, 0.01, 0.1, 0.5, 1, 5, 10, 60, 300)

# --- experiments ---

EXPERIMENTS = Family("yolo_experiments", "gauge", "Experiments by phase", ("namespace", "phase"))
PHASE = Family("yolo_experiment_phase", "gauge", "1 for the experiment's phase", (*EXPERIMENT, "phase"))
CONDITION = Family(
    "yolo_experiment_condition", "gauge", "1 where the experiment's condition is true, else 0", (*EXPERIMENT, "condition")
)
INFO = Family(
    "yolo_experiment_info",
    "gauge",
    "1; what to join by: the label app.kubernetes.io/name, the toolkit's profile, the workspace's claim",
    (*EXPERIMENT, "name_label", "profile", "persistentvolumeclaim"),
)
CREATED = Family("yolo_experiment_created_timestamp_seconds", "gauge", "When the experiment was made", EXPERIMENT)
STARTED = Family("yolo_experiment_start_timestamp_seconds", "gauge", "When its first stage started", EXPERIMENT)
COMPLETED = Family("yolo_experiment_completion_timestamp_seconds", "gauge", "When it ended", EXPERIMENT)
EXPERIMENT_STAGES = Family("yolo_experiment_stages", "gauge", "Stages by state", (*EXPERIMENT, "state"))
EXPERIMENT_MAP = Family(
    "yolo_experiment_map", "gauge", "Mean average precision of the newest model that was evaluated, 0 to 1", EXPERIMENT
)
PREVIOUS_MAP = Family(
    "yolo_experiment_previous_map",
    "gauge",
    "The same of the experiment before it: of those that succeeded with the same label app.kubernetes.io/name in the namespace, "
    "the last one made earlier",
    EXPERIMENT,
)
EXPERIMENT_RATIO = Family(
    "yolo_experiment_parameter_ratio", "gauge", "Parameters of the chosen variant over the trained model's", EXPERIMENT
)
CHOSEN = Family("yolo_experiment_chosen_variant", "gauge", "1 for the pruned variant that goes on", (*EXPERIMENT, "variant"))

# --- stages ---

STATE = Family("yolo_stage_state", "gauge", "1 for the stage's state", (*STAGE, "state"))
ATTEMPTS = Family("yolo_stage_attempts", "gauge", "Number of the attempt that runs or ran last", STAGE)
FAILURES = Family("yolo_stage_failures", "gauge", "Attempts that count against retry.limit", STAGE)
STAGE_START = Family("yolo_stage_start_timestamp_seconds", "gauge", "When the attempt's container started", STAGE)
STAGE_FINISH = Family("yolo_stage_finish_timestamp_seconds", "gauge", "When the stage ended", STAGE)
DURATION = Family("yolo_stage_duration_seconds", "gauge", "Time from the container's start to its end, or to now", STAGE)
QUEUE_WAIT = Family(
    "yolo_stage_queue_wait_seconds",
    "gauge",
    "Time from the making of the attempt's Job to its container's start, or to now. A wait for a place under the limits counts: "
    "alone until the Job is made, and again once the container has started",
    STAGE,
)
PROGRESS = Family("yolo_stage_progress_ratio", "gauge", "How much of a running stage is done, 0 to 1", STAGE)
EPOCH = Family("yolo_stage_epoch", "gauge", "Epoch of the training", STAGE)
EPOCHS = Family("yolo_stage_epochs", "gauge", "Epochs that the training is to have", STAGE)
LOSS = Family("yolo_stage_loss", "gauge", "Training loss", STAGE)
VALIDATION_LOSS = Family("yolo_stage_validation_loss", "gauge", "Validation loss", STAGE)
LEARNING_RATE = Family("yolo_stage_learning_rate", "gauge", "Learning rate of a running training, where it is told", STAGE)
ETA = Family("yolo_stage_eta_seconds", "gauge", "Time the stage still needs, by its own estimate", STAGE)
MAP = Family("yolo_stage_map", "gauge", "Mean average precision, 0 to 1", STAGE)
AVERAGE_PRECISION = Family(
    "yolo_stage_average_precision", "gauge", "Average precision of a class, 0 to 1 (can be switched off)", (*STAGE, "class")
)
RATIO = Family("yolo_stage_parameter_ratio", "gauge", "Parameters of the pruned model over the trained one's", STAGE)
ARTIFACT_BYTES = Family("yolo_stage_artifact_bytes", "gauge", "Size of an artifact", (*STAGE, "artifact"))
GPU_SECONDS = Family(
    "yolo_stage_gpu_seconds_total",
    "counter",
    "GPUs times seconds of the stage's containers, a running one's up to ten seconds ago; begins anew with another input",
    STAGE,
)

# --- limits ---

LIMIT = Family(
    "yolo_limit", "gauge", "What may run at once by the operator's limits; without a namespace: all together", ("namespace", "of")
)
LIMIT_USED = Family("yolo_limit_used", "gauge", "What counts against them now; only while there are limits", ("namespace", "of"))
LIMIT_WAITING = Family("yolo_limit_waiting_stages", "gauge", "Stages that wait for a place under the limits", ("namespace",))

# --- the operator ---

OMITTED = Family(
    "yolo_operator_metrics_omitted_experiments",
    "gauge",
    "Experiments beyond the limit, without series of their own",
)
REQUESTS = Family(
    "yolo_operator_kube_requests_total",
    "counter",
    "Requests to the API server; code 0: no answer came",
    ("verb", "resource", "code"),
)
RECONCILES = Family(
    "yolo_operator_reconcile_duration_seconds", "histogram", "Time of one look at an experiment", ("result",), _LOOK_BUCKETS
)
RECONCILE_ERRORS = Family(
    "yolo_operator_reconcile_errors_total",
    "counter",
    "Looks that ended with an error: conflict (the cache was behind), api-error, name-taken, bug",
    ("reason",),
)
WATCH_EVENTS = Family("yolo_operator_watch_events_total", "counter", "Events of the watches", ("kind", "type"))
WATCH_RESTARTS = Family(
    "yolo_operator_watch_restarts_total",
    "counter",
    "Times a watch began anew with a list",
    ("kind",),
)
LAST_EVENT = Family("yolo_operator_watch_last_event_timestamp_seconds", "gauge", "When a watch last told something", ("kind",))
LAST_RESYNC = Family(
    "yolo_operator_last_resync_timestamp_seconds", "gauge", "When all objects were last listed and compared with success"
)
LEADER = Family("yolo_operator_leader", "gauge", "1 while this replica leads, 0 while it stands by")
GHOSTS = Family("yolo_operator_resync_ghosts_total", "counter", "Objects that were gone without a word", ("kind",))
CACHE_OBJECTS = Family("yolo_operator_cache_objects", "gauge", "Objects in the cache", ("kind",))
PROGRESS_INTERVAL = Family(
    "yolo_operator_progress_interval_seconds",
    "gauge",
    "Time between two looks at a running stage's log",
)
QUEUE_OLDEST = Family(
    "yolo_operator_workqueue_oldest_seconds", "gauge", "Age of the key that has waited or been worked on for longest", ("name",)
)
QUEUE_DEPTH = Family("workqueue_depth", "gauge", "Keys that wait", ("name",))
QUEUE_ADDS = Family("workqueue_adds_total", "counter", "Keys added", ("name",))
QUEUE_RETRIES = Family("workqueue_retries_total", "counter", "Keys added again after a failure", ("name",))
QUEUE_WAITED = Family("workqueue_queue_duration_seconds", "histogram", "Time a key waited", ("name",), _QUEUE_BUCKETS)
QUEUE_WORKED = Family("workqueue_work_duration_seconds", "histogram", "Time a key was worked on", ("name",), _QUEUE_BUCKETS)
QUEUE_UNFINISHED = Family(
    "workqueue_unfinished_work_seconds", "gauge", "Time spent so far on the keys that are worked on, summed up", ("name",)
)
QUEUE_LONGEST = Family(
    "workqueue_longest_running_processor_seconds",
    "gauge",
    "Time spent so far on the key that is worked on for longest",
    ("name",),
)

OF_EXPERIMENTS = (
    EXPERIMENTS, PHASE, CONDITION, INFO, CREATED, STARTED, COMPLETED, EXPERIMENT_STAGES, EXPERIMENT_MAP, PREVIOUS_MAP,
    EXPERIMENT_RATIO, CHOSEN,
)  # fmt: skip
OF_STAGES = (
    STATE, ATTEMPTS, FAILURES, STAGE_START, STAGE_FINISH, DURATION, QUEUE_WAIT, PROGRESS, EPOCH, EPOCHS, LOSS, VALIDATION_LOSS,
    LEARNING_RATE, ETA, MAP, AVERAGE_PRECISION, RATIO, ARTIFACT_BYTES, GPU_SECONDS,
)  # fmt: skip
OF_LIMITS = (LIMIT, LIMIT_USED, LIMIT_WAITING)
OF_OPERATOR = (
    RECONCILES, RECONCILE_ERRORS, REQUESTS, WATCH_EVENTS, WATCH_RESTARTS, LAST_EVENT, LAST_RESYNC, LEADER, GHOSTS, CACHE_OBJECTS,
    PROGRESS_INTERVAL, OMITTED, QUEUE_OLDEST, QUEUE_DEPTH, QUEUE_ADDS, QUEUE_RETRIES, QUEUE_WAITED, QUEUE_WORKED,
    QUEUE_UNFINISHED, QUEUE_LONGEST,
)  # fmt: skip
