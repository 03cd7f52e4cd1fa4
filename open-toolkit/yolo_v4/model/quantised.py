"""A network that computes as its int8 export will: quantisation-aware training, and calibration without training.

Symmetric 8-bit everywhere: one range for a tensor that convolutions read, one for each output channel of a kernel.
Kernels are rounded after batch norm has been folded in, as they are in the export. In training the rounded kernel is
divided by the folding factor again, so that batch norm still sees and learns the statistics of the batch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yolo_v4.model.graph import Graph, Layer
from yolo_v4.model.network import ConvUnit, Network, activate, norm_scale

LIMIT = 127
_RANGE_MEMORY = 0.98
"""Share of the old range that one training batch leaves."""
_TINY = 1e-8
_SMALLEST_FOLDING = 1e-4


def kernel_steps(kernel: Tensor) -> Tensor:
    """(out,): the quantisation step of every output channel of a kernel (out, in, k, k)."""
    return kernel.detach().abs().amax(dim=(1, 2, 3)).clamp(min=_TINY) / LIMIT


class ActivationQuantiser(nn.Module):
    """Rounds a tensor to 8 bits within a range learned from what it has seen."""

    maximum: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.observing = False
        self.register_buffer("maximum", torch.zeros(()))

    @property
    def step(self) -> Tensor:
        """Scalar quantisation step."""
        return self.maximum.clamp(min=_TINY) / LIMIT

    def forward(self, tensor: Tensor) -> Tensor:
        """The rounded tensor; its gradient passes inside the range and stops outside."""
        tensor = tensor.float()
        if self.training or self.observing:
            low, high = torch.aminmax(tensor.detach())
            seen = torch.maximum(high, -low)
            known = self.maximum > 0
            blended = _RANGE_MEMORY * self.maximum + (1 - _RANGE_MEMORY) * seen
            self.maximum.copy_(torch.where(known, blended, seen))
        zero = torch.zeros((), dtype=torch.int32, device=tensor.device)
        return torch.fake_quantize_per_tensor_affine(tensor, self.step, zero, -LIMIT, LIMIT)


class QuantisedConvUnit(ConvUnit):
    """A convolution whose folded kernel is rounded to 8 bits."""

    def forward(self, images: Tensor) -> Tensor:
        """As ConvUnit."""
        if self.norm is None:
            result = self._convolve(images, _rounded(self.conv.weight), self.conv.bias)
            return activate(result, self.activation)
        scale = norm_scale(self.norm)
        if not self.norm.training:
            bias = self.norm.bias - self.norm.running_mean * scale
            result = self._convolve(images, _rounded(self.conv.weight * scale.view(-1, 1, 1, 1)), bias)
            return activate(result, self.activation)
        scale = torch.where(scale.abs() < _SMALLEST_FOLDING, _SMALLEST_FOLDING, scale).view(-1, 1, 1, 1)
        result = self._convolve(images, _rounded(self.conv.weight * scale) / scale, None)
        return activate(self.norm(result), self.activation)

    def _convolve(self, images: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(images, kernel, bias, self.conv.stride, self.conv.padding)


def _rounded(kernel: Tensor) -> Tensor:
    steps = kernel_steps(kernel)
    zeros = torch.zeros(len(steps), dtype=torch.int32, device=kernel.device)
    return torch.fake_quantize_per_channel_affine(kernel, steps, zeros, 0, -LIMIT, LIMIT)


class QuantisedNetwork(Network):
    """Runs a graph in simulated int8; weights are interchangeable with those of ``Network``."""

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        names = dict.fromkeys(layer.inputs[0] for layer in graph.convolutions)
        self.quantisers = nn.ModuleDict({name: ActivationQuantiser() for name in names})

    def _make_unit(self, layer: Layer, in_channels: int) -> ConvUnit:
        return QuantisedConvUnit(layer, in_channels)

    def read(self, name: str, tensor: Tensor) -> Tensor:
        """Round what a convolution reads."""
        rounded: Tensor = self.quantisers[name](tensor)
        return rounded

    def observe(self, on: bool) -> None:
        """Follow the ranges of activations without training."""
        for quantiser in self.quantisers.values():
            assert isinstance(quantiser, ActivationQuantiser)
            quantiser.observing = on


def quantise(network: Network) -> QuantisedNetwork:
    """A quantised network with the same weights; ranges are unknown until it has trained or observed."""
    if isinstance(network, QuantisedNetwork):
        return network
    result = QuantisedNetwork(network.graph)
    result.load_state_dict(network.state_dict(), strict=False)
    return result
