"""The ONNX graph of a network, written node by node from its layers.

Nothing is traced, so the result does not depend on the version of torch's exporter. In int8 every tensor that
convolutions read goes through QuantizeLinear and DequantizeLinear, and every kernel is stored in int8 behind a
DequantizeLinear, one scale for each output channel: what TensorRT and onnxruntime take for a quantised convolution.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper

from yolo_v4.export.nodes import NodeList
from yolo_v4.model.files import Model
from yolo_v4.model.graph import INPUT, OUTPUTS, STRIDES, Layer
from yolo_v4.model.head import MAXIMUM_LOG_SCALE, Head, Layout
from yolo_v4.model.network import LEAKY_SLOPE, ConvUnit, Network
from yolo_v4.model.quantised import LIMIT, ActivationQuantiser, QuantisedNetwork, kernel_steps

IR_VERSION = 8


@dataclass(frozen=True)
class ExportOptions:
    """size: (width, height) of the input in pixels. batch: None for any."""

    size: tuple[int, int]
    mean: tuple[float, float, float]
    batch: int | None = None
    opset: int = 17


@dataclass(frozen=True)
class Exported:
    """The model and how much of it is quantised."""

    proto: onnx.ModelProto
    quantised_activations: int
    quantised_kernels: int


def build(model: Model, options: ExportOptions, *, int8: bool) -> Exported:
    """Convert a model on the CPU; int8 needs a quantised network whose ranges are known."""
    writer = _Writer(model.network, int8=int8)
    for layer in model.network.graph.layers:
        writer.layer(layer)
    _decode(writer.nodes, model.head, options.size)
    return Exported(_finish(writer.nodes, model, options, int8=int8), writer.activations, writer.kernels)


class _Writer:
    """Writes layers; ``activations`` and ``kernels`` count what has been quantised."""

    def __init__(self, network: Network, *, int8: bool) -> None:
        self.nodes = NodeList()
        self.activations = 0
        self.kernels = 0
        self._network = network
        self._int8 = int8
        self._rounded: dict[str, str] = {}

    def layer(self, layer: Layer) -> None:
        """Append one layer."""
        inputs = list(layer.inputs)
        if layer.operation == "conv":
            self._convolution(layer)
        elif layer.operation == "add":
            self._activation(self.nodes.add("Add", inputs, _before(layer)), layer)
        elif layer.operation == "pool":
            pads = [layer.kernel // 2] * 4
            self.nodes.add(
                "MaxPool", inputs, layer.name, kernel_shape=[layer.kernel] * 2, strides=[layer.stride] * 2, pads=pads
            )
        elif layer.operation == "upsample":
            scales = self.nodes.constant(
                f"scales_{layer.stride}", np.array([1, 1, layer.stride, layer.stride], np.float32)
            )
            self.nodes.add(
                "Resize",
                [*inputs, "", scales],
                layer.name,
                mode="nearest",
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            )
        else:
            self.nodes.add("Concat", inputs, layer.name, axis=1)

    def _convolution(self, layer: Layer) -> None:
        unit = self._network.units[layer.name]
        assert isinstance(unit, ConvUnit)
        kernel, bias = unit.folded()
        inputs = [self._read(layer.inputs[0]), self._kernel(layer.name, kernel)]
        inputs.append(self.nodes.constant(f"{layer.name}.bias", bias.numpy()))
        self.nodes.add(
            "Conv",
            inputs,
            _before(layer),
            kernel_shape=[layer.kernel] * 2,
            strides=[layer.stride] * 2,
            pads=[layer.kernel // 2] * 4,
        )
        self._activation(_before(layer), layer)

    def _activation(self, source: str, layer: Layer) -> None:
        if layer.activation == "relu":
            self.nodes.add("Relu", [source], layer.name)
        elif layer.activation == "leaky_relu":
            self.nodes.add("LeakyRelu", [source], layer.name, alpha=LEAKY_SLOPE)
        elif layer.activation == "mish":
            soft = self.nodes.add("Softplus", [source], f"{layer.name}/softplus")
            gate = self.nodes.add("Tanh", [soft], f"{layer.name}/tanh")
            self.nodes.add("Mul", [source, gate], layer.name)

    def _read(self, tensor: str) -> str:
        """The name under which a convolution finds a tensor, rounded to int8 on the way."""
        if not self._int8:
            return tensor
        if tensor not in self._rounded:
            assert isinstance(self._network, QuantisedNetwork)
            quantiser = self._network.quantisers[tensor]
            assert isinstance(quantiser, ActivationQuantiser)
            scale = self.nodes.constant(f"{tensor}.scale", quantiser.step.numpy())
            zero = self.nodes.constant("zero", np.zeros((), np.int8))
            codes = self.nodes.add("QuantizeLinear", [tensor, scale, zero], f"{tensor}/int8")
            self._rounded[tensor] = self.nodes.add("DequantizeLinear", [codes, scale, zero], f"{tensor}/rounded")
            self.activations += 1
        return self._rounded[tensor]

    def _kernel(self, name: str, kernel: torch.Tensor) -> str:
        if not self._int8:
            return self.nodes.constant(f"{name}.weight", kernel.numpy())
        steps = kernel_steps(kernel).numpy()
        codes = self.nodes.constant(f"{name}.weight", quantise_kernel(kernel.numpy(), steps))
        scale = self.nodes.constant(f"{name}.weight_scale", steps)
        zero = self.nodes.constant(f"zeros_{len(steps)}", np.zeros(len(steps), np.int8))
        self.kernels += 1
        return self.nodes.add("DequantizeLinear", [codes, scale, zero], f"{name}.kernel", axis=0)


def _before(layer: Layer) -> str:
    """The name of a layer's tensor before its activation."""
    return f"{layer.name}/linear" if layer.activation else layer.name


def quantise_kernel(kernel: NDArray[np.float32], steps: NDArray[np.float32]) -> NDArray[np.int8]:
    """Kernel (out, in, k, k) in units of its output channels' steps (out,)."""
    codes = np.round(kernel / steps.reshape(-1, 1, 1, 1))
    return np.clip(codes, -LIMIT, LIMIT).astype(np.int8)


def _decode(nodes: NodeList, head: Head, size: tuple[int, int]) -> None:
    """From the raw outputs to ``boxes`` (batch, n, 4), corners in input pixels, and ``scores`` (batch, n, classes)."""
    grids = [(size[1] // stride, size[0] // stride) for stride in STRIDES]
    layout = Layout(head, grids, torch.device("cpu"))
    fields = 5 + head.classes
    flat = []
    for name, count, (rows, columns) in zip(OUTPUTS, head.counts, grids, strict=True):
        apart = nodes.constant(f"{name}.apart", np.array([0, count, fields, rows * columns], np.int64))
        together = nodes.constant(f"{name}.together", np.array([0, count * rows * columns, fields], np.int64))
        split = nodes.add("Reshape", [name, apart], f"{name}/split")
        turned = nodes.add("Transpose", [split], f"{name}/turned", perm=[0, 1, 3, 2])
        flat.append(nodes.add("Reshape", [turned, together], f"{name}/flat"))
    nodes.add("Concat", flat, "candidates", axis=1)
    sections = nodes.constant("sections", np.array([2, 2, 1, head.classes], np.int64))
    nodes.add("Split", ["candidates", sections], ["t_xy", "t_wh", "t_object", "t_class"], axis=2)
    nodes.add("Sigmoid", ["t_xy"], "s_xy")
    nodes.add("Mul", ["s_xy", nodes.constant("centre_factor", layout.centre_factor.numpy())], "moved")
    nodes.add("Add", ["moved", nodes.constant("centre_offset", layout.centre_offset.numpy())], "centres")
    limit = nodes.constant("largest", np.array(MAXIMUM_LOG_SCALE, np.float32))
    nodes.add("Min", ["t_wh", limit], "limited")
    nodes.add("Exp", ["limited"], "growth")
    nodes.add("Mul", ["growth", nodes.constant("half_anchors", layout.anchors.numpy() / 2)], "halves")
    nodes.add("Sub", ["centres", "halves"], "low")
    nodes.add("Add", ["centres", "halves"], "high")
    nodes.add("Concat", ["low", "high"], "boxes", axis=2)
    nodes.add("Sigmoid", ["t_object"], "objectness")
    nodes.add("Sigmoid", ["t_class"], "probabilities")
    nodes.add("Mul", ["objectness", "probabilities"], "scores")


def _finish(nodes: NodeList, model: Model, options: ExportOptions, *, int8: bool) -> onnx.ModelProto:
    batch = options.batch or "batch"
    width, height = options.size
    count = sum(a * (height // s) * (width // s) for a, s in zip(model.head.counts, STRIDES, strict=True))
    graph = helper.make_graph(
        nodes.nodes,
        "yolo_v4",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [batch, 3, height, width])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [batch, count, 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, count, len(model.classes)]),
        ],
        nodes.constants,
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", options.opset)], producer_name="yolo_v4")
    proto.ir_version = IR_VERSION
    metadata = {
        "classes": json.dumps(model.classes),
        "anchors": json.dumps(model.head.anchors),
        "width": str(width),
        "height": str(height),
        "image_mean_rgb": json.dumps(options.mean),
        "color_format": "BGR, mean subtracted",
        "data_type": "int8" if int8 else "fp32",
    }
    helper.set_model_props(proto, metadata)
    onnx.checker.check_model(proto)
    return proto
