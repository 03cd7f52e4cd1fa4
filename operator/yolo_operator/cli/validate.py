"""`kubectl yolo validate`: the resource's models on files, without a cluster.

The API server checks the same at `kubectl apply`; this says it before, in an editor, a hook or a pipeline.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml
from pydantic import ValidationError

from yolo_operator.api.resource import API_VERSION, KIND
from yolo_operator.api.spec import parse_spec

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
        message = "unknown field"
    elif detail["type"] == "missing":
        message = "is missing"
    elif not isinstance(detail["input"], dict | list):
        message = f"{message}, not {detail['input']!r}"
    return f"{path}: {message}"
