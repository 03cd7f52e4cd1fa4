"""Checks of a model's classes, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from yolo_v4.errors import ModelError


def check_classes(model_classes: Sequence[str], spec_classes: Sequence[str], path: str | Path) -> None:
    """Refuse a model of other classes than the experiment spec's."""
    if list(model_classes) != list(spec_classes):
        raise ModelError(
            f"{path} was trained for the classes {', '.join(model_classes)}, "
            f"but target_class_mapping gives {', '.join(spec_classes)}"
        )
