"""The project's images: what they are made of, and the archives of them in the cache."""

from __future__ import annotations

import json
import re
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path

from . import dockerfile, keys
from .console import ClusterError
from .ignorefile import Ignore
from .layout import REPOSITORY, cache_root
from .shell import run

_KEPT_ARCHIVES = 2


@dataclass(frozen=True)
class Image:
    """One image and how it is built."""

    name: str
    dockerfile: Path
    context: Path
    target: str = ""
    revision: str = ""
    """The commit that it is built from, for its label. Only images for a registry say so: else each commit would be one."""

    @property
    def reference(self) -> str:
        """The whole name: the one that the node's runtime looks for when a pod names the short one."""
        return dockerfile.qualified(self.name)

    def ignore(self) -> Ignore:
        """What of the context does not count."""
        return Ignore.of(self.context, self.dockerfile)

    def key(self, *base: str) -> str:
        """Give the content key: the Dockerfile, the files it copies, and what the base images are made of."""
        if not self.dockerfile.is_file():
            raise ClusterError(f"there is no {self.dockerfile}")
        text = self.dockerfile.read_text()
        files = self.ignore().files(self.context, dockerfile.copied(text))
        told = (self.revision,) if self.revision else ()
        return keys.of_files(self.context, files, self.reference, self.target, text, *told, *self.ignore().patterns, *base)

    def arguments(self) -> dict[str, str]:
        """Give the build arguments that the Dockerfile declares itself."""
        return {"REVISION": self.revision} if self.revision else {}

    def archive(self, key: str) -> Path:
        """Give where the archive of one content lies, or will."""
        return archive_folder(self.reference) / f"{key}.tar"


IMAGES = {
    "operator": Image("yolo-operator/operator:dev", REPOSITORY / "Dockerfile", REPOSITORY),
    "open-toolkit": Image(
        "yolo-operator/open-toolkit:dev", REPOSITORY / "open-toolkit" / "Dockerfile", REPOSITORY / "open-toolkit", "cpu"
    ),
}


def revision() -> str:
    """Give the commit of this checkout, with `-dirty` when something differs from it; nothing outside of Git."""
    if shutil.which("git") is None:
        return ""
    told = run(["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"], cwd=REPOSITORY, check=False)
    return told.stdout.strip() if not told.returncode else ""


def archive_folder(reference: str) -> Path:
    """Give the folder of an image's archives."""
    return cache_root() / "images" / re.sub(r"[^\w.-]", "_", reference)


def archive_of(name: str) -> Path:
    """Give the newest archive of an image: by its short name here (`operator`) or by any name of the image."""
    reference = IMAGES[name].reference if name in IMAGES else dockerfile.qualified(name)
    current = archive_folder(reference) / "current.tar"
    if not current.exists():
        known = ", ".join(IMAGES)
        raise ClusterError(f"no archive of {reference} here: `hack/images build` makes {known}; else give an archive's path")
    return current.resolve()


def make_current(archive: Path) -> None:
    """Point to the newest archive and forget all but the last few: an image with a trainer in it has a gigabyte."""
    pointer = archive.with_name("current.tar")
    part = archive.with_name(".current")
    part.unlink(missing_ok=True)
    part.symlink_to(archive.name)
    part.replace(pointer)
    others = [path for path in archive.parent.glob("*.tar") if not path.is_symlink() and path != archive]
    for old in sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)[_KEPT_ARCHIVES - 1 :]:
        old.unlink(missing_ok=True)


def digest_of(archive: Path) -> str | None:
    """Give the digest of the image in an OCI archive, or None for another kind of archive."""
    with tarfile.open(archive) as tar:
        try:
            index = tar.extractfile("index.json")
        except KeyError:
            return None
        manifests = json.load(index)["manifests"] if index else []
    return str(manifests[0]["digest"]) if manifests else None
