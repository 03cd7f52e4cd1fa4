"""The cluster's control groups: one of its own in every hierarchy, so that they can all be removed at the end."""

from __future__ import annotations

import os
import time
from pathlib import Path

_MOUNTINFO = Path("/proc/self/mountinfo")


def group(name: str) -> str:
    """Give the name of a cluster's group, which is the kubelet's cgroup root."""
    return f"yolo-operator-{name}"


def hierarchies(mountinfo: str) -> list[tuple[Path, bool]]:
    """Give the mount points of all cgroup hierarchies, each with whether it is version 2.

    A machine has version 1 (one mount a controller), version 2, or both ("hybrid").
    """
    found = []
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        kind = after.split(" ", 1)[0]
        if kind in ("cgroup", "cgroup2"):
            found.append((Path(before.split()[4]), kind == "cgroup2"))
    return found


def create(name: str) -> None:
    """Make the cluster's group in every hierarchy."""
    for mount, unified in hierarchies(_MOUNTINFO.read_text()):
        folder = mount / group(name)
        folder.mkdir(exist_ok=True)
        if unified:
            _delegate(folder)
        for file in ("cpuset.cpus", "cpuset.mems"):  # version 1: empty in a new group, and then no process may enter it
            if not unified and (mount / file).exists() and not (folder / file).read_text().strip():
                (folder / file).write_text((mount / file).read_text())


def _delegate(folder: Path) -> None:
    for controller in (folder / "cgroup.controllers").read_text().split():
        (folder / "cgroup.subtree_control").write_text(f"+{controller}")


def remove(name: str) -> list[Path]:
    """Remove the group everywhere; give what could not be removed. Its processes must be dead already."""
    left = []
    for mount, _ in hierarchies(_MOUNTINFO.read_text()):
        folder = mount / group(name)
        if folder.exists() and not _remove_tree(folder):
            left.append(folder)
    return left


def _remove_tree(folder: Path) -> bool:
    """Remove a group and those in it, the deepest first; a group of just-died processes is busy for a moment."""
    for _ in range(50):
        for path, _, _ in os.walk(folder, topdown=False):
            try:
                Path(path).rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                break
        if not folder.exists():
            return True
        time.sleep(0.1)
    return False
