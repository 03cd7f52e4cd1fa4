"""A model file as something that turns images into candidates: torch checkpoint or ONNX."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from yolo_v4.cpus import compute_threads
from yolo_v4.data.letterbox import Mean
from yolo_v4.errors import ModelError


class Detector(Protocol):
    """Anything that detects."""

    classes: list[str]

    def __call__(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Images (batch, h, w, 3) RGB to corners (batch, n, 4) in network pixels and scores (batch, n, classes)."""
        ...


def load_detector(path: str | Path, size: tuple[int, int], mean: Mean) -> Detector:
    """Open ``.pth`` with torch and ``.onnx`` with onnxruntime; ``size`` (width, height) is the spec's input size."""
    if Path(path).suffix == ".onnx":
        return OnnxDetector(Path(path), size, mean)
    return TorchDetector(Path(path), mean)


class TorchDetector:
    """A checkpoint."""

    def __init__(self, path: Path, mean: Mean) -> None:
        from yolo_v4.model.device import pick_device
        from yolo_v4.model.files import load_model
        from yolo_v4.model.head import Decoder

        model = load_model(path)
        self.classes = model.classes
        self._decode = Decoder(model.head)
        self._mean = mean
        self._device = pick_device()
        import torch

        self._network = model.network.to(self._device, memory_format=torch.channels_last).eval()

    def __call__(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See ``Detector``."""
        import torch

        from yolo_v4.model.device import prepare_images
        from yolo_v4.model.head import corners_and_scores

        with torch.inference_mode():
            raws = self._network(prepare_images(torch.from_numpy(images).to(self._device), self._mean))
            corners, scores = corners_and_scores(self._decode(raws))
        return corners.cpu().numpy(), scores.cpu().numpy()


class OnnxDetector:
    """An exported model in onnxruntime."""

    def __init__(self, path: Path, size: tuple[int, int], mean: Mean) -> None:
        import onnxruntime

        if not path.is_file():
            raise ModelError(f"no model file {path}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = compute_threads()
        options.log_severity_level = 3
        try:
            with _silent_stderr():
                self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises types of its own that share no base
            raise ModelError(f"{path} is no ONNX model that onnxruntime can run: {error}") from error
        self._input = self._session.get_inputs()[0]
        metadata = self._session.get_modelmeta().custom_metadata_map
        try:
            self.classes = [str(name) for name in json.loads(metadata["classes"])]
        except (KeyError, ValueError) as error:
            raise ModelError(f"{path} was not exported by the open toolkit: it names no classes") from error
        wanted = (self._input.shape[3], self._input.shape[2])
        if wanted != size:
            raise ModelError(f"{path} takes images of {wanted[0]}x{wanted[1]}, the spec says {size[0]}x{size[1]}")
        self._mean = np.array(mean[::-1], dtype=np.float32).reshape(1, 3, 1, 1)

    def __call__(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """See ``Detector``."""
        pixels = np.ascontiguousarray(images[..., ::-1].transpose(0, 3, 1, 2), dtype=np.float32) - self._mean
        fixed = self._input.shape[0]
        if isinstance(fixed, int):
            parts = [self._run(_padded(pixels[i : i + fixed], fixed)) for i in range(0, len(pixels), fixed)]
            corners, scores = (np.concatenate(part)[: len(pixels)] for part in zip(*parts, strict=True))
            return corners, scores
        return self._run(pixels)

    def _run(self, pixels: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        corners, scores = self._session.run(["boxes", "scores"], {self._input.name: pixels})
        return corners, scores


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Drop what C++ writes to stderr.

    Debian's onnxruntime shares libonnx, and the first session of a process complains of each of its thousand operators
    that it is registered twice. What is really wrong comes as an exception.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nothing:  # noqa: PTH123 - a device, not a path
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _padded(pixels: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Fill a batch up with zeros."""
    return np.concatenate([pixels, np.zeros((count - len(pixels), *pixels.shape[1:]), np.float32)])
