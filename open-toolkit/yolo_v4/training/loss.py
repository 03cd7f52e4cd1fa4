"""The YOLOv4 loss: location (CIoU), objectness of responsible and of idle anchors, classes.

Location, positive objectness and class terms are means over the responsible anchors of a batch, negative objectness is
a mean over the idle ones, so that the spec's weights, the regulariser's too, mean the same for any batch and input
size. TAO's values are larger.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from yolo_v4.model.graph import STRIDES
from yolo_v4.model.head import Decoder, Head
from yolo_v4.spec.messages import YOLOv4Config
from yolo_v4.training.assign import assign

_TINY = 1e-7


class YoloLoss:
    """Computes the weighted sum for a batch."""

    def __init__(self, config: YOLOv4Config, head: Head, class_weights: list[float], device: torch.device) -> None:
        self._config = config
        self._head = head
        self._decode = Decoder(head)
        self._class_weights = torch.tensor(class_weights, device=device)

    def __call__(self, raws: tuple[Tensor, Tensor, Tensor], targets: NDArray[np.float32]) -> Tensor:
        """Scalar loss against targets (n, 6): image, class, centre x, centre y, width, height in pixels."""
        boxes, logits = self._decode(raws)
        device = boxes.device
        grids = self._decode.layout(raws).grids
        match = assign(targets, self._head.anchors, grids, STRIDES, self._config.box_matching_iou)
        place = (torch.from_numpy(match.image).to(device), torch.from_numpy(match.place).to(device))
        wanted = torch.from_numpy(targets[match.target]).to(device)
        count = len(match.target)
        loss = self._config.loss_neg_obj_weights * self._negative(boxes, logits, targets, place)
        if count:
            found = logits[place]
            location = (1 - complete_iou(boxes[place], wanted[:, 2:])).sum()
            objectness = self._binary(found[:, 0], torch.ones_like(found[:, 0])).sum()
            classes = self._class_loss(found[:, 1:], wanted[:, 1].long())
            weights = self._config
            total = weights.loss_loc_weight * location + objectness + weights.loss_class_weights * classes
            loss = loss + total / count
        return loss

    def _class_loss(self, logits: Tensor, classes: Tensor) -> Tensor:
        smoothing = self._config.label_smoothing
        wanted = F.one_hot(classes, logits.shape[1]).to(logits.dtype) * (1 - smoothing) + smoothing / 2
        return (F.binary_cross_entropy_with_logits(logits, wanted, reduction="none") * self._class_weights).sum()

    def _negative(
        self, boxes: Tensor, logits: Tensor, targets: NDArray[np.float32], responsible: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Mean objectness loss of idle anchors.

        An anchor whose prediction overlaps an object well without being responsible for it is neither idle nor
        responsible.
        """
        idle = ~_overlapping(boxes.detach(), targets, self._config.matching_neutral_box_iou)
        idle[responsible] = False
        losses = self._binary(logits[..., 0], torch.zeros_like(logits[..., 0]))
        return (losses * idle).sum() / idle.sum().clamp(min=1)

    def _binary(self, logits: Tensor, wanted: Tensor) -> Tensor:
        """Cross-entropy, focal when the spec sets both constants."""
        losses = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        alpha, gamma = self._config.focal_loss_alpha, self._config.focal_loss_gamma
        if alpha > 0 and gamma > 0:
            missed = torch.where(wanted > 0.5, torch.sigmoid(-logits), torch.sigmoid(logits))
            balance = torch.where(wanted > 0.5, alpha, 1 - alpha)
            losses = losses * balance * missed**gamma
        return losses


def _overlapping(boxes: Tensor, targets: NDArray[np.float32], bound: float) -> Tensor:
    """(batch, n): whether a predicted box (centre form) overlaps any object of its image by more than ``bound``."""
    images = targets[:, 0].astype(np.int64)
    batch = len(boxes)
    counts = np.bincount(images, minlength=batch)
    if not len(images):
        return torch.zeros(boxes.shape[:-1], dtype=torch.bool, device=boxes.device)
    # Rows of targets come image by image; the rest of each image's slots stay empty boxes, which overlap nothing.
    rank = np.arange(len(images)) - np.concatenate([[0], np.cumsum(counts)[:-1]])[images]
    padded = np.zeros((batch, int(np.max(counts)), 4), dtype=np.float32)
    padded[images, rank, :2] = targets[:, 2:4] - targets[:, 4:6] / 2
    padded[images, rank, 2:] = targets[:, 2:4] + targets[:, 4:6] / 2
    # Coordinate by coordinate, (batch, n, 1) against (batch, 1, m): the inner loops then run over objects without gaps.
    left, top, right, bottom = torch.from_numpy(padded).to(boxes.device).unsqueeze(1).unbind(dim=-1)
    x, y, width, height = (value.unsqueeze(2) for value in boxes.unbind(dim=-1))
    shared_x = torch.minimum(x + width / 2, right) - torch.maximum(x - width / 2, left)
    shared_y = torch.minimum(y + height / 2, bottom) - torch.maximum(y - height / 2, top)
    shared = shared_x.clamp_(min=0).mul_(shared_y.clamp_(min=0))
    total = width * height + (right - left) * (bottom - top)
    # shared / (total - shared) > bound, without the division.
    return (shared.mul_(1 + bound) > total.mul_(bound)).any(dim=-1)


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
