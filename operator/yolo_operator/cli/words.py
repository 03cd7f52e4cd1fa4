"""How things are said on the screen: names, times, sizes, colours, and how an experiment ended. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from yolo_operator.cli.summary import Object

StageKey = tuple[str, str]

LOOK = {
    "Pending": ("·", "dim"),
    "Queued": ("◌", "yellow"),
    "Starting": ("◔", "cyan"),
    "Running": ("▶", "bold cyan"),
    "Suspended": ("⏸", "yellow"),
    "Succeeded": ("✔", "green"),
    "Failed": ("✘", "bold red"),
    "Skipped": ("–", "dim"),
}
PHASE_STYLE = {"Succeeded": "bold green", "Failed": "bold red", "Running": "bold cyan"}
_OUTCOMES = ("Complete", "Failed", "Stalled")


def stage_key(stage: Object) -> StageKey:
    """Name and variant: what tells one stage of an experiment from the others."""
    return stage.get("name") or "?", stage.get("variant") or ""


def outcome(experiment: Object) -> str | None:
    """Complete, Failed or Stalled when the operator has said so of the spec as it is now; none while it goes on."""
    status = experiment.get("status") or {}
    generation = experiment.get("metadata", {}).get("generation")
    for condition in status.get("conditions") or []:
        seen = condition.get("observedGeneration", status.get("observedGeneration"))
        stale = seen is not None and generation is not None and seen < generation
        if condition.get("type") in _OUTCOMES and condition.get("status") == "True" and not stale:
            return str(condition["type"])
    return None


def outcome_message(experiment: Object) -> str:
    """The sentence of the condition that ended the experiment, or the status' own."""
    status = experiment.get("status") or {}
    ending = outcome(experiment)
    for condition in status.get("conditions") or []:
        if condition.get("type") == ending and condition.get("message"):
            return str(condition["message"])
    return str(status.get("message") or "")


def title(stage: Object) -> str:
    """A stage's name, with its variant where it has one."""
    name, variant = stage_key(stage)
    return f"{name} {variant}".rstrip()


def reason_to_run(stage: Mapping[str, Any]) -> str:
    """Why a stage ran again, or did not have to; nothing of one that ran because it was new."""
    why = str(stage.get("why") or "")
    return "" if why == "new" else why


def duration(seconds: float | None) -> str:
    """Seconds as people say them: 42s, 3m12s, 2h05m."""
    if seconds is None:
        return ""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02}m"


def size(count: float | None) -> str:
    """Bytes as people say them."""
    if count is None:
        return ""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def number(value: float | None, digits: int) -> str:
    """A number, or nothing."""
    return "" if value is None else f"{value:.{digits}f}"


def said(row: Mapping[str, Any], value: Any) -> str:
    """A comparison's value by its row's unit."""
    if value is None:
        return ""
    if row.get("unit") == "seconds":
        return duration(value)
    return size(value) if row.get("unit") == "bytes" else plain(value)


def plain(value: Any) -> str:
    """Any value; numbers in five digits."""
    return f"{value:.5g}" if isinstance(value, float) else str(value)
