"""Whole experiments under random failures, lost and late observations, restarts and crashes: one end, and no step twice.

`YOLO_SIMULATION_RUNS=20` makes each of these tests twenty times as long.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, assume, example, given, settings
from hypothesis import strategies as st
from job_simulator import Outcome, default_map, default_ratio, stage_of
from memory_cluster import Crash, Fault, apply_merge_patch
from oracle import Expected, expect
from pydantic import ValidationError
from world import World
from yolo_operator.api import resource
from yolo_operator.api.spec import parse_spec
from yolo_operator.kube.cluster import EXPERIMENTS, JOBS
from yolo_operator.kube.errors import ApiError
from yolo_operator.pipeline import memo
from yolo_operator.pipeline.plan import plan
from yolo_operator.pipeline.values import ClaimState, CreateJob, Experiment, Observed, StageKey, StageRun
from yolo_operator.pipeline.work import Results, stage_run

from examples import NAME, NAMESPACE, experiment_body, whole_spec

THRESHOLDS = (0.1, 0.3, 0.5, 0.7)
PLANNED = 25
"""Every so many looks are planned over and over: that costs more than all the rest."""
COMPARED = 10
"""Every so many answers of the memo are compared with what is computed."""
LENGTH = int(os.environ.get("YOLO_SIMULATION_RUNS", "1"))

# What happens on the way comes by a seed: shrinking it takes long and explains nothing.
runs = settings(
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


class _ComparedMemo(memo.RunMemo):
    """A memo that computes now and then what it remembers."""

    asked = 0

    def stage_run(
        self, experiment: Experiment, key: StageKey, results: Results, *, spoiled: Mapping[str, int] | None = None
    ) -> StageRun:
        run = super().stage_run(experiment, key, results, spoiled=spoiled)
        self.asked += 1
        if self.asked % COMPARED == 0:
            assert run == stage_run(experiment, key, results, spoiled=spoiled)
        return run


@pytest.fixture(autouse=True, scope="module")
def _nothing_wrong_is_remembered() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        compared = _ComparedMemo()
        patch.setattr(memo, "RUNS", compared)
        yield
        assert compared.asked >= COMPARED


def rounds(count: int, min_gain: float) -> dict[str, Any]:
    """`spec.inference` with pseudo-label rounds."""
    return {"rounds": {"count": count, "minGain": min_gain, "fineTune": {"numEpochs": 3}}}


@st.composite
def specs(draw: st.DrawFn) -> dict[str, Any]:
    """Any subset of the stages."""
    changes: dict[str, Any] = {
        "maxParallel": draw(st.integers(1, 4)),
        "retry": {"limit": draw(st.integers(0, 2)), "backoffSeconds": draw(st.sampled_from([1, 10]))},
    }
    if draw(st.booleans()):
        changes["export"] = None
    if draw(st.booleans()):
        changes["inference"] = None
    elif draw(st.booleans()):
        changes["inference"] = rounds(draw(st.integers(1, 3)), draw(st.sampled_from([0.0, 0.01, 0.1])))
    if draw(st.booleans()):
        changes["gates"] = {"train": draw(st.sampled_from([{"minMap": 0.9}, {"minMap": 0.95}, {"minAp": {"top_left": 0.5}}]))}
    thresholds = draw(st.lists(st.sampled_from(THRESHOLDS), max_size=3, unique=True))
    if not thresholds:
        return whole_spec(**changes, prune=None, retrain=None)
    select = draw(st.sampled_from([{"maxMapDrop": 0.02}, {"maxMapDrop": 0.0}, {"threshold": thresholds[-1]}]))
    if draw(st.booleans()):
        changes["retrain"] = None
    else:
        changes["retrain"] = {"numEpochs": 6, "candidates": draw(st.integers(1, 3))}
        if draw(st.booleans()):
            by = draw(st.sampled_from([0.0, 0.05]))
            changes["gates"] = {"prune": {"maxMapDrop": {"by": 0.01}}, "retrain": {"maxMapDrop": {"of": "prune", "by": by}}}
    return whole_spec(**changes, prune={"thresholds": thresholds, "select": select})


_STAGES = [
    ("prepare", ""),
    ("anchors", ""),
    ("train", ""),
    ("evaluate", ""),
    *((name, f"{threshold:g}") for name in ("prune", "evaluate-pruned") for threshold in THRESHOLDS),
    *((name, variant) for name in ("retrain", "evaluate-retrained") for variant in ("", "0.1", "0.3")),
    *((name, number) for name in ("pseudo-label", "merge", "fine-tune", "evaluate-round") for number in "12"),
    ("export", ""),
    ("evaluate-exported", ""),
    ("inference", ""),
]

# Deleting a Job by hand takes the attempt's number with it when the operator dies in between: it has tests of its own.
_ACCIDENTS = [outcome for outcome in Outcome if outcome not in (Outcome.SUCCESS, Outcome.USER)]
_SOME = st.lists(st.sampled_from(_ACCIDENTS), min_size=1, max_size=3)
_FATAL = st.builds(lambda before: [*before, Outcome.USER], st.lists(st.sampled_from(_ACCIDENTS), max_size=1))
scripts = st.dictionaries(st.sampled_from(_STAGES), st.one_of(_SOME, _SOME, _FATAL), max_size=4)


@dataclass
class Weather:
    """How badly things go: probabilities a round."""

    late: float = 0.0
    twice: float = 0.0
    gap: float = 0.0
    restart: float = 0.0
    crash: float = 0.0
    refusal: float = 0.0
    pressed: float = 0.0
    """A look at which other experiments wait, so that the status is put off."""


STORM = Weather(late=0.5, twice=0.2, gap=0.05, restart=0.05, crash=0.05, refusal=0.05, pressed=0.5)


class Watchman:
    """Checks after every round what must always hold."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.known: dict[tuple[str, str], dict[str, Any]] = {}
        """Each stage's record at the last look."""
        self.looks = 0

    def look(self) -> None:
        problems = self.world.simulator.problems
        assert not problems, problems
        earlier, self.known = self.known, {}
        for record in self.world.status().get("stages") or ():
            key = (record["name"], record.get("variant", ""))
            before = earlier.get(key, {"attempt": 0})
            self.known[key] = record
            if record.get("digest") != before.get("digest"):
                continue
            assert record["attempt"] >= before["attempt"], f"attempts of {key} went back"
            if before.get("state") != "Succeeded":
                continue
            if record["attempt"] > before["attempt"] or record.get("remakes", 0) > before.get("remakes", 0):
                assert record["why"].startswith("made again"), f"{key} succeeded, and runs again: {record['why']}"
            else:
                # It may wait to learn whether it stands, but its result is never lost.
                assert record["state"] in ("Succeeded", "Pending", "Skipped"), f"{key} succeeded, and then is {record['state']}"
                assert record.get("artifacts") == before.get("artifacts"), f"the result of {key} changed"
        self.looks += 1
        for row in self.world.operator.cache.experiments if self.looks % PLANNED == 0 else ():
            if row.experiment is not None:
                check_plan(row.experiment, self.world.operator.cache.observed(row), self.world.clock())


def check_plan(subject: Experiment, observed: Observed, now: datetime) -> None:
    """Planning is a function, and again and again over its own status it comes to rest and makes nothing twice."""
    observed = replace(observed, claim=ClaimState.PRESENT)
    created: list[str] = []
    for _ in range(8):
        decision = plan(subject, observed, now)
        assert decision == plan(subject, observed, now)
        made = [action.name for action in decision.actions if isinstance(action, CreateJob)]
        assert not set(made) & set(created)
        created += made
        if decision.status == subject.status:
            return
        subject = replace(subject, status=decision.status)
    raise AssertionError("planning comes to no rest")


def disturbed(spec: dict[str, Any], script: dict[tuple[str, str], list[Outcome]], weather: Weather, seed: int) -> World:
    """A run to its end in this weather."""
    rng = random.Random(seed)
    world = World(spec, script, rng=rng if weather != Weather() else None, pressed=lambda: rng.random() < weather.pressed)
    watchman = Watchman(world)
    for _ in range(1500):
        _happen(world, weather, rng)
        world.work()
        watchman.look()
        moved = world.simulator.tick()
        world.clock.advance(1)
        if not moved and (world.status().get("phase") in ("Succeeded", "Failed") or rng.random() < 0.2):
            world.cluster.faults.clear()
            if rng.random() < 0.5 and world.status().get("phase") in ("Succeeded", "Failed"):
                break
            world.operator.resync()
    return world.rest()


def _happen(world: World, weather: Weather, rng: random.Random) -> None:
    if rng.random() < weather.restart:
        world.restart()
    if rng.random() < weather.crash:
        world.cluster.faults[world.cluster.writes + rng.randint(1, 3)] = Fault(Crash(), after=rng.random() < 0.5)
    if rng.random() < weather.refusal:
        error = rng.choice(
            [ApiError(0, "TimeoutError", "no answer"), ApiError(500, "InternalError", "etcd"), ApiError(429, "", "")]
        )
        world.cluster.faults[world.cluster.writes + rng.randint(1, 3)] = Fault(error, after=rng.random() < 0.5)
    for watch in world.operator.watches.values():
        if rng.random() < weather.gap:
            world.operator.gap(watch)
        while watch.pending and rng.random() >= weather.late:
            world.operator.take(watch, twice=rng.random() < weather.twice)


def check_end(world: World, expected: Expected) -> None:
    """The end is the one that spec and script ask for."""
    status, states = world.status(), world.states()
    jobs = Counter(f"{stage} {variant}".strip() for stage, variant in map(stage_of, world.created_jobs()))
    assert status["phase"] == expected.phase
    assert not world.simulator.problems
    assert (status.get("chosen") or {}).get("variant") == expected.chosen
    not_needed = {f"{r['name']} {r.get('variant', '')}".strip() for r in status["stages"] if r.get("reason") == "NotNeeded"}
    assert not_needed.isdisjoint(expected.succeeded)
    for stage, state in states.items():
        if state == "Succeeded":
            assert jobs[stage] == expected.succeeded[stage]
        elif state == "Failed":
            assert jobs[stage] == expected.failed[stage]
        else:
            assert state == "Skipped"
            assert expected.phase == "Failed" or stage in not_needed
    for record in status["stages"]:
        stage = f"{record['name']} {record.get('variant', '')}".strip()
        assert record["attempt"] == jobs[stage]
        assert "job" not in record
    if expected.phase == "Succeeded":
        assert set(states) - not_needed == set(expected.succeeded)
        assert world.condition("Complete")["status"] == "True"
    else:
        assert world.condition("Failed")["status"] == "True"
        assert world.condition("Complete")["status"] == "False"
        assert expected.reason in (None, world.condition("Failed")["reason"]) or expected.failed
    for condition in status["conditions"]:
        assert condition["observedGeneration"] == status["observedGeneration"]
    assert world.condition("Reconciling")["status"] == "False"


def check_quiet(world: World) -> None:
    """Nothing writes any more: neither this process nor the next one."""
    writes = world.cluster.writes
    world.operator.queue.add(next(iter(world.operator.cache.experiments)).key)
    world.work()
    world.restart()
    world.work()
    assert world.cluster.writes == writes


def expected_of(spec: dict[str, Any], script: dict[tuple[str, str], list[Outcome]]) -> Expected:
    return expect(spec, script, map_of=default_map, ratio_of=default_ratio)


@settings(runs, max_examples=15 * LENGTH)
@given(specs(), scripts)
def test_every_experiment_comes_to_its_end(spec: dict[str, Any], script: dict[tuple[str, str], list[Outcome]]) -> None:
    world = disturbed(spec, script, Weather(), 0)
    check_end(world, expected_of(spec, script))
    check_quiet(world)


@settings(runs, max_examples=25 * LENGTH)
@given(specs(), scripts, st.integers(0, 2**32))
def test_in_any_weather_the_end_is_the_same(
    spec: dict[str, Any], script: dict[tuple[str, str], list[Outcome]], seed: int
) -> None:
    world = disturbed(spec, script, STORM, seed)
    check_end(world, expected_of(spec, script))
    check_quiet(world)


EDITS: list[dict[str, Any]] = [
    {"suspend": True},
    {"suspend": False},
    {"prune": {"thresholds": [0.1]}},
    {"prune": {"thresholds": [0.1, 0.5]}},
    {"prune": {"thresholds": [0.5, 0.3, 0.1]}},
    {"prune": {"select": {"maxMapDrop": 0.03}}},
    {"prune": {"select": {"maxMapDrop": 0.01}}},
    {"experimentSpec": {"trainingConfig": {"numEpochs": 40}}},
    {"experimentSpec": {"trainingConfig": {"numEpochs": 20}}},
    {"export": None},
    {"export": {"format": "onnx", "dataType": "fp32"}},
    {"inference": rounds(1, 0.0)},
    {"inference": rounds(2, 0.01)},
    {"inference": rounds(2, 0.2)},
    {"inference": {"rounds": None}},
    {"retrain": {"candidates": 2}},
    {"gates": {"retrain": {"minMap": 0.99}}},
    {"maxParallel": 1},
    {"maxParallel": 4},
]
FINAL = {
    "suspend": False,
    "prune": {"thresholds": [0.1, 0.3], "select": {"maxMapDrop": 0.02}},
    "inference": rounds(2, 0.015),
    "retrain": {"candidates": 1},
    "gates": None,
    "maxParallel": 2,
}


@settings(runs, max_examples=8 * LENGTH)
@given(st.integers(0, 2**32), st.dictionaries(st.sampled_from(_STAGES), st.one_of(_SOME, _FATAL), max_size=3))
@example(309, {})
def test_whatever_a_restless_user_does_the_end_is_that_of_the_last_spec(
    seed: int, script: dict[tuple[str, str], list[Outcome]]
) -> None:
    rng = random.Random(seed)
    world = World(whole_spec(), script, rng=rng, pressed=lambda: rng.random() < STORM.pressed)
    watchman = Watchman(world)
    for number in range(150):
        _happen(world, STORM, rng)
        if rng.random() < 0.1:
            world.edit({"spec": rng.choice(EDITS)})
        _somebody_annotates(world, rng, number)
        if rng.random() < 0.03:
            _somebody_deletes_a_job(world, rng)
        world.work()
        watchman.look()
        world.simulator.tick()
        world.clock.advance(rng.choice([1, 1, 1, 30]))
    world.cluster.faults.clear()
    quiet = {resource.ANNOTATION_CANCEL: None, resource.ANNOTATION_RERUN: None}
    world.edit({"spec": FINAL, "metadata": {"annotations": quiet}})
    for number in range(8):
        # What fails for good waits for a person's word; a script has at most so many such failures.
        world.rest()
        if world.status()["phase"] != "Failed":
            break
        world.edit({"metadata": {"annotations": {resource.ANNOTATION_RETRY: f"last-{number}"}}})
    watchman.look()
    body = world.cluster.peek(EXPERIMENTS, NAMESPACE, NAME)
    assert body is not None
    calm = World(body["spec"]).rest()
    assert world.status()["phase"] == "Succeeded"
    for ours, theirs in zip(world.status()["stages"], calm.status()["stages"], strict=True):
        for field in ("name", "variant", "state", "digest", "metrics", "artifacts"):
            assert ours.get(field) == theirs.get(field)
    assert world.status()["chosen"] == calm.status()["chosen"]
    assert world.status()["rounds"] == calm.status()["rounds"]
    check_quiet(world)


RERUNS = [None, "prune=1", "train=1,retrain=2", "prune/0.1=3", "merge=1", "prepare=2"]


def _somebody_annotates(world: World, rng: random.Random, number: int) -> None:
    """Tries failed stages again, asks for stages anew, cancels and thinks better of it."""
    for annotation, often, values in (
        (resource.ANNOTATION_RETRY, 0.05, [str(number)]),
        (resource.ANNOTATION_RERUN, 0.04, RERUNS),
        (resource.ANNOTATION_CANCEL, 0.05, [None, None, "stop"]),
    ):
        if rng.random() < often:
            world.edit({"metadata": {"annotations": {annotation: rng.choice(values)}}})


def _somebody_deletes_a_job(world: World, rng: random.Random) -> None:
    if jobs := world.cluster.objects(JOBS):
        meta = rng.choice(jobs)["metadata"]
        if rng.random() < 0.5:
            world.cluster.mark_deleted(JOBS, NAMESPACE, meta["name"], foreground=True)
        else:
            world.cluster.remove(JOBS, NAMESPACE, meta["name"])


def _something_is_lost(world: World, rng: random.Random, *, change: bool) -> None:
    """A file that a stage has made vanishes from the workspace, or is another one."""
    artifacts = [artifact["path"] for record in world.status().get("stages") or () for artifact in record.get("artifacts") or ()]
    if artifacts:
        world.simulator.vandalise(f"/workspace/{rng.choice(artifacts)}", change=change)


@settings(runs, max_examples=5 * LENGTH)
@given(specs(), st.integers(0, 2**32))
def test_what_is_lost_is_made_again_in_any_weather(spec: dict[str, Any], seed: int) -> None:
    expected = expected_of(spec, {})
    rng = random.Random(seed)
    world = World(spec, rng=rng, pressed=lambda: rng.random() < STORM.pressed)
    watchman = Watchman(world)
    for number in range(200):
        _happen(world, STORM, rng)
        if number % 40 == 20:
            _something_is_lost(world, rng, change=rng.random() < 0.5)
        world.work()
        watchman.look()
        world.simulator.tick()
        world.clock.advance(rng.choice([1, 30]))
    world.cluster.faults.clear()
    world.rest()
    watchman.look()
    assert world.status()["phase"] == expected.phase
    assert {stage for stage, state in world.states().items() if state == "Succeeded"} == set(expected.succeeded)
    check_quiet(world)


@settings(runs, max_examples=3 * LENGTH)
@given(specs(), st.sampled_from(EDITS), st.integers(0, 2**32), st.booleans())
def test_what_another_experiment_has_is_taken_over_in_any_weather(
    spec: dict[str, Any], edit: dict[str, Any], seed: int, vain: bool
) -> None:
    place = {"dataset": {**spec["dataset"], "claimName": "pictures"}, "gates": None}
    mine = apply_merge_patch({**spec, **place, "workspace": {"claimName": "data", "subPath": "a"}}, {**edit, "suspend": False})
    theirs = {**spec, **place, "workspace": {"claimName": "data", "subPath": "b"}}
    world = World({name: value for name, value in theirs.items() if value is not None}).rest()
    had = {record["digest"] for record in world.status()["stages"] if record["state"] == "Succeeded"}
    rng = world.simulator.rng = random.Random(seed)
    world.simulator.nothing_to_adopt = vain
    body = {name: value for name, value in mine.items() if value is not None}
    assume(_valid(body))
    world.cluster.add(EXPERIMENTS, NAMESPACE, experiment_body({**body, "from": {"experiment": NAME}}, "heir"))
    watchman = Watchman(world)
    for _ in range(150):
        _happen(world, STORM, rng)
        world.work()
        watchman.look()
        world.simulator.tick()
        world.clock.advance(rng.choice([1, 30]))
    world.cluster.faults.clear()
    world.rest()
    calm = World(body).rest()
    assert world.status("heir")["phase"] == calm.status()["phase"]
    for ours, other in zip(world.status("heir")["stages"], calm.status()["stages"], strict=True):
        for field in ("name", "variant", "state", "digest", "metrics", "artifacts"):
            assert ours.get(field) == other.get(field)
        if ours["state"] == "Succeeded":
            assert ours["why"].startswith("reused: from") == (ours["digest"] in had and not vain)


def _valid(spec: dict[str, Any]) -> bool:
    """An edit of one spec may make nonsense of another."""
    try:
        parse_spec(spec)
    except ValidationError:
        return False
    return True
