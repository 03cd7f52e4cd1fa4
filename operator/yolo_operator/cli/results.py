"""`kubectl yolo compare` and `report`: what came of experiments, on the screen and as pages that need nothing else."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import click

from yolo_operator.cli import gather
from yolo_operator.cli.client import Cluster, ClusterError
from yolo_operator.cli.compare import comparison, comparison_view
from yolo_operator.cli.files import image_option
from yolo_operator.cli.options import cluster_options
from yolo_operator.cli.output import emit, output_option
from yolo_operator.cli.pod import WorkspacePod
from yolo_operator.cli.report import History, Picture, comparison_page, report, trained_stages
from yolo_operator.cli.summary import Object
from yolo_operator.cli.words import StageKey
from yolo_operator.cli.workspace import Workspace

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
@click.option("--pictures", type=click.IntRange(0, 24), default=gather.PICTURES, show_default=True, help="Predictions to show.")
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
            shown = gather.pictures(workspace, experiment, pictures)
    page = report(experiment, datetime.now(UTC), histories=histories, pictures=shown, version=version("yolo-operator"))
    output.write_text(page, encoding="utf-8")
    click.echo(f"{output}: {len(histories)} curves, {len(shown)} pictures, {len(page.encode()) / 1024:.0f} KiB", err=True)


def histories_of(workspace: Workspace, experiment: Object) -> dict[StageKey, History]:
    """The curve of every training; one that can't be read is said and left out."""
    return gather.histories(workspace, experiment, errors=(ClusterError,), told=lambda text: click.echo(text, err=True))


COMMANDS = (compare, report_)
