"""The cache: a directory that experiments share. A file is in it whole and with its checksum beside it, or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from yolo_operator.runner.runner import Stage, measure, write_atomically

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
POLL_SECONDS = 0.5


@contextmanager
def locked(stage: Stage, file: Path) -> Iterator[Path]:
    """Hold a file of the cache alone; yields where it is to be built.

    The kernel lets the lock go with the process, also over NFS. Where a file system has no locks, everybody builds a file of
    their own, and the last one stays: they are the same.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(file.with_name(f"{file.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664)
    try:
        yield file.with_name(f"{file.name}.part" if _wait(stage, handle) else f"{file.name}.{os.uname().nodename}.part")
    finally:
        os.close(handle)


def _wait(stage: Stage, handle: int) -> bool:
    """Whether the lock is ours; False: there are none here."""
    told = False
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not told:
                stage.say("Another experiment is fetching the same file: waiting for it.")
                told = True
            stage.check()
            time.sleep(POLL_SECONDS)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return False
            raise
        else:
            return True


def whole(stage: Stage, file: Path, sha256: str | None) -> str | None:
    """The checksum of a file that is in the cache as it was put there; None when it has to be fetched."""
    note = _note(file)
    if not file.is_file() or not note.is_file():
        return None
    recorded = note.read_text().strip()
    if measure(str(file))[1] == recorded and sha256 in (None, recorded):
        return recorded
    stage.warn("CacheDamaged", f"{file} in the cache is not what was put there: it is fetched again.")
    note.unlink()
    return None


def keep(part: Path, file: Path, sha256: str) -> None:
    """Put a finished file into the cache. The note comes last: a file without one does not count."""
    part.replace(file)
    write_atomically(str(_note(file)), f"{sha256}\n".encode())


def _note(file: Path) -> Path:
    return file.with_name(f"{file.name}.sha256")
