"""A small network that looks trained, for tests."""

from __future__ import annotations

import torch
from yolo_v4.model.architecture import build_graph
from yolo_v4.model.head import Head
from yolo_v4.model.network import ConvUnit, Network, initialise

HEAD = Head((((40.0, 40.0),), ((24.0, 20.0),), ((12.0, 12.0), (16.0, 10.0))), (0.05, 0.1, 0.2), 2)


def network(nlayers: int = 18, activation: str = "relu", seed: int = 0) -> Network:
    """Random weights from a seed, with statistics of batch norms as after training."""
    torch.manual_seed(seed)
    graph = build_graph(
        nlayers=nlayers, width=0.25, anchors=HEAD.counts, classes=2, activation=activation, neck_activation="leaky_relu"
    )
    result = Network(graph)
    initialise(result, 2)
    for unit in result.units.values():
        assert isinstance(unit, ConvUnit)
        if unit.norm is not None:
            # As after training: statistics and factors that are not 0 and 1.
            torch.nn.init.uniform_(unit.norm.weight, 0.5, 1.5)
            torch.nn.init.uniform_(unit.norm.bias, -0.3, 0.3)
            unit.norm.running_mean.uniform_(-0.2, 0.2)
            unit.norm.running_var.uniform_(0.5, 2.0)
    return result.eval()
