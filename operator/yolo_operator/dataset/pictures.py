"""Image files: which ones the toolkit reads, their sizes and their content's digest."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import imagesize

from yolo_operator.dataset.findings import Findings

TRAINING_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif"})
INFERENCE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG"})
OTHER_IMAGES = frozenset({".webp", ".tif", ".tiff", ".jp2", ".heic", ".avif", ".jfif", ".pgm", ".ppm"})


@dataclass(frozen=True, slots=True)
class Content:
    """What a file holds."""

    bytes: int
    sha256: str
    width: int = 0
    """Pixels as stored, as the toolkit reads them: an EXIF rotation is not applied. 0 when there is no readable header."""
    height: int = 0
    rotated: bool = False
    """Whether an EXIF rotation swaps width and height for whoever looks at the image."""


def find_images(directory: Path, suffixes: frozenset[str], findings: Findings, field: str) -> dict[str, Path]:
    """Stem → image file of a directory, sorted; what looks like an image but will not be read is an error."""
    if not directory.is_dir():
        findings.error(directory, f"there is no such directory: correct {field}")
        return {}
    images: dict[str, Path] = {}
    errors = findings.error_count
    with os.scandir(directory) as entries:
        files = sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_file())
    for name in files:
        path = directory / name
        if path.suffix not in suffixes:
            if path.suffix.lower() in TRAINING_SUFFIXES | OTHER_IMAGES:
                fix = f"rename it to {path.suffix.lower()}" if path.suffix.lower() in suffixes else "convert it to .jpg or .png"
                findings.error(path, f"the toolkit does not read {path.suffix} here: {fix}")
        elif path.stem in images:
            findings.error(path, f"one label cannot serve this image and {images[path.stem].name}: rename one of them")
        else:
            images[path.stem] = path
    if not images and findings.error_count == errors:
        findings.error(directory, f"there are no images in it: put them right there, folders inside are not searched ({field})")
    return images


def read_content(path: Path, *, image: bool = False) -> Content:
    """Digest and size in one reading, a block at a time."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        stored = seen = (0, 0)
        if image:
            try:
                stored = imagesize.get(file, exif_rotation=False)
                file.seek(0)
                seen = imagesize.get(file, exif_rotation=True)
            except Exception:  # whatever a broken header makes the library raise, it is unreadable
                stored = (-1, -1)
        file.seek(0)
        while block := file.read(1 << 20):
            digest.update(block)
            size += len(block)
    return Content(size, digest.hexdigest(), max(stored[0], 0), max(stored[1], 0), rotated=stored != seen)


def image_size(path: Path) -> tuple[int, int] | None:
    """Width and height in pixels as stored; None when the header cannot be read."""
    try:
        width, height = imagesize.get(path, exif_rotation=False)
    except Exception:  # whatever a broken header makes the library raise, it is unreadable
        return None
    return (width, height) if width > 0 and height > 0 else None
