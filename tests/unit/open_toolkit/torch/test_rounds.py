"""A pseudo-label round: inference with the best model, and a fine-tuning of it with a second source of training data."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from yolo_v4.cli import main
from yolo_v4.model.files import Model, load_model

NAME = "yolov4_resnet10_epoch_{:03d}.pth"


def train(spec: str, results: Path) -> Model:
    assert main(["train", "-e", spec, "-r", str(results)]) == 0
    return load_model(sorted((results / "weights").iterdir())[-1])


@pytest.mark.parametrize("additions", ["", "training_config { model_ema: true }"])
def test_a_round(write_spec, dataset: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], additions: str) -> None:
    best = tmp_path / "best"
    trained = train(write_spec(additions + "training_config { num_epochs: 2 enable_qat: true }"), best)
    model = str(best / "weights" / NAME.format(2))

    unlabelled, found, labels = dataset / "valid" / "images", tmp_path / "found", tmp_path / "labels"
    infer = ["inference", "-m", model, "-e", write_spec(additions), "-i", str(unlabelled), "-r", str(found), "-t", "0.001"]
    assert main(infer) == 0
    # What a round makes of it: some of the images, 15 columns, in the names that the mapping knows.
    labels.mkdir()
    shutil.copy(dataset / "valid" / "labels" / "000.txt", labels)
    shutil.copy(dataset / "valid" / "labels" / "002.txt", labels)

    rate = "soft_start_cosine_annealing_schedule { min_learning_rate: 1e-9 max_learning_rate: 1e-8 soft_start: 0.1 }"
    changes = f'num_epochs: 1 checkpoint_interval: 1 pruned_model_path: "{model}" learning_rate {{ {rate} }}'
    source = f'data_sources {{ label_directory_path: "{labels}" image_directory_path: "{unlabelled}" }}'
    spec = write_spec(f"{additions} training_config {{ {changes} }} dataset_config {{ {source} }}")
    capfd.readouterr()
    tuned = train(spec, tmp_path / "tuned")
    assert "Training on 14 images, validating on 4." in capfd.readouterr().out
    # It is quantisation-aware because the model is, whatever the spec says, and it goes on from where that stood.
    assert tuned.quantised
    assert tuned.network.graph.layers == trained.network.graph.layers
    for (name, before), after in zip(trained.network.named_parameters(), tuned.network.parameters(), strict=True):
        assert torch.allclose(before, after, atol=1e-5), name
    for name, quantiser in trained.network.quantisers.items():
        assert float(tuned.network.quantisers[name].maximum) > 0.5 * float(quantiser.maximum) > 0, name
