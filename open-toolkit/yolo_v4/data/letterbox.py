"""Fitting an image into the network's input without changing its aspect ratio, and back.

Evaluation centres the image and pads with the image mean, inference puts it top-left and pads with black; TAO does the
same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from yolo_v4.data.samples import Pixels

Mean = tuple[float, float, float]
"""Red, green, blue in 0..255."""


@dataclass(frozen=True)
class Placement:
    """Where an image of ``size`` (width, height) lies in the network's input, all in network pixels."""

    size: tuple[int, int]
    left: int
    top: int
    width: int
    height: int

    def to_image(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, 4) corners in network pixels to pixels of the original image, clipped to it."""
        offset = np.array([self.left, self.top] * 2, dtype=np.float32)
        factor = np.array([self.size[0] / self.width, self.size[1] / self.height] * 2, dtype=np.float32)
        limit = np.array(self.size * 2, dtype=np.float32)
        moved: NDArray[np.float32] = np.clip((boxes - offset) * factor, 0, limit)
        return moved

    def to_network(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, 4) corners in fractions of the image to network pixels."""
        factor = np.array([self.width, self.height] * 2, dtype=np.float32)
        return boxes * factor + np.array([self.left, self.top] * 2, dtype=np.float32)


def letterbox(pixels: Pixels, size: tuple[int, int], fill: Mean, *, centred: bool) -> tuple[Pixels, Placement]:
    """The image scaled into ``size`` (width, height), and where it went."""
    height, width = pixels.shape[:2]
    scale = min(size[0] / width, size[1] / height)
    inner = (max(1, min(size[0], round(width * scale))), max(1, min(size[1], round(height * scale))))
    left, top = ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2) if centred else (0, 0)
    canvas = np.empty((size[1], size[0], 3), dtype=np.uint8)
    canvas[:] = np.round(fill).astype(np.uint8)
    scaled = Image.fromarray(pixels).resize(inner, Image.Resampling.BILINEAR)
    canvas[top : top + inner[1], left : left + inner[0]] = np.asarray(scaled)
    return canvas, Placement((width, height), left, top, *inner)
