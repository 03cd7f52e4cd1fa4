"""The dashboards: fresh, of metrics that exist, each panel explained."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from yolo_operator.controller import families

ROOT = Path(__file__).resolve().parents[3]
FILES = sorted((ROOT / "helm" / "yolo-operator" / "files" / "dashboards").glob("*.json"))
DECLARED = {f.name: f for f in (*families.OF_EXPERIMENTS, *families.OF_STAGES, *families.OF_OPERATOR)}
PROCESS = {"process_cpu_seconds_total", "process_resident_memory_bytes"}
METRIC = re.compile(r"\b((?:yolo|workqueue|process)_[a-z0-9_]+)\b(?:\{([^}]*)\})?")


def load(file: Path) -> dict[str, Any]:
    board: dict[str, Any] = json.loads(file.read_text())
    return board


def expressions(node: Any) -> Iterator[str]:
    """Every query in a dashboard: panels, annotations, variables."""
    if isinstance(node, dict):
        yield from (node[key] for key in ("expr", "query") if isinstance(node.get(key), str) and "(" in node[key])
        for value in node.values():
            yield from expressions(value)
    elif isinstance(node, list):
        for value in node:
            yield from expressions(value)


def test_they_are_what_the_code_renders(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dashboards", str(tmp_path)]
    subprocess.run(command, check=True, env={"PYTHONPATH": str(ROOT / "hack")}, timeout=120)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {file.name: file.read_text() for file in FILES}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_query_asks_for_metrics_and_labels_that_there_are(file: Path) -> None:
    found = list(expressions(load(file)))
    assert len(found) > 15
    for expression in found:
        metrics = METRIC.findall(expression)
        assert metrics, expression
        for name, matchers in metrics:
            family = DECLARED.get(re.sub(r"_(bucket|count|sum)$", "", name)) or DECLARED.get(name)
            assert family is not None or name in PROCESS, name
            for label in re.findall(r"([a-z_]+)(?:=~|!=|!~|=)", matchers):
                assert family is not None
                assert label in family.labels, f"{name} has no label {label}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_panel_says_what_it_shows(file: Path) -> None:
    board = load(file)
    titles = [panel["title"] for panel in board["panels"]]
    assert len(titles) == len(set(titles))
    assert all(panel["description"] and panel["targets"] for panel in board["panels"])
    assert all(panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"} for panel in board["panels"])
    for panel in board["panels"]:
        refs = [target["refId"] for target in panel["targets"]]
        assert len(refs) == len(set(refs)), panel["title"]


def test_experiments_have_their_variables_and_annotations() -> None:
    board = load(next(file for file in FILES if file.stem == "yolo-experiments"))
    assert [entry["name"] for entry in board["templating"]["list"]] == ["datasource", "namespace", "experiment"]
    assert [entry["name"] for entry in board["annotations"]["list"]] == ["Stage starts", "Stage ends"]
    assert all(entry["useValueForTime"] and "* 1000" in entry["expr"] for entry in board["annotations"]["list"])


def test_every_number_of_an_experiment_is_shown_somewhere() -> None:
    text = "\n".join(file.read_text() for file in FILES)
    unseen = {f.name for f in (*families.OF_EXPERIMENTS, *families.OF_STAGES) if f.name not in text}
    assert unseen == {
        "yolo_experiment_condition",
        "yolo_experiment_info",
        "yolo_experiment_start_timestamp_seconds",
        "yolo_experiment_completion_timestamp_seconds",
    }, "these are for alerts and joins"
