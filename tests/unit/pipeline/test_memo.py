"""Stages' work, remembered: the same answers, computed once."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from world import World
from yolo_operator.api.spec import Spec, parse_spec
from yolo_operator.api.status import StageState, StageStatus
from yolo_operator.kube.cluster import EXPERIMENTS
from yolo_operator.pipeline import graph, memo
from yolo_operator.pipeline.memo import RunMemo
from yolo_operator.pipeline.values import Experiment, StageKey, StageRun
from yolo_operator.pipeline.work import Results, stage_run

from examples import NAME, NAMESPACE, experiment, whole_spec

PRUNE, OTHER, SHA = StageKey("prune", "0.1"), StageKey("prune", "0.3"), "a" * 64


def record(key: StageKey, **fields: Any) -> StageStatus:
    """A success."""
    artifact = {"name": "model", "path": f"stages/{key.slug}/model", "bytes": 100, "sha256": SHA}
    body = {"name": key.name, "variant": key.variant, "state": StageState.SUCCEEDED, "attempt": 1, "digest": SHA}
    return StageStatus.model_validate({**body, "finishTime": "2026-01-01T00:00:00Z", "artifacts": [artifact], **fields})


def labels(path: str, sha256: str = SHA) -> dict[str, Any]:
    """What prepare leaves."""
    names = ("trainLabels", "validationLabels")
    return {"artifacts": [{"name": name, "path": f"{path}/{name}", "bytes": 4, "sha256": sha256} for name in names]}


def done(**changed: dict[str, Any]) -> Results:
    """Everything before pruning; and a pruned model, from which a retraining begins."""
    fields: dict[str, dict[str, Any]] = {
        "prepare": {**labels("stages/prepare"), "fingerprint": SHA},
        "anchors": {"artifacts": [], "metrics": {"anchors": [[4.0 * n, 3.0 * n] for n in range(1, 10)]}},
    }
    keys = (graph.PREPARE, graph.ANCHORS, graph.TRAIN, graph.EVALUATE, PRUNE)
    records = {key: record(key, **{**fields.get(key.name, {}), **changed.get(key.name, {})}) for key in keys}
    return Results(records, PRUNE, graph.RETRAIN)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[StageKey]:
    """The stages whose work was computed, in order."""
    asked: list[StageKey] = []

    def counted(subject: Experiment, key: StageKey, results: Results, **rest: Any) -> StageRun:
        asked.append(key)
        return stage_run(subject, key, results, **rest)

    monkeypatch.setattr(memo, "stage_run", counted)
    return asked


def test_the_same_is_computed_once(computed: list[StageKey]) -> None:
    known, subject = RunMemo(), experiment(whole_spec())
    runs = [known.stage_run(subject, graph.RETRAIN, done()) for _ in range(3)]
    assert computed == [graph.RETRAIN]
    assert runs[0] == runs[1] == runs[2] == stage_run(subject, graph.RETRAIN, done())
    # What does not matter to a stage's work.
    known.stage_run(replace(subject, generation=7, retry_token="x", cancel_token="y"), graph.RETRAIN, done())
    assert computed == [graph.RETRAIN]


ANOTHER: dict[str, Callable[[Experiment], tuple[Experiment, Results, dict[str, int]]]] = {
    "spec": lambda subject: (replace(subject, spec=parse_spec(whole_spec(retrain={"numEpochs": 7}))), done(), {}),
    "name": lambda subject: (replace(subject, name="other"), done(), {}),
    "uid": lambda subject: (replace(subject, uid="2"), done(), {}),
    "namespace": lambda subject: (replace(subject, namespace="other"), done(), {}),
    "rerun": lambda subject: (replace(subject, rerun={"retrain": "1"}), done(), {}),
    "spoiled": lambda subject: (subject, done(), {stage_run(subject, graph.RETRAIN, done()).digest: 1}),
    "digest": lambda subject: (subject, done(prune={"digest": "b" * 64}), {}),
    "model": lambda subject: (
        subject,
        done(prune={"artifacts": [{"name": "model", "path": "stages/p/model", "bytes": 7, "sha256": SHA}]}),
        {},
    ),
    "labels": lambda subject: (subject, done(prepare=labels("stages/prepare-2")), {}),
    "labels' content": lambda subject: (subject, done(prepare=labels("stages/prepare", "c" * 64)), {}),
    "data": lambda subject: (subject, done(prepare={"fingerprint": "d" * 64}), {}),
    "anchors": lambda subject: (subject, done(anchors={"metrics": {"anchors": [[n, n] for n in range(1, 10)]}}), {}),
    "choice": lambda subject: (
        subject,
        replace(
            done(), stages={**done().stages, graph.prune_key(0.3): record(graph.prune_key(0.3))}, chosen=graph.prune_key(0.3)
        ),
        {},
    ),
}


@pytest.mark.parametrize("what", ANOTHER)
def test_whatever_a_stage_depends_on_makes_another_run(what: str, computed: list[StageKey]) -> None:
    known, subject = RunMemo(), experiment(whole_spec())
    before = known.stage_run(subject, graph.RETRAIN, done())
    other, results, spoiled = ANOTHER[what](subject)
    after = known.stage_run(other, graph.RETRAIN, results, spoiled=spoiled)
    assert len(computed) == 2
    assert after != before
    assert after == stage_run(other, graph.RETRAIN, results, spoiled=spoiled)


def test_the_best_model_is_what_is_exported() -> None:
    known, subject, results = RunMemo(), experiment(whole_spec()), done()
    results = replace(results, stages={**results.stages, graph.RETRAIN: record(graph.RETRAIN)})
    first = known.stage_run(subject, graph.EXPORT, results)
    second = known.stage_run(subject, graph.EXPORT, replace(results, best=PRUNE))
    assert first.digest != second.digest


def test_another_success_of_the_same_digest_is_another_input(computed: list[StageKey]) -> None:
    known, subject = RunMemo(), experiment(whole_spec())
    for again in ({}, {"attempt": 2}, {"finishTime": "2026-01-01T00:00:01Z"}, {"directory": "stages/prune-2"}):
        known.stage_run(subject, graph.RETRAIN, done(prune=again))
    assert len(computed) == 4


def test_what_was_not_asked_for_longest_goes_first(computed: list[StageKey]) -> None:
    known, subject, results = RunMemo(most=2), experiment(whole_spec()), done()
    for key in (graph.PREPARE, graph.ANCHORS, graph.PREPARE, graph.TRAIN, graph.PREPARE, graph.ANCHORS):
        known.stage_run(subject, key, results)
        assert len(known) <= 2
    assert computed == [graph.PREPARE, graph.ANCHORS, graph.TRAIN, graph.ANCHORS]


def test_an_experiment_is_forgotten_and_others_are_not(computed: list[StageKey]) -> None:
    known, subject = RunMemo(), experiment(whole_spec())
    other = replace(subject, name="other", uid="2")
    for each in (subject, other):
        for key in (graph.PREPARE, graph.ANCHORS):
            known.stage_run(each, key, done())
    known.forget(subject.namespace, subject.name)
    known.forget(subject.namespace, "never heard of")
    assert len(known) == 2
    computed.clear()
    known.stage_run(other, graph.PREPARE, done())
    assert not computed
    known.stage_run(subject, graph.PREPARE, done())
    assert computed == [graph.PREPARE]


def test_a_spec_lives_as_long_as_its_runs() -> None:
    known, subject = RunMemo(most=1), experiment(whole_spec())
    known.stage_run(subject, graph.PREPARE, Results({}))
    alive: weakref.ref[Spec] = weakref.ref(subject.spec)
    del subject
    gc.collect()
    assert alive() is not None
    known.stage_run(experiment(whole_spec()), graph.PREPARE, Results({}))
    gc.collect()
    assert alive() is None


SUBJECTS = [
    experiment(whole_spec()),
    experiment(whole_spec()),
    experiment(whole_spec(retrain={"numEpochs": 7}, dataset={**whole_spec()["dataset"], "claimName": "pictures"})),
]
_QUESTIONS = st.tuples(
    st.sampled_from(SUBJECTS),
    st.sampled_from([graph.PREPARE, graph.ANCHORS, graph.TRAIN, graph.EVALUATE, PRUNE, graph.RETRAIN]),
    st.fixed_dictionaries(
        {},
        optional={
            "prepare": st.sampled_from([{"fingerprint": "d" * 64}, labels("elsewhere")]),
            "anchors": st.just({"metrics": {"anchors": [[n, n] for n in range(1, 10)]}}),
            "train": st.sampled_from([{"digest": "e" * 64}, {"attempt": 3}]),
        },
    ),
    st.sampled_from([{}, {"prepare": "1"}, {"retrain": "1"}, {"prepare": "1", "retrain": "2"}]),
)


@settings(deadline=None, max_examples=15)
@given(st.lists(_QUESTIONS, min_size=1, max_size=30), st.integers(1, 8))
def test_in_any_order_and_room_the_answers_are_those_that_are_computed(questions: list[Any], most: int) -> None:
    known = RunMemo(most=most)
    for subject, key, changed, rerun in questions:
        asked = replace(subject, rerun=rerun)
        assert known.stage_run(asked, key, done(**changed)) == stage_run(asked, key, done(**changed))
        assert len(known) <= most


def test_what_has_ended_or_is_gone_takes_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    known = RunMemo()
    monkeypatch.setattr(memo, "RUNS", known)
    world = World(whole_spec())
    world.until(lambda: world.states().get("train") == "Running")
    assert len(known) > 0
    world.rest()
    assert len(known) == 0
    world.edit({"spec": {"prune": {"thresholds": [0.1, 0.2]}}})
    world.until(lambda: world.status()["phase"] == "Running")
    assert len(known) > 0
    world.cluster.remove(EXPERIMENTS, NAMESPACE, NAME)
    world.rest()
    assert len(known) == 0
