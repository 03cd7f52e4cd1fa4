"""What the tests of the resource share: one experiment that uses every part of the spec, and a way to change it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

EXAMPLES = Path(__file__).parents[3] / "examples"
Json = Any
Patch = Callable[[dict[str, Json]], dict[str, Json]]


@pytest.fixture(scope="session")
def examples() -> dict[str, Json]:
    """The experiments in examples/, by file name."""
    found = {}
    for path in sorted(EXAMPLES.glob("*.yaml")):
        for manifest in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            if manifest["kind"] == "YoloExperiment":
                found[path.name] = manifest
    return found


@pytest.fixture
def patched(examples: dict[str, Json]) -> Patch:
    """The CPU example's spec with values set by path, `a.b.c`; None removes what is there."""

    def patch(changes: dict[str, Json]) -> dict[str, Json]:
        raw: dict[str, Json] = copy.deepcopy(examples["license-plate-cpu.yaml"]["spec"])
        for path, value in changes.items():
            *parents, last = path.split(".")
            node = raw
            for name in parents:
                node = node.setdefault(name, {})
            if value is None:
                node.pop(last, None)
            else:
                node[last] = copy.deepcopy(value)
        return raw

    return patch
