"""What a report shows beyond the status: curves and pictures, from files of the workspace, wherever those are read.

A training's curve is the `history` in its report.json; pictures are those that the last inference drew its boxes into. What
cannot be read is told and left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

from yolo_operator.cli.report import History, Picture, image_type, trained_stages
from yolo_operator.cli.summary import Object, stage_list
from yolo_operator.cli.words import StageKey, stage_key, title
from yolo_operator.pipeline import values
from yolo_operator.pipeline.names import stage_directory

PICTURES = 6
PICTURE_BYTES = 400_000
"""A larger picture is left out: the page stays one that can be mailed."""


class Files(Protocol):
    """Files of a workspace; paths are relative to it."""

    def read(self, path: str) -> Iterable[bytes]:
        """A file's bytes, in pieces."""
        ...

    def files(self, path: str) -> dict[str, int]:
        """Bytes of the files directly in a directory, by name."""
        ...


class MountedFiles:
    """A workspace that is mounted here."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, path: str) -> Iterable[bytes]:
        """A file's bytes, at once; OSError when there is no such file."""
        return [(self._root / path).read_bytes()]

    def files(self, path: str) -> dict[str, int]:
        """Bytes of the files directly in a directory, by name; OSError when there is none."""
        return {file.name: file.stat().st_size for file in (self._root / path).iterdir() if file.is_file()}


def recorded_directory(stage: Object) -> str:
    """The directory of a stage that has a digest, relative to the workspace: the recorded one, else the first of its digest."""
    name, variant = stage_key(stage)
    computed = stage_directory("", values.StageKey(name, variant), str(stage["digest"])).lstrip("/")
    return str(stage.get("directory") or computed)


def histories(
    workspace: Files, experiment: Object, *, errors: tuple[type[Exception], ...], told: Callable[[str], Any]
) -> dict[StageKey, History]:
    """The curve of every training, from its report in the workspace; `errors` are those of reading."""
    found: dict[StageKey, History] = {}
    unreadable: tuple[type[Exception], ...] = (ValueError, AttributeError, *errors)
    for stage in trained_stages(experiment):
        try:
            text = b"".join(workspace.read(f"{recorded_directory(stage)}/report.json"))
            rows = json.loads(text).get("history")
        except unreadable as error:
            if stage.get("state") == "Succeeded":
                told(f"no curve of {title(stage)}: {error}")
            continue
        if isinstance(rows, list) and rows:
            found[stage_key(stage)] = [row for row in rows if isinstance(row, dict)]
    return found


def pictures(workspace: Files, experiment: Object, most: int = PICTURES) -> list[Picture]:
    """Some of the images that the last inference drew its boxes into, evenly spread over their names."""
    artifacts = [
        artifact
        for stage in stage_list(experiment)
        if stage_key(stage)[0] == "inference"
        for artifact in stage.get("artifacts") or ()
        if artifact.get("name") == "images"
    ]
    if not artifacts or not most:
        return []
    directory = str(artifacts[-1]["path"])
    names = [name for name, size in sorted(workspace.files(directory).items()) if name and size <= PICTURE_BYTES]
    step = max(1, len(names) // most)
    found = [Picture(name, b"".join(workspace.read(f"{directory}/{name}"))) for name in names[::step][:most]]
    return [picture for picture in found if image_type(picture.data)]
