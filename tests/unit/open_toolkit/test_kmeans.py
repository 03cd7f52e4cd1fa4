"""Anchors."""

from __future__ import annotations

import pytest

np = pytest.importorskip("numpy")
Image = pytest.importorskip("PIL.Image")

from pathlib import Path  # noqa: E402

from yolo_v4.cli import main  # noqa: E402
from yolo_v4.errors import DatasetError  # noqa: E402
from yolo_v4.tasks.kmeans import cluster  # noqa: E402


def test_separate_clusters_are_found_by_median() -> None:
    shapes = np.array([[0.1, 0.1], [0.11, 0.1], [0.5, 0.1], [0.52, 0.12], [0.51, 0.11], [0.12, 0.1]])
    centres = cluster(shapes, 2, 100, seed=1)
    assert np.allclose(np.sort(centres, axis=0), [[0.11, 0.1], [0.51, 0.11]])


def test_the_same_seed_gives_the_same_anchors(capsys: pytest.CaptureFixture[str]) -> None:
    shapes = np.random.default_rng(0).uniform(0.05, 0.5, (200, 2))
    assert cluster(shapes, 9, 1000, 42).tolist() == cluster(shapes, 9, 1000, 42).tolist()
    assert "Start optimization iteration: 1\n" in capsys.readouterr().out


def test_too_few_boxes_are_an_error() -> None:
    with pytest.raises(DatasetError, match="too few"):
        cluster(np.full((9, 2), 0.1), 9, 10, 42)


def test_the_command_prints_anchors_by_area(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for index, side in enumerate((10, 11, 12, 40, 41, 42)):
        Image.new("RGB", (100, 50)).save(tmp_path / f"{index}.jpg")
        (tmp_path / f"{index}.txt").write_text(f"any 0 0 0 0 0 {side} {side / 2} 0 0 0 0 0 0 0\n")
    Image.new("RGB", (9, 9)).save(tmp_path / "unlabelled.png")
    folder = str(tmp_path)
    code = main(["kmeans", "-n", "2", "-l", folder, "-i", folder, "-y", "200", "-x", "100", "--results_dir", folder])
    assert code == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3:] == ["Please use following anchor sizes in YOLO config:", "(11.00, 22.00)", "(41.00, 82.00)"]
    assert f"Cannot find: {tmp_path / 'unlabelled.txt'}" in lines
    assert "[(11.0, 22.0), (41.0, 82.0)]" in (tmp_path / "status.json").read_text()


def test_small_boxes_can_be_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for index, side in enumerate((2, 40, 42)):
        Image.new("RGB", (100, 100)).save(tmp_path / f"{index}.jpg")
        (tmp_path / f"{index}.txt").write_text(f"any 0 0 0 0 0 {side} {side} 0 0 0 0 0 0 0\n")
    arguments = ["-l", str(tmp_path), "-i", str(tmp_path), "-x", "100", "-y", "100", "-n", "1", "--min_x", "2"]
    assert main(["kmeans", *arguments]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "(41.00, 41.00)"
