"""Files of a workspace, read by commands that run beside it: text, lists, whole artifacts with their digests verified.

The commands are Python 3.6 and up, as argument lists; paths are relative to the workspace.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from yolo_operator.cli.client import ClusterError
from yolo_operator.cli.gather import recorded_directory
from yolo_operator.cli.pod import MOUNT, Commands
from yolo_operator.cli.summary import Object
from yolo_operator.pipeline.values import StageKey

_READ = (
    "import sys, shutil\n"
    "with open(sys.argv[1], 'rb') as file:\n"
    "    file.seek(int(sys.argv[2]))\n"
    "    shutil.copyfileobj(file, sys.stdout.buffer, 1 << 18)\n"
)
_LIST = (
    "import json, os, sys\n"
    "root = sys.argv[1]\n"
    "if os.path.isfile(root):\n"
    "    print(json.dumps([['', os.path.getsize(root)]]))\n"
    "else:\n"
    "    files = [(name, os.path.join(root, name)) for name in sorted(os.listdir(root))]\n"
    "    print(json.dumps([[name, os.path.getsize(path)] for name, path in files if os.path.isfile(path)]))\n"
)
Told = Callable[[int], Any]
"""Told how many more bytes have come."""


class Workspace:
    """An experiment's workspace."""

    def __init__(self, commands: Commands, mount: str = MOUNT) -> None:
        self._commands, self._mount = commands, mount

    def read(self, path: str, offset: int = 0) -> Iterator[bytes]:
        """A file's bytes from an offset on, in pieces.

        Raises:
            NotThereError: when there is no such file.
            ClusterError: when reading it failed.
        """
        return self._commands.run(["python3", "-c", _READ, self._at(path), str(offset)])

    def text(self, path: str) -> str:
        """A file's text."""
        return b"".join(self.read(path)).decode("utf-8", errors="replace")

    def files(self, path: str) -> dict[str, int]:
        """Bytes of the files directly in a directory, by name; of a file: itself, by the empty name."""
        listed = json.loads(b"".join(self._commands.run(["python3", "-c", _LIST, self._at(path)])))
        return {_plain(name): int(size) for name, size in listed}

    def fetch(self, artifact: Object, target: Path, told: Told = lambda _: None) -> Path:
        """Bring an artifact (a file or a directory) into a directory of this machine; what is there already is not read again.

        Raises:
            ClusterError: when its digest is not the recorded one; nothing of it is then left under its final name.
        """
        path, digest = str(artifact["path"]), artifact.get("sha256")
        final = target / _plain(PurePosixPath(path).name)
        listed = self.files(path)
        if "" in listed:
            target.mkdir(parents=True, exist_ok=True)
            self._file(path, final, digest, told)
            return final
        final.mkdir(parents=True, exist_ok=True)
        total = hashlib.sha256()
        for name in sorted(listed):
            found = self._file(f"{path}/{name}", final / name, None, told, listed[name])
            total.update(f"{name}\0{found}\n".encode("utf-8", "surrogateescape"))
        if digest and total.hexdigest() != digest:
            for name in listed:
                (final / name).unlink()
            raise ClusterError(f"{path}: not the files that the stage reported (sha256 {total.hexdigest()}, not {digest})")
        return final

    def _file(self, path: str, final: Path, digest: str | None, told: Told, size: int | None = None) -> str:
        """Bring a file; its sha256. A part that an interrupted run left is gone on with, once."""
        if final.is_file() and (_sha256(final) == digest if digest else final.stat().st_size == size):
            told(final.stat().st_size)
            return _sha256(final)
        part = final.with_name(final.name + ".part")
        for _ in range(2):
            offset = part.stat().st_size if part.exists() else 0
            told(offset)
            with part.open("ab") as file:
                for block in self.read(path, offset):
                    file.write(block)
                    told(len(block))
            found = _sha256(part)
            if digest is None or found == digest:
                part.replace(final)
                return found
            told(-part.stat().st_size)
            part.unlink()
            if not offset:
                break
        raise ClusterError(f"{path}: is not the file that the stage reported (sha256 {found}, not {digest})")

    def _at(self, path: str) -> str:
        parts = PurePosixPath(path).parts
        if not parts or ".." in parts or parts[0] == "/":
            raise ClusterError(f"{path!r} is no path inside the workspace")
        return f"{self._mount}/{path}"


def directory_of(stage: Object) -> str:
    """A stage's directory, relative to the workspace.

    Raises:
        ClusterError: when the stage has not been started.
    """
    key = StageKey(stage.get("name") or "?", stage.get("variant") or "")
    if not stage.get("digest"):
        raise ClusterError(f"stage {key} has not run yet")
    return recorded_directory(stage)


def log_path(stage: Object, attempt: int | None = None) -> str:
    """The log of an attempt, by default of the last one, relative to the workspace."""
    number = attempt or stage.get("attempt") or 1
    for past in stage.get("attempts") or ():
        if past.get("number") == number and past.get("log"):
            return str(past["log"])
    return f"{directory_of(stage)}/logs/attempt-{number}.log"


def _plain(name: str) -> str:
    """A file's name, as it may be written here."""
    if "/" in name or os.sep in name or name in (".", ".."):
        raise ClusterError(f"{name!r} is no plain file name")
    return name


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
