"""What is wrong with a dataset: all of it counted, the first of it told."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

SHOWN = 20
"""Errors told in full; the rest is a number."""


@dataclass
class Findings:
    """Errors and warnings, with paths relative to `root`."""

    root: Path
    errors: list[str] = field(default_factory=list)
    """The first `SHOWN`, each a sentence: where, what, what to do."""
    error_count: int = 0
    _warned: Counter[tuple[str, str]] = field(default_factory=Counter)
    _example: dict[tuple[str, str], str] = field(default_factory=dict)

    def name(self, path: Path) -> str:
        """The path as the user knows it."""
        return os.path.relpath(path, self.root)

    def error(self, path: Path, what: str, line: int | None = None) -> None:
        self.error_count += 1
        if len(self.errors) < SHOWN:
            self.errors.append(f"{self.name(path)}{'' if line is None else f':{line}'}: {what}")

    def warn(self, reason: str, what: str, path: Path) -> None:
        """Count a warning; `what` follows a number of things, as in "labels have no image"."""
        self._warned[reason, what] += 1
        self._example.setdefault((reason, what), self.name(path))

    def warnings(self) -> list[tuple[str, str]]:
        """Reason and sentence of each kind of warning."""
        return [
            (reason, f"{count} {what} (the first: {self._example[reason, what]})")
            for (reason, what), count in self._warned.items()
        ]

    def summary(self) -> str:
        """The first error, and how many more there are."""
        more = self.error_count - 1
        return self.errors[0] + (f" (and {more} more)" if more else "")
