"""Optimizers and the penalty on kernels."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from yolo_v4.model.network import ConvUnit, Network
from yolo_v4.spec.messages import Optimizer, RegularizationType, Regularizer


def make_optimizer(config: Optimizer, parameters: Iterable[nn.Parameter], rate: float) -> torch.optim.Optimizer:
    """The optimizer that the spec chose, over parameters that may learn."""
    learning = [parameter for parameter in parameters if parameter.requires_grad]
    if config.adam is not None:
        return torch.optim.Adam(
            learning,
            lr=rate,
            betas=(config.adam.beta1, config.adam.beta2),
            eps=config.adam.epsilon,
            amsgrad=config.adam.amsgrad,
            fused=True,
        )
    if config.sgd is not None:
        momentum = config.sgd.momentum
        return torch.optim.SGD(learning, lr=rate, momentum=momentum, nesterov=config.sgd.nesterov and momentum > 0)
    assert config.rmsprop is not None  # the validator saw to it
    return torch.optim.RMSprop(
        learning,
        lr=rate,
        alpha=config.rmsprop.rho,
        eps=config.rmsprop.epsilon,
        momentum=config.rmsprop.momentum,
        centered=config.rmsprop.centered,
    )


class Penalty:
    """The regulariser: weight times the sum of |w| (L1) or w² (L2) over the kernels that learn."""

    def __init__(self, config: Regularizer, network: Network) -> None:
        self._type = config.type
        self._weight = config.weight
        self._kernels = [
            unit.conv.weight
            for unit in network.units.values()
            if isinstance(unit, ConvUnit) and unit.conv.weight.requires_grad
        ]

    def __call__(self) -> Tensor | float:
        """Scalar."""
        if self._type == RegularizationType.NO_REG or not self._kernels:
            return 0.0
        norm = 1 if self._type == RegularizationType.L1 else 2
        # One call for all forty kernels: their overhead would exceed the arithmetic.
        norms = torch.stack(torch._foreach_norm(self._kernels, norm))  # noqa: SLF001
        return self._weight * (norms.sum() if norm == 1 else norms.square().sum())


def freeze(network: Network, blocks: Iterable[float], *, norms: bool) -> None:
    """Stop learning in backbone blocks (their batch norms too), and in all batch norms if ``norms``."""
    frozen = {int(block) for block in blocks}
    for layer in network.graph.convolutions:
        unit = network.units[layer.name]
        assert isinstance(unit, ConvUnit)
        if layer.block in frozen:
            for parameter in unit.parameters():
                parameter.requires_grad_(requires_grad=False)
        if unit.norm is not None and (norms or layer.block in frozen):
            for parameter in unit.norm.parameters():
                parameter.requires_grad_(requires_grad=False)


def set_training(network: Network) -> None:
    """Training mode, except for batch norms that do not learn: their statistics stand too."""
    network.train()
    for unit in network.units.values():
        if isinstance(unit, ConvUnit) and unit.norm is not None and not unit.norm.weight.requires_grad:
            unit.norm.eval()
