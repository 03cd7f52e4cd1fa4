"""Experiments for tests: one that is small and valid, and variations of it."""

from __future__ import annotations

from typing import Any

from yolo_operator.api import resource
from yolo_operator.api.spec import Spec, parse_spec
from yolo_operator.api.status import Status
from yolo_operator.kube.cluster import Object
from yolo_operator.pipeline.values import Experiment

NAMESPACE = "lab"
NAME = "plates"
UID = "11111111-1111-4111-8111-111111111111"


def small_spec(**changes: Any) -> dict[str, Any]:
    """Training and its evaluation with the open toolkit; `changes` replace whole fields, None leaves one out."""
    spec: dict[str, Any] = {
        "toolkit": {"profile": "open"},
        "workspace": {"claimName": "data"},
        "dataset": {
            "format": "darknet",
            "train": {"images": "train/images", "labels": "train/labels"},
            "validation": {"images": "valid/images", "labels": "valid/labels"},
            "classes": {"0": "top_left", "1": "license_plate"},
        },
        "experimentSpec": {
            "yolov4Config": {"arch": "resnet", "nlayers": 18},
            "trainingConfig": {
                "batchSizePerGpu": 8,
                "numEpochs": 20,
                "checkpointInterval": 5,
                "learningRate": {
                    "softStartCosineAnnealingSchedule": {"minLearningRate": 1e-5, "maxLearningRate": 2e-3, "softStart": 0.1}
                },
                "regularizer": {"type": "L1", "weight": 1e-4},
                "optimizer": {"adam": {}},
            },
            "evalConfig": {"batchSize": 8},
            "augmentationConfig": {"outputWidth": 160, "outputHeight": 160},
        },
        "anchors": {"auto": {"count": 9}},
    }
    spec |= changes
    return {name: value for name, value in spec.items() if value is not None}


def whole_spec(**changes: Any) -> dict[str, Any]:
    """Every stage there is, with three variants."""
    dataset = {**small_spec()["dataset"], "unlabelled": {"images": "test"}}
    stages: dict[str, Any] = {
        "dataset": dataset,
        "prune": {"thresholds": [0.1, 0.3, 0.5], "select": {"maxMapDrop": 0.02}},
        "retrain": {"numEpochs": 6, "enableQat": True, "regularizer": {"type": "NO_REG"}},
        "export": {"format": "onnx", "dataType": "int8"},
        "inference": {},
    }
    return small_spec(**(stages | changes))


def tao_spec(**changes: Any) -> dict[str, Any]:
    """The same on TAO 3, with its key."""
    toolkit = {"profile": "tao-3.21.11", "encryptionKeySecretRef": {"name": "tao", "key": "passphrase"}}
    return whole_spec(**({"toolkit": toolkit, "export": {"format": "etlt"}} | changes))


def experiment_body(spec: dict[str, Any] | None = None, name: str = NAME, **meta: Any) -> Object:
    """The object as a user applies it."""
    return {
        "apiVersion": resource.API_VERSION,
        "kind": resource.KIND,
        "metadata": {"name": name, **meta},
        "spec": spec if spec is not None else small_spec(),
    }


def experiment(spec: dict[str, Any] | Spec | None = None, status: Status | None = None, **changes: Any) -> Experiment:
    """The parsed experiment."""
    parsed = spec if isinstance(spec, Spec) else parse_spec(spec if spec is not None else small_spec())
    values = {"namespace": NAMESPACE, "name": NAME, "uid": UID, "generation": 1}
    return Experiment(**(values | {"spec": parsed, "status": status or Status()} | changes))
