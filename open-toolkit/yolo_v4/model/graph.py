"""The network as data.

A model is a list of layers in execution order, each with its inputs by name. Pruning, quantisation, export and
checkpoints all work on this list: pruning changes ``channels``, a checkpoint stores it, export writes it out node by
node. So none of them has to find out from a running program what the network is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from yolo_v4.errors import ModelError

INPUT = "Input"
OUTPUTS = ("conv_big_object", "conv_mid_object", "conv_sm_object")
"""The output layers, coarse to fine: strides 32, 16, 8."""
STRIDES = (32, 16, 8)

OPERATIONS = ("conv", "add", "pool", "upsample", "concat")


@dataclass(frozen=True)
class Layer:
    """One layer.

    conv: convolution, batch norm when ``norm`` (else a bias), activation; padding keeps the size at stride 1.
    add: sum of the inputs, activation. pool: maximum over ``kernel``. upsample: nearest, factor ``stride``.
    concat: along channels.
    """

    name: str
    operation: str
    inputs: tuple[str, ...]
    channels: int
    """Output channels."""
    kernel: int = 1
    stride: int = 1
    activation: str = ""
    norm: bool = False
    block: int = -1
    """The backbone block that ``freeze_blocks`` counts; -1 outside the backbone."""


class Graph:
    """Layers in execution order with look-ups; immutable."""

    def __init__(self, layers: Iterable[Layer]) -> None:
        self.layers = tuple(layers)
        self.by_name = {layer.name: layer for layer in self.layers}

    @property
    def convolutions(self) -> tuple[Layer, ...]:
        """The layers with parameters."""
        return tuple(layer for layer in self.layers if layer.operation == "conv")

    def channels_of(self, tensor: str) -> int:
        """Channels of a layer's output or of the network's input."""
        return 3 if tensor == INPUT else self.by_name[tensor].channels

    def in_channels(self, layer: Layer) -> int:
        """Channels of what a convolution reads."""
        return self.channels_of(layer.inputs[0])

    def consumers(self, tensor: str) -> list[Layer]:
        """The layers that read a tensor."""
        return [layer for layer in self.layers if tensor in layer.inputs]

    def to_json(self) -> list[dict[str, Any]]:
        """Plain lists and dictionaries."""
        return [asdict(layer) for layer in self.layers]

    @classmethod
    def from_json(cls, data: Iterable[Mapping[str, Any]]) -> Graph:
        """The reverse of ``to_json``; raises ModelError on anything that is no graph."""
        try:
            layers = [Layer(**{**entry, "inputs": tuple(entry["inputs"])}) for entry in data]
        except (TypeError, KeyError) as error:
            raise ModelError(f"the model file holds no layer graph: {error}") from error
        graph = cls(layers)
        known = {INPUT}
        for layer in layers:
            if layer.operation not in OPERATIONS or not known.issuperset(layer.inputs):
                raise ModelError(f"the model file's graph is broken at layer {layer.name!r}")
            known.add(layer.name)
        if not known.issuperset(OUTPUTS):
            raise ModelError("the model file's graph lacks output layers")
        return graph


class GraphBuilder:
    """Appends layers and keeps track of channels."""

    def __init__(self) -> None:
        self._layers: list[Layer] = []
        self._channels = {INPUT: 3}

    def add(self, layer: Layer) -> str:
        """Append a layer; returns its name, which is its output's name."""
        self._layers.append(layer)
        self._channels[layer.name] = layer.channels
        return layer.name

    def conv(
        self,
        name: str,
        source: str,
        channels: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        activation: str = "relu",
        block: int = -1,
    ) -> str:
        """Convolution with batch norm."""
        return self.add(Layer(name, "conv", (source,), channels, kernel, stride, activation, norm=True, block=block))

    def join(self, name: str, *sources: str) -> str:
        """Concatenation along channels."""
        return self.add(Layer(name, "concat", sources, sum(self._channels[source] for source in sources)))

    def sum(self, name: str, *sources: str, activation: str, block: int) -> str:
        """Element-wise sum with activation."""
        return self.add(Layer(name, "add", sources, self._channels[sources[0]], activation=activation, block=block))

    def pool(self, name: str, source: str, kernel: int, stride: int = 1, block: int = -1) -> str:
        """Maximum pooling."""
        return self.add(Layer(name, "pool", (source,), self._channels[source], kernel, stride, block=block))

    def upsample(self, name: str, source: str) -> str:
        """Nearest neighbour, twice the size."""
        return self.add(Layer(name, "upsample", (source,), self._channels[source], stride=2))

    def channels(self, tensor: str) -> int:
        """Channels of a tensor that exists."""
        return self._channels[tensor]

    def build(self) -> Graph:
        """The finished graph."""
        return Graph(self._layers)
