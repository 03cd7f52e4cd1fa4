"""Where things lie: the cache (slow to make, safe to lose) and a cluster's home (its state while it lives)."""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .console import ClusterError

HACK = Path(__file__).resolve().parent.parent
REPOSITORY = HACK.parent
DEFAULT_NAME = "yolo"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,22}[a-z0-9])?")


def cache_root() -> Path:
    """Give the folder for everything that is slow to make; it holds nothing that can't be made again."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "yolo-operator"


def state_root() -> Path:
    """Give the folder of all clusters' homes."""
    override = os.environ.get("YOLO_STATE_DIR")
    if override:
        return Path(override).resolve()
    if os.geteuid() == 0:
        return Path("/var/lib/yolo-operator")
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local/state") / "yolo-operator"


@dataclass(frozen=True)
class Home:
    """The state of one named cluster, all under one folder.

    The folder is short on purpose: UNIX socket paths inside it must stay under 108 bytes.
    """

    name: str
    root: Path

    @classmethod
    def of(cls, name: str) -> Home:
        """Give the home of the cluster with this name, which need not exist."""
        if not _NAME.fullmatch(name):
            raise ClusterError(f"'{name}' is no cluster name: at most 24 of a-z, 0-9 and -, no - at either end")
        return cls(name, state_root() / name)

    @property
    def kubeconfig(self) -> Path:
        """The admin's kubeconfig, for a person and for tests."""
        return self.root / "kubeconfig"

    @property
    def pki(self) -> Path:
        """The authority, certificates and the components' kubeconfigs."""
        return self.root / "pki"

    @property
    def etc(self) -> Path:
        """The components' configuration files, written anew at every start."""
        return self.root / "etc"

    @property
    def logs(self) -> Path:
        """One log file a component."""
        return self.root / "logs"

    @property
    def data(self) -> Path:
        """What the components write: etcd, containerd, kubelet, pod logs."""
        return self.root / "data"

    @property
    def volumes(self) -> Path:
        """One directory a provisioned volume."""
        return self.root / "volumes"

    @property
    def audit_log(self) -> Path:
        """The API server's audit log, JSON lines, when the cluster was started with --audit."""
        return self.root / "audit.log"

    def read(self, file: str) -> dict[str, Any] | None:
        """Give a JSON document of this home, or None when there is none (or only half of one)."""
        try:
            document = json.loads((self.root / file).read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        return document if isinstance(document, dict) else None

    def write(self, file: str, document: object) -> None:
        """Write a JSON document whole or not at all."""
        write_atomically(self.root / file, json.dumps(document, indent=1) + "\n")


def write_atomically(path: Path, text: str, mode: int = 0o600) -> None:
    """Put a text at a path so that a reader sees the old one or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(text)
    part.chmod(mode)
    part.replace(path)


@contextmanager
def lock(path: Path, busy: str | None = None) -> Iterator[None]:
    """Hold a file lock; with `busy`, give up with that sentence instead of waiting when someone else holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
        except BlockingIOError as error:
            raise ClusterError(busy or "") from error
        yield
