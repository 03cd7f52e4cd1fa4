"""A graph as a torch module."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yolo_v4.model.graph import INPUT, OUTPUTS, Graph, Layer

LEAKY_SLOPE = 0.1
NORM_EPSILON = 1e-3
NORM_MOMENTUM = 0.03
"""Share of a new batch in the running statistics; small, since batches are."""
_PRIOR = 0.01
"""Objectness that an untrained network says everywhere, so that the first steps are not spent on unlearning 0.5."""


class ConvUnit(nn.Module):
    """Convolution, batch norm or bias, activation."""

    def __init__(self, layer: Layer, in_channels: int) -> None:
        super().__init__()
        self.activation = layer.activation
        self.conv = nn.Conv2d(
            in_channels, layer.channels, layer.kernel, layer.stride, layer.kernel // 2, bias=not layer.norm
        )
        self.norm = nn.BatchNorm2d(layer.channels, NORM_EPSILON, NORM_MOMENTUM) if layer.norm else None

    def forward(self, images: Tensor) -> Tensor:
        """(batch, in, h, w) to (batch, out, h / stride, w / stride)."""
        result = self.conv(images)
        if self.norm is not None:
            result = self.norm(result)
        return activate(result, self.activation)

    def folded(self) -> tuple[Tensor, Tensor]:
        """Kernel (out, in, k, k) and bias (out,) of the equivalent convolution without batch norm, detached."""
        kernel = self.conv.weight.detach()
        if self.norm is None:
            assert self.conv.bias is not None
            return kernel, self.conv.bias.detach()
        scale = norm_scale(self.norm).detach()
        return kernel * scale.view(-1, 1, 1, 1), self.norm.bias.detach() - self.norm.running_mean * scale


def norm_scale(norm: nn.BatchNorm2d) -> Tensor:
    """(channels,): what a batch norm multiplies by at inference."""
    return norm.weight / torch.sqrt(norm.running_var + norm.eps)


def activate(tensor: Tensor, name: str) -> Tensor:
    """Apply an activation by name; "" is none."""
    if name == "relu":
        return F.relu(tensor)
    if name == "leaky_relu":
        return F.leaky_relu(tensor, LEAKY_SLOPE)
    if name == "mish":
        return F.mish(tensor)
    return tensor


class Network(nn.Module):
    """Runs a graph; parameters lie in one unit for each convolution, under the layer's name."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        self.units = nn.ModuleDict(
            {layer.name: self._make_unit(layer, graph.in_channels(layer)) for layer in graph.convolutions}
        )

    def _make_unit(self, layer: Layer, in_channels: int) -> ConvUnit:
        return ConvUnit(layer, in_channels)

    def read(self, name: str, tensor: Tensor) -> Tensor:
        """What a convolution sees of a tensor; quantised networks round it here."""
        del name
        return tensor

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Raw outputs of the three scales, coarse to fine: (batch, anchors * (5 + classes), h, w) each."""
        values = {INPUT: images}
        for layer in self.graph.layers:
            values[layer.name] = self._run(layer, values)
        big, mid, small = (values[name] for name in OUTPUTS)
        return big, mid, small

    def _run(self, layer: Layer, values: dict[str, Tensor]) -> Tensor:
        inputs = [values[name] for name in layer.inputs]
        if layer.operation == "conv":
            result: Tensor = self.units[layer.name](self.read(layer.inputs[0], inputs[0]))
            return result
        if layer.operation == "add":
            return activate(inputs[0] + inputs[1], layer.activation)
        if layer.operation == "pool":
            return F.max_pool2d(inputs[0], layer.kernel, layer.stride, layer.kernel // 2)
        if layer.operation == "upsample":
            return F.interpolate(inputs[0], scale_factor=float(layer.stride), mode="nearest")
        return torch.cat(inputs, 1)


def initialise(network: Network, classes: int) -> None:
    """Fresh weights from torch's global generator."""
    for layer in network.graph.convolutions:
        unit = network.units[layer.name]
        assert isinstance(unit, ConvUnit)
        if layer.name in OUTPUTS:
            nn.init.normal_(unit.conv.weight, std=0.01)
            assert unit.conv.bias is not None
            with torch.no_grad():
                bias = unit.conv.bias.view(-1, 5 + classes)
                bias.zero_()
                bias[:, 4] = -math.log((1 - _PRIOR) / _PRIOR)
        else:
            nn.init.kaiming_normal_(unit.conv.weight, mode="fan_out", nonlinearity="relu")


def count_parameters(network: nn.Module) -> int:
    """Trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters())
