"""`kubectl yolo <TAB>`: kubectl asks a program named `kubectl_complete-yolo` in PATH, in the manner of cobra.

It gets the words typed so far, the last one unfinished, and prints one proposal a line, then a line `:N` that says what the shell
may add: 4 nothing, 0 file names.
"""

from __future__ import annotations

import sys

import click
from click.shell_completion import CompletionItem, ShellComplete

from yolo_operator.cli.client import Cluster, ClusterError
from yolo_operator.cli.main import main as command_line

_NOTHING_MORE, _FILES = 4, 0


class _Proposals(ShellComplete):
    name = "kubectl"
    source_template = ""

    def format_completion(self, item: CompletionItem) -> str:
        return f"{item.value}\t{item.help}" if item.help else str(item.value)


def proposals(words: list[str]) -> tuple[list[str], int]:
    """What may come next, and cobra's directive."""
    *before, unfinished = words or [""]
    shell = _Proposals(command_line, {}, "kubectl-yolo", "")
    items = shell.get_completions(before, unfinished)
    directive = _FILES if any(item.type in ("file", "dir") for item in items) else _NOTHING_MORE
    found = [shell.format_completion(item) for item in items if item.type not in ("file", "dir")]
    if not items and not unfinished.startswith("-") and _wants_experiment(before):
        found = [name for name in _experiments(before) if name.startswith(unfinished)]
    return found, directive


def _wants_experiment(before: list[str]) -> bool:
    """Whether the command takes experiments' names."""
    command = command_line.commands.get(before[0]) if before else None
    return command is not None and any(
        isinstance(parameter, click.Argument) and parameter.name in ("name", "names") for parameter in command.params
    )


def _experiments(before: list[str]) -> list[str]:
    """Names in the namespace that is given, or in the context's; none when the cluster does not answer."""
    where = {
        option: before[before.index(flag) + 1]
        for flag, option in (("-n", "namespace"), ("--namespace", "namespace"), ("--context", "context"))
        if flag in before[:-1]
    }
    try:
        return [experiment["metadata"]["name"] for experiment in Cluster(**where).list()]
    except ClusterError:
        return []


def main() -> None:
    """The program `kubectl_complete-yolo`."""
    found, directive = proposals(sys.argv[1:])
    for line in found:
        click.echo(line)
    click.echo(f":{directive}")


if __name__ == "__main__":
    main()
