"""The summary of an experiment."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from rich.console import Console
from yolo_operator.cli.summary import find, precision, summarise, variants
from yolo_operator.cli.tables import summary_view
from yolo_operator.cli.view import experiment_view


def test_it_is_taken_from_the_object(finished: dict[str, Any]) -> None:
    result = summarise(finished)
    assert (result["experiment"], result["phase"], result["seconds"]) == ("plates", "Succeeded", 1230.0)
    assert result["chosen"] == "0.5"
    assert len(result["stages"]) == 14
    trained = find(result["stages"], "train")
    assert trained is not None
    assert (trained["attempts"], trained["seconds"], trained["metrics"]["mAP"]) == (2, 60.0, 0.9078)
    assert trained["bytes"] == 1000, "the checkpoint, though the log is larger"


def test_the_exported_models_precision_is_that_of_its_own_evaluation(finished: dict[str, Any]) -> None:
    exported = summarise(finished)["export"]
    assert exported == {
        "format": "onnx",
        "dataType": "int8",
        "bytes": 105,
        "mAP": 0.9081,
        "files": [{"path": "stages/x/model.bin", "bytes": 105}],
    }


def test_variants_are_in_ascending_order_with_the_chosen_one_marked(finished: dict[str, Any]) -> None:
    finished["status"]["stages"].reverse()
    rows = variants(summarise(finished))
    assert [row["variant"] for row in rows] == ["0.1", "0.5", "0.7"]
    assert [row["chosen"] for row in rows] == [False, True, False]
    assert rows[2].items() >= {"variant": "0.7", "parameterRatio": 0.27, "bytes": 270, "mAP": 0.4535, "chosen": False}.items()
    assert (rows[2]["pareto"], rows[2]["fits"]) == (None, None), "not decided yet"


def test_precision_is_after_training_retraining_and_export(finished: dict[str, Any]) -> None:
    found = precision(summarise(finished))
    assert {label: values["mAP"] for label, values in found.items()} == {
        "trained": 0.9078,
        "retrained": 0.9083,
        "exported": 0.9081,
    }
    assert found["trained"]["top_left"] == 0.90773


def test_rounds_are_told_and_those_that_were_kept_have_their_precision(with_rounds: dict[str, Any]) -> None:
    result = summarise(with_rounds)
    assert [(one["number"], one["labels"], one["mAPAfter"], one["kept"]) for one in result["rounds"]] == [
        (1, 48, 0.9131, True),
        (2, 56, 0.91, False),
        (3, None, None, None),
    ]
    assert {label: values["mAP"] for label, values in precision(result).items()} == {
        "trained": 0.9078,
        "retrained": 0.9083,
        "round 1": 0.9131,
        "exported": 0.9081,
    }


def test_of_several_retrained_candidates_the_chosen_one_counts(finished: dict[str, Any]) -> None:
    stages = [entry for entry in finished["status"]["stages"] if "retrain" not in entry["name"]]
    more = {("evaluate-retrained", "0.1"): 0.1, ("evaluate-retrained", "0.5"): 0.5}
    for (name, variant), mean in more.items():
        stages.insert(-2, {"name": name, "variant": variant, "state": "Succeeded", "metrics": {"mAP": mean}})
    finished["status"]["stages"] = stages
    found = {label: values["mAP"] for label, values in precision(summarise(finished)).items()}
    assert found == {"trained": 0.9078, "retrained": 0.5, "exported": 0.9081}


def test_without_an_evaluation_the_trainings_own_numbers_count(finished: dict[str, Any]) -> None:
    stages = finished["status"]["stages"]
    finished["status"]["stages"] = [entry for entry in stages if not entry["name"].startswith("evaluate")]
    assert precision(summarise(finished))["retrained"]["mAP"] == 0.9083


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"metadata": {"name": "new"}, "spec": {}},
        {"status": {"stages": [{}]}},
        {"status": {"stages": [{"name": "dream", "state": "Dreaming", "startTime": "soon", "metrics": None, "artifacts": None}]}},
        {"spec": {"export": {"format": "onnx"}}, "status": {"stages": [{"name": "export"}], "chosen": None}},
    ],
)
def test_an_object_of_another_version_has_a_summary_too(odd: dict[str, Any]) -> None:
    result = summarise(odd)
    json.dumps(result)
    variants(result)
    precision(result)


def test_the_sweeps_verdicts_gates_and_why_a_stage_ran_again(finished: dict[str, Any]) -> None:
    sweep = {"name": "0.7", "parameterRatio": 0.27, "mAP": 0.4535, "bytes": 270, "pareto": False, "fits": False}
    finished["status"] |= {
        "variants": [sweep | {"message": "mAP fell by 0.4543"}],
        "gates": [{"name": "train", "open": True, "message": "mAP 0.9078 of 0.8"}, {"name": "export", "open": False}],
    }
    finished["status"]["stages"][2]["why"] = "inputs changed: experiment spec"
    finished["status"]["stages"][3]["why"] = "new"
    summary = summarise(finished)
    assert [row["fits"] for row in variants(summary)] == [None, None, False]
    assert [stage["why"] for stage in summary["stages"][2:4]] == ["inputs changed: experiment spec", "new"]
    console = Console(width=200, record=True, file=StringIO())
    console.print(summary_view(summary))
    console.print(experiment_view(finished, datetime(2026, 1, 1, tzinfo=UTC)))
    text = console.export_text()
    for said in ("no: mAP fell by 0.4543", "✘ closed", "gate export: closed", "gate train: open: mAP 0.9078 of 0.8", "beaten"):
        assert said in text
    assert text.count("inputs changed: experiment spec") == 2
    assert "new" not in text.split()
