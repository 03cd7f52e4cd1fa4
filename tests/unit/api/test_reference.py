"""docs/reference/yoloexperiment.md has every field and every rule."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from yolo_operator.api.base import Model
from yolo_operator.api.reference import anchor, render
from yolo_operator.api.spec import WrittenSpec
from yolo_operator.api.status import ConditionType, Status

PAGE = render()
SECTIONS = dict(re.findall(r"^##+ (\S+)\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL))


def objects(model: type[Model]) -> Iterator[dict[str, Any]]:
    schema = model.model_json_schema(by_alias=True)
    yield schema
    yield from (one for one in schema.get("$defs", {}).values() if "properties" in one)


@pytest.mark.parametrize("model", [WrittenSpec, Status])
def test_every_object_has_a_section_with_its_fields_and_rules(model: type[Model]) -> None:
    for schema in objects(model):
        fields = set(schema["properties"])
        found = [text for text in SECTIONS.values() if set(re.findall(r"^\* \*\*`(\w+)`\*\*", text, re.MULTILINE)) == fields]
        assert found, schema["title"]
        told = [text for text in found if all(f"{name}`** – " in text for name in fields)]
        for rule in schema.get("x-kubernetes-validations", ()):
            assert any(" ".join(rule["message"].split()) in text for text in told), rule["message"]


def test_types_defaults_and_bounds_are_told() -> None:
    assert "* **`maxParallel`** – whole number, 1 to 64, default `4`." in SECTIONS["spec"]
    assert "* **`thresholds`** – list of number, above 0 and below 1 (1 to 16 entries), **required**." in SECTIONS["spec.prune"]
    assert "* **`select`** – [object](#specpruneselect), **required**." in SECTIONS["spec.prune"]
    assert "* **`format`** – one of `kitti`, `darknet`, **required**." in SECTIONS["spec.dataset"]
    assert "* **`claimName`** – text (an object's name)." in SECTIONS["spec.workspace"]


def test_a_link_leads_to_a_section_and_an_object_is_described_once() -> None:
    headings = re.findall(r"^##+ (\S+)$", PAGE, re.MULTILINE)
    assert len(headings) == len(set(headings))
    assert set(re.findall(r"\]\(#([^)]+)\)", PAGE)) <= {anchor(heading) for heading in headings}


def test_every_condition_is_explained() -> None:
    assert all(f"| `{kind.value}` |" in PAGE for kind in ConditionType)
