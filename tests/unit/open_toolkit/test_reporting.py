"""Bars, tables, training log, status file."""

from __future__ import annotations

import io
import json
from pathlib import Path

from yolo_v4.reporting.bars import KerasBar, PredictionBar
from yolo_v4.reporting.status import RUNNING, STARTED, StatusLog, epoch_numbers
from yolo_v4.reporting.table import precision_table
from yolo_v4.reporting.training_log import EpochRow, TrainingLog

HEADER = b"epoch,AP_car,AP_tree,loss,lr,mAP,validation_loss\r\n"


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_last_line_of_an_epoch_is_kerass() -> None:
    out, clock = io.StringIO(), Clock()
    bar = KerasBar(1794, out, clock)
    clock.now = 583.0
    bar.update(1794, 5318.8814)
    assert out.getvalue() == "\n1794/1794 [==============================] - 583s 325ms/step - loss: 5318.8814\n"


def test_updates_between_go_on_lines_of_their_own_twice_a_second() -> None:
    out, clock = io.StringIO(), Clock()
    bar = KerasBar(100, out, clock)
    for step in range(1, 100):
        clock.now = step * 0.1
        bar.update(step, 1.0)
    lines = out.getvalue().split("\n")
    assert lines[0] == ""
    assert lines[1] == "  1/100 [..............................] - ETA: 9s - loss: 1.0000"
    assert lines[11] == " 51/100 [==============>...............] - ETA: 4s - loss: 1.0000"
    assert len(lines) <= 22


def test_small_and_undefined_losses() -> None:
    out = io.StringIO()
    KerasBar(1, out, Clock()).update(1, 0.0005)
    KerasBar(1, out, Clock()).update(1, float("nan"))
    assert "loss: 5.0000e-04" in out.getvalue()
    assert "loss: nan" in out.getvalue()


def test_the_prediction_bar_ends_its_line_when_complete() -> None:
    out, clock = io.StringIO(), Clock()
    bar = PredictionBar(200, stream=out, clock=clock)
    clock.now = 56.5
    bar.update(200)
    assert out.getvalue() == f"\rProducing predictions: 100%|{'█' * 30}| 200/200 [00:56<00:00,  3.54it/s]\n"


def test_the_table_is_taos() -> None:
    rule = "*" * 31
    assert precision_table({"license_plate": 0.884461, "bottom_left": 0.69871}, 0.7651).split("\n") == [
        rule,
        "bottom_left   AP    0.69871",
        "license_plate AP    0.88446",
        "              mAP   0.7651",
        rule,
    ]


def test_long_names_keep_a_blank() -> None:
    assert "\nelectric_bicycle AP    0.5\n" in precision_table({"electric_bicycle": 0.5}, 0.5)


def test_the_log_has_kerass_shape(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    log = TrainingLog(path, ["tree", "car"], 0)
    log.write(EpochRow(1, 5.5, 0.001))
    log.write(EpochRow(2, 4.5, 0.002, {"car": 0.5, "tree": 0.25}, 0.375, 9.0))
    assert path.read_bytes() == HEADER + b"1,nan,nan,5.5,0.001,nan,nan\r\n2,0.5,0.25,4.5,0.002,0.375,9.0\r\n"


def test_a_resumed_log_keeps_the_rows_that_it_builds_upon(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    log = TrainingLog(path, ["car", "tree"], 0)
    for epoch in (1, 2, 3):
        log.write(EpochRow(epoch, float(epoch), 0.1))
    with path.open("ab") as file:
        file.write(b"4,nan")  # torn by a kill
    TrainingLog(path, ["car", "tree"], 2).write(EpochRow(3, 9.0, 0.1))
    rows = path.read_bytes().split(b"\r\n")
    assert [row.split(b",")[0] for row in rows] == [b"epoch", b"1", b"2", b"3", b""]
    assert rows[3].split(b",")[3] == b"9.0"


def test_a_log_of_other_classes_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    TrainingLog(path, ["x"], 0).write(EpochRow(1, 1.0, 0.1))
    TrainingLog(path, ["car", "tree"], 1)
    assert path.read_bytes() == HEADER


def test_status_records_have_taos_keys_in_order(tmp_path: Path) -> None:
    status = StatusLog(tmp_path / "results")
    status.write(STARTED, "Starting Yolo_V4 Training job")
    graphical, kpi = epoch_numbers(loss=84.2, learning_rate=2.3e-05, validation_loss=None, mean_precision=None)
    head = {"epoch": 1, "max_epoch": 80, "time_per_epoch": "0:09:43", "eta": "12:48:06"}
    status.write(RUNNING, "Training loop in progress", head=head, graphical=graphical, kpi=kpi)
    status.write(RUNNING, "Training loop complete.")
    first, second, third = map(json.loads, (tmp_path / "results" / "status.json").read_text().splitlines())
    assert list(first) == ["date", "time", "status", "verbosity", "message"]
    assert list(second) == [*head, "date", "time", "status", "verbosity", "message", "graphical", "kpi"]
    assert second["graphical"] == {
        "loss": "84.2",
        "learning_rate": "2.3e-05",
        "validation_loss": "nan",
        "mean average precision": "nan",
    }
    assert third["kpi"] == {"mean average precision": "nan"}


def test_a_status_is_strict_json_even_of_nan(tmp_path: Path) -> None:
    StatusLog(tmp_path).write(RUNNING, "x", kpi={"mAP": float("nan")})
    assert json.loads((tmp_path / "status.json").read_text(), parse_constant=lambda _: 1 / 0)["kpi"] == {"mAP": "nan"}


def test_without_a_folder_there_is_no_status() -> None:
    StatusLog(None).write(RUNNING, "x")
