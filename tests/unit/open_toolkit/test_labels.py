"""Label files and class lists."""

from __future__ import annotations

from pathlib import Path

import pytest
from yolo_v4.data.labels import Box, class_ids, class_names, list_images, parse_labels, parse_sizes
from yolo_v4.errors import DatasetError

IDS = {"car": 0, "0": 1}
TAIL = "0 0 0 0 0 0 0"


def test_classes_are_the_sorted_lower_case_targets() -> None:
    mapping = {"B": "Truck", "a": "car", "c": "TRUCK"}
    assert class_names(mapping) == ["car", "truck"]
    assert class_ids(mapping) == {"b": 1, "a": 0, "c": 1}


def test_a_box_in_fractions_of_the_image() -> None:
    assert parse_labels(f"Car 0.00 0 0.00 10 20 30 40 {TAIL}", IDS, (100, 200), "x") == [Box(0, 0.1, 0.1, 0.3, 0.2)]


def test_nine_columns_are_enough_and_eight_are_not() -> None:
    assert len(parse_labels("car 0 0 0 1 1 9 9 0", IDS, (10, 10), "x")) == 1
    assert parse_labels("car 0 0 0 1 1 9 9", IDS, (10, 10), "x") == []


def test_a_score_column_is_ignored() -> None:
    assert len(parse_labels(f"car 0 0 0 1 1 9 9 {TAIL} 0.93", IDS, (10, 10), "x")) == 1


def test_unknown_classes_are_skipped() -> None:
    assert parse_labels(f"DontCare 0 0 0 1 1 9 9 {TAIL}", IDS, (10, 10), "x") == []


def test_boxes_are_clipped_and_slivers_dropped() -> None:
    text = f"car 0 0 0 -5 -5 5 20 {TAIL}\ncar 0 0 0 3 3 3.005 9 {TAIL}\ncar 0 0 0 8 8 2 2 {TAIL}\ncar 0 0 0 nan 1 9 9 {TAIL}"
    assert parse_labels(text, IDS, (10, 10), "x") == [Box(0, 0.0, 0.0, 0.5, 1.0)]


def test_occlusion_marks_difficult_objects() -> None:
    assert parse_labels(f"0 0.5 2 0 1 1 9 9 {TAIL}", IDS, (10, 10), "x")[0].difficult


def test_an_occlusion_with_a_point_is_an_error_as_in_tao() -> None:
    with pytest.raises(DatasetError, match=r"labels/1\.txt:2"):
        parse_labels(f"\ncar 0 0.0 0 1 1 9 9 {TAIL}", IDS, (10, 10), "labels/1.txt")


def test_kmeans_takes_every_class_of_fifteen_columns() -> None:
    text = f"DontCare 0 0 0 1 1 3 5 {TAIL}\ncar 0 0 0 1 1 3 5 0"
    assert parse_sizes(text, (10, 20), "x") == [(0.2, 0.2)]


def test_images_are_listed_by_extension_and_name(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.png", "c.JPG", "d.txt"):
        (tmp_path / name).touch()
    (tmp_path / "e.jpg").mkdir()
    assert [path.name for path in list_images(tmp_path, (".jpg", ".png"))] == ["a.png", "b.jpg"]
    with pytest.raises(DatasetError, match="missing"):
        list_images(tmp_path / "missing", (".jpg",))
