"""Tables of experiments and of their results: objects and summaries in, rich's renderables out. Pure."""

from __future__ import annotations

from datetime import datetime

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from yolo_operator.cli.summary import Object, Summary, parse_time, precision, variants
from yolo_operator.cli.words import LOOK, PHASE_STYLE, duration, number, reason_to_run, size, title


def list_row(experiment: Object, now: datetime) -> Summary:
    """An experiment's row, for programs: null where there is nothing yet."""
    metadata, status = experiment.get("metadata", {}), experiment.get("status") or {}
    created = parse_time(metadata.get("creationTimestamp"))
    return {
        "namespace": metadata.get("namespace"),
        "name": metadata.get("name"),
        "phase": status.get("phase"),
        "stage": status.get("stage"),
        "progress": status.get("progress"),
        "mAP": status.get("mAP"),
        "pruned": status.get("pruned"),
        "ageSeconds": round((now - created).total_seconds()) if created else None,
    }


def list_view(experiments: list[Object], now: datetime, *, namespaces: bool) -> Table:
    """One row an experiment, as `kubectl get` has it."""
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="")
    for name in ["NAMESPACE"] * namespaces + ["NAME", "PHASE", "STAGE", "PROGRESS", "mAP", "PRUNED", "AGE"]:
        table.add_column(name, no_wrap=True)
    for experiment in experiments:
        row = list_row(experiment, now)
        phase = row["phase"] or ""
        table.add_row(
            *([row["namespace"]] if namespaces else []),
            row["name"],
            Text(phase, style=PHASE_STYLE.get(phase, "")),
            row["stage"] or "",
            row["progress"] or "",
            number(row["mAP"], 4),
            number(row["pruned"], 3),
            duration(row["ageSeconds"]),
        )
    return table


def summary_view(summary: Summary) -> RenderableType:
    """The tables of a finished (or not yet finished) experiment: stages, precision by class, variants, rounds,
    the exported model."""
    head = Text(f"{summary['namespace']}/{summary['experiment']}  {summary['phase'] or 'Pending'}", style="bold")
    if summary["seconds"] is not None:
        head.append(f"  {duration(summary['seconds'])}", style="dim")
    parts: list[RenderableType] = [head]
    if summary["stages"]:
        parts += _titled("Stages", _stage_table(summary["stages"]))
    if precisions := precision(summary):
        parts += _titled("Average precision by class", _precision_table(precisions))
    if rows := variants(summary):
        parts += _titled("Pruned variants", _variant_table(rows))
    if summary["gates"]:
        parts += _titled("Gates", _gate_table(summary["gates"]))
    if summary["rounds"]:
        parts += _titled("Pseudo-label rounds", _round_table(summary["rounds"]))
    if exported := summary["export"]:
        quality = f", mAP {exported['mAP']:.5f}" if exported["mAP"] is not None else ""
        parts += _titled(f"Exported model: {exported['format']} {exported['dataType']}{quality}", _file_table(exported["files"]))
    return Group(*parts)


def _titled(title: str, table: Table) -> list[RenderableType]:
    return ["", Text(title, style="bold"), table]


def _stage_table(stages: list[Summary]) -> Table:
    table = _table("stage", "state", "seconds", "attempts", "mAP", "size", numbers=4)
    table.add_column("why", overflow="fold")
    for stage in stages:
        symbol, style = LOOK.get(stage["state"], ("?", ""))
        table.add_row(
            title(stage),
            Text(f"{symbol} {stage['state']}", style=style),
            number(stage["seconds"], 0),
            str(stage["attempts"]),
            number(stage["metrics"]["mAP"], 4),
            size(stage["bytes"]),
            reason_to_run(stage),
        )
    return table


def _precision_table(precisions: dict[str, dict[str, float]]) -> Table:
    table = _table("class", *precisions, numbers=len(precisions))
    classes = sorted({name for values in precisions.values() for name in values} - {"mAP"})
    for name in classes:
        table.add_row(name, *(number(values.get(name), 5) for values in precisions.values()))
    table.add_section()
    table.add_row("mAP", *(number(values["mAP"], 5) for values in precisions.values()), style="bold")
    return table


def _variant_table(rows: list[Summary]) -> Table:
    table = _table("threshold", "parameter ratio", "size", "mAP before retraining", "after", numbers=4)
    for name in ("Pareto", "within bounds", ""):
        table.add_column(name)
    for row in rows:
        numbers = (number(row["parameterRatio"], 3), size(row["bytes"]), number(row["mAP"], 5), number(row["retrainedMAP"], 5))
        fits = "" if row["fits"] is None else "yes" if row["fits"] else f"no: {row['message']}" if row["message"] else "no"
        pareto = "" if row["pareto"] is None else "yes" if row["pareto"] else "beaten"
        said = "◀ chosen" if row["chosen"] else ""
        table.add_row(row["variant"], *numbers, pareto, fits, said, style="bold green" if row["chosen"] else "")
    return table


def _gate_table(gates: list[Summary]) -> Table:
    table = _table("gate", "verdict", "numbers", numbers=0)
    for gate in gates:
        verdict = Text("✔ open", style="green") if gate["open"] else Text("✘ closed", style="bold red")
        table.add_row(gate["name"], verdict, gate["message"] or "")
    return table


def _round_table(rounds: list[Summary]) -> Table:
    table = _table("round", "images", "labels", "dropped", "mAP before", "mAP after", numbers=5)
    table.add_column()
    for row in rounds:
        counts = ("" if row[name] is None else str(row[name]) for name in ("images", "labels", "dropped"))
        kept = row["mAPAfter"] is not None and row["kept"]
        said = "◀ kept" if kept else "not kept" if row["kept"] is False else row["message"] or ""
        maps = (number(row["mAPBefore"], 5), number(row["mAPAfter"], 5))
        table.add_row(str(row["number"]), *counts, *maps, said, style="bold green" if kept else "")
    return table


def _file_table(files: list[Summary]) -> Table:
    table = _table("file", "size", numbers=1)
    for file in files:
        table.add_row(file["path"], size(file["bytes"]))
    return table


def _table(*columns: str, numbers: int) -> Table:
    """A plain table whose last `numbers` columns are right-aligned."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), header_style="dim", show_edge=False)
    for index, name in enumerate(columns):
        table.add_column(name, justify="right" if index >= len(columns) - numbers else "left")
    return table
