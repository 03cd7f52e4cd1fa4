"""Several teams under limits: a whole operator, with restarts, crashes and late watches, and who has a place at every moment."""

from __future__ import annotations

import contextlib
import os
import random
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from job_simulator import is_finished
from memory_cluster import Crash, Request
from world import World
from yolo_operator.api import resource
from yolo_operator.controller.cache import Key
from yolo_operator.kube.cluster import CLAIMS, EXPERIMENTS, JOBS
from yolo_operator.kube.errors import ApiError
from yolo_operator.pipeline.limits import Limits
from yolo_operator.pipeline.plan import plan
from yolo_operator.pipeline.values import ClaimState, CreateJob, Experiment, Observed

from examples import experiment_body, small_spec

LENGTH = int(os.environ.get("YOLO_SIMULATION_RUNS", "1"))
TEAMS = ("red", "green", "blue")


def limits(**values: Any) -> Limits:
    return Limits.model_validate(values)


def apply(world: World, namespace: str, name: str, **spec: Any) -> None:
    """An experiment whose training and evaluation want a GPU each."""
    body = small_spec(**({"resources": {"gpus": 1}, "workspace": {"claimName": "data", "subPath": name}} | spec))
    if world.cluster.peek(CLAIMS, namespace, "data") is None:
        world.cluster.add(CLAIMS, namespace, {"metadata": {"name": "data"}})
    world.cluster.add(EXPERIMENTS, namespace, experiment_body(body, name))


def status(world: World, namespace: str, name: str) -> dict[str, Any]:
    body = world.cluster.peek(EXPERIMENTS, namespace, name)
    assert body is not None
    return body.get("status") or {}


def live(world: World) -> list[dict[str, Any]]:
    return [job for job in world.cluster.objects(JOBS) if not is_finished(job)]


def gpus(job: dict[str, Any]) -> int:
    wanted = job["spec"]["template"]["spec"]["containers"][0]["resources"].get("limits", {})
    return sum(int(number) for name, number in wanted.items() if "/" in name)


def gpus_by_team(world: World) -> Counter[str]:
    found: Counter[str] = Counter()
    for job in live(world):
        found[job["metadata"]["namespace"]] += gpus(job)
    return found


def experiments_by_team(world: World) -> Counter[str]:
    """Experiments with a live Job; those between two stages are not seen here."""
    owners = {(job["metadata"]["namespace"], job["metadata"]["labels"][resource.LABEL_EXPERIMENT]) for job in live(world)}
    return Counter(namespace for namespace, _ in owners)


def phases(world: World) -> Counter[str]:
    return Counter((body.get("status") or {}).get("phase", "") for body in world.cluster.objects(EXPERIMENTS))


def all_succeeded(world: World) -> None:
    world.rest()
    assert set(phases(world)) == {"Succeeded"}
    assert not world.simulator.problems


# --- single stories ---


def test_the_second_experiment_is_queued_says_why_and_starts_when_the_first_has_ended() -> None:
    world = World(limits=limits(default={"maxConcurrentExperiments": 1}))
    apply(world, "red", "one")
    apply(world, "red", "two")
    world.until(lambda: status(world, "red", "two").get("phase") == "Queued")
    waiting = status(world, "red", "two")
    (first, *_) = waiting["stages"]
    assert (first["state"], first["reason"]) == ("Pending", "LimitReached")
    assert first["message"] == "waits for a place: the limit of namespace red is 1 experiment, 1 in use"
    assert waiting["message"] == f"prepare: {first['message']}"
    conditions = {c["type"]: c for c in waiting["conditions"]}
    assert (conditions["Reconciling"]["status"], conditions["Stalled"]["status"]) == ("True", "False")
    assert world.reasons().count("LimitReached") == 1
    first_done: list[bool] = []
    world.after_round = lambda: first_done.append(status(world, "red", "one").get("phase") == "Succeeded") or None  # type: ignore[func-returns-value]
    world.until(lambda: bool(status(world, "red", "two")["stages"][0].get("job")))
    assert first_done[-1], "the place is given back at the end and not between the stages"
    all_succeeded(world)
    assert status(world, "red", "two")["stages"][0]["waitTime"]


def test_a_place_is_free_soon_after_an_end_without_looking_at_everybody() -> None:
    world = World(limits=limits(default={"maxConcurrentExperiments": 1}))
    for number in range(20):
        apply(world, "red", f"e{number:02}")
    world.until(lambda: phases(world)["Queued"] == 19)
    for _ in range(4):
        # Each is looked at once more after its status was written.
        world.round()
    looks: Counter[Key] = Counter()
    reconcile = world.operator._watched.reconcile

    async def counted(key: Key) -> float | None:
        looks[key] += 1
        return await reconcile(key)

    world.operator._watched.reconcile = counted  # type: ignore[method-assign]
    world.until(lambda: phases(world)["Succeeded"] == 2)
    waiting = [key for key in looks if status(world, *key)["phase"] == "Queued"]
    assert sum(looks[key] for key in waiting) <= 2


def test_gpus_are_counted_a_job_and_a_stage_without_any_goes_on() -> None:
    world = World(limits=limits(cluster={"maxGPUs": 1}))
    for team in TEAMS:
        apply(world, team, "one")
    most = 0

    def look() -> None:
        nonlocal most
        most = max(most, sum(gpus_by_team(world).values()))
        assert most <= 1

    world.after_round = look
    # All prepare at once; then one trains at a time.
    world.until(lambda: sum(experiments_by_team(world).values()) == 3)
    all_succeeded(world)
    assert most == 1


def test_a_higher_priority_goes_first_and_a_namespace_may_not_claim_one() -> None:
    world = World(limits=limits(default={"maxConcurrentExperiments": 1}, cluster={"maxConcurrentExperiments": 1}))
    apply(world, "red", "running")
    world.until(lambda: phases(world)["Running"] == 1)
    apply(world, "red", "plain")
    apply(world, "green", "urgent", priority=7)
    apply(world, "blue", "plain")
    world.until(lambda: phases(world)["Queued"] == 3)
    all_succeeded(world)
    ends = {key: status(world, *key)["completionTime"] for key in (("green", "urgent"), ("blue", "plain"), ("red", "plain"))}
    assert ends["green", "urgent"] < min(ends["blue", "plain"], ends["red", "plain"])


def test_a_limit_below_what_one_stage_asks_for_stalls_it_and_nobody_else() -> None:
    world = World(limits=limits(default={"maxGPUs": 1}))
    apply(world, "red", "huge", stages={"train": {"resources": {"gpus": 4}}})
    apply(world, "red", "small")
    world.rest()
    assert status(world, "red", "small")["phase"] == "Succeeded"
    huge = status(world, "red", "huge")
    (stalled,) = [c for c in huge["conditions"] if c["type"] == "Stalled"]
    assert (stalled["status"], stalled["reason"]) == ("True", "LimitTooLow")
    assert stalled["message"].startswith("asks for 4 GPUs, but the limit of namespace red is 1 GPU")
    world.cluster.update(EXPERIMENTS, "red", "huge", {"spec": {"stages": None}})
    all_succeeded(world)


@pytest.mark.parametrize("leaves", ["suspended", "deleted", "cancelled"])
def test_who_leaves_gives_the_place_back(leaves: str) -> None:
    world = World(limits=limits(default={"maxConcurrentExperiments": 1}))
    apply(world, "red", "one")
    apply(world, "red", "two")
    world.until(lambda: status(world, "red", "two").get("phase") == "Queued")
    match leaves:
        case "suspended":
            world.cluster.update(EXPERIMENTS, "red", "one", {"spec": {"suspend": True}})
        case "cancelled":
            annotations = {resource.ANNOTATION_CANCEL: "now"}
            world.cluster.update(EXPERIMENTS, "red", "one", {"metadata": {"annotations": annotations}})
        case _:
            world.cluster.remove(EXPERIMENTS, "red", "one")
            for job in live(world):
                world.cluster.mark_deleted(JOBS, "red", job["metadata"]["name"], foreground=True)
    world.until(lambda: status(world, "red", "two")["phase"] == "Succeeded")


def test_who_comes_back_asks_again() -> None:
    """An experiment that had ended and has more to do has no place any more."""
    world = World(limits=limits(default={"maxConcurrentExperiments": 1}))
    apply(world, "red", "one")
    all_succeeded(world)
    apply(world, "red", "two")
    world.until(lambda: status(world, "red", "two").get("phase") == "Running")
    world.cluster.update(EXPERIMENTS, "red", "one", {"metadata": {"annotations": {resource.ANNOTATION_RERUN: "train=again"}}})
    world.until(lambda: status(world, "red", "one")["phase"] == "Queued")
    assert experiments_by_team(world)["red"] == 1
    all_succeeded(world)


def test_who_cannot_make_its_job_keeps_nobody_waiting() -> None:
    world = World(limits=limits(default={"maxConcurrentExperiments": 1}))
    apply(world, "red", "one")
    world.until(lambda: status(world, "red", "one").get("phase") == "Running")
    apply(world, "red", "broken", priority=9)
    apply(world, "red", "two")
    world.until(lambda: phases(world)["Queued"] == 2)

    def refuse(request: Request) -> None:
        if request.verb == "create" and request.resource == "jobs" and "broken" in request.name:
            raise ApiError(403, "Forbidden", "admission webhook says no")

    world.cluster.on_request = refuse
    world.until(lambda: status(world, "red", "two")["phase"] == "Succeeded")


def test_a_queues_jobs_are_left_to_kueue_where_that_is_said() -> None:
    for decides, running in ((False, 1), (True, 3)):
        world = World(limits=limits(default={"maxConcurrentExperiments": 1}, kueueDecides=decides))
        for number in range(3):
            apply(world, "red", f"e{number}", queueName="gpus")
        for _ in range(10):
            world.operator.deliver()
            world.work()
        assert experiments_by_team(world)["red"] == running


def test_two_looks_at_once_do_not_both_take_the_last_place() -> None:
    """Workers take turns at every request: what one was given counts before its Job is there."""
    world = World(limits=limits(default={"maxConcurrentExperiments": 1}))
    for name in ("one", "two"):
        apply(world, "red", name)
    world.operator.deliver()
    places, cache = world.operator.reconciler.places, world.operator.cache
    assert places is not None
    wants = {}
    for name in ("one", "two"):
        row = cache.experiments.get("red", name)
        assert row is not None
        assert row.experiment is not None
        wants[name] = (row.experiment, row.created, (first_job(row.experiment),))
    with places.look(Key("red", "one")):
        assert not places.ask(*wants["one"])
        with places.look(Key("red", "two")):
            assert len(places.ask(*wants["two"])) == 1
    # Nothing came of it, so the place is free again; but not while it is not known whether anything came of it.
    with contextlib.suppress(ApiError), places.look(Key("red", "two")):
        assert not places.ask(*wants["two"])
        raise ApiError(0, "Timeout", "no answer")
    with places.look(Key("red", "one")):
        assert len(places.ask(*wants["one"])) == 1


def first_job(experiment: Experiment) -> CreateJob:
    decision = plan(experiment, Observed(claim=ClaimState.PRESENT), datetime(2026, 1, 1, tzinfo=UTC))
    (create,) = decision.actions
    assert isinstance(create, CreateJob)
    return create


# --- any history ---

BOUNDS = limits(
    cluster={"maxGPUs": 4},
    default={"maxConcurrentExperiments": 2, "maxGPUs": 2},
    namespaces={"blue": {"maxConcurrentExperiments": 1}},
)


@pytest.mark.parametrize("seed", range(3 * LENGTH))
def test_no_limit_is_broken_at_any_moment_and_all_end(seed: int) -> None:
    """Crashes between any two requests, answers that get lost, changes that arrive late or never, restarts."""
    rng = random.Random(seed)
    world = World(limits=BOUNDS, rng=rng)
    for number in range(8):
        stages = {"train": {"resources": {"gpus": rng.choice([1, 2])}}}
        apply(world, rng.choice(TEAMS), f"e{number:02}", priority=rng.randint(-1, 1), maxParallel=2, stages=stages)
    storms = 120

    def weather(request: Request) -> None:
        if storms > 0 and request.writes:
            if rng.random() < 0.04:
                raise Crash
            if rng.random() < 0.04:
                raise ApiError(500, "InternalError", "etcd is away")

    def within(_: object = None) -> None:
        used, teams = gpus_by_team(world), experiments_by_team(world)
        assert sum(used.values()) <= 4
        for team in TEAMS:
            assert used[team] <= 2
            assert teams[team] <= (1 if team == "blue" else 2)

    world.cluster.on_request = weather
    world.after_round = within
    while storms > 0:
        storms -= 1
        watch = rng.choice(list(world.operator.watches.values()))
        if rng.random() < 0.2:
            world.operator.gap(watch)
        elif watch.pending and rng.random() < 0.7:
            world.operator.take(watch)
            world.work()
            within()
        if rng.random() < 0.05:
            world.restart()
        if rng.random() < 0.6:
            world.round()
    world.cluster.on_request = lambda _: None
    all_succeeded(world)
