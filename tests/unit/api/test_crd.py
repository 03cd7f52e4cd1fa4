"""The CRD: what is checked in is what the models say, and the API server can take it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml
from pydantic import Field
from yolo_operator.api import crd, resource
from yolo_operator.api.base import Model

ROOT = Path(__file__).parents[3]
Schema = dict[str, Any]


def nodes(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Every schema within a schema, with its path."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for keyword in ("items", "additionalProperties"):
        if isinstance(schema.get(keyword), dict):
            yield from nodes(schema[keyword], f"{path}[]")


@pytest.fixture(scope="module")
def version() -> Schema:
    found: Schema = crd.custom_resource_definition()["spec"]["versions"][0]
    return found


@pytest.fixture(scope="module")
def root(version: Schema) -> Schema:
    found: Schema = version["schema"]["openAPIV3Schema"]
    return found


def test_the_crd_is_fresh() -> None:
    assert (ROOT / "crds" / "yoloexperiments.yaml").read_text(encoding="utf-8") == crd.render(), "make generate"


def test_what_is_rendered_is_what_was_meant() -> None:
    assert yaml.safe_load(crd.render()) == crd.custom_resource_definition()


def test_names() -> None:
    definition = crd.custom_resource_definition()
    assert definition["metadata"]["name"] == "yoloexperiments.yolo-operator.dev"
    assert definition["spec"]["names"]["shortNames"] == ["yexp"]
    assert definition["spec"]["versions"][0]["name"] == resource.VERSION


KEYWORDS = {
    *("type", "format", "description", "default", "enum", "required", "pattern", "multipleOf", "properties"),
    *("additionalProperties", "items", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    *("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "uniqueItems"),
}
"""What the API server knows and the models use. Anything else makes it refuse the whole definition."""


Word = Annotated[str, Field(pattern="^[a-z.-]+$", min_length=1, max_length=63)]


def test_keys_that_are_bounded_become_a_rule() -> None:
    class Named(Model):
        least: Annotated[dict[Word, float], Field(max_length=8)]

    schema = crd.structural(Named)["properties"]["least"]
    assert "propertyNames" not in schema
    (rule,) = schema["x-kubernetes-validations"]
    assert rule["rule"] == "self.all(k, k.matches(r'^[a-z.-]+$') && k.size() >= 1 && k.size() <= 63)"
    assert "must match ^[a-z.-]+$" in rule["message"]


def test_the_schema_is_structural(root: Schema) -> None:
    for path, node in nodes(root):
        assert {key for key in node if not key.startswith("x-kubernetes-")} <= KEYWORDS, path
        assert node["type"] in ("object", "array", "string", "integer", "number", "boolean"), path
        assert not {"properties", "additionalProperties"} <= set(node), path
        assert all(isinstance(node.get(bound, False), bool) for bound in ("exclusiveMinimum", "exclusiveMaximum")), path


def test_every_bound_is_one_that_the_api_server_can_hold_a_whole_number_against(root: Schema) -> None:
    for path, node in nodes(root):
        assert all(abs(node.get(bound, 0)) < 2**63 for bound in ("minimum", "maximum")), path


def test_every_list_map_and_free_string_is_bounded(root: Schema) -> None:
    for path, node in nodes(root["properties"]["spec"]):
        if node["type"] == "array":
            assert "maxItems" in node, path
        if "additionalProperties" in node:
            assert "maxProperties" in node, path
        # A pattern of alternatives is as good as an enum.
        if node["type"] == "string" and "enum" not in node and not node.get("pattern", "").startswith("^("):
            assert "maxLength" in node, path


def test_defaults_are_values_that_the_schema_allows(root: Schema) -> None:
    types = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool}
    for path, node in nodes(root["properties"]["spec"]):
        if "default" in node:
            assert isinstance(node["default"], types[node["type"]]), path
            assert node["default"] in node.get("enum", [node["default"]]), path
        assert not (isinstance(node.get("default"), dict) and None in node["default"].values()), path


def test_rules_point_at_fields_that_exist(root: Schema) -> None:
    for path, node in nodes(root):
        for rule in node.get("x-kubernetes-validations", ()):
            target = node
            for name in filter(None, rule.get("fieldPath", "").split(".")):
                target = target["properties"][name]
            assert rule["message"], path


def test_printer_columns_read_the_status(version: Schema, root: Schema) -> None:
    for column in version["additionalPrinterColumns"]:
        kind, *names = column["jsonPath"].split(".")[1:]
        node = root["properties"][kind]
        if kind == "status":
            for name in names:
                node = node["properties"][name]
            assert node["type"] == column["type"], column


def test_status_lists_with_keys_merge_by_them(root: Schema) -> None:
    assert root["properties"]["status"]["x-kubernetes-map-type"] == "atomic"
    status = root["properties"]["status"]["properties"]
    assert status["conditions"]["x-kubernetes-list-map-keys"] == ["type"]
    assert status["stages"]["x-kubernetes-list-map-keys"] == ["name", "variant"]
