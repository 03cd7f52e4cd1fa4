"""Which channels of a group of coupled layers stay.

Every layer's kernels are measured by their L2 norm relative to the layer (``max``: its largest norm, ``L2``: the norm
of all its norms). Channels at or above the threshold stay; layers of a group agree by the equalisation criterion; at
least a minimum stays, and the number is rounded up to the granularity, by adding the largest of the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Norms = NDArray[np.float64]
_TINY = 1e-12


@dataclass(frozen=True)
class Selection:
    """The pruning options."""

    threshold: float = 0.1
    normalizer: str = "max"
    equalization: str = "union"
    granularity: int = 8
    minimum: int = 16


def relative_norms(kernel: NDArray[np.float32], normalizer: str) -> Norms:
    """(out,): the size of every filter of a kernel (out, in, k, k) relative to its layer."""
    norms = np.sqrt(np.square(kernel.astype(np.float64)).reshape(len(kernel), -1).sum(axis=1))
    whole = norms.max() if normalizer == "max" else np.sqrt(np.square(norms).sum())
    result: Norms = norms / max(float(whole), _TINY)
    return result


def kept_channels(norms: Sequence[Norms], options: Selection) -> NDArray[np.int64]:
    """Sorted indices of the channels that stay, from the relative norms of the group's layers, (channels,) each."""
    stacked = np.stack(norms)
    keep, rank = _equalise(stacked, options)
    channels = stacked.shape[1]
    wanted = max(int(keep.sum()), options.minimum)
    wanted = min(channels, -(-wanted // options.granularity) * options.granularity)
    # Those above the threshold first, then the largest of the others.
    order = np.lexsort((-rank, ~keep))
    return np.sort(order[:wanted])


def _equalise(stacked: Norms, options: Selection) -> tuple[NDArray[np.bool_], Norms]:
    """Whether each channel passes the threshold, and its rank among those that do not."""
    above = stacked >= options.threshold
    if options.equalization == "union":
        return above.any(axis=0), stacked.max(axis=0)
    if options.equalization == "intersection":
        return above.all(axis=0), stacked.min(axis=0)
    if options.equalization == "arithmetic_mean":
        mean = stacked.mean(axis=0)
    else:
        mean = np.exp(np.log(np.maximum(stacked, _TINY)).mean(axis=0))
    return mean >= options.threshold, mean
