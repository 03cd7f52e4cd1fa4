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


class Candidates(NamedTuple):
    """All anchors of all cells, decoded; in the order of ``Layout``.

    boxes: (batch, n, 4) centre x, centre y, width, height in network pixels. logits: (batch, n, 1 + classes):
    objectness, then classes.
    """

    boxes: Tensor
    logits: Tensor


class Layout:
    """Where the candidates of one input size lie: scale by scale, coarse to fine, then anchor, row, column."""

    def __init__(self, head: Head, grids: list[tuple[int, int]], device: torch.device) -> None:
        """``grids`` are (rows, columns) of the scales."""
        origins, anchors, strides, extends = [], [], [], []
        for scale, (rows, columns) in enumerate(grids):
            y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
            count = len(head.anchors[scale])
            origins.append(torch.stack([x, y], dim=-1).view(1, -1, 2).expand(count, -1, 2).reshape(-1, 2))
            shapes = torch.tensor(head.anchors[scale]).view(count, 1, 2)
            anchors.append(shapes.expand(count, rows * columns, 2).reshape(-1, 2))
            strides.append(torch.full((count * rows * columns, 1), float(STRIDES[scale])))
            extends.append(torch.full((count * rows * columns, 1), head.extends[scale]))
        stride, extend = torch.cat(strides), torch.cat(extends)
        # centre = (sigmoid(t) * (1 + extend) - extend / 2 + origin) * stride, as one product and one sum.
        self.centre_factor = ((1 + extend) * stride).to(device)
        self.centre_offset = ((torch.cat(origins) - extend / 2) * stride).to(device)
        self.anchors = torch.cat(anchors).to(device)
        self.grids = grids
        self.first = [0]
        for scale, (rows, columns) in enumerate(grids):
            self.first.append(self.first[-1] + len(head.anchors[scale]) * rows * columns)


class Decoder:
    """Turns raw outputs into candidates; keeps the layouts of the input sizes that it has met."""

    def __init__(self, head: Head) -> None:
        self._head = head
        self._layouts: dict[tuple[object, ...], Layout] = {}

    def layout(self, raws: tuple[Tensor, Tensor, Tensor]) -> Layout:
        """The layout of these outputs."""
        grids = [(raw.shape[2], raw.shape[3]) for raw in raws]
        key = (*grids, raws[0].device)
        if key not in self._layouts:
            self._layouts[key] = Layout(self._head, grids, raws[0].device)
        return self._layouts[key]

    def __call__(self, raws: tuple[Tensor, Tensor, Tensor]) -> Candidates:
        """Decode the three raw outputs (batch, anchors * (5 + classes), h, w), coarse to fine, in float32."""
        layout = self.layout(raws)
        parts = []
        for raw, count in zip(raws, self._head.counts, strict=True):
            batch, _, rows, columns = raw.shape
            parts.append(raw.view(batch, count, 5 + self._head.classes, rows * columns).transpose(2, 3).flatten(1, 2))
        flat = torch.cat(parts, dim=1).float()
        centres = torch.sigmoid(flat[..., :2]) * layout.centre_factor + layout.centre_offset
        sides = torch.exp(flat[..., 2:4].clamp(max=MAXIMUM_LOG_SCALE)) * layout.anchors
        return Candidates(torch.cat([centres, sides], dim=-1), flat[..., 4:])


def corners_and_scores(candidates: Candidates) -> tuple[Tensor, Tensor]:
    """Corners (batch, n, 4) in network pixels, and scores (batch, n, classes): objectness times class probability."""
    boxes, probabilities = candidates.boxes, torch.sigmoid(candidates.logits)
    half = boxes[..., 2:] / 2
    corners = torch.cat([boxes[..., :2] - half, boxes[..., :2] + half], dim=-1)
    return corners, probabilities[..., :1] * probabilities[..., 1:]
