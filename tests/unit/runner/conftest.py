"""The runner as the container runs it: a subprocess, the emulated toolkit on its PATH, a workspace on disk."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
RUNNER = ROOT / "operator" / "yolo_operator" / "runner" / "runner.py"
KEY = "license-plate-yolov4"
SPEC = """random_seed: 42
yolov4_config {
  arch: "resnet"
  nlayers: 18
}
training_config {
  batch_size_per_gpu: 8
  num_epochs: 4
  checkpoint_interval: 2
  pretrain_model_path: "/workspace/pretrained/resnet_18.hdf5"
}
"""


def python36() -> str | None:
    """An interpreter of the oldest toolkit image's version, when there is one here."""
    found = [str(path) for path in (Path.home() / ".pyenv" / "versions").glob("3.6.*/bin/python")]
    for python in [*found, shutil.which("python3.6")]:
        if python and subprocess.run([python, "-V"], capture_output=True, check=False).returncode == 0:  # a shim may be empty
            return python
    return None


@pytest.fixture(scope="session")
def runner() -> ModuleType:
    """The runner's module, loaded from its one file."""
    spec = importlib.util.spec_from_file_location("stage_runner", RUNNER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@dataclass
class Outcome:
    """What one run of the runner left."""

    code: int
    stdout: str
    report: dict[str, Any]
    message: dict[str, Any]  # the termination message
    everything: str  # whatever was written, for looking for the key

    @property
    def progress(self) -> list[dict[str, Any]]:
        lines = [line for line in self.stdout.splitlines() if line.startswith('{"yoloProgress"')]
        return [json.loads(line)["yoloProgress"] for line in lines]


@dataclass
class Bench:
    """A workspace, and a way to run stages in it."""

    root: Path
    python: str = sys.executable
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def workspace(self) -> Path:
        return self.root / "workspace"

    @property
    def directory(self) -> Path:
        return self.workspace / "stages" / "stage-1"

    @property
    def result(self) -> Path:
        return self.directory / "result"

    @property
    def termination_log(self) -> Path:
        return self.root / "termination-log"

    def instructions(self, task: str, *flags: str, **changes: Any) -> dict[str, Any]:
        made = {
            "version": 1,
            "namespace": "default",
            "experiment": "plates",
            "uid": "u-1",
            "stage": task,
            "variant": "",
            "attempt": 1,
            "digest": "d" * 64,
            "workspace": str(self.workspace),
            "directory": str(self.directory),
            "makeDirectories": [str(self.result)],
            "task": task,
            "argv": ["yolo_v4", task, *flags, "-k", "{key}"],
            "keyEnv": "YOLO_TOOLKIT_KEY",
            "specPath": str(self.directory / "config.txt"),
            "inputs": [],
            "expect": {},
            "progressSeconds": 0,
            "graceSeconds": 2,
        }
        return made | changes

    def train(self, *, suffix: str = ".tlt", **changes: Any) -> dict[str, Any]:
        weights = str(self.result / "weights")
        expect = {
            "checkpoints": {"directory": weights, "suffix": suffix},
            "statusFile": str(self.result / "status.json"),
            "metrics": ["mAP"],
        }
        made = {"expect": expect, "resume": {"weights": weights, "suffix": suffix, "epochs": 4}, "checkpoint": "best"}
        return self.instructions("train", "-r", str(self.result), "-e", str(self.directory / "config.txt"), **made | changes)

    def other(self, task: str, dialect: str = "3.21", model: Path | None = None, **changes: Any) -> dict[str, Any]:
        """Instructions of a stage that is no training."""
        spec, made = str(self.directory / "config.txt"), str(self.directory)
        model = model or self.model()
        results = ["--results_dir", str(self.result)] if dialect == "5.0" else []
        status = {"statusFile": str(self.result / "status.json")}
        flags: dict[str, list[str]] = {
            "kmeans": ["-l", made, "-i", made, "-x", "320", "-y", "320", "-n", "9", *results],
            "evaluate": ["-m", str(model), "-e", spec, *results],
            "prune": ["-m", str(model), "-o", f"{made}/pruned.tlt", "-e", spec, "-pth", "0.7", *results],
            "export": ["-m", str(model), "-o", f"{made}/model.etlt", "-e", spec, "--data_type", "int8", *results],
            "inference": [
                "-m",
                str(model),
                "-i",
                str(self.root / "images"),
                "-e",
                spec,
                *(["-r", str(self.result)] if dialect == "5.0" else ["-o", f"{made}/images", "-l", f"{made}/labels"]),
            ],
        }
        labels = f"{self.result}/labels" if dialect == "5.0" else f"{made}/labels"
        expect: dict[str, dict[str, Any]] = {
            "kmeans": {"metrics": ["anchors"]},
            "evaluate": {"metrics": ["mAP"]},
            "prune": {"files": [{"name": "model", "path": f"{made}/pruned.tlt", "alternatives": [f"{made}/pruned.tlt.hdf5"]}]},
            "export": {"files": [{"name": "model", "path": f"{made}/model.etlt"}]},
            "inference": {"directories": [{"name": "labels", "path": labels, "suffix": ".txt", "atLeast": 1}]},
        }
        return self.instructions(task, *flags[task], expect=expect[task] | status, **changes)

    def model(self, key: str = KEY) -> Path:
        """A trained model as the emulator would have written it."""
        path = self.workspace / "model.tlt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"emulated model\nkey {hashlib.sha256(key.encode()).hexdigest()}\n")
        return path

    def start(self, instructions: dict[str, Any], under: Sequence[str] = (), **environment: str) -> subprocess.Popen[bytes]:
        mount = self.root / "etc"
        mount.mkdir(parents=True, exist_ok=True)
        self.workspace.mkdir(exist_ok=True)
        (mount / "instructions.json").write_text(json.dumps(instructions))
        if not (mount / "experiment-spec.txt").exists():
            (mount / "experiment-spec.txt").write_text(SPEC)
        self.termination_log.write_bytes(b"")
        path = f"{ROOT / 'tests' / 'emulator'}{os.pathsep}{os.environ['PATH']}"
        return subprocess.Popen(
            [*under, self.python, str(RUNNER), str(mount / "instructions.json")],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                "PATH": path,
                "YOLO_TERMINATION_LOG": str(self.termination_log),
                "YOLO_TOOLKIT_KEY": KEY,
                **self.environment,
                **environment,
            },
        )

    def wait(self, process: subprocess.Popen[bytes]) -> Outcome:
        stdout = process.communicate(timeout=60)[0].decode("utf-8", "replace")
        report = self.directory / "report.json"
        ended = self.termination_log.read_text()
        written = [stdout, ended]
        for path in self.root.rglob("*"):
            if path.is_file():
                written.append(path.read_text(errors="replace"))
        assert process.returncode is not None
        return Outcome(
            process.returncode,
            stdout,
            json.loads(report.read_text()) if report.exists() else {},
            json.loads(ended) if ended else {},
            "\n".join(written),
        )

    def run(self, instructions: dict[str, Any], emulate: str = "", **environment: str) -> Outcome:
        return self.wait(self.start(instructions, EMULATE=emulate, **environment))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture(params=["this", "3.6"])
def benches(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    """A bench for this Python and, where there is one, for the oldest toolkit image's."""
    python = sys.executable if request.param == "this" else python36()
    if python is None:
        pytest.skip("no Python 3.6 on this machine")
    return Bench(tmp_path, python)
