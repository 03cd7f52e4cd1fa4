"""Running other programs, from argument lists, with errors a person can act on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from .console import ClusterError

# iptables, runc and ip live in sbin, which an unprivileged login's PATH leaves out.
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"])
# The interpreter itself, not a virtual environment's: that may be made anew while a cluster runs on.
PYTHON = str(getattr(sys, "_base_executable", sys.executable))
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


def run(
    argv: Sequence[str | Path],
    *,
    check: bool = True,
    stdin: str | IO[bytes] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and give its output; a failure becomes a sentence with the end of its stderr.

    `stdin` is a text to feed or an open file; nothing at all otherwise, so that no program waits for a terminal.
    """
    words = [str(word) for word in argv]
    feed = {"input": stdin} if isinstance(stdin, str) else {"stdin": stdin if stdin is not None else subprocess.DEVNULL}
    try:
        result: subprocess.CompletedProcess[str] = subprocess.run(
            words,
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, "PATH": PATH, **(env or {})},
            cwd=cwd,
            timeout=timeout,
            **feed,
        )
    except FileNotFoundError as error:
        raise ClusterError(f"{words[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"`{' '.join(words[:4])} …` gave no answer within {timeout} s") from error
    if check and result.returncode:
        tail = "\n".join((result.stderr or result.stdout).strip().splitlines()[-12:])
        raise ClusterError(f"`{' '.join(words)}` exited {result.returncode}:\n{tail}")
    return result


def service_environment() -> dict[str, str]:
    """Give the environment for cluster components: a usable PATH, and no proxy between parts of one machine."""
    kept = {name: value for name, value in os.environ.items() if name not in _PROXIES and not name.startswith("KUBE")}
    return {**kept, "PATH": PATH}
