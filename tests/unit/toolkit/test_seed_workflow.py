"""The example for TAO says the same as the workflow that it stands for: the same commands, the same experiment spec."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from yolo_operator.api.spec import Spec
from yolo_operator.toolkit import text
from yolo_operator.toolkit.dialects import dialect
from yolo_operator.toolkit.invocation import DataPaths, Invocation
from yolo_operator.toolkit.proto.experiment_pb2 import RegularizerConfig
from yolo_operator.toolkit.spec_text import experiment_text

Build = Callable[..., Spec]

STAGES = "/yolov4/stages"
TRAINED = f"{STAGES}/train/result/weights/yolov4_resnet18_epoch_080.tlt"
RETRAINED = f"{STAGES}/retrain/result/weights/yolov4_resnet18_epoch_010.tlt"

# Each of our stages has a directory of its own; the workflow has one for all. Nothing else differs between the commands.
SEED_PATHS = {
    f"{STAGES}/train/result": "/yolov4/result",
    f"{STAGES}/train/config.txt": "/yolov4/config.txt",
    TRAINED: "/yolov4/result/weights/yolov4_resnet18_epoch_080.tlt",
    f"{STAGES}/evaluate/config.txt": "/yolov4/config.txt",
    f"{STAGES}/prune-0-7/config.txt": "/yolov4/config.txt",
    f"{STAGES}/prune-0-7/yolov4_resnet18_epoch_080_pruned.tlt": "/yolov4/result/yolov4_resnet18_epoch_080_pruned.tlt",
    RETRAINED: "/yolov4/result-retrain/weights/yolov4_resnet18_epoch_010.tlt",
    f"{STAGES}/inference/config.txt": "/yolov4/config-pruned.txt",
    f"{STAGES}/inference/images_annotated": "/yolov4/dataset/test_vis",
    f"{STAGES}/inference/labels": "/yolov4/dataset/test_annotated",
    "{key}": "license-plate-yolov4",
}

KMEANS = "yolo_v4 kmeans -l /yolov4/dataset/train/labels -i /yolov4/dataset/train/images -x 320 -y 320 -n 9"
TRAIN = "yolo_v4 train -r /yolov4/result -e /yolov4/config.txt -k license-plate-yolov4"
EVALUATE = """
    yolo_v4 evaluate -m /yolov4/result/weights/yolov4_resnet18_epoch_080.tlt -e /yolov4/config.txt -k license-plate-yolov4
"""
PRUNE = """
    yolo_v4 prune -m /yolov4/result/weights/yolov4_resnet18_epoch_080.tlt
                  -o /yolov4/result/yolov4_resnet18_epoch_080_pruned.tlt
                  -k license-plate-yolov4 -eq union -pth 0.7 -e /yolov4/config.txt
"""
INFERENCE = """
    yolo_v4 inference -i /yolov4/dataset/test -o /yolov4/dataset/test_vis -e /yolov4/config-pruned.txt
                      -m /yolov4/result-retrain/weights/yolov4_resnet18_epoch_010.tlt
                      -k license-plate-yolov4 -l /yolov4/dataset/test_annotated
"""


def _kmeans(spec: Spec, data: DataPaths) -> Invocation:
    return dialect(spec.toolkit.profile).anchors(spec, data, f"{STAGES}/anchors")


def _train(spec: Spec, data: DataPaths) -> Invocation:
    return dialect(spec.toolkit.profile).train(spec, f"{STAGES}/train", epochs=80, checkpoint="last")


def _evaluate(spec: Spec, data: DataPaths) -> Invocation:
    return dialect(spec.toolkit.profile).evaluate(spec, f"{STAGES}/evaluate", TRAINED)


def _prune(spec: Spec, data: DataPaths) -> Invocation:
    return dialect(spec.toolkit.profile).prune(spec, f"{STAGES}/prune-0-7", TRAINED, 0.7)


def _inference(spec: Spec, data: DataPaths) -> Invocation:
    assert data.unlabelled_images is not None
    return dialect(spec.toolkit.profile).inference(spec, f"{STAGES}/inference", RETRAINED, data.unlabelled_images)


@pytest.mark.parametrize(
    ("build", "command"),
    [(_kmeans, KMEANS), (_train, TRAIN), (_evaluate, EVALUATE), (_prune, PRUNE), (_inference, INFERENCE)],
)
def test_the_example_runs_the_same_commands(
    build: Callable[[Spec, DataPaths], Invocation], command: str, tao: Build, data: DataPaths
) -> None:
    # Anchors are in the example; the workflow computed them once and pasted them.
    spec = tao(anchors={"auto": {"count": 9}})
    assert [SEED_PATHS.get(word, word) for word in build(spec, data).argv] == command.split()


def test_the_example_is_the_same_experiment_spec(tao: Build, data: DataPaths) -> None:
    seed = (Path(__file__).parent / "seed-config.txt").read_text(encoding="utf-8")
    assert text.parse(experiment_text(tao(), data)).experiment == text.parse(seed).experiment


def test_the_retraining_differs_as_the_workflow_says(tao: Build, data: DataPaths) -> None:
    """`pruned_model_path` and `enable_qat: true` added, the regularizer NO_REG; how many epochs the workflow leaves open."""
    pruned = f"{STAGES}/prune-0-5/yolov4_resnet18_epoch_080_pruned.tlt"
    expected = text.parse(experiment_text(tao(), data)).experiment
    expected.training_config.pruned_model_path = pruned
    expected.training_config.enable_qat = True
    expected.training_config.num_epochs = 10
    expected.training_config.regularizer.CopyFrom(RegularizerConfig(type="NO_REG"))
    assert text.parse(experiment_text(tao(), data, pruned_model=pruned)).experiment == expected
