"""Tables of experiments and of their results: objects and summaries in, rich's renderables out. Pure."""

from __future__ import annotations

from datetime import datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from yolo_operator.cli.summary import Object, Summary, parse_time, precision, variants
from yolo_operator.cli.words import LOOK, PHASE_STYLE, duration, number, size, title


def list_view(experiments: list[Object], now: datetime, *, namespaces: bool) -> Table:
    """One row an experiment, as `kubectl get` has it."""
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="")
    for name in ["NAMESPACE"] * namespaces + ["NAME", "PHASE", "STAGE", "PROGRESS", "mAP", "PRUNED", "AGE"]:
        table.add_column(name, no_wrap=True)
    for experiment in experiments:
        metadata, status = experiment.get("metadata", {}), experiment.get("status") or {}
        created = parse_time(metadata.get("creationTimestamp"))
        phase = status.get("phase") or ""
        table.add_row(
            *([metadata.get("namespace")] if namespaces else []),
            metadata.get("name"),
            Text(phase, style=PHASE_STYLE.get(phase, "")),
            status.get("stage") or "",
            status.get("progress") or "",
            number(status.get("mAP"), 4),
            number(status.get("pruned"), 3),
            duration((now - created).total_seconds()) if created else "",
        )
    return table


def summary_view(summary: Summary) -> RenderableType:
    """The tables of a finished (or not yet finished) experiment: stages, precision by class, variants, the exported model."""
    head = Text(f"{summary['namespace']}/{summary['experiment']}  {summary['phase'] or 'Pending'}", style="bold")
    if summary["seconds"] is not None:
        head.append(f"  {duration(summary['seconds'])}", style="dim")
    parts: list[RenderableType] = [head]
    if summary["stages"]:
        parts += ["", _summary_stages(summary)]
    if precisions := precision(summary):
        parts += ["", _precision_table(precisions)]
    if rows := variants(summary):
        parts += ["", _variant_table(rows)]
    if exported := summary["export"]:
        parts += ["", _export_table(exported)]
    return Group(*parts)


def _summary_stages(summary: Summary) -> Table:
    table = _table("Stages", "stage", "state", "seconds", "attempts", "mAP", "bytes", right=4)
    for stage in summary["stages"]:
        symbol, style = LOOK.get(stage["state"], ("?", ""))
        table.add_row(
            title(stage),
            Text(f"{symbol} {stage['state']}", style=style),
            number(stage["seconds"], 0),
            str(stage["attempts"]),
            number(stage["metrics"]["mAP"], 4),
            size(stage["bytes"]),
        )
    return table


def _precision_table(precisions: dict[str, dict[str, float]]) -> Table:
    table = _table("Average precision by class", "class", *precisions, right=len(precisions))
    classes = sorted({name for values in precisions.values() for name in values} - {"mAP"})
    for name in classes:
        table.add_row(name, *(number(values.get(name), 5) for values in precisions.values()))
    table.add_section()
    table.add_row("mAP", *(number(values["mAP"], 5) for values in precisions.values()), style="bold")
    return table


def _variant_table(rows: list[Summary]) -> Table:
    table = _table("Pruned variants", "threshold", "parameter ratio", "bytes", "mAP before retraining", "", right=4)
    for row in rows:
        numbers = (number(row["parameterRatio"], 3), size(row["bytes"]), number(row["mAP"], 5))
        table.add_row(row["variant"], *numbers, "◀ chosen" if row["chosen"] else "", style="bold green" if row["chosen"] else "")
    return table


def _export_table(exported: Summary) -> Table:
    mean = exported["mAP"]
    quality = f", mAP {mean:.5f}" if mean is not None else ""
    table = _table(f"Exported model: {exported['format']} {exported['dataType']}{quality}", "file", "bytes", right=1)
    for file in exported["files"]:
        table.add_row(file["path"], size(file["bytes"]))
    return table


def _table(title: str, *columns: str, right: int) -> Table:
    """A table whose last `right` columns hold numbers (an empty heading: words after them)."""
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim")
    for index, name in enumerate(columns):
        table.add_column(name, justify="right" if name and index >= len(columns) - right else "left")
    return table
