"""Statuses that are put off while other experiments wait: fewer writes, the same end."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from job_simulator import Outcome, stage_of
from world import World, timeless
from yolo_operator.api.status import Status
from yolo_operator.controller.cache import Key
from yolo_operator.controller.reconcile import LATE_A_SECOND, lag_seconds, part_of
from yolo_operator.kube.cluster import EXPERIMENTS
from yolo_operator.pipeline.summary import only_goes_on
from yolo_operator.pipeline.times import from_text

from examples import NAME, NAMESPACE, small_spec, whole_spec


def status_writes(world: World) -> int:
    return sum(r.verb == "patch" and r.resource == EXPERIMENTS.plural for r in world.cluster.requests)


def comparable(world: World) -> Any:
    return timeless({name: value for name, value in world.status().items() if name != "message"})


@pytest.mark.parametrize("spec", [small_spec(), whole_spec()])
def test_the_end_is_the_same_with_fewer_writes(spec: dict[str, Any]) -> None:
    calm, pressed = World(spec).rest(), World(spec, pressed=lambda: True).rest()
    assert comparable(pressed) == comparable(calm)
    assert len(pressed.created_jobs()) == len(calm.created_jobs())
    assert status_writes(pressed) < status_writes(calm)
    assert sorted(set(pressed.reasons())) == sorted({*pressed.reasons()} & {*calm.reasons()})
    assert pressed.reasons().count("StageSucceeded") == calm.reasons().count("StageSucceeded")


def test_a_status_is_never_further_behind_than_the_lag() -> None:
    # Many stages: without the bound the last of a few would be written with the experiment's end soon enough.
    world = World(whole_spec(), pressed=lambda: True)
    behind: dict[str, float] = {}

    def look() -> None:
        records = world.status().get("stages") or ()
        running = {record.get("job") for record in records}
        done = {(record["name"], record.get("variant", "")) for record in records if record["state"] == "Succeeded"}
        for job in world.created_jobs():
            name = job["metadata"]["name"]
            if name not in running and stage_of(job) not in done:
                age = (world.clock() - from_text(job["metadata"]["creationTimestamp"])).total_seconds()
                behind[name] = max(behind.get(name, 0.0), age)

    world.after_round = look
    world.rest()
    assert behind
    assert max(behind.values()) <= lag_seconds(1, part_of(Key(NAMESPACE, NAME))) + 2


@pytest.mark.parametrize(("owed", "seconds"), [(1, 15), (60, 15), (120, 30), (240, 60), (5000, 60)])
def test_the_more_statuses_are_behind_the_further_each_may_be_up_to_a_minute_on_average(owed: int, seconds: float) -> None:
    assert [lag_seconds(owed, part) for part in (0.0, 0.5, 1.0)] == [seconds / 2, seconds, 1.5 * seconds]


@pytest.mark.parametrize("owed", [300, 1000, 5000])
def test_statuses_that_fall_behind_together_come_due_one_after_the_other(owed: int) -> None:
    due = [lag_seconds(owed, part_of(Key("bench", f"burst-{number:05d}"))) for number in range(owed)]
    even = max(LATE_A_SECOND, owed / 60)
    assert max(Counter(int(each) for each in due).values()) < 2 * even


def test_a_job_that_the_status_did_not_know_keeps_the_time_it_was_made() -> None:
    world = World(small_spec(), pressed=lambda: True).rest()
    for record in world.status()["stages"]:
        assert record["createTime"] <= record["startTime"] <= record["finishTime"], record["name"]


def test_a_failure_is_written_at_once() -> None:
    world = World(small_spec(), {("train", ""): [Outcome.TRANSIENT]}, pressed=lambda: True)
    world.until(lambda: bool(world.stage("train").get("attempts")) if world.status().get("stages") else False)
    due = world.stage("train")["retryTime"]
    world.rest()
    assert len(world.stage("train")["attempts"]) == 1
    assert world.stage("train")["createTime"] >= due


def test_an_operator_that_dies_with_statuses_put_off_runs_nothing_twice() -> None:
    world = World(whole_spec(), pressed=lambda: True)
    calm = World(whole_spec()).rest()
    for number in range(400):
        world.round()
        if number % 3 == 0:
            world.restart()
    world.rest()
    assert comparable(world) == comparable(calm)
    assert len(world.created_jobs()) == len(calm.created_jobs())


def test_the_first_status_may_be_behind_the_first_job() -> None:
    world = World(small_spec(), pressed=lambda: True)
    world.until(lambda: bool(world.created_jobs()))
    assert not world.status().get("stages")
    claims = [request for request in world.cluster.requests if request.resource == "persistentvolumeclaims"]
    world.rest()
    assert world.status()["phase"] == "Succeeded"
    again = [request for request in world.cluster.requests if request.resource == "persistentvolumeclaims"]
    assert len(again) == len(claims), "the claim is not asked for again at each look"


def test_what_is_more_than_going_on() -> None:
    stage = {"name": "train", "state": "Running", "attempt": 1, "digest": "a"}
    before = {"phase": "Running", "observedGeneration": 1, "stages": [stage]}

    def step(record: dict[str, Any] | None = None, **changes: Any) -> bool:
        after = before | {"stages": [stage | (record or {})]} | changes
        return only_goes_on(Status.model_validate(before), Status.model_validate(after))

    assert step({"state": "Succeeded"})
    assert step({"progress": {"epoch": 3}})
    assert only_goes_on(Status(), Status.model_validate(before))
    assert only_goes_on(Status.model_validate({"phase": "Pending", "observedGeneration": 1}), Status.model_validate(before))
    assert not only_goes_on(Status.model_validate({"phase": "Pending", "observedGeneration": 0}), Status.model_validate(before))
    assert not only_goes_on(Status.model_validate(before | {"phase": "Failed"}), Status.model_validate(before))
    assert not step({"state": "Failed"})
    assert not step({"state": "Suspended"})
    assert not step({"digest": "b"})
    assert not step({"retryTime": "2026-01-01T00:00:00Z"})
    assert not step(phase="Succeeded")
    assert not step(observedGeneration=2)
    assert not step(retry="again")
