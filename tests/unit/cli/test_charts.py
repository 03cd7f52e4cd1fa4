"""Charts: every number is where its axis says, whatever the numbers are."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yolo_operator.cli.charts import HEIGHT, WIDTH, Axis, Mark, Series, dots, lines, pareto, scatter

numbers = st.floats(-1e6, 1e6)


def parse(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(f"<x>{text}</x>")


@settings(deadline=None)
@given(st.lists(numbers, min_size=1, max_size=30), st.booleans())
def test_an_axis_holds_its_values_between_round_ticks(values: list[float], zero: bool) -> None:
    axis = Axis(values, 0, 500, zero=zero)
    assert 2 <= len(axis.ticks) <= 12
    assert axis.ticks == sorted(set(axis.ticks))
    assert all(-0.01 <= axis.at(value) <= 500.01 for value in values)
    assert axis.at(axis.ticks[0]) == pytest.approx(0, abs=1e-6)
    assert axis.at(axis.ticks[-1]) == pytest.approx(500, abs=1e-6)
    assert not zero or min(axis.ticks) <= 0


@settings(deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(1, 500), st.floats()), max_size=20), max_size=4))
def test_lines_stay_inside_whatever_the_numbers(series: list[list[tuple[float, float]]]) -> None:
    drawn = lines([Series(f"<{index}>", points) for index, points in enumerate(series)], x_label="epoch", y_label="loss")
    for circle in parse(drawn).iter("circle"):
        assert 0 <= float(circle.attrib["cx"]) <= WIDTH
        assert 0 <= float(circle.attrib["cy"]) <= HEIGHT


def test_a_point_says_its_number() -> None:
    drawn = parse(lines([Series("train", [(1, 23.764109), (2, 20.5)])], x_label="epoch", y_label="loss"))
    assert [title.text for title in drawn.iter("title")] == ["train, epoch 1: 23.764", "train, epoch 2: 20.5"]
    assert len(next(drawn.iter("polyline")).attrib["points"].split()) == 2


def test_nothing_to_draw_is_nothing() -> None:
    assert lines([], x_label="epoch", y_label="loss") == ""
    assert lines([Series("a", [(1, float("nan"))])], x_label="epoch", y_label="loss") == ""
    assert scatter([], x_label="x", y_label="y") == ""
    assert dots([], [], x_label="x") == ""


def test_the_front_is_what_nothing_beats() -> None:
    marks = [
        Mark("0.1", 0.9, 0.9078),
        Mark("0.3", 0.6, 0.9090),
        Mark("0.5", 0.4, 0.8),
        Mark("0.6", 0.5, 0.7),
        Mark("0.7", 0.27, 0.45),
    ]
    assert [mark.name for mark in pareto(marks)] == ["0.7", "0.5", "0.3"]
    drawn = scatter(marks, x_label="parameters left", y_label="mAP")
    assert len(re.findall("<circle", drawn)) == 5
    assert len(next(parse(drawn).iter("polyline")).attrib["points"].split()) == 3


def test_a_missing_value_has_no_dot() -> None:
    rows = [("car", [0.5, None, 0.25]), ("a<b", [None, None, 1.0])]
    drawn = parse(dots(rows, ["trained", "retrained", "exported"], x_label="AP"))
    said = [title.text for title in drawn.iter("title")]
    assert said == ["car, trained: 0.50000", "car, exported: 0.25000", "a<b, exported: 1.00000"]
