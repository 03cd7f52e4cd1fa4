"""How many CPUs this process may really use.

``os.cpu_count()`` names the node's CPUs; in a container the cgroup's quota is what counts, and torch with one thread
for each of 64 node CPUs under a quota of 2 runs several times slower than with 2.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUP_V2 = Path("/sys/fs/cgroup/cpu.max")
_CGROUP_V1 = Path("/sys/fs/cgroup/cpu")


def available_cpus() -> int:
    """Whole CPUs within affinity and cgroup quota, at least 1."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota()
    return max(1, affinity if quota is None else min(affinity, math.ceil(quota)))


def compute_threads() -> int:
    """Threads for numerical kernels: one CPU fewer than there are, or what the user set in OMP_NUM_THREADS.

    An OpenMP team waits for its slowest member after every kernel. With as many members as CPUs one is always put off
    by the image loader or by another process, and the rest spin meanwhile: on two busy CPUs that was measured 5 to 30
    times slower than one thread.
    """
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdigit() and int(given) > 0 else max(1, available_cpus() - 1)


def set_thread_environment() -> None:
    """Tell the OpenMP runtimes before torch and numpy are imported; a user's own value stands."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, str(compute_threads()))


def _quota() -> float | None:
    """CPUs by cgroup quota, None when unlimited or unknown."""
    try:
        limit, period = _CGROUP_V2.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return _quota_v1()
    return None if limit == "max" else int(limit) / int(period)


def _quota_v1() -> float | None:
    try:
        limit = int((_CGROUP_V1 / "cpu.cfs_quota_us").read_text(encoding="ascii"))
        period = int((_CGROUP_V1 / "cpu.cfs_period_us").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return limit / period if limit > 0 and period > 0 else None
