"""The chart, rendered by helm."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "yolo-operator"
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())


def _helm() -> str | None:
    if found := shutil.which("helm"):
        return found
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "yolo-operator" / "build"
    return next((str(path) for path in sorted(cache.glob("helm-*/helm"))), None)


HELM = _helm()
needs_helm = pytest.mark.skipif(HELM is None, reason="helm is neither in PATH nor built (hack/cluster bin)")


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    assert HELM is not None
    return subprocess.run([HELM, *arguments], capture_output=True, text=True, check=False, timeout=60)


def render(*settings: str, values: Path | None = None) -> list[dict[str, Any]]:
    options = [word for setting in settings for word in ("--set", setting)]
    options += ["--values", str(values)] if values else []
    result = helm("template", "yolo-operator", str(CHART), "--namespace", "yolo-system", *options)
    assert result.returncode == 0, result.stderr
    return [document for document in yaml.safe_load_all(result.stdout) if document]


def of_kind(documents: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [document for document in documents if document["kind"] == kind]
