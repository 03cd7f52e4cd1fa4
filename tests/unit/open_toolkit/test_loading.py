"""Augmentation, batches, assignment of anchors, letterboxes."""

from __future__ import annotations

from pathlib import Path

import pytest

np = pytest.importorskip("numpy")
Image = pytest.importorskip("PIL.Image")

from yolo_v4.data.augment import Augmenter, Labelled, cut, flip_horizontally  # noqa: E402
from yolo_v4.data.letterbox import letterbox  # noqa: E402
from yolo_v4.data.loader import BatchLoader  # noqa: E402
from yolo_v4.data.samples import Sample  # noqa: E402
from yolo_v4.spec.messages import AugmentationConfig  # noqa: E402
from yolo_v4.training.assign import assign  # noqa: E402

MEAN = (10.0, 20.0, 30.0)


def augmentation(**changes: float) -> AugmentationConfig:
    values = {"hue": 0.1, "saturation": 1.5, "exposure": 1.5, "horizontal_flip": 0.5, "jitter": 0.3, "mosaic_prob": 0.5}
    return AugmentationConfig(**{**values, "mosaic_min_ratio": 0.2, **changes})


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    """Six images with a white square at the place of the only object."""
    result = []
    for index in range(6):
        pixels = np.zeros((60, 80, 3), np.uint8)
        pixels[20:40, 10 * index : 10 * index + 20] = 255
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
        box = np.array([[index / 8, 1 / 3, index / 8 + 0.25, 2 / 3]], np.float32)
        difficult = np.array([index == 5])
        result.append(Sample(tmp_path / f"{index}.png", (80, 60), box, np.array([0]), difficult))
    return result


def loader(samples: list[Sample], **changes: object) -> BatchLoader:
    options = {"size": (64, 32), "batch_size": 4, "seed": 3, **changes}
    return BatchLoader(samples, Augmenter(augmentation(), MEAN, {}), **options)


def test_an_epoch_is_the_same_for_any_number_of_threads(samples: list[Sample]) -> None:
    one = list(loader(samples, workers=1).epoch(5))
    many = list(loader(samples, workers=4, queue_size=1).epoch(5))
    other = list(loader(samples).epoch(6))
    assert [len(batch.images) for batch in one] == [4, 2]
    for first, second in zip(one, many, strict=True):
        assert np.array_equal(first.images, second.images)
        assert np.array_equal(first.targets, second.targets)
    assert not np.array_equal(one[0].images, other[0].images)


def test_boxes_follow_the_pixels(samples: list[Sample]) -> None:
    plain = Augmenter(augmentation(hue=0, saturation=1, exposure=1, mosaic_prob=0), MEAN, {})
    for batch in BatchLoader(samples[:5], plain, size=(64, 64), batch_size=1, seed=1).epoch(0):
        if not len(batch.targets):
            continue
        _, _, x, y, width, height = batch.targets[0]
        inside = batch.images[0][int(y - height / 4) : int(y + height / 4), int(x - width / 4) : int(x + width / 4)]
        assert inside.mean() > 200


def test_difficult_objects_train_only_on_request(samples: list[Sample]) -> None:
    plain = Augmenter(augmentation(jitter=0, mosaic_prob=0), MEAN, {})
    options = {"size": (64, 64), "batch_size": 1, "seed": 1}
    counts = [
        sum(len(batch.targets) for batch in BatchLoader(samples, plain, include_difficult=yes, **options).epoch(0))
        for yes in (False, True)
    ]
    assert counts == [5, 6]


def test_random_shapes_are_multiples_of_32_within_bounds(samples: list[Sample]) -> None:
    shapes = [
        batch.images.shape[1:3]
        for epoch in range(20)
        for batch in loader(samples, size=(160, 96), batch_size=1, shape_period=2).epoch(epoch)
    ]
    assert {shape[1] for shape in shapes} == {96, 128, 160, 192, 224}
    assert {shape[0] for shape in shapes} == {64, 96, 128}
    assert shapes[0] == shapes[1]


def test_a_mirror_exchanges_left_and_right() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    boxes = np.array([[0, 0, 1, 2], [1, 0, 4, 1]], np.float32)
    mirrored = flip_horizontally(Labelled(pixels, boxes, np.array([0, 2])), {0: 1, 1: 0})
    assert mirrored.boxes.tolist() == [[3, 0, 4, 2], [0, 0, 3, 1]]
    assert mirrored.classes.tolist() == [1, 2]
    assert np.array_equal(mirrored.pixels[:, 0], pixels[:, 3])


def test_a_cut_beyond_the_image_is_filled_with_the_mean() -> None:
    source = Labelled(np.full((10, 10, 3), 200, np.uint8), np.array([[0, 0, 10, 10]], np.float32), np.array([0]))
    result = cut(source, (-10, 0, 10, 10), (20, 10), (10, 20, 30))
    assert result.pixels[5, 3].tolist() == [10, 20, 30]
    assert result.pixels[5, 15].tolist() == [200, 200, 200]
    assert result.boxes.tolist() == [[10, 0, 20, 10]]


def test_an_object_mostly_cut_away_is_dropped() -> None:
    source = Labelled(np.zeros((10, 10, 3), np.uint8), np.array([[0, 0, 10, 10]], np.float32), np.array([0]))
    assert len(cut(source, (6, 0, 16, 10), (10, 10), (0, 0, 0)).boxes) == 0


def test_letterboxes_lead_there_and_back() -> None:
    pixels = np.full((30, 60, 3), 9, np.uint8)
    fitted, place = letterbox(pixels, (64, 64), MEAN, centred=True)
    assert (place.left, place.top, place.width, place.height) == (0, 16, 64, 32)
    assert fitted[0, 0].tolist() == [10, 20, 30]
    network = place.to_network(np.array([[0.25, 0.5, 1, 1]], np.float32))
    assert network.tolist() == [[16, 32, 64, 48]]
    assert place.to_image(network).tolist() == [[15, 15, 60, 30]]
    _, corner = letterbox(pixels, (64, 64), MEAN, centred=False)
    assert (corner.left, corner.top) == (0, 0)


ANCHORS = (((40.0, 40.0),), ((20.0, 20.0),), ((10.0, 10.0), (10.0, 30.0)))


def assigned(*targets: tuple[float, ...]) -> list[tuple[int, int, int]]:
    match = assign(np.array(targets, np.float32).reshape(-1, 6), ANCHORS, [(2, 2), (4, 4), (8, 8)], (32, 16, 8), 0.5)
    return sorted(zip(match.image.tolist(), match.place.tolist(), match.target.tolist(), strict=True))


def test_the_best_anchor_is_taken_whatever_its_overlap() -> None:
    assert assigned((1, 0, 50, 10, 200, 200)) == [(1, 1, 0)]


def test_every_anchor_above_the_bound_is_taken() -> None:
    # 14x14 overlaps 10x10 by .51 and 20x20 by .49; its cell at stride 8 is row 1, column 2.
    assert assigned((0, 0, 20, 12, 14, 14)) == [(0, 4 + 16 + 8 + 2, 0)]
    assert [place for _, place, _ in assigned((0, 0, 20, 12, 28.5, 28.5))] == [0]


def test_the_better_fit_has_the_cell() -> None:
    assert assigned((0, 0, 4, 4, 11, 11), (0, 1, 5, 5, 10, 10)) == [(0, 20, 1)]


def test_no_objects_no_matches() -> None:
    assert assigned() == []
