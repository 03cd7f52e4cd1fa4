"""What a training starts from: a fresh network, pretrained weights, a pruned model or a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from yolo_v4.errors import ModelError
from yolo_v4.model.architecture import build_graph
from yolo_v4.model.files import Model, epoch_of_name, load_checkpoint, load_model
from yolo_v4.model.head import Head
from yolo_v4.model.names import check_classes
from yolo_v4.model.network import Network, initialise
from yolo_v4.model.quantised import quantise
from yolo_v4.spec.messages import Experiment


@dataclass
class Start:
    """A model, the number of epochs it has behind it, and the trainer's state at that point."""

    model: Model
    epoch: int = 0
    training: dict[str, Any] = field(default_factory=dict)


def prepare(experiment: Experiment, classes: list[str]) -> Start:
    """Build or load the model that the spec asks for; raises ModelError when a file does not fit."""
    config = experiment.training_config
    if config.resume_model_path:
        return _resume(config.resume_model_path, classes)
    if config.pruned_model_path:
        model = load_model(config.pruned_model_path)
        check_classes(model.classes, classes, config.pruned_model_path)
    else:
        model = fresh_model(experiment, classes)
        if config.pretrain_model_path:
            _transfer(model.network, config.pretrain_model_path)
    if config.enable_qat:
        # Unlike TAO, which builds quantisation into fresh graphs only and so ignores this after pruning.
        model.network = quantise(model.network)
    return Start(model)


def fresh_model(experiment: Experiment, classes: list[str]) -> Model:
    """An untrained model as described by the spec."""
    config = experiment.yolov4_config
    head = Head.from_spec(config, len(classes))
    chosen = "relu" if config.force_relu else config.activation
    graph = build_graph(
        nlayers=config.nlayers,
        width=experiment.open_config.width_multiplier or 1.0,
        anchors=head.counts,
        classes=len(classes),
        activation=chosen or "relu",
        neck_activation=chosen or "leaky_relu",
    )
    network = Network(graph)
    initialise(network, len(classes))
    return Model(network, head, classes)


def _resume(path: str, classes: list[str]) -> Start:
    epoch = epoch_of_name(path)
    checkpoint = load_checkpoint(path)
    check_classes(checkpoint.model.classes, classes, path)
    return Start(checkpoint.model, epoch, checkpoint.training)


def _transfer(network: Network, path: str) -> None:
    """Copy the weights of all backbone layers and of whatever else has the same name and shape."""
    source = load_model(path).network.state_dict()
    target = network.state_dict()
    for layer in network.graph.convolutions:
        key = f"units.{layer.name}.conv.weight"
        if layer.block >= 0 and (key not in source or source[key].shape != target[key].shape):
            raise ModelError(f"{path}: {layer.name} is not found in the pretrained model or has another shape there")
    fitting = {name: value for name, value in source.items() if name in target and value.shape == target[name].shape}
    network.load_state_dict(fitting, strict=False)
