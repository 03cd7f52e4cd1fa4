"""Options that commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

Command = Callable[..., Any]


def cluster_options(command: Command) -> Command:
    """Which cluster and which namespace of it."""
    for option in (
        click.option("-n", "--namespace", help="Namespace; default: the context's."),
        click.option("--context", envvar="YOLO_KUBECONTEXT", help="Context of the kubeconfig; default: the current one."),
        click.option("--kubeconfig", type=click.Path(dir_okay=False), help="Kubeconfig; default: KUBECONFIG, ~/.kube/config."),
    ):
        command = option(command)
    return command
