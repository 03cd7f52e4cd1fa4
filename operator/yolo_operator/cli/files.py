"""`kubectl yolo logs` and `fetch`: what lies in the workspace, also of stages whose pods are long gone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from yolo_operator.cli.client import Cluster, ClusterError, NotThereError
from yolo_operator.cli.options import cluster_options
from yolo_operator.cli.pod import WorkspacePod
from yolo_operator.cli.summary import Object, stage_list
from yolo_operator.cli.words import size, stage_key, title
from yolo_operator.cli.workspace import Workspace, log_path

image_option = click.option("--image", help="Of the pod that reads the workspace: any with Python 3; default: the toolkit's.")


def chosen_stage(experiment: Object, wanted: str | None) -> Object:
    """The stage that is named (`prune 0.5`, `prune=0.5`, `prune` where there is one), or the one that people mean: the running
    one, the failed one, the one that ended last.

    Raises:
        ClusterError: when there is none, or more than one, with their names.
    """
    stages = [stage for stage in stage_list(experiment) if stage.get("digest")]
    name = experiment["metadata"]["name"]
    if not stages:
        raise ClusterError(f"no stage of {name} has run yet")
    if wanted:
        asked = wanted.replace("=", " ").replace("/", " ").strip()
        found = [stage for stage in stages if asked in (title(stage), stage_key(stage)[0])]
        exact = [stage for stage in found if title(stage) == asked]
        if not found:
            raise ClusterError(f"{name} has no stage {wanted!r} that has run; there are {', '.join(map(title, stages))}")
        if len(found) > 1 and not exact:
            raise ClusterError(f"stage {wanted!r} has variants: name one of {', '.join(map(title, found))}")
        return (exact or found)[0]
    for state in ("Running", "Failed"):
        found = [stage for stage in stages if stage.get("state") == state]
        if found:
            return found[-1]
    return max(stages, key=lambda stage: str(stage.get("finishTime") or ""))


@click.command()
@click.argument("name")
@click.option("--stage", metavar="STAGE[=VARIANT]", help="Default: the running, the failed or the last one.")
@click.option("--attempt", type=click.IntRange(min=1), help="Default: the last.")
@click.option("-f", "--follow", is_flag=True, help="Of a running stage: go on until it ends.")
@image_option
@cluster_options
def logs(name: str, stage: str | None, attempt: int | None, follow: bool, image: str | None, **where: str | None) -> None:
    """Print all that a stage said, also when its pod is gone: the log is in the workspace.

    A pod that mounts the workspace read-only reads it, and is deleted afterwards. With --follow what a running stage says comes
    from its own pod as it is said; of a stage that does not run, the log is printed as without.
    """
    cluster = Cluster(**where)
    experiment = cluster.get(name)
    chosen = chosen_stage(experiment, stage)
    if follow and attempt in (None, chosen.get("attempt")) and _followed(cluster, chosen):
        return
    path = log_path(chosen, attempt)
    click.echo(f"# {title(chosen)}: {path}", err=True)
    with WorkspacePod(cluster.namespace, experiment, image) as pod:
        try:
            for block in Workspace(pod).read(path):
                sys.stdout.buffer.write(block)
                sys.stdout.buffer.flush()
        except NotThereError as error:
            tries = chosen.get("attempt") or 0
            raise ClusterError(f"{title(chosen)} left no log of that attempt (it had {tries}): {error}") from error


def _followed(cluster: Cluster, stage: Object) -> bool:
    """Print what a stage's pod says until it ends; false when none of it runs."""
    stream = cluster.log_stream(stage["job"]) if stage.get("job") else None
    if stream is None:
        return False
    click.echo(f"# {title(stage)}: its pod", err=True)
    rest = b""
    for piece in stream:
        *lines, rest = (rest + piece).split(b"\n")
        # The runner's words to the operator.
        sys.stdout.buffer.writelines(line + b"\n" for line in lines if not line.startswith(b'{"yoloProgress"'))
        sys.stdout.buffer.flush()
    sys.stdout.buffer.write(rest)
    sys.stdout.buffer.flush()
    return True


def chosen_artifacts(experiment: Object, wanted: str) -> list[tuple[Object, Object]]:
    """Stages and artifacts that are named: by stage (`export`, `prune=0.5`: all of its artifacts), or by `STAGE:ARTIFACT`.

    Raises:
        ClusterError: when there is none, with what there is.
    """
    asked, _, artifact_name = wanted.partition(":")
    have = [stage for stage in stage_list(experiment) if stage.get("artifacts")]
    labels = ", ".join(f"{title(stage)}:{artifact['name']}" for stage in have for artifact in stage["artifacts"])
    try:
        stage = chosen_stage({**experiment, "status": {"stages": have}}, asked)
    except ClusterError as error:
        raise ClusterError(f"{error}. Artifacts: {labels or 'none'}") from error
    found = [(stage, artifact) for artifact in stage["artifacts"] if artifact_name in ("", artifact.get("name"))]
    if not found:
        raise ClusterError(f"{title(stage)} has no artifact {artifact_name!r}. Artifacts: {labels}")
    return found


@click.command()
@click.argument("name")
@click.option(
    "--artifact", "wanted", required=True, multiple=True, metavar="STAGE[=VARIANT][:ARTIFACT]", help="For example export."
)
@click.option("-o", "--output", "target", type=click.Path(file_okay=False, path_type=Path), default=".", show_default=True)
@image_option
@cluster_options
def fetch(name: str, wanted: tuple[str, ...], target: Path, image: str | None, **where: str | None) -> None:
    """Bring artifacts of an experiment here, with their digests verified.

    An interrupted run is gone on with when the command is given again.
    """
    cluster = Cluster(**where)
    experiment = cluster.get(name)
    artifacts = [pair for entry in wanted for pair in chosen_artifacts(experiment, entry)]
    columns: tuple[Any, ...] = (TextColumn("{task.description}"), BarColumn(20), DownloadColumn(True), TransferSpeedColumn())
    with (
        WorkspacePod(cluster.namespace, experiment, image) as pod,
        Progress(*columns, console=Console(stderr=True), transient=True) as bars,
    ):
        for stage, artifact in artifacts:
            bar = bars.add_task(f"{title(stage)} {artifact['name']}", total=artifact.get("bytes"))
            final = Workspace(pod).fetch(artifact, target, lambda more, bar=bar: bars.advance(bar, more))  # type: ignore[misc]
            said = f"{final}  {size(artifact.get('bytes'))}  sha256 {str(artifact.get('sha256') or '?')[:12]} verified"
            bars.console.print(said, soft_wrap=True, highlight=False)


COMMANDS = (logs, fetch)
