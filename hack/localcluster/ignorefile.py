"""Which files of a build's context don't count, by the rules of `.dockerignore`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

# Never part of an image, whatever a folder's own list says.
ALWAYS = ("**/__pycache__", "**/*.pyc", "**/*.egg-info", "**/.git", "**/.venv", "**/.mypy_cache", "**/.pytest_cache")


@dataclass(frozen=True)
class Ignore:
    """A list of patterns, the later ones stronger; `!` takes back."""

    patterns: tuple[str, ...]

    @classmethod
    def of(cls, context: Path, dockerfile: Path) -> Ignore:
        """Read `<Dockerfile>.dockerignore` beside the Dockerfile or `.dockerignore` in the context, and add what never counts."""
        for path in (dockerfile.with_name(f"{dockerfile.name}.dockerignore"), context / ".dockerignore"):
            if path.is_file():
                return cls((*parse(path.read_text()), *ALWAYS))
        return cls(ALWAYS)

    def ignores(self, path: str) -> bool:
        """Tell whether a relative path is left out. A pattern that matches a folder matches all in it."""
        parts = path.split("/")
        prefixes = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
        ignored = False
        for pattern in self.patterns:
            back = pattern.startswith("!")
            if ignored is back and any(_regex(pattern.lstrip("!")).fullmatch(prefix) for prefix in prefixes):
                ignored = not back
        return ignored

    def files(self, root: Path, sources: Iterable[str]) -> Iterator[Path]:
        """Give the files under some paths of a context (shell patterns allowed) that count."""
        seen: set[Path] = set()
        for source in sources:
            name = source.strip("/") or "."
            for found in [root] if name == "." else sorted(root.glob(name.removeprefix("./"))):
                for file in found.rglob("*") if found.is_dir() else [found]:
                    if file.is_dir() and not file.is_symlink():
                        continue
                    if file not in seen and not self.ignores(file.relative_to(root).as_posix()):
                        seen.add(file)
                        yield file


def parse(text: str) -> tuple[str, ...]:
    """Give the patterns of a file: one a line, without comments and empty lines."""
    lines = (line.strip() for line in text.splitlines())
    kept = (line for line in lines if line and not line.startswith("#"))
    return tuple(f"!{line[1:].strip('/ ')}" if line.startswith("!") else line.strip("/") for line in kept)


def _regex(pattern: str) -> re.Pattern[str]:
    """Translate one pattern: `**` crosses folders, `*` and `?` don't."""
    out, rest = "", pattern
    while rest:
        if rest.startswith("**/"):
            out, rest = f"{out}(?:.*/)?", rest[3:]
        elif rest.startswith("**"):
            out, rest = f"{out}.*", rest[2:]
        elif rest[0] in "*?":
            out, rest = f"{out}[^/]{'*' if rest[0] == '*' else ''}", rest[1:]
        else:
            out, rest = out + re.escape(rest[0]), rest[1:]
    return re.compile(out)
