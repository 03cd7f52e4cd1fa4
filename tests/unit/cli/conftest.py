"""One experiment, as the API server gives it, in the middle and at the end."""

from __future__ import annotations

import copy
from typing import Any

import pytest

CLASSES = {"top_left": 0.90773, "license_plate": 0.90787}


def stage(name: str, state: str = "Succeeded", variant: str = "", **more: Any) -> dict[str, Any]:
    """One entry of status.stages: 60 s long when it is over."""
    times = {"startTime": "2026-01-01T00:00:00Z", "finishTime": "2026-01-01T00:01:00Z"}
    entry = {"name": name, "variant": variant, "state": state, "attempt": 1, **times, **more}
    return {key: value for key, value in entry.items() if value is not None}


def model(size: int, name: str = "model") -> dict[str, Any]:
    """One artifact."""
    return {"name": name, "path": f"stages/x/{name}.bin", "bytes": size, "sha256": "0" * 64}


_SWEEP = {"0.1": (0.9, 900, 0.9078), "0.5": (0.4, 400, 0.9077), "0.7": (0.27, 270, 0.4535)}

FINISHED: dict[str, Any] = {
    "apiVersion": "yolo-operator.dev/v1alpha1",
    "kind": "YoloExperiment",
    "metadata": {"name": "plates", "namespace": "default", "generation": 2, "creationTimestamp": "2026-01-01T00:00:00Z"},
    "spec": {"export": {"format": "onnx", "dataType": "int8"}},
    "status": {
        "observedGeneration": 2,
        "phase": "Succeeded",
        "progress": "14/14",
        "mAP": 0.9081,
        "pruned": 0.4,
        "startTime": "2026-01-01T00:00:00Z",
        "completionTime": "2026-01-01T00:20:30Z",
        "chosen": {"variant": "0.5", "parameterRatio": 0.4, "mAP": 0.9077, "bytes": 400},
        "conditions": [
            {"type": "Accepted", "status": "True", "observedGeneration": 2},
            {"type": "Complete", "status": "True", "observedGeneration": 2, "message": "exported, mAP 0.9081"},
        ],
        "stages": [
            stage("prepare", metrics={"trainImages": 320}),
            stage("anchors", metrics={"anchors": [[21.07, 8.14]]}),
            stage(
                "train",
                attempt=2,
                metrics={"epoch": 80, "epochs": 80, "loss": 1.9, "mAP": 0.9078, "AP": CLASSES},
                artifacts=[model(9000, "log"), model(1000, "checkpoint")],
            ),
            stage("evaluate", metrics={"mAP": 0.9078, "AP": CLASSES}),
            *(
                stage("prune", variant=variant, metrics={"parameterRatio": ratio}, artifacts=[model(size)])
                for variant, (ratio, size, _) in _SWEEP.items()
            ),
            *(
                stage("evaluate-pruned", variant=variant, metrics={"mAP": mean, "AP": CLASSES})
                for variant, (_, _, mean) in _SWEEP.items()
            ),
            stage("retrain", metrics={"epoch": 10, "epochs": 10, "mAP": 0.9083}, artifacts=[model(410, "checkpoint")]),
            stage("evaluate-retrained", metrics={"mAP": 0.9083, "AP": CLASSES}),
            stage("export", artifacts=[model(105)]),
            stage("evaluate-exported", metrics={"mAP": 0.9081, "AP": CLASSES}),
        ],
    },
}


@pytest.fixture
def finished() -> dict[str, Any]:
    """An experiment that is complete."""
    return copy.deepcopy(FINISHED)


@pytest.fixture
def with_rounds(finished: dict[str, Any]) -> dict[str, Any]:
    """The same with three pseudo-label rounds: one that was kept, one that was not, one that was not run."""
    status = finished["status"]
    status["rounds"] = [
        {"number": 1, "images": 12, "labels": 48, "dropped": 9, "mAPBefore": 0.9083, "mAPAfter": 0.9131, "kept": True},
        {"number": 2, "images": 14, "labels": 56, "dropped": 5, "mAPBefore": 0.9131, "mAPAfter": 0.91, "kept": False},
        {"number": 3, "message": "not run: round 2 gained too little"},
    ]
    rounds = [
        stage("merge", variant="1", metrics={"labels": 48}),
        stage("evaluate-round", variant="1", metrics={"mAP": 0.9131, "AP": CLASSES}),
        stage("evaluate-round", variant="2", metrics={"mAP": 0.91, "AP": CLASSES}),
    ]
    status["stages"] = [*status["stages"][:-2], *rounds, *status["stages"][-2:]]
    return finished


@pytest.fixture
def running(finished: dict[str, Any]) -> dict[str, Any]:
    """The same experiment while it trains."""
    status = finished["status"]
    del status["chosen"], status["completionTime"], status["mAP"], status["pruned"]
    status |= {"phase": "Running", "stage": "train", "progress": "2/14, 25 %"}
    status["conditions"] = [{"type": "Reconciling", "status": "True", "observedGeneration": 2}]
    progress = {"epoch": 20, "epochs": 80, "loss": 58.88, "etaSeconds": 600, "percent": 25}
    training = stage("train", "Running", finishTime=None, progress=progress)
    rest = [stage("evaluate", "Pending", startTime=None, finishTime=None, attempt=None)]
    status["stages"] = [*status["stages"][:2], training, *rest]
    return finished
