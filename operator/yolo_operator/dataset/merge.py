"""The stage `merge` of a round: what inference found becomes labels for training, and each of them tells where it comes from.

Nothing of the dataset is written to. The labels get a directory of their own, which the fine-tuning has as a second source beside
the training data; its images are the unlabelled ones where they lie.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from yolo_operator.dataset.labels import TOO_SMALL, Box
from yolo_operator.dataset.pictures import INFERENCE_SUFFIXES, TRAINING_SUFFIXES, image_size
from yolo_operator.dataset.selection import Detection, Dropped, Filter, Judged, select
from yolo_operator.runner.runner import Stage, StageError

COLUMNS = 16
"""KITTI's 15, and the confidence."""
ROOM = 900
"""Characters for each of the counts by class: the whole report has to fit into 4096 bytes, and provenance has every label."""


def merge(stage: Stage) -> dict[str, Any]:
    """Filter, write, count. Returns the report's fields; raises StageError when inference's labels cannot be read."""
    stage.verify_inputs()
    stage.open_log()
    wanted = stage.instructions["merge"]
    work = Work(stage, wanted)
    judged = select(work.detections(), _filter(wanted))
    work.tell_of_unreadable_images()
    output, provenance = Path(wanted["output"]), Path(wanted["provenance"])
    building = output.with_name(f"{output.name}.building")
    # The pod that began this is gone: an attempt runs alone in its directory.
    shutil.rmtree(building, ignore_errors=True)
    try:
        building.mkdir(parents=True)
        work.write_labels(building, judged)
        work.write_provenance(provenance, judged)
        shutil.rmtree(output, ignore_errors=True)
        building.replace(output)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return {
        **_figures(judged, work.images, wanted["classes"]),
        "artifacts": [stage.artifact("labels", str(output)), stage.artifact("provenance", str(provenance))],
    }


def _filter(wanted: Mapping[str, Any]) -> Filter:
    return Filter(
        min_confidence=wanted["minConfidence"],
        min_confidence_per_class=wanted.get("minConfidencePerClass", {}),
        max_per_class=wanted.get("maxPerClass"),
        min_per_image=wanted["minPerImage"],
        max_images=wanted.get("maxImages"),
        whole_images=wanted["uncertain"] == "DropImage",
    )


@dataclass
class Work:
    """From inference's label files to the round's; both have one an image."""

    stage: Stage
    wanted: Mapping[str, Any]
    images: int = 0
    """Images that inference looked at."""
    unreadable: int = 0
    """Images with detections that training would not read."""

    @cached_property
    def classes(self) -> dict[str, str]:
        """The model's class by the name that the toolkit writes, which is in lower case."""
        return {name.lower(): name for name in self.wanted["classes"]}

    @cached_property
    def pictures(self) -> dict[str, Path]:
        """Stem → image."""
        with os.scandir(self.wanted["images"]) as entries:
            paths = sorted(Path(entry.path) for entry in entries if entry.is_file())
        return {path.stem: path for path in paths if path.suffix in INFERENCE_SUFFIXES}

    def detections(self) -> Iterator[Detection]:
        """All that was found. Raises StageError for a line that is not what inference writes."""
        files = sorted(Path(self.wanted["labels"]).glob("*.txt"))
        self.images = len(files)
        for step, path in enumerate(files, 1):
            self.stage.check()
            self.stage.progress({"step": step, "steps": len(files)}, last=step == len(files))
            lines = [line.split() for line in path.read_text("utf-8").splitlines()]
            size = self._size(path.stem) if any(lines) else None
            for number, columns in enumerate(lines, 1):
                if columns:
                    yield self._detection(path, number, columns, size)

    def write_labels(self, directory: Path, judged: Sequence[Judged]) -> None:
        """KITTI labels of the images that have any; an image without a file is no training image."""
        kept: dict[str, list[str]] = {}
        for one in judged:
            if one.kept:
                found = one.detection
                kept.setdefault(found.image, []).append(Box(self.wanted["classes"][found.name], *found.corners).kitti())
        for image, lines in kept.items():
            (directory / f"{image}.txt").write_text("".join(f"{line}\n" for line in lines), "utf-8")

    def write_provenance(self, path: Path, judged: Sequence[Judged]) -> None:
        """A JSON object a line: every detection, where it comes from and what became of it."""
        temporary = path.with_name(f"{path.name}.tmp")
        with temporary.open("w", encoding="utf-8") as file:
            for one in judged:
                file.write(json.dumps(self._origin(one), ensure_ascii=False) + "\n")
        temporary.replace(path)

    def tell_of_unreadable_images(self) -> None:
        if self.unreadable:
            reads = " ".join(sorted(TRAINING_SUFFIXES))
            self.stage.warn("UnreadableImage", f"{self.unreadable} images with detections cannot be trained on: it reads {reads}")

    def _detection(self, path: Path, number: int, columns: Sequence[str], size: tuple[int, int] | None) -> Detection:
        values = _numbers([*columns[4:8], columns[-1]]) if len(columns) == COLUMNS else None
        if values is None or not 0 <= values[4] <= 1:
            found = f"{path.name}:{number}: `{' '.join(columns)[:200]}` is no KITTI line with a confidence from 0 to 1 at its end"
            raise StageError("ToolkitFailed", f"its inference left a label that cannot be read ({found})", "user")
        name = self.classes.get(columns[0].lower())
        corners = _clipped(values[:4], size)
        unusable = None
        if name is None:
            unusable = Dropped.UNKNOWN_CLASS
        elif size is None:
            unusable = Dropped.UNREADABLE_IMAGE
        elif not all(corners[end] - corners[start] > TOO_SMALL * size[start] for start, end in ((0, 2), (1, 3))):
            unusable = Dropped.TOO_SMALL
        return Detection(path.stem, number, name or columns[0], corners, values[4], unusable)

    def _size(self, stem: str) -> tuple[int, int] | None:
        """Width and height of an image that training reads."""
        path = self.pictures.get(stem)
        size = image_size(path) if path is not None and path.suffix in TRAINING_SUFFIXES else None
        self.unreadable += size is None
        return size

    def _origin(self, one: Judged) -> dict[str, Any]:
        found = one.detection
        origin = {
            "image": self.pictures[found.image].name if found.image in self.pictures else found.image,
            "line": found.line,
            "class": found.name,
            "box": [round(value, 2) for value in found.corners],
            "confidence": found.confidence,
            "round": self.wanted["round"],
            "model": self.wanted["model"],
            "kept": one.kept,
        }
        return origin if one.dropped is None else {**origin, "dropped": one.dropped.value}


def _numbers(columns: Sequence[str]) -> list[float] | None:
    try:
        numbers = [float(column) for column in columns]
    except ValueError:
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def _clipped(corners: Sequence[float], size: tuple[int, int] | None) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = corners
    if size is None:
        return x1, y1, x2, y2
    width, height = size
    return _within(x1, width), _within(y1, height), _within(x2, width), _within(y2, height)


def _within(value: float, side: int) -> float:
    return min(max(value, 0.0), float(side))


def _figures(judged: Sequence[Judged], images: int, classes: Iterable[str]) -> dict[str, Any]:
    labels = Counter(one.detection.name for one in judged if one.kept)
    dropped = Counter(one.detection.name for one in judged if not one.kept)
    reasons = Counter(one.dropped.value for one in judged if one.dropped is not None)
    used = len({one.detection.image for one in judged if one.kept})
    why = f" ({', '.join(f'{name} {count}' for name, count in sorted(reasons.items()))})" if reasons else ""
    return {
        "message": f"{labels.total()} labels on {used} of {images} images, {dropped.total()} detections dropped{why}",
        "metrics": {
            "images": used,
            "labels": labels.total(),
            "droppedLabels": dropped.total(),
            "labelsByClass": _most({name: labels[name] for name in classes}),
            "droppedByClass": _most({name: dropped[name] for name in classes}),
            "droppedByReason": dict(sorted(reasons.items())),
        },
    }


def _most(counts: Mapping[str, int]) -> dict[str, int]:
    """The counts that the report has room for, the highest first; all of them in any but the largest set of classes."""
    found, room = {}, ROOM
    for name in sorted(counts, key=lambda name: (-counts[name], name)):
        room -= len(f'"{name}":{counts[name]},')
        if counts[name] and room >= 0:
            found[name] = counts[name]
    return dict(sorted(found.items()))
