"""Drawing detections."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from yolo_v4.data.samples import Pixels
from yolo_v4.evaluation.suppression import Detections

_COLORS = ((230, 60, 60), (70, 190, 70), (70, 120, 255), (240, 190, 40), (60, 210, 220), (220, 90, 220), (255, 140, 40))
_FONT = "DejaVuSans.ttf"


def annotate(pixels: Pixels, detections: Detections, classes: Sequence[str]) -> Image.Image:
    """The image with a box for each detection, and its class and score where there is room for them."""
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    line = max(1, round(min(image.size) / 240))
    font = _font(max(8, round(min(image.size) / 28)))
    order = range(len(detections.scores) - 1, -1, -1)  # best last, on top
    for index in order:
        class_id = int(detections.classes[index])
        color = _COLORS[class_id % len(_COLORS)]
        x1, y1, x2, y2 = (float(value) for value in detections.boxes[index])
        draw.rectangle((x1, y1, max(x1, x2), max(y1, y2)), outline=color, width=line)
        text = f"{classes[class_id]} {detections.scores[index]:.2f}"
        left, top, right, bottom = draw.textbbox((x1, y1), text, font=font, anchor="lb")
        shift = max(0.0, -top)
        draw.rectangle((left, top + shift, right, bottom + shift), fill=color)
        draw.text((x1, y1 + shift), text, font=font, fill=(0, 0, 0), anchor="lb")
    return image


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    try:
        return ImageFont.truetype(_FONT, size)
    except OSError:
        return ImageFont.load_default(size)
