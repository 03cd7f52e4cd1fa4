"""Two experiments side by side."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from rich.console import Console
from yolo_operator.cli.client import Cluster
from yolo_operator.cli.compare import comparison, comparison_view
from yolo_operator.cli.main import main


@pytest.fixture
def other(finished: dict[str, Any]) -> dict[str, Any]:
    """A second experiment: more epochs, a better model, not exported."""
    second = copy.deepcopy(finished)
    second["metadata"]["name"] = "plates-2"
    second["spec"] = {"experimentSpec": {"trainingConfig": {"numEpochs": 160}}, "prune": {"thresholds": [0.1, 0.5]}}
    for stage in second["status"]["stages"]:
        if stage["name"] == "evaluate":
            stage["metrics"] = {"mAP": 0.95, "AP": {"top_left": 0.95, "license_plate": 0.95, "new_class": 0.95}}
    second["status"]["stages"] = [s for s in second["status"]["stages"] if "export" not in s["name"]]
    return second


def rows(found: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {row["name"]: row["values"] for row in found}


def test_only_what_differs_in_the_specs(finished: dict[str, Any], other: dict[str, Any]) -> None:
    finished["spec"]["experimentSpec"] = {"trainingConfig": {"numEpochs": 80, "batchSizePerGpu": 8}}
    other["spec"]["experimentSpec"]["trainingConfig"]["batchSizePerGpu"] = 8
    assert rows(comparison([finished, other])["spec"]) == {
        "export.format": ["onnx", None],
        "export.dataType": ["int8", None],
        "experimentSpec.trainingConfig.numEpochs": [80, 160],
        "prune.thresholds": [None, [0.1, 0.5]],
    }


def test_lists_of_objects_by_index() -> None:
    pair = [{"spec": {"flipPairs": [{"left": "a"}, {"left": value}]}} for value in ("b", "c")]
    assert rows(comparison(pair)["spec"]) == {"flipPairs[1].left": ["b", "c"]}


def test_results(finished: dict[str, Any], other: dict[str, Any]) -> None:
    found = rows(comparison([finished, other])["results"])
    assert found["mAP trained"] == [0.9078, 0.95]
    assert found["AP trained new_class"] == [None, 0.95]
    assert found["mAP exported"] == [0.9081, None]
    assert found["exported model"] == [105, None]
    assert found["pruned at"] == ["0.5", "0.5"]
    assert found["duration"] == [1230.0, 1230.0]


def test_the_same_twice_differs_in_nothing(finished: dict[str, Any]) -> None:
    console = Console(width=120, record=True)
    console.print(comparison_view(comparison([finished, finished])))
    assert "nothing" in console.export_text()


def test_the_better_number_is_marked(finished: dict[str, Any], other: dict[str, Any]) -> None:
    console = Console(width=120, force_terminal=True, color_system="standard", record=True)
    console.print(comparison_view(comparison([finished, other])))
    (line,) = [line for line in console.export_text(styles=True).splitlines() if "mAP trained" in line]
    assert "\x1b[1;32m0.95" in line
    assert "\x1b[1;32m0.9078" not in line


@pytest.mark.parametrize("odd", [{}, {"metadata": {"name": "new"}, "spec": {}}, {"status": {"stages": [{}]}}])
def test_anything_compares(finished: dict[str, Any], odd: dict[str, Any]) -> None:
    json.dumps(comparison([finished, odd]))
    Console(quiet=True).print(comparison_view(comparison([odd, finished, odd])))


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch, finished: dict[str, Any], other: dict[str, Any]) -> None:
    experiments = {"plates": finished, "plates-2": other}

    def init(self: Cluster, **_: Any) -> None:
        self.namespace = "default"

    monkeypatch.setattr(Cluster, "__init__", init)
    monkeypatch.setattr(Cluster, "get", lambda self, name: experiments[name])
    monkeypatch.setattr(Cluster, "list", lambda self, **_: list(experiments.values()))
    monkeypatch.setattr(Cluster, "live_progress", lambda self, experiment: {("train", ""): {"epoch": 21}})


@pytest.mark.usefixtures("two")
def test_the_command_in_every_format() -> None:
    table = CliRunner().invoke(main, ["compare", "plates", "plates-2"])
    assert table.exit_code == 0, table.output
    assert "default/plates-2" in table.output
    for output, load in (("json", json.loads), ("yaml", yaml.safe_load)):
        result = CliRunner().invoke(main, ["compare", "plates", "plates-2", "-o", output])
        assert load(result.output)["experiments"] == ["default/plates", "default/plates-2"]
    assert CliRunner().invoke(main, ["compare", "plates"]).exit_code == 2


@pytest.mark.usefixtures("two")
def test_a_pipe_gets_whole_words(finished: dict[str, Any]) -> None:
    finished["metadata"]["name"] = "an-experiment-with-a-name-of-some-length"
    finished["status"]["stage"] = "evaluate-pruned 0.1, evaluate-pruned 0.5"
    output = CliRunner().invoke(main, ["list", "-A"]).output
    assert "an-experiment-with-a-name-of-some-length" in output
    assert "evaluate-pruned 0.1, evaluate-pruned 0.5" in output


@pytest.mark.usefixtures("two")
def test_every_reading_command_speaks_json_and_yaml(finished: dict[str, Any]) -> None:
    for output, load in (("json", json.loads), ("yaml", yaml.safe_load)):
        listed = load(CliRunner().invoke(main, ["list", "-o", output]).output)
        assert [(row["name"], row["phase"], row["mAP"]) for row in listed] == [
            ("plates", "Succeeded", 0.9081),
            ("plates-2", "Succeeded", 0.9081),
        ]
        status = load(CliRunner().invoke(main, ["status", "plates", "-o", output]).output)
        assert status["phase"] == "Succeeded"
        assert (status["stages"][2]["progress"], status["name"]) == ({"epoch": 21}, "plates")
        assert load(CliRunner().invoke(main, ["summary", "plates", "-o", output]).output)["chosen"] == "0.5"
