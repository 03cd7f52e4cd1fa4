"""`hack/grafana`: what it provisions, what it starts, and what it says where there is nothing to start."""

from __future__ import annotations

import json
import os
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def grafana(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    loader = SourceFileLoader("hack_grafana", str(ROOT / "hack" / "grafana"))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(module, "HOMES", ())
    return module


def install(tmp_path: Path, name: str, script: str) -> Path:
    """A program that notes its arguments and environment."""
    file = tmp_path / "bin" / name
    file.write_text(f"#!{os.path.realpath('/bin/sh')}\n{script}\n")
    file.chmod(0o755)
    return file


def provisioned(tmp_path: Path, kind: str) -> dict[str, Any]:
    loaded = yaml.safe_load((tmp_path / "out" / "provisioning" / kind / "yolo.yaml").read_text())
    assert loaded["apiVersion"] == 1
    return dict(loaded)


def test_the_dashboards_find_their_data_source(grafana: ModuleType, tmp_path: Path) -> None:
    assert grafana.main(["--write", "--folder", str(tmp_path / "out"), "--prometheus", "http://prometheus:1"]) == 0
    (source,) = provisioned(tmp_path, "datasources")["datasources"]
    assert (source["type"], source["url"], source["isDefault"]) == ("prometheus", "http://prometheus:1", True)
    (provider,) = provisioned(tmp_path, "dashboards")["providers"]
    boards = [json.loads(file.read_text()) for file in Path(provider["options"]["path"]).glob("*.json")]
    assert len(boards) == 2
    for board in boards:
        (variable,) = [one for one in board["templating"]["list"] if one["type"] == "datasource"]
        assert variable["query"] == source["type"], "the variable lists the data sources of this type; the default comes first"


@pytest.mark.parametrize(("name", "words"), [("grafana", "server"), ("grafana-server", "")])
def test_an_installed_grafana_is_started(grafana: ModuleType, tmp_path: Path, name: str, words: str) -> None:
    install(
        tmp_path, name, f'echo "$* $GF_PATHS_PROVISIONING $GF_SERVER_HTTP_PORT $GF_SERVER_HTTP_ADDR" > {tmp_path}/said; exit 3'
    )
    assert grafana.main(["--folder", str(tmp_path / "out"), "--port", "3999"]) == 3
    assert (tmp_path / "said").read_text().split() == [*words.split(), f"{tmp_path}/out/provisioning", "3999", "127.0.0.1"]


def test_else_its_image(grafana: ModuleType, tmp_path: Path) -> None:
    install(tmp_path, "docker", f'[ "$1" = info ] || echo "$*" > {tmp_path}/said')
    assert grafana.main(["--folder", str(tmp_path / "out")]) == 0
    said = (tmp_path / "said").read_text().split()
    assert said[0] == "run"
    assert said[-1] == grafana.IMAGE
    assert f"--volume={tmp_path}/out/provisioning:/etc/yolo/provisioning:ro" in said
    (provider,) = provisioned(tmp_path, "dashboards")["providers"]
    assert f"--volume={grafana.DASHBOARDS}:{provider['options']['path']}:ro" in said


def test_what_is_missing_is_said(grafana: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert grafana.main(["--folder", str(tmp_path / "out")]) == 1
    assert "docker and podman are not installed" in capsys.readouterr().err
    install(tmp_path, "docker", "echo Cannot connect to the Docker daemon >&2; exit 1")
    assert grafana.main(["--folder", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err
    assert "docker does not answer: Cannot connect to the Docker daemon" in said
    assert "grafana-server" in said
