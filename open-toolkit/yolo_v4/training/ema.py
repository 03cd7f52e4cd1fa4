"""An exponential moving average of a network."""

from __future__ import annotations

import copy

import torch

from yolo_v4.model.network import Network

_DECAY = 0.999


class MovingAverage:
    """Follows a network; the average is what is evaluated and saved when the spec sets ``model_ema``."""

    def __init__(self, network: Network, updates: int = 0) -> None:
        self.network = copy.deepcopy(network).eval()
        self.updates = updates
        for parameter in self.network.parameters():
            parameter.requires_grad_(requires_grad=False)

    @torch.no_grad()
    def update(self, network: Network) -> None:
        """Move towards the network: in big steps at first, so that short trainings do not average in their start."""
        self.updates += 1
        decay = min(_DECAY, (1 + self.updates) / (10 + self.updates))
        for kept, new in zip(self.network.state_dict().values(), network.state_dict().values(), strict=True):
            if kept.dtype.is_floating_point:
                kept.lerp_(new, 1 - decay)
            else:
                kept.copy_(new)
