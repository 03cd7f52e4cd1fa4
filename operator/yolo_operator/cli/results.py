"""`kubectl yolo compare`: what came of several experiments."""

from __future__ import annotations

import click

from yolo_operator.cli.client import Cluster
from yolo_operator.cli.compare import comparison, comparison_view
from yolo_operator.cli.options import cluster_options
from yolo_operator.cli.output import emit, output_option


@click.command()
@click.argument("names", nargs=-1, required=True)
@output_option
@cluster_options
def compare(names: tuple[str, ...], output: str, **where: str | None) -> None:
    """Show experiments side by side: what differs in their specs, and what came of it."""
    if len(names) < 2:
        raise click.UsageError("name two experiments or more")
    cluster = Cluster(**where)
    experiments = [cluster.get(name) for name in names]
    result = comparison(experiments)
    emit(result, output, lambda: comparison_view(result))


COMMANDS = (compare,)
