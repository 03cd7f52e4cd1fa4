"""The YOLOv4 loss: location (CIoU), objectness of responsible and of idle anchors, classes.

Location, positive objectness and class terms are means over responsible anchors, negative objectness is a mean over idle ones, so
that the spec's weights mean the same for any batch and input size. (TAO sums over a batch instead; its loss values are larger.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from yolo_v4.model.graph import STRIDES
from yolo_v4.model.head import Head, ScaleOutput, decode_scale
from yolo_v4.spec.messages import YOLOv4Config
from yolo_v4.training.assign import Assignment, assign

_TINY = 1e-7


@dataclass(frozen=True)
class _Positives:
    """Responsible anchors of all scales: boxes (k, 4), wanted boxes (k, 4), logits (k, 1 + classes), class ids (k,)."""

    boxes: Tensor
    wanted: Tensor
    logits: Tensor
    classes: Tensor


class YoloLoss:
    """Computes the weighted sum for a batch."""

    def __init__(self, config: YOLOv4Config, head: Head, class_weights: list[float], device: torch.device) -> None:
        self._config = config
        self._head = head
        self._class_weights = torch.tensor(class_weights, device=device)

    def __call__(self, raws: tuple[Tensor, Tensor, Tensor], targets: NDArray[np.float32]) -> Tensor:
        """Scalar loss of raw outputs against targets (n, 6): image, class, centre x, centre y, width, height in pixels."""
        outputs = [decode_scale(raw, self._head, scale) for scale, raw in enumerate(raws)]
        grids = [(raw.shape[2], raw.shape[3]) for raw in raws]
        matches = assign(targets, self._head.anchors, grids, STRIDES, self._config.box_matching_iou)
        wanted = torch.from_numpy(targets).to(raws[0].device)
        positives = _gather(outputs, matches, wanted)
        negative_sum, negatives = self._negatives(outputs, matches, wanted)
        count = max(1, len(positives.boxes))
        loss = self._config.loss_neg_obj_weights * negative_sum / negatives.clamp(min=1)
        if len(positives.boxes):
            location = (1 - complete_iou(positives.boxes, positives.wanted)).sum()
            objectness = self._binary(positives.logits[:, 0], torch.ones_like(positives.logits[:, 0])).sum()
            loss = loss + (self._config.loss_loc_weight * location + objectness) / count
            loss = loss + self._config.loss_class_weights * self._class_loss(positives) / count
        return loss

    def _class_loss(self, positives: _Positives) -> Tensor:
        logits = positives.logits[:, 1:]
        smoothing = self._config.label_smoothing
        wanted = F.one_hot(positives.classes, logits.shape[1]).to(logits.dtype)
        wanted = wanted * (1 - smoothing) + smoothing / 2
        return (F.binary_cross_entropy_with_logits(logits, wanted, reduction="none") * self._class_weights).sum()

    def _negatives(
        self, outputs: list[ScaleOutput], matches: list[Assignment], wanted: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Sum of the objectness loss over idle anchors, and their number.

        An anchor whose prediction overlaps an object well without being responsible for it is neither.
        """
        total = outputs[0].boxes.new_zeros(())
        number = outputs[0].boxes.new_zeros(())
        for output, match in zip(outputs, matches, strict=True):
            idle = ~_overlapping(output.boxes.detach(), wanted, self._config.matching_neutral_box_iou)
            idle[match.image, match.anchor, match.row, match.column] = False
            logits = output.logits[..., 0]
            losses = self._binary(logits, torch.zeros_like(logits))
            total = total + (losses * idle).sum()
            number = number + idle.sum()
        return total, number

    def _binary(self, logits: Tensor, wanted: Tensor) -> Tensor:
        """Cross-entropy, focal when the spec sets both constants."""
        losses = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        alpha, gamma = self._config.focal_loss_alpha, self._config.focal_loss_gamma
        if alpha > 0 and gamma > 0:
            missed = torch.where(wanted > 0.5, torch.sigmoid(-logits), torch.sigmoid(logits))
            balance = torch.where(wanted > 0.5, alpha, 1 - alpha)
            losses = losses * balance * missed**gamma
        return losses


def _gather(outputs: list[ScaleOutput], matches: list[Assignment], wanted: Tensor) -> _Positives:
    boxes, logits, rows = [], [], []
    for output, match in zip(outputs, matches, strict=True):
        place = (match.image, match.anchor, match.row, match.column)
        boxes.append(output.boxes[place])
        logits.append(output.logits[place])
        rows.append(torch.from_numpy(match.target).to(wanted.device))
    index = torch.cat(rows)
    return _Positives(torch.cat(boxes), wanted[index, 2:6], torch.cat(logits), wanted[index, 1].long())


def _overlapping(boxes: Tensor, wanted: Tensor, bound: float) -> Tensor:
    """(batch, a, h, w): whether a predicted box (centre form) overlaps any object of its image by more than ``bound``."""
    batch = boxes.shape[0]
    result = torch.zeros(boxes.shape[:-1], dtype=torch.bool, device=boxes.device)
    if not len(wanted):
        return result
    images = wanted[:, 0].long()
    most = int(torch.bincount(images, minlength=batch).max())
    padded = boxes.new_zeros(batch, most, 4)
    order = torch.argsort(images, stable=True)
    first = torch.searchsorted(images[order], torch.arange(batch, device=boxes.device))
    rank = torch.arange(len(order), device=boxes.device) - first[images[order]]
    padded[images[order], rank] = wanted[order, 2:6]
    flat = boxes.flatten(1, 3)
    overlap = _pairwise_iou(flat, padded).amax(dim=-1)
    return (overlap > bound).view(result.shape)


def _pairwise_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """(batch, n, 4) and (batch, m, 4) in centre form to (batch, n, m)."""
    low = torch.maximum(
        (boxes[..., :2] - boxes[..., 2:] / 2).unsqueeze(2), (others[..., :2] - others[..., 2:] / 2).unsqueeze(1)
    )
    high = torch.minimum(
        (boxes[..., :2] + boxes[..., 2:] / 2).unsqueeze(2), (others[..., :2] + others[..., 2:] / 2).unsqueeze(1)
    )
    shared = (high - low).clamp(min=0).prod(dim=-1)
    areas = boxes[..., 2:].prod(dim=-1).unsqueeze(2) + others[..., 2:].prod(dim=-1).unsqueeze(1)
    return shared / (areas - shared + _TINY)


def complete_iou(boxes: Tensor, wanted: Tensor) -> Tensor:
    """CIoU of row-wise paired boxes (k, 4) in centre form: overlap less centre distance less difference of shape."""
    low, high = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
    wanted_low, wanted_high = wanted[:, :2] - wanted[:, 2:] / 2, wanted[:, :2] + wanted[:, 2:] / 2
    shared = (torch.minimum(high, wanted_high) - torch.maximum(low, wanted_low)).clamp(min=0).prod(dim=-1)
    overlap = shared / (boxes[:, 2:].prod(dim=-1) + wanted[:, 2:].prod(dim=-1) - shared + _TINY)
    hull = torch.maximum(high, wanted_high) - torch.minimum(low, wanted_low)
    distance = (boxes[:, :2] - wanted[:, :2]).square().sum(-1) / (hull.square().sum(-1) + _TINY)
    angle = torch.atan2(wanted[:, 2], wanted[:, 3]) - torch.atan2(boxes[:, 2], boxes[:, 3])
    shape = (2 / math.pi * angle).square()
    with torch.no_grad():
        weight = shape / (1 - overlap + shape + _TINY)
    return overlap - distance - weight * shape
