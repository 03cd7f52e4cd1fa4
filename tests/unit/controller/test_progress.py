"""Live progress: whatever a log says, and how often it is told."""

from __future__ import annotations

import asyncio
import contextlib
import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client import Gauge
from world import World
from yolo_operator.api.status import Progress
from yolo_operator.controller import progress
from yolo_operator.controller.cache import Key
from yolo_operator.controller.progress import ProgressReader, latest
from yolo_operator.controller.queue import WorkQueue
from yolo_operator.kube.cluster import PODS

from examples import NAME, NAMESPACE, small_spec


def line(**numbers: Any) -> str:
    return json.dumps({"yoloProgress": numbers}, separators=(",", ":"))


@pytest.mark.parametrize(
    ("numbers", "percent"),
    [
        ({"epoch": 1, "epochs": 80}, 1),
        ({"epoch": 40, "epochs": 80}, 50),
        ({"epoch": 41, "epochs": 80, "step": 0, "steps": 10}, 50),
        ({"epoch": 41, "epochs": 80, "step": 5, "steps": 10}, 50),
        ({"epoch": 80, "epochs": 80, "step": 10, "steps": 10}, 100),
        ({"step": 3, "steps": 4}, 75),
        ({"epoch": 200, "epochs": 80}, 100),
        ({"loss": 1.5}, None),
        ({"step": 1, "steps": 0}, None),
    ],
)
def test_percent(numbers: dict[str, Any], percent: int | None) -> None:
    found = latest(line(**numbers))
    assert found is not None
    assert found.percent == percent


def test_the_newest_whole_line_counts() -> None:
    log = "\n".join([line(epoch=1, epochs=10), "noise", "prefix " + line(epoch=2, epochs=10), line(epoch=3, epochs=10)[:-4]])
    found = latest(log)
    assert found is not None
    assert found.epoch == 2


@given(st.text())
@example('{"yoloProgress":5}')
@example('{"yoloProgress":[]}')
@example('{"yoloProgress":null}')
@example('{"yoloProgress":{"step":Infinity,"steps":1}}')
@example('{"yoloProgress":{"step":NaN,"steps":1}}')
@example('{"yoloProgress":{"step":"a","steps":1}}')
@example('{"yoloProgress":{"epoch":1e999,"epochs":2}}')
@example('{"yoloProgress":{"step":1' + "0" * 400 + ',"steps":3}}')
@example('{"yoloProgress"' + "[" * 3000)
@example('{"yoloProgress":' + "[" * 3000)
@example('{"yoloProgress":{"epoch":{"a":1},"epochs":[]}}')
def test_no_log_breaks_the_reader(text: str) -> None:
    found = latest(text)
    assert found is None or found.percent is None or 0 <= found.percent <= 100


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5), lambda inner: st.lists(inner), max_leaves=3
)


@given(st.dictionaries(st.sampled_from(["epoch", "epochs", "step", "steps", "loss", "mAP", "etaSeconds"]), json_values))
def test_no_numbers_break_it_either(numbers: dict[str, Any]) -> None:
    latest(line(**numbers))


async def test_running_stages_are_read_and_ended_ones_forgotten() -> None:
    world = World(small_spec())
    world.until(lambda: world.states().get("train") == "Running" and any(pod.running for pod in world.operator.cache.pods))
    (pod,) = [pod for pod in world.operator.cache.pods if pod.running]
    store: dict[str, Progress] = {}
    queue = WorkQueue[Key]()
    reader = ProgressReader(world.cluster, world.operator.cache, queue, store, seconds=0.001, budget=1e6)
    now = [0.0]
    task = asyncio.create_task(reader.run(lambda: now[0]))
    try:
        await asyncio.sleep(0.01)
        assert store == {}  # no log yet: nothing to read, nothing broken
        world.cluster.logs[NAMESPACE, pod.name] = line(epoch=10, epochs=20, loss=1.5)
        assert await asyncio.wait_for(queue.get(), 5) == Key(NAMESPACE, NAME)
        queue.done(Key(NAMESPACE, NAME))
        assert store[f"{NAMESPACE}/{pod.job}"].percent == 50
        # Less than five percent more is no reason to look at the experiment; three minutes are.
        world.cluster.logs[NAMESPACE, pod.name] = line(epoch=10, epochs=20, step=1, steps=2)
        await asyncio.sleep(0.02)
        assert queue.depth == 0
        now[0] += 200
        assert await asyncio.wait_for(queue.get(), 5) == Key(NAMESPACE, NAME)
        world.cluster.remove(PODS, NAMESPACE, pod.name)
        world.operator.deliver()
        await asyncio.sleep(0.02)
        assert store == {}
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def test_progress_reaches_the_status_in_steps() -> None:
    world = World(small_spec())
    world.until(lambda: world.states().get("train") == "Running")
    job = world.stage("train")["job"]
    key = next(iter(world.operator.cache.experiments)).key

    def tell(percent: int) -> int | None:
        world.operator.reconciler.progress[f"{NAMESPACE}/{job}"] = Progress(percent=percent, epoch=1, epochs=20)
        world.operator.queue.add(key)
        world.work()
        return (world.stage("train").get("progress") or {}).get("percent")

    assert [tell(10), tell(12), tell(15), tell(14)] == [10, 10, 15, 15]
    assert world.status()["progress"] == "2/4 (15%)"
    world.clock.advance(200)
    assert tell(16) == 16
    world.rest()
    assert "progress" not in world.stage("train")


class CountingCluster:
    """Notes when each log was read; a reading takes 50 ms."""

    def __init__(self, now: list[float]) -> None:
        self._now = now
        self.reads: list[float] = []

    async def log_tail(self, namespace: str, pod: str, *, lines: int) -> str:
        self.reads.append(self._now[0])
        return line(epoch=1, epochs=2)


class Pods:
    """A cache of running pods."""

    def __init__(self, number: int) -> None:
        self.pods = [
            SimpleNamespace(namespace="ns", name=f"p{i}", job=f"j{i}", owner_name=f"e{i}", node="here", running=True)
            for i in range(number)
        ]


@pytest.mark.parametrize(("stages", "interval"), [(2, 5), (50, 5), (100, 10), (1000, 100)])
async def test_all_stages_together_stay_within_the_budget(stages: int, interval: float) -> None:
    now = [0.0]

    async def sleep(seconds: float) -> None:
        now[0] += seconds
        await asyncio.sleep(0)
        if now[0] > 3 * interval:
            raise asyncio.CancelledError

    cluster, gauge = CountingCluster(now), Gauge("interval", "", registry=None)
    reader = ProgressReader(
        cluster,  # type: ignore[arg-type]
        Pods(stages),  # type: ignore[arg-type]
        WorkQueue[Key](), {}, seconds=5, budget=10, interval=gauge, sleep=sleep,
    )  # fmt: skip
    with pytest.raises((asyncio.CancelledError, BaseExceptionGroup)):
        await reader.run(lambda: now[0])
    assert len(cluster.reads) >= 2 * stages
    for second in range(int(now[0])):
        assert sum(second <= read < second + 1 for read in cluster.reads) <= 11, "ten a second, whatever runs"
    assert gauge._value.get() == interval


class HalfAway:
    """The logs of one node never come; notes the pods that were asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.again = asyncio.Event()

    async def log_tail(self, namespace: str, pod: str, *, lines: int) -> str:
        if pod in self.asked:
            self.again.set()
        self.asked.append(pod)
        if pod.startswith("away"):
            await asyncio.Event().wait()
        return line(epoch=1, epochs=2)


async def test_a_node_that_does_not_answer_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "ANSWER_SECONDS", 0.01)
    cache, cluster = Pods(100), HalfAway()
    for pod in cache.pods[:50]:
        pod.name, pod.node = f"away-{pod.name}", "away"
    store: dict[str, Progress] = {}
    reader = ProgressReader(
        cluster,  # type: ignore[arg-type]
        cache,  # type: ignore[arg-type]
        WorkQueue[Key](), store, seconds=1e-6, budget=1e6,
    )  # fmt: skip
    task = asyncio.create_task(reader.run(asyncio.get_running_loop().time))
    try:
        await asyncio.wait_for(cluster.again.wait(), 5)  # the next round asks the node again
        assert len(store) == 50
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert sum(pod.startswith("away") for pod in cluster.asked) <= 2 * progress.AT_ONCE


def test_numbers_for_metrics_alone_never_reach_the_status() -> None:
    found = latest(line(epoch=1, epochs=2, validationLoss=4.5, learningRate=1e-4))
    assert found is not None
    assert (found.validation_loss, found.learning_rate) == (4.5, 1e-4)
    assert not {"validationLoss", "learningRate"} & set(found.dump())
    odd = latest('{"yoloProgress":{"epoch":1,"epochs":2,"validationLoss":NaN,"learningRate":"x"}}')
    assert odd is not None
    assert (odd.epoch, odd.validation_loss, odd.learning_rate) == (1, None, None)
