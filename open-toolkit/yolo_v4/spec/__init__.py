"""The experiment spec: read, bound to typed messages, validated."""

from __future__ import annotations

from pathlib import Path

from yolo_v4.errors import SpecError
from yolo_v4.spec.anchors import parse_anchors
from yolo_v4.spec.messages import Experiment
from yolo_v4.spec.schema import bind
from yolo_v4.spec.textformat import parse
from yolo_v4.spec.validate import validate

__all__ = ["Experiment", "load_spec", "parse_anchors", "parse_spec"]


def parse_spec(text: str) -> Experiment:
    """Read and validate the text of an experiment spec; raises SpecError."""
    experiment = bind(parse(text), Experiment())
    validate(experiment)
    return experiment


def load_spec(path: str | Path) -> Experiment:
    """Read and validate an experiment spec file; raises SpecError that names the file."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"cannot read the experiment spec {path}: {error}") from error
    try:
        return parse_spec(text)
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from error
