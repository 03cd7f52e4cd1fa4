"""Learning rates."""

from __future__ import annotations

import pytest
from yolo_v4.spec.messages import LearningRate, SoftStartAnnealing, SoftStartCosineAnnealing
from yolo_v4.training.schedule import make_schedule


def test_the_cosine_is_not_rescaled() -> None:
    config = SoftStartCosineAnnealing(max_learning_rate=1e-4, soft_start=0.3, min_learning_rate=1e-7)
    rate = make_schedule(LearningRate(soft_start_cosine_annealing_schedule=config))
    assert rate(0.0) == pytest.approx(1e-7)
    assert rate(0.15) == pytest.approx((1e-7 + 1e-4) / 2)
    assert rate(0.3) == pytest.approx(1e-4)
    assert rate(1.0) / 1e-4 == pytest.approx(0.207, abs=0.001)


def test_a_cosine_without_soft_start_begins_at_the_maximum() -> None:
    config = SoftStartCosineAnnealing(max_learning_rate=1.0, soft_start=0.0, min_learning_rate=0.1)
    rate = make_schedule(LearningRate(soft_start_cosine_annealing_schedule=config))
    assert rate(0.0) == pytest.approx(1.0)
    assert rate(1.0) == pytest.approx(0.1)


def test_annealing_rises_stays_and_falls_exponentially() -> None:
    config = SoftStartAnnealing(min_learning_rate=1e-4, max_learning_rate=1e-2, soft_start=0.2, annealing=0.6)
    rate = make_schedule(LearningRate(soft_start_annealing_schedule=config))
    assert [rate(p) for p in (0.0, 0.1, 0.2, 0.5, 0.8, 1.0)] == pytest.approx([1e-4, 1e-3, 1e-2, 1e-2, 1e-3, 1e-4])
