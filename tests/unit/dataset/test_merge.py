"""The stage `merge`: labels for training, and where each comes from."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from yolo_operator.dataset.__main__ import main
from yolo_operator.runner.runner import measure

if TYPE_CHECKING:
    from conftest import Dataset


@dataclass
class Round:
    """A round's inference, and the merge of it."""

    dataset: Dataset
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def inferred(self) -> Path:
        return self.dataset.workspace / "stages" / "pseudo-label-1-1" / "labels"

    @property
    def directory(self) -> Path:
        return self.dataset.workspace / "stages" / "merge-1-1"

    def found(self, image: str, *labels: tuple[str, str, float], size: tuple[int, int] = (200, 100)) -> None:
        """An unlabelled image and what inference says of it: class, corners, confidence."""
        self.dataset.image(f"test/{image}", *size)
        self.inferred.mkdir(parents=True, exist_ok=True)
        lines = [f"{name} 0 0 0 {corners} 0 0 0 0 0 0 0 {confidence}\n" for name, corners, confidence in labels]
        (self.inferred / f"{Path(image).stem}.txt").write_text("".join(lines))

    def merge(self) -> tuple[int, dict[str, Any]]:
        size, digest = measure(str(self.inferred))
        wanted = {
            "labels": str(self.inferred),
            "images": str(self.dataset.data / "test"),
            "output": str(self.directory / "labels"),
            "provenance": str(self.directory / "provenance.jsonl"),
            "classes": {"Top_Left": "Top_Left", "plate": "License_Plate"},
            "round": 1,
            "model": "m" * 64,
            "minConfidence": 0.6,
            "minPerImage": 1,
            "uncertain": "DropImage",
        }
        instructions = {
            **self.dataset.instructions(),
            "stage": "merge",
            "variant": "1",
            "task": "merge",
            "directory": str(self.directory),
            "inputs": [{"path": str(self.inferred), "bytes": size, "sha256": digest}],
            "merge": wanted | self.changes,
        }
        del instructions["prepare"]
        path = self.dataset.root / "merge.json"
        path.write_text(json.dumps(instructions))
        code = main(["dataset", str(path)])
        report: dict[str, Any] = json.loads((self.directory / "report.json").read_text())
        return code, report

    def labels(self) -> dict[str, list[str]]:
        return {path.name: path.read_text().splitlines() for path in sorted((self.directory / "labels").iterdir())}

    def provenance(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.directory / "provenance.jsonl").read_text().splitlines()]


@pytest.fixture
def work(dataset: Dataset) -> Round:
    return Round(dataset)


BOX = "10 20 30.126 40"


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_sure_detections_become_labels_of_training(work: Round) -> None:
    work.dataset.good()
    work.found("a.png", ("top_left", BOX, 0.9), ("plate", "-3 50 250 99.5", 0.6))
    work.found("b.jpg", ("plate", BOX, 0.95), ("top_left", BOX, 0.59))
    work.found("c.png")
    before = tree(work.dataset.data)
    code, report = work.merge()
    assert (code, report["outcome"], report["warnings"]) == (0, "Succeeded", [])
    # KITTI with 15 columns, in the names that the label files of the dataset have, clipped to the image.
    assert work.labels() == {
        "a.txt": [
            "Top_Left 0.00 0 0.00 10.00 20.00 30.13 40.00 0.00 0.00 0.00 0.00 0.00 0.00 0.00",
            "License_Plate 0.00 0 0.00 0.00 50.00 200.00 99.50 0.00 0.00 0.00 0.00 0.00 0.00 0.00",
        ]
    }
    assert report["message"] == "2 labels on 1 of 3 images, 2 detections dropped (BelowConfidence 1, UncertainImage 1)"
    assert report["metrics"] == {
        "images": 1,
        "labels": 2,
        "droppedLabels": 2,
        "labelsByClass": {"Top_Left": 1, "plate": 1},
        "droppedByClass": {"Top_Left": 1, "plate": 1},
        "droppedByReason": {"BelowConfidence": 1, "UncertainImage": 1},
    }
    assert [item["name"] for item in report["artifacts"]] == ["labels", "provenance"]
    assert tree(work.dataset.data) == before


def test_every_detection_tells_where_it_comes_from(work: Round) -> None:
    work.changes = {"round": 2, "minConfidencePerClass": {"plate": 0.7}}
    work.found("a.png", ("top_left", BOX, 0.9))
    work.found("b.jpg", ("plate", BOX, 0.65))
    work.merge()
    common = {"line": 1, "box": [10.0, 20.0, 30.13, 40.0], "round": 2, "model": "m" * 64}
    assert work.provenance() == [
        {"image": "a.png", "class": "Top_Left", "confidence": 0.9, "kept": True} | common,
        {"image": "b.jpg", "class": "plate", "confidence": 0.65, "kept": False, "dropped": "BelowConfidence"} | common,
    ]


def test_no_label_is_no_failure(work: Round) -> None:
    work.found("a.png", ("top_left", BOX, 0.5))
    code, report = work.merge()
    assert (code, report["metrics"]["labels"], work.labels()) == (0, 0, {})
    assert report["message"] == "0 labels on 0 of 1 images, 1 detections dropped (BelowConfidence 1)"


def test_what_training_would_not_read_is_no_label(work: Round) -> None:
    work.found("a.JPG", ("top_left", BOX, 0.9))
    work.found("b.png", ("top_left", "10 10 10.1 50", 0.9), ("plate", BOX, 0.9))
    work.found("c.png", ("truck", BOX, 0.9))
    _, report = work.merge()
    assert report["metrics"]["droppedByReason"] == {"TooSmall": 1, "UnknownClass": 1, "UnreadableImage": 1}
    assert list(work.labels()) == ["b.txt"]
    (warning,) = report["warnings"]
    assert warning["reason"] == "UnreadableImage"
    assert warning["message"].startswith("1 images with detections cannot be trained on")


def test_caps_hold_over_all_images(work: Round) -> None:
    work.changes = {"maxPerClass": 2, "maxImages": 3}
    for number in range(5):
        work.found(f"{number}.png", ("plate", BOX, 0.7 + number / 100))
    _, report = work.merge()
    assert list(work.labels()) == ["3.txt", "4.txt"]
    assert report["metrics"]["droppedByReason"] == {"ClassFull": 3}


def test_merging_again_gives_the_same_and_nothing_stale(work: Round) -> None:
    work.found("a.png", ("top_left", BOX, 0.9))
    first = work.merge()[1]
    assert work.merge()[1]["reused"] is True
    (work.directory / "report.json").unlink()
    (work.directory / "labels" / "stale.txt").write_text("left over")
    again = work.merge()[1]
    assert (again["artifacts"], again["reused"]) == (first["artifacts"], False)


@pytest.mark.parametrize(
    "line",
    [
        "plate 0 0 0 1 2 30 40 0 0 0 0 0 0 0",
        "plate 0 0 0 1 2 30 40 0 0 0 0 0 0 0 nan",
        "plate 0 0 0 1 2 30 40 0 0 0 0 0 0 0 1.5",
        "plate 0 0 0 1 2 x 40 0 0 0 0 0 0 0 0.9",
    ],
)
def test_a_line_that_is_none_of_inferences_fails(work: Round, line: str) -> None:
    work.found("a.png", ("top_left", BOX, 0.9))
    (work.inferred / "a.txt").write_text(f"\n{line}\n")
    code, report = work.merge()
    assert (code, report["reason"], report["class"]) == (10, "ToolkitFailed", "user")
    assert f"a.txt:2: `{line}`" in report["message"]
    assert not (work.directory / "labels").exists()


def test_labels_that_changed_since_inference_are_not_taken(work: Round, monkeypatch: pytest.MonkeyPatch) -> None:
    work.found("a.png", ("top_left", BOX, 0.9))
    real = measure(str(work.inferred))
    monkeypatch.setitem(globals(), "measure", lambda _: (real[0], "0" * 64))
    assert work.merge()[1]["reason"] == "InputChanged"


def test_of_many_classes_the_report_has_the_totals_and_the_most_frequent(work: Round, tmp_path: Path) -> None:
    names = [f"a-rather-long-name-of-a-class-that-nobody-would-write-{number:03d}" for number in range(200)]
    work.changes = {"classes": {name: name for name in names}}
    work.found("a.png", *((name, BOX, 0.9) for name in [*names, names[77]]))
    work.found("b.png", *((name, BOX, 0.3) for name in names))
    _, report = work.merge()
    metrics = report["metrics"]
    assert (metrics["labels"], metrics["droppedLabels"]) == (201, 200)
    assert metrics["labelsByClass"][names[77]] == 2
    assert 10 < len(metrics["labelsByClass"]) < 20
    message = (tmp_path / "termination-log").read_bytes()
    assert len(message) <= 4096
    assert json.loads(message)["metrics"] == metrics
    assert len(work.provenance()) == 401
