#!/usr/bin/env python3
"""Draw a small licence-plate dataset, for trying out an experiment without collecting one.

Every image shows a street-like scene with no, one or two licence plates in perspective. Five classes are labelled in
Darknet format (``id cx cy w h``, fractions of the image): the four corners of a plate, each by a small box around it, and
the plate itself.

    DIR/train/images/000000.jpg   DIR/train/labels/000000.txt
    DIR/valid/images/100000.jpg   DIR/valid/labels/100000.txt
    DIR/test/200000.jpg           (no labels)

The same arguments give the same files. A run that finds its own complete result does nothing. Needs numpy and Pillow only.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import string
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

CLASSES = ("top_left", "top_right", "bottom_right", "bottom_left", "license_plate")
VERSION = 1
"""Part of the marker: a new way of drawing makes old results stale."""
MARKER = "dataset.json"
OVERSAMPLING = 2
"""Scenes are drawn larger and scaled down, which smooths every edge."""
FONT = "DejaVuSans-Bold.ttf"
FIRST_NUMBER = {"train": 0, "valid": 100_000, "test": 200_000}

Quad = NDArray[np.float64]
"""(4, 2): top left, top right, bottom right, bottom left, in pixels."""
Color = tuple[int, int, int]


def main() -> int:
    """Generate what the command line asks for."""
    arguments = parse_arguments()
    output: Path = arguments.output
    parameters = {
        "version": VERSION,
        "train": arguments.train,
        "validation": arguments.validation,
        "test": arguments.test,
        "seed": arguments.seed,
        "size": list(arguments.size),
        "classes": list(CLASSES),
    }
    if is_complete(output, parameters):
        print(f"{output} is complete, nothing to do")
        return 0
    (output / MARKER).unlink(missing_ok=True)
    for split, count in (("train", arguments.train), ("valid", arguments.validation), ("test", arguments.test)):
        write_split(output, split, count, arguments.size, arguments.seed)
    write_atomically(output / MARKER, json.dumps(parameters, indent=1).encode())
    print(f"{output}: {arguments.train} training, {arguments.validation} validation, {arguments.test} test images")
    return 0


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Draw a licence-plate dataset in Darknet format.")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--train", type=int, default=320, help="training images")
    parser.add_argument("--validation", type=int, default=64, help="validation images")
    parser.add_argument("--test", type=int, default=24, help="images without labels")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--size", type=parse_size, default=(320, 240), help="WIDTHxHEIGHT in pixels")
    return parser.parse_args()


def parse_size(text: str) -> tuple[int, int]:
    """``320x240`` to (320, 240)."""
    try:
        width, height = (int(side) for side in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected WIDTHxHEIGHT, got {text!r}") from None
    if min(width, height) < 64:
        raise argparse.ArgumentTypeError("each side must be at least 64 pixels")
    return width, height


def is_complete(output: Path, parameters: dict[str, object]) -> bool:
    """Whether a run with the same parameters has finished here."""
    try:
        return bool(json.loads((output / MARKER).read_text(encoding="utf-8")) == parameters)
    except (OSError, ValueError):
        return False


def write_split(output: Path, split: str, count: int, size: tuple[int, int], seed: int) -> None:
    """Write one split's images and labels, in place of those of another run."""
    folder = output / split
    images, labels = (folder, None) if split == "test" else (folder / "images", folder / "labels")
    for directory, pattern in ((images, "*.jpg"), (labels, "*.txt")):
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True)
            for stale in directory.glob(pattern):
                stale.unlink()
    for index in range(count):
        number = FIRST_NUMBER[split] + index
        scene = Scene(np.random.default_rng((seed, number)), size)
        scene.image.save(images / f"{number:06d}.jpg", quality=scene.quality)
        if labels is not None:
            lines = [label_line(quad, size) for quad in scene.quads]
            (labels / f"{number:06d}.txt").write_text("".join(lines), encoding="ascii")


def write_atomically(path: Path, content: bytes) -> None:
    """Write under another name, then rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


def label_line(quad: Quad, size: tuple[int, int]) -> str:
    """The five Darknet lines of one plate."""
    height = (np.linalg.norm(quad[3] - quad[0]) + np.linalg.norm(quad[2] - quad[1])) / 2
    half = float(np.clip(0.7 * height, 0.1 * size[1], 0.16 * size[1])) / 2
    boxes = [(corner - half, corner + half) for corner in quad]
    boxes.append((quad.min(axis=0), quad.max(axis=0)))
    lines = []
    limit = np.array(size, dtype=np.float64)
    for class_id, (low, high) in enumerate(boxes):
        low, high = np.clip(low, 0, limit) / limit, np.clip(high, 0, limit) / limit
        centre, side = (low + high) / 2, high - low
        lines.append(f"{class_id} {centre[0]:.6f} {centre[1]:.6f} {side[0]:.6f} {side[1]:.6f}\n")
    return "".join(lines)


class Scene:
    """One picture; ``quads`` are its plates in pixels of the final image."""

    def __init__(self, rng: np.random.Generator, size: tuple[int, int]) -> None:
        self.rng = rng
        self.size = size
        self.quads: list[Quad] = []
        self.quality = int(rng.integers(70, 95))
        canvas = background(rng, size).resize([side * OVERSAMPLING for side in size], Image.Resampling.BILINEAR)
        clutter(rng, canvas)
        plates = [self._place_plate() for _ in range(int(rng.choice([0, 1, 2], p=[0.04, 0.76, 0.20])))]
        # All vehicles come before all plates, so that none hides a plate that is labelled.
        for quad, _ in filter(None, plates):
            if rng.random() < 0.75:
                vehicle(rng, canvas, quad * OVERSAMPLING)
        for quad, plate in filter(None, plates):
            paste_plate(canvas, plate, quad * OVERSAMPLING)
        self.image = finish(rng, canvas.resize(size, Image.Resampling.LANCZOS))

    def _place_plate(self) -> tuple[Quad, Image.Image] | None:
        """A plate where it overlaps no other; gives up after some tries."""
        two_lines = bool(self.rng.random() < 0.3)
        aspect = self.rng.uniform(1.25, 1.5) if two_lines else self.rng.uniform(3.0, 4.4)
        for _ in range(20):
            width = self.rng.uniform(0.17, 0.28) if two_lines else self.rng.uniform(0.24, 0.46)
            quad = random_quad(self.rng, self.size, width * self.size[0], aspect)
            if quad is not None and not any(boxes_touch(quad, other) for other in self.quads):
                self.quads.append(quad)
                return quad, draw_plate(self.rng, aspect, two_lines=two_lines)
        return None


def random_quad(rng: np.random.Generator, size: tuple[int, int], width: float, aspect: float) -> Quad | None:
    """The corners of a plate that is turned in space, None when it does not fit into the image."""
    yaw, pitch, roll = np.radians([rng.uniform(-48, 48), rng.uniform(-28, 28), rng.normal(0, 6)])
    corners = np.array([[-0.5, -0.5 / aspect], [0.5, -0.5 / aspect], [0.5, 0.5 / aspect], [-0.5, 0.5 / aspect]])
    points = np.concatenate([corners, np.zeros((4, 1))], axis=1)
    turn_y = [[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]]
    turn_x = [[1, 0, 0], [0, math.cos(pitch), -math.sin(pitch)], [0, math.sin(pitch), math.cos(pitch)]]
    turn_z = [[math.cos(roll), -math.sin(roll), 0], [math.sin(roll), math.cos(roll), 0], [0, 0, 1]]
    points = points @ (np.array(turn_z) @ np.array(turn_x) @ np.array(turn_y)).T
    distance = rng.uniform(1.6, 4.0)
    flat = points[:, :2] * distance / (distance + points[:, 2:]) * width
    margin = 3.0
    low, high = margin - flat.min(axis=0), np.array(size) - margin - flat.max(axis=0)
    if (low >= high).any():
        return None
    return flat + rng.uniform(low, high)


def boxes_touch(first: Quad, second: Quad) -> bool:
    """Whether the surrounding boxes come closer than a few pixels."""
    gap = 12
    return bool((first.min(axis=0) - gap < second.max(axis=0)).all() and (second.min(axis=0) - gap < first.max(axis=0)).all())


def background(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Sky, wall or road: a gradient with noise on several scales."""
    width, height = size
    top, bottom = rng.uniform(30, 225, (2, 1)) + rng.normal(0, 22, (2, 3))
    tilt = rng.uniform(-0.4, 0.4)
    ramp = np.clip(np.linspace(0, 1, height)[:, None] + tilt * np.linspace(-0.5, 0.5, width)[None], 0, 1)[..., None]
    pixels = top * (1 - ramp) + bottom * ramp
    for cells in (4, 12, 40, 120):
        grain = rng.normal(0, rng.uniform(2, 12), (cells * height // width + 1, cells, 1 if rng.random() < 0.8 else 3))
        pixels = pixels + upscale(grain, size)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def upscale(grain: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
    """Smoothly enlarge a coarse (h, w, c) field around 0."""
    channels = [
        np.asarray(Image.fromarray(grain[..., c].astype(np.float32)).resize(size, Image.Resampling.BICUBIC))
        for c in range(grain.shape[2])
    ]
    return np.stack(channels, axis=-1)


def clutter(rng: np.random.Generator, canvas: Image.Image) -> None:
    """Houses, poles, lane markings, signs with writing: much that looks a little like a plate and is none."""
    draw = ImageDraw.Draw(canvas)
    width, height = canvas.size
    for _ in range(int(rng.integers(3, 10))):
        x, y = rng.uniform(-0.1, 0.95) * width, rng.uniform(-0.1, 0.95) * height
        w, h = rng.uniform(0.05, 0.5) * width, rng.uniform(0.05, 0.5) * height
        color = random_color(rng)
        kind = rng.integers(0, 5)
        if kind == 0:
            draw.rectangle((x, y, x + w, y + h), fill=color, outline=random_color(rng), width=int(rng.integers(1, 5)))
        elif kind == 1:
            draw.ellipse((x, y, x + w * 0.6, y + w * 0.6), fill=color)
        elif kind == 2:
            draw.line((x, y, x + w, y + h * rng.choice([-1, 1])), fill=color, width=int(rng.integers(2, 14)))
        elif kind == 3:
            points = [(x + rng.uniform(0, w), y + rng.uniform(0, h)) for _ in range(int(rng.integers(3, 6)))]
            draw.polygon(points, fill=color)
        else:
            windows(rng, draw, (x, y, x + w, y + h), color)
    for _ in range(int(rng.integers(0, 4))):
        sign(rng, canvas)


def windows(rng: np.random.Generator, draw: ImageDraw.ImageDraw, area: tuple[float, float, float, float], color: Color) -> None:
    """A house front: a grid of rectangles."""
    draw.rectangle(area, fill=color)
    pane = random_color(rng)
    columns, rows = int(rng.integers(2, 6)), int(rng.integers(2, 5))
    step_x, step_y = (area[2] - area[0]) / columns, (area[3] - area[1]) / rows
    for column in range(columns):
        for row in range(rows):
            x, y = area[0] + (column + 0.2) * step_x, area[1] + (row + 0.2) * step_y
            draw.rectangle((x, y, x + 0.6 * step_x, y + 0.6 * step_y), fill=pane)


def sign(rng: np.random.Generator, canvas: Image.Image) -> None:
    """Writing, now and then on a board: a distractor, so without the frame and the proportions of a plate."""
    font = load_font(int(rng.integers(12, 40)))
    text = random_text(rng, string.ascii_uppercase + string.ascii_lowercase, int(rng.integers(3, 10)))
    left, top, right, bottom = font.getbbox(text)
    pad = int(rng.integers(6, 30))
    board = Image.new("RGBA", (int(right - left) + 2 * pad, int(bottom - top) + 2 * pad), (0, 0, 0, 0))
    draw = ImageDraw.Draw(board)
    if rng.random() < 0.5:
        draw.ellipse((0, 0, board.width - 1, board.height - 1), fill=(*random_color(rng), 255))
    draw.text((pad - left, pad - top), text, font=font, fill=(*random_color(rng), 255))
    board = board.rotate(rng.uniform(-30, 30), expand=True, resample=Image.Resampling.BICUBIC)
    place = (int(rng.uniform(0, canvas.width - 20)), int(rng.uniform(0, canvas.height - 20)))
    canvas.paste(board, place, board)


def vehicle(rng: np.random.Generator, canvas: Image.Image, quad: Quad) -> None:
    """The rear of a car around a plate: body, window, lamps, bumper, wheels, shadow."""
    draw = ImageDraw.Draw(canvas)
    centre = quad.mean(axis=0)
    extent = quad.max(axis=0) - quad.min(axis=0)
    width = max(float(extent[0]) * rng.uniform(1.7, 3.0), 120.0)
    height = width * rng.uniform(0.55, 0.85)
    left, right = centre[0] - width * rng.uniform(0.4, 0.6), 0.0
    right = left + width
    top, bottom = centre[1] - height * rng.uniform(0.5, 0.72), 0.0
    bottom = top + height
    paint = random_color(rng)
    dark: Color = (int(rng.integers(5, 50)),) * 3
    tyre = width * 0.16
    draw.ellipse((left - width * 0.05, bottom - height * 0.08, right + width * 0.05, bottom + height * 0.14), fill=dark)
    for x in (left + width * 0.06, right - width * 0.06 - tyre):
        draw.rounded_rectangle((x, bottom - height * 0.2, x + tyre, bottom + height * 0.1), tyre / 4, fill=dark)
    draw.rounded_rectangle((left, top, right, bottom), width * rng.uniform(0.05, 0.14), fill=paint)
    inset, glass = width * rng.uniform(0.1, 0.18), tuple(int(c) for c in rng.integers(20, 140, 3))
    draw.polygon(
        [
            (left + inset, top + height * 0.06),
            (right - inset, top + height * 0.06),
            (right - inset * 0.6, top + height * 0.36),
            (left + inset * 0.6, top + height * 0.36),
        ],
        fill=glass,
    )
    lamp: Color = (int(rng.integers(120, 255)), int(rng.integers(0, 80)), int(rng.integers(0, 60)))
    for x in (left + width * 0.03, right - width * 0.15):
        draw.rectangle((x, top + height * 0.45, x + width * 0.12, top + height * 0.6), fill=lamp)
    shade = tuple(int(c * rng.uniform(0.5, 0.9)) for c in paint)
    draw.rectangle((left, bottom - height * 0.22, right, bottom - height * 0.16), fill=shade)


def draw_plate(rng: np.random.Generator, aspect: float, *, two_lines: bool) -> Image.Image:
    """A flat plate with frame, writing, screws and dirt."""
    height = 120 if two_lines else 72
    width = round(height * aspect)
    ground, ink = plate_colors(rng)
    plate = Image.new("RGB", (width, height), ground)
    draw = ImageDraw.Draw(plate)
    frame = int(rng.integers(2, 6))
    draw.rectangle((0, 0, width - 1, height - 1), outline=ink if rng.random() < 0.7 else (30, 30, 30), width=frame)
    lines = plate_lines(rng, two_lines=two_lines)
    for index, text in enumerate(lines):
        band = (height - 2 * frame - 4) / len(lines)
        fit_text(draw, text, (frame + 6, frame + 2 + index * band, width - frame - 6, frame + 2 + (index + 1) * band), ink)
    for x in (0.12, 0.88):
        if rng.random() < 0.4:
            draw.ellipse((x * width - 3, height * 0.08, x * width + 3, height * 0.08 + 6), fill=(90, 90, 90))
    grain = rng.normal(0, rng.uniform(2, 14), (6, 16, 1))
    pixels = np.asarray(plate, dtype=np.float64) + upscale(grain, plate.size)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def plate_colors(rng: np.random.Generator) -> tuple[Color, Color]:
    """Ground and ink as on real plates: black on white or yellow, white on blue, red or green."""
    light = int(rng.integers(205, 250))
    dark = int(rng.integers(0, 50))
    pairs: list[tuple[Color, Color]] = [
        ((light, light, light - 8), (dark, dark, dark)),
        ((light, light - 25, 60), (dark, dark, dark)),
        ((20, 50, 150), (light, light, light)),
        ((150, 25, 30), (light, light, light)),
        ((20, 100, 60), (light, light, light)),
    ]
    return pairs[int(rng.choice(len(pairs), p=[0.6, 0.2, 0.1, 0.05, 0.05]))]


def plate_lines(rng: np.random.Generator, *, two_lines: bool) -> list[str]:
    """One or two lines of an invented number."""
    head = random_text(rng, string.digits, 2) + random_text(rng, string.ascii_uppercase, 1)
    tail = random_text(rng, string.digits, int(rng.integers(4, 6)))
    if two_lines:
        return [f"{head[:2]}-{head[2]}{rng.integers(1, 10)}", tail]
    return [f"{head}{rng.choice(['-', ' ', '.'])}{tail}"]


def fit_text(draw: ImageDraw.ImageDraw, text: str, area: tuple[float, float, float, float], ink: Color) -> None:
    """The largest writing that fits, centred."""
    left, top, right, bottom = area
    size = int((bottom - top) * 1.25)
    while True:
        font = load_font(size)
        box = font.getbbox(text)
        if size <= 8 or (box[2] - box[0] <= right - left and box[3] - box[1] <= bottom - top):
            break
        size -= 2
    x = (left + right - (box[0] + box[2])) / 2
    y = (top + bottom - (box[1] + box[3])) / 2
    draw.text((x, y), text, font=font, fill=ink)


def paste_plate(canvas: Image.Image, plate: Image.Image, quad: Quad) -> None:
    """Warp a flat plate onto its four corners."""
    width, height = plate.size
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float64)
    origin = np.floor(quad.min(axis=0))
    local = quad - origin
    area = (math.ceil(local[:, 0].max()) + 1, math.ceil(local[:, 1].max()) + 1)
    coefficients = homography(local, corners)
    warped = plate.transform(area, Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BICUBIC)
    mask = Image.new("L", area, 0)
    ImageDraw.Draw(mask).polygon([tuple(point) for point in local], fill=255)
    canvas.paste(warped, (int(origin[0]), int(origin[1])), mask)


def homography(source: Quad, target: Quad) -> tuple[float, ...]:
    """The eight numbers of the projective map from source to target corners, in PIL's order."""
    rows, values = [], []
    for (x, y), (u, v) in zip(source, target, strict=True):
        rows.append([x, y, 1, 0, 0, 0, -u * x, -u * y])
        rows.append([0, 0, 0, x, y, 1, -v * x, -v * y])
        values += [u, v]
    return tuple(float(value) for value in np.linalg.solve(np.array(rows), np.array(values)))


def finish(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    """Light, shadow, blur, colour cast and sensor noise."""
    width, height = image.size
    pixels = np.asarray(image, dtype=np.float64)
    light = 1 + upscale(rng.normal(0, 0.14, (3, 4, 1)), image.size)
    pixels = pixels * light * rng.uniform(0.55, 1.2) * rng.uniform(0.92, 1.08, 3) + rng.uniform(-10, 20)
    if rng.random() < 0.3:
        # The hard edge of a shadow across the picture.
        angle, offset = rng.uniform(0, math.pi), rng.uniform(-0.3, 0.3)
        x, y = np.meshgrid(np.linspace(-0.5, 0.5, width), np.linspace(-0.5, 0.5, height))
        side = (x * math.cos(angle) + y * math.sin(angle) > offset)[..., None]
        pixels = np.where(side, pixels * rng.uniform(0.5, 0.8), pixels)
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    if rng.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 1.2)))
    noisy = np.asarray(image, dtype=np.float64) + rng.normal(0, rng.uniform(1, 9), (height, width, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def random_color(rng: np.random.Generator) -> Color:
    """Any colour, greys more often than not."""
    if rng.random() < 0.6:
        grey = int(rng.integers(20, 240))
        return grey, grey, grey
    red, green, blue = (int(channel) for channel in rng.integers(10, 245, 3))
    return red, green, blue


def random_text(rng: np.random.Generator, alphabet: str, length: int) -> str:
    """Letters drawn from an alphabet."""
    return "".join(alphabet[int(index)] for index in rng.integers(0, len(alphabet), length))


def load_font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """DejaVu Sans Bold where it is installed, else Pillow's own font."""
    try:
        return ImageFont.truetype(FONT, size)
    except OSError:
        return ImageFont.load_default(size)


if __name__ == "__main__":
    sys.exit(main())
