"""The base image: pulled where a registry is reached, else made from Debian's packages.

A Debian slim image *is* a minimal Debian tree without documentation, which mmdebstrap makes from the same packages. It is
stored under the very name the Dockerfiles have in FROM, so they are the same everywhere.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from . import packages
from .buildah import Buildah
from .console import ClusterError, say, step
from .shell import run

SLIM = "docker.io/library/debian:trixie-slim"
_SUITE = "trixie"
_PULL_SECONDS = 60
# What Debian's own image recipe leaves out of a slim image, and the apt settings of its images.
_DPKG = (
    *(f"path-exclude=/usr/share/{name}/*" for name in ("doc", "groff", "info", "linda", "lintian", "locale", "man")),
    "path-include=/usr/share/doc/*/copyright",
)
_APT = ('Acquire::Languages "none"', 'Acquire::GzipIndexes "true"')


def recipe() -> str:
    """Give what a made base image depends on, for content keys."""
    return "\n".join((SLIM, _SUITE, *_DPKG, *_APT))


def ensure(buildah: Buildah, reference: str) -> None:
    """See to it that a base image is in the builder's store."""
    if buildah.has(reference):
        return
    if buildah.pull(reference, _PULL_SECONDS):
        say(f"pulled {reference}")
        return
    if reference != SLIM:
        raise ClusterError(f"the base image {reference} can't be pulled, and only {SLIM} can be made here")
    packages.ensure(packages.BASE_IMAGE)
    with step(f"Making {SLIM} from Debian's packages", "about a minute, once"), tempfile.TemporaryDirectory() as room:
        tree = Path(room) / "base.tar"
        options = [*(f"--dpkgopt={line}" for line in _DPKG), *(f"--aptopt={line}" for line in _APT)]
        run([packages.need("mmdebstrap"), "--variant=minbase", *options, _SUITE, tree])
        buildah.store_tree(tree, SLIM)
