"""Programs from the system's packages: present already, or installed by apt where there is one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from .console import ClusterError, step
from .shell import PATH, run

# What must be there → the Debian package that brings it.
NODE = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "cni:ptp": "containernetworking-plugins",
    "iptables": "iptables",
    "nft": "nftables",
    "conntrack": "conntrack",
}
CONTROL_PLANE = {"ip": "iproute2", "openssl": "openssl", "nsenter": "util-linux", "unshare": "util-linux"}
IMAGES = {"buildah": "buildah", "runc": "runc"}
BASE_IMAGE = {"mmdebstrap": "mmdebstrap"}
PROMETHEUS = {"promtool": "prometheus", "prometheus": "prometheus"}
FAKETIME = {"faketime": "faketime"}
_CNI_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"), Path("/usr/libexec/cni"))


def find(what: str) -> Path | None:
    """Give the path of a program or of a CNI plugin (`cni:NAME`)."""
    if what.startswith("cni:"):
        return next((folder / what[4:] for folder in _CNI_FOLDERS if (folder / what[4:]).is_file()), None)
    found = shutil.which(what, path=PATH)
    return Path(found) if found else None


def need(what: str) -> Path:
    """Give the path of something that `ensure` has seen to."""
    found = find(what)
    if found is None:
        raise ClusterError(f"{what} is not installed")
    return found


def ensure(*tables: dict[str, str]) -> None:
    """See to it that everything in these tables is installed."""
    table = {what: package for part in tables for what, package in part.items()}
    missing = sorted({package for what, package in table.items() if find(what) is None})
    if missing:
        _install(missing)
    still = [what for what in table if find(what) is None]
    if still:
        raise ClusterError(f"after installing {', '.join(missing)} there is still no {', '.join(still)}")


def _install(packages: Iterable[str]) -> None:
    names = list(packages)
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise ClusterError(f"install these first (Debian's names): {' '.join(names)}")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    with step(f"Installing {', '.join(names)}", "about a minute"):
        run(["apt-get", "update", "-qq"], env=quiet)
        run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *names], env=quiet)
