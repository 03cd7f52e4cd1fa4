"""Content keys: a name for what was built, made of everything the result depends on."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

KEY_LENGTH = 16


def of_parts(*parts: str) -> str:
    """Give the key of some texts; each is framed by its length, so that ("ab", "c") and ("a", "bc") differ."""
    digest = hashlib.sha256()
    for part in parts:
        raw = part.encode()
        digest.update(f"{len(raw)}:".encode())
        digest.update(raw)
    return digest.hexdigest()[:KEY_LENGTH]


def of_files(root: Path, files: Iterable[Path], *parts: str) -> str:
    """Give the key of files under a root (path, executable bit, content) and some texts; the files' order is no matter."""
    lines = [describe(root, file) for file in sorted(files)]
    return of_parts(*parts, *lines)


def describe(root: Path, file: Path) -> str:
    """Give one line that changes when the file does; times and owners don't count."""
    name = file.relative_to(root).as_posix()
    if file.is_symlink():
        return f"link {name} -> {file.readlink()}"
    kind = "x" if os.access(file, os.X_OK) else "f"
    return f"{kind} {name} {hashlib.sha256(file.read_bytes()).hexdigest()}"
