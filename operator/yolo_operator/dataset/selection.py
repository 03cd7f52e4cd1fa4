"""Which detections become labels: a function of values, the same for every order of what it is given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Dropped(StrEnum):
    """Why a detection became no label."""

    UNKNOWN_CLASS = "UnknownClass"
    """The experiment has no such class."""
    TOO_SMALL = "TooSmall"
    """Training would drop the box."""
    UNREADABLE_IMAGE = "UnreadableImage"
    """Training would not read the image."""
    BELOW_CONFIDENCE = "BelowConfidence"
    UNCERTAIN_IMAGE = "UncertainImage"
    """Sure by itself; another detection of its image is not."""
    TOO_FEW_IN_IMAGE = "TooFewInImage"
    CLASS_FULL = "ClassFull"
    IMAGES_FULL = "ImagesFull"


@dataclass(frozen=True, slots=True)
class Detection:
    """What inference found: corners in pixels of the image, inside it."""

    image: str
    """Its stem: labels are found by it."""
    line: int
    """In the image's label file, from 1."""
    name: str
    corners: tuple[float, float, float, float]
    confidence: float
    unusable: Dropped | None = None
    """Why training could make nothing of it, whatever its confidence."""


@dataclass(frozen=True, slots=True)
class Filter:
    """What a label and its image must be."""

    min_confidence: float
    min_confidence_per_class: Mapping[str, float] = field(default_factory=dict)
    max_per_class: int | None = None
    min_per_image: int = 1
    max_images: int | None = None
    whole_images: bool = True
    """An image is used with all of its detections or not at all: training takes an object without a label for background."""

    def sure(self, detection: Detection) -> bool:
        return detection.confidence >= self.min_confidence_per_class.get(detection.name, self.min_confidence)


@dataclass(frozen=True, slots=True)
class Judged:
    """A detection, and why it became no label; None: it is one."""

    detection: Detection
    dropped: Dropped | None

    @property
    def kept(self) -> bool:
        return self.dropped is None


def select(detections: Iterable[Detection], wanted: Filter) -> list[Judged]:
    """Every detection with its verdict, by image and line.

    Images are taken in the order of their least sure label, the surest first, until a cap is reached.
    """
    images: dict[str, list[Judged]] = {}
    for detection in sorted(detections, key=lambda d: (d.image, d.line)):
        images.setdefault(detection.image, []).append(Judged(detection, _alone(detection, wanted)))
    judged = {image: _within(found, wanted) for image, found in images.items()}
    labels: Counter[str] = Counter()
    used = 0
    for image in sorted(judged, key=lambda image: (-_weakest(judged[image]), image)):
        if not _kept(judged[image]):
            continue
        full = wanted.max_images is not None and used >= wanted.max_images
        judged[image] = _all_dropped(judged[image], Dropped.IMAGES_FULL) if full else _capped(judged[image], labels, wanted)
        kept = _kept(judged[image])
        labels.update(one.detection.name for one in kept)
        used += bool(kept)
    return [one for found in judged.values() for one in found]


def _alone(detection: Detection, wanted: Filter) -> Dropped | None:
    return detection.unusable or (None if wanted.sure(detection) else Dropped.BELOW_CONFIDENCE)


def _within(found: list[Judged], wanted: Filter) -> list[Judged]:
    """The verdict once the image's other detections are known."""
    unsure = any(one.dropped in (Dropped.BELOW_CONFIDENCE, Dropped.UNKNOWN_CLASS) for one in found)
    if wanted.whole_images and unsure:
        return _all_dropped(found, Dropped.UNCERTAIN_IMAGE)
    return _enough(found, wanted)


def _enough(found: list[Judged], wanted: Filter) -> list[Judged]:
    return found if len(_kept(found)) >= wanted.min_per_image else _all_dropped(found, Dropped.TOO_FEW_IN_IMAGE)


def _capped(found: list[Judged], labels: Counter[str], wanted: Filter) -> list[Judged]:
    """The image's labels as far as its classes have room."""
    if wanted.max_per_class is None:
        return found
    room = {one.detection.name: wanted.max_per_class - labels[one.detection.name] for one in found}
    over: set[int] = set()
    for one in sorted(_kept(found), key=lambda one: (-one.detection.confidence, one.detection.line)):
        room[one.detection.name] -= 1
        if room[one.detection.name] < 0:
            over.add(one.detection.line)
    if over and wanted.whole_images:
        return _all_dropped(found, Dropped.CLASS_FULL)
    left = [Judged(one.detection, Dropped.CLASS_FULL) if one.kept and one.detection.line in over else one for one in found]
    return _enough(left, wanted)


def _kept(found: list[Judged]) -> list[Judged]:
    return [one for one in found if one.kept]


def _weakest(found: list[Judged]) -> float:
    return min((one.detection.confidence for one in _kept(found)), default=0.0)


def _all_dropped(found: list[Judged], why: Dropped) -> list[Judged]:
    return [Judged(one.detection, why) if one.kept else one for one in found]
