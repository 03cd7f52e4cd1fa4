"""Quantisation and ONNX."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from tiny_network import HEAD, network
from yolo_v4.export.build import ExportOptions, build
from yolo_v4.model.files import Model
from yolo_v4.model.head import Decoder, corners_and_scores
from yolo_v4.model.network import Network
from yolo_v4.model.quantised import ActivationQuantiser, QuantisedNetwork, kernel_steps, quantise
from yolo_v4.pruning.select import Selection
from yolo_v4.pruning.surgery import prune

SIZE = (96, 64)
OPTIONS = ExportOptions(SIZE, (1.0, 2.0, 3.0))
IMAGES = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(2)) * 200 - 100


def observed(source: Network) -> QuantisedNetwork:
    result = quantise(source).eval()
    result.observe(on=True)
    with torch.no_grad():
        result(IMAGES)
    result.observe(on=False)
    return result


def torch_outputs(model: Network) -> list[np.ndarray]:
    with torch.no_grad():
        return [part.numpy() for part in corners_and_scores(Decoder(HEAD)(model.eval()(IMAGES)))]


def run(proto: object) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["boxes", "scores"], {"Input": IMAGES.numpy()})


def operators(proto: object) -> Counter[str]:
    return Counter(node.op_type for node in proto.graph.node)


@pytest.mark.parametrize("activation", ["relu", "mish"])
def test_float_export_computes_what_torch_computes(activation: str) -> None:
    source = network(10, activation)
    exported = build(Model(source, HEAD, ["a", "b"]), OPTIONS, int8=False)
    for mine, theirs in zip(run(exported.proto), torch_outputs(source), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-3)
    assert operators(exported.proto)["QuantizeLinear"] == 0
    metadata = {entry.key: entry.value for entry in exported.proto.metadata_props}
    assert metadata["classes"] == '["a", "b"]'


@pytest.mark.parametrize("pruned", [False, True])
def test_int8_export_quantises_every_convolutions_input_and_kernel(pruned: bool) -> None:
    source = network()
    if pruned:
        source = prune(source, Selection(threshold=0.9))
    model = observed(source)
    exported = build(Model(model, HEAD, ["a", "b"]), OPTIONS, int8=True)
    proto, count = exported.proto, operators(exported.proto)
    assert exported.quantised_activations == count["QuantizeLinear"] == len(model.quantisers) > 20
    assert exported.quantised_kernels == count["Conv"] == len(model.units)
    assert count["DequantizeLinear"] == count["QuantizeLinear"] + count["Conv"]
    makers = {node.output[0]: node.op_type for node in proto.graph.node}
    for node in proto.graph.node:
        if node.op_type == "Conv":
            assert [makers[name] for name in node.input[:2]] == ["DequantizeLinear"] * 2
    kernels = [tensor for tensor in proto.graph.initializer if tensor.name.endswith(".weight")]
    assert {tensor.data_type for tensor in kernels} == {3}  # int8
    assert len(kernels) == len(model.units)


def test_int8_export_computes_what_the_simulation_computes() -> None:
    model = observed(network(10))
    proto = build(Model(model, HEAD, ["a", "b"]), OPTIONS, int8=True).proto
    layers = ["conv1", "block_1a_conv_1", "block_1a_out"]
    proto.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in layers)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = dict(zip(layers, session.run(layers, {"Input": IMAGES.numpy()}), strict=True))
    values = {"Input": IMAGES}
    with torch.no_grad():
        for layer in model.graph.layers:
            values[layer.name] = model._run(layer, values)
    # A value at the edge of two steps may fall either way, and later layers amplify that: the early ones must be the same.
    for name in layers:
        error = np.abs(found[name] - values[name].numpy())
        assert error.mean() < 1e-3 * np.abs(found[name]).mean(), name
    scores, wanted = run(proto)[1], torch_outputs(model)[1]
    assert np.corrcoef(scores.ravel(), wanted.ravel())[0, 1] > 0.98


def test_the_simulation_differs_from_float_but_not_much() -> None:
    source = network(10)
    exact, rounded = torch_outputs(source)[1], torch_outputs(observed(source))[1]
    assert 0 < np.mean(np.abs(exact - rounded)) < 0.02


def test_activations_are_rounded_to_255_steps() -> None:
    quantiser = ActivationQuantiser().train()
    values = torch.linspace(-3, 2, 1000)
    rounded = quantiser(values)
    assert float(quantiser.maximum) == 3
    assert len(torch.unique(rounded)) <= 255
    assert torch.allclose(rounded / quantiser.step, torch.round(rounded / quantiser.step), atol=1e-3)


def test_gradients_pass_within_the_range_only() -> None:
    quantiser = ActivationQuantiser().eval()
    quantiser.maximum.fill_(1.0)
    values = torch.tensor([-2.0, 0.5, 2.0], requires_grad=True)
    quantiser(values).sum().backward()
    assert values.grad.tolist() == [0.0, 1.0, 0.0]


def test_a_dead_output_channel_is_no_division_by_zero() -> None:
    kernel = torch.zeros(2, 3, 1, 1)
    kernel[0] = 2.54
    steps = kernel_steps(kernel)
    assert float(steps[0]) == pytest.approx(0.02)
    assert float(steps[1]) > 0


def test_training_in_simulation_moves_weights_and_norms() -> None:
    model = quantise(network(10)).train()
    before = model.units["conv1"].norm.running_mean.clone()
    loss = sum(output.square().mean() for output in model(IMAGES))
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    assert float(model.units["conv1"].conv.weight.grad.abs().sum()) > 0
    assert not torch.equal(before, model.units["conv1"].norm.running_mean)


def test_training_and_inference_agree_when_the_batch_is_the_statistics() -> None:
    """Dividing by the folding factor and normalising again is the identity when batch and running statistics agree."""
    unit = quantise(network(10)).units["conv1"]
    values = IMAGES / 50
    unit.train()
    unit.norm.momentum = 1.0
    for _ in range(3):
        trained = unit(values)
    unit.eval()
    assert torch.allclose(trained, unit(values), atol=0.05)
