"""What is on the screen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console, RenderableType
from yolo_operator.cli import tables, view
from yolo_operator.cli.summary import summarise
from yolo_operator.cli.words import duration, outcome, size

NOW = datetime(2026, 1, 1, 0, 5, tzinfo=UTC)


def shown(renderable: RenderableType, width: int = 120) -> str:
    console = Console(width=width, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def line_of(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(start))


def test_a_row_a_stage_with_its_numbers(running: dict[str, Any]) -> None:
    text = shown(view.experiment_view(running, NOW))
    assert "default/plates" in text.splitlines()[0]
    assert "Running" in text.splitlines()[0]
    row = line_of(text, "train")
    for word in ("▶ Running", "20/80", "58.88", "5m00s", "10m00s"):
        assert word in row
    assert "✔ Succeeded" in line_of(text, "prepare")
    assert "· Pending" in line_of(text, "evaluate")


def test_the_log_is_newer_than_the_status(running: dict[str, Any]) -> None:
    live = {("train", ""): {"epoch": 23, "epochs": 80, "loss": 50.81, "mAP": 0.8991, "etaSeconds": 90}}
    row = line_of(shown(view.experiment_view(running, NOW, live)), "train")
    for word in ("23/80", "50.81", "0.8991", "1m30s"):
        assert word in row


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        ({}, None),
        ({"percent": 40}, 40),
        ({"epoch": 20, "epochs": 80}, 25.0),
        ({"epoch": 1, "epochs": 4, "step": 50, "steps": 100}, 12.5),
        ({"epoch": 9, "epochs": 4}, 100.0),
    ],
)
def test_percent(progress: dict[str, Any], expected: float | None) -> None:
    assert view.percent({"state": "Running", "progress": progress}) == expected


def test_variants_have_rows_of_their_own(finished: dict[str, Any]) -> None:
    text = shown(view.experiment_view(finished, NOW))
    assert [line.split("  ")[0] for line in text.splitlines() if line.startswith("prune")] == [
        "prune 0.1",
        "prune 0.5",
        "prune 0.7",
    ]
    assert "exported, mAP 0.9081" in text


def test_a_failed_stage_says_why(running: dict[str, Any]) -> None:
    running["status"]["stages"][2] |= {"state": "Failed", "reason": "LossNotFinite", "message": "loss is NaN from epoch 3"}
    text = shown(view.experiment_view(running, NOW))
    assert "train: LossNotFinite: loss is NaN from epoch 3" in text


def test_what_the_experiments_sentence_says_is_not_said_twice(running: dict[str, Any]) -> None:
    running["status"]["stages"][2] |= {"state": "Failed", "reason": "LossNotFinite", "message": "loss is NaN from epoch 3"}
    running["status"] |= {"message": "stage train: loss is NaN from epoch 3", "conditions": []}
    assert shown(view.experiment_view(running, NOW)).count("loss is NaN from epoch 3") == 1


def test_an_earlier_result_is_no_reason_why_a_stage_waits(running: dict[str, Any]) -> None:
    running["status"]["stages"][3] |= {"state": "Pending", "reason": "Completed", "message": "mAP 0.9521 of the last time"}
    assert "of the last time" not in shown(view.experiment_view(running, NOW))


@pytest.mark.parametrize(
    "odd", [{}, {"status": None}, {"status": {"stages": [{"state": "Dreaming"}]}}, {"status": {"phase": "?"}}]
)
def test_an_object_of_another_version_is_shown_too(odd: dict[str, Any]) -> None:
    shown(view.experiment_view(odd, NOW))
    shown(tables.summary_view(summarise(odd)))
    shown(tables.list_view([odd], NOW, namespaces=True))


def test_outcome_counts_only_for_the_spec_as_it_is(finished: dict[str, Any], running: dict[str, Any]) -> None:
    assert outcome(running) is None
    finished["status"]["conditions"] = [{"type": "Stalled", "status": "True", "observedGeneration": 2}]
    assert outcome(finished) == "Stalled"
    finished["metadata"]["generation"] = 3
    assert outcome(finished) is None


def test_one_line_a_change(running: dict[str, Any], finished: dict[str, Any]) -> None:
    first = view.change_lines(None, running)
    assert "train Running epoch 20/80 loss 58.88" in first
    assert not any(line.startswith("evaluate") for line in first), "what is only pending is no news"
    assert view.change_lines(running, running) == []


def test_retries_are_changes(running: dict[str, Any]) -> None:
    after = {**running, "status": {**running["status"], "stages": [dict(entry) for entry in running["status"]["stages"]]}}
    after["status"]["stages"][2] |= {"attempt": 2, "progress": None}
    assert view.change_lines(running, after) == ["train Running (attempt 2)"]


def test_the_summarys_tables(finished: dict[str, Any]) -> None:
    text = shown(tables.summary_view(summarise(finished)))
    assert "default/plates  Succeeded  20m30s" in text
    assert "Average precision by class" in text
    assert "0.90787" in text
    (chosen,) = [line for line in text.splitlines() if "chosen" in line]
    assert "0.5" in chosen
    assert "0.400" in chosen
    assert "Exported model: onnx int8, mAP 0.90810" in text


def test_the_rounds_table(with_rounds: dict[str, Any]) -> None:
    text = shown(tables.summary_view(summarise(with_rounds)))
    start = next(index for index, line in enumerate(text.splitlines()) if "Pseudo-label rounds" in line)
    rows = [line.split() for line in text.splitlines()[start + 3 : start + 6]]
    assert rows == [
        ["1", "12", "48", "9", "0.90830", "0.91310", "◀", "kept"],
        ["2", "14", "56", "5", "0.91310", "0.91000", "not", "kept"],
        ["3", "not", "run:", "round", "2", "gained", "too", "little"],
    ]


def test_the_list(finished: dict[str, Any]) -> None:
    text = shown(tables.list_view([finished], NOW + timedelta(hours=2), namespaces=False))
    assert text.splitlines()[1].split() == ["plates", "Succeeded", "14/14", "0.9081", "0.400", "2h05m"]


@pytest.mark.parametrize(("seconds", "text"), [(None, ""), (-3, "0s"), (59.4, "59s"), (192, "3m12s"), (7500, "2h05m")])
def test_duration(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(None, ""), (12, "12 B"), (2048, "2.0 KiB"), (243042320, "231.8 MiB"), (5 << 30, "5.0 GiB")]
)
def test_size(count: int | None, text: str) -> None:
    assert size(count) == text


def test_a_training_that_was_resumed_says_from_where(running: dict[str, Any]) -> None:
    stage = next(stage for stage in running["status"]["stages"] if stage["name"] == "train")
    stage["resumedFromEpoch"] = 10
    assert "resumed from epoch 10" in line_of(shown(view.experiment_view(running, NOW), 160), "train")
