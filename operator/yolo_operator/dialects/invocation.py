"""What a stage runs, as values: shared by the dialects, which make them, and the pipeline, which puts them into Jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

KEY_TOKEN = "{key}"  # noqa: S105 - stands where the runner, and it alone, puts the key
SPEC_FILE = "config.txt"
DATASET_MOUNT = "/dataset"
"""Where the dataset's own claim is mounted."""


@dataclass(frozen=True, slots=True)
class DataPaths:
    """Where the data lie in the container: absolute paths of directories with KITTI labels."""

    train_images: str
    train_labels: str
    validation_images: str
    validation_labels: str
    unlabelled_images: str | None = None
    pseudo_labels: str | None = None
    """A round's labels of the unlabelled images: a second source of training data."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """One run of the toolkit, in the terms of docs/stage-contract.md."""

    task: str
    """kmeans, train, evaluate, prune, export or inference."""
    argv: tuple[str, ...]
    """The command; KEY_TOKEN stands for the key."""
    directories: tuple[str, ...] = ()
    """Made before the run."""
    expect: Mapping[str, Any] = field(default_factory=dict)
    """`expect` of the instructions: what a true success leaves behind."""
    resume: Mapping[str, Any] | None = None
    """`resume` of the instructions; training only."""
    reads: tuple[str, ...] = ()
    """Absolute paths of the user's own that must be there, beside the model and the dataset."""
