"""What the toolkit's tests share: the examples as specs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from yolo_operator.api.spec import Spec, parse_spec
from yolo_operator.toolkit.invocation import DataPaths

EXAMPLES = Path(__file__).parents[3] / "examples"
Build = Callable[..., Spec]


def _raw(name: str) -> dict[str, Any]:
    manifest = yaml.safe_load((EXAMPLES / name).read_text(encoding="utf-8"))
    spec: dict[str, Any] = manifest["spec"]
    return spec


def _patched(raw: dict[str, Any], patches: dict[str, Any]) -> Spec:
    """The spec with fields set by their path, `a__b__c`; None removes one."""
    raw = copy.deepcopy(raw)
    for path, value in patches.items():
        *parents, last = path.split("__")
        node = raw
        for name in parents:
            node = node.setdefault(name, {})
        if value is None:
            node.pop(last, None)
        else:
            node[last] = copy.deepcopy(value)
    return parse_spec(raw)


@pytest.fixture
def tao() -> Build:
    """The example for TAO 3.21.11, with patches."""
    return lambda **patches: _patched(_raw("license-plate-tao.yaml"), patches)


@pytest.fixture
def tao_5() -> Build:
    """The same experiment on TAO 5.0, with patches."""
    changes: dict[str, Any] = {"toolkit": {"profile": "tao-5.0"}, "export": {"format": "onnx"}}
    return lambda **patches: _patched(_raw("license-plate-tao.yaml"), {**changes, **patches})


@pytest.fixture
def cpu() -> Build:
    """The example for the open toolkit, with patches."""
    return lambda **patches: _patched(_raw("license-plate-cpu.yaml"), patches)


@pytest.fixture
def data() -> DataPaths:
    """The data as the seed's container sees them."""
    return DataPaths(
        train_images="/yolov4/dataset/train/images",
        train_labels="/yolov4/dataset/train/labels",
        validation_images="/yolov4/dataset/valid/images",
        validation_labels="/yolov4/dataset/valid/labels",
        unlabelled_images="/yolov4/dataset/test",
    )
