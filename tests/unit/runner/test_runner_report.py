"""The report: shortened by rule for the kubelet, and never anything but strict JSON."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st


def report(classes: int = 3, **more: Any) -> dict[str, Any]:
    return {
        "version": 1,
        "stage": "train",
        "variant": "",
        "attempt": 1,
        "digest": "d" * 64,
        "outcome": "Succeeded",
        "reason": "Completed",
        "message": "80 epochs",
        "metrics": {
            "mAP": 0.9,
            "AP": {f"class-{n:03d}": 0.12345 for n in range(classes)},
            "boxes": {f"class-{n:03d}": n for n in range(classes)},
        },
        "history": [{"epoch": n, "loss": 1.5, "mAP": 0.9} for n in range(classes)],
        "warnings": [{"reason": "Odd", "message": f"warning {n}"} for n in range(classes)],
        "artifacts": [{"name": "checkpoint", "path": "stages/train/x.tlt", "bytes": 1, "sha256": "a" * 64}],
        "truncated": False,
        **more,
    }


def shortened(runner: ModuleType, whole: dict[str, Any], limit: int = 4096) -> dict[str, Any]:
    raw = runner.shorten(whole, limit)
    assert len(raw) <= limit
    found: dict[str, Any] = json.loads(raw)
    return found


def test_what_fits_is_whole(runner: ModuleType) -> None:
    assert shortened(runner, report()) == report()


def test_things_go_in_the_order_of_the_contract(runner: ModuleType) -> None:
    whole = report(40)
    size = len(runner.compact(whole))
    left = []
    for limit in range(size, 600, -25):
        short = shortened(runner, whole, limit)
        left.append(("history" in short, "boxes" in short["metrics"], "warnings" in short, len(short["metrics"]["AP"]) == 40))
        assert short["artifacts"] == whole["artifacts"]
        assert short["truncated"] is (limit < size)
    seen = [state for place, state in enumerate(left) if state not in left[:place]]
    assert seen == [
        (True, True, True, True),
        (False, True, True, True),
        (False, False, True, True),
        (False, False, False, True),
        (False, False, False, False),
    ]


def test_of_many_classes_the_first_stay(runner: ModuleType) -> None:
    short = shortened(runner, report(500))
    names = list(short["metrics"]["AP"])
    assert names == [f"class-{n:03d}" for n in range(len(names))]
    assert 50 < len(names) < 500
    assert len(runner.shorten(report(500))) > 3900  # no more is left out than has to be


def test_the_message_goes_last(runner: ModuleType) -> None:
    short = shortened(runner, report(500, message="m" * 5000))
    assert short["message"] == "m" * 500


@given(
    whole=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(), inner, max_size=6),
        max_leaves=20,
    ),
    scale=st.sampled_from([1, 60, 5000]),
    text=st.text(max_size=60),
)
def test_any_report_becomes_strict_json_that_fits(runner: ModuleType, whole: Any, scale: int, text: str) -> None:
    made = report(scale % 700, message=text * scale, variant=text, artifacts=[whole] * (scale % 90), history=whole)
    made["metrics"]["anchors"] = whole
    found = json.loads(runner.shorten(made), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert len(runner.shorten(made)) <= 4096
    assert found["outcome"] == "Succeeded"


def test_lone_surrogates_of_odd_file_names_are_written(runner: ModuleType) -> None:
    assert json.loads(runner.shorten({"message": "a\udcffb"})) == {"message": "a?b"}
