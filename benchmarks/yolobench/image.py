"""The operator as it ships: the process of its image, with the image's own Python.

Debian's Python is built with profiles and link-time optimisation; what a developer's machine has may be a fifth slower, and
Argo's controller is measured as it ships, too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

from yolobench.plane import ROOT

USER = 65532
"""The image's own."""
_ENTRYPOINT = "/opt/venv/bin/yolo-operator"


@cache
def root() -> Path:
    """The image's root file system, built anew where it has changed."""
    folder = ROOT / "build" / "operator-image"
    subprocess.run([ROOT / "hack" / "images", "unpack", "operator", folder], check=True, timeout=900, stdout=subprocess.DEVNULL)
    return folder


def start(kubeconfig: Path, log: Path, settings: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start `yolo-operator run` in it.

    Args:
        kubeconfig: who it is; a copy of it is put into the image's /tmp.
        log: its standard output and error.
        settings: its environment, `YOLO_OPERATOR_*`.
    """
    inside = root() / "tmp" / "kubeconfig"
    shutil.copy(kubeconfig, inside)
    os.chown(inside, USER, USER)
    environment = {"PATH": "/opt/venv/bin:/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}
    with log.open("w") as output:
        return subprocess.Popen(
            ["/usr/sbin/chroot", f"--userspec={USER}:{USER}", root(), _ENTRYPOINT, "run"],
            env={**environment, "KUBECONFIG": "/tmp/kubeconfig", **settings},  # noqa: S108 - the image's own
            stdout=output,
            stderr=subprocess.STDOUT,
        )
