"""Collects ONNX nodes and constants."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper


class NodeList:
    """Nodes in execution order and the constants that they read."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._names: set[str] = set()

    def add(self, operator: str, inputs: list[str], output: str | list[str], **attributes: Any) -> str:
        """Append a node; returns its first output's name."""
        outputs = [output] if isinstance(output, str) else output
        self.nodes.append(helper.make_node(operator, inputs, outputs, name=f"{outputs[0]}/{operator}", **attributes))
        return outputs[0]

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Add a constant once; returns its name."""
        if name not in self._names:
            self._names.add(name)
            self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def count(self, operator: str) -> int:
        """Nodes of one kind."""
        return sum(node.op_type == operator for node in self.nodes)
