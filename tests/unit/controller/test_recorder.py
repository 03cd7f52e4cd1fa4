"""Events: one a message, counted, limited, and never in the way."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from memory_cluster import Clock, MemoryCluster
from yolo_operator.controller.leisure import Leisure
from yolo_operator.controller.recorder import BURST, REFILL_SECONDS, Recorder, event
from yolo_operator.kube.cluster import EVENTS, Object
from yolo_operator.kube.errors import ApiError
from yolo_operator.pipeline.values import EventKind, Notice

from examples import NAME, NAMESPACE, UID, experiment

NOTICE = Notice(EventKind.WARNING, "PodLost", "the pod is gone")


async def written(recorder: Recorder) -> None:
    """Let everything that was recorded be written."""
    task = asyncio.create_task(recorder.run())
    await asyncio.wait_for(recorder.drain(), 5)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def events(cluster: MemoryCluster) -> list[Object]:
    return cluster.objects(EVENTS, NAMESPACE)


async def test_the_same_message_is_counted() -> None:
    clock = Clock()
    cluster = MemoryCluster(clock)
    recorder = Recorder(cluster, clock)
    for _ in range(3):
        recorder.record(experiment(), [NOTICE])
        clock.advance(60)
    recorder.record(experiment(), [Notice(EventKind.NORMAL, "StageStarted", "train")])
    await written(recorder)
    lost, started = sorted(events(cluster), key=lambda body: -body["count"])
    assert (lost["count"], lost["reason"], lost["type"]) == (3, "PodLost", "Warning")
    assert lost["firstTimestamp"] < lost["lastTimestamp"]
    assert lost["involvedObject"]["uid"] == UID
    assert (started["count"], started["reason"]) == (1, "StageStarted")


async def test_another_process_goes_on_with_the_same_event() -> None:
    clock = Clock()
    cluster = MemoryCluster(clock)
    for _ in range(2):
        recorder = Recorder(cluster, clock)
        recorder.record(experiment(), [NOTICE])
        await written(recorder)
        clock.advance(60)
    (body,) = events(cluster)
    assert body["lastTimestamp"] > body["firstTimestamp"]


async def test_an_event_that_expired_is_written_anew() -> None:
    clock = Clock()
    cluster = MemoryCluster(clock)
    recorder = Recorder(cluster, clock)
    recorder.record(experiment(), [NOTICE])
    await written(recorder)
    cluster.remove(EVENTS, NAMESPACE, events(cluster)[0]["metadata"]["name"])
    recorder.record(experiment(), [NOTICE])
    await written(recorder)
    assert len(events(cluster)) == 1


async def test_a_flood_is_cut_off_and_trickles_on() -> None:
    clock = Clock()
    recorder = Recorder(MemoryCluster(clock), clock)
    notices = [Notice(EventKind.NORMAL, "Some", str(number)) for number in range(BURST + 5)]
    recorder.record(experiment(), notices)
    assert recorder.dropped == 5
    recorder.record(experiment(uid="other"), notices[:1])
    assert recorder.dropped == 5
    # A steady stream that is twice too fast gets half of it through.
    for _ in range(20):
        clock.advance(REFILL_SECONDS / 2)
        recorder.record(experiment(), notices[:1])
    assert recorder.dropped == 15


async def test_an_api_server_that_refuses_is_only_logged() -> None:
    clock = Clock()
    cluster = MemoryCluster(clock)
    recorder = Recorder(cluster, clock)

    def refuse(request: object) -> None:
        raise ApiError(500, "InternalError", "etcd")

    cluster.on_request = refuse
    recorder.record(experiment(), [NOTICE])
    await written(recorder)
    cluster.on_request = lambda request: None
    recorder.record(experiment(), [Notice(EventKind.NORMAL, "Next", "")])
    await written(recorder)
    assert [body["reason"] for body in events(cluster)] == ["Next"]


def test_names_are_objects_names_and_messages_bounded() -> None:
    body = event(experiment(name="n" * 63), Notice(EventKind.NORMAL, "R", "m" * 5000), Clock()())
    assert len(body["metadata"]["name"]) <= 253
    assert len(body["message"]) == 1024
    assert body["metadata"]["name"] != event(experiment(), NOTICE, Clock()())["metadata"]["name"]
    assert event(experiment(), NOTICE, Clock()())["metadata"]["name"].startswith(NAME)


async def test_what_waits_together_becomes_one_event() -> None:
    clock = Clock()
    cluster = MemoryCluster(clock)
    recorder = Recorder(cluster, clock)
    for stage in ("prepare", "anchors"):
        recorder.record(experiment(), [Notice(EventKind.NORMAL, "StageSucceeded", f"stage {stage}: done")])
        clock.advance(5)
    recorder.record(experiment(), [Notice(EventKind.WARNING, "StageSucceeded", "of another kind")])
    await written(recorder)
    both, other = sorted(events(cluster), key=lambda body: body["firstTimestamp"])
    assert (both["message"], both["count"]) == ("stage prepare: done; stage anchors: done", 1)
    assert both["firstTimestamp"] < both["lastTimestamp"]
    assert other["message"] == "of another kind"


async def test_what_does_not_fit_into_one_event_becomes_another() -> None:
    clock = Clock()
    cluster = MemoryCluster(clock)
    recorder = Recorder(cluster, clock)
    long = [letter * 600 for letter in "abcd"]
    recorder.record(experiment(), [Notice(EventKind.NORMAL, "StageSucceeded", text) for text in long])
    await written(recorder)
    assert sorted(body["message"] for body in events(cluster)) == long


async def test_events_wait_while_something_presses_and_not_at_the_end() -> None:
    clock, slept = Clock(), 0.0
    cluster = MemoryCluster(clock)

    async def sleep(seconds: float) -> None:
        nonlocal slept
        slept += seconds
        await asyncio.sleep(0)

    recorder = Recorder(cluster, clock, Leisure(lambda: slept < 0.4, sleep))
    recorder.record(experiment(), [NOTICE])
    task = asyncio.create_task(recorder.run())
    for _ in range(30):
        await asyncio.sleep(0)
    assert len(events(cluster)) == 1
    assert slept == pytest.approx(0.4, abs=0.06)
    recorder._leisure.presses = lambda: True
    recorder.record(experiment(), [Notice(EventKind.NORMAL, "Last", "")])
    await asyncio.wait_for(recorder.drain(), 5)
    task.cancel()
    assert len(events(cluster)) == 2
    assert slept < 0.6


async def test_warnings_go_first() -> None:
    clock = Clock()
    cluster = MemoryCluster(clock)
    recorder = Recorder(cluster, clock)
    recorder.record(experiment(), [Notice(EventKind.NORMAL, f"Reason{number}", "said") for number in range(3)])
    recorder.record(experiment(), [NOTICE])
    await written(recorder)
    made = [request.name for request in cluster.requests if request.verb == "create"]
    assert made[0] == event(experiment(), NOTICE, clock())["metadata"]["name"]
    assert len(made) == 4
