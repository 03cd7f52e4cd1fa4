"""A control plane for one run, made anew: etcd, API server, controller-manager, scheduler, and kwok's simulated nodes."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "hack" / "cluster"
STATE = Path(os.environ.get("YOLO_STATE_DIR", "/var/lib/yolo-operator"))
NODES = 10


@dataclass(frozen=True)
class Plane:
    """A running control plane."""

    name: str
    kubeconfig: Path

    @property
    def audit_log(self) -> Path:
        """One JSON line a request."""
        return STATE / self.name / "audit.log"

    def pid(self, component: str) -> int:
        """The process of a component.

        Raises:
            LookupError: when it does not run.
        """
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal():
                continue
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            mine = any(f"/{self.name}/".encode() in word for word in words[1:])
            if mine and Path(os.fsdecode(words[0])).name == component:
                return int(entry.name)
        raise LookupError(f"{component} of {self.name} does not run")

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Standard output of kubectl as the admin."""
        done = subprocess.run(
            ["kubectl", "--kubeconfig", str(self.kubeconfig), *arguments],
            input=stdin, capture_output=True, text=True, check=True, timeout=300,
        )  # fmt: skip
        return done.stdout


@contextmanager
def plane(name: str, stages: Path) -> Iterator[Plane]:
    """A fresh control plane whose pods kwok plays by these Stages; gone afterwards."""
    subprocess.run([CLUSTER, "down", "--name", name], check=False, capture_output=True, timeout=120)
    up: list[str | Path] = [
        "up",
        "--name",
        name,
        "--flavour",
        "kwok",
        "--nodes",
        str(NODES),
        "--gpus",
        "900",
        "--audit",
        "--kwok-config",
        stages,
    ]
    subprocess.run([CLUSTER, *up], check=True, timeout=900, stdout=subprocess.DEVNULL)
    try:
        found = subprocess.run([CLUSTER, "kubeconfig", "--name", name], check=True, capture_output=True, text=True, timeout=60)
        yield Plane(name, Path(found.stdout.strip()))
    finally:
        subprocess.run([CLUSTER, "down", "--name", name], check=False, capture_output=True, timeout=120)


@dataclass(frozen=True)
class Usage:
    """What a process has used."""

    cpu_seconds: float
    rss_mib: float

    @classmethod
    def of(cls, pid: int) -> Usage:
        """CPU time so far and resident memory now; zero once the process is gone."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            return cls(0.0, 0.0)
        return cls((int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE") / 2**20)


class Sampler:
    """CPU seconds and memory of some processes over time."""

    def __init__(self, pids: dict[str, int]) -> None:
        self._pids = pids
        self._start = time.monotonic()
        self._first = {name: Usage.of(pid) for name, pid in pids.items()}
        self.samples: dict[str, list[tuple[float, float, float]]] = {name: [] for name in pids}
        """name -> (seconds since the start, CPU seconds used since, MiB resident)."""

    def look(self) -> None:
        """Take one sample of each."""
        now = time.monotonic() - self._start
        for name, pid in self._pids.items():
            usage = Usage.of(pid)
            if usage.rss_mib:
                self.samples[name].append((now, usage.cpu_seconds - self._first[name].cpu_seconds, usage.rss_mib))

    def cpu(self, name: str) -> float:
        """CPU seconds of a process from the start to its last sample."""
        return self.samples[name][-1][1] if self.samples[name] else 0.0

    def peak(self, name: str) -> float:
        """Its largest resident memory, MiB."""
        return max((rss for _, _, rss in self.samples[name]), default=0.0)
