"""``yolo_v4 inference``: annotated images and KITTI pseudo-labels."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from yolo_v4.data.labels import list_images
from yolo_v4.data.letterbox import Placement, letterbox
from yolo_v4.data.samples import Pixels, read_image
from yolo_v4.errors import DatasetError, UsageError
from yolo_v4.evaluation.annotate import annotate
from yolo_v4.evaluation.detector import Detector, load_detector
from yolo_v4.evaluation.suppression import Detections, suppress
from yolo_v4.files import atomic_path, make_directory
from yolo_v4.model.names import check_classes
from yolo_v4.reporting.bars import PredictionBar
from yolo_v4.reporting.status import RUNNING, StatusLog
from yolo_v4.spec import load_spec
from yolo_v4.spec.messages import Experiment
from yolo_v4.tasks.common import image_mean, recorded, spec_classes

_EXTENSIONS = (".jpg", ".jpeg", ".JPG", ".JPEG", ".png", ".PNG")
_BLACK = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Places:
    """Where results go; a file when the input is one and the option names a file."""

    images: Path | None
    labels: Path | None

    def image(self, source: Path) -> Path | None:
        """Of one input."""
        return _place(self.images, source.name)

    def label(self, source: Path) -> Path | None:
        """Of one input."""
        return _place(self.labels, f"{source.stem}.txt")


def run(arguments: argparse.Namespace) -> None:
    """Detect on an image or a folder; what is below the threshold is neither drawn nor written."""
    if not 0 < arguments.threshold < 1:
        raise UsageError("--threshold must be between 0 and 1, both excluded")
    places = _places(arguments)
    status = StatusLog(arguments.results_dir)
    recorded(
        status,
        "Inference",
        "Starting Yolo_V4 Inference job",
        "Inference finished successfully.",
        lambda: _infer(arguments, places, status),
    )


def _places(arguments: argparse.Namespace) -> Places:
    """``-o`` and ``-l`` as in TAO 3.21.11; ``-r`` adds TAO 5's sub-folders for what they leave open."""
    images, labels, results = arguments.out_image_path, arguments.out_label_path, arguments.results_dir
    if not (images or labels or results):
        raise UsageError("inference needs -o (annotated images), -l (labels) or -r (both)")
    if results and not (images or labels):
        images, labels = Path(results) / "images_annotated", Path(results) / "labels"
    return Places(Path(images) if images else None, Path(labels) if labels else None)


def _place(target: Path | None, name: str) -> Path | None:
    if target is None or target.suffix.lower() in (".jpg", ".jpeg", ".png", ".txt"):
        return target
    return target / name


def _infer(arguments: argparse.Namespace, places: Places, status: StatusLog) -> None:
    experiment = load_spec(arguments.experiment_spec)
    mean = image_mean(experiment)
    config = experiment.augmentation_config
    size = (config.output_width, config.output_height)
    detector = load_detector(arguments.model_path, size, mean)
    check_classes(detector.classes, spec_classes(experiment), arguments.model_path)
    sources = _sources(Path(arguments.image_dir))
    for folder in (places.images, places.labels):
        if folder is not None and not folder.suffix:
            make_directory(folder)
    found = 0
    batches = list(_batches(sources, experiment.eval_config.batch_size))
    bar = PredictionBar(len(batches), "Producing predictions")
    for number, batch in enumerate(batches, start=1):
        images = [read_image(path) for path in batch]
        for path, pixels, detections in zip(batch, images, _detect(detector, images, size, experiment), strict=True):
            kept = _above(detections, arguments.threshold)
            found += len(kept.scores)
            _write(path, pixels, kept, detector.classes, places)
        bar.update(number)
    print(f"{len(sources)} images, {found} objects at or above {arguments.threshold:g}", flush=True)
    status.write(RUNNING, "Inference complete.", kpi={"images": len(sources), "detections": found})


def _sources(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    sources = list_images(path, _EXTENSIONS)
    if not sources:
        raise DatasetError(f"no image ({' '.join(_EXTENSIONS)}) in {path}")
    return sources


def _batches(sources: Sequence[Path], count: int) -> Iterator[Sequence[Path]]:
    for start in range(0, len(sources), count):
        yield sources[start : start + count]


def _detect(
    detector: Detector, images: Sequence[Pixels], size: tuple[int, int], experiment: Experiment
) -> Iterator[Detections]:
    """Detections in pixels of the original images."""
    fitted: list[tuple[Pixels, Placement]] = [letterbox(pixels, size, _BLACK, centred=False) for pixels in images]
    corners, scores = detector(np.stack([pixels for pixels, _ in fitted]))
    for index, (_, placement) in enumerate(fitted):
        detections = suppress(corners[index], scores[index], experiment.nms_config)
        yield detections._replace(boxes=placement.to_image(detections.boxes))


def _above(detections: Detections, threshold: float) -> Detections:
    kept = detections.scores >= threshold
    return Detections(detections.boxes[kept], detections.scores[kept], detections.classes[kept])


def _write(path: Path, pixels: Pixels, detections: Detections, classes: Sequence[str], places: Places) -> None:
    target = places.image(path)
    if target is not None:
        with atomic_path(target) as temporary:
            annotate(pixels, detections, classes).save(
                temporary, format="PNG" if path.suffix.lower() == ".png" else "JPEG"
            )
    target = places.label(path)
    if target is not None:
        with atomic_path(target) as temporary:
            temporary.write_text(kitti_text(detections, classes), encoding="utf-8")


def kitti_text(detections: Detections, classes: Sequence[str]) -> str:
    """One line of 16 columns an object, the last one its score; empty when there is none."""
    lines = []
    for box, score, class_id in zip(detections.boxes, detections.scores, detections.classes, strict=True):
        corners = " ".join(f"{float(value):.3f}" for value in box)
        lines.append(f"{classes[class_id]} 0 0 0 {corners} 0 0 0 0 0 0 0 {float(score):.6f}\n")
    return "".join(lines)
