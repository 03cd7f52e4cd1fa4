"""Average precision, with cases worked out by hand."""

from __future__ import annotations

import pytest

np = pytest.importorskip("numpy")

from yolo_v4.evaluation.average_precision import PrecisionMeter, Truth, average_precision  # noqa: E402
from yolo_v4.evaluation.suppression import Detections, suppress  # noqa: E402
from yolo_v4.spec.messages import AveragePrecisionMode, NMSConfig  # noqa: E402

SAMPLE, INTEGRATE = AveragePrecisionMode.SAMPLE, AveragePrecisionMode.INTEGRATE


def detections(*rows: tuple[float, int, tuple[float, ...]]) -> Detections:
    """Rows of (score, class, corners), best first."""
    boxes = np.array([row[2] for row in rows], dtype=np.float32).reshape(-1, 4)
    return Detections(boxes, np.array([r[0] for r in rows], np.float32), np.array([r[1] for r in rows], np.int64))


def truth(*rows: tuple[int, tuple[float, ...], bool]) -> Truth:
    """Rows of (class, corners, difficult)."""
    boxes = np.array([row[1] for row in rows], dtype=np.float32).reshape(-1, 4)
    return Truth(boxes, np.array([r[0] for r in rows], np.int64), np.array([r[2] for r in rows], np.bool_))


A, B = (0, 0, 10, 10), (20, 20, 30, 30)


def measured(found: Detections, objects: Truth, classes: int = 1) -> PrecisionMeter:
    meter = PrecisionMeter(classes, 0.5)
    meter.add(found, objects)
    return meter


@pytest.mark.parametrize(("mode", "expected"), [(SAMPLE, 6 / 11), (INTEGRATE, 0.5)])
def test_one_of_two_objects_found(mode: AveragePrecisionMode, expected: float) -> None:
    meter = measured(detections((0.9, 0, A)), truth((0, A, False), (0, B, False)))
    assert meter.precisions(mode) == pytest.approx([expected])


@pytest.mark.parametrize(
    ("mode", "expected"),
    # hit, miss, hit of two objects: precision 1 up to recall 1/2, then 2/3.
    [(SAMPLE, (6 * 1 + 5 * 2 / 3) / 11), (INTEGRATE, 0.5 + 0.5 * 2 / 3)],
)
def test_a_false_positive_between(mode: AveragePrecisionMode, expected: float) -> None:
    assert average_precision([0.9, 0.8, 0.7], [True, False, True], 2, mode) == pytest.approx(expected)


def test_scores_are_sorted_across_images() -> None:
    assert average_precision([0.1, 0.9], [False, True], 1, INTEGRATE) == 1.0
    assert average_precision([0.9, 0.1], [False, True], 1, INTEGRATE) == 0.5


def test_recall_of_exactly_three_tenths_counts_at_three_tenths() -> None:
    assert average_precision([0.9, 0.8, 0.7], [True] * 3, 10, SAMPLE) == pytest.approx(4 / 11)


def test_a_second_prediction_takes_the_next_best_object_still_free() -> None:
    near = (0, 2, 10, 12)  # overlaps A by 2/3
    meter = measured(detections((0.9, 0, A), (0.8, 0, A)), truth((0, A, False), (0, near, False)))
    assert meter.precisions(INTEGRATE) == [1.0]


def test_a_duplicate_of_one_object_is_a_false_positive() -> None:
    meter = measured(detections((0.9, 0, A), (0.8, 0, A)), truth((0, A, False), (0, B, False)))
    assert meter.precisions(INTEGRATE) == [0.5]


def test_difficult_objects_are_neutral() -> None:
    found = detections((0.9, 0, B), (0.8, 0, A))
    assert measured(found, truth((0, A, False), (0, B, True))).precisions(INTEGRATE) == [1.0]
    assert measured(detections((0.8, 0, A)), truth((0, A, False), (0, B, True))).precisions(INTEGRATE) == [1.0]


def test_another_class_does_not_match() -> None:
    assert measured(detections((0.9, 1, A)), truth((0, A, False)), 2).precisions(INTEGRATE) == [0.0, 0.0]


def test_a_class_that_is_nowhere_counts_as_zero() -> None:
    assert measured(detections((0.9, 0, A)), truth((0, A, False)), 3).precisions(SAMPLE) == [1.0, 0.0, 0.0]


def test_images_without_objects_and_without_detections() -> None:
    assert measured(detections(), truth()).precisions(SAMPLE) == [0.0]


def test_suppression_is_per_class_and_bounded() -> None:
    corners = np.array([A, (1, 0, 11, 10), B], dtype=np.float32)
    scores = np.array([[0.9, 0.5], [0.8, 0.0], [0.3, 0.0005]], dtype=np.float32)
    config = NMSConfig(confidence_threshold=0.001, clustering_iou_threshold=0.5, top_k=10)
    kept = suppress(corners, scores, config)
    assert kept.scores.tolist() == pytest.approx([0.9, 0.5, 0.3])
    assert kept.classes.tolist() == [0, 1, 0]
    assert len(suppress(corners, scores, NMSConfig(config.confidence_threshold, 0.5, 1)).scores) == 1
