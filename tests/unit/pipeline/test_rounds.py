"""Pseudo-label rounds, as the operator runs them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from job_simulator import LABELS, Outcome, default_map, stage_of
from world import World
from yolo_operator.api import resource
from yolo_operator.api.crd import structural
from yolo_operator.api.rounds import MOST_ROUNDS
from yolo_operator.api.status import Status
from yolo_operator.kube.cluster import Object

from examples import tao_spec, whole_spec

ROUND = ("pseudo-label", "merge", "fine-tune", "evaluate-round")


def with_rounds(count: int = 1, build: Callable[..., dict[str, Any]] = whole_spec, **changes: Any) -> dict[str, Any]:
    """Every stage there is, one pruned variant, and rounds."""
    prune = {"thresholds": [0.1], "select": {"threshold": 0.1}}
    fine_tune = {"numEpochs": 3}
    return build(prune=prune, inference={"rounds": {"count": count, "fineTune": fine_tune, **changes}})


def maps(*after: float, before: float = 0.9) -> Callable[[str, str], float]:
    """mAP of each round's model; and of the one before all rounds."""

    def of(stage: str, variant: str) -> float:
        if stage == "evaluate-retrained":
            return before
        return after[int(variant) - 1] if stage == "evaluate-round" else default_map(stage, variant)

    return of


def job(world: World, stage: str, variant: str = "") -> Object:
    """The last Job of a stage."""
    return [body for body in world.created_jobs() if stage_of(body) == (stage, variant)][-1]


def carried(world: World, stage: str, variant: str = "") -> tuple[dict[str, Any], str]:
    """Instructions and experiment spec."""
    annotations = job(world, stage, variant)["spec"]["template"]["metadata"]["annotations"]
    return json.loads(annotations[resource.ANNOTATION_INSTRUCTIONS]), annotations[resource.ANNOTATION_EXPERIMENT_SPEC]


def stages(world: World, since: int = 0) -> list[str]:
    return [f"{stage} {variant}".strip() for stage, variant in map(stage_of, world.created_jobs()[since:])]


def model_of(world: World, stage: str, variant: str = "") -> str:
    """The model that a stage left, as the containers see it."""
    return f"/workspace/{world.stage(stage, variant)['artifacts'][0]['path']}"


def verdicts(world: World) -> list[tuple[bool | None, float | None, float | None]]:
    return [(r.get("kept"), r.get("mAPBefore"), r.get("mAPAfter")) for r in world.status()["rounds"]]


# --- decisions ---


def test_rounds_go_on_while_the_model_gains() -> None:
    world = World(with_rounds(2), map_of=maps(0.92, 0.95)).rest()
    made = stages(world)
    expected = [f"{name} {number}" for number in "12" for name in ROUND]
    assert [stage for stage in made if stage in expected] == expected
    assert made.index("evaluate-retrained") < made.index("pseudo-label 1") < made.index("export")
    assert set(world.states().values()) == {"Succeeded"}
    assert (world.status()["phase"], world.status()["mAP"]) == ("Succeeded", default_map("evaluate-exported", ""))
    assert verdicts(world) == [(True, 0.9, 0.92), (True, 0.92, 0.95)]
    first = world.status()["rounds"][0]
    assert first["message"] == "round 1: mAP 0.9000 to 0.9200 (+0.0200, 0.001 is asked for): its model goes on"
    assert (first["labels"], first["dropped"], first["images"]) == (LABELS, 118 - LABELS, LABELS // 4)


@pytest.mark.parametrize("stage", ["export", "inference"])
def test_what_leaves_the_experiment_is_the_best_model(stage: str) -> None:
    world = World(with_rounds(3), map_of=maps(0.92, 0.95, 0.95)).rest()
    assert verdicts(world) == [(True, 0.9, 0.92), (True, 0.92, 0.95), (False, 0.95, 0.95)]
    instructions, _ = carried(world, stage)
    assert [item["path"] for item in instructions["inputs"]] == [model_of(world, "fine-tune", "2")]
    assert model_of(world, "fine-tune", "2") in instructions["argv"]


def test_each_round_begins_from_the_best_model() -> None:
    world = World(with_rounds(2), map_of=maps(0.92, 0.95)).rest()
    for number, best in (("1", model_of(world, "retrain")), ("2", model_of(world, "fine-tune", "1"))):
        labelling, _ = carried(world, "pseudo-label", number)
        tuning, text = carried(world, "fine-tune", number)
        assert labelling["inputs"][0]["path"] == best
        assert tuning["inputs"][0]["path"] == best
        assert f'  pruned_model_path: "{best}"\n' in text


def test_a_round_without_gain_is_the_last() -> None:
    world = World(with_rounds(3), map_of=maps(0.9005)).rest()
    assert world.status()["phase"] == "Succeeded"
    assert "pseudo-label 2" not in stages(world)
    for name in ROUND:
        for number in "23":
            record = world.stage(name, number)
            assert (record["state"], record["reason"]) == ("Skipped", "NotNeeded")
            assert record["message"] == "round 1 gained too little (+0.0005, 0.001 is asked for)"
    assert verdicts(world) == [(False, 0.9, 0.9005), (None, None, None), (None, None, None)]
    assert world.status()["rounds"][0]["message"].endswith("the model of retrain goes on with mAP 0.9000")
    assert world.status()["rounds"][1]["message"] == "not run: round 1 gained too little (+0.0005, 0.001 is asked for)"
    assert carried(world, "export")[0]["inputs"][0]["path"] == model_of(world, "retrain")


@pytest.mark.parametrize(
    ("before", "after", "gain", "kept"),
    [
        (0.2, 0.3, 0.1, True),  # in binary floating point the difference is below
        (0.9, 0.9, 0.0, True),
        (0.9, 0.91, 0.0101, False),
        (0.9, 0.89, 0.0, False),
    ],
)
def test_the_margin_is_inclusive(before: float, after: float, gain: float, kept: bool) -> None:
    world = World(with_rounds(minGain=gain), map_of=maps(after, before=before)).rest()
    assert verdicts(world) == [(kept, before, after)]


def test_without_labels_nothing_is_trained() -> None:
    world = World(with_rounds(2), labels_of=lambda _: 0).rest()
    assert world.status()["phase"] == "Succeeded"
    assert [stage for stage in stages(world) if stage.split()[0] in ROUND] == ["pseudo-label 1", "merge 1"]
    assert world.stage("fine-tune", "1")["reason"] == "NotNeeded"
    first, second = world.status()["rounds"]
    assert (first["kept"], first["labels"]) == (False, 0)
    assert first["message"].startswith("round 1: no detection became a label, so there is nothing to learn from; the model of")
    assert second["message"].startswith("not run: round 1: no detection")
    assert carried(world, "export")[0]["inputs"][0]["path"] == model_of(world, "retrain")


def test_a_later_round_without_labels_leaves_the_best_model() -> None:
    world = World(with_rounds(2), map_of=maps(0.92), labels_of=lambda number: 40 * (number == 1)).rest()
    assert verdicts(world) == [(True, 0.9, 0.92), (False, 0.92, None)]
    assert carried(world, "export")[0]["inputs"][0]["path"] == model_of(world, "fine-tune", "1")


def test_a_failed_round_fails_the_experiment() -> None:
    world = World(with_rounds(), {("fine-tune", "1"): [Outcome.USER]}).rest()
    assert world.status()["phase"] == "Failed"
    assert world.states()["export"] == "Skipped"


def test_rounds_without_pruning_begin_from_the_training() -> None:
    spec = {**with_rounds(), "prune": None, "retrain": None}
    world = World({name: value for name, value in spec.items() if value is not None}).rest()
    assert carried(world, "fine-tune", "1")[0]["inputs"][0]["path"] == model_of(world, "train")
    assert world.status()["phase"] == "Succeeded"


def test_every_decision_is_an_event() -> None:
    world = World(with_rounds(2), map_of=maps(0.92, 0.92)).rest()
    assert [reason for reason in world.reasons() if reason.startswith("Round")] == ["RoundKept", "RoundNotKept"]


def test_the_largest_experiment_fits_into_a_status() -> None:
    thresholds = [number / 20 for number in range(1, 17)]
    spec = with_rounds(MOST_ROUNDS)
    spec["prune"] = {"thresholds": thresholds, "select": {"maxMapDrop": 1.0}}
    spec["retrain"] = {**spec["retrain"], "candidates": 8}
    world = World(spec, map_of=maps(0.91, 0.92, 0.93, 0.94, 0.95)).rest()
    status = world.status()
    assert (len(status["rounds"]), status["phase"]) == (MOST_ROUNDS, "Succeeded")
    schema = structural(Status)["properties"]
    for name in ("stages", "rounds"):
        assert len(status[name]) <= schema[name]["maxItems"]


# --- edits ---


def test_a_further_round_runs_that_round_and_what_reads_the_model() -> None:
    world = World(with_rounds(1), map_of=maps(0.92, 0.95)).rest()
    made = len(world.created_jobs())
    world.edit({"spec": {"inference": {"rounds": {"count": 2}}}})
    world.rest()
    again = ["pseudo-label 2", "merge 2", "fine-tune 2", "evaluate-round 2", "export", "inference", "evaluate-exported"]
    assert sorted(stages(world, made)) == sorted(again)
    assert world.status()["phase"] == "Succeeded"


def test_another_margin_is_another_decision_and_no_other_round() -> None:
    world = World(with_rounds(1), map_of=maps(0.92)).rest()
    made = len(world.created_jobs())
    world.edit({"spec": {"inference": {"rounds": {"minGain": 0.05}}}})
    world.rest()
    assert verdicts(world) == [(False, 0.9, 0.92)]
    assert sorted(stages(world, made)) == ["evaluate-exported", "export", "inference"]
    assert carried(world, "export")[0]["inputs"][0]["path"] == model_of(world, "retrain")


def test_a_round_that_became_unnecessary_leaves_no_count_of_attempts() -> None:
    """A count without the digest that it belongs to went back when the round was open again, and names of Jobs with it."""
    world = World(with_rounds(2), map_of=maps(0.92, 0.95)).rest()
    made, seen = len(world.created_jobs()), set()

    def look() -> None:
        for record in world.status()["stages"]:
            if record.get("variant") == "2" and record["name"] in ROUND:
                seen.add((record["state"], "digest" in record))
                assert ("digest" in record) == (record["attempt"] > 0), record

    world.after_round = look
    world.edit({"spec": {"inference": {"rounds": {"minGain": 0.5}}}})
    world.rest()
    assert {world.stage(name, "2")["reason"] for name in ROUND} == {"NotNeeded"}
    # A further variant opens the choice, and with it whether there is a second round.
    world.edit({"spec": {"prune": {"thresholds": [0.1, 0.3]}}})
    world.rest()
    world.edit({"spec": {"inference": {"rounds": {"minGain": 0.0}}}})
    world.rest()
    assert seen - {("Starting", True)} == {("Succeeded", True), ("Skipped", False), ("Pending", False)}
    assert not {f"{name} 2" for name in ROUND} & set(stages(world, made))
    assert [kept for kept, _, _ in verdicts(world)] == [True, True]


def test_another_filter_runs_from_the_merge() -> None:
    world = World(with_rounds(1)).rest()
    made = len(world.created_jobs())
    world.edit({"spec": {"inference": {"rounds": {"minConfidence": 0.8}}}})
    world.rest()
    assert stages(world, made)[:3] == ["merge 1", "fine-tune 1", "evaluate-round 1"]
    assert "pseudo-label 1" not in stages(world, made)


# --- what the stages are told ---


def test_the_merge_is_the_operators_own_and_needs_no_gpu() -> None:
    world = World({**with_rounds(minConfidencePerClass={"license_plate": 0.9}, maxPerClass=70), "resources": {"gpus": 1}}).rest()
    container = job(world, "merge", "1")["spec"]["template"]["spec"]["containers"][0]
    assert container["command"][:3] == ["python3", "-m", "yolo_operator.dataset"]
    assert "nvidia.com/gpu" not in json.dumps(container["resources"])
    instructions, text = carried(world, "merge", "1")
    directory, found = instructions["directory"], world.stage("pseudo-label", "1")["artifacts"][0]
    assert text == ""
    assert instructions["task"] == "merge"
    assert instructions["inputs"] == [{"path": f"/workspace/{found['path']}", "bytes": found["bytes"], "sha256": found["sha256"]}]
    assert instructions["merge"] == {
        "labels": f"/workspace/{found['path']}",
        "images": "/workspace/test",
        "output": f"{directory}/labels",
        "provenance": f"{directory}/provenance.jsonl",
        "classes": {"top_left": "top_left", "license_plate": "license_plate"},
        "round": 1,
        "model": world.stage("retrain")["artifacts"][0]["sha256"],
        "minConfidence": 0.6,
        "minConfidencePerClass": {"license_plate": 0.9},
        "maxPerClass": 70,
        "minPerImage": 1,
        "uncertain": "DropImage",
    }


def test_labels_get_the_names_that_the_datasets_labels_have() -> None:
    spec = with_rounds()
    classes = {"Plate": "license_plate", "Sign": "license_plate", "tl": "top_left"}
    spec["dataset"] = {**spec["dataset"], "format": "kitti", "classes": classes}
    world = World(spec).rest()
    assert carried(world, "merge", "1")[0]["merge"]["classes"] == {"license_plate": "Plate", "top_left": "tl"}


def test_the_labels_are_a_second_source_of_the_fine_tuning() -> None:
    world = World(with_rounds()).rest()
    instructions, text = carried(world, "fine-tune", "1")
    labels = f"/workspace/{world.stage('merge', '1')['artifacts'][0]['path']}"
    assert [item["path"] for item in instructions["inputs"]] == [model_of(world, "retrain"), labels]
    sources = re.findall(r'^  data_sources {\n    label_directory_path: "(.*)"\n    image_directory_path: "(.*)"$', text, re.M)
    assert sources[1:] == [(labels, "/workspace/test")]
    assert len(sources) == 2
    assert instructions["resume"]["epochs"] == 3
    for stage in ("evaluate-round", "pseudo-label"):
        assert labels not in carried(world, stage, "1")[1]


def test_a_rounds_inference_has_its_own_threshold() -> None:
    world = World(with_rounds(threshold=0.5)).rest()
    assert carried(world, "pseudo-label", "1")[0]["argv"][-2:] == ["-t", "0.5"]
    assert "-t" not in carried(world, "inference")[0]["argv"]


def test_rounds_on_tao() -> None:
    spec = {**with_rounds(2, tao_spec), "stages": {"fineTune": {"resources": {"gpus": 2}}}}
    spec["retrain"] = {**spec["retrain"], "useAmp": True}
    world = World(spec).rest()
    assert world.status()["phase"] == "Succeeded"
    assert carried(world, "fine-tune", "1")[0]["argv"][-3:] == ["--gpus", "2", "--use_amp"]
    assert "-l" in carried(world, "pseudo-label", "2")[0]["argv"]
    assert "keyEnv" not in carried(world, "merge", "1")[0]
    limits = job(world, "fine-tune", "1")["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits["nvidia.com/gpu"] == "2"
