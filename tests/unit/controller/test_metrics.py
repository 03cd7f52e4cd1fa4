"""Metrics: what is declared is what is exposed, numbers are the status', and the number of series is bounded."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from world import World
from yolo_operator.controller import families, metrics_page
from yolo_operator.controller.cache import Cache, Key
from yolo_operator.controller.experiment_metrics import CLASSES
from yolo_operator.controller.metrics import OperatorMetrics, StateCollector
from yolo_operator.controller.progress import LiveProgress
from yolo_operator.controller.queue import WorkQueue
from yolo_operator.kube.cluster import EXPERIMENTS

from examples import NAME, NAMESPACE, small_spec, whole_spec

ROOT = Path(__file__).resolve().parents[3]
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
Samples = dict[tuple[Any, ...], float]


def samples(registry: CollectorRegistry) -> Samples:
    """Value by (name, label=value, …), as Prometheus reads the exposition."""
    text = generate_latest(registry).decode()
    return {
        (sample.name, *sorted(f"{name}={value}" for name, value in sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def scrape(cache: Cache, progress: dict[str, Any] | None = None, **options: Any) -> Samples:
    registry = CollectorRegistry()
    registry.register(StateCollector(cache, WorkQueue[Key](), progress or {}, **options))
    return samples(registry)


def of(found: Samples, name: str, **labels: str) -> dict[tuple[Any, ...], float]:
    wanted = {f"{key}={value}" for key, value in labels.items()}
    return {key: value for key, value in found.items() if key[0] == name and wanted <= set(key[1:])}


def only(found: Samples, name: str, **labels: str) -> float:
    (value,) = of(found, name, **labels).values()
    return value


def experiment(
    name: str = NAME, *, created: str = "2026-01-01T10:00:00Z", labels: dict[str, str] | None = None, **status: Any
) -> Any:
    """An object with that status."""
    return {
        "metadata": {
            "namespace": NAMESPACE, "name": name, "uid": f"uid-{name}", "resourceVersion": "5", "generation": 1,
            "creationTimestamp": created, "labels": labels or {},
        },
        "spec": whole_spec(),
        "status": status,
    }  # fmt: skip


def cache_of(*bodies: Any) -> Cache:
    cache = Cache()
    for body in bodies:
        cache.put_experiment(body)
    return cache


async def test_what_is_exposed_is_what_is_declared() -> None:
    world = World(whole_spec())
    world.until(lambda: "Running" in world.states().values())
    registry = CollectorRegistry()
    OperatorMetrics(registry)
    registry.register(StateCollector(world.operator.cache, WorkQueue[Key](), {}))
    declared = {f.name: f for f in (*families.OF_EXPERIMENTS, *families.OF_STAGES, *families.OF_OPERATOR)}
    exposed = {metric.name + ("_total" if metric.type == "counter" else ""): metric for metric in registry.collect()}
    assert set(exposed) == set(declared)
    for name, metric in exposed.items():
        assert (metric.type, metric.documentation) == (declared[name].kind, declared[name].help)
        for sample in metric.samples:
            assert set(sample.labels) - {"le"} == set(declared[name].labels)


def test_names_follow_prometheus_conventions() -> None:
    for family in (*families.OF_EXPERIMENTS, *families.OF_STAGES, *families.OF_OPERATOR):
        assert family.name.startswith(("yolo_", "workqueue_"))
        assert family.name.endswith("_total") == (family.kind == "counter")
        assert not family.name.endswith(("_ms", "_minutes", "_percent", "_kb", "_mb"))


def test_the_page_in_docs_is_the_declared_families() -> None:
    assert (ROOT / "docs" / "metrics.md").read_text() == metrics_page.page(), "make generate"


async def test_a_stage_while_it_waits_runs_and_has_ended() -> None:
    waiting = {"name": "train", "state": "Starting", "attempt": 2, "failures": 1, "createTime": "2026-01-01T11:50:00Z"}
    found = await scrape(cache_of(experiment(stages=[waiting])), clock=lambda: NOW)
    assert only(found, "yolo_stage_queue_wait_seconds", stage="train") == 600
    assert (only(found, "yolo_stage_attempts"), only(found, "yolo_stage_failures")) == (2, 1)
    assert of(found, "yolo_stage_duration_seconds") == {}

    running = waiting | {"state": "Running", "startTime": "2026-01-01T11:55:00Z", "job": "j", "progress": {"percent": 10}}
    live = LiveProgress(epoch=3, epochs=20, loss=4.5, percent=15, validation_loss=5.5, learning_rate=1e-4)
    cache = cache_of(experiment(stages=[running]))
    found = await scrape(cache, {f"{NAMESPACE}/j": live}, clock=lambda: NOW)
    assert only(found, "yolo_stage_queue_wait_seconds") == 300
    assert only(found, "yolo_stage_duration_seconds") == 300
    assert only(found, "yolo_stage_progress_ratio") == 0.15
    assert (only(found, "yolo_stage_validation_loss"), only(found, "yolo_stage_learning_rate")) == (5.5, 1e-4)

    ended = running | {"state": "Succeeded", "finishTime": "2026-01-01T11:58:00Z", "metrics": {"mAP": 0.5}, "job": None}
    found = await scrape(cache_of(experiment(stages=[ended])), clock=lambda: NOW)
    assert (only(found, "yolo_stage_duration_seconds"), only(found, "yolo_stage_map")) == (180, 0.5)
    assert of(found, "yolo_stage_progress_ratio") == {}


async def test_gpu_seconds_are_gpus_times_running_time() -> None:
    times = {"state": "Succeeded", "startTime": "2026-01-01T11:00:00Z", "finishTime": "2026-01-01T11:10:00Z"}
    stages = [{"name": name, "attempt": 1, **times} for name in ("prepare", "train", "evaluate")]
    body = experiment(stages=stages)
    body["spec"]["resources"] = {"gpus": 4}
    found = await scrape(cache_of(body), clock=lambda: NOW)
    seconds = {stage: only(found, "yolo_stage_gpu_seconds_total", stage=stage) for stage in ("prepare", "train", "evaluate")}
    assert seconds == {"prepare": 0, "train": 2400, "evaluate": 600}, "preparation has no GPU, an evaluation one"


async def test_gpu_seconds_count_earlier_attempts_and_no_time_between_them() -> None:
    past = {"number": 1, "reason": "Evicted", "class": "infrastructure"}
    past |= {"startTime": "2026-01-01T11:00:00Z", "finishTime": "2026-01-01T11:10:00Z"}
    waits = {"name": "train", "state": "Pending", "attempt": 1, "startTime": past["startTime"], "attempts": [past]}
    runs = waits | {"state": "Running", "attempt": 2, "startTime": "2026-01-01T11:30:00Z"}

    async def gpu_seconds(stage: dict[str, Any]) -> float:
        body = experiment(stages=[stage])
        body["spec"]["resources"] = {"gpus": 1}
        return only(await scrape(cache_of(body), clock=lambda: NOW), "yolo_stage_gpu_seconds_total", stage="train")

    for stage, seconds in ((waits, 600), (runs | {"state": "Starting", "startTime": None}, 600), (runs, 600 + 1790)):
        assert await gpu_seconds(stage) == seconds
    assert await gpu_seconds(waits | {"state": "Failed", "finishTime": past["finishTime"]}) == 600, "not twice"


async def test_classes_artifacts_and_the_chosen_variant() -> None:
    precisions = {f"class-{number:03}": 0.5 for number in range(CLASSES + 20)}
    artifacts = [{"name": "model", "path": "x", "bytes": 1234, "sha256": "0" * 64}]
    stages = [
        {"name": "evaluate", "state": "Succeeded", "metrics": {"mAP": 0.5, "AP": precisions}},
        {"name": "prune", "variant": "0.5", "state": "Succeeded", "metrics": {"parameterRatio": 0.4}, "artifacts": artifacts},
    ]
    cache = cache_of(experiment(stages=stages, chosen={"variant": "0.5"}, pruned=0.4, mAP=0.5))
    found = await scrape(cache)
    assert len(of(found, "yolo_stage_average_precision")) == CLASSES
    assert only(found, "yolo_stage_artifact_bytes", variant="0.5", artifact="model") == 1234
    assert only(found, "yolo_experiment_chosen_variant", variant="0.5") == 1
    assert (only(found, "yolo_experiment_map"), only(found, "yolo_experiment_parameter_ratio")) == (0.5, 0.4)
    assert of(await scrape(cache, classes=False), "yolo_stage_average_precision") == {}


async def test_conditions_and_what_to_join_by() -> None:
    conditions = [
        {"type": "Stalled", "status": "True", "reason": "Unschedulable", "lastTransitionTime": "2026-01-01T11:00:00Z"},
        {"type": "Failed", "status": "False", "reason": "None", "lastTransitionTime": "2026-01-01T11:00:00Z"},
        {"type": "Invented", "status": "True", "reason": "None", "lastTransitionTime": "2026-01-01T11:00:00Z"},
    ]
    body = experiment(conditions=conditions, claimName="data", phase="Running", labels={"app.kubernetes.io/name": "plates"})
    found = await scrape(cache_of(body))
    assert {key[1]: value for key, value in of(found, "yolo_experiment_condition").items()} == {
        "condition=Stalled": 1,
        "condition=Failed": 0,
    }
    assert only(found, "yolo_experiment_info", name_label="plates", profile="open", persistentvolumeclaim="data") == 1


async def test_the_experiment_before_is_the_last_success_of_the_name_label() -> None:
    label, other = {"app.kubernetes.io/name": "plates"}, {"app.kubernetes.io/name": "cars"}
    bodies = [
        experiment("a", created="2026-01-01T01:00:00Z", labels=label, phase="Succeeded", mAP=0.90),
        experiment("b", created="2026-01-01T02:00:00Z", labels=label, phase="Failed", mAP=0.10),
        experiment("c", created="2026-01-01T03:00:00Z", labels=label, phase="Running"),
        experiment("other", created="2026-01-01T02:30:00Z", labels=other, phase="Succeeded", mAP=0.2),
        experiment("none", created="2026-01-01T02:40:00Z", phase="Succeeded", mAP=0.3),
    ]
    found = of(await scrape(cache_of(*bodies)), "yolo_experiment_previous_map")
    assert {key[1]: value for key, value in found.items()} == {"experiment=b": 0.90, "experiment=c": 0.90}


async def test_the_number_of_series_is_bounded() -> None:
    bodies = [
        experiment("old", created="2026-01-01T01:00:00Z", phase="Succeeded"),
        experiment("new", created="2026-01-01T02:00:00Z", phase="Succeeded"),
        experiment("oldest-running", created="2026-01-01T00:00:00Z", phase="Running"),
    ]
    found = await scrape(cache_of(*bodies), limit=2)
    shown = {key[1] for key in of(found, "yolo_experiment_phase")}
    assert shown == {"experiment=oldest-running", "experiment=new"}
    assert only(found, "yolo_experiments", phase="Succeeded") == 2, "all are counted"
    assert only(found, "yolo_operator_metrics_omitted_experiments") == 1


async def test_series_of_a_deleted_experiment_go_away() -> None:
    world = World(small_spec()).rest()
    registry = CollectorRegistry()
    registry.register(StateCollector(world.operator.cache, WorkQueue[Key](), world.operator.reconciler.progress))
    assert of(samples(registry), "yolo_stage_gpu_seconds_total", experiment=NAME)
    world.cluster.remove(EXPERIMENTS, NAMESPACE, NAME)
    world.rest()
    assert f"experiment={NAME}" not in {label for key in samples(registry) for label in key}


async def test_the_queue_tells_its_times_under_client_gos_names() -> None:
    registry, now = CollectorRegistry(), [0.0]
    metrics = OperatorMetrics(registry)
    queue = WorkQueue[str](clock=lambda: now[0], waited=metrics.queue_waited, worked=metrics.queue_worked)
    queue.add("a")
    now[0] = 3
    await queue.get()
    now[0] = 5
    assert (queue.unfinished_seconds(), queue.longest_seconds()) == (2, 2)
    queue.done("a")
    found = samples(registry)
    assert found["workqueue_queue_duration_seconds_sum", "name=experiments"] == 3
    assert found["workqueue_work_duration_seconds_sum", "name=experiments"] == 2
    assert (queue.unfinished_seconds(), queue.longest_seconds()) == (0, 0)


def test_errors_are_counted_by_reason() -> None:
    registry = CollectorRegistry()
    metrics = OperatorMetrics(registry)
    metrics.reconciled("ok", 0.1)
    metrics.reconciled("conflict", 0.1)
    found = {key[1]: value for key, value in of(samples(registry), "yolo_operator_reconcile_errors_total").items()}
    assert found == {"reason=conflict": 1, "reason=api-error": 0, "reason=name-taken": 0, "reason=bug": 0}
