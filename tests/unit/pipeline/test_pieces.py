"""The pure pieces: names, graph, digests, choice, times, merge patches."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from job_simulator import JobSimulator
from memory_cluster import MemoryCluster, apply_merge_patch
from world import World
from yolo_operator.api.pruning import Select
from yolo_operator.api.spec import parse_spec
from yolo_operator.kube.merge import merge_patch
from yolo_operator.pipeline import graph, times
from yolo_operator.pipeline.choice import Variant, best_retrained, choose, misfit, pareto
from yolo_operator.pipeline.names import digest_of, job_name, stage_directory
from yolo_operator.pipeline.values import StageKey
from yolo_operator.pipeline.work import Results, stage_run

from examples import experiment, small_spec, tao_spec, whole_spec

DNS_LABEL = re.compile(r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")

# --- graph ---


def keys(spec: dict[str, Any]) -> list[str]:
    return [str(node.key) for node in graph.graph(parse_spec(spec))]


def test_the_whole_graph_in_order() -> None:
    assert keys(whole_spec()) == [
        "prepare",
        "anchors",
        "train",
        "evaluate",
        *("prune 0.1", "prune 0.3", "prune 0.5"),
        *("evaluate-pruned 0.1", "evaluate-pruned 0.3", "evaluate-pruned 0.5"),
        "retrain",
        "evaluate-retrained",
        "export",
        "evaluate-exported",
        "inference",
    ]


def test_a_stage_stands_after_what_it_needs() -> None:
    for spec in (small_spec(), whole_spec(), whole_spec(retrain=None), tao_spec()):
        seen: set[StageKey] = set()
        for node in graph.graph(parse_spec(spec)):
            assert set(node.needs) <= seen
            seen.add(node.key)


def test_an_export_that_the_toolkit_cannot_evaluate_is_not_evaluated() -> None:
    assert "evaluate-exported" not in keys(tao_spec())


def test_thresholds_that_look_alike_are_stages_of_their_own() -> None:
    spec = whole_spec(prune={"thresholds": [0.1234567, 0.12345678], "select": {"maxMapDrop": 0.1}})
    assert len(set(keys(spec))) == len(keys(spec))
    world = World(spec).rest()
    assert world.status()["phase"] == "Succeeded"


# --- names ---

names = st.from_regex(r"\A[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")
stage_keys = st.sampled_from([StageKey("train"), StageKey("evaluate-pruned", "0.123456789012345"), StageKey("prune", "1e-07")])
digests = st.text("0123456789abcdef", min_size=64, max_size=64)


@given(names, stage_keys, digests, st.integers(1, 99999))
def test_a_job_name_is_a_label_value(experiment_name: str, key: StageKey, digest: str, attempt: int) -> None:
    name = job_name(experiment_name, key, digest, attempt)
    assert DNS_LABEL.match(name)
    assert len(name) <= 63
    assert name == job_name(experiment_name, key, digest, attempt)


@given(st.text("ab", min_size=60, max_size=63), digests, digests)
def test_job_names_differ_by_all_that_matters(experiment_name: str, digest: str, other: str) -> None:
    key = StageKey("evaluate-pruned", "0.5")
    name = job_name(experiment_name, key, digest, 1)
    assert name != job_name(experiment_name, key, digest, 2)
    assert name != job_name(experiment_name[:-1] + "c", key, digest, 1)
    assert name != job_name(experiment_name, StageKey("evaluate-pruned", "0.7"), digest, 1)
    assert (name == job_name(experiment_name, key, other, 1)) is (digest == other)


def test_directories_of_variants_and_digests_differ() -> None:
    found = {
        stage_directory("/w", StageKey("prune", variant), digest) for variant in ("0.1", "0.3") for digest in ("a" * 64, "b" * 64)
    }
    assert len(found) == 4


# --- digests ---


def all_digests(spec: dict[str, Any], **simulator: Any) -> dict[str, str]:
    """Digests of all stages, with the results that the simulated stages have."""
    world = World(spec, **simulator).rest()
    assert world.status()["phase"] == "Succeeded"
    return {f"{r['name']} {r.get('variant', '')}".strip(): r["digest"] for r in world.status()["stages"]}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {stage for stage in before if before[stage] != after.get(stage)}


@pytest.fixture(scope="module")
def base() -> dict[str, str]:
    return all_digests(whole_spec())


def with_training(**changes: Any) -> dict[str, Any]:
    spec = whole_spec()
    spec["experimentSpec"]["trainingConfig"] |= changes
    return spec


AFTER_CHOICE = {"retrain", "evaluate-retrained", "export", "evaluate-exported", "inference"}
PRUNING = {f"{name} {threshold}" for name in ("prune", "evaluate-pruned") for threshold in ("0.1", "0.3", "0.5")}
TRAINED = {"train", "evaluate"} | PRUNING | AFTER_CHOICE


@pytest.mark.parametrize(
    ("spec", "stages"),
    [
        (whole_spec(prune={"thresholds": [0.1, 0.3, 0.5, 0.7], "select": {"maxMapDrop": 0.02}}), set()),
        (whole_spec(prune={"thresholds": [0.1, 0.3, 0.5], "select": {"maxParameterRatio": 0.55}}), AFTER_CHOICE),
        (
            whole_spec(retrain={"numEpochs": 8, "enableQat": True, "regularizer": {"type": "NO_REG"}}),
            AFTER_CHOICE,
        ),
        (whole_spec(export={"format": "onnx", "dataType": "fp32"}), {"export", "evaluate-exported"}),
        (whole_spec(inference={"threshold": 0.4}), {"inference"}),
        (
            whole_spec(prune={"thresholds": [0.1, 0.3, 0.5], "minNumFilters": 8, "select": {"maxMapDrop": 0.02}}),
            PRUNING | AFTER_CHOICE,
        ),
        (whole_spec(anchors={"auto": {"count": 6}}), {"anchors"} | TRAINED),
        (with_training(numEpochs=40), TRAINED),
        (with_training(batchSizePerGpu=4), TRAINED),
        (whole_spec(train={"checkpoint": "last"}), TRAINED),
        (whole_spec(toolkit={"profile": "open", "image": "open:2"}), {"anchors"} | TRAINED),
        (whole_spec(workspace={"claimName": "data", "mountPath": "/other"}), {"prepare", "anchors"} | TRAINED),
        (whole_spec(retry={"limit": 9}, maxParallel=1, scheduling={"nodeSelector": {"a": "b"}}), set()),
        (whole_spec(resources={"requests": {"cpu": "2"}}, stages={"train": {"retry": {"limit": 1}}}), set()),
        (whole_spec(toolkit={"profile": "open", "imagePullPolicy": "Always"}), set()),
    ],
    ids=lambda value: None if isinstance(value, set) else "",
)
def test_what_an_edit_reruns(base: dict[str, str], spec: dict[str, Any], stages: set[str]) -> None:
    assert changed(base, all_digests(spec)) == stages


def test_data_that_changed_rerun_everything_behind_them() -> None:
    results: dict[int, dict[str, str]] = {}
    for version in (1, 2):
        world = World(small_spec())
        world.simulator.dataset_version = version
        world.rest()
        results[version] = {r["name"]: r["digest"] for r in world.status()["stages"]}
    assert changed(results[1], results[2]) == {"anchors", "train", "evaluate"}


def test_the_operators_image_is_no_part_of_a_digest() -> None:
    run = stage_run(experiment(), graph.PREPARE, Results({}))
    assert run.image is None
    assert "yolo-operator" not in str(run.instructions)


def test_a_digest_names_the_directory_and_stays_out_of_itself() -> None:
    run = stage_run(experiment(), graph.PREPARE, Results({}))
    assert run.directory == f"/workspace/stages/prepare-{run.digest[:8]}"
    assert run.instructions["directory"] == run.directory
    assert run.instructions["prepare"]["output"] == f"{run.directory}/dataset"


json_values = st.recursive(
    st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(st.text(max_size=3), json_values, max_size=5)


@given(objects)
def test_a_digest_does_not_see_the_order_of_keys(value: dict[str, Any]) -> None:
    assert digest_of(value) == digest_of(dict(reversed(list(value.items()))))


@given(objects, objects)
def test_a_merge_patch_makes_one_of_the_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    patch = merge_patch(before, after)
    assert apply_merge_patch(before, patch) == after
    assert merge_patch(after, after) == {}
    assert merge_patch(apply_merge_patch(before, patch), after) == {}


# --- choice ---

VARIANTS = [Variant("0.1", 0.1, 0.9, 0.895, 900), Variant("0.3", 0.3, 0.6, 0.88, 600), Variant("0.5", 0.5, 0.4, 0.85, 400)]


@pytest.mark.parametrize(
    ("select", "chosen"),
    [
        ({"maxMapDrop": 0.0}, None),
        ({"maxMapDrop": 0.005}, "0.1"),
        ({"maxMapDrop": 0.02}, "0.3"),
        ({"maxMapDrop": 0.05}, "0.5"),
        ({"maxParameterRatio": 0.6}, "0.5"),
        ({"maxMapDrop": 0.03, "maxParameterRatio": 0.6}, "0.3"),
        ({"maxMapDrop": 0.01, "maxParameterRatio": 0.6}, None),
        ({"maxBytes": 600}, "0.5"),
        ({"maxBytes": 899, "maxMapDrop": 0.03}, "0.3"),
        ({"maxBytes": 399}, None),
        ({"threshold": 0.5}, "0.5"),
        ({"threshold": 0.1}, "0.1"),
    ],
)
def test_choice(select: dict[str, Any], chosen: str | None) -> None:
    choice = choose(VARIANTS, Select.model_validate(select), 0.9)
    assert (choice.variant.name if choice.variant else None) == chosen
    if chosen is None:
        assert all(f"{variant.name}:" in choice.message for variant in VARIANTS)
    else:
        assert f"threshold {chosen}" in choice.message


def test_on_a_tie_the_better_variant_goes_on_whatever_the_order() -> None:
    tied = [Variant("0.1", 0.1, 0.5, 0.88, 1), Variant("0.3", 0.3, 0.5, 0.89, 1)]
    select = Select.model_validate({"maxMapDrop": 0.5})
    for variants in (tied, tied[::-1]):
        choice = choose(variants, select, 0.9)
        assert choice.variant is not None
        assert choice.variant.name == "0.3"


def test_a_bound_is_not_missed_by_binary_fractions() -> None:
    assert 0.90 - 0.87 > 0.03
    assert choose([Variant("0.1", 0.1, 0.5, 0.87, 1)], Select.model_validate({"maxMapDrop": 0.03}), 0.90).variant is not None


@given(
    st.lists(st.tuples(st.floats(0.01, 1), st.floats(0, 1)), min_size=1, max_size=8),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_the_choice_is_the_smallest_that_fits(figures: list[tuple[float, float]], drop: float, trained: float) -> None:
    variants = [Variant(str(number), number / 10, ratio, m_ap, 1) for number, (ratio, m_ap) in enumerate(figures, 1)]
    choice = choose(variants, Select.model_validate({"maxMapDrop": drop}), trained)
    fitting = [variant for variant in variants if trained - variant.m_ap <= drop + 1e-9]
    if choice.variant is None:
        assert fitting == []
    else:
        assert choice.variant in fitting
        assert choice.variant.parameter_ratio == min(variant.parameter_ratio for variant in fitting)


def test_the_candidates_are_the_smallest_that_fit() -> None:
    choice = choose(VARIANTS, Select.model_validate({"maxMapDrop": 0.03}), 0.9, 3)
    assert [variant.name for variant in choice.candidates] == ["0.3", "0.1"]
    assert "0.3, 0.1" in choice.message


def test_the_best_candidate_is_told_after_retraining_and_on_a_tie_it_is_the_smaller_one() -> None:
    for maps, best in (({"0.1": 0.91, "0.3": 0.90}, "0.1"), ({"0.1": 0.91, "0.3": 0.91}, "0.3")):
        assert best_retrained(VARIANTS[:2], maps).candidates[0].name == best


def test_why_a_variant_does_not_fit_is_said_with_its_numbers() -> None:
    assert misfit(VARIANTS[2], Select.model_validate({"maxMapDrop": 0.02}), 0.9) == "mAP drop 0.0500 is above 0.02"
    assert misfit(VARIANTS[0], Select.model_validate({"maxBytes": 500}), 0.9) == "900 bytes are above 500"
    assert "0.9000 is above 0.5" in misfit(VARIANTS[0], Select.model_validate({"maxParameterRatio": 0.5}), 0.9)
    assert misfit(VARIANTS[0], Select.model_validate({"maxMapDrop": 0.02}), 0.9) == ""


def test_the_pareto_front_is_what_no_other_variant_beats() -> None:
    beaten = Variant("0.7", 0.7, 0.6, 0.87, 1)
    twin = Variant("0.8", 0.8, 0.4, 0.85, 1)
    assert pareto([*VARIANTS, beaten, twin]) == {"0.1", "0.3", "0.5", "0.8"}


# --- times ---


@given(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)), st.floats(0, 1e6))
def test_a_retry_is_never_early(moment: datetime, seconds: float) -> None:
    now = moment.replace(tzinfo=UTC)
    due = times.from_text(times.after(now, seconds))
    assert 0 <= (due - now).total_seconds() - seconds + 1e-6 < 1.1


def test_simulated_stages_are_those_of_the_graph() -> None:
    simulator = JobSimulator(MemoryCluster())
    run = stage_run(experiment(), graph.PREPARE, Results({}))
    report = simulator.success({**run.instructions, "attempt": 1})
    assert report["digest"] == run.digest
