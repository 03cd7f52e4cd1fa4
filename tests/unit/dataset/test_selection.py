"""Which detections become labels."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from yolo_operator.dataset.selection import Detection, Dropped, Filter, Judged, select

CLASSES = ("left", "plate", "right")
CONFIDENCES = st.one_of(st.sampled_from([0.3, 0.5, 0.6, 0.9]), st.floats(0, 1))


@st.composite
def detections(draw: st.DrawFn) -> list[Detection]:
    """Some images with some detections each."""
    found = []
    for image in draw(st.lists(st.sampled_from("abcdefgh"), unique=True)):
        for line in range(1, draw(st.integers(1, 5)) + 1):
            unusable = draw(st.sampled_from([None, None, None, Dropped.TOO_SMALL, Dropped.UNREADABLE_IMAGE]))
            name, confidence = draw(st.sampled_from(CLASSES)), draw(CONFIDENCES)
            found.append(Detection(image, line, name, (0, 0, 9, 9), confidence, unusable))
    return found


filters = st.builds(
    Filter,
    min_confidence=CONFIDENCES,
    min_confidence_per_class=st.dictionaries(st.sampled_from(CLASSES), CONFIDENCES),
    max_per_class=st.none() | st.integers(1, 4),
    min_per_image=st.integers(1, 4),
    max_images=st.none() | st.integers(1, 4),
    whole_images=st.booleans(),
)


def kept(judged: list[Judged]) -> list[Detection]:
    return [one.detection for one in judged if one.kept]


def verdicts(wanted: Filter, *found: tuple[str, str, float]) -> list[str]:
    """What becomes of detections, given as image, class and confidence; kept ones are empty."""
    judged = select([Detection(i, n, c, (0, 0, 9, 9), p) for n, (i, c, p) in enumerate(found, 1)], wanted)
    return [one.dropped or "" for one in sorted(judged, key=lambda one: one.detection.line)]


@given(detections(), filters)
def test_no_label_breaks_a_bound(found: list[Detection], wanted: Filter) -> None:
    labels = kept(select(found, wanted))
    for label in labels:
        assert label.confidence >= wanted.min_confidence_per_class.get(label.name, wanted.min_confidence)
        assert label.unusable is None
    if wanted.max_per_class is not None:
        assert all(count <= wanted.max_per_class for count in Counter(label.name for label in labels).values())
    images = Counter(label.image for label in labels)
    assert wanted.max_images is None or len(images) <= wanted.max_images
    assert all(count >= wanted.min_per_image for count in images.values())


@given(detections(), filters)
def test_each_detection_is_judged_once_and_told_why(found: list[Detection], wanted: Filter) -> None:
    judged = select(found, wanted)
    assert [one.detection for one in judged] == sorted(found, key=lambda d: (d.image, d.line))
    for one in judged:
        below = one.detection.unusable is None and not wanted.sure(one.detection)
        assert below == (one.dropped is Dropped.BELOW_CONFIDENCE)
        if one.detection.unusable:
            assert one.dropped is one.detection.unusable
    if wanted.max_per_class is None:
        assert Dropped.CLASS_FULL not in {one.dropped for one in judged}
    if wanted.max_images is None:
        assert Dropped.IMAGES_FULL not in {one.dropped for one in judged}


@given(detections(), filters, st.randoms())
def test_the_order_does_not_matter(found: list[Detection], wanted: Filter, random) -> None:  # type: ignore[no-untyped-def]
    shuffled = list(found)
    random.shuffle(shuffled)
    assert select(shuffled, wanted) == select(found, wanted)


@given(detections(), filters)
def test_an_image_is_used_whole(found: list[Detection], wanted: Filter) -> None:
    judged = select(found, wanted)
    if not wanted.whole_images:
        assert Dropped.UNCERTAIN_IMAGE not in {one.dropped for one in judged}
        return
    used = {label.image for label in kept(judged)}
    # What training would drop anyway does not make an image uncertain.
    usable = [one for one in judged if one.detection.image in used and one.detection.unusable is None]
    assert all(one.kept for one in usable)


@given(detections(), filters)
def test_without_caps_all_that_is_sure_is_kept(found: list[Detection], wanted: Filter) -> None:
    free = Filter(wanted.min_confidence, wanted.min_confidence_per_class, whole_images=False)
    assert kept(select(found, free)) == [
        detection
        for detection in sorted(found, key=lambda d: (d.image, d.line))
        if free.sure(detection) and detection.unusable is None
    ]


def test_an_unsure_detection_costs_its_image() -> None:
    found = [("a", "left", 0.9), ("a", "right", 0.4), ("b", "left", 0.7)]
    assert verdicts(Filter(0.6), *found) == ["UncertainImage", "BelowConfidence", ""]
    assert verdicts(Filter(0.6, whole_images=False), *found) == ["", "BelowConfidence", ""]
    assert verdicts(Filter(0.6, {"right": 0.4}), *found) == ["", "", ""]


def test_the_surest_images_come_first() -> None:
    found = [("a", "left", 0.7), ("b", "left", 0.99), ("b", "right", 0.65), ("c", "left", 0.8)]
    assert verdicts(Filter(0.6, max_images=1), *found) == ["ImagesFull", "ImagesFull", "ImagesFull", ""]
    assert verdicts(Filter(0.6, max_per_class=2), *found) == ["", "ClassFull", "ClassFull", ""]
    assert verdicts(Filter(0.6, max_per_class=2, whole_images=False), *found) == ["", "ClassFull", "", ""]


def test_an_image_that_does_not_fit_leaves_room_for_the_next() -> None:
    found = [("a", "left", 0.9), ("a", "left", 0.9), ("b", "left", 0.8)]
    assert verdicts(Filter(0.6, max_per_class=1), *found) == ["ClassFull", "ClassFull", ""]
    assert verdicts(Filter(0.6, max_per_class=1, whole_images=False), *found) == ["", "ClassFull", "ClassFull"]


def test_too_few_labels_are_none() -> None:
    found = [("a", "left", 0.9), ("b", "left", 0.9), ("b", "right", 0.9)]
    assert verdicts(Filter(0.6, min_per_image=2), *found) == ["TooFewInImage", "", ""]
    found = [("a", "left", 0.9), ("a", "right", 0.8), ("b", "left", 0.7), ("b", "right", 0.7)]
    wanted = Filter(0.6, min_per_image=2, max_per_class=1, whole_images=False)
    assert verdicts(wanted, *found) == ["", "", "ClassFull", "ClassFull"]
    found = [("a", "left", 0.9), ("a", "right", 0.8), ("b", "left", 0.7), ("b", "plate", 0.7)]
    assert verdicts(wanted, *found) == ["", "", "ClassFull", "TooFewInImage"]
