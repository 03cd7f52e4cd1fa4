"""The short look at an experiment that is complete: it must never be shorter than the truth."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from world import World
from yolo_operator.api import resource
from yolo_operator.kube.cluster import EXPERIMENTS, JOBS
from yolo_operator.kube.views import experiment_of
from yolo_operator.pipeline import memo, plan
from yolo_operator.pipeline.plan import at_rest
from yolo_operator.pipeline.values import JobState, MarkFinal, Observed

from examples import NAME, NAMESPACE, small_spec, whole_spec


def forget_jobs(world: World) -> World:
    """Their time to live is over."""
    for job in world.cluster.objects(JOBS):
        world.cluster.remove(JOBS, NAMESPACE, job["metadata"]["name"])
    return world.rest()


def test_a_restart_beside_finished_experiments_plans_and_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    world = forget_jobs(World(whole_spec()).rest())
    writes = world.cluster.writes

    def no(*_: Any, **__: Any) -> None:
        raise AssertionError("the work of a stage was asked for")

    monkeypatch.setattr(memo.RunMemo, "stage_run", no)
    world.restart()
    world.rest()
    assert world.cluster.writes == writes


@pytest.mark.parametrize("spec", [small_spec(), whole_spec()])
def test_whenever_it_is_at_rest_a_whole_plan_finds_nothing_either(spec: dict[str, Any]) -> None:
    world = World(spec)
    rested = 0

    def look() -> None:
        nonlocal rested
        row = world.operator.cache.experiments.get(NAMESPACE, NAME)
        if row is None or row.experiment is None:
            return
        observed = world.operator.cache.observed(row)
        if (ends := at_rest(row.experiment, observed)) is not None:
            rested += 1
            found = plan.plan(row.experiment, observed, world.clock())
            assert (found.status, found.confirm) == (row.experiment.status, ())
            assert sorted(found.actions, key=str) == sorted(ends, key=str)

    world.after_round = look
    world.rest()
    forget_jobs(world)
    assert rested


@pytest.mark.parametrize(
    "change",
    [
        {"spec": {"maxParallel": 3}},
        {"spec": {"workspace": {"subPath": "elsewhere"}}},
        {"metadata": {"annotations": {resource.ANNOTATION_RETRY: "again"}}},
        {"metadata": {"annotations": {resource.ANNOTATION_RERUN: "train=1"}}},
        {"metadata": {"annotations": {resource.ANNOTATION_CANCEL: "now"}}},
    ],
)
def test_what_a_user_asks_for_ends_the_rest(change: dict[str, Any]) -> None:
    world = forget_jobs(World(small_spec()).rest())
    body = world.cluster.peek(EXPERIMENTS, NAMESPACE, NAME)
    assert body is not None
    assert at_rest(experiment_of(body), Observed()) == ()
    world.edit(change)
    body = world.cluster.peek(EXPERIMENTS, NAMESPACE, NAME)
    assert body is not None
    assert at_rest(experiment_of(body), Observed()) is None


def test_a_rerun_that_is_taken_back_is_looked_at() -> None:
    world = World(small_spec()).rest()
    world.edit({"metadata": {"annotations": {resource.ANNOTATION_RERUN: "train=1"}}})
    forget_jobs(world.rest())
    world.edit({"metadata": {"annotations": {resource.ANNOTATION_RERUN: None}}})
    body = world.cluster.peek(EXPERIMENTS, NAMESPACE, NAME)
    assert body is not None
    assert at_rest(experiment_of(body), Observed()) is None


def test_jobs_that_are_left_are_let_go_and_one_that_runs_ends_the_rest() -> None:
    world = World(small_spec())
    world.until(lambda: len(world.operator.cache.jobs) > 0)
    left = tuple(world.operator.cache.jobs)
    world.rest()
    row = world.operator.cache.experiments.get(NAMESPACE, NAME)
    assert row is not None
    assert row.experiment is not None
    ended = tuple(replace(job, state=JobState.COMPLETE) for job in left)
    assert at_rest(row.experiment, Observed(jobs=ended)) == tuple(MarkFinal(job.name) for job in left)
    assert at_rest(row.experiment, Observed(jobs=left)) is None
