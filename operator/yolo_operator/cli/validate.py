"""`kubectl yolo validate`: the resource's models on files, without a cluster.

The API server checks the same at `kubectl apply`; this says it before, in an editor, a hook or a pipeline.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import yaml
from pydantic import ValidationError

from yolo_operator.api.resource import API_VERSION, KIND
from yolo_operator.api.spec import WrittenSpec, parse_spec

_RULE_FIELD = re.compile(r"([A-Za-z0-9]+(?:\.[A-Za-z0-9]+)*): (.*)", re.DOTALL)
_NAME_LIMIT = 63


def experiments(text: str) -> Iterator[dict[str, Any]]:
    """The YoloExperiments among a file's documents.

    Raises:
        yaml.YAMLError: when the file is not YAML.
    """
    for document in yaml.safe_load_all(text):
        if isinstance(document, dict) and document.get("kind") == KIND:
            yield document


def problems(document: dict[str, Any]) -> list[str]:
    """What is wrong with an experiment, each with the field's path; empty when nothing is."""
    found = []
    if document.get("apiVersion") != API_VERSION:
        found.append(f"apiVersion: is {document.get('apiVersion')!r}, this version knows {API_VERSION}")
    name = (document.get("metadata") or {}).get("name") or ""
    if not name and not (document.get("metadata") or {}).get("generateName"):
        found.append("metadata.name: is missing")
    if len(name) > _NAME_LIMIT or "." in name:
        found.append("metadata.name: becomes a label value: at most 63 characters and no dots")
    try:
        parse_spec(document.get("spec") or {})
    except ValidationError as error:
        found += [_sentence(detail) for detail in error.errors(include_url=False)]
    return found


def _sentence(detail: Any) -> str:
    """One of pydantic's findings as `spec.path[0].field: sentence`."""
    path = "spec" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in detail["loc"])
    message = str(detail["msg"])
    if detail["type"] == "value_error":
        message = str(detail["ctx"]["error"])
        if rule := _RULE_FIELD.fullmatch(message):  # a cross-field rule names the field it points at
            path, message = f"{path}.{rule[1]}", rule[2]
    elif detail["type"] == "extra_forbidden":
        message = f"unknown field{_meant(detail['loc'])}"
    elif detail["type"] == "missing":
        message = "is missing"
    elif not isinstance(detail["input"], dict | list):
        message = f"{message}, not {detail['input']!r}"
    return f"{path}: {message}"


def _meant(path: Sequence[int | str]) -> str:
    """The field beside an unknown one that was probably meant; empty when none is near."""
    *before, name = path
    fields = {field.lower(): field for field in _fields(tuple(map(str, before)))}
    near = difflib.get_close_matches(str(name).lower(), fields, n=1, cutoff=0.6)
    near = near or [field for field in fields if field.startswith(str(name).lower())][:1]
    return f", did you mean {fields[near[0]]}?" if near else ""


@cache
def _fields(path: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the fields of the object at a path of the spec."""
    schema = WrittenSpec.model_json_schema(by_alias=True)
    node = schema
    for part in path:
        node = _plain(node.get("properties", {}).get(part) or node.get("items") or node.get("additionalProperties") or {}, schema)
    return tuple(node.get("properties", ()))


def _plain(node: Any, schema: dict[str, Any]) -> dict[str, Any]:
    """What a reference refers to, and what a value is when it is there."""
    if not isinstance(node, dict):
        return {}
    for option in node.get("anyOf", ()):
        if option.get("type") != "null":
            return _plain(option, schema)
    name = str(node.get("$ref", "")).removeprefix("#/$defs/")
    found: dict[str, Any] = schema["$defs"][name] if name else node
    return found
