"""Files beside the ONNX model: scales of tensors, DeepStream configuration."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from yolo_v4.data.letterbox import Mean
from yolo_v4.files import atomic_path
from yolo_v4.model.quantised import ActivationQuantiser, QuantisedNetwork

_CACHE_HEADER = "TRT-8205-EntropyCalibration2"


def tensor_steps(network: QuantisedNetwork) -> dict[str, float]:
    """The quantisation step of every tensor that convolutions read."""
    steps = {}
    for name, quantiser in network.quantisers.items():
        assert isinstance(quantiser, ActivationQuantiser)
        steps[name] = float(quantiser.step)
    return steps


def write_scales(path: str, network: QuantisedNetwork) -> None:
    """The largest absolute value of each tensor as JSON."""
    scales = {name: step * 127 for name, step in tensor_steps(network).items()}
    _write(path, json.dumps({"tensor_scales": scales}, indent=1))


def write_calibration_cache(path: str, network: QuantisedNetwork) -> None:
    """TensorRT's calibration cache: each tensor's step as the hexadecimal bits of a float."""
    lines = [f"{name}: {struct.pack('>f', step).hex()}" for name, step in tensor_steps(network).items()]
    _write(path, "\n".join([_CACHE_HEADER, *lines, ""]))


def write_deepstream_config(folder: Path, classes: list[str], size: tuple[int, int], mean: Mean) -> None:
    """``labels.txt`` and ``nvinfer_config.txt``."""
    _write(folder / "labels.txt", "\n".join(classes) + "\n")
    red, green, blue = mean
    lines = [
        "net-scale-factor=1.0",
        f"offsets={blue};{green};{red}",
        f"infer-dims=3;{size[1]};{size[0]}",
        "network-type=0",
        f"num-detected-classes={len(classes)}",
        "model-color-format=1",
        "maintain-aspect-ratio=1",
        "output-tensor-meta=0",
    ]
    _write(folder / "nvinfer_config.txt", "\n".join(lines) + "\n")


def _write(path: str | Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
