"""One experiment on the screen: objects in, rich's renderables (or lines of text) out. Pure; the clock is an argument."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from yolo_operator.cli.summary import Object, parse_time, stage_list
from yolo_operator.cli.words import (
    LOOK,
    PHASE_STYLE,
    StageKey,
    duration,
    outcome,
    outcome_message,
    reason_to_run,
    stage_key,
    title,
)

Live = Mapping[StageKey, Mapping[str, Any]]
"""Progress by stage, newer than the status: the last line that the stage's runner printed."""

BAR = 14
"""Columns of a progress bar: the table fits into 120."""


def percent(stage: Object, live: Mapping[str, Any] | None = None) -> float | None:
    """How much of a stage is done, 0 to 100."""
    if stage.get("state") == "Succeeded":
        return 100.0
    progress = _progress(stage, live)
    epoch, epochs = progress.get("epoch"), progress.get("epochs")
    if epoch and epochs:
        step, steps = progress.get("step"), progress.get("steps")
        done = epoch - 1 + step / steps if step is not None and steps else epoch
        return float(min(100.0, 100.0 * max(0.0, done) / epochs))
    done_percent: float | None = progress.get("percent")
    return done_percent


def experiment_view(experiment: Object, now: datetime, live: Live | None = None) -> RenderableType:
    """The whole experiment: a headline, one row a stage, and what people should know."""
    parts: list[RenderableType] = [_headline(experiment, now)]
    if stage_list(experiment):
        parts.append(_stage_table(experiment, now, live or {}))
    parts.extend(_gates(experiment))
    parts.extend(_notes(experiment))
    return Group(*parts)


def current_status(experiment: Object, live: Live) -> Object:
    """The status for programs: as stored, running stages with the newest progress over the recorded one."""
    stages = [
        {**stage, "progress": {**(stage.get("progress") or {}), **live[stage_key(stage)]}} if stage_key(stage) in live else stage
        for stage in stage_list(experiment)
    ]
    status = experiment.get("status") or {}
    name = {key: experiment.get("metadata", {}).get(key) for key in ("namespace", "name")}
    return {**name, **status, **({"stages": stages} if stages else {})}


def _headline(experiment: Object, now: datetime) -> Text:
    status, metadata = experiment.get("status") or {}, experiment.get("metadata", {})
    phase = status.get("phase") or "Pending"
    line = Text()
    line.append(f"{metadata.get('namespace', '')}/{metadata.get('name', '')}", style="bold")
    line.append("  ")
    line.append(phase, style=PHASE_STYLE.get(phase, "bold"))
    facts = [status.get("progress") or ""]
    if (elapsed := _elapsed(status.get("startTime"), status.get("completionTime"), now)) is not None:
        facts.append(duration(elapsed))
    if status.get("mAP") is not None:
        facts.append(f"mAP {status['mAP']:.4f}")
    if status.get("pruned") is not None:
        facts.append(f"{status['pruned']:.3f} of the parameters")
    for fact in filter(None, facts):
        line.append(f"  {fact}", style="dim")
    return line


def _stage_table(experiment: Object, now: datetime, live: Live) -> Table:
    status = experiment.get("status") or {}
    chosen, sweep = (status.get("chosen") or {}).get("variant"), {row.get("name"): row for row in status.get("variants") or []}
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("STAGE", no_wrap=True)
    table.add_column("STATE", no_wrap=True)
    table.add_column("PROGRESS", width=BAR)
    for name in ("EPOCH", "LOSS", "mAP", "TIME", "ETA"):
        table.add_column(name, justify="right", no_wrap=True, min_width=6)
    table.add_column("", no_wrap=True)
    for stage in stage_list(experiment):
        remark = _remark(stage, chosen, sweep.get(stage.get("variant")) if stage.get("name") == "prune" else None)
        table.add_row(*_stage_row(stage, now, live.get(stage_key(stage))), remark)
    return table


def _stage_row(stage: Object, now: datetime, live: Mapping[str, Any] | None) -> list[RenderableType]:
    state = stage.get("state") or "Pending"
    symbol, style = LOOK.get(state, ("?", ""))
    progress, metrics = _progress(stage, live), stage.get("metrics") or {}
    numbers = {**progress, **{key: value for key, value in metrics.items() if value is not None}}
    attempt = f" (attempt {stage['attempt']})" if stage.get("attempt", 0) > 1 else ""
    running = state == "Running"
    return [
        Text(title(stage), style="" if state not in ("Pending", "Skipped") else "dim"),
        Text(f"{symbol} {state}{attempt}", style=style),
        _bar(state, percent(stage, live)),
        f"{numbers['epoch']}/{numbers.get('epochs') or '?'}" if numbers.get("epoch") is not None else "",
        f"{numbers['loss']:.4g}" if numbers.get("loss") is not None else "",
        f"{numbers['mAP']:.4f}" if numbers.get("mAP") is not None else "",
        duration(_elapsed(stage.get("startTime"), stage.get("finishTime"), now)),
        duration(progress.get("etaSeconds")) if running else "",
    ]


def _remark(stage: Object, chosen: str | None, variant: Object | None) -> Text:
    """What is particular about a stage: what pruning left, why it ran again, and what was there already."""
    remark = Text(style="dim")
    if (ratio := (stage.get("metrics") or {}).get("parameterRatio")) is not None:
        remark.append(f"{ratio:.3f} of the parameters ")
    if (labels := (stage.get("metrics") or {}).get("labels")) is not None:
        remark.append(f"{labels} labels ")
    if why := reason_to_run(stage):
        remark.append(f"{why} ")
    elif stage.get("reused"):
        remark.append("reused ")
    if stage.get("resumedFromEpoch"):
        remark.append(f"resumed from epoch {stage['resumedFromEpoch']} ")
    if stage.get("name") == "prune" and chosen and stage.get("variant") == chosen:
        remark.append("◀ chosen", style="bold green")
    elif variant is not None:
        remark.append("beyond the bounds " * (variant.get("fits") is False) + "beaten" * (variant.get("pareto") is False))
    return remark


def _bar(state: str, done: float | None) -> RenderableType:
    if state == "Running":
        return ProgressBar(total=100, completed=done or 0, width=BAR, pulse=done is None)
    if state in ("Succeeded", "Failed") and done is not None:
        return ProgressBar(total=100, completed=done, width=BAR, finished_style="green" if state == "Succeeded" else "red")
    return ""


def _gates(experiment: Object) -> Iterable[RenderableType]:
    for gate in (experiment.get("status") or {}).get("gates") or []:
        is_open = bool(gate.get("open"))
        words = f"gate {gate.get('name')}: {'open' if is_open else 'closed'}"
        said = f"{words}: {gate['message']}" if gate.get("message") else words
        yield Text(f"✔ {said}" if is_open else f"✘ {said}", style="green" if is_open else "bold red")


def _notes(experiment: Object) -> Iterable[RenderableType]:
    whole = outcome_message(experiment)
    for stage in stage_list(experiment):
        state, reason = stage.get("state"), stage.get("reason")
        # A stage that waits for another one has a message without a reason, or that of its earlier result: its place in the table
        # says as much. What the experiment's sentence says is not said twice.
        waits = reason not in (None, "", "Completed") and state in ("Starting", "Queued", "Pending")
        if stage.get("message") and (state == "Failed" or waits) and stage["message"] not in whole:
            yield Text(f"{title(stage)}: {reason or state}: {stage['message']}", style="red" if state == "Failed" else "yellow")
        for warning in stage.get("warnings") or []:
            yield Text(f"{title(stage)}: {warning.get('reason')}: {warning.get('message', '')}", style="yellow")
    if message := whole:
        yield Text(message, style="red" if outcome(experiment) in ("Failed", "Stalled") else "")


def change_lines(before: Object | None, after: Object) -> list[str]:
    """What changed between two readings of an experiment, a line each: for a log, where no screen can be redrawn."""
    old = {stage_key(stage): stage for stage in stage_list(before or {})}
    lines = [_change(stage) for stage in stage_list(after) if _milestone(stage) != _milestone(old.get(stage_key(stage), {}))]
    old_phase, phase = ((state or {}).get("status") or {} for state in (before, after))
    if phase.get("phase") and phase.get("phase") != old_phase.get("phase"):
        message = f": {phase['message']}" if phase.get("message") else ""
        lines.append(f"experiment {phase['phase']}{message}")
    return lines


def _milestone(stage: Object) -> tuple[Any, ...]:
    """Two readings of a stage with the same milestone are not worth two lines."""
    state = stage.get("state") or "Pending"
    progress = (stage.get("progress") or {}) if state == "Running" else {}
    return state, stage.get("attempt", 0) if state != "Pending" else 0, progress.get("epoch"), progress.get("percent")


def _change(stage: Object) -> str:
    state = stage.get("state") or "Pending"
    words = [title(stage), state]
    if stage.get("attempt", 0) > 1:
        words.append(f"(attempt {stage['attempt']})")
    numbers = {**_progress(stage, None), **(stage.get("metrics") or {})}
    if numbers.get("epoch") is not None:
        words.append(f"epoch {numbers['epoch']}/{numbers.get('epochs') or '?'}")
    words += [f"{key} {numbers[key]:.4g}" for key in ("loss", "mAP", "parameterRatio", "labels") if numbers.get(key) is not None]
    if stage.get("message") and stage.get("reason") and state in ("Failed", "Pending"):
        words.append(f"{stage['reason']}: {stage['message']}")
    return " ".join(words)


def _progress(stage: Object, live: Mapping[str, Any] | None) -> dict[str, Any]:
    """The newest progress: the live line over the status, and nothing once the stage is over."""
    if stage.get("state") != "Running":
        return {}
    return {**(stage.get("progress") or {}), **(live or {})}


def _elapsed(start: str | None, finish: str | None, now: datetime) -> float | None:
    began = parse_time(start)
    return ((parse_time(finish) or now) - began).total_seconds() if began else None
