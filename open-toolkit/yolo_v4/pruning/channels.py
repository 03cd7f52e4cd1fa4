"""Which channels of which tensors are one and the same.

Channels that meet in an element-wise sum live and die together: the layers that make them form one group. A
concatenation puts the channels of several groups side by side. So every tensor is a row of segments, each the channels
of one group.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from yolo_v4.model.graph import INPUT, Graph, Layer

Indices = NDArray[np.int64]


@dataclass
class ChannelMap:
    """Groups of coupled convolutions, and the groups that each tensor's channels belong to."""

    members: dict[str, list[str]]
    """Convolutions by group, in execution order; a group bears its first member's name."""
    segments: dict[str, tuple[str, ...]]
    """Groups by tensor, in channel order; the network's input has a group of its own without members."""

    def kept_of(self, tensor: str, kept: Mapping[str, Indices], sizes: Mapping[str, int]) -> Indices:
        """Positions in a tensor of its channels that stay, given those of the groups and the groups' sizes before."""
        parts, first = [], 0
        for group in self.segments[tensor]:
            parts.append(kept[group] + first)
            first += sizes[group]
        return np.concatenate(parts)


@dataclass
class _Union:
    """Disjoint sets with the earliest element as representative."""

    parent: dict[str, str] = field(default_factory=dict)

    def find(self, name: str) -> str:
        while self.parent.setdefault(name, name) != name:
            name = self.parent[name]
        return name

    def join(self, first: str, second: str) -> None:
        first, second = self.find(first), self.find(second)
        order = list(self.parent)
        low, high = sorted((first, second), key=order.index)
        self.parent[high] = low


def map_channels(graph: Graph) -> ChannelMap:
    """Follow the channels through the graph."""
    union = _Union()
    raw: dict[str, tuple[str, ...]] = {INPUT: (union.find(INPUT),)}
    for layer in graph.layers:
        raw[layer.name] = _trace(layer, raw, union)
    members: dict[str, list[str]] = {union.find(INPUT): []}
    for layer in graph.convolutions:
        members.setdefault(union.find(layer.name), []).append(layer.name)
    segments = {name: tuple(union.find(group) for group in groups) for name, groups in raw.items()}
    return ChannelMap(members, segments)


def _trace(layer: Layer, raw: dict[str, tuple[str, ...]], union: _Union) -> tuple[str, ...]:
    if layer.operation == "conv":
        return (union.find(layer.name),)
    if layer.operation == "concat":
        return tuple(group for source in layer.inputs for group in raw[source])
    if layer.operation == "add":
        for groups in zip(*(raw[source] for source in layer.inputs), strict=True):
            for other in groups[1:]:
                union.join(groups[0], other)
    return raw[layer.inputs[0]]
