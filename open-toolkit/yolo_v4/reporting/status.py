"""The status file: one JSON object a line, appended, in TAO's shape."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from yolo_v4.files import make_directory

STARTED, RUNNING, SUCCESS, FAILURE = "STARTED", "RUNNING", "SUCCESS", "FAILURE"


class StatusLog:
    """Appends records to ``status.json``; does nothing without a results folder.

    ``graphical`` and ``kpi`` are sticky, as in TAO: a record repeats the last ones unless it brings its own.
    """

    def __init__(self, results_dir: str | Path | None) -> None:
        self._path = make_directory(results_dir) / "status.json" if results_dir else None
        self._sticky: dict[str, Any] = {}

    def write(
        self,
        status: str,
        message: str,
        *,
        head: Mapping[str, Any] | None = None,
        graphical: Mapping[str, Any] | None = None,
        kpi: Mapping[str, Any] | None = None,
    ) -> None:
        """Append one record; ``head`` comes before the date, as an epoch's numbers do."""
        if graphical is not None:
            self._sticky["graphical"] = dict(graphical)
        if kpi is not None:
            self._sticky["kpi"] = dict(kpi)
        if self._path is None:
            return
        now = datetime.datetime.now()  # noqa: DTZ005 - local time without a zone, as in TAO
        record = {
            **(head or {}),
            "date": f"{now.month}/{now.day}/{now.year}",
            "time": f"{now.hour}:{now.minute}:{now.second}",
            "status": status,
            "verbosity": "INFO",
            "message": message,
            **self._sticky,
        }
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(_strict(record)) + "\n")


def epoch_numbers(
    *, loss: float, learning_rate: float, validation_loss: float | None, mean_precision: float | None
) -> tuple[dict[str, str], dict[str, str]]:
    """``graphical`` and ``kpi`` of an epoch; TAO writes these numbers as strings, "nan" where there is none."""
    precision = _text(mean_precision)
    graphical = {
        "loss": _text(loss),
        "learning_rate": _text(learning_rate),
        "validation_loss": _text(validation_loss),
        "mean average precision": precision,
    }
    return graphical, {"mean average precision": precision}


def _text(value: float | None) -> str:
    return "nan" if value is None else str(value)


def _strict(value: Any) -> Any:
    """Without bare NaN, which is no JSON."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    return value
