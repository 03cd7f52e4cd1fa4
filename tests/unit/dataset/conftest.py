"""A dataset on disk and a stage that reads it."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from yolo_operator.dataset.__main__ import main

settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")


@dataclass
class Dataset:
    """Builds a dataset and prepares it."""

    root: Path
    format: str = "darknet"
    classes: dict[str, str] = field(default_factory=lambda: {"0": "top_left", "1": "plate"})
    changes: dict[str, Any] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)
    """What the instructions say otherwise."""

    @property
    def data(self) -> Path:
        return self.root / "dataset"

    @property
    def workspace(self) -> Path:
        return self.root / "workspace"

    @property
    def directory(self) -> Path:
        return self.workspace / "stages" / "prepare-1"

    @property
    def output(self) -> Path:
        return self.directory / "dataset"

    def image(self, name: str, width: int = 200, height: int = 100) -> Path:
        """A PNG's header is all that is read of it."""
        path = self.data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
        path.write_bytes(header + b"\0" * 40)
        return path

    def label(self, name: str, *lines: str) -> Path:
        path = self.data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    def good(self) -> Dataset:
        """Two training pairs, one validation pair."""
        line = {"darknet": "0 0.5 0.5 0.2 0.4", "kitti": "Top_Left 0.00 0 0.00 80 30 120 70 0 0 0 0 0 0 0"}[self.format]
        for name in ("train/{}/a", "train/{}/b", "valid/{}/c"):
            self.image(f"{name.format('images')}.png")
            self.label(f"{name.format('labels')}.txt", line)
        return self

    def instructions(self) -> dict[str, Any]:
        wanted = {
            "format": self.format,
            "classes": self.classes,
            "width": 320,
            "height": 320,
            "output": str(self.output),
            "train": {"images": str(self.data / "train/images"), "labels": str(self.data / "train/labels")},
            "validation": {"images": str(self.data / "valid/images"), "labels": str(self.data / "valid/labels")},
        }
        return {
            "version": 1,
            "namespace": "default",
            "experiment": "plates",
            "uid": "u-1",
            "stage": "prepare",
            "variant": "",
            "attempt": 1,
            "digest": "d" * 64,
            "workspace": str(self.workspace),
            "directory": str(self.directory),
            "task": "prepare",
            "progressSeconds": 0,
            "prepare": wanted | self.changes,
        } | self.more

    def prepare(self) -> tuple[int, dict[str, Any]]:
        """Run the stage; its exit code and full report."""
        mount = self.root / "etc"
        mount.mkdir(exist_ok=True)
        self.workspace.mkdir(exist_ok=True)
        (mount / "instructions.json").write_text(json.dumps(self.instructions()))
        code = main(["dataset", str(mount / "instructions.json")])
        report: dict[str, Any] = json.loads((self.directory / "report.json").read_text())
        return code, report

    def errors(self) -> list[str]:
        """What is wrong, told by a stage that fails and leaves nothing half-done."""
        code, report = self.prepare()
        assert (code, report["outcome"], report["reason"], report["class"]) == (10, "Failed", "DatasetUnusable", "user")
        assert report["message"].startswith("The dataset cannot be used: " + report["errors"][0])
        assert {path.name for path in self.directory.iterdir()} == {"logs", "report.json"}
        found: list[str] = report["errors"]
        return found


@pytest.fixture(autouse=True)
def _container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is the container's own: its termination log, and its signals, which the stage takes over."""
    monkeypatch.setenv("YOLO_TERMINATION_LOG", str(tmp_path / "termination-log"))
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return Dataset(tmp_path)


@pytest.fixture
def kitti(tmp_path: Path) -> Dataset:
    return Dataset(tmp_path, "kitti", {"top_left": "top_left", "License_Plate": "plate"})
