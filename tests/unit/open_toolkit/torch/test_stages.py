"""The commands on a tiny dataset, one after the other as an experiment runs them."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yolo_v4
from yolo_v4.cli import main
from yolo_v4.errors import ExitCode
from yolo_v4.model.files import load_checkpoint

NAME = "yolov4_resnet10_epoch_{:03d}.pth"


def rows(results: Path) -> list[dict[str, str]]:
    with (results / "yolov4_training_log_resnet10.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def states(results: Path) -> list[tuple[str, str]]:
    records = [json.loads(line) for line in (results / "status.json").read_text().splitlines()]
    return [(record["status"], record["message"]) for record in records]


def train(spec: str, results: Path) -> int:
    return main(["train", "-e", spec, "-r", str(results), "-k", "key"])


def test_the_whole_chain(write_spec, dataset: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    spec, results = write_spec(), tmp_path / "result"
    assert train(spec, results) == 0
    out = capfd.readouterr().out
    model = str(results / "weights" / NAME.format(4))
    epoch_four = out[out.index("Epoch 4/4") :]
    order = ["3/3 [====", "Producing predictions: 100%", "Start to calculate", "*" * 31, "left          AP", "right         AP"]
    order += ["              mAP   ", "*" * 31, "Validation loss: ", f"\n\nEpoch 00004: saving model to {model}\n"]
    position = 0
    for text in order:
        position = epoch_four.index(text, position) + 1
    assert sorted(path.name for path in (results / "weights").iterdir()) == [NAME.format(2), NAME.format(4)]
    assert (results / "model_output_labels.txt").read_bytes() == b"left\nright"
    assert [row["mAP"] == "nan" for row in rows(results)] == [True, False, True, False]
    assert [message for _, message in states(results)] == [
        "Starting Yolo_V4 Training job",
        "Starting Training Loop.",
        *["Training loop in progress"] * 4,
        "Training loop complete.",
        "YOLO_V4 training finished successfully.",
    ]

    assert main(["evaluate", "-m", model, "-e", spec, "-k", "key", "-r", str(tmp_path / "evaluated")]) == 0
    kpi = json.loads((tmp_path / "evaluated" / "status.json").read_text().splitlines()[-1])["kpi"]
    assert kpi["mAP"] == pytest.approx(float(rows(results)[-1]["mAP"]), abs=0.02)
    assert set(kpi) == {"mAP", "AP_left", "AP_right"}

    pruned = str(tmp_path / "pruned.pth")
    prune = ["prune", "-m", model, "-o", pruned, "-e", spec, "-pth", "0.9", "-eq", "union", "--results_dir", str(tmp_path / "p")]
    assert main(prune) == 0
    ratio = float(capfd.readouterr().err.split("Pruning ratio (pruned model / original model): ")[1].split()[0])
    assert 0 < ratio < 1
    assert ("RUNNING", f"Pruning ratio (pruned model / original model): {ratio}") in states(tmp_path / "p")
    assert load_checkpoint(pruned).training == {}

    retrained = tmp_path / "retrained"
    spec = write_spec(
        f'training_config {{ num_epochs: 1 enable_qat: true pruned_model_path: "{pruned}" regularizer {{ type: NO_REG }} }}'
    )
    assert train(spec, retrained) == 0
    model = str(retrained / "weights" / NAME.format(1))
    assert load_checkpoint(model).model.quantised
    assert load_checkpoint(model).model.network.graph.layers == load_checkpoint(pruned).model.network.graph.layers

    onnx = str(tmp_path / "model.onnx")
    export = ["export", "-m", model, "-e", spec, "-o", onnx, "--data_type", "int8", "--results_dir", str(tmp_path / "x")]
    assert main([*export, "--cal_json_file", str(tmp_path / "cal.json"), "--gen_ds_config"]) == 0
    kpi = json.loads((tmp_path / "x" / "status.json").read_text().splitlines()[-1])["kpi"]
    assert kpi["quantized_activations"] > 20
    assert len(json.loads((tmp_path / "cal.json").read_text())["tensor_scales"]) == kpi["quantized_activations"]
    assert "tlt-model-key" not in (tmp_path / "nvinfer_config.txt").read_text()
    assert main(export) == ExitCode.OUTPUT
    assert main(["evaluate", "-m", onnx, "-e", spec]) == 0
    assert "Schema error" not in capfd.readouterr().err

    drawn, labels = tmp_path / "drawn", tmp_path / "labels"
    images = str(dataset / "valid" / "images")
    infer = ["inference", "-m", onnx, "-e", spec, "-i", images, "-k", "key", "-t", "0.01"]
    assert main([*infer, "-o", str(drawn), "-l", str(labels)]) == 0
    assert sorted(path.name for path in drawn.iterdir()) == [f"{i:03d}.png" for i in range(4)]
    texts = [(labels / f"{i:03d}.txt").read_text() for i in range(4)]
    assert all(len(line.split()) == 16 for text in texts for line in text.splitlines())
    infer[-1] = "0.999"
    assert main([*infer, "-r", str(tmp_path / "r")]) == 0
    assert [path.read_text() for path in (tmp_path / "r" / "labels").iterdir()] == [""] * 4
    assert len(list((tmp_path / "r" / "images_annotated").iterdir())) == 4


@pytest.mark.parametrize("additions", ["", "training_config { model_ema: true }", "training_config { enable_qat: true }"])
def test_a_resumed_training_is_the_uninterrupted_one(write_spec, tmp_path: Path, additions: str) -> None:
    straight, resumed = tmp_path / "straight", tmp_path / "resumed"
    assert train(write_spec(additions), straight) == 0
    checkpoint = straight / "weights" / NAME.format(2)
    path = write_spec(additions + f'training_config {{ resume_model_path: "{checkpoint}" }}', "resume.txt")
    assert train(path, resumed) == 0
    assert sorted(path.name for path in (resumed / "weights").iterdir()) == [NAME.format(4)]
    first = load_checkpoint(straight / "weights" / NAME.format(4)).model.network.state_dict()
    second = load_checkpoint(resumed / "weights" / NAME.format(4)).model.network.state_dict()
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.allclose(value.float(), second[name].float(), rtol=1e-3, atol=1e-4), name
    assert [row["epoch"] for row in rows(resumed)] == ["3", "4"]


def test_resuming_a_finished_training_succeeds_and_says_so(write_spec, tmp_path: Path, capsys) -> None:
    results = tmp_path / "result"
    short = "training_config { num_epochs: 1 checkpoint_interval: 5 }"
    assert train(write_spec(short), results) == 0
    before = rows(results)
    checkpoint = results / "weights" / NAME.format(1)
    assert train(write_spec(short + f'training_config {{ resume_model_path: "{checkpoint}" }}'), results) == 0
    assert "nothing to train" in capsys.readouterr().out
    assert rows(results) == before
    assert states(results)[-1] == ("SUCCESS", "YOLO_V4 training finished successfully.")


def test_sigterm_leaves_the_last_finished_epoch(write_spec, tmp_path: Path) -> None:
    results = tmp_path / "result"
    spec = write_spec("training_config { num_epochs: 500 checkpoint_interval: 500 }")
    environment = {**os.environ, "PYTHONPATH": str(Path(yolo_v4.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-u", "-m", "yolo_v4", "train", "-e", spec, "-r", str(results)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and "Epoch 3/500" not in (process.stdout.readline() or ""):
        pass
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate(timeout=30)
    assert process.returncode == 143
    done = len(rows(results))
    assert done >= 2
    assert [path.name for path in (results / "weights").iterdir()] == [NAME.format(done)]
    assert f"Epoch {done:05d}: saving model to" in rest
    assert load_checkpoint(results / "weights" / NAME.format(done)).epoch == done
    assert states(results)[-1] == ("FAILURE", "Training was interrupted")


def test_early_stopping_evaluates_and_saves_where_it_stops(write_spec, tmp_path: Path, capsys) -> None:
    results = tmp_path / "result"
    stopping = 'early_stopping { monitor: "loss" min_delta: 1000000 patience: 2 }'
    spec = write_spec(f"training_config {{ num_epochs: 20 checkpoint_interval: 20 {stopping} }}")
    assert train(spec, results) == 0
    assert "Epoch 00003: early stopping" in capsys.readouterr().out
    assert [path.name for path in (results / "weights").iterdir()] == [NAME.format(3)]
    assert rows(results)[-1]["mAP"] != "nan"


def test_a_diverging_loss_has_its_own_exit_code(write_spec, tmp_path: Path, capsys) -> None:
    optimizer = "optimizer { sgd { momentum: 0.9 } }"
    rate = "soft_start_cosine_annealing_schedule { min_learning_rate: 1e30 max_learning_rate: 1e36 soft_start: 0 }"
    spec = write_spec(f"training_config {{ {optimizer} learning_rate {{ {rate} }} }}")
    assert train(spec, tmp_path / "result") == ExitCode.DIVERGED
    assert "Invalid loss, terminating training" in capsys.readouterr().out
    assert states(tmp_path / "result")[-1][0] == "FAILURE"


def test_other_options_of_training(write_spec, tmp_path: Path) -> None:
    """RMSprop, annealing, L2, focal loss, frozen block and norms, random shapes, class weights: one epoch each way."""
    schedule = "soft_start_annealing_schedule { min_learning_rate: 1e-5 max_learning_rate: 1e-3 soft_start: 0.1 annealing: 0.7 }"
    spec = write_spec(
        "training_config { num_epochs: 1 optimizer { rmsprop { rho: 0.9 epsilon: 1e-7 } } "
        f"learning_rate {{ {schedule} }} regularizer {{ type: L2 weight: 1e-4 }} }} "
        "yolov4_config { focal_loss_alpha: 0.25 focal_loss_gamma: 2.0 freeze_blocks: 0 freeze_bn: true label_smoothing: 0.1 } "
        "augmentation_config { randomize_input_shape_period: 1 } "
        'class_weighting_config { class_weighting { key: "left" value: 2.0 } } '
    )
    torch.manual_seed(0)
    assert train(spec, tmp_path / "result") == 0
    trained = load_checkpoint(tmp_path / "result" / "weights" / NAME.format(1)).model.network
    assert float(trained.units["block_1a_conv_1"].norm.weight.std()) == 0
    assert float(trained.units["conv1"].norm.running_mean.abs().sum()) == 0


def test_pretrained_weights_are_taken_over(write_spec, tmp_path: Path, capsys) -> None:
    one = "training_config { num_epochs: 1 }"
    assert train(write_spec(one), tmp_path / "first") == 0
    model = tmp_path / "first" / "weights" / NAME.format(1)
    pretrained = one + f'training_config {{ pretrain_model_path: "{model}" }}'
    frozen = "yolov4_config { freeze_blocks: 0 freeze_blocks: 1 }"
    assert train(write_spec(pretrained + frozen), tmp_path / "second") == 0
    first = load_checkpoint(model).model.network
    second = load_checkpoint(tmp_path / "second" / "weights" / NAME.format(1)).model.network
    assert torch.equal(first.units["conv1"].conv.weight, second.units["conv1"].conv.weight)
    assert not torch.equal(first.units["block_2a_conv_1"].conv.weight, second.units["block_2a_conv_1"].conv.weight)
    wider = write_spec(pretrained + "open_config { width_multiplier: 0.5 }")
    assert train(wider, tmp_path / "third") == ExitCode.USER
    assert "conv1 is not found in the pretrained model or has another shape" in capsys.readouterr().err


def test_user_errors(write_spec, dataset: Path, tmp_path: Path, capsys) -> None:
    results = tmp_path / "result"
    empty = tmp_path / "empty"
    empty.mkdir()
    nothing = f'data_sources {{ label_directory_path: "{empty}" image_directory_path: "{empty}" }}'
    spec = Path(write_spec()).read_text()
    start, end = spec.index("  data_sources"), spec.index("  target_class_mapping")
    (tmp_path / "empty.txt").write_text(spec[:start] + nothing + spec[end:])
    assert train(str(tmp_path / "empty.txt"), results) == ExitCode.USER
    assert "no training image with a label file" in capsys.readouterr().err
    assert states(results)[-1][0] == "FAILURE"
    assert main(["evaluate", "-m", str(tmp_path / "none.pth"), "-e", write_spec()]) == ExitCode.USER
    assert main(["inference", "-m", "x.pth", "-e", write_spec(), "-i", str(dataset)]) == ExitCode.USAGE
    assert train(write_spec(), Path("/proc/nowhere")) == ExitCode.OUTPUT


def test_int8_without_qat_needs_images(write_spec, dataset: Path, tmp_path: Path, capsys) -> None:
    spec = write_spec("training_config { num_epochs: 1 }")
    assert train(spec, tmp_path / "result") == 0
    model = str(tmp_path / "result" / "weights" / NAME.format(1))
    export = ["export", "-m", model, "-e", spec, "-o", str(tmp_path / "m.onnx"), "--data_type", "int8"]
    assert main(export) == ExitCode.USER
    assert "--cal_image_dir" in capsys.readouterr().err
    assert main([*export, "--cal_image_dir", str(tmp_path)]) == ExitCode.USER
    cache = tmp_path / "cal.bin"
    images = str(dataset / "train" / "images")
    assert main([*export, "--cal_image_dir", images, "--batches", "2", "--batch_size", "3", "--cal_cache_file", str(cache)]) == 0
    assert "Calibrating on 6 images" in capsys.readouterr().out
    assert cache.read_text().startswith("TRT-")
