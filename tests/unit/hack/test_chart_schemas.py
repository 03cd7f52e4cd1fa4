"""Schemas for kubeconform: strict, with Kubernetes' references, and with what a CRD's schema says in its own words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from chartlint import schemas

INT_OR_STRING = {"x-kubernetes-int-or-string": True, "type": "string"}


def test_a_kind_carries_what_it_refers_to_and_nothing_else() -> None:
    tree = {"properties": {"name": {"type": "string"}, "branches": {"items": {"$ref": "#/definitions/g.Tree"}}}}
    kind = {"group": "g", "version": "v1", "kind": "Tree"}
    other = {"properties": {}, "x-kubernetes-group-version-kind": [{"group": "", "version": "v1", "kind": "Other"}]}
    document = {"definitions": {"g.Tree": {**tree, "x-kubernetes-group-version-kind": [kind]}, "o.Other": other}}
    found = dict(schemas.of_kubernetes(document))
    assert set(found) == {"g/tree_v1.json", "v1/other_v1.json"}
    assert set(found["g/tree_v1.json"]["definitions"]) == {"g.Tree"}
    assert found["g/tree_v1.json"]["definitions"]["g.Tree"]["additionalProperties"] is False


def test_quantities_and_ports_may_be_numbers() -> None:
    name = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
    kind = {"group": "", "version": "v1", "kind": "Port"}
    document = {
        "definitions": {
            name: {"type": "string", "format": "int-or-string"},
            "Port": {"properties": {"port": {"$ref": f"#/definitions/{name}"}}, "x-kubernetes-group-version-kind": [kind]},
        }
    }
    (schema,) = dict(schemas.of_kubernetes(document)).values()
    assert schema["definitions"][name] == {"type": ["string", "number"]}


def test_a_crd_becomes_strict_where_it_names_its_fields() -> None:
    spec: dict[str, Any] = {
        "type": "object",
        "properties": {
            "size": INT_OR_STRING,
            "free": {"type": "object", "properties": {"a": {}}, "x-kubernetes-preserve-unknown-fields": True},
            "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"b": {"type": "string"}}}},
            "none": {"type": "string", "nullable": True},
        },
    }
    version = {"name": "v1", "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}}
    crd = {"spec": {"group": "g.dev", "names": {"kind": "Thing"}, "versions": [version]}}
    ((path, schema),) = schemas.of_crd(crd)
    assert path == "g.dev/thing_v1.json"
    assert schema["additionalProperties"] is False
    assert {"apiVersion", "kind", "metadata", "spec"} == set(schema["properties"])
    made = schema["properties"]["spec"]["properties"]
    assert made["size"]["anyOf"] == [{"type": "integer"}, {"type": "string"}]
    assert "type" not in made["size"]
    assert "additionalProperties" not in made["free"]
    assert made["map"]["additionalProperties"]["additionalProperties"] is False
    assert made["none"]["type"] == ["string", "null"]


def test_schemas_are_written_where_they_are_looked_for(tmp_path: Path) -> None:
    assert schemas.write(tmp_path, [("g/tree_v1.json", {"type": "object"})]) == 1
    assert json.loads((tmp_path / "g" / "tree_v1.json").read_text()) == {"type": "object"}
