"""Quantisation-aware training told truly: warned of at once where it does nothing, in the order that works where asked for."""

from __future__ import annotations

from typing import Any

import pytest
from world import World
from yolo_operator.api import resource
from yolo_operator.api.spec import parse_spec
from yolo_operator.kube.cluster import JOBS
from yolo_operator.pipeline.foreseen import foreseen
from yolo_operator.pipeline.values import EventKind, Notice, StageKey
from yolo_operator.toolkit.dialects import dialect

from examples import NAMESPACE, tao_spec, whole_spec

RETRAIN = {"numEpochs": 6, "regularizer": {"type": "NO_REG"}}


def told(world: World, reason: str) -> list[Notice]:
    return [notice for notice in world.operator.recorder.notices if notice.reason == reason]


def texts(world: World) -> dict[str, str]:
    """The experiment spec that each stage's Job carries."""
    name = resource.ANNOTATION_EXPERIMENT_SPEC
    return {
        job["metadata"]["labels"][resource.LABEL_STAGE]: job["spec"]["template"]["metadata"]["annotations"][name]
        for job in world.cluster.objects(JOBS, NAMESPACE)
    }


def test_what_a_toolkit_ignores_is_said_before_the_training_begins() -> None:
    world = World(tao_spec(retrain={**RETRAIN, "enableQat": True}))
    world.until(lambda: bool(told(world, "StageStarted")))
    assert world.stage("retrain")["state"] == "Pending"
    (warning,) = world.stage("retrain")["warnings"]
    assert warning["reason"] == "QatIgnored"
    assert "tao-3.21.11 ignores enableQat on a pruned model" in warning["message"]
    assert "qat: FromTrain" in warning["message"]
    (event,) = told(world, "QatIgnored")
    assert event.kind is EventKind.WARNING


def test_it_is_no_error_and_said_once() -> None:
    world = World(tao_spec(retrain={**RETRAIN, "enableQat": True})).rest()
    assert world.status()["phase"] == "Succeeded"
    assert [warning["reason"] for warning in world.stage("retrain")["warnings"]] == ["QatIgnored"]
    assert len(told(world, "QatIgnored")) == 1


def test_from_train_is_the_order_that_works() -> None:
    export = {"format": "etlt", "dataType": "int8"}
    world = World(tao_spec(qat="FromTrain", retrain=RETRAIN, export=export)).rest()
    assert world.status()["phase"] == "Succeeded"
    assert not told(world, "QatIgnored")
    assert "warnings" not in world.stage("retrain")
    carried = texts(world)
    assert all("enable_qat: true" in carried[stage] for stage in ("train", "prune", "retrain", "export"))
    # A QAT model has its ranges in it.
    assert "--cal_image_dir" not in argv(world, "export")


def test_an_export_of_a_model_that_is_none_after_all_is_calibrated() -> None:
    export = {"format": "etlt", "dataType": "int8"}
    world = World(tao_spec(qat="FromRetrain", retrain=RETRAIN, export=export)).rest()
    assert world.status()["phase"] == "Succeeded"
    assert told(world, "QatIgnored")
    assert "enable_qat: false" in texts(world)["train"]
    assert "enable_qat: true" in texts(world)["retrain"]
    assert "--cal_image_dir" in argv(world, "export")


def argv(world: World, stage: str) -> str:
    (job,) = [job for job in world.cluster.objects(JOBS, NAMESPACE) if job["metadata"]["labels"][resource.LABEL_STAGE] == stage]
    text = job["spec"]["template"]["metadata"]["annotations"][resource.ANNOTATION_INSTRUCTIONS]
    return str(text)


@pytest.mark.parametrize(
    ("profile", "changes", "train", "retrain", "quantised", "ignored"),
    [
        ("tao", {}, False, False, False, set()),
        ("tao", {"qat": "Off"}, False, False, False, set()),
        ("tao", {"qat": "FromTrain"}, True, True, True, set()),
        ("tao", {"qat": "FromTrain", "retrain": None}, True, False, True, set()),
        ("tao", {"qat": "FromTrain", "own": True}, True, True, False, {"train"}),
        ("tao", {"qat": "FromRetrain"}, False, True, False, {"retrain"}),
        ("tao", {"retrain": {**RETRAIN, "enableQat": True}}, False, True, False, {"retrain"}),
        ("open", {"qat": "FromRetrain"}, False, True, True, set()),
        ("open", {"qat": "FromTrain", "own": True}, True, True, True, set()),
        ("open", {"qat": "Off"}, False, False, False, set()),
    ],
)
def test_who_is_quantised(
    profile: str, changes: dict[str, Any], train: bool, retrain: bool, quantised: bool, ignored: set[str]
) -> None:
    raw = (tao_spec if profile == "tao" else whole_spec)(**{"retrain": RETRAIN, **changes, "own": None})
    if changes.get("own"):
        raw["experimentSpec"]["trainingConfig"]["prunedModelPath"] = "mine.tlt"
    spec = parse_spec(raw)
    assert (spec.trains_with_qat, spec.retrains_with_qat) == (train, retrain)
    assert dialect(spec.toolkit.profile).quantised(spec) is quantised
    keys = [StageKey(name) for name in ("train", "evaluate", "prune", "retrain", "export")]
    assert {key.name for key in keys if foreseen(spec, key)} == ignored


def test_a_corrected_spec_takes_the_warning_back() -> None:
    world = World(tao_spec(retrain={**RETRAIN, "enableQat": True}))
    world.until(lambda: bool(told(world, "StageStarted")))
    world.edit({"spec": {"retrain": {"enableQat": False}}})
    world.rest()
    assert "warnings" not in world.stage("retrain")
