"""The commands of `kubectl yolo`. The program's name is `kubectl-yolo`, so that kubectl finds it in PATH."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import click
import yaml
from rich.console import Console
from rich.live import Live
from rich.text import Text

from yolo_operator.cli import control, files, results, tables, view
from yolo_operator.cli.client import Cluster, ClusterError
from yolo_operator.cli.importing import import_
from yolo_operator.cli.options import cluster_options
from yolo_operator.cli.output import emit, output_option
from yolo_operator.cli.render import render_command
from yolo_operator.cli.summary import Object, summarise
from yolo_operator.cli.validate import experiments, problems
from yolo_operator.cli.words import StageKey, outcome, outcome_message

_LIVE_SECONDS = 2.0


class _Group(click.Group):
    """Says a cluster's trouble as a sentence instead of a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ClusterError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="yolo-operator", prog_name="kubectl yolo")
def main() -> None:
    """YOLOv4 experiments on Kubernetes."""


@main.command()
@click.argument("name")
@output_option
@cluster_options
def watch(name: str, output: str, **where: str | None) -> None:
    """Follow an experiment until it ends; with -o json a line, with -o yaml a document of its status at each change.

    The exit code is 0 when it is complete, 1 when it failed, needs a person, or was deleted.
    """
    cluster = Cluster(**where)
    console = Console()
    lines = {"json": _as_json, "yaml": _as_yaml}.get(output)
    follow = partial(_watch_values, say=lines) if lines else _watch_screen if console.is_terminal else _watch_lines
    try:
        last = follow(cluster, name, console)
    except KeyboardInterrupt:
        console.print(f"The experiment goes on. Look again: kubectl yolo watch {name}")
        sys.exit(130)
    if last is None:
        raise click.ClickException(f"{name} was deleted")
    sys.exit(0 if outcome(last) == "Complete" else 1)


def _watch_screen(cluster: Cluster, name: str, console: Console) -> Object | None:
    """Redraw one screen; logs are read for it every two seconds."""
    progress: dict[StageKey, dict[str, Any]] = {}
    looked = float("-inf")
    with Live(console=console, refresh_per_second=4) as screen:
        for experiment in cluster.follow(name, _LIVE_SECONDS):
            if experiment is None:
                return None
            if time.monotonic() - looked >= _LIVE_SECONDS:
                progress = cluster.live_progress(experiment)
                looked = time.monotonic()
            screen.update(view.experiment_view(experiment, datetime.now(UTC), progress))
            if outcome(experiment):
                return experiment
    return None


def _watch_lines(cluster: Cluster, name: str, _: Console) -> Object | None:
    """One line a change, with the time."""
    before: Object | None = None
    for experiment in cluster.follow(name, 60):
        if experiment is None:
            return None
        for line in view.change_lines(before, experiment):
            click.echo(f"{datetime.now(UTC):%H:%M:%S} {line}")
        before = experiment
        if ending := outcome(experiment):
            click.echo(f"{datetime.now(UTC):%H:%M:%S} {ending}: {outcome_message(experiment)}".rstrip(": "))
            return experiment
    return None


def _watch_values(cluster: Cluster, name: str, _: Console, *, say: Callable[[Object], str]) -> Object | None:
    """One value a change, for programs."""
    before = None
    for experiment in cluster.follow(name, 60):
        if experiment is None:
            return None
        said = say(view.current_status(experiment, {}))
        if said != before:
            click.echo(said)
        before = said
        if outcome(experiment):
            return experiment
    return None


def _as_json(value: Object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _as_yaml(value: Object) -> str:
    return "---\n" + yaml.safe_dump(value, sort_keys=False, allow_unicode=True).rstrip("\n")


@main.command()
@click.argument("name")
@output_option
@cluster_options
def status(name: str, output: str, **where: str | None) -> None:
    """Show an experiment as it stands; with -o json or yaml its status, running stages with their newest progress."""
    cluster = Cluster(**where)
    experiment = cluster.get(name)
    live = cluster.live_progress(experiment)
    emit(view.current_status(experiment, live), output, lambda: view.experiment_view(experiment, datetime.now(UTC), live))


@main.command("list")
@click.option("-A", "--all-namespaces", is_flag=True, help="Of the whole cluster.")
@output_option
@cluster_options
def list_(all_namespaces: bool, output: str, **where: str | None) -> None:
    """List experiments."""
    cluster = Cluster(**where)
    found = cluster.list(all_namespaces=all_namespaces)
    if not found and output == "table":
        click.echo("No experiments" + ("." if all_namespaces else f' in namespace "{cluster.namespace}".'), err=True)
        return
    now = datetime.now(UTC)
    emit([tables.list_row(one, now) for one in found], output, lambda: tables.list_view(found, now, namespaces=all_namespaces))


@main.command()
@click.argument("name")
@output_option
@cluster_options
def summary(name: str, output: str, **where: str | None) -> None:
    """Show an experiment's results: precision by class, pruned variants, the exported model."""
    result = summarise(Cluster(**where).get(name))
    emit(result, output, lambda: tables.summary_view(result))


@main.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@output_option
def validate(files: tuple[Path, ...], output: str) -> None:
    """Check experiments in YAML files (- for standard input) without a cluster.

    Other kinds in them are left alone. The exit code is 0 when all are valid, 1 when one is not, 2 when a file can't be read or
    there is no experiment in any.
    """
    found = [_validated(str(file), document) for file in files for document in _experiments_of(file)]
    if output == "table":
        for row in found:
            _say(row)
    else:
        emit(found, output, Text)
    if not found:
        click.echo("No YoloExperiment in the files given.", err=True)
    sys.exit(max((0 if row["valid"] else 1 for row in found), default=2))


def _experiments_of(file: Path) -> list[Object]:
    try:
        return list(experiments(sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        click.echo(f"{file}: not YAML: {error}", err=True)
        sys.exit(2)


def _validated(file: str, document: Object) -> dict[str, Any]:
    name, found = (document.get("metadata") or {}).get("name", "?"), problems(document)
    return {"file": file, "name": name, "valid": not found, "problems": list(found)}


def _say(row: dict[str, Any]) -> None:
    for problem in row["problems"]:
        click.echo(f"{row['file']}: {row['name']}: {problem}", err=True)
    if row["valid"]:
        click.echo(f"{row['file']}: {row['name']}: valid")


for command in (*control.COMMANDS, *files.COMMANDS, *results.COMMANDS, import_, render_command):
    main.add_command(command)


if __name__ == "__main__":
    main()
