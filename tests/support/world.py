"""A whole operator over a `MemoryCluster` and a `JobSimulator`, one deterministic step at a time.

The reconciler, the cache, the full lists and the worker's loop are the real ones. Between them and the cluster stand watches
whose changes arrive when the test says so: late, twice, or never (a gap, after which a list shows what is there and nothing tells
what went). The process can end between any two requests, and starts again with nothing but the cluster.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from job_simulator import JobSimulator, Script, is_finished
from memory_cluster import Change, Clock, Crash, MemoryCluster, Watch, finish
from prometheus_client import CollectorRegistry
from yolo_operator.api import resource
from yolo_operator.controller.cache import Cache, Key
from yolo_operator.controller.leisure import Leisure
from yolo_operator.controller.metrics import OperatorMetrics
from yolo_operator.controller.places import Places
from yolo_operator.controller.queue import ShutDown
from yolo_operator.controller.reconcile import NameTaken, Reconciler
from yolo_operator.controller.recorder import Recorder
from yolo_operator.controller.sync import WATCHED, WATCHED_JOBS, Synchroniser
from yolo_operator.controller.tidier import Tidier
from yolo_operator.controller.worker import work
from yolo_operator.kube.cluster import CLAIMS, EXPERIMENTS, JOBS, PODS, Object
from yolo_operator.kube.errors import ApiError
from yolo_operator.pipeline.limits import Limits
from yolo_operator.pipeline.values import Experiment, Notice

from examples import NAME, NAMESPACE, experiment_body

RUNNER: Object = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {
        "name": "yolo-runner-0123456789",
        "labels": {resource.LABEL_MANAGED_BY: resource.MANAGED_BY, resource.LABEL_COMPONENT: "runner"},
    },
    "immutable": True,
    "data": {"runner.py": "raise SystemExit"},
}
OPERATOR_IMAGE = "yolo-operator:test"
PATIENCE = 2000
"""Rounds after which a run that does not come to rest is given up."""


class StepQueue:
    """What `work` asks of a queue; it is empty when everything is done that is due."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.waiting: dict[Key, None] = {}
        self.due: dict[Key, datetime] = {}
        self.retries = 0

    def add(self, key: Key) -> None:
        self.waiting[key] = None

    def add_after(self, key: Key, seconds: float, *, idle: bool = False) -> None:
        moment = self._clock() + timedelta(seconds=seconds)
        self.due[key] = min(moment, self.due.get(key, moment))

    def retry(self, key: Key, at_least: float = 0.0, *, at_most: float = 300.0) -> float:
        self.retries += 1
        self.add_after(key, max(1.0, at_least))
        return at_least

    def forget(self, key: Key) -> None:
        pass

    def done(self, key: Key) -> None:
        pass

    async def get(self) -> Key:
        for key in [key for key, moment in self.due.items() if moment <= self._clock()]:
            del self.due[key]
            self.add(key)
        if not self.waiting:
            raise ShutDown
        key = next(iter(self.waiting))
        del self.waiting[key]
        return key


class _Watched:
    """A reconciler whose bugs are not swallowed."""

    def __init__(self, reconciler: Reconciler) -> None:
        self._reconciler, self.cache = reconciler, reconciler.cache
        self.bugs: list[Exception] = []

    async def reconcile(self, key: Key) -> float | None:
        try:
            return await self._reconciler.reconcile(key)
        except (ApiError, NameTaken):
            raise
        except Exception as error:
            self.bugs.append(error)
            raise


class _Noting(Recorder):
    """Keeps what was recorded, apart from what is waiting to be written."""

    def __init__(self, cluster: MemoryCluster, clock: Clock) -> None:
        super().__init__(cluster, clock)
        self.notices: list[Notice] = []

    def record(self, experiment: Experiment, notices: list[Notice]) -> None:
        self.notices += notices
        super().record(experiment, notices)


class Operator:
    """One process: it starts with a full list and lives until it is dropped."""

    def __init__(
        self, cluster: MemoryCluster, clock: Clock, limits: Limits | None = None, pressed: Callable[[], bool] = lambda: False
    ) -> None:
        self.cluster = cluster
        self.cache, self.queue = Cache(), StepQueue(clock)
        self.recorder = _Noting(cluster, clock)
        self.tidier = Tidier(cluster, self.cache, Leisure(lambda: False))
        self.reconciler = Reconciler(cluster, self.cache, self.recorder, self.tidier, clock, OPERATOR_IMAGE, RUNNER)
        self.reconciler.pressed = lambda _: pressed()
        self.reconciler.later = self.queue.add_after
        if limits is not None:
            self.reconciler.places = Places(self.cache, limits, clock, self.queue.add)
        self._watched = _Watched(self.reconciler)
        self._metrics = OperatorMetrics(CollectorRegistry())
        self._synchroniser = Synchroniser(
            cluster, self.cache, self.queue, self._metrics, namespaces=(), runner_name=RUNNER["metadata"]["name"]
        )
        self.watches = {
            kind: cluster.watch(kind, selector) for kind, selector in ((EXPERIMENTS, ""), (JOBS, WATCHED_JOBS), (PODS, WATCHED))
        }
        self.resync()

    def resync(self) -> None:
        """The full list."""
        finish(self._synchroniser.once())

    def take(self, watch: Watch, *, twice: bool = False) -> None:
        """Let one change of a watch arrive."""
        change = watch.pending.popleft()
        for _ in range(2 if twice else 1):
            self._arrive(watch, change)

    def deliver(self) -> bool:
        """Let everything arrive; whether there was anything."""
        some = False
        for watch in self.watches.values():
            while watch.pending:
                self.take(watch)
                some = True
        return some

    def gap(self, watch: Watch) -> None:
        """The watch breaks; the list after it shows what is there. What went meanwhile nobody tells."""
        watch.pending.clear()
        for body in self.cluster.objects(watch.kind, selector=watch.selector):
            watch.pending.append(Change(None, body))

    def work(self) -> None:
        """Look at every experiment that is due."""
        finish(work(self.queue, self._watched, self._metrics))  # type: ignore[arg-type]
        if self._watched.bugs:
            raise self._watched.bugs[0]
        while self.tidier.waiting:
            finish(self.tidier.write_one())

    def stop(self) -> None:
        """The process is gone."""
        for watch in self.watches.values():
            self.cluster.unwatch(watch)

    def _arrive(self, watch: Watch, change: Change) -> None:
        deleted, body, keys = change.type == "DELETED", change.body, []
        if watch.kind == EXPERIMENTS:
            keys = self.cache.remove_experiment(body) if deleted else [self.cache.put_experiment(body)]
        elif watch.kind == JOBS:
            keys = [self.cache.remove_job(body) if deleted else self.cache.put_job(body)]
        else:
            keys = [self.cache.remove_pod(body) if deleted else self.cache.put_pod(body)]
        for key in keys:
            if key is not None:
                self.queue.add(key)


class World:
    """A cluster with one experiment (or more), its Jobs' life, and the operator."""

    def __init__(
        self,
        spec: dict[str, Any] | None = None,
        script: Script | None = None,
        *,
        rng: random.Random | None = None,
        claim: bool = True,
        limits: Limits | None = None,
        pressed: Callable[[], bool] = lambda: False,
        **simulator: Any,
    ) -> None:
        self.clock = Clock()
        self.cluster = MemoryCluster(self.clock)
        self.simulator = JobSimulator(self.cluster, script, rng=rng, **simulator)
        self.jobs_made: list[Object] = []
        self._births = self.cluster.watch(JOBS)
        if claim:
            self.cluster.add(CLAIMS, NAMESPACE, {"metadata": {"name": "data"}})
        if spec is not None:
            self.cluster.add(EXPERIMENTS, NAMESPACE, experiment_body(spec))
        self.crashes = 0
        self.limits, self.pressed = limits, pressed
        self.operator = Operator(self.cluster, self.clock, limits, pressed)
        self.after_round: Callable[[], None] = lambda: None

    # --- what a test does to it ---

    def edit(self, change: Object, name: str = NAME) -> None:
        """A user's merge patch."""
        self.cluster.update(EXPERIMENTS, NAMESPACE, name, change)

    def restart(self) -> None:
        """The operator's process ends and another one starts."""
        self.operator.stop()
        self.operator = Operator(self.cluster, self.clock, self.limits, self.pressed)

    def work(self) -> None:
        """Let the operator do what is due; a crash restarts it."""
        try:
            self.operator.work()
        except Crash:
            self.crashes += 1
            self.restart()

    def round(self) -> bool:
        """Everything arrives, everything due is done, Jobs make a step; false when nothing is left to happen."""
        self.operator.deliver()
        self.work()
        self.after_round()
        moved = self.simulator.tick()
        self.clock.advance(1)
        if moved or self.operator.queue.waiting or any(watch.pending for watch in self.operator.watches.values()):
            return True
        return self._skip_to_next_due()

    def rest(self, *, rounds: int = PATIENCE) -> World:
        """Run until nothing more happens by itself."""
        for _ in range(rounds):
            if not self.round():
                self.operator.resync()
                self.operator.work()
                if not self.round():
                    return self
        raise AssertionError(f"no rest after {rounds} rounds: {self.states()}")

    def until(self, holds: Callable[[], bool], *, rounds: int = PATIENCE) -> World:
        """Run until something holds."""
        for _ in range(rounds):
            if holds():
                return self
            self.round()
        raise AssertionError(f"never held within {rounds} rounds: {self.states()}")

    def _skip_to_next_due(self) -> bool:
        """Move the clock to the next moment that matters. Looks that an idle experiment wants every few seconds do not."""
        due = self.operator.queue.due
        if not due:
            return any(not is_finished(job) and self.simulator.rng is not None for job in self.cluster.objects(JOBS))
        soonest = min(due.values())
        self.clock.now = max(self.clock.now, soonest)
        return True

    # --- what a test sees ---

    def status(self, name: str = NAME) -> dict[str, Any]:
        """The experiment's status."""
        body = self.cluster.peek(EXPERIMENTS, NAMESPACE, name)
        assert body is not None
        return body.get("status") or {}

    def stage(self, stage: str, variant: str = "", name: str = NAME) -> dict[str, Any]:
        """A stage's record."""
        (record,) = [r for r in self.status(name)["stages"] if (r["name"], r.get("variant", "")) == (stage, variant)]
        return dict(record)

    def states(self, name: str = NAME) -> dict[str, str]:
        """State by stage."""
        return {f"{r['name']} {r.get('variant', '')}".strip(): r["state"] for r in self.status(name).get("stages") or ()}

    def condition(self, kind: str, name: str = NAME) -> dict[str, Any]:
        """A condition."""
        (found,) = [c for c in self.status(name)["conditions"] if c["type"] == kind]
        return dict(found)

    def created_jobs(self) -> list[Object]:
        """Every Job that was ever made, in order."""
        while self._births.pending:
            change = self._births.pending.popleft()
            if change.type == "ADDED":
                self.jobs_made.append(change.body)
        return self.jobs_made

    def reasons(self) -> list[str]:
        """Reasons of the Events that were recorded by this process, in order."""
        return [notice.reason for notice in self.operator.recorder.notices]


_TIMES = {"createTime", "startTime", "finishTime", "retryTime", "completionTime", "lastTransitionTime", "time"}


def timeless(value: Any) -> Any:
    """A status without its times."""
    if isinstance(value, dict):
        return {key: timeless(inner) for key, inner in value.items() if key not in _TIMES}
    return [timeless(inner) for inner in value] if isinstance(value, list) else value
