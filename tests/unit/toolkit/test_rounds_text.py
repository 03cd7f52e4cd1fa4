"""The experiment spec of a round's fine-tuning."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from yolo_operator.api.rounds import FineTune
from yolo_operator.api.spec import Spec
from yolo_operator.toolkit.invocation import DataPaths
from yolo_operator.toolkit.spec_text import experiment_text

Build = Callable[..., Spec]
NINE = [[4.0 * n, 3.0 * n] for n in range(1, 10)]


def section(written: str, name: str) -> str:
    found = re.search(rf"^{name} {{$(.*?)^}}$", written, re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


def fine_tuned(spec: Spec, data: DataPaths, **changes: object) -> str:
    tuning = FineTune.model_validate({"numEpochs": 3, **changes})
    return experiment_text(spec, data, anchors=NINE, pruned_model="stages/retrain/x.pth", fine_tune=tuning)


def values(written: str, name: str) -> list[str]:
    return re.findall(rf"^ +{name}: (.*)$", written, re.MULTILINE)


def test_a_rounds_labels_are_a_second_source(cpu: Build, data: DataPaths) -> None:
    with_labels = replace(data, pseudo_labels="/workspace/stages/merge-1-0/labels")
    dataset = section(fine_tuned(cpu(), with_labels), "dataset_config")
    assert values(dataset, "label_directory_path") == [
        '"/yolov4/dataset/train/labels"',
        '"/workspace/stages/merge-1-0/labels"',
        '"/yolov4/dataset/valid/labels"',
    ]
    assert values(dataset, "image_directory_path") == [
        '"/yolov4/dataset/train/images"',
        '"/yolov4/dataset/test"',
        '"/yolov4/dataset/valid/images"',
    ]
    assert len(re.findall(r"^  data_sources {$", dataset, re.MULTILINE)) == 2
    assert len(re.findall(r"^  validation_data_sources {$", dataset, re.MULTILINE)) == 1


def test_without_labels_there_is_one_source(cpu: Build, data: DataPaths) -> None:
    assert len(re.findall(r"^  data_sources {$", experiment_text(cpu(), data, anchors=NINE), re.MULTILINE)) == 1


def test_fine_tuning_goes_on_from_the_best_model(cpu: Build, data: DataPaths) -> None:
    training = section(fine_tuned(cpu(), data), "training_config")
    assert values(training, "pruned_model_path") == ['"/workspace/stages/retrain/x.pth"']
    assert values(training, "pretrain_model_path") == []


def test_what_is_absent_is_as_in_retrain(cpu: Build, data: DataPaths) -> None:
    training = section(fine_tuned(cpu(), data), "training_config")
    retrained = section(experiment_text(cpu(), data, anchors=NINE, pruned_model="x.pth"), "training_config")
    for name in ("batch_size_per_gpu", "enable_qat", "max_learning_rate", "type", "checkpoint_interval"):
        assert values(training, name) == values(retrained, name), name
    assert values(training, "num_epochs") == ["3"]


def test_what_is_absent_is_as_in_training_config_without_retraining(cpu: Build, data: DataPaths) -> None:
    spec = cpu(retrain=None, prune=None)
    training = section(fine_tuned(spec, data), "training_config")
    trained = section(experiment_text(spec, data, anchors=NINE), "training_config")
    for name in ("batch_size_per_gpu", "enable_qat", "max_learning_rate", "type", "weight"):
        assert values(training, name) == values(trained, name), name


def test_what_fine_tune_says_wins(cpu: Build, data: DataPaths) -> None:
    rate = {"softStartCosineAnnealingSchedule": {"minLearningRate": 1e-6, "maxLearningRate": 0.5, "softStart": 0.1}}
    changes = {"checkpointInterval": 1, "batchSizePerGpu": 5, "learningRate": rate, "regularizer": {"type": "L2", "weight": 0.25}}
    training = section(fine_tuned(cpu(), data, **changes), "training_config")
    assert values(training, "checkpoint_interval") == ["1"]
    assert values(training, "batch_size_per_gpu") == ["5"]
    assert values(training, "max_learning_rate") == ["0.5"]
    assert (values(training, "type"), values(training, "weight")) == (["L2"], ["0.25"])


@pytest.mark.parametrize(("epochs", "interval"), [(1, "1"), (2, "2"), (9, "2")])
def test_a_short_fine_tuning_still_writes_a_checkpoint(epochs: int, interval: str, cpu: Build, data: DataPaths) -> None:
    assert values(fine_tuned(cpu(), data, numEpochs=epochs), "checkpoint_interval") == [interval]
