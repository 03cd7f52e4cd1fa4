"""Building the smaller network."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from yolo_v4.errors import UserError
from yolo_v4.model.graph import OUTPUTS, Graph
from yolo_v4.model.network import ConvUnit, Network
from yolo_v4.pruning.channels import ChannelMap, Indices, map_channels
from yolo_v4.pruning.select import Selection, kept_channels, relative_norms


def prune(network: Network, options: Selection, excluded: Collection[str] = ()) -> Network:
    """A new network of the same kind with fewer channels; output layers and ``excluded`` ones keep all of theirs.

    Raises:
        UserError: an excluded layer does not exist.

    """
    graph = network.graph
    unknown = sorted(set(excluded) - {layer.name for layer in graph.layers})
    if unknown:
        names = ", ".join(layer.name for layer in graph.convolutions)
        raise UserError(f"no layer {', '.join(unknown)}; convolutions are {names}")
    channels = map_channels(graph)
    kept = _choose(network, channels, options, set(excluded))
    sizes = {group: graph.channels_of(group) for group in channels.members}
    positions = {tensor: channels.kept_of(tensor, kept, sizes) for tensor in channels.segments}
    smaller = Graph(replace(layer, channels=len(positions[layer.name])) for layer in graph.layers)
    result = type(network)(smaller)
    for layer in graph.convolutions:
        source, target = network.units[layer.name], result.units[layer.name]
        assert isinstance(source, ConvUnit)
        assert isinstance(target, ConvUnit)
        _copy_unit(source, target, positions[layer.inputs[0]], positions[layer.name])
    _copy_ranges(network, result)
    return result


def _choose(network: Network, channels: ChannelMap, options: Selection, excluded: set[str]) -> dict[str, Indices]:
    """Channels that stay, by group."""
    untouched = excluded | set(OUTPUTS) | _same_tensor(network.graph, excluded)
    kept = {}
    for group, members in channels.members.items():
        count = network.graph.channels_of(group)
        if not members or untouched.intersection(members):
            kept[group] = np.arange(count)
            continue
        norms = [relative_norms(_kernel(network, name), options.normalizer) for name in members]
        kept[group] = kept_channels(norms, options)
    return kept


def _same_tensor(graph: Graph, excluded: set[str]) -> set[str]:
    """The convolutions behind excluded layers that are none: naming a sum protects what it adds."""
    result: set[str] = set()
    segments = map_channels(graph).segments
    for name in excluded:
        result.update(segments[name])
    return result


def _kernel(network: Network, name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    unit = network.units[name]
    assert isinstance(unit, ConvUnit)
    kernel: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = unit.conv.weight.detach().cpu().numpy()
    return kernel


@torch.no_grad()
def _copy_unit(source: ConvUnit, target: ConvUnit, inputs: Indices, outputs: Indices) -> None:
    rows, columns = torch.from_numpy(outputs), torch.from_numpy(inputs)
    target.conv.weight.copy_(source.conv.weight[rows][:, columns])
    if source.conv.bias is not None and target.conv.bias is not None:
        target.conv.bias.copy_(source.conv.bias[rows])
    if source.norm is not None and target.norm is not None:
        for name, value in source.norm.state_dict().items():
            destination: Tensor = target.norm.state_dict()[name]
            destination.copy_(value[rows] if value.ndim else value)


def _copy_ranges(source: Network, target: Network) -> None:
    """The learned ranges of a quantised network; a narrower tensor keeps its old range until it is retrained."""
    ranges = {name: value for name, value in source.state_dict().items() if name.startswith("quantisers.")}
    if ranges:
        target.load_state_dict(ranges, strict=False)


def describe(before: Graph, after: Graph) -> Mapping[str, tuple[int, int]]:
    """Channels before and after by convolution."""
    return {layer.name: (layer.channels, after.by_name[layer.name].channels) for layer in before.convolutions}
