"""Pruning."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_network import network
from yolo_v4.errors import UserError
from yolo_v4.model.graph import OUTPUTS
from yolo_v4.model.network import ConvUnit, Network, count_parameters
from yolo_v4.model.quantised import quantise
from yolo_v4.pruning.channels import map_channels
from yolo_v4.pruning.select import Selection, kept_channels, relative_norms
from yolo_v4.pruning.surgery import prune

IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 100


def same(first: Network, second: Network) -> bool:
    return all(torch.allclose(a, b, atol=1e-4) for a, b in zip(first.eval()(IMAGES), second.eval()(IMAGES), strict=True))


def test_a_threshold_of_zero_changes_nothing() -> None:
    model = network()
    pruned = prune(model, Selection(threshold=0.0))
    assert pruned.graph.layers == model.graph.layers
    assert same(model, pruned)


def test_removing_dead_channels_changes_no_output() -> None:
    """Channels that are always 0 are found through sums and concatenations, and nothing else goes."""
    model = network(10)
    groups = map_channels(model.graph)
    rng = np.random.default_rng(0)
    for group, members in groups.members.items():
        if not members or group in OUTPUTS:
            continue
        dead = torch.from_numpy(rng.choice(model.graph.channels_of(group), 3, replace=False))
        for name in members:
            unit = model.units[name]
            assert isinstance(unit, ConvUnit)
            with torch.no_grad():
                unit.conv.weight[dead] = 0
                unit.norm.bias[dead] = 0
                unit.norm.running_mean[dead] = 0
    pruned = prune(model, Selection(threshold=1e-6, granularity=1, minimum=1))
    for layer in model.graph.convolutions:
        expected = layer.channels - (0 if layer.name in OUTPUTS else 3)
        assert pruned.graph.by_name[layer.name].channels == expected
    assert same(model, pruned)


@pytest.mark.parametrize("equalization", ["union", "intersection", "arithmetic_mean", "geometric_mean"])
def test_any_threshold_gives_a_consistent_network(equalization: str) -> None:
    model = network(seed=3)
    sizes = []
    for threshold in (0.6, 0.8, 0.95):
        pruned = prune(model, Selection(threshold=threshold, equalization=equalization))
        assert [tuple(o.shape) for o in pruned.eval()(IMAGES)] == [tuple(o.shape) for o in model(IMAGES)]
        for layer in pruned.graph.convolutions:
            assert layer.name in OUTPUTS or layer.channels % 8 == 0
            assert layer.channels >= min(16, model.graph.by_name[layer.name].channels)
        sizes.append(count_parameters(pruned))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < count_parameters(model)


def test_excluded_layers_and_what_they_are_summed_with_stay() -> None:
    model = network()
    pruned = prune(model, Selection(threshold=0.99, minimum=1), ["block_3b_out", "conv1"])
    for name in ("conv1", "block_3a_conv_2", "block_3a_shortcut", "block_3b_conv_2"):
        assert pruned.graph.by_name[name].channels == model.graph.by_name[name].channels
    assert pruned.graph.by_name["block_3a_conv_1"].channels < model.graph.by_name["block_3a_conv_1"].channels
    with pytest.raises(UserError, match="no layer conv99"):
        prune(model, Selection(), ["conv99"])


def test_a_quantised_network_stays_one() -> None:
    model = quantise(network())
    model.observe(on=True)
    model(IMAGES)
    model.observe(on=False)
    pruned = prune(model, Selection(threshold=0.9))
    assert type(pruned) is type(model)
    assert float(pruned.quantisers["conv1" if "conv1" in pruned.quantisers else "pool1"].maximum) > 0


def test_norms_are_relative_to_the_layer() -> None:
    kernel = np.zeros((3, 2, 1, 1), np.float32)
    kernel[:, 0, 0, 0] = (3, 4, 0)
    assert relative_norms(kernel, "max").tolist() == [0.75, 1.0, 0.0]
    assert relative_norms(kernel, "L2").tolist() == [0.6, 0.8, 0.0]


@pytest.mark.parametrize(
    ("equalization", "kept"),
    [("union", [0, 1, 2]), ("intersection", [0]), ("arithmetic_mean", [0, 1]), ("geometric_mean", [0])],
)
def test_coupled_layers_agree_by_the_criterion(equalization: str, kept: list[int]) -> None:
    norms = [np.array([0.9, 1.0, 0.5, 0.1]), np.array([0.8, 0.1, 0.2, 0.1])]
    options = Selection(threshold=0.45, equalization=equalization, granularity=1, minimum=1)
    assert kept_channels(norms, options).tolist() == kept


def test_the_number_kept_is_rounded_up_by_the_largest_of_the_rest() -> None:
    norms = [np.array([0.1, 0.9, 0.3, 0.2, 0.05, 1.0])]
    assert kept_channels(norms, Selection(threshold=0.5, granularity=4, minimum=1)).tolist() == [1, 2, 3, 5]
    assert kept_channels(norms, Selection(threshold=0.5, granularity=1, minimum=3)).tolist() == [1, 2, 5]
    assert kept_channels(norms, Selection(threshold=0.5, granularity=8, minimum=16)).tolist() == list(range(6))
