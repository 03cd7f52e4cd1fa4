"""Whether one CRD's schema takes everything that another took: what an upgrade within a version of the API promises."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]

_UPPER = ("maxLength", "maxItems", "maxProperties", "maximum")
_LOWER = ("minLength", "minItems", "minProperties", "minimum")
_FIXED = ("type", "format", "pattern", "x-kubernetes-int-or-string", "x-kubernetes-list-type", "x-kubernetes-list-map-keys")


def narrower(old: Schema, new: Schema, path: str = "") -> Iterator[str]:
    """What the new schema no longer takes, or takes in another meaning, field by field.

    Rules across fields (CEL) are not compared: a new one may only concern new fields, which no program sees.
    """
    for word in _FIXED:
        if word in new and old.get(word) != new[word] and not (word == "type" and word not in old):
            yield f"{path}: {word} is {new[word]!r}, was {old.get(word)!r}"
    for word, sign in (*((word, 1) for word in _UPPER), *((word, -1) for word in _LOWER)):
        if word in new and (word not in old or sign * new[word] < sign * old[word]):
            yield f"{path}: {word} is {new[word]}, was {old.get(word, 'free')}"
    if "enum" in new:
        for value in old.get("enum", ["any"]):
            if value not in new["enum"]:
                yield f"{path}: {value!r} is no longer allowed"
    if old.get("default") != new.get("default"):
        yield f"{path}: the default is {new.get('default')!r}, was {old.get('default')!r}"
    for name in set(new.get("required", ())) - set(old.get("required", ())):
        yield f"{path}.{name}: required, was not"
    for name, part in old.get("properties", {}).items():
        if name not in new.get("properties", {}):
            yield f"{path}.{name}: removed"
        else:
            yield from narrower(part, new["properties"][name], f"{path}.{name}")
    for inner in ("items", "additionalProperties"):
        if isinstance(old.get(inner), dict) and isinstance(new.get(inner), dict):
            yield from narrower(old[inner], new[inner], f"{path}[]")


def of_crds(old: Schema, new: Schema) -> list[str]:
    """The same for all versions that the old CRD serves."""
    schemas = {version["name"]: version["schema"]["openAPIV3Schema"] for version in new["spec"]["versions"]}
    found: list[str] = []
    for version in old["spec"]["versions"]:
        name, schema = version["name"], version["schema"]["openAPIV3Schema"]
        found += narrower(schema, schemas[name], name) if name in schemas else [f"{name}: no longer served"]
    return found
