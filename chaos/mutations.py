"""Changes of valid experiments, from the CRD's schema: bounds, removals, wrong types, huge values, unicode, unknown fields.

Each is a function of a seed and a number, so that a failure can be made again: `mutation(seed, number)`.
"""

from __future__ import annotations

import copy
import functools
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml
from yolo_operator.api import resource

from chaos import ROOT
from examples import small_spec, tao_spec, whole_spec

Object = dict[str, Any]
Path = tuple[str | int, ...]
MIDDLE = 0.25
"""Part of the mutations that are edits of an experiment that runs already."""
TWO = 0.15
"""Part that changes two things."""
TEXTS = (
    "", " ", "ä", "模型", "🦊🦊", "a\u202eb", "a\nb", "a\tb", "\u0000", "-rf", "--help", "$(reboot)", "`id`", "';--",
    "{{ .Values }}", "..", "../../etc", "/", "a/../b", "a//b", "null", "true", "0", "NaN", "1e309",
    "A" * 64, "a" * 254, "x" * 1025, "é" * 513, "y" * 100_000,
)  # fmt: skip
NUMBERS = (-1, 0, 1, 0.5, -0.0, 1e-300, 1e300, 2**31 - 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63)
SAMPLES = (
    "a",
    "data",
    "10",
    "0.5",
    "1Gi",
    "500m",
    "best",
    "train/images",
    "nvidia.com/gpu",
    "https://a.example/b",
    "a" * 64,
    "1",
)


@dataclass(frozen=True)
class Change:
    """One place of the object, and what stands there afterwards."""

    path: Path
    value: Any = None
    remove: bool = False

    def __str__(self) -> str:
        text = repr(self.value)
        return f"{where(self.path)} {'removed' if self.remove else '= ' + (text if len(text) < 60 else text[:57] + '...')}"

    def apply(self, body: Object) -> None:
        """Change the object; a place that an earlier change took away is left alone."""
        target: Any = body
        for part in self.path[:-1]:
            try:
                target = target[part]
            except (KeyError, IndexError, TypeError):
                return
        last = self.path[-1]
        if isinstance(target, list) and isinstance(last, int):
            if last >= len(target):
                return
            if self.remove:
                del target[last]
            else:
                target[last] = self.value
        elif isinstance(target, dict):
            if self.remove:
                target.pop(last, None)
            else:
                target[last] = self.value


@dataclass(frozen=True)
class Mutation:
    """A valid experiment, what is changed of it, and whether that is an edit while it runs."""

    base: str
    changes: tuple[Change, ...]
    edit: bool = False

    def __str__(self) -> str:
        return f"{self.base}{' (edited)' if self.edit else ''}: {'; '.join(map(str, self.changes))}"

    def before(self, name: str) -> Object:
        """The valid experiment."""
        spec = copy.deepcopy(BASES[self.base]())
        spec["workspace"].setdefault("subPath", f"experiments/{name}")
        return {
            "apiVersion": resource.API_VERSION,
            "kind": resource.KIND,
            "metadata": {"name": name, "labels": {"app.kubernetes.io/name": "plates"}, "annotations": {"owner": "chaos"}},
            "spec": spec,
        }

    def after(self, name: str) -> Object:
        """With its changes."""
        body = self.before(name)
        for change in self.changes:
            change.apply(body)
        return body

    def document(self) -> Object:
        """For a file of cases."""
        changes = [
            {"path": list(change.path), **({"remove": True} if change.remove else {"value": change.value})}
            for change in self.changes
        ]
        return {"base": self.base, "edit": self.edit, "changes": changes}

    @classmethod
    def of(cls, document: Object) -> Mutation:
        """From a file of cases."""
        changes = [Change(tuple(c["path"]), c.get("value"), c.get("remove", False)) for c in document["changes"]]
        return cls(document["base"], tuple(changes), document.get("edit", False))


def _shapes() -> Object:
    anchors = {f"{scale}AnchorShape": "[(10, 10), (20, 20), (30, 30)]" for scale in ("big", "mid", "small")}
    spec = small_spec(anchors=None)
    spec["experimentSpec"]["yolov4Config"] |= anchors
    return spec


def _wide() -> Object:
    """Much of what is optional."""
    return small_spec(
        anchors=None,
        experimentSpec=_shapes()["experimentSpec"],
        gates={"train": {"minMap": 0.1}},
        resources={"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}, "sharedMemory": "64Mi"},
        scheduling={
            "nodeSelector": {"pool": "gpu"},
            "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
            "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}],
        },
        securityContext={"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000},
        retry={"limit": 1, "backoffSeconds": 1, "activeDeadlineSeconds": 600, "stallSeconds": 600},
        stages={"train": {"resources": {"limits": {"memory": "2Gi"}}, "retry": {"limit": 0}}},
        train={"checkpoint": "best"},
        export={"format": "onnx"},
    )


BASES: dict[str, Callable[[], Object]] = {
    "small": _shapes,
    "wide": _wide,
    "anchors": small_spec,
    "whole": whole_spec,
    "tao": tao_spec,
    "rounds": lambda: whole_spec(
        prune=None,
        retrain=None,
        export=None,
        inference={"rounds": {"count": 1, "minConfidence": 0.6, "fineTune": {"numEpochs": 4}}},
    ),
}
_WEIGHTS = {"small": 6, "wide": 8, "anchors": 2, "whole": 2, "tao": 2, "rounds": 1}


@functools.cache
def schema() -> Object:
    """Of the whole object, as the CRD has it."""
    crd = yaml.safe_load((ROOT / "crds" / "yoloexperiments.yaml").read_text())
    found: Object = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def mutation(seed: int, number: int) -> Mutation:
    """The mutation of this number."""
    rng = random.Random(f"{seed}/{number}")
    base = rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
    bare = Mutation(base, ())
    places = list(sites(schema()["properties"]["spec"], bare.before("name")["spec"], ("spec",)))
    count = 2 if rng.random() < TWO else 1
    changes = [_metadata(rng) if rng.random() < 0.06 else _change(rng, *rng.choice(places)) for _ in range(count)]
    return Mutation(base, tuple(changes), rng.random() < MIDDLE)


def sites(node: Object, value: Any, path: Path) -> Iterator[tuple[Path, Object, bool]]:
    """Every place of a value and every optional field beside them: path, schema, whether something is there."""
    if isinstance(value, dict):
        for name, inner in node.get("properties", {}).items():
            if name in value:
                yield (*path, name), inner, True
                yield from sites(inner, value[name], (*path, name))
            else:
                yield (*path, name), inner, False
        if isinstance(inner := node.get("additionalProperties"), dict):
            for name in value:
                yield (*path, name), inner, True
    elif isinstance(value, list) and isinstance(inner := node.get("items"), dict):
        for number, one in enumerate(value):
            yield (*path, number), inner, True
            yield from sites(inner, one, (*path, number))


def _change(rng: random.Random, path: Path, node: Object, there: bool) -> Change:
    if there and rng.random() < 0.1:
        return Change(path, remove=True)
    if rng.random() < 0.07:
        return Change(
            (*path[:-1], rng.choice(["unknown", "Suspend", "模型", "x" * 300])) if isinstance(path[-1], str) else path, 1
        )
    if rng.random() < 0.25:
        return Change(path, _wrong(rng, node))
    if not there and rng.random() < 0.5:
        return Change(path, valid(rng, node))
    return Change(path, _edge(rng, node))


def _wrong(rng: random.Random, node: Object) -> Any:
    """A value of another type."""
    kind = node.get("type")
    others = {"string": "text", "integer": 3, "number": 0.5, "boolean": True, "object": {"a": 1}, "array": ["a"], "null": None}
    return rng.choice([value for name, value in others.items() if name != kind])


def _edge(rng: random.Random, node: Object) -> Any:
    """At a bound, just behind it, or far away."""
    match node.get("type"):
        case "integer" | "number":
            near = [
                bound + step for name in ("minimum", "maximum") if (bound := node.get(name)) is not None for step in (-1, 0, 1)
            ]
            value = rng.choice(near) if near and rng.random() < 0.6 else rng.choice(NUMBERS)
            return int(value) if node["type"] == "integer" and rng.random() < 0.8 else value
        case "string":
            lengths = [
                "a" * max(0, node[name] + step) for name in ("minLength", "maxLength") if name in node for step in (-1, 0, 1)
            ]
            options = [*node.get("enum", ()), *lengths]
            return rng.choice(options) if options and rng.random() < 0.5 else rng.choice(TEXTS)
        case "boolean":
            return rng.choice([True, False])
        case "array":
            one = valid(rng, node.get("items", {}))
            most = node.get("maxItems", 8)
            return rng.choice([[], [one], [one, one], [None], [one] * most, [one] * (most + 1), [one] * 2000])
        case _:
            if isinstance(inner := node.get("additionalProperties"), dict):
                one = valid(rng, inner)
                return rng.choice(
                    [{}, {"": one}, {"a": None}, {"模型": one}, {f"k{n}": one for n in range(300)}, {"x" * 400: one}]
                )
            return rng.choice([{}, {"unknown": 1}, None])


def valid(rng: random.Random, node: Object, depth: int = 0) -> Any:
    """A value that the schema bears, as far as its types and bounds say."""
    if "default" in node and rng.random() < 0.3:
        return node["default"]
    match node.get("type"):
        case "integer" | "number":
            low, high = node.get("minimum", 0), node.get("maximum", 100)
            return rng.choice([low, high]) if node["type"] == "integer" else (low + min(high, low + 1)) / 2
        case "string":
            if "enum" in node:
                return rng.choice(node["enum"])
            fits = [text for text in SAMPLES if re.fullmatch(node.get("pattern", ".*").strip("^$"), text)]
            return rng.choice(fits or ["a"])
        case "boolean":
            return rng.choice([True, False])
        case "array":
            return [valid(rng, node.get("items", {}), depth + 1) for _ in range(max(1, node.get("minItems", 1)))]
        case "object":
            if isinstance(inner := node.get("additionalProperties"), dict):
                return {"a": valid(rng, inner, depth + 1)}
            needed = set(node.get("required", ()))
            names = [name for name in node.get("properties", {}) if name in needed or rng.random() < (0.4 if depth == 0 else 0.2)]
            return {name: valid(rng, node["properties"][name], depth + 1) for name in names}
        case _:
            return rng.choice([1, "a"])


def _metadata(rng: random.Random) -> Change:
    """Beside the spec: names, labels, and the annotations that ask something of the operator."""
    text = rng.choice(TEXTS)
    asked = ["train", "train=1", "train=1,prune/0.5=2", "nothing=1", "=", ",", "train=" + "x" * 300, "train=模型", text]
    return rng.choice([
        Change(("metadata", "labels", "app.kubernetes.io/name"), text),
        Change(("metadata", "labels", resource.LABEL_MANAGED_BY), resource.MANAGED_BY),
        Change(("metadata", "annotations", resource.ANNOTATION_RERUN), rng.choice(asked)),
        Change(("metadata", "annotations", resource.ANNOTATION_RETRY), text),
        Change(("metadata", "annotations", resource.ANNOTATION_CANCEL), text),
        Change(("metadata", "annotations", text or "x"), "1"),
        Change(("metadata", "finalizers"), ["chaos.example/kept"] if text == "ä" else [text]),
        Change(("metadata", "labels"), rng.choice([None, 3, {"a": 1}, {}])),
    ])  # fmt: skip


def where(path: Path) -> str:
    """As the API server writes it."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.lstrip(".")
