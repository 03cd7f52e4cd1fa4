"""What the runner is told about toolkits."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

from yolo_operator.toolkit import failures, outputs
from yolo_operator.toolkit.runner_data import render, runner_data

CONTRACT = Path(__file__).parents[3] / "docs" / "stage-contract.md"


def test_the_runners_file_is_what_the_tables_say() -> None:
    """`make generate` writes it."""
    assert resources.files("yolo_operator.runner").joinpath("toolkits.json").read_text(encoding="utf-8") == render()


def test_every_diagnosis_and_exit_code_has_a_known_reason_and_a_pattern_that_compiles() -> None:
    for known in failures.DIAGNOSES:
        assert known.reason in failures.REASONS, known
        assert known.hint.count("{}") == 1, known
        re.compile(known.pattern)
    assert {reason for reason, _ in failures.EXIT_CODES.values()} <= failures.REASONS.keys()


def test_a_condition_names_a_kind_of_line_or_what_the_runner_adds() -> None:
    kinds = {kind for kind, _ in outputs.LINES} | {"epochEnd", "export", "prune", ""}
    assert {known.when for known in failures.DIAGNOSES} <= kinds


def test_every_reason_has_a_sentence_with_one_place_and_stands_in_the_contract_with_its_class() -> None:
    rows = [line for line in CONTRACT.read_text().splitlines() if line.startswith("| `")]
    for reason, (who, sentence) in failures.REASONS.items():
        assert re.fullmatch("[A-Z][A-Za-z]+", reason)
        assert sentence.count("{}") == 1, reason
        assert any(f"`{reason}`" in row and who.value in row.split("|")[2] for row in rows), reason


def test_it_is_small() -> None:
    """It travels in a ConfigMap."""
    assert len(render().encode()) < 50_000
    assert all(runner_data().values())
