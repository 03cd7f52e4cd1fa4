"""Building the project's images, each content once."""

from __future__ import annotations

import json
from pathlib import Path

from . import baseimage, dockerfile
from .buildah import Buildah
from .choose import engine
from .console import say, step
from .images import Image, make_current
from .layout import cache_root, lock
from .shell import run


def build(image: Image, *, again: bool = False) -> Path:
    """Build an image unless its archive is there; give the archive."""
    key = image.key(baseimage.recipe())
    archive = image.archive(key)
    if archive.exists() and not again:
        make_current(archive)
        say(f"{image.reference}: nothing changed")
        return archive
    with lock(cache_root() / "locks" / "images"), step(f"Building {image.reference}"):
        runs = engine()
        if runs:
            _with_engine(runs, image, archive)
        else:
            _with_buildah(image, archive)
        make_current(archive)
    return archive


def push(image: Image, registry: str, tag: str, *, plain_http: bool = False) -> str:
    """Build an image and push it to a registry under a tag; give `NAME@DIGEST`, what a chart's values may name."""
    archive = build(image)
    name = f"{registry.rstrip('/')}/{image.name.rpartition(':')[0]}"
    with step(f"Pushing {name}:{tag}"):
        runs = engine()
        if not runs:
            return f"{name}@{Buildah().push_archive(archive, f'{name}:{tag}', plain_http=plain_http)}"
        run([runs, "load", "--input", archive])
        run([runs, "tag", image.reference, f"{name}:{tag}"])
        run([runs, "push", f"{name}:{tag}"])
        listed = run([runs, "image", "inspect", "--format", "{{json .RepoDigests}}", f"{name}:{tag}"]).stdout
        return next((found for found in json.loads(listed) if found.startswith(f"{name}@")), f"{name}:{tag}")


def _with_engine(program: str, image: Image, archive: Path) -> None:
    target = ["--target", image.target] if image.target else []
    arguments = [f"--build-arg={name}={value}" for name, value in image.arguments().items()]
    run([program, "build", *target, *arguments, "--file", image.dockerfile, "--tag", image.reference, image.context])
    archive.parent.mkdir(parents=True, exist_ok=True)
    part = archive.with_suffix(".part")
    run([program, "save", "--output", part, image.reference])
    part.replace(archive)


def _with_buildah(image: Image, archive: Path) -> None:
    buildah = Buildah()
    for base in dockerfile.bases(image.dockerfile.read_text()):
        baseimage.ensure(buildah, dockerfile.qualified(base))
    buildah.build(image, archive.with_name("build.log"))
    buildah.save(image.reference, archive)
