"""Every panel's query, asked of a real Prometheus that scrapes a simulated operator: an experiment from its start to its end."""

from __future__ import annotations

import asyncio
import copy
import os
import time
from pathlib import Path

import pytest
from panel_pictures import page
from panels import BINARY, Prometheus, queries, samples
from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from world import World
from yolo_operator.controller.cache import Key
from yolo_operator.controller.metrics import OperatorMetrics, StateCollector
from yolo_operator.controller.progress import LiveProgress
from yolo_operator.controller.queue import WorkQueue
from yolo_operator.kube.cluster import EXPERIMENTS

from examples import NAMESPACE, experiment_body, whole_spec


@pytest.mark.skipif(
    BINARY is None or not os.environ.get("WITH_PROMETHEUS"), reason="runs a Prometheus for half a minute: make alerts"
)
async def test_every_panel_has_data_at_some_time_of_a_run(tmp_path: Path) -> None:
    world, registry = World(), CollectorRegistry()
    metrics = OperatorMetrics(registry)
    queue = WorkQueue[Key](waited=metrics.queue_waited, worked=metrics.queue_worked)
    live: dict[str, LiveProgress] = {}
    registry.register(StateCollector(world.operator.cache, queue, live, clock=world.clock))
    ProcessCollector(registry=registry)
    for number in (1, 2):
        spec = copy.deepcopy(whole_spec())
        spec["workspace"]["subPath"], spec["resources"] = f"e{number}", {"gpus": 1}
        body = experiment_body(spec, f"plates-{number}", labels={"app.kubernetes.io/name": "plates"})
        world.cluster.add(EXPERIMENTS, NAMESPACE, body)
        world.clock.advance(5)
    server, thread = start_http_server(0, "127.0.0.1", registry)
    try:
        with Prometheus(tmp_path, {"yolo-operator": f"127.0.0.1:{server.server_port}"}) as prometheus:
            start = time.time()
            for turn in range(70):
                world.round()
                await _operator_at_work(metrics, queue, turn)
                _progress(world, live, turn)
                await asyncio.sleep(0.15)
            await asyncio.sleep(1.5)
            found = {query: prometheus.range(query.expression, start, time.time()) for query in queries()}
            rules = prometheus.rules()
    finally:
        server.shutdown()
        thread.join(timeout=5)
    empty = [f"{query.panel} {query.ref}: {query.expression}" for query, series in found.items() if not samples(series)]
    assert empty == []
    panels = {query.panel: [(query, series)] for query, series in found.items()}
    assert page("all", panels, start).count("<section") == len(panels)
    assert {rule["health"] for rule in rules} == {"ok"}
    assert len(found) > 50


async def _operator_at_work(metrics: OperatorMetrics, queue: WorkQueue[Key], turn: int) -> None:
    """What the process does around the reconciler, which the simulated world leaves out."""
    queue.add(Key("default", "plates-1"))
    key = await queue.get()
    queue.done(key)
    metrics.reconciled("conflict" if turn % 7 == 0 else "ok", 0.02)
    metrics.request("patch", "yoloexperiments", 200)
    metrics.watch_events.labels("job", "MODIFIED").inc()
    metrics.last_resync.set(time.time())
    metrics.last_event.labels("job").set(time.time())
    metrics.progress_interval.set(5)


def _progress(world: World, live: dict[str, LiveProgress], turn: int) -> None:
    for job in world.operator.cache.jobs:
        numbers = {"epoch": turn, "epochs": 200, "loss": 100 / (turn + 1), "eta_seconds": 200 - turn, "percent": turn // 2}
        live[f"{job.namespace}/{job.name}"] = LiveProgress(**numbers, m_ap=0.5, validation_loss=3.0, learning_rate=1e-4)
