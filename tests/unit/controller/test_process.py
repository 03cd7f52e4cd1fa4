"""Around the reconciler: metrics, settings, checks, the web server, the worker."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import ClientSession, web
from memory_cluster import MemoryCluster, finish
from prometheus_client import CollectorRegistry, generate_latest
from world import World
from yolo_operator.api.status import Progress
from yolo_operator.controller import main, patience, server
from yolo_operator.controller.cache import Key
from yolo_operator.controller.checks import RIGHTS, NotReady, check_cluster
from yolo_operator.controller.lease import Elector, LeaseLost, LeaseSettings
from yolo_operator.controller.main import JsonFormatter
from yolo_operator.controller.metrics import OperatorMetrics, StateCollector
from yolo_operator.controller.queue import WorkQueue
from yolo_operator.controller.reconcile import NameTaken
from yolo_operator.controller.settings import Settings, SettingsError
from yolo_operator.controller.worker import work
from yolo_operator.kube.cluster import EXPERIMENTS, LEASES
from yolo_operator.kube.errors import ApiError

from examples import NAME, NAMESPACE, small_spec, whole_spec

KEY = Key(NAMESPACE, NAME)

# --- metrics ---


async def scrape(world: World) -> str:
    registry = CollectorRegistry()
    registry.register(StateCollector(world.operator.cache, WorkQueue[Key](), world.operator.reconciler.progress))
    return generate_latest(registry).decode()


async def test_a_finished_experiments_numbers() -> None:
    text = await scrape(World(whole_spec()).rest())
    stage = f'experiment="{NAME}",namespace="{NAMESPACE}"'
    assert f'yolo_experiments{{namespace="{NAMESPACE}",phase="Succeeded"}} 1.0' in text
    assert f'yolo_stage_map{{{stage},stage="evaluate",variant=""}} 0.9' in text
    assert f'yolo_stage_parameter_ratio{{{stage},stage="prune",variant="0.3"}} 0.7' in text
    assert f'yolo_stage_epoch{{{stage},stage="train",variant=""}} 20.0' in text
    assert f'yolo_stage_state{{{stage},stage="export",state="Succeeded",variant=""}} 1.0' in text
    assert f'yolo_stage_duration_seconds{{{stage},stage="train",variant=""}}' in text
    assert 'workqueue_adds_total{name="experiments"} 0.0' in text


async def test_a_running_stages_numbers_are_the_live_ones() -> None:
    world = World(small_spec())
    world.until(lambda: world.states().get("train") == "Running")
    job = world.stage("train")["job"]
    world.operator.reconciler.progress[f"{NAMESPACE}/{job}"] = Progress(epoch=7, epochs=20, loss=2.5, eta_seconds=90)
    text = await scrape(world)
    assert f'yolo_stage_eta_seconds{{experiment="{NAME}",namespace="{NAMESPACE}",stage="train",variant=""}} 90.0' in text


async def test_a_deleted_experiment_leaves_no_series() -> None:
    world = World(small_spec()).rest()
    world.cluster.remove(EXPERIMENTS, NAMESPACE, NAME)
    world.rest()
    assert NAME not in await scrape(world)


def test_requests_are_counted() -> None:
    registry = CollectorRegistry()
    OperatorMetrics(registry).request("patch", "jobs", 409)
    assert 'yolo_operator_kube_requests_total{code="409",resource="jobs",verb="patch"} 1.0' in generate_latest(registry).decode()


# --- settings ---

LEAST = {"YOLO_OPERATOR_IMAGE": "operator:1"}


def test_the_least_setting_is_the_image() -> None:
    settings = Settings.from_environment(LEAST)
    assert (settings.image, settings.namespaces, settings.port, settings.workers) == ("operator:1", (), 8080, 24)


def test_all_settings() -> None:
    settings = Settings.from_environment(
        LEAST
        | {
            "YOLO_OPERATOR_NAMESPACES": "a, b,,",
            "YOLO_OPERATOR_LISTEN": "[::]:9000",
            "YOLO_OPERATOR_LOG_FORMAT": "json",
            "YOLO_OPERATOR_LOG_LEVEL": "debug",
            "YOLO_OPERATOR_WORKERS": "3",
            "YOLO_OPERATOR_RESYNC_SECONDS": "60",
        }
    )
    assert settings.namespaces == ("a", "b")
    assert (settings.port, settings.log_format, settings.log_level) == (9000, "json", "DEBUG")
    assert (settings.workers, settings.resync_seconds) == (3, 60)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("YOLO_OPERATOR_IMAGE", ""),
        ("YOLO_OPERATOR_LISTEN", "8080x"),
        ("YOLO_OPERATOR_LISTEN", "0.0.0.0:"),
        ("YOLO_OPERATOR_LOG_FORMAT", "xml"),
        ("YOLO_OPERATOR_LOG_LEVEL", "LOUD"),
        ("YOLO_OPERATOR_WORKERS", "0"),
        ("YOLO_OPERATOR_WORKERS", "many"),
        ("YOLO_OPERATOR_RESYNC_SECONDS", "-1"),
        ("YOLO_OPERATOR_PROGRESS_SECONDS", "0.5"),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.from_environment(LEAST | {name: value})


def test_a_lease_is_named_by_namespace_and_name() -> None:
    assert Settings.from_environment(LEAST).lease is None
    one = Settings.from_environment(LEAST | {"YOLO_OPERATOR_LEASE": "yolo-system/op", "YOLO_OPERATOR_LEASE_SECONDS": "20"}).lease
    two = Settings.from_environment(LEAST | {"YOLO_OPERATOR_LEASE": "yolo-system/op"}).lease
    assert one is not None
    assert two is not None
    assert (one.namespace, one.name, one.seconds, two.seconds) == ("yolo-system", "op", 20, 15)
    assert one.identity != two.identity


@pytest.mark.parametrize(
    ("name", "value"),
    [("YOLO_OPERATOR_LEASE", text) for text in ("op", "/op", "ns/", "a/b/c")]
    + [("YOLO_OPERATOR_LEASE_SECONDS", text) for text in ("5", "soon")],
)
def test_a_wrong_lease_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.from_environment(LEAST | {"YOLO_OPERATOR_LEASE": "yolo-system/op", name: value})


# --- checks ---


def test_a_prepared_cluster_passes() -> None:
    finish(check_cluster(MemoryCluster(), ()))
    finish(check_cluster(MemoryCluster(), ("a", "b")))


@pytest.mark.parametrize("right", RIGHTS, ids=lambda right: right.resource)
def test_every_missing_right_is_named_with_its_use(right: Any) -> None:
    cluster = MemoryCluster()
    cluster.denied = {(right.verbs[-1], right.resource)}
    with pytest.raises(NotReady) as error:
        finish(check_cluster(cluster, ("lab",)))
    assert f"{right.verbs[-1]} {right.resource}" in str(error.value)
    assert f"in lab ({right.why})" in str(error.value)


@pytest.mark.parametrize("verb", ["create", "get", "patch"])
def test_rights_on_the_lease_are_asked_for_where_it_is(verb: str) -> None:
    cluster = MemoryCluster()
    cluster.denied = {(verb, "leases")}
    finish(check_cluster(cluster, ("lab",)))
    with pytest.raises(NotReady, match=rf"{verb} leases\.coordination\.k8s\.io in yolo-system"):
        finish(check_cluster(cluster, ("lab",), ("yolo-system", "op")))
    asked = [request.body["spec"]["resourceAttributes"] for request in cluster.requests if request.body is not None]
    named = {attributes["verb"]: attributes.get("name") for attributes in asked if attributes["resource"] == "leases"}
    assert named == {"create": None, "get": "op", "patch": "op"}


def test_a_missing_crd_is_named() -> None:
    cluster = MemoryCluster()

    def absent(request: Any) -> None:
        if request.resource == "yoloexperiments":
            raise ApiError(404, "NotFound", "the server could not find the requested resource")

    cluster.on_request = absent
    with pytest.raises(NotReady, match=r"CustomResourceDefinition yoloexperiments\.yolo-operator\.dev"):
        finish(check_cluster(cluster, ()))


def test_another_error_is_passed_on() -> None:
    cluster = MemoryCluster()

    def fail(request: Any) -> None:
        if request.verb == "list":
            raise ApiError(500, "InternalError", "etcd")

    cluster.on_request = fail
    with pytest.raises(ApiError, match="etcd"):
        finish(check_cluster(cluster, ()))


# --- the process ---


async def failing() -> None:
    await asyncio.sleep(0)
    raise LeaseLost("other holds the lease now")


async def test_the_first_task_that_fails_ends_the_rest_with_its_error() -> None:
    other = asyncio.Event()

    async def goes_on() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            other.set()

    with pytest.raises(LeaseLost, match="other holds"):
        async with main._running([goes_on(), failing(), failing()]):
            await asyncio.sleep(10)
    assert other.is_set()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_cancellation_from_outside_stays_one() -> None:
    async def body() -> None:
        async with main._running([asyncio.sleep(10)]):
            await asyncio.sleep(10)

    task = asyncio.create_task(body())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_signal_ends_what_is_waited_for() -> None:
    stop = asyncio.Event()
    assert await main._unless(stop, asyncio.sleep(0))
    with pytest.raises(LeaseLost):
        await main._unless(stop, failing())
    asyncio.get_running_loop().call_later(0.01, stop.set)
    assert not await asyncio.wait_for(main._unless(stop, asyncio.sleep(10)), 1)


async def operator_of(cluster: MemoryCluster) -> main.Operator:
    registry = CollectorRegistry()
    config: Any = None
    return main.assemble(Settings("operator:1"), registry, OperatorMetrics(registry), config, cluster)


async def test_ready_means_full_caches_or_standing_by_within_earshot(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = MemoryCluster()
    operator = await operator_of(cluster)
    assert main.not_ready(operator, None) == "the cache is being filled"
    elector = Elector(cluster, LeaseSettings("s", "op", "me"), monotonic=lambda: time.monotonic(), wall=lambda: datetime.now(UTC))
    assert "has not told of the lease" in (main.not_ready(operator, elector) or "")
    cluster.add(LEASES, "s", {"metadata": {"name": "op"}, "spec": {"holderIdentity": "other", "leaseDurationSeconds": 15}})
    await elector.look()
    assert not elector.leads
    assert main.not_ready(operator, elector) is None
    cluster.update(LEASES, "s", "op", {"spec": {"holderIdentity": ""}})
    await elector.look()
    assert elector.leads
    assert main.not_ready(operator, elector) == "the cache is being filled"
    await operator.synchroniser.once()
    assert main.not_ready(operator, elector) is None
    later = time.monotonic() + 16
    monkeypatch.setattr(time, "monotonic", lambda: later)
    elector.heard = later - 15.5
    assert "has not told of the lease for 15 s" in (main.not_ready(operator, elector) or "")


async def test_health_means_that_the_queue_moves() -> None:
    operator = await operator_of(MemoryCluster())
    now = 0.0
    queue = operator.queue = WorkQueue[Key](clock=lambda: now)
    assert operator.problem() is None
    for number in range(3):
        queue.add(Key(NAMESPACE, str(number)))
    now = 299
    assert operator.problem() is None
    now = 301
    assert operator.problem() == "the work queue has not moved for 301 s"
    # One that is done is a sign of life, however long the others have waited.
    queue.done(await queue.get())
    assert operator.problem() is None
    await queue.get()
    now = 500
    queue.done(await queue.get())
    assert operator.problem() is None
    now = 602
    assert operator.problem() == "an experiment has been worked on for 301 s"


# --- the web server ---


async def test_health_readiness_and_metrics() -> None:
    problems: dict[str, str | None] = {"health": None, "ready": "the cache is being filled"}
    registry = CollectorRegistry()
    OperatorMetrics(registry)
    app = server.application(registry, health=lambda: problems["health"], ready=lambda: problems["ready"])
    runner = await server.serve(app, "127.0.0.1", 0)
    try:
        (site,) = runner.sites
        assert isinstance(site, web.TCPSite)
        host, port = runner.addresses[0][:2]
        async with ClientSession(f"http://{host}:{port}") as client:
            healthy, ready = await client.get("/healthz"), await client.get("/readyz")
            assert (healthy.status, ready.status) == (200, 503)
            assert await ready.text() == "the cache is being filled\n"
            problems |= {"health": "stuck", "ready": None}
            assert ((await client.get("/healthz")).status, (await client.get("/readyz")).status) == (503, 200)
            metrics = await client.get("/metrics")
            assert metrics.headers["Content-Type"].startswith("text/plain")
            assert "yolo_operator_reconcile_duration_seconds" in await metrics.text()
    finally:
        await runner.cleanup()


# --- the worker ---


class Scripted:
    """A reconciler that raises what it is told."""

    def __init__(self, *errors: Exception | None) -> None:
        self.errors = list(errors)
        self.cache = World().operator.cache
        self.keys: list[Key] = []

    async def reconcile(self, key: Key) -> float | None:
        self.keys.append(key)
        error = self.errors.pop(0)
        if error is not None:
            raise error
        return None


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (None, "ok"),
        (ApiError(409, "Conflict", ""), "conflict"),
        (ApiError(500, "InternalError", ""), "api-error"),
        (NameTaken("taken"), "name-taken"),
        (ZeroDivisionError(), "bug"),
    ],
)
async def test_an_error_concerns_its_key_alone(error: Exception | None, result: str) -> None:
    registry = CollectorRegistry()
    metrics, queue = OperatorMetrics(registry), WorkQueue[Key]()
    other = Key(NAMESPACE, "other")
    reconciler = Scripted(error, None)
    queue.add(KEY)
    queue.add(other)
    taken = 0

    class Bounded(WorkQueue[Key]):
        async def get(self) -> Key:
            nonlocal taken
            taken += 1
            if taken > 2:
                queue.close()
            return await queue.get()

    bounded = Bounded()
    bounded.retry, bounded.done = queue.retry, queue.done  # type: ignore[method-assign]
    bounded.forget, bounded.add = queue.forget, queue.add  # type: ignore[method-assign]
    await work(bounded, reconciler, metrics)  # type: ignore[arg-type]
    assert reconciler.keys == [KEY, other]
    assert f'yolo_operator_reconcile_duration_seconds_count{{result="{result}"}}' in generate_latest(registry).decode()
    assert queue.stats.retries == (error is not None)
    assert queue.busy == 0


@pytest.mark.parametrize(("status", "longest"), [(0, 15.0), (503, 300.0), (409, 300.0)])
async def test_an_api_server_that_is_away_is_asked_again_soon(status: int, longest: float) -> None:
    registry = CollectorRegistry()
    queue, asked = WorkQueue[Key](), []
    queue.retry = lambda key, at_least=0.0, *, at_most=0.0: asked.append(at_most) or 0.0  # type: ignore[method-assign,func-returns-value]
    reconciler = Scripted(ApiError(status, "", ""))
    queue.add(KEY)
    working = asyncio.create_task(work(queue, reconciler, OperatorMetrics(registry)))  # type: ignore[arg-type]
    await asyncio.sleep(0.05)
    queue.close()
    await working
    assert asked == [longest]


def test_a_log_line_is_one_json_object() -> None:

    record = logging.LogRecord("yolo_operator", logging.INFO, "x", 1, "two\nlines %s", ("a",), None)
    entry = json.loads(JsonFormatter().format(record))
    assert (entry["level"], entry["message"]) == ("INFO", "two\nlines a")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"default": {"maxGpus": 4}}', "default.maxGpus: Extra inputs"),
        ('{"namespaces": {"a": {"maxGPUs": "4"}}}', "namespaces.a.maxGPUs: Input should be a valid integer"),
        ('{"cluster": {"maxGPUs": -1}, "patience": 3}', "cluster.maxGPUs: .*; patience: "),
        ("maxGPUs: 4", "the file: Invalid JSON"),
        (None, "cannot be read: No such file"),
    ],
)
def test_limits_that_are_wrong_are_named_by_file_and_field(text: str | None, told: str, tmp_path: Path) -> None:
    path = tmp_path / "limits.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SettingsError, match=f"YOLO_OPERATOR_LIMITS: {path}.*{told}"):
        Settings.from_environment({"YOLO_OPERATOR_IMAGE": "x", "YOLO_OPERATOR_LIMITS": str(path)})


def test_a_file_without_limits_is_none(tmp_path: Path) -> None:
    path = tmp_path / "limits.json"
    path.write_text('{"default": {"maxPriority": 0}}')
    assert Settings.from_environment({"YOLO_OPERATOR_IMAGE": "x", "YOLO_OPERATOR_LIMITS": str(path)}).limits is None


# --- patience at the start ---


async def test_a_start_into_bad_weather_waits_request_by_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_SECONDS", 0.001)
    cluster, failed = MemoryCluster(), set[str]()

    def once_each(request: Any) -> None:
        what = json.dumps([request.verb, request.resource, request.body], default=str)
        if what not in failed:
            failed.add(what)
            raise ApiError(503, "ServiceUnavailable", "no leader")

    cluster.on_request = once_each
    await check_cluster(patience.Patient(cluster, 1), ("lab",))
    assert len(failed) > 20
    operator = await operator_of(cluster)
    await patience.patiently(operator.synchroniser.once, 1)
    assert operator.synchroniser.last is not None


async def test_patience_ends_and_is_none_for_what_will_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    now, attempts = 0.0, []

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(patience, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(patience, "asyncio", SimpleNamespace(sleep=sleep))

    async def refused(status: int) -> None:
        attempts.append(status)
        raise ApiError(status, "", "")

    with pytest.raises(ApiError):
        await patience.patiently(lambda: refused(403), 10)
    assert attempts == [403]
    with pytest.raises(ApiError):
        await patience.patiently(lambda: refused(0), 10 * patience.FIRST_SECONDS)
    # After 1, 2 and 4 of the first wait; 8 more would be too long.
    assert attempts.count(0) == 4
