"""Who may start next: never above a limit, nothing idle that could be used, in the promised order, and everybody in the end."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yolo_operator.pipeline import times
from yolo_operator.pipeline.admission import Decision, Rules, Want, decide, needs
from yolo_operator.pipeline.limits import EXPERIMENTS, GPUS, Limits, dimension
from yolo_operator.pipeline.values import NO_GPUS, Gpus, StageKey

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
TRAIN = StageKey("train")
GPU, SLICE = "nvidia.com/gpu", "nvidia.com/mig-1g.10gb"


def ago(seconds: float) -> str:
    return times.to_text(NOW - timedelta(seconds=seconds))


def want(namespace: str, experiment: str = "a", gpus: int = 1, **changes: Any) -> Want:
    values: dict[str, Any] = {"gpus": Gpus(GPU, gpus) if gpus else NO_GPUS, "since": ago(5)}
    return Want(namespace, experiment, **({"stage": TRAIN} | values | changes))


def limits(**values: Any) -> Limits:
    return Limits.model_validate(values)


def asked(wants: list[Want], usage: dict[str, dict[str, int]] | None = None, **values: Any) -> Decision:
    return decide(wants, usage or {}, Rules(limits(**values)), NOW)


def started(decision: Decision) -> list[str]:
    return [f"{want.namespace}/{want.experiment}" for want in decision.admitted]


# --- single cases ---


def test_without_limits_all_start() -> None:
    wants = [want("a", str(number), gpus=16) for number in range(9)]
    assert len(asked(wants).admitted) == 9


def test_an_experiment_takes_one_place_for_all_its_stages() -> None:
    wants = [want("a", "one", stage=StageKey("prune", v), order=n) for n, v in enumerate(("0.1", "0.3"))] + [want("a", "two")]
    decision = asked(wants, default={"maxConcurrentExperiments": 1})
    assert started(decision) == ["a/one", "a/one"]
    (refusal,) = decision.refused.values()
    assert refusal.message == "waits for a place: the limit of namespace a is 1 experiment, 1 in use"


def test_an_experiment_that_has_its_place_needs_no_other() -> None:
    used = {"a": {EXPERIMENTS: 1}}
    assert started(asked([want("a", placed=True), want("a", "b")], used, default={"maxConcurrentExperiments": 1})) == ["a/a"]


def test_priority_then_share_then_age() -> None:
    used = {"rich": {GPUS: 3}, "poor": {GPUS: 1}}
    wants = [
        want("rich", "urgent", priority=5),
        want("rich", "old", since=ago(500)),
        want("poor", "new", since=ago(1)),
        want("poor", "older", since=ago(2)),
    ]
    assert started(asked(wants, used, cluster={"maxGPUs": 7})) == ["rich/urgent", "poor/older", "poor/new"]


def test_a_share_is_of_what_a_namespace_may_use() -> None:
    used = {"big": {GPUS: 4}, "small": {GPUS: 2}}
    bounds = {"big": {"maxGPUs": 16}, "small": {"maxGPUs": 2 + 1}}
    assert started(asked([want("big"), want("small")], used, cluster={"maxGPUs": 7}, namespaces=bounds)) == ["big/a"]


def test_shares_of_what_is_not_asked_for_do_not_count() -> None:
    """Every team's experiments have all their places; who has the fewer GPUs is next all the same."""
    used = {"rich": {EXPERIMENTS: 2, GPUS: 3}, "poor": {EXPERIMENTS: 2, GPUS: 1}}
    wants = [want("rich", placed=True, since=ago(500)), want("poor", placed=True)]
    assert started(asked(wants, used, cluster={"maxGPUs": 5}, default={"maxConcurrentExperiments": 2})) == ["poor/a"]


def test_a_namespaces_priority_is_capped_against_others_and_not_within() -> None:
    wants = [want("loud", "b", priority=900), want("loud", "c", priority=901), want("quiet", priority=1)]
    decision = asked(wants, cluster={"maxGPUs": 2}, namespaces={"loud": {"maxPriority": 0}})
    assert started(decision) == ["quiet/a", "loud/c"]


def test_others_are_only_counted() -> None:
    (refusal,) = asked([want("a", gpus=2)], {"secret-team": {GPUS: 2}, "a": {GPUS: 1}}, cluster={"maxGPUs": 4}).refused.values()
    expected = "waits for 2 GPUs: the limit of all namespaces together is 4 GPUs, 1 in use by this namespace, 2 by others"
    assert refusal.message == expected


def test_resources_are_counted_one_by_one_and_together() -> None:
    used = {"a": {GPUS: 2, dimension(SLICE): 2}}
    wants = [want("a", "slice", gpus=0), want("a", "whole")]
    wants[0] = replace(wants[0], gpus=Gpus(SLICE, 1))
    decision = asked(wants, used, default={"maxGPUs": 3, "maxGPUsByResource": {SLICE: 2}})
    assert started(decision) == ["a/whole"]
    assert decision.refused[wants[0]].message == (
        "waits for 1 GPU nvidia.com/mig-1g.10gb: the limit of namespace a is 2 GPUs nvidia.com/mig-1g.10gb, 2 in use"
    )


def test_what_never_fits_says_so_and_keeps_nobody_waiting() -> None:
    wants = [want("a", "huge", gpus=5, since=ago(9000), priority=9), want("a", "small")]
    decision = asked(wants, default={"maxGPUs": 4})
    assert started(decision) == ["a/small"]
    refusal = decision.refused[wants[0]]
    assert refusal.never
    assert refusal.message.startswith("asks for 5 GPUs, but the limit of namespace a is 4 GPUs: ask for less")


def test_a_closed_namespace_is_not_too_small() -> None:
    (refusal,) = asked([want("a")], namespaces={"a": {"maxConcurrentExperiments": 0}}).refused.values()
    assert not refusal.never


def test_room_is_kept_for_who_waited_too_long() -> None:
    used = {"b": {GPUS: 2}}
    large, small = want("a", "large", gpus=3, since=ago(599)), want("b", "small")
    assert started(asked([large, small], used, cluster={"maxGPUs": 4})) == ["b/small"]
    decision = asked([replace(large, since=ago(600)), small], used, cluster={"maxGPUs": 4})
    assert not decision.admitted
    assert "kept for a stage that has waited longer" in decision.refused[small].message


def test_room_is_not_kept_for_who_waits_for_another_limit() -> None:
    used = {"a": {GPUS: 2}}
    wants = [want("a", "long", gpus=1, since=ago(9000)), want("b", "new", gpus=2)]
    assert started(asked(wants, used, cluster={"maxGPUs": 4}, namespaces={"a": {"maxGPUs": 2}})) == ["b/new"]


def test_limits_of_a_namespace_go_over_the_default_field_by_field() -> None:
    found = limits(default={"maxGPUs": 4, "maxConcurrentExperiments": 2}, namespaces={"a": {"maxGPUs": 8}}).of("a")
    assert (found.max_gpus, found.max_concurrent_experiments) == (8, 2)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"default": {"maxGpus": 4}}, "default.maxGpus"),
        ({"namespaces": {"a": {"maxGPUs": -1}}}, "namespaces.a.maxGPUs"),
        ({"namespaces": {"A_": {}}}, "namespaces.A_"),
        ({"cluster": {"maxGPUs": "4"}}, "cluster.maxGPUs"),
        ({"cluster": {"maxPriority": 4}}, "cluster.maxPriority"),
    ],
)
def test_what_is_wrong_is_named(values: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=field.split(".")[-1]) as caught:
        limits(**values)
    assert field in ".".join(str(part) for part in caught.value.errors()[0]["loc"])  # type: ignore[attr-defined]


# --- properties ---

runs = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
NAMESPACES = ("a", "b", "c")
ceilings = st.fixed_dictionaries(
    {},
    optional={
        "maxConcurrentExperiments": st.integers(0, 4),
        "maxGPUs": st.integers(0, 8),
        "maxGPUsByResource": st.dictionaries(st.sampled_from([GPU, SLICE]), st.integers(0, 6), max_size=2),
    },
)
every_limits = st.builds(
    lambda cluster, default, namespaces, caps, patience: limits(
        cluster=cluster,
        default=default,
        namespaces={
            name: {**bounds, **({"maxPriority": caps} if caps is not None else {})} for name, bounds in namespaces.items()
        },
        patienceSeconds=patience,
    ),
    ceilings,
    ceilings,
    st.dictionaries(st.sampled_from(NAMESPACES), ceilings),
    st.none() | st.integers(-1, 1),
    st.sampled_from([60, 600]),
)


@st.composite
def scarce(draw: st.DrawFn, in_use: int) -> Limits:
    """One pool that all share and that has a few GPUs left: the order alone decides."""
    shares = draw(st.dictionaries(st.sampled_from(NAMESPACES), st.integers(50, 100)))
    own = {name: {"maxGPUs": most} for name, most in shares.items()}
    return limits(cluster={"maxGPUs": in_use + draw(st.integers(1, 4))}, namespaces=own)


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[Want], dict[str, Counter[str]], Rules]:
    """Experiments that run, within the limits or above (these were lowered), and stages that wait."""
    usage: dict[str, Counter[str]] = defaultdict(Counter)
    wants = []
    for number in range(draw(st.integers(1, 12))):
        namespace, placed = draw(st.sampled_from(NAMESPACES)), draw(st.booleans())
        if placed:
            usage[namespace][EXPERIMENTS] += 1
            if draw(st.booleans()):
                gpus = Gpus(draw(st.sampled_from([GPU, SLICE])), draw(st.integers(1, 4)))
                usage[namespace].update({GPUS: gpus.number, dimension(gpus.resource): gpus.number})
        priority = draw(st.integers(-2, 2))
        for order in range(draw(st.integers(0, 2))):
            gpus = Gpus(draw(st.sampled_from([GPU, SLICE])), number_) if (number_ := draw(st.integers(0, 5))) else NO_GPUS
            since, key = ago(draw(st.integers(0, 1200))), StageKey("prune", str(order))
            wants.append(Want(namespace, f"e{number}", key, gpus, placed, priority, since, order=order))
    return wants, usage, Rules(draw(every_limits | scarce(sum(used[GPUS] for used in usage.values()))))


def after(decision: Decision, usage: dict[str, Counter[str]], upto: int | None = None) -> dict[str, Counter[str]]:
    """What is in use once the first `upto` of the admitted ones have started; all of them without a number."""
    found: dict[str, Counter[str]] = defaultdict(Counter, {name: Counter(used) for name, used in usage.items()})
    placed = set()
    for one in decision.admitted[:upto]:
        place = one.namespace, one.experiment
        found[one.namespace].update(needs(one, placed=one.placed or place in placed))
        placed.add(place)
    return found


def fits(one: Want, usage: dict[str, Counter[str]], rules: Rules, placed: set[tuple[str, str]]) -> bool:
    """By hand: whether it breaks no bound."""
    total: Counter[str] = sum(usage.values(), Counter())
    for name, number in needs(one, placed=one.placed or (one.namespace, one.experiment) in placed).items():
        for bounds, used in ((rules.of(one.namespace), usage.get(one.namespace, Counter())), (rules.cluster, total)):
            if name in bounds and used[name] + number > bounds[name]:
                return False
    return True


def share(rules: Rules, one: Want, usage: dict[str, Counter[str]]) -> float:
    """Of what it asks for, what its namespace uses of what it may use."""
    own, used = rules.of(one.namespace), usage.get(one.namespace, Counter())
    shares = [0.0]
    for name in needs(one, placed=one.placed):
        bound = own.get(name, rules.cluster.get(name))
        if bound is not None:
            shares.append(used[name] / bound if bound else float("inf"))
    return max(shares)


@runs
@given(situations())
def test_never_above_a_limit(situation: tuple[list[Want], dict[str, Counter[str]], Rules]) -> None:
    wants, usage, rules = situation
    decision = decide(wants, usage, rules, NOW)
    assert {*decision.admitted, *decision.refused} == set(wants)
    placed: set[tuple[str, str]] = set()
    for number, one in enumerate(decision.admitted):
        assert fits(one, after(decision, usage, number), rules, placed)
        placed.add((one.namespace, one.experiment))


@runs
@given(situations())
def test_nothing_that_fits_is_left_waiting_but_for_who_waited_too_long(
    situation: tuple[list[Want], dict[str, Counter[str]], Rules],
) -> None:
    wants, usage, rules = situation
    decision = decide(wants, usage, rules, NOW)
    in_use, placed = after(decision, usage), {(one.namespace, one.experiment) for one in decision.admitted}
    for one, refusal in decision.refused.items():
        if fits(one, in_use, rules, placed):
            # Only room that somebody too patient needs, who is refused by that very bound.
            assert refusal.kept
            waiters = [r for w, r in decision.refused.items() if w.since <= ago(rules.limits.patience_seconds) and not r.kept]
            assert any((r.namespace, r.dimension) == (refusal.namespace, refusal.dimension) for r in waiters)


@runs
@given(situations())
def test_nobody_is_overtaken_without_need(situation: tuple[list[Want], dict[str, Counter[str]], Rules]) -> None:
    """Who was refused did not fit at the moment when anybody who ranks behind was let in."""
    wants, usage, rules = situation
    decision = decide(wants, usage, rules, NOW)
    placed: set[tuple[str, str]] = set()
    for number, one in enumerate(decision.admitted):
        in_use = after(decision, usage, number)
        mine = (rules.priority(one.namespace, one.priority), -share(rules, one, in_use))
        for other, refusal in decision.refused.items():
            theirs = (rules.priority(other.namespace, other.priority), -share(rules, other, in_use))
            if other.namespace == one.namespace:
                ahead = (-other.priority, other.since) < (-one.priority, one.since)
            else:
                ahead = theirs > mine
            if ahead and not refusal.kept:
                assert not fits(other, in_use, rules, placed)
        placed.add((one.namespace, one.experiment))


@settings(runs, max_examples=30)
@given(situations(), st.randoms(use_true_random=False))
def test_everybody_starts_in_the_end(situation: tuple[list[Want], dict[str, Counter[str]], Rules], rng: Any) -> None:
    """Stages end at random, and newcomers with a single GPU never stop coming."""
    wants, _, rules = situation
    waiting = [replace(one, placed=False, priority=0) for one in wants]
    empty: dict[str, Counter[str]] = defaultdict(Counter)
    waiting = [one for one in waiting if fits(one, empty, rules, set())]
    running: list[tuple[Want, dict[str, int]]] = []
    wanted, now = set(waiting), NOW
    for step in range(4000):
        if not wanted:
            return
        now += timedelta(seconds=30)
        running = [entry for entry in running if rng.random() > 0.3]
        newcomer = want(rng.choice(NAMESPACES), f"n{step}", since=times.to_text(now))
        waiting += [newcomer] if fits(newcomer, empty, rules, set()) and len(waiting) < 40 else []
        usage: dict[str, Counter[str]] = defaultdict(Counter)
        for one, taken in running:
            usage[one.namespace].update(taken)
        decision = decide(waiting, usage, rules, now)
        placed: set[tuple[str, str]] = set()
        for one in decision.admitted:
            running.append((one, needs(one, placed=(one.namespace, one.experiment) in placed)))
            placed.add((one.namespace, one.experiment))
        waiting = [one for one in waiting if one in decision.refused]
        wanted -= set(decision.admitted)
    raise AssertionError(f"still waiting: {wanted}")
