"""Images in a cluster of our own: containerd's store is filled from archives, because there is no registry."""

from __future__ import annotations

from pathlib import Path

from . import build, namespaces, processes
from .configs import CONTAINERD_SOCKET, PAUSE_IMAGE
from .console import ClusterError
from .images import digest_of
from .layout import Home, cache_root
from .ociarchive import write_single_file_image
from .shell import run

_START_SECONDS = 30
_CTR = ("ctr", "--address", CONTAINERD_SOCKET, "--namespace", "k8s.io")


def load(home: Home, archive: Path) -> str:
    """Import an image archive (OCI's or Docker's) unless its image is there; give what there is to tell."""
    digest = digest_of(archive)
    if digest and digest in run(namespaces.inside(home, [*_CTR, "images", "list"])).stdout:
        return f"cluster '{home.name}' has {archive.name} already"
    with archive.open("rb") as stream:
        return run(namespaces.inside(home, [*_CTR, "images", "import", "-"]), stdin=stream).stdout.strip()


def load_pause(home: Home) -> None:
    """Import the image that holds every pod's namespaces, as soon as containerd listens."""
    program = build.program("pause")
    archive = cache_root() / "images" / f"pause-{build.PIECES['pause'].key()}.tar"
    if not archive.exists():
        write_single_file_image(archive, PAUSE_IMAGE, program, "/pause")
    if not processes.wait_until(lambda: _listens(home), _START_SECONDS):
        raise ClusterError(f"containerd does not start: see {home.logs / 'containerd.log'}")
    load(home, archive)


def _listens(home: Home) -> bool:
    """Tell whether containerd answers; its socket lies in the cluster's own /run, which only a process inside can see."""
    return run(namespaces.inside(home, [*_CTR, "--timeout", "2s", "version"]), check=False).returncode == 0
