"""The CRD on a real API server: what it takes, what it refuses and with which words, what it fills in."""

from __future__ import annotations

import json
import re
import subprocess
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from playground import Playground
from pydantic import ValidationError
from yolo_operator.api.base import Model
from yolo_operator.api.spec import Spec, WrittenSpec
from yolo_operator.kube.cluster import EXPERIMENTS, Object
from yolo_operator.kube.errors import ApiError

from examples import NAME, experiment_body, small_spec, tao_spec, whole_spec

Kubectl = Callable[..., subprocess.CompletedProcess[str]]

SHAPES = {f"{scale}AnchorShape": "[(10, 10), (20, 20), (30, 30)]" for scale in ("big", "mid", "small")}
SCHEDULE = {"minLearningRate": 1e-5, "maxLearningRate": 1e-3, "softStart": 0.1, "annealing": 0.5}
COSINE = {"minLearningRate": 1e-5, "maxLearningRate": 1e-3, "softStart": 0.1}
DEEP = {"outputChannel": 1, "outputDepth": 16}
CONFIG = {"configMapKeyRef": {"name": "config", "key": "config.txt"}}


def merged(spec: dict[str, Any], **sections: dict[str, Any]) -> dict[str, Any]:
    """The spec with some fields of its sections replaced."""
    return spec | {name: {**spec.get(name, {}), **changes} for name, changes in sections.items()}


def with_network(spec: dict[str, Any], **sections: dict[str, Any]) -> dict[str, Any]:
    """The same for the sections of the experiment spec; None leaves a field out."""
    inner = merged(spec["experimentSpec"], **sections)
    inner = {
        name: {key: v for key, v in value.items() if v is not None} if isinstance(value, dict) else value
        for name, value in inner.items()
    }
    return spec | {"experimentSpec": inner}


def tao(**sections: dict[str, Any]) -> dict[str, Any]:
    return with_network(tao_spec(), **sections)


def pruned(**changes: Any) -> dict[str, Any]:
    return whole_spec(prune={"thresholds": [0.1, 0.5], "select": {"maxMapDrop": 0.02}, **changes})


def rounds(**changes: Any) -> dict[str, Any]:
    return whole_spec(inference={"rounds": {"fineTune": {"numEpochs": 4}, **changes}})


def rate(**changes: Any) -> dict[str, Any]:
    return with_network(small_spec(), trainingConfig={"learningRate": changes})


def on_nodes(*expressions: dict[str, Any]) -> dict[str, Any]:
    terms = {"nodeSelectorTerms": [{"matchExpressions": list(expressions)}]}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}


def apart_from(*expressions: dict[str, Any]) -> dict[str, Any]:
    term = {"labelSelector": {"matchExpressions": list(expressions)}, "topologyKey": "kubernetes.io/hostname"}
    return {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}


REJECTED: list[tuple[str, dict[str, Any]]] = [
    ("Spec: no anchors", small_spec(anchors=None)),
    (
        "Spec: cspdarknet_tiny has two scales: count",
        tao(yolov4Config={"arch": "cspdarknet_tiny", "smallGridXyExtend": 0}) | {"anchors": {"auto": {"count": 9}}},
    ),
    ("Spec: retrain works on", whole_spec(prune=None)),
    ("Spec: inference needs", small_spec(inference={})),
    ("Spec: openConfig is", tao(openConfig={"widthMultiplier": 0.5})),
    ("Spec: the toolkit exports another format", whole_spec(export={"format": "etlt"})),
    ("Spec: the toolkit exports another format", tao_spec(export={"format": "onnx"})),
    ("Spec: the toolkit exports other precisions", whole_spec(export={"format": "onnx", "dataType": "fp16"})),
    ("Spec: the open toolkit has arch", with_network(small_spec(), yolov4Config={"arch": "vgg", "nlayers": 16})),
    ("Spec: the open toolkit has arch", with_network(small_spec(), yolov4Config={"nlayers": 50})),
    ("Spec: set exactly one of experimentSpec", small_spec(experimentSpec=None)),
    ("Spec: set exactly one of experimentSpec", small_spec(experimentSpecFrom=CONFIG)),
    ("Spec: dataset says where", small_spec(dataset=None)),
    ("Spec: TAO crashes while it checks rmsprop", tao(trainingConfig={"optimizer": {"rmsprop": {}}})),
    ("Spec: images of 16 bits", with_network(small_spec(), augmentationConfig=DEEP)),
    (
        "Spec: images of 16 bits",
        with_network(merged(small_spec(), dataset={"imageExtension": "jpg"}), augmentationConfig=DEEP),
    ),
    ("AugmentationConfig: outputDepth 16 is", with_network(small_spec(), augmentationConfig={"outputDepth": 16})),
    ("Dataset: a class in a label file", merged(small_spec(), dataset={"format": "kitti", "classes": {"a b": "car"}})),
    ("Dataset: a class in a label file", merged(small_spec(), dataset={"format": "kitti", "classes": {"a\u000b": "car"}})),
    ("Spec: queuePriorityClass is", small_spec(queuePriorityClass="high")),
    ("Spec: TAO looks for a GPU", tao_spec(resources={"gpus": 0})),
    ("Spec: TAO looks for a GPU", tao_spec(stages={"evaluate": {"resources": {"gpus": 0}}})),
    ("Resources: dra says", small_spec(resources={"dra": {"deviceClassName": "gpu.nvidia.com"}, "gpus": 1})),
    ("NodeRequirement: In, NotIn", small_spec(scheduling=on_nodes({"key": "gpu", "operator": "In"}))),
    ("LabelRequirement: In and", small_spec(scheduling=apart_from({"key": "a", "operator": "Exists", "values": ["b"]}))),
    ("Workspace: a claim that you made", small_spec(workspace={"claimName": "a", "retention": "Delete"})),
    ("Workspace: mountPath:", small_spec(workspace={"claimName": "a", "mountPath": "/tmp/x"})),
    ("Spec: only tao-3.21.11 and tao-5.0 build", whole_spec(export={"format": "onnx", "engine": {}})),
    (
        "Spec: only tao-3.21.11 and tao-5.0 read a",
        whole_spec(export={"format": "onnx", "dataType": "int8", "calibration": {"tensorfile": "a"}}),
    ),
    ("Spec: only tao-3.21.11 and tao-5.0 have automatic", small_spec(train={"useAmp": True})),
    ("Spec: only tao-3.21.11 and tao-5.0 have automatic", whole_spec(retrain={"numEpochs": 1, "useAmp": True})),
    ("Export: calibration is for int8", whole_spec(export={"format": "onnx", "calibration": {}})),
    (
        "Calibration: set at most one of images",
        tao_spec(export={"format": "etlt", "dataType": "int8", "calibration": {"images": "a", "tensorfile": "b"}}),
    ),
    ("Engine: minBatchSize, optBatchSize", tao_spec(export={"format": "etlt", "engine": {"minBatchSize": 2}})),
    ("Engine: minBatchSize, optBatchSize", tao_spec(export={"format": "etlt", "engine": {"optBatchSize": 2}})),
    ("Toolkit: tao-3.21.11 encrypts", small_spec(toolkit={"profile": "tao-3.21.11"})),
    ("Toolkit: tao-3.21.11 encrypts", small_spec(toolkit={"image": "nvcr.io/nvidia/tao/tao-toolkit-tf:v3.21.11-tf1.15.5-py3"})),
    ("Spec: trainingConfig.enableQat says otherwise", with_network(small_spec(qat="Off"), trainingConfig={"enableQat": True})),
    ("Spec: retrain.enableQat says otherwise", whole_spec(qat="Off")),
    ("Spec: FromRetrain needs retrain", small_spec(qat="FromRetrain")),
    ("Pretrained: set exactly one of path", small_spec(pretrained={})),
    ("Pretrained: url needs", small_spec(pretrained={"url": "https://mirror.example/a.hdf5"})),
    ("Pretrained: sha256, proxy and", small_spec(pretrained={"path": "a", "proxy": {"https": "http://proxy.example"}})),
    ("Cache: subPath must be", small_spec(pretrained={"ngc": {"model": "a/b:c"}, "cache": {"subPath": "a/../b"}})),
    (
        "Spec: trainingConfig names another model",
        with_network(small_spec(pretrained={"path": "a"}), trainingConfig={"prunedModelPath": "b"}),
    ),
    ("StageOverrides: more than one GPU", whole_spec(stages={"inference": {"resources": {"gpus": 2}}})),
    ("Toolkit: set profile", small_spec(toolkit={})),
    ("Toolkit: the image is not one", small_spec(toolkit={"image": "registry.example/yolo:1"})),
    ("Workspace: set exactly one of claimName", small_spec(workspace={})),
    (
        "Workspace: set exactly one of claimName",
        small_spec(workspace={"claimName": "a", "volumeClaimTemplate": {"storage": "1Gi"}}),
    ),
    ("Workspace: subPath must be relative", small_spec(workspace={"claimName": "a", "subPath": "/a"})),
    ("Workspace: subPath must be relative", small_spec(workspace={"claimName": "a", "subPath": "a/../b"})),
    ("Workspace: subPath goes with", small_spec(workspace={"volumeClaimTemplate": {"storage": "1Gi"}, "subPath": "a"})),
    ("Dataset: darknet labels", merged(small_spec(), dataset={"classes": {"car": "car"}})),
    ("Dataset: subPath is the directory", merged(small_spec(), dataset={"subPath": "a"})),
    ("Yolov4Config: nlayers must be", with_network(small_spec(), yolov4Config={"nlayers": 19})),
    ("Yolov4Config: nlayers must be", tao(yolov4Config={"nlayers": None})),
    (
        "Yolov4Config: cspdarknet_tiny has two scales: leave",
        tao_spec(anchors={"auto": {"count": 6}})
        | {"experimentSpec": tao(yolov4Config={"arch": "cspdarknet_tiny"})["experimentSpec"]},
    ),
    (
        "Yolov4Config: give the anchors",
        with_network(small_spec(), yolov4Config={"bigAnchorShape": SHAPES["bigAnchorShape"]}),
    ),
    (
        "TrainingConfig: set at most one of pretrainModelPath",
        with_network(small_spec(), trainingConfig={"pretrainModelPath": "a", "prunedModelPath": "b"}),
    ),
    ("TrainingConfig: checkpointInterval must", with_network(small_spec(), trainingConfig={"checkpointInterval": 21})),
    ("LearningRate: set exactly one of", rate()),
    (
        "LearningRate: set exactly one of",
        rate(softStartAnnealingSchedule=SCHEDULE, softStartCosineAnnealingSchedule=COSINE),
    ),
    (
        "SoftStartAnnealingSchedule: minLearningRate must",
        rate(softStartAnnealingSchedule=SCHEDULE | {"minLearningRate": 1e-3}),
    ),
    ("SoftStartAnnealingSchedule: softStart must", rate(softStartAnnealingSchedule=SCHEDULE | {"softStart": 0.5})),
    (
        "SoftStartCosineAnnealingSchedule: minLearningRate must",
        rate(softStartCosineAnnealingSchedule=COSINE | {"minLearningRate": 1}),
    ),
    ("Regularizer: weight is needed", with_network(small_spec(), trainingConfig={"regularizer": {"type": "L2"}})),
    ("Optimizer: set exactly one of", with_network(small_spec(), trainingConfig={"optimizer": {}})),
    ("AugmentationConfig: outputChannel must", with_network(small_spec(), augmentationConfig={"outputChannel": 2})),
    ("AugmentationConfig: outputDepth must", with_network(small_spec(), augmentationConfig={"outputDepth": 12})),
    ("AugmentationConfig: imageMean has", with_network(small_spec(), augmentationConfig={"imageMean": {"r": 1, "g": 1}})),
    ("Prune: thresholds must differ", pruned(thresholds=[0.1, 0.1])),
    ("Prune: select.threshold must", pruned(select={"threshold": 0.3})),
    ("Select: set threshold, or bounds", pruned(select={})),
    ("Select: set threshold, or bounds", pruned(select={"threshold": 0.1, "maxMapDrop": 0.1})),
    ("Gate: set minMap", whole_spec(gates={"train": {}})),
    ("Gates: maxMapDrop.of must name an earlier", whole_spec(gates={"prune": {"maxMapDrop": {"of": "retrain", "by": 0.1}}})),
    ("Spec: a gate, and what it compares with", small_spec(gates={"retrain": {"minMap": 0.1}})),
    ("Spec: minAp names a class", small_spec(gates={"train": {"minAp": {"4": 0.1}}})),
    ("Spec: train.checkpoint must be", small_spec(train={"checkpoint": "7"})),
    ("Spec: retrain.checkpoint must be", whole_spec(retrain={"numEpochs": 6, "checkpointInterval": 2, "checkpoint": "3"})),
    ("Inference: minConfidence must not", rounds(minConfidence=0.2)),
    ("Spec: minConfidencePerClass names", rounds(minConfidencePerClass={"0": 0.9})),
    ("FineTune: checkpointInterval must", rounds(fineTune={"numEpochs": 5, "checkpointInterval": 6})),
    ("Retrain: checkpointInterval must", whole_spec(retrain={"numEpochs": 5, "checkpointInterval": 6})),
]


def models() -> list[type[Model]]:
    """Every model of the spec."""
    found: list[type[Model]] = []

    def walk(model: type[Model]) -> None:
        if model in found:
            return
        found.append(model)
        for info in model.model_fields.values():
            todo = [info.annotation]
            while todo:
                annotation = todo.pop()
                if isinstance(annotation, type) and issubclass(annotation, Model):
                    walk(annotation)
                todo += typing.get_args(annotation)

    walk(WrittenSpec)
    return found


RULES = [f"{model.__name__.removeprefix('Written')}: {rule.message}" for model in models() for rule in model.rules]


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_has_an_object_that_breaks_it(rule: str) -> None:
    assert any(rule.startswith(beginning) for beginning, _ in REJECTED)


@pytest.mark.parametrize(("rule", "spec"), REJECTED, ids=[rule for rule, _ in REJECTED])
async def test_a_broken_rule_is_refused_with_its_message(ground: Playground, rule: str, spec: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as error:
        await ground.apply(spec)
    (message,) = [known.partition(": ")[2] for known in RULES if known.startswith(rule)]
    assert error.value.status == 422
    assert message in error.value.message


@pytest.mark.parametrize(
    "spec",
    [
        small_spec(),
        whole_spec(),
        tao_spec(),
        tao(yolov4Config={"arch": "cspdarknet_tiny", "smallGridXyExtend": 0}) | {"anchors": {"auto": {"count": 6}}},
        with_network(small_spec(anchors=None), yolov4Config=SHAPES),
        with_network(merged(small_spec(), dataset={"imageExtension": "png"}), augmentationConfig=DEEP | {"imageMean": {"l": 1}}),
        with_network(small_spec(), trainingConfig={"optimizer": {"rmsprop": {}}}),
        tao(
            nmsConfig={"inferNmsScoreBits": 8, "forceOnCpu": True},
            trainingConfig={
                "visualizer": {
                    "enabled": True,
                    "wandbConfig": {"enabled": True, "project": "plates", "tags": ["a b", "c"], "mode": "OFFLINE"},
                    "clearmlConfig": {"project": "plates", "task": "train"},
                },
                "costScaling": {"enabled": False, "increment": 0.5},
            },
        ),
        merged(small_spec(), dataset={"format": "kitti", "classes": {"Straßenbahn": "tram", "a'b": "car"}}),
        pruned(select={"threshold": 0.5}),
        small_spec(workspace={"volumeClaimTemplate": {"storage": "1Gi"}}),
        rate(softStartAnnealingSchedule=SCHEDULE),
        whole_spec(
            **{"from": {"experiment": "other"}},
            gates={
                "train": {"minMap": 0.5, "minAp": {"license_plate": 0.4}},
                "retrain": {"maxMapDrop": {"of": "prune", "by": 0.01}},
                "export": {"maxMapDrop": {"by": 0.02}},
            },
            train={"checkpoint": "15"},
            retrain={"numEpochs": 7, "candidates": 3, "checkpoint": "7"},
            retry={"activeDeadlineSeconds": 3600, "stallSeconds": 600},
        ),
        rounds(count=3, threshold=0.1, minConfidence=0.2, minConfidencePerClass={"license_plate": 0.9}, uncertain="DropLabel"),
        tao_spec(
            resources={"gpus": 2}, stages={"evaluate": {"resources": {"gpus": 1, "gpuResourceName": "nvidia.com/mig-1g.5gb"}}}
        ),
        small_spec(queueName="gpus", queuePriorityClass="high", suspend=True),
        small_spec(scheduling=on_nodes({"key": "gpu", "operator": "Gt", "values": ["4"]})),
        small_spec(workspace={"volumeClaimTemplate": {"storage": "1Gi"}, "retention": "Delete", "minFreeSpace": "5Gi"}),
        tao_spec(resources={"dra": {"deviceClassName": "gpu.nvidia.com", "selectors": ['device.driver == "gpu.nvidia.com"']}}),
    ],
)
async def test_what_keeps_the_rules_is_taken(ground: Playground, spec: dict[str, Any]) -> None:
    stored = await ground.apply(spec)
    assert Spec.model_validate(stored["spec"]) == Spec.model_validate(spec)


@pytest.mark.parametrize(
    "spec",
    [
        small_spec(experimentSpec=None, dataset=None, anchors=None, experimentSpecFrom=CONFIG),
        whole_spec(experimentSpec=None, experimentSpecFrom={"configMapKeyRef": {"name": "config"}}),
        tao_spec(experimentSpec=None, dataset=None, inference=None, experimentSpecFrom=CONFIG),
    ],
)
async def test_a_text_takes_the_place_of_fields(ground: Playground, spec: dict[str, Any]) -> None:
    stored = await ground.apply(spec)
    assert stored["spec"]["experimentSpecFrom"] == CONFIG
    assert WrittenSpec.model_validate(stored["spec"]) == WrittenSpec.model_validate(spec)


@pytest.mark.parametrize(
    ("spec", "field", "character"),
    [
        (merged(small_spec(), dataset={"train": {"images": "a b", "labels": "c"}}), "spec.dataset.train.images", " "),
        (merged(small_spec(), dataset={"classes": {"0": "top'left"}}), "spec.dataset.classes", "'"),
        (merged(small_spec(), dataset={"classes": {"0": "plaque_numéro"}}), "spec.dataset.classes", "é"),
        (tao(trainingConfig={"pretrainModelPath": "a;$(id)"}), "spec.experimentSpec.trainingConfig.pretrainModelPath", ";"),
    ],
)
async def test_what_a_shell_does_not_bear_is_named(ground: Playground, spec: dict[str, Any], field: str, character: str) -> None:
    with pytest.raises(ApiError) as error:
        await ground.apply(spec)
    assert error.value.status == 422
    assert field in error.value.message
    words = f"the character '{character}' does not survive TAO's unquoted shell command"
    assert words in error.value.message
    with pytest.raises(ValidationError, match=re.escape(words)):
        WrittenSpec.model_validate(spec)


async def test_a_line_break_is_refused_too(ground: Playground) -> None:
    with pytest.raises(ApiError) as error:
        await ground.apply(merged(small_spec(), dataset={"classes": {"0": "a\nb"}}))
    assert "does not survive TAO's unquoted shell command" in error.value.message


async def test_examples_are_taken(ground: Playground, root: Path, kubectl: Kubectl) -> None:
    for path in sorted((root / "examples").glob("*.yaml")):
        kinds = [body["kind"] for body in yaml.safe_load_all(path.read_text()) if body]
        applied = kubectl("apply", "--dry-run=server", "--validate=strict", "-n", ground.namespace, "-f", str(path))
        assert applied.returncode == 0, f"{path.name} ({', '.join(kinds)}): {applied.stderr}"


def test_the_crd_is_established_and_structural(crd: Callable[[], None], kubectl: Kubectl) -> None:
    body = json.loads(kubectl("get", "crd", "yoloexperiments.yolo-operator.dev", "-o", "json").stdout)
    conditions = {condition["type"]: condition["status"] for condition in body["status"]["conditions"]}
    assert conditions["Established"] == "True"
    assert conditions["NamesAccepted"] == "True"
    assert conditions.get("NonStructuralSchema", "False") == "False"


async def test_an_unknown_field_is_refused_by_kubectl(ground: Playground, kubectl: Kubectl) -> None:
    spec = with_network(small_spec(), trainingConfig={"batchSizePerGPU": 8})
    applied = kubectl("apply", "-n", ground.namespace, "-f", "-", stdin=json.dumps(experiment_body(spec)))
    assert applied.returncode != 0
    assert 'unknown field "spec.experimentSpec.trainingConfig.batchSizePerGPU"' in applied.stderr


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (with_network(small_spec(), trainingConfig={"numEpochs": 0}), "spec.experimentSpec.trainingConfig.numEpochs"),
        (small_spec(maxParallel=65), "spec.maxParallel"),
        (pruned(thresholds=[]), "spec.prune.thresholds"),
        (merged(small_spec(), dataset={"train": {"images": "a b", "labels": "c"}}), "spec.dataset.train.images"),
        (merged(small_spec(), dataset={"format": "coco"}), "spec.dataset.format"),
    ],
)
async def test_a_value_out_of_range_names_its_field(ground: Playground, spec: dict[str, Any], words: str) -> None:
    with pytest.raises(ApiError) as error:
        await ground.apply(spec)
    assert words in error.value.message


@pytest.mark.parametrize("name", ["a" * 64, "with.dot"])
async def test_a_name_that_is_no_label_is_refused(ground: Playground, name: str) -> None:
    with pytest.raises(ApiError) as error:
        await ground.apply(small_spec(), name)
    assert "the name becomes a label value" in error.value.message


async def test_defaults_materialise(ground: Playground) -> None:
    spec = (await ground.apply(pruned()))["spec"]
    assert spec["maxParallel"] == 4
    assert spec["suspend"] is False
    assert spec["retry"] == {"limit": 3, "backoffSeconds": 10}
    assert spec["workspace"]["mountPath"] == "/workspace"
    assert spec["train"] == {"checkpoint": "best", "useAmp": False}
    assert spec["prune"]["pruningGranularity"] == 8
    assert spec["experimentSpec"]["nmsConfig"]["topK"] == 200
    assert spec["export"]["dataType"] == "int8"


async def test_a_stale_status_write_is_a_conflict(ground: Playground) -> None:
    stored = await ground.apply(small_spec())

    def write(phase: str) -> Object:
        version = {"resourceVersion": stored["metadata"]["resourceVersion"]}
        return {"metadata": version, "status": {"phase": phase}}

    where = (EXPERIMENTS, ground.namespace, NAME)
    first = await ground.cluster.patch(*where, write("Running"), subresource="status")
    assert first["status"]["phase"] == "Running"
    assert first["metadata"]["generation"] == stored["metadata"]["generation"]
    with pytest.raises(ApiError) as error:
        await ground.cluster.patch(*where, write("Failed"), subresource="status")
    assert error.value.conflict


async def test_status_and_spec_do_not_touch_each_other(ground: Playground) -> None:
    stored = await ground.apply(small_spec())
    where = (EXPERIMENTS, ground.namespace, NAME)
    both = {"status": {"phase": "Running"}, "spec": {"maxParallel": 2}}
    as_status = await ground.cluster.patch(*where, both, subresource="status")
    assert (as_status["spec"], as_status["status"]) == (stored["spec"], {"phase": "Running"})
    as_spec = await ground.cluster.patch(*where, {**both, "status": {"phase": "Failed"}})
    assert (as_spec["spec"]["maxParallel"], as_spec["status"]) == (2, {"phase": "Running"})


async def test_the_columns_of_kubectl_get(ground: Playground, kubectl: Kubectl) -> None:
    await ground.apply(small_spec())
    status = {"phase": "Running", "stage": "train", "progress": "2/4 (15%)", "mAP": 0.9, "pruned": 0.4, "message": "on its way"}
    await ground.cluster.patch(EXPERIMENTS, ground.namespace, NAME, {"status": status}, subresource="status")
    head, row = kubectl("get", "yexp", "-n", ground.namespace).stdout.splitlines()
    assert head.split() == ["NAME", "PHASE", "STAGE", "PROGRESS", "MAP", "PRUNED", "AGE"]
    assert row.split()[:7] == [NAME, "Running", "train", "2/4", "(15%)", "0.9", "0.4"]
    assert "on its way" in kubectl("get", "yexp", "-n", ground.namespace, "-o", "wide").stdout
