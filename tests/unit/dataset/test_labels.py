"""Lines of label files, there and back."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st
from yolo_operator.dataset import labels

CLASSES = {"0": "top_left", "3": "plate"}
SIDE = st.integers(min_value=1, max_value=9000)
FRACTION = st.floats(min_value=0, max_value=1)


def extent(side: int, start: float, length: float) -> tuple[float, float]:
    """Centre and length, as fractions, of a stretch of at least 0.02 pixels that lies inside."""
    least = 0.02 / side
    start *= 1 - least
    length = max(least, length * (1 - start))
    return start + length / 2, length


@given(width=SIDE, height=SIDE, x=FRACTION, y=FRACTION, w=FRACTION, h=FRACTION, name=st.sampled_from(sorted(CLASSES)))
def test_darknet_to_kitti_and_back(width: int, height: int, x: float, y: float, w: float, h: float, name: str) -> None:
    (cx, w), (cy, h) = extent(width, x, w), extent(height, y, h)
    line = labels.darknet(f"{name} {cx!r} {cy!r} {w!r} {h!r}", CLASSES, width, height).kitti()
    assert len(line.split(" ")) == 15
    back = labels.kitti(line, {"top_left": "0", "plate": "3"}, width, height)
    assert back is not None
    assert back.name == name
    for found, expected, side in (
        ((back.x1 + back.x2) / 2, cx, width),
        ((back.y1 + back.y2) / 2, cy, height),
        (back.x2 - back.x1, w, width),
        (back.y2 - back.y1, h, height),
    ):
        assert abs(found - expected * side) <= 0.0101  # two decimals of a pixel


COLUMNS = st.sampled_from(["0", "3", "9", "0.5", "-1", "1e999", "nan", "x", "٣", "1_0"])


@given(line=st.text() | st.lists(COLUMNS, max_size=16).map(" ".join))
def test_any_line_gives_a_box_inside_the_image_or_an_error(line: str) -> None:
    with contextlib.suppress(labels.LabelError):
        box = labels.darknet(line, CLASSES, 200, 100)
        assert 0 <= box.x1 < box.x2 <= 200
        assert 0 <= box.y1 < box.y2 <= 100
    with contextlib.suppress(labels.LabelError):
        labels.kitti(line, {"0": "top_left"}, 200, 100)
