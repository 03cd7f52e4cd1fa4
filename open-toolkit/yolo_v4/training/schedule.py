"""Learning rate as a function of progress, with TAO's shapes."""

from __future__ import annotations

import math
from collections.abc import Callable

from yolo_v4.spec.messages import LearningRate, SoftStartAnnealing, SoftStartCosineAnnealing

Schedule = Callable[[float], float]
"""Progress through all steps of all epochs, 0 to 1, to the learning rate."""


def make_schedule(config: LearningRate) -> Schedule:
    """The schedule that the spec chose."""
    cosine, annealing = config.soft_start_cosine_annealing_schedule, config.soft_start_annealing_schedule
    if cosine is not None:
        return lambda progress: cosine_rate(cosine, progress)
    assert annealing is not None  # the validator saw to it
    return lambda progress: annealing_rate(annealing, progress)


def cosine_rate(config: SoftStartCosineAnnealing, progress: float) -> float:
    """Linear warm-up to the maximum, then a cosine.

    The cosine is TAO's: it runs over ``progress - soft_start`` without being rescaled to the rest of the training, so
    with soft_start 0.3 the last learning rate is about a fifth of the maximum and not the minimum.
    """
    low, high = config.min_learning_rate, config.max_learning_rate
    if progress < config.soft_start:
        return low + (high - low) * progress / config.soft_start
    return low + (high - low) * (1 + math.cos(math.pi * (progress - config.soft_start))) / 2


def annealing_rate(config: SoftStartAnnealing, progress: float) -> float:
    """Exponential rise until ``soft_start``, plateau at the maximum, exponential fall from ``annealing`` on."""
    if progress < config.soft_start:
        share = progress / config.soft_start
    elif progress > config.annealing and config.annealing < 1:
        share = (1 - progress) / (1 - config.annealing)
    else:
        share = 1.0
    ratio = config.max_learning_rate / config.min_learning_rate
    return config.min_learning_rate * math.pow(ratio, min(max(share, 0.0), 1.0))
