"""The CRD changes by addition alone: against the previous version, and the comparison itself."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from releasing.compatible import narrower, of_crds

ROOT = Path(__file__).resolve().parents[3]
CRD = "crds/yoloexperiments.yaml"
SEEN_TO_BE_WIDER = {"v1alpha1.spec.workspace.mountPath: pattern is '^/.', was '^/[A-Za-z0-9._/-]+$'"}
"""Patterns that differ and take more than before; its characters are a rule now, which names the wrong one."""
SEEN_TO_REFUSE_NONSENSE = re.compile(r": maximum is 1e\+18, was free$")
"""Of numbers of 32 bits. The API server took any, the operator none that 32 bits do not hold; nothing learns with 1e18."""
OLD: dict[str, Any] = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "maxLength": 8, "pattern": "^a"},
        "kind": {"type": "string", "enum": ["a", "b"], "default": "a"},
        "list": {
            "type": "array",
            "maxItems": 4,
            "items": {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}},
        },
    },
}


def changed(**properties: Any) -> dict[str, Any]:
    return {**OLD, "properties": {**OLD["properties"], **properties}}


def test_additions_and_wider_bounds_are_fine() -> None:
    wider = changed(
        name={"type": "string", "maxLength": 9, "pattern": "^a", "description": "Another text."},
        kind={"type": "string", "enum": ["a", "b", "c"], "default": "a"},
        more={"type": "object", "required": ["inner"], "properties": {"inner": {"type": "string"}}},
    )
    assert list(narrower(OLD, OLD)) == []
    assert list(narrower(OLD, wider)) == []


@pytest.mark.parametrize(
    ("new", "told"),
    [
        ({**OLD, "required": ["name", "kind"]}, ".kind: required"),
        ({**OLD, "properties": {"name": OLD["properties"]["name"]}}, ".list: removed"),
        (changed(name={"type": "integer"}), ".name: type is 'integer'"),
        (changed(name={"type": "string", "maxLength": 7, "pattern": "^a"}), ".name: maxLength is 7, was 8"),
        (changed(name={"type": "string", "maxLength": 8, "pattern": "^b"}), ".name: pattern"),
        (changed(name={"type": "string", "maxLength": 8, "pattern": "^a", "minLength": 1}), ".name: minLength is 1, was free"),
        (changed(kind={"type": "string", "enum": ["a"], "default": "a"}), ".kind: 'b' is no longer allowed"),
        (changed(kind={"type": "string", "enum": ["a", "b"], "default": "b"}), ".kind: the default is 'b'"),
        (changed(list={**OLD["properties"]["list"], "items": {"properties": {}}}), ".list[].n: removed"),
    ],
)
def test_what_takes_something_away_is_told(new: dict[str, Any], told: str) -> None:
    assert any(told in found for found in narrower(OLD, new)), list(narrower(OLD, new))


def test_a_version_that_is_no_longer_served_is_told() -> None:
    crd = {"spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": OLD}}]}}
    assert of_crds(crd, {"spec": {"versions": []}}) == ["v1: no longer served"]


def test_the_crd_takes_what_the_previous_versions_took() -> None:
    commit = previous()
    stored = subprocess.run(["git", "show", f"{commit}:{CRD}"], cwd=ROOT, capture_output=True, text=True, check=False)
    if stored.returncode:
        pytest.skip(f"this history does not reach back to {commit}")
    found = of_crds(yaml.safe_load(stored.stdout), yaml.safe_load((ROOT / CRD).read_text()))
    assert {each for each in found if not SEEN_TO_REFUSE_NONSENSE.search(each)} <= SEEN_TO_BE_WIDER


def previous() -> str:
    """What `hack/previous` takes: the last release, or the commit it names."""
    words = ["git", "describe", "--tags", "--abbrev=0", "--match", "v*", "HEAD^"]
    told = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    named = re.search(r"^UNRELEASED=(\w+)$", (ROOT / "hack" / "previous").read_text(), flags=re.MULTILINE)
    assert named
    return told.stdout.strip() if not told.returncode else named[1]
