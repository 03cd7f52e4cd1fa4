"""A clock that is set back while the operator runs: nothing waits for as long as the clock was wrong."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from memory_cluster import Clock, MemoryCluster, finish
from world import World
from yolo_operator.api.spec import parse_spec
from yolo_operator.controller.podless import PATIENCE_SECONDS, SECONDS, PodlessJobs
from yolo_operator.controller.queued import QueueReasons
from yolo_operator.controller.reconcile import LAG_SECONDS
from yolo_operator.controller.recorder import BURST, Recorder
from yolo_operator.controller.sources import Sources
from yolo_operator.kube.cluster import CONFIG_MAPS, EVENTS
from yolo_operator.kube.kueue import LABEL_JOB_UID, WORKLOADS
from yolo_operator.pipeline import times
from yolo_operator.pipeline.values import EventKind, Held, JobState, JobView, Notice, Observed, StageKey
from yolo_operator.toolkit.invocation import DataPaths
from yolo_operator.toolkit.spec_text import experiment_text

from examples import NAME, NAMESPACE, experiment, small_spec, whole_spec

DATA = DataPaths("/workspace/train/images", "/workspace/train/labels", "/workspace/valid/images", "/workspace/valid/labels")
REFERENCE = {"configMapKeyRef": {"name": "config", "key": "config.txt"}}
BACK = [timedelta(hours=-3), timedelta(days=-400)]


def job(**changes: Any) -> JobView:
    values = {"namespace": NAMESPACE, "name": "a", "uid": "uid-a", "owner_uid": "u", "owner_name": NAME, "digest": "d"}
    return JobView(**(values | {"stage": StageKey("train"), "attempt": 1, "state": JobState.ACTIVE} | changes))


@pytest.mark.parametrize(("seconds", "passed"), [(-10_000.0, True), (-0.5, True), (0.0, False), (9.5, False), (10.0, True)])
def test_time_has_passed_or_nobody_knows(seconds: float, passed: bool) -> None:
    now = Clock()()
    assert times.passed(now, now + timedelta(seconds=seconds), 10) is passed


@pytest.mark.parametrize("by", BACK)
def test_a_status_that_is_put_off_is_written(by: timedelta) -> None:
    world = World(whole_spec(), pressed=lambda: True)
    world.until(lambda: bool(world.operator.reconciler._owed))
    (owed,) = world.operator.reconciler._owed
    clock = world.clock
    world.operator.reconciler.clock = lambda: clock() + by
    world.operator.work()
    for _ in range(int(1.5 * LAG_SECONDS) + 3):
        if owed not in world.operator.reconciler._owed:
            return
        world.round()
    raise AssertionError(f"not written within {1.5 * LAG_SECONDS:g} s")


@pytest.mark.parametrize("by", BACK)
def test_a_runner_that_is_gone_is_made_again(by: timedelta) -> None:
    world = World(small_spec()).rest()
    (runner,) = world.cluster.objects(CONFIG_MAPS, NAMESPACE)
    world.cluster.remove(CONFIG_MAPS, NAMESPACE, runner["metadata"]["name"])
    world.clock.now += by
    world.edit({"metadata": {"annotations": {"yolo-operator.dev/rerun": "train=1"}}})
    world.rest()
    assert [one["metadata"]["name"] for one in world.cluster.objects(CONFIG_MAPS, NAMESPACE)] == [runner["metadata"]["name"]]


@pytest.mark.parametrize("by", BACK)
def test_why_a_job_has_no_pod_is_told(by: timedelta) -> None:
    clock = Clock()
    cluster = MemoryCluster(clock)
    podless, seen = PodlessJobs(cluster, clock), Observed(jobs=(job(),))
    finish(podless.of(seen))
    clock.now += by
    clock.advance(PATIENCE_SECONDS)
    finish(podless.of(seen))
    event = {"metadata": {"name": "e"}, "involvedObject": {"uid": "uid-a"}, "reason": "FailedCreate", "message": "no"}
    cluster.add(EVENTS, NAMESPACE, event)
    clock.now += by
    clock.advance(SECONDS)
    assert finish(podless.of(seen))["a"].message == "its pod cannot be made: no"


@pytest.mark.parametrize("by", BACK)
def test_why_kueue_holds_a_job_is_read_again(by: timedelta) -> None:
    clock = Clock()
    cluster = MemoryCluster(clock)
    reasons = QueueReasons(cluster, clock)
    held = job(suspended=True)
    assert finish(reasons.of([held])) == {}, "there is no Kueue"
    clock.now += by
    cluster.serve(WORKLOADS[0])
    for said in ("first", "second"):
        status = {"conditions": [{"type": "QuotaReserved", "status": "False", "reason": "Pending", "message": said}]}
        if said == "first":
            cluster.add(WORKLOADS[0], NAMESPACE, {"metadata": {"name": "w", "labels": {LABEL_JOB_UID: "uid-a"}}})
        cluster.update(WORKLOADS[0], NAMESPACE, "w", {"status": status})
        found: dict[str, Held] = finish(reasons.of([held]))
        assert said in found["a"].message
        clock.now += by


@pytest.mark.parametrize("by", BACK)
def test_a_text_that_changed_is_read(by: timedelta) -> None:
    clock = Clock()
    cluster = MemoryCluster(clock)
    text = experiment_text(parse_spec(small_spec()), DATA, anchors=[[number, number] for number in range(10, 19)])
    cluster.add(CONFIG_MAPS, NAMESPACE, {"metadata": {"name": "config"}, "data": {"config.txt": text}})
    written = experiment(small_spec(experimentSpec=None, dataset=None, anchors=None, experimentSpecFrom=REFERENCE))
    sources = Sources(cluster, clock)
    before = finish(sources.whole(written)).spec.experiment_spec.training_config
    cluster.update(CONFIG_MAPS, NAMESPACE, "config", {"data": {"config.txt": text.replace("num_epochs: 20", "num_epochs: 30")}})
    clock.now += by
    after = finish(sources.whole(written)).spec.experiment_spec.training_config
    assert (before.num_epochs, after.num_epochs) == (20, 30)


@pytest.mark.parametrize("by", BACK)
async def test_events_are_still_written(by: timedelta) -> None:
    clock = Clock()
    recorder = Recorder(MemoryCluster(clock), clock)
    recorder.record(experiment(), [Notice(EventKind.NORMAL, "StageStarted", "before")])
    clock.now += by
    for number in range(BURST - 1):
        recorder.record(experiment(), [Notice(EventKind.NORMAL, "StageStarted", str(number))])
    assert recorder.dropped == 0
