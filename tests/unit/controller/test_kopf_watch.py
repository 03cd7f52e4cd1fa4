"""kopf's watch of the experiments: it outlives errors, and begins with a list of our own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from kopf._cogs.clients import fetching, watching
from kopf._cogs.clients.errors import APIServerError
from kopf._cogs.clients.watching import WatchingError
from memory_cluster import MemoryCluster
from prometheus_client import CollectorRegistry
from yolo_operator.controller import kopf_watch, watch
from yolo_operator.controller.cache import Cache, Key
from yolo_operator.controller.metrics import OperatorMetrics
from yolo_operator.controller.queue import WorkQueue
from yolo_operator.controller.sync import Synchroniser
from yolo_operator.kube.cluster import EXPERIMENTS
from yolo_operator.kube.errors import ApiError

from examples import NAME, NAMESPACE, experiment_body


@pytest.mark.parametrize("error", [APIServerError(None, status=500, headers={}), WatchingError("decode")])
async def test_a_watch_that_ends_with_an_error_of_the_api_server_begins_anew(
    monkeypatch: pytest.MonkeyPatch, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(kopf_watch, "AGAIN_SECONDS", 0.0)

    async def watch(**_: Any) -> AsyncIterator[int]:
        yield 1
        raise error

    assert [event async for event in kopf_watch.enduring(watch)(resource="jobs")] == [1]
    assert "the watch of jobs has ended" in caplog.text


async def test_an_error_of_our_own_ends_the_watch_for_all_to_see() -> None:
    async def watch(**_: Any) -> AsyncIterator[int]:
        yield 1
        raise KeyError("metadata")

    with pytest.raises(KeyError):
        [event async for event in kopf_watch.enduring(watch)(resource="jobs")]


async def test_kopfs_own_loop_uses_our_watch_and_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "continuous_watch", watching.continuous_watch)
    monkeypatch.setattr(fetching, "fetch_objs", fetching.fetch_objs)
    lists: list[str | None] = []

    async def enlist(namespace: str | None) -> int:
        lists.append(namespace)
        return 7

    async def watch_objs(*, since: str, **_: Any) -> AsyncIterator[Any]:
        yield {"type": "ADDED", "object": {"metadata": {"resourceVersion": "8"}, "since": since}}
        yield {"type": "ERROR", "object": {"code": 410}}

    monkeypatch.setattr(watching, "watch_objs", watch_objs)
    kopf_watch.adapt(enlist)
    settings = watch.operator_settings()
    settings.watching.reconnect_backoff = 0
    kinds = SimpleNamespace(plural="yoloexperiments")
    loop = watching.infinite_watch(settings=settings, resource=kinds, namespace="lab", _iterations=2)  # type: ignore[arg-type]
    seen = [event async for event in loop if not isinstance(event, watching.Bookmark)]
    assert [event["object"]["since"] for event in seen] == ["7", "7"]
    assert lists == ["lab", "lab"]


async def test_a_list_that_fails_begins_anew(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(kopf_watch, "AGAIN_SECONDS", 0.0)

    async def enlist(_: str | None) -> int:
        raise ApiError(503, "ServiceUnavailable", "not now")

    chunks = kopf_watch.listing(fetching.fetch_objs, enlist)
    found = kopf_watch.enduring(chunks)(resource=SimpleNamespace(plural="yoloexperiments"), namespace=None)
    assert [event async for event in found] == []
    assert "not now" in caplog.text


async def test_other_lists_are_kopfs_own() -> None:
    async def fetch(**_: Any) -> AsyncIterator[Any]:
        yield [{"kind": "Namespace"}], "3"

    async def enlist(_: str | None) -> int:
        raise AssertionError

    found = kopf_watch.listing(fetch, enlist)(resource=SimpleNamespace(plural="namespaces"), namespace=None)
    assert [chunk async for chunk in found] == [([{"kind": "Namespace"}], "3")]


async def test_the_first_watch_goes_on_from_the_first_list_and_a_later_one_lists() -> None:
    cluster = MemoryCluster()
    cluster.add(EXPERIMENTS, NAMESPACE, experiment_body())
    metrics, cache = OperatorMetrics(CollectorRegistry()), Cache()
    synchroniser = Synchroniser(cluster, cache, WorkQueue[Key](), metrics, namespaces=(), runner_name="runner")
    await synchroniser.once()
    restarts = metrics.watch_restarts.labels("experiment")
    enlist = watch.experiments_list(synchroniser, metrics)
    assert (await enlist(None), restarts._value.get()) == (synchroniser.versions[EXPERIMENTS, None], 0)
    cluster.remove(EXPERIMENTS, NAMESPACE, NAME)
    assert len(cache.experiments) == 1
    await enlist(None)
    # What went while nothing was watched is not in the list, either.
    assert (len(cache.experiments), restarts._value.get()) == (0, 1)
