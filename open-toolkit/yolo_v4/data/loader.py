"""Batches for training, made by threads ahead of the trainer.

Every image's randomness comes from (seed, epoch, index), never from a shared generator, so that the batches of an epoch
are the same whatever the number of threads and whether or not the run was resumed. Threads do, since PIL and numpy
release the interpreter lock in the expensive parts.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from yolo_v4.data.augment import Augmenter, Labelled
from yolo_v4.data.samples import Pixels, Sample, read_image

_CACHE_BYTES = 512 * 2**20
_SHAPE_STREAM, _ORDER_STREAM = 2**31, 2**31 + 1


@dataclass(frozen=True)
class Batch:
    """Training input.

    images: uint8 (batch, height, width, 3), RGB. targets: float32 (n, 6), one row an object: index of its image in the
    batch, class id, centre x, centre y, width, height in network pixels.
    """

    images: NDArray[np.uint8]
    targets: NDArray[np.float32]


class ImageStore:
    """Decoded images, kept in memory as far as the budget goes: decoding costs more than augmenting."""

    def __init__(self, samples: Sequence[Sample], budget: int = _CACHE_BYTES) -> None:
        self._samples = samples
        self._cache: dict[int, Pixels] = {}
        self._left = budget

    def __getitem__(self, index: int) -> Pixels:
        pixels = self._cache.get(index)
        if pixels is None:
            pixels = read_image(self._samples[index].path)
            # Two threads may read the same image at once; then it is merely counted twice.
            if pixels.nbytes <= self._left:
                self._left -= pixels.nbytes
                self._cache[index] = pixels
        return pixels


class BatchLoader:
    """Iterates over augmented batches of an epoch."""

    def __init__(
        self,
        samples: Sequence[Sample],
        augmenter: Augmenter,
        *,
        size: tuple[int, int],
        batch_size: int,
        seed: int,
        shape_period: int = 0,
        include_difficult: bool = False,
        workers: int = 1,
        queue_size: int = 20,
    ) -> None:
        """``size`` is (width, height); with ``shape_period`` > 0 a new one is drawn every so many batches."""
        self._samples = samples
        self._store = ImageStore(samples)
        self._augmenter = augmenter
        self._size = size
        self._batch_size = batch_size
        self._seed = seed
        self._shape_period = shape_period
        self._include_difficult = include_difficult
        self._workers = workers
        self._queue_size = max(1, queue_size)

    def __len__(self) -> int:
        """Batches an epoch; the last may be smaller."""
        return math.ceil(len(self._samples) / self._batch_size)

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of epoch ``number``."""
        order = self._rng(number, _ORDER_STREAM).permutation(len(self._samples))
        sizes = self._sizes(number)
        with ThreadPoolExecutor(self._workers, thread_name_prefix="loader") as pool:
            pending: deque[list[Future[Labelled]]] = deque()
            try:
                for step, size in enumerate(sizes):
                    indices = order[step * self._batch_size : (step + 1) * self._batch_size]
                    pending.append([pool.submit(self._make, number, int(index), size) for index in indices])
                    if len(pending) > self._queue_size:
                        yield collate([future.result() for future in pending.popleft()])
                while pending:
                    yield collate([future.result() for future in pending.popleft()])
            finally:
                for future in (future for futures in pending for future in futures):
                    future.cancel()

    def _sizes(self, epoch: int) -> list[tuple[int, int]]:
        """The input size of every batch: multiples of 32 between 0.6 and 1.5 of the nominal, each side on its own."""
        if not self._shape_period:
            return [self._size] * len(self)
        rng = self._rng(epoch, _SHAPE_STREAM)
        sizes: list[tuple[int, int]] = []
        for step in range(len(self)):
            if step % self._shape_period == 0:
                drawn = (_random_side(self._size[0], rng), _random_side(self._size[1], rng))
            sizes.append(drawn)
        return sizes

    def _rng(self, epoch: int, stream: int) -> np.random.Generator:
        return np.random.default_rng((self._seed, epoch, stream))

    def _make(self, epoch: int, index: int, size: tuple[int, int]) -> Labelled:
        rng = self._rng(epoch, index)
        if self._augmenter.wants_mosaic(rng):
            others = rng.integers(0, len(self._samples), 3)
            return self._augmenter.mosaic([self._labelled(int(i)) for i in (index, *others)], size, rng)
        return self._augmenter.single(self._labelled(index), size, rng)

    def _labelled(self, index: int) -> Labelled:
        sample, pixels = self._samples[index], self._store[index]
        kept = slice(None) if self._include_difficult else ~sample.difficult
        scale = np.array([pixels.shape[1], pixels.shape[0]] * 2, dtype=np.float32)
        return Labelled(pixels, sample.boxes[kept] * scale, sample.classes[kept])


def collate(images: Sequence[Labelled]) -> Batch:
    """Stack images and list their objects."""
    rows = []
    for index, image in enumerate(images):
        centres, sides = (image.boxes[:, :2] + image.boxes[:, 2:]) / 2, image.boxes[:, 2:] - image.boxes[:, :2]
        head = np.stack([np.full(len(image.classes), index), image.classes], axis=1)
        rows.append(np.concatenate([head, centres, sides], axis=1).astype(np.float32))
    return Batch(np.stack([image.pixels for image in images]), np.concatenate(rows))


def _random_side(nominal: int, rng: np.random.Generator) -> int:
    low, high = max(1, -(-int(nominal * 0.6) // 32)), max(1, int(nominal * 1.5) // 32)
    return 32 * int(rng.integers(low, high + 1))
