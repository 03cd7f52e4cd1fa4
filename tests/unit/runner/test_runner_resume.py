"""Going on from a checkpoint: which one, and how the experiment spec is rewritten."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

CHECKPOINT = "/workspace/stages/train-1/result/weights/yolov4_resnet18_epoch_010.tlt"
FIELD = f'\n  resume_model_path: "{CHECKPOINT}"'


def rewritten(runner: ModuleType, folder: Path, text: str) -> str:
    """The experiment spec that a training reads which goes on from CHECKPOINT."""
    instructions = {"workspace": str(folder), "directory": str(folder), "specPath": str(folder / "config.txt")}
    (folder / "instructions.json").write_text(json.dumps(instructions))
    (folder / "experiment-spec.txt").write_bytes(text.encode("utf-8", "surrogateescape"))
    runner.ToolkitStage(str(folder / "instructions.json")).write_experiment_spec(CHECKPOINT)
    return (folder / "config.txt").read_bytes().decode("utf-8", "surrogateescape")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(
            'training_config {\n  batch_size_per_gpu: 8\n  pretrain_model_path: "/a.hdf5"\n}\n',
            "training_config {" + FIELD + "\n  batch_size_per_gpu: 8\n}\n",
            id="pretrained",
        ),
        pytest.param(
            'training_config {\n  pruned_model_path: "/a.tlt"\n  num_epochs: 3\n}\n',
            "training_config {" + FIELD + "\n  num_epochs: 3\n}\n",
            id="pruned",
        ),
        pytest.param(
            'training_config {\n  resume_model_path: "/old.tlt"\n  pretrain_model_path: "/a"\n}',
            "training_config {" + FIELD + "\n}",
            id="an earlier resumption",
        ),
        pytest.param("training_config {\n}\n", "training_config {" + FIELD + "\n}\n", id="random weights"),
        pytest.param(
            'yolov4_config {\n  arch: "resnet"\n}\ntraining_config {\n  optimizer {\n    resume_model_path: "/y"\n  }\n}\n',
            'yolov4_config {\n  arch: "resnet"\n}\ntraining_config {'
            + FIELD
            + '\n  optimizer {\n    resume_model_path: "/y"\n  }\n}\n',
            id="fields of other messages stay",
        ),
        pytest.param(
            'a: "training_config {"\ntraining_config {\n  name: "  pretrain_model_path: x"\n}\n',
            'a: "training_config {"\ntraining_config {' + FIELD + '\n  name: "  pretrain_model_path: x"\n}\n',
            id="quotes stay",
        ),
    ],
)
def test_the_oneof_is_cleaned_and_the_checkpoint_put_in(runner: ModuleType, tmp_path: Path, before: str, after: str) -> None:
    assert rewritten(runner, tmp_path, before) == after


FIELDS = st.sampled_from(
    ["  num_epochs: 80\n", "  learning_rate {\n    a: 1e-07\n  }\n", '  name: "a \\" b }"\n', "  x: '{ # '\n", '  y: "\udc80"\n']
)
PATHS = st.sampled_from([f'  {name}_model_path: "/a.hdf5"\n' for name in ("pretrain", "pruned", "resume")])


@given(before=st.lists(FIELDS), inside=st.lists(st.tuples(st.booleans(), FIELDS, PATHS)), after=st.lists(FIELDS))
def test_everything_else_stays_byte_for_byte(
    runner: ModuleType,
    tmp_path_factory: pytest.TempPathFactory,
    before: list[str],
    inside: list[tuple[bool, str, str]],
    after: list[str],
) -> None:
    head, tail = "".join(before) + "training_config {", "}\n" + "".join(after)
    text = head + "\n" + "".join(path if is_path else field for is_path, field, path in inside) + tail
    kept = head + FIELD + "\n" + "".join(field for is_path, field, _ in inside if not is_path) + tail
    assert rewritten(runner, tmp_path_factory.mktemp("spec"), text) == kept


def stage_with(runner: ModuleType, tmp_path: Path, files: dict[str, int], epochs: int = 80) -> Any:
    weights = tmp_path / "result" / "weights"
    weights.mkdir(parents=True)
    for name, size in files.items():
        (weights / name).write_bytes(b"x" * size)
    resume = {"weights": str(weights), "suffix": ".tlt", "epochs": epochs}
    instructions = {"workspace": str(tmp_path), "directory": str(tmp_path), "resume": resume}
    (tmp_path / "instructions.json").write_text(json.dumps(instructions))
    return runner.ToolkitStage(str(tmp_path / "instructions.json"))


def found(stage: Any, rows: list[int]) -> list[int]:
    return sorted(stage.checkpoints({epoch: {} for epoch in rows}))


def test_the_newest_checkpoint_is_the_newest_by_number(runner: ModuleType, tmp_path: Path) -> None:
    names = [f"yolov4_resnet18_epoch_{epoch}.tlt" for epoch in ("090", "010", "1000", "100")]
    stage = stage_with(runner, tmp_path, dict.fromkeys(names, 100), epochs=2000)
    assert found(stage, []) == [10, 90, 100, 1000]


def test_files_that_are_no_complete_checkpoints_do_not_count(runner: ModuleType, tmp_path: Path) -> None:
    stage = stage_with(
        runner,
        tmp_path,
        {
            "yolov4_resnet18_epoch_010.tlt": 100,
            "yolov4_resnet18_epoch_020.tlt": 0,
            ".yolov4_resnet18_epoch_030.tlt": 100,
            "yolov4_resnet18_epoch_040.tlt.tmp": 100,
            "yolov4_resnet18_epoch_050.hdf5": 100,
            "yolov4_resnet18.tlt": 100,
            "yolov4_resnet18_epoch_100.tlt": 100,
        },
    )
    assert found(stage, []) == [10]


def test_a_checkpoint_that_may_be_cut_short_is_passed_over(runner: ModuleType, tmp_path: Path) -> None:
    stage = stage_with(runner, tmp_path, {"yolov4_resnet18_epoch_010.tlt": 100, "yolov4_resnet18_epoch_020.tlt": 60})
    assert found(stage, [*range(1, 20)]) == [10]  # no row of the training log proves epoch 20
    assert found(stage, [*range(1, 21)]) == [10, 20]
    (tmp_path / "result" / "weights" / "yolov4_resnet18_epoch_020.tlt").write_bytes(b"x" * 100)
    assert found(stage, [*range(1, 20)]) == [10, 20]  # as big as one that is proven


def test_no_checkpoints_when_there_is_no_directory(runner: ModuleType, tmp_path: Path) -> None:
    stage = stage_with(runner, tmp_path, {})
    (tmp_path / "result" / "weights").rmdir()
    assert found(stage, []) == []


def test_the_training_logs_earlier_rows_survive_the_toolkits_truncation(runner: ModuleType, tmp_path: Path) -> None:
    stage = stage_with(runner, tmp_path, {})
    log = tmp_path / "result" / "yolov4_training_log_resnet18.csv"
    header = "epoch,AP_car,loss,lr,mAP,validation_loss\r\n"
    log.write_bytes((header + "1,nan,9.5,0.1,nan,nan\r\n2,0.5,8.5,0.1,0.5,7.5\r\n3,nan,8.0,0.1,nan,nan\r\n").encode())
    assert sorted(stage.training_log(up_to=2)) == [1, 2]
    log.write_bytes((header + "3,nan,7.0,0.1,nan,nan\r\n4,0.6,nan,0.1,0.6,NA\r\n5,0.7,6.").encode())
    rows = stage.training_log()
    assert rows[2] == {"loss": 8.5, "mAP": 0.5, "validationLoss": 7.5, "learningRate": 0.1, "AP": {"car": 0.5}}
    assert rows[3] == {"loss": 7.0, "learningRate": 0.1}
    assert rows[4]["mAP"] == 0.6
    assert rows[4]["loss"] != rows[4]["loss"]
    assert sorted(rows) == [1, 2, 3, 4]
    assert log.read_bytes().startswith((header + "1,nan,9.5,0.1,nan,nan\r\n2,0.5").encode())
    assert log.read_bytes().endswith(b"4,0.6,nan,0.1,0.6,NA\r\n")


@given(data=st.binary(max_size=300), head=st.sampled_from([b"", b"epoch,AP_car,loss,mAP\r\n", b"epoch,loss\n1,"]))
def test_any_training_log_can_be_read(
    runner: ModuleType, tmp_path_factory: pytest.TempPathFactory, data: bytes, head: bytes
) -> None:
    folder = tmp_path_factory.mktemp("log")
    stage = stage_with(runner, folder, {})
    (folder / "result" / "yolov4_training_log_x.csv").write_bytes(head + data)
    rows = stage.training_log()
    json.dumps(runner.plain(rows), allow_nan=False)
    assert stage.training_log() == rows or any(row.get("loss") != row.get("loss") for row in rows.values())
