"""The CustomResourceDefinition, generated from the models.

pydantic writes JSON Schema 2020-12; the API server wants a *structural* OpenAPI 3.0 schema: no references, no null, bounds that
are exclusive as booleans. `structural` makes one of the other.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

from yolo_operator.api import resource
from yolo_operator.api.base import Model
from yolo_operator.api.spec import WrittenSpec
from yolo_operator.api.status import Status

Schema = dict[str, Any]

_DROPPED = {"title", "$defs", "additionalProperties", "default", "propertyNames"}
_LIST_KEYS = {"conditions": ["type"], "stages": ["name", "variant"], "rounds": ["number"]}


def structural(model: type[Model]) -> Schema:
    """The model's schema as the API server takes it."""
    schema = model.model_json_schema(by_alias=True)
    return _convert(schema, schema.get("$defs", {}))


def _convert(node: Schema, definitions: dict[str, Schema]) -> Schema:
    node = _with_names(_resolve(node, definitions))
    out: Schema = {key: value for key, value in node.items() if key not in _DROPPED}
    for bound in ("Minimum", "Maximum"):
        if (limit := out.pop(f"exclusive{bound}", None)) is not None:
            out[bound.lower()] = limit
            out[f"exclusive{bound}"] = True
    if (default := _default(node.get("default"))) is not None:
        out["default"] = default
    if "properties" in node:
        out["properties"] = {name: _convert(child, definitions) for name, child in node["properties"].items()}
        for name in out["properties"].keys() & _LIST_KEYS.keys():
            _as_list_map(out["properties"][name], _LIST_KEYS[name])
    elif isinstance(node.get("additionalProperties"), dict):
        out["additionalProperties"] = _convert(node["additionalProperties"], definitions)
    if "propertyNames" in node:
        rules = [*out.get("x-kubernetes-validations", ()), _key_rule(node["propertyNames"])]
        out["x-kubernetes-validations"] = rules
    if "items" in node:
        out["items"] = _convert(node["items"], definitions)
    return out


def _with_names(node: Schema) -> Schema:
    """A map whose keys have a pattern, said as values of one kind and names that are bounded."""
    if "patternProperties" not in node:
        return node
    ((pattern, values),) = node["patternProperties"].items()
    rest = {key: value for key, value in node.items() if key != "patternProperties"}
    return {**rest, "additionalProperties": values, "propertyNames": {"pattern": pattern, **node.get("propertyNames", {})}}


def _key_rule(names: Schema) -> Schema:
    """What a map's keys must be, as a rule: structural schemas have no `propertyNames`."""
    wanted = [f"k.matches(r'{names['pattern']}')"] if "pattern" in names else []
    wanted += [f"k.size() >= {names['minLength']}"] if "minLength" in names else []
    wanted += [f"k.size() <= {names['maxLength']}"] if "maxLength" in names else []
    about = ", ".join(f"{word} {names[key]}" for key, word in _KEY_WORDS.items() if key in names)
    return {"rule": f"self.all(k, {' && '.join(wanted)})", "message": f"a key is not allowed: {about}"}


_KEY_WORDS = {"pattern": "it must match", "minLength": "the least length is", "maxLength": "the greatest length is"}


def _default(value: Any) -> Any:
    """The default to materialise. An object's own fields bring theirs: `{}` is enough, and nothing where none has any."""
    if isinstance(value, dict):
        return {} if any(inner is not None for inner in value.values()) else None
    return value


def _resolve(node: Schema, definitions: dict[str, Schema]) -> Schema:
    """The node without reference and without `or null`; what stands beside a reference is added (description) or wins."""
    if "anyOf" in node:
        (branch,) = [option for option in node["anyOf"] if option.get("type") != "null"]
        return _resolve({**branch, **{key: value for key, value in node.items() if key != "anyOf"}}, definitions)
    if "$ref" in node:
        target = definitions[node["$ref"].removeprefix("#/$defs/")]
        own = {key: value for key, value in node.items() if key != "$ref"}
        if "description" in own and "description" in target:
            own["description"] = f"{target['description']}\n{own['description']}"
        return _resolve({**target, **own}, definitions)
    return node


def _as_list_map(schema: Schema, keys: list[str]) -> None:
    if schema.get("type") == "array":
        schema["x-kubernetes-list-type"] = "map"
        schema["x-kubernetes-list-map-keys"] = keys


def _columns() -> list[Schema]:
    return [
        {"name": "Phase", "type": "string", "jsonPath": ".status.phase"},
        {"name": "Stage", "type": "string", "jsonPath": ".status.stage"},
        {"name": "Progress", "type": "string", "jsonPath": ".status.progress"},
        {"name": "mAP", "type": "number", "jsonPath": ".status.mAP"},
        {
            "name": "Pruned",
            "type": "number",
            "jsonPath": ".status.pruned",
            "description": "Parameter ratio of the chosen variant",
        },
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        {"name": "Message", "type": "string", "jsonPath": ".status.message", "priority": 1},
    ]


def custom_resource_definition() -> Schema:
    """The whole CRD."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{resource.PLURAL}.{resource.GROUP}"},
        "spec": {
            "group": resource.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": resource.KIND,
                "listKind": f"{resource.KIND}List",
                "plural": resource.PLURAL,
                "singular": resource.SINGULAR,
                "shortNames": list(resource.SHORT_NAMES),
                "categories": ["yolo"],
            },
            "versions": [
                {
                    "name": resource.VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": _columns(),
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "description": "One YOLOv4 experiment on NVIDIA TAO or the open toolkit.",
                            "required": ["spec"],
                            "properties": {
                                "apiVersion": {"type": "string"},
                                "kind": {"type": "string"},
                                "metadata": {"type": "object"},
                                "spec": structural(WrittenSpec),
                                # One writer, the operator: who owns each field of each stage need not be told apart,
                                # which was a third of what a status write costs the API server.
                                "status": structural(Status) | {"x-kubernetes-map-type": "atomic"},
                            },
                            # The experiment's name becomes part of Job names and label values.
                            "x-kubernetes-validations": [
                                {
                                    "rule": "self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')",
                                    "message": "the name becomes a label value: at most 63 characters and no dots",
                                }
                            ],
                        }
                    },
                }
            ],
        },
    }


class _Dumper(yaml.SafeDumper):
    """Repeats what is shared instead of writing anchors, which reviewers and some tools dislike."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def render() -> str:
    """The CRD as YAML."""
    head = "# Generated by `make generate` from operator/yolo_operator/api; do not edit.\n"
    return head + yaml.dump(custom_resource_definition(), Dumper=_Dumper, sort_keys=False, width=128, allow_unicode=True)


def main(paths: list[str]) -> None:
    """Write the CRD to each of the paths."""
    for path in paths:
        Path(path).write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
