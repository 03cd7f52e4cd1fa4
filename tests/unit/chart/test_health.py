"""What Argo CD and Flux make of everything the operator writes: the chart's health rules in Lua, and kstatus' rules."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from typing import Any

import pytest
from charts import CHART
from job_simulator import Outcome
from lupa.lua51 import LuaRuntime
from world import World
from yolo_operator.api import resource
from yolo_operator.api.status import Phase
from yolo_operator.kube.cluster import EXPERIMENTS, Object
from yolo_operator.kube.errors import ApiError

from examples import NAME, NAMESPACE, small_spec, whole_spec

HEALTH = (CHART / "files" / "argocd-health.lua").read_text()
# Argo CD opens the base and the table library and no other; strings have no methods there.
SANDBOX = """
debug.setmetatable("", nil)
for _, name in ipairs({"string", "math", "io", "os", "debug", "package", "require", "coroutine", "dofile", "loadfile"}) do
  _G[name] = nil
end
"""


def health(body: Object) -> dict[str, str]:
    """What the rules answer."""
    lua = LuaRuntime(register_eval=False, register_builtins=False, unpack_returned_tuples=True)
    lua.execute(SANDBOX)
    lua.globals().obj = lua.table_from(body, recursive=True)
    return dict(lua.execute(HEALTH))


def kstatus(body: Object) -> str:
    """kstatus' generic rules for a custom resource (its `checkGenericProperties`, then Ready, which we do not have)."""
    status = body.get("status") or {}
    if "observedGeneration" in status and status["observedGeneration"] != body["metadata"]["generation"]:
        return "InProgress"
    held = {condition["type"] for condition in status.get("conditions") or () if condition["status"] == "True"}
    if "Reconciling" in held:
        return "InProgress"
    return "Failed" if "Stalled" in held else "Current"


# --- histories: between them, every kind of status ---


def _stormy(seed: int) -> World:
    """Accidents, restarts, watches that break."""
    rng = random.Random(seed)
    stages = ["prepare", "train", "evaluate", "retrain", "export", "inference"]
    script = {(rng.choice(stages), ""): [rng.choice(list(Outcome)) for _ in range(rng.randint(1, 3))] for _ in range(3)}
    world = World(whole_spec(), script, rng=rng)

    def happens() -> None:
        if rng.random() < 0.05:
            world.restart()
        if rng.random() < 0.05:
            world.operator.gap(rng.choice(list(world.operator.watches.values())))

    world.after_round = happens
    return world


def _some_rounds(world: World) -> None:
    for _ in range(20):
        world.round()


def _suspended(world: World) -> None:
    world.until(lambda: world.states().get("train") == "Running")
    world.edit({"spec": {"suspend": True}})
    world.rest()
    world.edit({"spec": {"suspend": False}})
    world.rest()


def _held_by_kueue(world: World) -> None:
    world.simulator.holds_jobs = True
    _some_rounds(world)


def _secret_missing(world: World) -> None:
    world.simulator.secret_missing = True
    _some_rounds(world)
    world.simulator.secret_missing = False
    world.rest()


def _refused_then_admitted(world: World) -> None:
    _refused(world, "admission webhook says no")


def _over_quota(world: World) -> None:
    _refused(world, "exceeded quota: team, requested: count/jobs.batch=1, used: count/jobs.batch=4, limited: count/jobs.batch=4")


def _refused(world: World, why: str) -> None:
    def refuse(request: Any) -> None:
        if request.verb == "create" and request.resource == "jobs":
            raise ApiError(403, "Forbidden", why)

    world.cluster.on_request = refuse
    _some_rounds(world)
    world.cluster.on_request = lambda request: None
    world.rest()


def _edited_to_nonsense_after_the_end(world: World) -> None:
    world.rest()
    world.edit({"spec": {"prune": {"thresholds": [7]}}})
    world.rest()


def _edited_after_the_end(world: World) -> None:
    world.rest()
    world.edit({"spec": {"prune": {"thresholds": [0.1, 0.5]}}})
    world.rest()


def _failed_then_retried(world: World) -> None:
    world.rest()
    world.edit({"metadata": {"annotations": {resource.ANNOTATION_RETRY: "1"}}})
    world.rest()


HISTORIES: dict[str, tuple[Callable[[], World], Callable[[World], Any]]] = {
    "a whole experiment": (lambda: World(whole_spec()), World.rest),
    "suspended and resumed": (lambda: World(whole_spec()), _suspended),
    "suspended from the start": (lambda: World(small_spec(suspend=True)), World.rest),
    "held by Kueue": (lambda: World(small_spec(queueName="gpus")), _held_by_kueue),
    "a missing Secret": (lambda: World(small_spec()), _secret_missing),
    "a missing claim": (lambda: World(small_spec(), claim=False), _some_rounds),
    "refused for a while": (lambda: World(small_spec()), _refused_then_admitted),
    "over quota for a while": (lambda: World(small_spec()), _over_quota),
    "no variant qualifies": (lambda: World(whole_spec(prune={"thresholds": [0.5], "select": {"maxMapDrop": 0.0}})), World.rest),
    "a spec of other rules after the end": (lambda: World(whole_spec()), _edited_to_nonsense_after_the_end),
    "other thresholds after the end": (lambda: World(whole_spec()), _edited_after_the_end),
    "failed, then retried": (lambda: World(small_spec(), {("train", ""): [Outcome.USER]}), _failed_then_retried),
    **{f"accidents {seed}": (functools.partial(_stormy, seed), World.rest) for seed in range(12)},
}


@functools.cache
def written(history: str) -> tuple[Object, ...]:
    """Every version of the experiment, from the one without a status on."""
    make, live = HISTORIES[history]
    world = make()
    watch = world.cluster.watch(EXPERIMENTS)
    first = world.cluster.peek(EXPERIMENTS, NAMESPACE, NAME)
    assert first is not None
    live(world)
    return (first, *(change.body for change in watch.pending))


@pytest.mark.parametrize("history", HISTORIES)
def test_argo_cd_and_kstatus_agree_on_every_status(history: str) -> None:
    bodies = written(history)
    assert len(bodies) > 1
    for body in bodies:
        answer, status = health(body), body.get("status") or {}
        if not status:
            # kstatus takes silence for success; Argo CD is told to wait.
            assert answer["status"] == "Progressing"
            continue
        pair = (answer["status"], kstatus(body))
        agreed = {("Healthy", "Current"), ("Suspended", "Current"), ("Progressing", "InProgress"), ("Degraded", "Failed")}
        assert pair in agreed, (pair, status)


@pytest.mark.parametrize("history", HISTORIES)
def test_health_says_what_a_person_reads_in_the_status(history: str) -> None:
    for body in written(history):
        answer, status = health(body), body.get("status") or {}
        if status.get("observedGeneration") != body["metadata"]["generation"]:
            assert answer == {"status": "Progressing", "message": "the operator has not seen this generation yet"}
            continue
        held = {condition["type"]: condition for condition in status["conditions"] if condition["status"] == "True"}
        if answer["status"] == "Healthy":
            assert status["phase"] == Phase.SUCCEEDED
            assert answer["message"] == status["message"]
        elif answer["status"] == "Degraded":
            wrong = held.get("Failed") or held["Stalled"]
            assert answer["message"].startswith(wrong["reason"])
            assert wrong["message"] in answer["message"]
        elif answer["status"] == "Suspended":
            assert status["phase"] == Phase.SUSPENDED
        else:
            assert answer["message"].startswith(status["phase"])
            assert status["progress"] in answer["message"]
            assert status.get("stage", "") in answer["message"]


def test_the_histories_show_every_phase_and_every_health() -> None:
    bodies = [body for history in HISTORIES for body in written(history)]
    assert {(body.get("status") or {}).get("phase") for body in bodies} >= set(Phase)
    assert {health(body)["status"] for body in written("suspended and resumed") + written("failed, then retried")} == {
        "Progressing",
        "Healthy",
        "Degraded",
        "Suspended",
    }


def test_progress_names_stage_and_percent() -> None:
    body: Object = {
        "metadata": {"generation": 3},
        "status": {"observedGeneration": 3, "phase": "Running", "stage": "train", "progress": "2/11 (42%)", "conditions": []},
    }
    assert health(body) == {"status": "Progressing", "message": "Running train 2/11 (42%)"}
    body["metadata"]["generation"] = 4
    assert health(body)["message"] == "the operator has not seen this generation yet"


def test_a_failure_is_told_with_its_reason() -> None:
    last = written("failed, then retried")
    failed = [health(body) for body in last if (body.get("status") or {}).get("phase") == "Failed"]
    assert failed
    assert all(answer["status"] == "Degraded" and answer["message"].partition(": ")[2] for answer in failed)
    assert health(last[-1])["status"] == "Healthy"


def test_after_an_edit_nothing_is_healthy_until_the_operator_has_seen_it() -> None:
    before = [body for body in written("other thresholds after the end") if body["metadata"]["generation"] == 1]
    unseen = {**before[-1], "metadata": {**before[-1]["metadata"], "generation": 2}}
    assert (health(before[-1])["status"], health(unseen)["status"]) == ("Healthy", "Progressing")
    assert kstatus(unseen) == "InProgress"
