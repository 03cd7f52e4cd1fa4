"""Commands that change an experiment: each one merge patch through the API, and a sentence on what comes of it.

The operator does the rest. Nothing here touches Jobs, pods or files.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click
import yaml

from yolo_operator.api import resource
from yolo_operator.cli.client import ChangedError, Cluster
from yolo_operator.cli.options import cluster_options
from yolo_operator.cli.summary import Object, stage_list
from yolo_operator.cli.words import stage_key, title

Command = Callable[..., Any]

_TRIES = 5
"""Of a write that somebody else's writes get in the way of."""


def _output_option(command: Command) -> Command:
    return click.option(
        "-o", "--output", type=click.Choice(["json", "yaml"]), help="Print the experiment as it is stored now, not the sentence."
    )(command)


@click.command()
@click.argument("name")
@_output_option
@cluster_options
def suspend(name: str, output: str | None, **where: str | None) -> None:
    """Stop what runs and start nothing until `resume`.

    Running stages get SIGTERM and time to end; a training goes on from its last checkpoint. Queued Jobs leave their queue.
    """
    cluster = Cluster(**where)
    if (cluster.get(name).get("spec") or {}).get("suspend"):
        _say(cluster.get(name), f"{name} is suspended already", output)
        return
    stored = cluster.patch(name, {"spec": {"suspend": True}})
    running = _running(stored)
    what = f"{running} is being stopped, checkpoints are kept" if running else "nothing runs, and nothing will start"
    _say(stored, f"{name} is suspended: {what}. Go on: kubectl yolo resume {name}", output)


@click.command()
@click.argument("name")
@_output_option
@cluster_options
def resume(name: str, output: str | None, **where: str | None) -> None:
    """Let a suspended or cancelled experiment go on."""
    cluster = Cluster(**where)
    before = cluster.get(name)
    suspended = bool((before.get("spec") or {}).get("suspend"))
    cancelled = bool(_annotations(before).get(resource.ANNOTATION_CANCEL))
    if not (suspended or cancelled):
        _say(before, f"{name} is neither suspended nor cancelled: it goes on by itself", output)
        return
    body: Object = {}
    if suspended:
        body["spec"] = {"suspend": False}
    if cancelled:
        body["metadata"] = {"annotations": {resource.ANNOTATION_CANCEL: None}}
    stored = cluster.patch(name, body)
    _say(stored, f"{name} goes on; a training resumes from its last checkpoint. Follow it: kubectl yolo watch {name}", output)


@click.command()
@click.argument("name")
@_output_option
@cluster_options
def cancel(name: str, output: str | None, **where: str | None) -> None:
    """End an experiment now: Failed, reason Cancelled. Artifacts are kept.

    `resume` takes it back.
    """
    cluster = Cluster(**where)
    before = cluster.get(name)
    if _phase(before) == "Succeeded":
        raise click.ClickException(f"{name} has succeeded: there is nothing to cancel")
    if _annotations(before).get(resource.ANNOTATION_CANCEL):
        _say(before, f"{name} is cancelled already", output)
        return
    stored = cluster.patch(name, {"metadata": {"annotations": {resource.ANNOTATION_CANCEL: _token()}}})
    _say(
        stored, f"{name} is cancelled: what runs is stopped, artifacts are kept. Take it back: kubectl yolo resume {name}", output
    )


@click.command()
@click.argument("name")
@_output_option
@cluster_options
def retry(name: str, output: str | None, **where: str | None) -> None:
    """Let failed stages run again, with their count of failures at zero.

    For when the cause lay outside of the spec: data corrected, a Secret replaced. A change of the spec is tried by itself.
    """
    cluster = Cluster(**where)
    before = cluster.get(name)
    failed = [title(stage) for stage in stage_list(before) if stage.get("state") == "Failed"]
    if not failed:
        raise click.ClickException(f"no stage of {name} has failed: {_phase(before) or 'it has not started'}")
    stored = cluster.patch(name, {"metadata": {"annotations": {resource.ANNOTATION_RETRY: _token()}}})
    _say(stored, f"{', '.join(failed)} of {name} will be tried again. Follow it: kubectl yolo watch {name}", output)


@click.command()
@click.argument("name")
@click.option("--from", "stages", required=True, multiple=True, metavar="STAGE[=VARIANT]", help="For example train, prune=0.5.")
@_output_option
@cluster_options
def rerun(name: str, stages: tuple[str, ...], output: str | None, **where: str | None) -> None:
    """Run a stage anew, and everything that reads its result, though nothing has changed.

    The new results go to directories of their own; the earlier ones stay in the workspace.
    """
    cluster = Cluster(**where)
    for left in reversed(range(_TRIES)):
        before = cluster.get(name)
        wanted = [_known_stage(before, stage) for stage in stages]
        text = forced(_annotations(before).get(resource.ANNOTATION_RERUN) or "", wanted, _token())
        version = before["metadata"]["resourceVersion"]
        try:
            # What others forced stays: the annotation is read and written as one, under the version that it was read in.
            body = {"metadata": {"resourceVersion": version, "annotations": {resource.ANNOTATION_RERUN: text}}}
            stored = cluster.patch(name, body)
        except ChangedError:
            if not left:
                raise
        else:
            break
    _say(stored, f"{name} runs again from {', '.join(wanted)}. Follow it: kubectl yolo watch {name}", output)


COMMANDS = (suspend, resume, cancel, retry, rerun)


def forced(before: str, stages: list[str], token: str) -> str:
    """The annotation's next value: the stages get a new token, those that were forced before keep theirs.

    Without its token a stage would fall back to the result that it had before it was forced.
    """
    tokens = dict(part.partition("=")[::2] for part in before.split(",") if part)
    for stage in stages:
        tokens.pop(stage, None)
        tokens[stage] = token
    return ",".join(f"{stage}={known}" for stage, known in tokens.items())


def _known_stage(experiment: Object, text: str) -> str:
    """A stage as the annotation names it: `train`, `prune 0.5`.

    Raises:
        click.ClickException: when the experiment has no such stage; it lists those that it has.
    """
    name, _, variant = text.partition("=")
    known = [stage_key(stage) for stage in stage_list(experiment)]
    if not known:
        raise click.ClickException("the operator has not looked at the experiment yet: there is no stage to run again")
    if (name, variant) in known or (not variant and name in {stage for stage, _ in known}):
        return f"{name} {variant}".strip()
    there = ", ".join("=".join(part for part in key if part) for key in known)
    raise click.BadParameter(f"there is no stage {text}. Stages: {there}", param_hint="--from")


def _say(experiment: Object, sentence: str, output: str | None) -> None:
    if output == "json":
        click.echo(json.dumps(experiment, indent=2))
    elif output == "yaml":
        click.echo(yaml.safe_dump(experiment, sort_keys=False), nl=False)
    else:
        click.echo(sentence)


def _annotations(experiment: Object) -> dict[str, str]:
    return (experiment.get("metadata") or {}).get("annotations") or {}


def _phase(experiment: Object) -> str:
    return str((experiment.get("status") or {}).get("phase") or "")


def _running(experiment: Object) -> str:
    active = ("Running", "Starting", "Queued")
    return ", ".join(title(stage) for stage in stage_list(experiment) if stage.get("state") in active)


def _token() -> str:
    """Different each time, and says when to people."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
