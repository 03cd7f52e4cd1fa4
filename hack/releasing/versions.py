"""The version: pyproject.toml's counts, and every other place must say the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

VERSION = r"\d+\.\d+\.\d+(?:-[0-9A-Za-z.]+)?"


class ReleaseError(Exception):
    """Why there can be no release; the message says what to do."""


class Place(NamedTuple):
    """Where the version is written: a file, and what stands before and after it."""

    path: str
    before: str
    after: str = ""

    def pattern(self) -> re.Pattern[str]:
        """Finds the version of this place."""
        return re.compile(rf"({self.before})({VERSION})({self.after})", flags=re.MULTILINE)


PLACES = (
    Place("pyproject.toml", r'^version = "', '"'),
    Place("operator/yolo_operator/__init__.py", r'^__version__ = "', '"'),
    Place("open-toolkit/pyproject.toml", r'^version = "', '"'),
    Place("open-toolkit/yolo_v4/__init__.py", r'^__version__ = "', '"'),
    Place("helm/yolo-operator/Chart.yaml", r"^version: ", "$"),
    Place("helm/yolo-operator/Chart.yaml", r"^appVersion: ", "$"),
    Place("Dockerfile", r"^ARG VERSION=", "$"),
    Place("open-toolkit/Dockerfile", r"^ARG VERSION=", "$"),
)
CHANGELOG = "CHANGELOG.md"
UNRELEASED = "## Unreleased\n"


def found(root: Path) -> list[tuple[Place, str]]:
    """The version of each place.

    Raises:
        ReleaseError: when a place has none, or several.
    """
    versions = []
    for place in PLACES:
        hits = place.pattern().findall((root / place.path).read_text(encoding="utf-8"))
        if len(hits) != 1:
            raise ReleaseError(f"{place.path}: the version must be there once after {place.before!r}, not {len(hits)} times")
        versions.append((place, hits[0][1]))
    return versions


def current(root: Path) -> str:
    """The version.

    Raises:
        ReleaseError: naming the places that say another one than pyproject.toml.
    """
    (_, version), *others = found(root)
    wrong = [f"{place.path} ({place.before.strip('^')}{other})" for place, other in others if other != version]
    if wrong:
        raise ReleaseError(f"pyproject.toml says {version}, others do not: {', '.join(wrong)}")
    return version


def order(version: str) -> tuple[tuple[int, ...], tuple[tuple[int, int, str], ...]]:
    """A key that sorts as semantic versions do: a pre-release comes before its release."""
    numbers, _, pre = version.partition("-")
    parts = [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in pre.split(".")] if pre else [(2, 0, "")]
    return tuple(int(part) for part in numbers.split(".")), tuple(parts)


def bump(root: Path, version: str, date: str) -> None:
    """Write a version everywhere, and close the changelog's part about what is unreleased; date: YYYY-MM-DD.

    Raises:
        ReleaseError: when it is no later version, or nothing has changed by the changelog.
    """
    if not re.fullmatch(VERSION, version):
        raise ReleaseError(f"{version} is no semantic version: MAJOR.MINOR.PATCH, or with -rc.N")
    before = current(root)
    if order(version) <= order(before):
        raise ReleaseError(f"{version} is not later than {before}")
    changes = closed((root / CHANGELOG).read_text(encoding="utf-8"), version, date)
    for place in PLACES:
        path = root / place.path
        path.write_text(place.pattern().sub(rf"\g<1>{version}\g<3>", path.read_text(encoding="utf-8")), encoding="utf-8")
    (root / CHANGELOG).write_text(changes, encoding="utf-8")


def closed(changelog: str, version: str, date: str) -> str:
    """The changelog with its unreleased part under the version."""
    head, start, rest = changelog.partition(UNRELEASED)
    changes = rest.split("\n## ")[0].strip()
    if not start or not changes:
        raise ReleaseError(f"{CHANGELOG} says nothing under `{UNRELEASED.strip()}`: what is the release about?")
    return f"{head}{UNRELEASED}\n## {version} – {date}\n{rest}"


def notes(changelog: str, version: str) -> str:
    """What the changelog says of a version; of what is unreleased, when that version is not in it."""
    for part in changelog.split("\n## ")[1:]:
        title, _, text = part.partition("\n")
        if title.split(" – ")[0] == version:
            return text.strip() + "\n"
    return changelog.partition(UNRELEASED)[2].split("\n## ")[0].strip() + "\n"
