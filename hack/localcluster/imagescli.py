"""The command line of `hack/images`."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from . import backends, imagebuild
from .buildah import Buildah
from .console import ClusterError, say
from .images import IMAGES, Image, revision
from .layout import Home
from .record import Record


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; give the exit status."""
    arguments = parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        return command(arguments)
    except ClusterError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    """Give the command line's grammar."""
    top = argparse.ArgumentParser(prog="hack/images", description="The project's images, built on this machine.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    build = commands.add_parser("build", help="build images and print the paths of their archives")
    build.set_defaults(command=_build)
    build.add_argument("images", nargs="*", metavar="IMAGE", help=f"{', '.join(IMAGES)} or all (default)")
    build.add_argument("--load", metavar="NAME", action="append", default=[], help="load them into this cluster, too")
    build.add_argument("--again", action="store_true", help="build though nothing changed")
    build.add_argument("--file", type=Path, help="a Dockerfile of your own (with --tag) instead of the project's images")
    build.add_argument("--context", type=Path, help="its context (default: its folder)")
    build.add_argument("--target", default="", help="its stage")
    build.add_argument("--tag", help="its image's name")
    unpack = commands.add_parser("unpack", help="build an image and write its root file system into a folder")
    unpack.set_defaults(command=_unpack)
    unpack.add_argument("image", choices=list(IMAGES))
    unpack.add_argument("folder", type=Path, help="made anew when the image has changed, else left as it is")
    push = commands.add_parser("push", help="build images, push them to a registry, print their names with digests")
    push.set_defaults(command=_push)
    push.add_argument("images", nargs="*", metavar="IMAGE", help=f"{', '.join(IMAGES)} or all (default)")
    push.add_argument("--registry", required=True, help="registry.example.com/ml; log in first (buildah login, docker login)")
    push.add_argument("--tag", required=True, help="the tag, as a rule the version: $(hack/release check)")
    push.add_argument("--plain-http", action="store_true", help="the registry speaks no TLS")
    text = "forget the cached steps of builds, which take gigabytes in time"
    commands.add_parser("prune", help=text, description=text).set_defaults(command=_prune)
    return top


def _prune(_: argparse.Namespace) -> int:
    Buildah().prune()
    return 0


def _build(arguments: argparse.Namespace) -> int:
    for image in _chosen(arguments):
        archive = imagebuild.build(image, again=arguments.again)
        print(archive)
        for name in arguments.load:
            home = Home.of(name)
            say(backends.of(Record.load(home).flavour).load(home, archive))
    return 0


def _unpack(arguments: argparse.Namespace) -> int:
    archive = imagebuild.build(IMAGES[arguments.image])
    stamp = arguments.folder.with_name(arguments.folder.name + ".of")
    there, known = arguments.folder.exists(), stamp.read_text() if stamp.exists() else ""
    if there and not known:
        raise ClusterError(f"{arguments.folder} is there already and was not made by this command: name another folder")
    if there and known == str(archive):
        return 0
    # Beside it, and the stamp first: one that was killed is begun anew, and never taken for a whole one.
    part = arguments.folder.with_name(arguments.folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    Buildah().unpack(archive, part)
    shutil.rmtree(arguments.folder, ignore_errors=True)
    stamp.write_text(str(archive))
    part.rename(arguments.folder)
    return 0


def _push(arguments: argparse.Namespace) -> int:
    commit = revision()
    if commit.endswith("-dirty"):
        say(f"the checkout differs from its commit: the images' revision is {commit}")
    for image in (replace(image, revision=commit) for image in _named(arguments.images)):
        print(imagebuild.push(image, arguments.registry, arguments.tag, plain_http=arguments.plain_http))
    return 0


def _chosen(arguments: argparse.Namespace) -> list[Image]:
    if arguments.file:
        if not arguments.tag:
            raise ClusterError("--file needs --tag, the image's name")
        file = arguments.file.resolve()
        return [Image(arguments.tag, file, (arguments.context or file.parent).resolve(), arguments.target)]
    return _named(arguments.images)


def _named(wanted: Sequence[str]) -> list[Image]:
    names = wanted or ["all"]
    unknown = [name for name in names if name != "all" and name not in IMAGES]
    if unknown:
        raise ClusterError(f"no such image: {', '.join(unknown)} (there are {', '.join(IMAGES)})")
    return list(IMAGES.values()) if "all" in names else [IMAGES[name] for name in names]
