"""What TAO writes its key into is masked before anybody sees it; and every command of ours is one that TAO understands."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from yolo_operator.dialects import DIALECTS
from yolo_operator.toolkit import reference

if TYPE_CHECKING:
    from conftest import Bench

KEY = "license-plate-yolov4"
EMULATOR = Path(__file__).parents[2] / "emulator" / "yolo_v4"


def deepstream(bench: Bench, **changes: Any) -> dict[str, Any]:
    made = bench.other("export")
    config = bench.directory / "nvinfer_config.txt"
    files = [*made["expect"]["files"], {"name": "deepstream", "path": str(config), "maskKey": True}]
    return made | {"argv": [*made["argv"], "--gen_ds_config"], "expect": made["expect"] | {"files": files}} | changes


def test_the_key_in_deepstreams_configuration(benches: Bench) -> None:
    outcome = benches.run(deepstream(benches))
    assert outcome.report["outcome"] == "Succeeded"
    config = (benches.directory / "nvinfer_config.txt").read_text()
    assert config == "net-scale-factor=1.0\ntlt-model-key=***\nnetwork-type=0\n"
    assert KEY not in outcome.everything
    (artifact,) = [artifact for artifact in outcome.report["artifacts"] if artifact["name"] == "deepstream"]
    assert artifact["bytes"] == len(config)  # what is recorded is what lies there now


def test_also_of_an_export_that_failed(bench: Bench) -> None:
    made = deepstream(bench)
    missing = {"name": "engine", "path": str(bench.directory / "model.engine")}
    outcome = bench.run(made | {"expect": made["expect"] | {"files": [*made["expect"]["files"], missing]}})
    assert outcome.report["outcome"] == "Failed"
    assert (bench.directory / "nvinfer_config.txt").exists()
    assert KEY not in outcome.everything


@pytest.mark.parametrize(("profile", "generation"), [("tao-3.21.11", "3.21"), ("tao-5.0", "5.0")])
def test_the_emulated_toolkit_understands_every_command(profile: str, generation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its command line is TAO's, written down from what is known of it and not from ours."""
    monkeypatch.setenv("EMULATE_DIALECT", generation)
    loader = importlib.machinery.SourceFileLoader("emulated_yolo_v4", str(EMULATOR))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    emulator = importlib.util.module_from_spec(spec)
    loader.exec_module(emulator)
    for *_, command in reference._COMMANDS:
        invocation = command(DIALECTS[profile])
        assert invocation is not None
        args, _ = emulator.arguments(list(invocation.argv[1:]))
        assert args.task == invocation.task
