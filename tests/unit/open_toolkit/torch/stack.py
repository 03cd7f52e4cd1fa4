"""What these tests need beside pytest."""

from __future__ import annotations

import importlib.util

STACK = ("numpy", "PIL", "torch", "onnx", "onnxruntime")


def missing() -> list[str]:
    """What of the stack cannot be imported; a mere folder of that name (this one is called torch) is no package."""
    specs = {name: importlib.util.find_spec(name) for name in STACK}
    return [name for name, spec in specs.items() if spec is None or spec.origin is None]
