"""What the raw outputs mean: boxes in network pixels, objectness, class scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from yolo_v4.model.graph import STRIDES
from yolo_v4.spec import parse_anchors
from yolo_v4.spec.messages import YOLOv4Config

MAXIMUM_LOG_SCALE = 6.0
"""A box is at most e^6 times its anchor: keeps exp finite in the first steps."""


@dataclass(frozen=True)
class Head:
    """Anchors and offsets of the three scales, coarse to fine."""

    anchors: tuple[tuple[tuple[float, float], ...], ...]
    """(width, height) in network pixels."""
    extends: tuple[float, float, float]
    """How far, in cells, a box's centre may lie outside its cell (half of it on each side)."""
    classes: int

    @classmethod
    def from_spec(cls, config: YOLOv4Config, classes: int) -> Head:
        """Read the spec's anchors and grid extensions."""
        scales = ("big", "mid", "small")
        anchors = tuple(
            tuple(parse_anchors(getattr(config, f"{scale}_anchor_shape"), f"{scale}_anchor_shape")) for scale in scales
        )
        extends = (config.big_grid_xy_extend, config.mid_grid_xy_extend, config.small_grid_xy_extend)
        return cls(anchors, extends, classes)

    @property
    def counts(self) -> tuple[int, int, int]:
        """Anchors of each scale."""
        big, mid, small = (len(scale) for scale in self.anchors)
        return big, mid, small


class ScaleOutput(NamedTuple):
    """One scale, decoded: boxes (batch, a, h, w, 4) as centre x, centre y, width, height in network pixels;

    logits (batch, a, h, w, 1 + classes): objectness, then classes.
    """

    boxes: Tensor
    logits: Tensor


def decode_scale(raw: Tensor, head: Head, scale: int) -> ScaleOutput:
    """Decode one raw output (batch, a * (5 + classes), h, w), in float32."""
    batch, _, height, width = raw.shape
    anchors = torch.tensor(head.anchors[scale], device=raw.device)
    raw = raw.float().view(batch, len(anchors), 5 + head.classes, height, width).permute(0, 1, 3, 4, 2)
    extend = head.extends[scale]
    rows, columns = torch.meshgrid(
        torch.arange(height, device=raw.device), torch.arange(width, device=raw.device), indexing="ij"
    )
    offsets = torch.sigmoid(raw[..., :2]) * (1 + extend) - extend / 2
    centres = (offsets + torch.stack([columns, rows], dim=-1)) * STRIDES[scale]
    sides = torch.exp(raw[..., 2:4].clamp(max=MAXIMUM_LOG_SCALE)) * anchors.view(1, -1, 1, 1, 2)
    return ScaleOutput(torch.cat([centres, sides], dim=-1), raw[..., 4:])


def decode(raws: tuple[Tensor, Tensor, Tensor], head: Head) -> tuple[Tensor, Tensor]:
    """All scales as one list of candidates.

    Returns:
        Corners (batch, n, 4) x1 y1 x2 y2 in network pixels, and scores (batch, n, classes): objectness times class probability.

    """
    corners, scores = [], []
    for scale, raw in enumerate(raws):
        output = decode_scale(raw, head, scale)
        probabilities = torch.sigmoid(output.logits)
        boxes = output.boxes.flatten(1, 3)
        half = boxes[..., 2:] / 2
        corners.append(torch.cat([boxes[..., :2] - half, boxes[..., :2] + half], dim=-1))
        scores.append((probabilities[..., :1] * probabilities[..., 1:]).flatten(1, 3))
    return torch.cat(corners, 1), torch.cat(scores, 1)
