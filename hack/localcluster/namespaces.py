"""The cluster's processes, seen from the machine: start the first one, enter its namespaces, end them all."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from . import network, processes
from .addresses import Link
from .console import ClusterError
from .layout import HACK, Home
from .processes import Identity
from .shell import PYTHON, service_environment

_FILE = "processes.json"
_GRACE_SECONDS = 8.0


def start(home: Home, link: Link) -> None:
    """Start the supervisor as the first process of new namespaces, in a session of its own so that no shell ends it.

    Not `ip netns exec`: that mounts a fresh /sys, and the kubelet finds no cgroups in it.
    """
    argv = [
        "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private",
        PYTHON, "-m", "localcluster.supervisor", "--name", home.name,
    ]  # fmt: skip
    environment = {"PYTHONPATH": str(HACK), "PYTHONUNBUFFERED": "1", "YOLO_STATE_DIR": str(home.root.parent)}
    home.logs.mkdir(parents=True, exist_ok=True)
    with (home.logs / "supervisor.log").open("ab") as log:
        holder = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**service_environment(), **environment},
            cwd="/",
            start_new_session=True,
        )
    _remember(home, holder.pid)
    if not processes.wait_until(lambda: _first_child(holder.pid) is not None or holder.poll() is not None, 10):
        raise ClusterError(f"the supervisor did not start: see {home.logs / 'supervisor.log'}")
    if holder.poll() is not None:
        raise ClusterError(f"the supervisor ended at once: see {home.logs / 'supervisor.log'}")
    holder.returncode = 0  # it outlives us on purpose: no warning about it when this program ends
    first = _remember(home, holder.pid)
    network.connect(home.name, link, first)


def _first_child(pid: int) -> int | None:
    return next(iter(processes.children(pid)), None)


def _remember(home: Home, holder: int) -> int:
    """Write down both processes: `unshare`, which waits, and its child, the first process inside; give the child's pid."""
    first = _first_child(holder)
    known = {"holder": processes.identify(holder), "init": processes.identify(first) if first else None}
    home.write(_FILE, {name: one.document() for name, one in known.items() if one})
    return first or 0


def _known(home: Home, which: str) -> Identity | None:
    return Identity.from_document((home.read(_FILE) or {}).get(which))


def running(home: Home) -> bool:
    """Tell whether the cluster's first process lives."""
    return processes.alive(_known(home, "init"))


def stop(home: Home, *, gently: bool) -> None:
    """End the cluster's processes and wait until they are gone.

    The kernel lets the first process go only after everything in its PID namespace is dead, so its absence is the proof.
    """
    init, holder = _known(home, "init"), _known(home, "holder")
    gone = processes.stop(init, _GRACE_SECONDS if gently else 0)
    gone = processes.stop(holder, 0) and gone
    if not gone:
        raise ClusterError(f"process {init.pid if init else '?'} of cluster '{home.name}' can't be killed: try `down` again")


def inside(home: Home, argv: Sequence[str | Path]) -> list[str]:
    """Give the command line that runs a program inside the cluster's namespaces."""
    init = _known(home, "init")
    if init is None or not processes.alive(init):
        raise ClusterError(f"cluster '{home.name}' is not running")
    return ["nsenter", f"--target={init.pid}", "--mount", "--net", "--pid", *(str(word) for word in argv)]
