"""JSON schemas for kubeconform, made here from what the modules carry that are built and tested with anyway.

Kubernetes' own kinds come from the OpenAPI document in the module k8s.io/kubernetes, custom kinds from CRDs: the project's and
those of the Prometheus Operator's module. All are strict: a field that the schema does not have is a finding.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

Schema = dict[str, Any]

OPENAPI = "api/openapi-spec/swagger.json"
LOCATION = "{{ .Group }}/{{ .ResourceKind }}_{{ .ResourceAPIVersion }}.json"
"""Where kubeconform looks for a kind within the folder."""
_REFERENCE = "#/definitions/"
# What the API server takes as a number or as text, though the document calls it text.
_LOOSE = ("io.k8s.apimachinery.pkg.util.intstr.IntOrString", "io.k8s.apimachinery.pkg.api.resource.Quantity")


def of_kubernetes(document: Schema) -> Iterator[tuple[str, Schema]]:
    """Path and schema of each kind of the OpenAPI document."""
    definitions = {name: _definition(name, body) for name, body in document["definitions"].items()}
    for name, body in document["definitions"].items():
        for kind in body.get("x-kubernetes-group-version-kind", ()):
            used = {other: definitions[other] for other in _reached(name, definitions)}
            yield _path(kind["group"], kind["version"], kind["kind"]), {"$ref": _REFERENCE + name, "definitions": used}


def of_crd(crd: Schema) -> Iterator[tuple[str, Schema]]:
    """Path and schema of each version of a CRD."""
    names = crd["spec"]["names"]
    for version in crd["spec"]["versions"]:
        schema = strict(version["schema"]["openAPIV3Schema"])
        # A structural schema leaves out what every object has.
        schema["properties"] |= {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}}
        yield _path(crd["spec"]["group"], version["name"], names["kind"]), schema


def strict(schema: Schema) -> Schema:
    """A copy of a structural schema in which no field is allowed that it does not name, in JSON Schema's own words."""
    out: Schema = {}
    for key, value in schema.items():
        if key == "properties":
            out[key] = {name: strict(part) for name, part in value.items()}
        elif key in ("items", "additionalProperties", "not") and isinstance(value, dict):
            out[key] = strict(value)
        else:
            # allOf, anyOf and oneOf only narrow: the fields are those of the schema around them.
            out[key] = value
    if schema.get("x-kubernetes-int-or-string"):
        out.pop("type", None)
        out.setdefault("anyOf", [{"type": "integer"}, {"type": "string"}])
    named = "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields")
    if named and "additionalProperties" not in schema:
        out["additionalProperties"] = False
    if schema.get("nullable") and isinstance(schema.get("type"), str):
        out["type"] = [schema["type"], "null"]
    return out


def write(folder: Path, kinds: Iterable[tuple[str, Schema]]) -> int:
    """Write each schema to its path in the folder; their number."""
    written = 0
    for path, schema in kinds:
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(schema))
        written += 1
    return written


def crds_in(paths: Iterable[Path]) -> Iterator[Schema]:
    """The CRDs in files."""
    for path in paths:
        for body in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            if body and body["kind"] == "CustomResourceDefinition":
                yield body


def _path(group: str, version: str, kind: str) -> str:
    """As kubeconform asks for it: kind in small letters, and of the core group, which has no name, the version."""
    return f"{group or version}/{kind.lower()}_{version}.json"


def _definition(name: str, body: Schema) -> Schema:
    if name in _LOOSE:
        return {"type": ["string", "number"]}
    # An object without fields of its own (a CRD's default, a JSON value) may hold anything.
    return strict(body)


def _reached(name: str, definitions: dict[str, Schema]) -> set[str]:
    """All definitions that one refers to, directly or not; some refer to themselves."""
    found, waiting = set[str](), [name]
    while waiting:
        current = waiting.pop()
        if current not in found:
            found.add(current)
            waiting += _references(definitions[current])
    return found


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref" and isinstance(value, str):
                yield value.removeprefix(_REFERENCE)
            else:
                yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)
