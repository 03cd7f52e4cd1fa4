"""`-o table|json|yaml`: one way for every command."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click
import yaml
from rich.console import Console, RenderableType

Command = Callable[..., Any]

_PIPE_WIDTH = 250
FORMATS = ("table", "json", "yaml")


def output_option(command: Command) -> Command:
    """`-o`: for people, or for programs."""
    return click.option("-o", "--output", type=click.Choice(FORMATS), default="table", show_default=True)(command)


def emit(value: Any, output: str, table: Callable[[], RenderableType]) -> None:
    """Print plain data in the format asked for, or its table."""
    if output == "json":
        click.echo(json.dumps(value, indent=2, ensure_ascii=False))
    elif output == "yaml":
        click.echo(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), nl=False)
    else:
        console = Console()
        if not console.is_terminal:
            # A pipe has no width: cut nothing off.
            console = Console(width=_PIPE_WIDTH)
        console.print(table())
