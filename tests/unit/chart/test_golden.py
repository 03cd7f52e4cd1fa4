"""The chart's output for a matrix of values, as it was last looked at: `golden/NAME.values.yaml` gives `golden/NAME.yaml`.

After a change that is meant: UPDATE_GOLDEN=1 python -m pytest tests/unit/chart/test_golden.py, then read the difference.
The CRD is left out (it is the generated file), and so are the operator's rules (docs/security.md shows them), what is a file of
its own, and the version.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from charts import CHART, needs_helm, render

GOLDEN = Path(__file__).parent / "golden"
CASES = sorted(path.name.removesuffix(".values.yaml") for path in GOLDEN.glob("*.values.yaml"))
VERSION = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]


def rendered(values: Path) -> str:
    documents = [document for document in render(values=values) if document["kind"] != "CustomResourceDefinition"]
    for document in documents:
        if any("jobs" in rule["resources"] for rule in document.get("rules", ())):
            document["rules"] = "the operator's"
        if document["kind"] == "ConfigMap" and any("\n" in text for text in document.get("data", {}).values()):
            document["data"] = dict.fromkeys(document["data"], "a file of the chart's")
        if document["kind"] == "PrometheusRule":
            document["spec"] = "files/alerts.yaml"
    return without_version(yaml.safe_dump_all(documents, sort_keys=False, width=120))


def without_version(text: str) -> str:
    for written in (f"yolo-operator-{VERSION}", f"operator:{VERSION}", f"version: {VERSION}"):
        text = text.replace(written, written.removesuffix(VERSION) + "VERSION")
    return text


@needs_helm
@pytest.mark.parametrize("case", CASES)
def test_the_render_is_the_golden_one(case: str) -> None:
    golden, text = GOLDEN / f"{case}.yaml", rendered(GOLDEN / f"{case}.values.yaml")
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text(), f"not {golden.name}: was it meant? UPDATE_GOLDEN=1 writes it anew"


@needs_helm
def test_no_two_objects_of_a_release_share_a_name() -> None:
    for case in CASES:
        objects: list[Any] = render(values=GOLDEN / f"{case}.values.yaml")
        names = [(body["kind"], body["metadata"].get("namespace"), body["metadata"]["name"]) for body in objects]
        assert len(set(names)) == len(names), case


def test_every_golden_render_has_its_values() -> None:
    assert {path.name.removesuffix(".yaml") for path in GOLDEN.glob("*.yaml") if ".values." not in path.name} == set(CASES)
