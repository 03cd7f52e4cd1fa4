"""What the watches' news lead to: a look at once, or a moment later."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from yolo_operator.api import resource
from yolo_operator.controller.cache import Cache, Key
from yolo_operator.controller.metrics import OperatorMetrics
from yolo_operator.controller.watch import SETTLE_SECONDS, Feed, decides, registry
from yolo_operator.kube.cluster import Change
from yolo_operator.kube.views import job_view

from examples import NAME, NAMESPACE, experiment_body


def job(**status: Any) -> dict[str, Any]:
    meta = {
        "namespace": NAMESPACE, "name": "plates-train-1", "uid": "u", "resourceVersion": "1",
        "labels": {resource.LABEL_EXPERIMENT: NAME, resource.LABEL_STAGE: "train"},
    }  # fmt: skip
    return {"metadata": meta, "spec": {}, "status": status}


ENDED = {"conditions": [{"type": "Complete", "status": "True"}]}
FAILED = {"conditions": [{"type": "Failed", "status": "True"}]}


@pytest.mark.parametrize(("status", "pressing"), [({}, False), ({"active": 1}, False), (ENDED, True), (FAILED, True)])
def test_only_a_job_that_ended_presses(status: dict[str, Any], pressing: bool) -> None:
    assert decides(job_view(job(**status))) is pressing


def test_a_job_that_is_held_or_goes_presses() -> None:
    assert decides(job_view(job() | {"spec": {"suspend": True}}))
    going = job()
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert decides(job_view(going))


class Notes:
    """A queue that notes what is asked of it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Key]] = []

    def add(self, key: Key) -> None:
        self.asked.append(("now", key))

    def add_after(self, key: Key, seconds: float, *, idle: bool) -> None:
        assert (seconds, idle) == (SETTLE_SECONDS, True)
        self.asked.append(("later", key))


async def test_every_news_enqueues_the_experiment() -> None:
    notes, key = Notes(), Key(NAMESPACE, NAME)
    metrics = OperatorMetrics(CollectorRegistry())
    feed = Feed(Cache(), notes, metrics)  # type: ignore[arg-type]
    handlers = registry(feed, SimpleNamespace())  # type: ignore[arg-type]
    (experiments,) = [handler.fn for handler in handlers._watching.get_all_handlers()]
    experiment = experiment_body()
    experiment["metadata"] |= {"namespace": NAMESPACE, "uid": "x", "resourceVersion": "1"}
    pod = job(phase="Running")
    await experiments(event={"type": "ADDED", "object": experiment})
    assert notes.asked.pop() == ("now", key)
    running = job(startTime="2026-01-01T00:00:00Z", active=1)
    running["metadata"]["resourceVersion"] = "2"
    news = [
        (feed.job, "ADDED", job(), "later"),
        (feed.job, "MODIFIED", running, "later"),
        (feed.pod, "ADDED", pod, "later"),
        (feed.pod, "DELETED", pod, "now"),
        (feed.job, "DELETED", running, "now"),
    ]
    for take, event, body, when in news:
        take(Change(event, body))
        assert notes.asked.pop() == (when, key), event
    assert not notes.asked


async def test_a_job_that_was_let_go_has_only_left_the_watch() -> None:
    notes, cache = Notes(), Cache()
    feed = Feed(cache, notes, OperatorMetrics(CollectorRegistry()))  # type: ignore[arg-type]
    final = job(succeeded=1)
    final["metadata"]["labels"] |= {resource.LABEL_FINAL: "true"}
    cache.put_job(final)
    feed.job(Change("DELETED", final))
    assert not notes.asked
    assert not len(cache.jobs)


async def test_a_new_version_alone_is_no_news() -> None:
    notes = Notes()
    feed = Feed(Cache(), notes, OperatorMetrics(CollectorRegistry()))  # type: ignore[arg-type]
    feed.job(Change("ADDED", job()))
    again = job(active=1, ready=0)
    again["metadata"]["resourceVersion"] = "2"
    feed.job(Change("MODIFIED", again))
    assert len(notes.asked) == 1
