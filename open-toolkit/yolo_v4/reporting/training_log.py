"""The training log: one CSV row an epoch."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from yolo_v4.files import atomic_path

_NAN = float("nan")


@dataclass(frozen=True)
class EpochRow:
    """One epoch's numbers; the last three are None when the epoch was not evaluated."""

    epoch: int
    loss: float
    learning_rate: float
    precisions: Mapping[str, float] | None = None
    mean_precision: float | None = None
    validation_loss: float | None = None


class TrainingLog:
    """Appends rows that are on disk when ``write`` returns.

    TAO truncates the file on every start; here a resumed run keeps the rows of the epochs that it builds upon.
    """

    def __init__(self, path: Path, classes: Sequence[str], start_epoch: int) -> None:
        """Rows of epochs up to ``start_epoch`` are kept from a file of the same columns."""
        self._path = path
        self._classes = list(classes)
        self._columns = sorted(
            [*(f"AP_{name}" for name in self._classes), "epoch", "loss", "lr", "mAP", "validation_loss"],
            key=lambda column: (column != "epoch", column),
        )
        kept = self._earlier_rows(start_epoch)
        with atomic_path(path) as temporary:
            temporary.write_text(_encode([self._columns, *kept]), encoding="utf-8", newline="")

    def write(self, row: EpochRow) -> None:
        """Append one epoch."""
        values = {
            "epoch": str(row.epoch),
            "loss": repr(row.loss),
            "lr": repr(row.learning_rate),
            "mAP": _number(row.mean_precision),
            "validation_loss": _number(row.validation_loss),
        }
        for name in self._classes:
            values[f"AP_{name}"] = _number(None if row.precisions is None else row.precisions[name])
        with self._path.open("a", encoding="utf-8", newline="") as file:
            file.write(_encode([[values[column] for column in self._columns]]))
            file.flush()
            os.fsync(file.fileno())

    def _earlier_rows(self, start_epoch: int) -> list[list[str]]:
        if start_epoch == 0 or not self._path.is_file():
            return []
        with self._path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
        if not rows or rows[0] != self._columns:
            return []
        return [row for row in rows[1:] if len(row) == len(self._columns) and _epoch(row) <= start_epoch]


def _epoch(row: Sequence[str]) -> float:
    return int(row[0]) if row[0].isdigit() else float("inf")


def _number(value: float | None) -> str:
    return repr(_NAN if value is None else value)


def _encode(rows: Sequence[Sequence[str]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerows(rows)
    return buffer.getvalue()
