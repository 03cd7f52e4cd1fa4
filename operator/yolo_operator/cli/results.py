"""`kubectl yolo compare` and `report`: what came of experiments, on the screen and as pages that need nothing else."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import click

from yolo_operator.cli.client import Cluster, ClusterError
from yolo_operator.cli.compare import comparison, comparison_view
from yolo_operator.cli.files import image_option
from yolo_operator.cli.options import cluster_options
from yolo_operator.cli.output import emit, output_option
from yolo_operator.cli.pod import WorkspacePod
from yolo_operator.cli.report import History, Picture, comparison_page, image_type, report, trained_stages
from yolo_operator.cli.summary import Object, stage_list
from yolo_operator.cli.words import StageKey, stage_key, title
from yolo_operator.cli.workspace import Workspace, directory_of

PICTURES = 6
PICTURE_BYTES = 400_000
"""A larger picture is left out: the page stays one that can be mailed."""

_file = click.Path(dir_okay=False, writable=True, path_type=Path)


@click.command()
@click.argument("names", nargs=-1, required=True)
@click.option("--plot", type=_file, metavar="FILE.html", help="Also write a page with the curves of all.")
@image_option
@output_option
@cluster_options
def compare(names: tuple[str, ...], plot: Path | None, image: str | None, output: str, **where: str | None) -> None:
    """Show experiments side by side: what differs in their specs, and what came of it."""
    if len(names) < 2:
        raise click.UsageError("name two experiments or more")
    cluster = Cluster(**where)
    experiments = [cluster.get(name) for name in names]
    result = comparison(experiments)
    if plot is not None:
        histories: dict[StageKey, History] = {}
        for experiment in experiments:
            with WorkspacePod(cluster.namespace, experiment, image) as pod:
                for (stage, variant), rows in histories_of(Workspace(pod), experiment).items():
                    histories[f"{experiment['metadata']['name']} {stage}", variant] = rows
        plot.write_text(comparison_page(result, histories, datetime.now(UTC)), encoding="utf-8")
        click.echo(f"{plot}: {len(histories)} curves", err=True)
    emit(result, output, lambda: comparison_view(result))


@click.command("report")
@click.argument("name")
@click.option("-o", "--output", type=_file, default="report.html", show_default=True, help="The page.")
@click.option("--pictures", type=click.IntRange(0, 24), default=PICTURES, show_default=True, help="Predictions to show.")
@click.option("--without-workspace", is_flag=True, help="Read the status alone: no pod is made, no curves, no pictures.")
@image_option
@cluster_options
def report_(name: str, output: Path, pictures: int, without_workspace: bool, image: str | None, **where: str | None) -> None:
    """Write an experiment as one HTML file that needs no network.

    What ran, loss and mAP curves, precision by class, pruning, predictions, artifacts with their digests, warnings. Curves and
    pictures are read from the workspace by a pod of a few seconds.
    """
    cluster = Cluster(**where)
    experiment = cluster.get(name)
    histories: dict[StageKey, History] = {}
    shown: list[Picture] = []
    if not without_workspace and trained_stages(experiment):
        with WorkspacePod(cluster.namespace, experiment, image) as pod:
            workspace = Workspace(pod)
            histories = histories_of(workspace, experiment)
            shown = pictures_of(workspace, experiment, pictures)
    page = report(experiment, datetime.now(UTC), histories=histories, pictures=shown, version=version("yolo-operator"))
    output.write_text(page, encoding="utf-8")
    click.echo(f"{output}: {len(histories)} curves, {len(shown)} pictures, {len(page.encode()) / 1024:.0f} KiB", err=True)


def histories_of(workspace: Workspace, experiment: Object) -> dict[StageKey, History]:
    """The curve of every training, from its report in the workspace; one that can't be read is said and left out."""
    found: dict[StageKey, History] = {}
    for stage in trained_stages(experiment):
        try:
            rows = json.loads(workspace.text(f"{directory_of(stage)}/report.json")).get("history")
        except (ClusterError, ValueError, AttributeError) as error:
            if stage.get("state") == "Succeeded":
                click.echo(f"no curve of {title(stage)}: {error}", err=True)
            continue
        if isinstance(rows, list) and rows:
            found[stage_key(stage)] = [row for row in rows if isinstance(row, dict)]
    return found


def pictures_of(workspace: Workspace, experiment: Object, most: int) -> list[Picture]:
    """Some of the images that the last inference drew its boxes into, evenly spread over their names."""
    artifacts = [
        artifact
        for stage in stage_list(experiment)
        if stage_key(stage)[0] == "inference"
        for artifact in stage.get("artifacts") or ()
        if artifact.get("name") == "images"
    ]
    if not artifacts or not most:
        return []
    directory = str(artifacts[-1]["path"])
    names = [name for name, size in sorted(workspace.files(directory).items()) if name and size <= PICTURE_BYTES]
    step = max(1, len(names) // most)
    found = [Picture(name, b"".join(workspace.read(f"{directory}/{name}"))) for name in names[::step][:most]]
    return [picture for picture in found if image_type(picture.data)]


COMMANDS = (compare, report_)
