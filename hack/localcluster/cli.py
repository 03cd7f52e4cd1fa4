"""The command line of `hack/cluster`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from . import backends, build, packages
from .choose import Facts, Flavour, choose, observe
from .console import ClusterError, say
from .images import archive_of
from .layout import DEFAULT_NAME, Home
from .record import Record

_DEFAULT_KWOK_NODES = 4
_DEFAULT_GPUS = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; give the exit status."""
    arguments = parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        return command(arguments)
    except ClusterError as error:
        say(f"error: {error}")
        return 1
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        sys.stdout = None
        return 0
    except KeyboardInterrupt:
        say("interrupted: `hack/cluster down` cleans up")
        return 130


def parser() -> argparse.ArgumentParser:
    """Give the command line's grammar."""
    top = argparse.ArgumentParser(prog="hack/cluster", description="A local Kubernetes cluster for development and tests.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(command=run)
        if name not in ("build", "bin"):
            command.add_argument("--name", default=DEFAULT_NAME, help=f"the cluster's name (default: {DEFAULT_NAME})")
        return command

    _add_up_options(add("up", _up, "start the cluster, or find it running and healthy, or repair it"))
    down = add("down", _down, "stop the cluster and remove it")
    down.add_argument("--keep-data", action="store_true", help="keep its objects, volumes, images and certificates")
    status = add("status", _status, "tell how the cluster is; exits 1 unless all is well")
    status.add_argument("-o", "--output", choices=("text", "json"), default="text")
    add("kubeconfig", _kubeconfig, "print the path of the cluster's kubeconfig")
    load = add("load", _load, "bring an image into the cluster's node")
    load.add_argument("image", metavar="IMAGE|ARCHIVE", help="an image that `hack/images build` made, or an image archive")
    logs = add("logs", _logs, "print a component's log")
    logs.add_argument("component", nargs="?", help="without it: the names there are")
    logs.add_argument("--tail", type=int, metavar="N", help="the last N lines only")
    pieces = add("build", _build, "build programs into the cache without starting anything")
    pieces.add_argument("targets", nargs="*", metavar="TARGET", help=f"{', '.join(build.PIECES)} or all (default)")
    add("bin", _bin, "print the folder that has kubectl, helm and the other programs")
    return top


def _add_up_options(up: argparse.ArgumentParser) -> None:
    up.add_argument("--flavour", choices=("auto", *(flavour.value for flavour in Flavour)), default="auto")
    up.add_argument("--context", help="use the existing cluster of this kubeconfig context (or YOLO_KUBECONTEXT)")
    up.add_argument("--gpus", type=int, metavar="N", help=f"nvidia.com/gpu on each node (default: {_DEFAULT_GPUS})")
    nodes = f"kwok: simulated nodes (default: {_DEFAULT_KWOK_NODES}); 0 leaves out scheduler and kwok"
    up.add_argument("--nodes", "--node-count", type=int, metavar="N", help=nodes)
    up.add_argument(
        "--audit", action="store_true", default=None, help="have the API server write an audit log (metadata, JSON lines)"
    )
    up.add_argument("--kwok-config", type=Path, metavar="FILE", help="kwok: pod Stages instead of hack/kwok/pods.yaml")


def _up(arguments: argparse.Namespace) -> int:
    home = Home.of(arguments.name)
    wish = wanted(arguments, Record.read(home), observe(arguments.context))
    backends.of(wish.flavour).up(home, wish)
    return 0


def wanted(arguments: argparse.Namespace, known: Record | None, facts: Facts) -> Record:
    """Give what `up` asks for: what was said now, else what the cluster is already, else the defaults."""
    requested = known.flavour.value if known and arguments.flavour == "auto" and not arguments.context else arguments.flavour
    context = facts.context or (known.context if known else "")
    flavour = choose(requested, replace(facts, context=context or None))
    default = Record(
        name=arguments.name,
        flavour=flavour,
        gpus=_DEFAULT_GPUS,
        nodes=_DEFAULT_KWOK_NODES if flavour is Flavour.KWOK else 1,
    )
    base = known if known and known.flavour is flavour else default
    said = {
        "gpus": arguments.gpus,
        "nodes": arguments.nodes,
        "audit": arguments.audit,
        "context": context if flavour is Flavour.KUBECONFIG else None,
        "kwok_config": str(arguments.kwok_config.resolve()) if arguments.kwok_config else None,
    }
    return replace(base, **{field: value for field, value in said.items() if value is not None})


def _down(arguments: argparse.Namespace) -> int:
    home = Home.of(arguments.name)
    record = Record.read(home)
    if record is None and not home.root.exists():
        say(f"There is no cluster '{home.name}'")
        return 0
    backends.of(record.flavour if record else Flavour.EMBEDDED).down(home, keep_data=arguments.keep_data)
    return 0


def _status(arguments: argparse.Namespace) -> int:
    home = Home.of(arguments.name)
    health = backends.of(Record.load(home).flavour).status(home)
    if arguments.output == "json":
        print(json.dumps(health.document(), indent=1))
    else:
        print(f"{health.name}: {health.flavour}, {health.server}, {'healthy' if health.healthy else 'NOT healthy'}")
        for name, good in health.checks.items():
            print(f"  {'ok ' if good else 'NO '} {name}")
        for name, one in health.components.items():
            print(f"      {name}: {'ready' if one['ready'] else 'not ready'}, restarts {one['restarts']}")
        print(f"  export KUBECONFIG={health.kubeconfig}")
    return 0 if health.healthy else 1


def _kubeconfig(arguments: argparse.Namespace) -> int:
    home = Home.of(arguments.name)
    Record.load(home)
    print(home.kubeconfig)
    return 0


def _load(arguments: argparse.Namespace) -> int:
    home = Home.of(arguments.name)
    path = Path(arguments.image)
    archive = path if path.is_file() else archive_of(arguments.image)
    say(backends.of(Record.load(home).flavour).load(home, archive))
    return 0


def _logs(arguments: argparse.Namespace) -> int:
    home = Home.of(arguments.name)
    Record.load(home)
    names = sorted(path.stem for path in home.logs.glob("*.log"))
    if arguments.component not in names:
        raise ClusterError(f"logs of cluster '{home.name}': {', '.join(names) or 'none'}")
    lines = (home.logs / f"{arguments.component}.log").read_text(errors="replace").splitlines(keepends=True)
    sys.stdout.writelines(lines[-arguments.tail :] if arguments.tail else lines)
    return 0


def _build(arguments: argparse.Namespace) -> int:
    targets = arguments.targets or ["all"]
    ordinary = [name for name, piece in build.PIECES.items() if not piece.optional]
    names = list(dict.fromkeys([*ordinary, *(name for name in targets if name != "all")])) if "all" in targets else targets
    unknown = [name for name in names if name not in build.PIECES]
    if unknown:
        raise ClusterError(f"no such piece: {', '.join(unknown)} (there are {', '.join(build.PIECES)})")
    if "all" in targets and observe(None).root:
        packages.ensure(packages.CONTROL_PLANE, packages.NODE)
    for name, folder in build.ensure(names).items():
        say(f"{name}: {folder}")
    return 0


def _bin(_: argparse.Namespace) -> int:
    build.ensure(["kubernetes", "helm"])
    print(build.link_programs())
    return 0
