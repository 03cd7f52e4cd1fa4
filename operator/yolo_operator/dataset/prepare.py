"""The stage itself: every image and label is read once; the converted labels appear whole, at the end, or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from yolo_operator.dataset import labels
from yolo_operator.dataset.findings import Findings
from yolo_operator.dataset.pictures import INFERENCE_SUFFIXES, TRAINING_SUFFIXES, Content, find_images, read_content
from yolo_operator.runner.runner import Stage, StageError

LABELLED = ("train", "validation")


def prepare(stage: Stage) -> dict[str, Any]:
    """Check, convert, count. Returns the report's fields; raises StageError `DatasetUnusable`."""
    wanted = stage.instructions["prepare"]
    stage.open_log()
    work = Work(stage, wanted, Findings(_root(wanted)))
    output = Path(wanted["output"])
    building = output.with_name(f"{output.name}.building")
    # The pod that began this is gone: an attempt runs alone in its directory.
    shutil.rmtree(building, ignore_errors=True)
    try:
        for part in LABELLED:
            work.labelled(part, building / part / "labels")
        work.unlabelled()
        work.conclude()
        if work.converts:
            shutil.rmtree(output, ignore_errors=True)
            building.replace(output)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    artifacts = [stage.artifact(f"{part}Labels", str(output / part / "labels")) for part in LABELLED] if work.converts else []
    boxes = sum(work.boxes.values())
    return {
        "message": f"{work.images['train']} training and {work.images['validation']} validation images, {boxes} training boxes",
        "metrics": {**{f"{part}Images": count for part, count in work.images.items()}, "boxes": dict(sorted(work.boxes.items()))},
        "artifacts": artifacts,
        "fingerprint": work.fingerprint(),
        **({"unlabelledFingerprint": work.fingerprint("unlabelled/")} if "unlabelled" in wanted else {}),
    }


def _root(wanted: Mapping[str, Any]) -> Path:
    """The directory that holds all of the dataset: paths in sentences are relative to it."""
    parts = [wanted[part] for part in (*LABELLED, "unlabelled") if part in wanted]
    return Path(os.path.commonpath([path for part in parts for path in part.values()]))


@dataclass
class Work:
    """What has been read so far."""

    stage: Stage
    wanted: Mapping[str, Any]
    findings: Findings
    boxes: Counter[str] = field(default_factory=Counter)
    """Training boxes by the model's class."""
    images: dict[str, int] = field(default_factory=dict)
    """By part: usable images."""
    _contents: list[str] = field(default_factory=list)
    _step: int = 0
    _steps: int = 0

    @property
    def converts(self) -> bool:
        return bool(self.wanted["format"] == "darknet")

    @cached_property
    def classes(self) -> dict[str, str]:
        given: dict[str, str] = self.wanted["classes"]
        return {str(int(name)) if self.converts else name.lower(): mapped for name, mapped in given.items()}

    def labelled(self, part: str, output: Path) -> None:
        """Check a part's images and labels against each other, and convert the labels into `output`."""
        folders = {kind: Path(self.wanted[part][kind]) for kind in ("images", "labels")}
        images = find_images(folders["images"], TRAINING_SUFFIXES, self.findings, f"spec.dataset.{part}.images")
        if not folders["labels"].is_dir():
            if folders["labels"] != folders["images"]:
                self.findings.error(folders["labels"], f"there is no such directory: correct spec.dataset.{part}.labels")
            return
        files = {path.stem: path for path in sorted(folders["labels"].glob("*.txt"))}
        for stem in files.keys() - images.keys():
            self.findings.warn("LabelWithoutImage", "labels have no image and are not used", files[stem])
        if self.converts:
            output.mkdir(parents=True)
        self._steps += len(images)
        self.images[part] = 0
        for stem, image in images.items():
            self._count()
            if stem not in files:
                label = self.findings.name(folders["labels"] / f"{stem}.txt")
                self.findings.error(image, f"its label {label} is missing: write it (empty for no object), or remove the image")
                continue
            content = self._image(part, image)
            if content is not None:
                self._label(part, files[stem], content, output)
                self.images[part] += 1

    def unlabelled(self) -> None:
        """Images that inference will read."""
        if "unlabelled" not in self.wanted:
            return
        folder = Path(self.wanted["unlabelled"]["images"])
        images = find_images(folder, INFERENCE_SUFFIXES, self.findings, "spec.dataset.unlabelled.images")
        self._steps += len(images)
        self.images["unlabelled"] = 0
        for image in images.values():
            self._count()
            if self._image("unlabelled", image) is not None:
                self.images["unlabelled"] += 1

    def conclude(self) -> None:
        """Write down what was found; errors end the stage."""
        findings = self.findings
        self.stage.progress({"step": self._step, "steps": self._steps}, last=True)
        for part in LABELLED:
            if not self.images.get(part) and not findings.errors:
                findings.error(Path(self.wanted[part]["images"]), "no image has a label that can be used")
        missing = sorted(set(self.classes.values()) - self.boxes.keys())
        if missing:
            self.boxes.update(dict.fromkeys(missing, 0))
            self.stage.warn("ClassWithoutBoxes", f"no training box is of class {', '.join(missing)}: it cannot be learnt")
        for reason, sentence in findings.warnings():
            self.stage.warn(reason, sentence)
        if findings.errors:
            for sentence in findings.errors:
                self.stage.say(f"error: {sentence}")
            self.stage.known["errors"] = findings.errors
            raise StageError("DatasetUnusable", findings.summary())

    def fingerprint(self, *parts: str) -> str:
        """The identity of what is labelled: its content and how its classes are mapped, whatever the order of the directory.

        With `parts`, that of the images whose names in it begin so.
        """
        digest = hashlib.sha256()
        if not parts:
            parts = tuple(f"{part}/" for part in LABELLED)
            digest.update(json.dumps([self.wanted["format"], self.classes], sort_keys=True).encode())
        for line in sorted(line for line in self._contents if line.startswith(parts)):
            digest.update(line.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    def _count(self) -> None:
        self.stage.check()
        self._step += 1
        self.stage.progress({"step": self._step, "steps": self._steps})

    def _image(self, part: str, path: Path) -> Content | None:
        content = read_content(path, image=True)
        self._remember(f"{part}/images/{path.name}", content)
        if not content.width or not content.height:
            self.findings.error(path, "the image's header cannot be read: replace the file")
            return None
        if content.rotated:
            self.findings.warn("ExifRotated", "images carry an EXIF rotation, which the toolkit does not apply", path)
        return content

    def _label(self, part: str, path: Path, image: Content, output: Path) -> None:
        raw = path.read_bytes()
        self._remember(f"{part}/labels/{path.name}", Content(len(raw), hashlib.sha256(raw).hexdigest()))
        try:
            text = raw.decode("utf-8-sig" if self.converts else "utf-8")
        except UnicodeDecodeError:
            self.findings.error(path, "it is no text in UTF-8: write it again")
            return
        read = labels.darknet if self.converts else labels.kitti
        converted = []
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip():
                continue
            try:
                box = read(line, self.classes, image.width, image.height)
            except labels.LabelError as error:
                self.findings.error(path, str(error), number)
                continue
            if box is None:
                continue
            if part == "train":
                self.boxes[box.name] += 1
            if box.is_tiny(image.width, image.height):
                self.findings.warn("TinyBoxes", "boxes are at most 0.1 % of their image wide or high: training drops them", path)
            if box.columns < labels.KITTI_COLUMNS:
                self.findings.warn("ShortLines", "lines have fewer than 15 columns: computing anchors ignores them", path)
            converted.append(box.kitti() + "\n")
        if self.converts:
            (output / path.name).write_text("".join(converted))

    def _remember(self, name: str, content: Content) -> None:
        self._contents.append(f"{name}\0{content.bytes}\0{content.sha256}\n")
