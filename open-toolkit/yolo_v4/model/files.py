"""Model files: ``.pth``, a torch archive of plain values and tensors.

It holds the graph (so pruned widths), whether it is quantised, classes and anchors beside the weights, so that a file
alone says what network it is. Nothing in it is executed when it is loaded.
"""

from __future__ import annotations

import pickle
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from yolo_v4.errors import ModelError
from yolo_v4.files import atomic_path
from yolo_v4.model.graph import Graph
from yolo_v4.model.head import Head
from yolo_v4.model.network import Network
from yolo_v4.model.quantised import QuantisedNetwork

SUFFIX = ".pth"
_FORMAT = "yolo_v4-open-toolkit/1"
_EPOCH_NAME = re.compile(r"_(\d+)\.[^.]+$")


@dataclass
class Model:
    """A network and what its outputs mean."""

    network: Network
    head: Head
    classes: list[str]

    @property
    def quantised(self) -> bool:
        """Whether it was trained with quantisation."""
        return isinstance(self.network, QuantisedNetwork)


@dataclass
class Checkpoint:
    """A model with what training needs to go on; ``training`` is empty in a pruned model."""

    model: Model
    epoch: int
    training: dict[str, Any]


def save_model(path: str | Path, model: Model, *, epoch: int = 0, training: dict[str, Any] | None = None) -> None:
    """Write a model file; the name appears only when the content is complete."""
    content = pack(model, epoch=epoch, training=training)
    write_packed(path, content)


def pack(model: Model, *, epoch: int, training: dict[str, Any] | None) -> dict[str, Any]:
    """The file's content; tensors are shared with the model, not copied."""
    return {
        "format": _FORMAT,
        "graph": model.network.graph.to_json(),
        "quantised": model.quantised,
        "classes": list(model.classes),
        "anchors": [[list(anchor) for anchor in scale] for scale in model.head.anchors],
        "extends": list(model.head.extends),
        "epoch": epoch,
        "state": model.network.state_dict(),
        "training": training or {},
    }


def write_packed(path: str | Path, content: dict[str, Any]) -> None:
    """Write packed content atomically."""
    with atomic_path(path) as temporary:
        torch.save(content, temporary)


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a model file onto the CPU; raises ModelError when it is none of ours."""
    content = _read(Path(path))
    network_type = QuantisedNetwork if content["quantised"] else Network
    try:
        network = network_type(Graph.from_json(content["graph"]))
        network.load_state_dict(content["state"])
        anchors = tuple(tuple((float(w), float(h)) for w, h in scale) for scale in content["anchors"])
        head = Head(anchors, tuple(content["extends"]), len(content["classes"]))
        model = Model(network, head, list(content["classes"]))
        return Checkpoint(model, int(content["epoch"]), content["training"])
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ModelError(f"{path} is a damaged model file: {error}") from error


def load_model(path: str | Path) -> Model:
    """Read a model file for inference."""
    return load_checkpoint(path).model


def _read(path: Path) -> dict[str, Any]:
    if path.suffix != SUFFIX:
        raise ModelError(
            f"{path}: the open toolkit reads models with suffix {SUFFIX}; TAO's files are not readable by it"
        )
    if not path.is_file():
        raise ModelError(f"no model file {path}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        raise ModelError(f"{path} is damaged or no model file: {str(error).splitlines()[0]}") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ModelError(f"{path} is not a model file of the open toolkit")
    return content


def epoch_of_name(path: str | Path) -> int:
    """The epoch in ``…_epoch_NNN.pth``; training resumes by the name, as in TAO."""
    match = _EPOCH_NAME.search(Path(path).name)
    if match is None:
        raise ModelError(f"cannot tell the epoch from the checkpoint's name {path}: was it renamed?")
    return int(match.group(1))
