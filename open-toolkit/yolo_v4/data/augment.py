"""Training augmentation: jittered crop, mosaic, flips, colour; every draw comes from the generator that is passed in.

TAO stretches training images to the input size but letterboxes in evaluation, so a network learns shapes that it is not
shown later. Here training starts from the letterboxed image as well, and ``jitter`` varies the shape around it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from yolo_v4.data.letterbox import Mean
from yolo_v4.data.samples import Pixels
from yolo_v4.spec.messages import AugmentationConfig

_KEPT_PART = 0.5
"""A box that a crop leaves less of than this is dropped: what is left no longer shows the object."""
_SMALLEST_SIDE = 2.0
"""Pixels of the output."""


_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_FROM_YIQ = np.linalg.inv(_TO_YIQ)


@dataclass(frozen=True)
class Labelled:
    """An image with its objects; boxes float32 (n, 4) x1 y1 x2 y2 in pixels of this image, classes int64 (n,)."""

    pixels: Pixels
    boxes: NDArray[np.float32]
    classes: NDArray[np.int64]


class Augmenter:
    """Turns source images into training images of a wanted size."""

    def __init__(self, config: AugmentationConfig, mean: Mean, mirrored: Mapping[int, int]) -> None:
        """``mirrored`` gives the class that a class becomes in a mirror, for those that change."""
        self._config = config
        self._fill = tuple(round(channel) for channel in mean)
        self._mirrored = dict(mirrored)

    def wants_mosaic(self, rng: np.random.Generator) -> bool:
        """Whether the next image is to be made of four."""
        return bool(rng.random() < self._config.mosaic_prob)

    def single(self, source: Labelled, size: tuple[int, int], rng: np.random.Generator) -> Labelled:
        """One source image in ``size`` (width, height) after a jittered crop."""
        return self._finish(self._crop(source, size, rng), rng)

    def mosaic(self, sources: Sequence[Labelled], size: tuple[int, int], rng: np.random.Generator) -> Labelled:
        """Four source images around a random centre that is at least ``mosaic_min_ratio`` away from each side."""
        low = self._config.mosaic_min_ratio
        centre_x = round(size[0] * rng.uniform(low, 1 - low))
        centre_y = round(size[1] * rng.uniform(low, 1 - low))
        columns = ((0, centre_x), (centre_x, size[0]))
        rows = ((0, centre_y), (centre_y, size[1]))
        canvas = np.empty((size[1], size[0], 3), dtype=np.uint8)
        boxes, classes = [], []
        for index, source in enumerate(sources):
            (left, right), (top, bottom) = columns[index % 2], rows[index // 2]
            tile = self._tile(source, (right - left, bottom - top), size, rng)
            canvas[top:bottom, left:right] = tile.pixels
            boxes.append(tile.boxes + np.array([left, top, left, top], dtype=np.float32))
            classes.append(tile.classes)
        return self._finish(Labelled(canvas, np.concatenate(boxes), np.concatenate(classes)), rng)

    def _crop(self, source: Labelled, size: tuple[int, int], rng: np.random.Generator) -> Labelled:
        """The whole image, letterboxed as in evaluation, with each side moved in or out."""
        height, width = source.pixels.shape[:2]
        scale = min(size[0] / width, size[1] / height)
        margin_x, margin_y = (size[0] / scale - width) / 2, (size[1] / scale - height) / 2
        jitter = self._config.jitter
        left, right = rng.uniform(-jitter, jitter, 2) * width
        top, bottom = rng.uniform(-jitter, jitter, 2) * height
        area = (left - margin_x, top - margin_y, width + margin_x - right, height + margin_y - bottom)
        return cut(source, area, size, self._fill)

    def _tile(
        self, source: Labelled, tile: tuple[int, int], whole: tuple[int, int], rng: np.random.Generator
    ) -> Labelled:
        """A part of the source that fills a tile, between evaluation's scale and that at which all of it fits."""
        height, width = source.pixels.shape[:2]
        largest = min(whole[0] / width, whole[1] / height)
        smallest = min(tile[0] / width, tile[1] / height)
        scale = rng.uniform(smallest, largest)
        wobble = 1 + rng.uniform(-self._config.jitter, self._config.jitter) / 2
        crop_width, crop_height = tile[0] / scale * wobble, tile[1] / scale
        left, top = (rng.uniform(*sorted((0.0, free))) for free in (width - crop_width, height - crop_height))
        return cut(source, (left, top, left + crop_width, top + crop_height), tile, self._fill)

    def _finish(self, image: Labelled, rng: np.random.Generator) -> Labelled:
        if rng.random() < self._config.horizontal_flip:
            image = flip_horizontally(image, self._mirrored)
        if rng.random() < self._config.vertical_flip:
            image = flip_vertically(image)
        return Labelled(self._recolour(image.pixels, rng), image.boxes, image.classes)

    def _recolour(self, pixels: Pixels, rng: np.random.Generator) -> Pixels:
        """Turn the hue, scale saturation and brightness by a factor or its inverse."""
        hue = rng.uniform(-self._config.hue, self._config.hue)
        saturation, exposure = (_factor(limit, rng) for limit in (self._config.saturation, self._config.exposure))
        if hue == 0 and saturation == 1 and exposure == 1:
            return pixels
        matrix = colour_matrix(hue, saturation, exposure)
        return np.asarray(Image.fromarray(pixels).convert("RGB", matrix))


def _factor(limit: float, rng: np.random.Generator) -> float:
    factor = rng.uniform(1.0, limit)
    return float(factor if rng.random() < 0.5 else 1.0 / factor)


def colour_matrix(hue: float, saturation: float, exposure: float) -> tuple[float, ...]:
    """A colour change as PIL's 3x4 matrix on RGB.

    In luma and two chroma axes a hue shift (1 is a full turn) is a rotation and saturation a scaling; one matrix costs
    a third of a way through HSV and back.
    """
    cosine, sine = math.cos(2 * math.pi * hue), math.sin(2 * math.pi * hue)
    turn = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]]) * [[1], [saturation], [saturation]]
    matrix = exposure * _FROM_YIQ @ turn @ _TO_YIQ
    return tuple(float(value) for row in matrix for value in (*row, 0.0))


def cut(
    source: Labelled, area: tuple[float, float, float, float], size: tuple[int, int], fill: tuple[int, ...]
) -> Labelled:
    """Take ``area`` (left, top, right, bottom in source pixels; may reach outside) and stretch it to ``size``."""
    height, width = source.pixels.shape[:2]
    left, top, right, bottom = area
    scale_x, scale_y = size[0] / (right - left), size[1] / (bottom - top)
    inside = (max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height)))
    x1, x2 = round((inside[0] - left) * scale_x), round((inside[2] - left) * scale_x)
    y1, y2 = round((inside[1] - top) * scale_y), round((inside[3] - top) * scale_y)
    part: Pixels | None = None
    if x2 > x1 and y2 > y1:
        image = Image.fromarray(source.pixels)
        part = np.asarray(image.resize((x2 - x1, y2 - y1), Image.Resampling.BILINEAR, box=inside))
    if part is not None and part.shape[:2] == size[::-1]:
        canvas = part
    else:
        canvas = np.empty((size[1], size[0], 3), dtype=np.uint8)
        canvas[:] = np.array(fill, dtype=np.uint8)
        if part is not None:
            canvas[y1:y2, x1:x2] = part
    moved = (source.boxes - np.array([left, top] * 2, dtype=np.float32)) * np.array(
        [scale_x, scale_y] * 2, dtype=np.float32
    )
    boxes, classes = clip_boxes(moved, source.classes, size)
    return Labelled(canvas, boxes, classes)


def clip_boxes(
    boxes: NDArray[np.float32], classes: NDArray[np.int64], size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Boxes clipped to the image, without those of which too little is left."""
    clipped = np.clip(boxes, 0, np.array(size * 2, dtype=np.float32))
    sides, before = clipped[:, 2:] - clipped[:, :2], boxes[:, 2:] - boxes[:, :2]
    kept = (sides >= _SMALLEST_SIDE).all(axis=1) & (
        sides.prod(axis=1) >= _KEPT_PART * np.maximum(before.prod(axis=1), 1e-9)
    )
    return clipped[kept], classes[kept]


def flip_horizontally(image: Labelled, mirrored: Mapping[int, int]) -> Labelled:
    """The mirror image; classes that a mirror exchanges (left and right corners) are exchanged."""
    width = image.pixels.shape[1]
    boxes = image.boxes[:, [2, 1, 0, 3]].copy()
    boxes[:, [0, 2]] = width - boxes[:, [0, 2]]
    classes = np.array([mirrored.get(int(c), int(c)) for c in image.classes], dtype=np.int64)
    return Labelled(np.ascontiguousarray(image.pixels[:, ::-1]), boxes, classes)


def flip_vertically(image: Labelled) -> Labelled:
    """The image upside down."""
    height = image.pixels.shape[0]
    boxes = image.boxes[:, [0, 3, 2, 1]].copy()
    boxes[:, [1, 3]] = height - boxes[:, [1, 3]]
    return Labelled(np.ascontiguousarray(image.pixels[::-1]), boxes, image.classes)
