"""Pretrained weights: fetched before the first training, part of its digest, and the cache no part of theirs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from world import World
from yolo_operator.api import resource
from yolo_operator.api.spec import parse_spec
from yolo_operator.pipeline import graph
from yolo_operator.pipeline.weights import CACHE_MOUNT
from yolo_operator.pipeline.work import Results, stage_run

from examples import experiment, small_spec, whole_spec

URL = {"url": "https://mirror.example/weights/resnet_18.hdf5", "sha256": "a" * 64}
NGC = {
    "ngc": {
        "model": "nvidia/tao/pretrained_object_detection:resnet18",
        "file": "resnet_18.hdf5",
        "apiKeySecretRef": {"name": "ngc", "key": "key"},
    }
}


def annotation(world: World, stage: str, name: str) -> str:
    """Of the stage's one Job."""
    (job,) = [job for job in world.created_jobs() if job["metadata"]["labels"][resource.LABEL_STAGE] == stage]
    return str(job["spec"]["template"]["metadata"]["annotations"][name])


def instructions(world: World, stage: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(annotation(world, stage, resource.ANNOTATION_INSTRUCTIONS))
    return found


def text(world: World, stage: str) -> str:
    """The experiment spec."""
    return annotation(world, stage, resource.ANNOTATION_EXPERIMENT_SPEC)


def weights_of(pretrained: dict[str, Any]) -> Any:
    return stage_run(experiment(small_spec(pretrained=pretrained)), graph.WEIGHTS, Results({}))


def test_they_are_fetched_beside_the_preparation_and_trained_on() -> None:
    world = World(whole_spec(pretrained=URL)).rest()
    assert world.status()["phase"] == "Succeeded"
    (artifact,) = world.stage("weights")["artifacts"]
    path = f"/workspace/{artifact['path']}"
    read = [item for item in instructions(world, "train")["inputs"] if item["path"] == path]
    assert read == [{"path": path, "bytes": artifact["bytes"], "sha256": artifact["sha256"]}]
    assert f'pretrain_model_path: "{path}"' in text(world, "train")
    # The order: `weights` waits for nothing, the training for both.
    first = [str(node.key) for node in graph.graph(parse_spec(whole_spec(pretrained=URL))) if not node.needs]
    assert sorted(first) == ["prepare", "weights"]


def test_a_retraining_starts_from_the_pruned_model_alone() -> None:
    world = World(whole_spec(pretrained=URL)).rest()
    assert "pruned_model_path" in text(world, "retrain")
    assert "pretrain_model_path" not in text(world, "retrain")


def test_other_weights_train_anew_and_the_dataset_is_not_prepared_again() -> None:
    world = World(small_spec(pretrained=URL)).rest()
    made = len(world.created_jobs())
    world.edit({"spec": {"pretrained": {"sha256": "b" * 64}}})
    world.rest()
    again = [job["metadata"]["labels"][resource.LABEL_STAGE] for job in world.created_jobs()[made:]]
    assert again == ["weights", "train", "evaluate"]


@pytest.mark.parametrize(
    "change",
    [
        {"cache": {"claimName": "weights", "subPath": "a"}},
        {"cache": {"subPath": "elsewhere"}},
        {"proxy": {"https": "http://proxy.example:3128"}},
        {"caBundle": {"name": "authorities", "key": "ca.pem"}},
    ],
)
def test_where_the_cache_is_and_the_way_out_change_no_result(change: dict[str, Any]) -> None:
    assert weights_of(URL | change).digest == weights_of(URL).digest


def test_what_the_stage_is_told() -> None:
    by_url, by_name = weights_of(URL).instructions, weights_of(NGC).instructions
    assert by_url["weights"] == {**URL, "output": f"{by_url['directory']}/weights"}
    assert by_url["cache"] == "/workspace/weights-cache"
    assert by_name["weights"] == {
        "output": f"{by_name['directory']}/weights",
        "ngc": {
            "model": "nvidia/tao/pretrained_object_detection:resnet18",
            "file": "resnet_18.hdf5",
            "api": "https://api.ngc.nvidia.com",
            "authn": "https://authn.nvidia.com/token",
        },
        "keyed": True,
    }
    shared = weights_of(URL | {"cache": {"claimName": "weights"}}).instructions
    assert shared["cache"] == CACHE_MOUNT
    assert weights_of(URL).image is None
    assert "keyEnv" not in by_name


def test_a_path_in_the_workspace_needs_no_stage() -> None:
    world = World(small_spec(pretrained={"path": "pretrained/resnet_18.hdf5"})).rest()
    assert "weights" not in world.states()
    path = "/workspace/pretrained/resnet_18.hdf5"
    assert {"path": path} in instructions(world, "train")["inputs"]
    assert f'pretrain_model_path: "{path}"' in text(world, "train")


def test_the_path_says_the_same_as_the_experiment_specs_own_field() -> None:
    """One field more, and the same training."""
    old = small_spec()
    old["experimentSpec"]["trainingConfig"]["pretrainModelPath"] = "pretrained/resnet_18.hdf5"
    texts = []
    for raw in (old, small_spec(pretrained={"path": "pretrained/resnet_18.hdf5"})):
        world = World(raw).rest()
        texts.append(text(world, "train"))
    assert texts[0] == texts[1]
