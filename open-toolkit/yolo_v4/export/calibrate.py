"""Ranges of activations from sample images, for a model that was not trained with quantisation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from yolo_v4.data.labels import list_images
from yolo_v4.data.letterbox import Mean, letterbox
from yolo_v4.data.samples import read_image
from yolo_v4.errors import DatasetError
from yolo_v4.model.device import prepare_images
from yolo_v4.model.network import Network
from yolo_v4.model.quantised import QuantisedNetwork, quantise

_EXTENSIONS = (".jpg", ".jpeg", ".png")


def calibration_images(folder: str, count: int) -> list[Path]:
    """Up to ``count`` images, evenly spread over the folder; raises DatasetError when there is none."""
    images = list_images(folder, _EXTENSIONS)
    if not images:
        raise DatasetError(f"no calibration image ({' '.join(_EXTENSIONS)}) in {folder}")
    step = max(1, len(images) // count)
    return images[::step][:count]


@torch.inference_mode()
def calibrate(
    network: Network, images: Sequence[Path], size: tuple[int, int], mean: Mean, batch_size: int
) -> QuantisedNetwork:
    """A quantised network with the same weights that has seen the images; ``size`` is (width, height)."""
    result = quantise(network)
    result.eval()
    result.observe(on=True)
    for start in range(0, len(images), batch_size):
        batch = [
            letterbox(read_image(path), size, mean, centred=True)[0] for path in images[start : start + batch_size]
        ]
        result(prepare_images(torch.from_numpy(np.stack(batch)), mean))
    result.observe(on=False)
    return result
