"""Experiments side by side: what differs in their specs, and what came of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from yolo_operator.cli.summary import Object, Summary, find, precision, stage_list, summarise, variants
from yolo_operator.cli.words import plain, said

Row = dict[str, Any]


def comparison(experiments: list[Object]) -> dict[str, Any]:
    """Names, then rows of one value an experiment, null where it has none.

    `spec`: the fields that are not the same in all, by their path. `results`: in the order of the pipeline; mAP and AP from 0 to
    1, seconds, bytes.
    """
    summaries = [summarise(experiment) for experiment in experiments]
    return {
        "experiments": [f"{summary['namespace']}/{summary['experiment']}" for summary in summaries],
        "spec": list(_differences([experiment.get("spec") or {} for experiment in experiments])),
        "results": list(_results(experiments, summaries)),
    }


def _differences(specs: list[Object]) -> Iterable[Row]:
    flat = [_flat(spec) for spec in specs]
    fields = list(dict.fromkeys(field for one in flat for field in one))
    for field in fields:
        values = [one.get(field) for one in flat]
        if any(value != values[0] for value in values):
            yield {"name": field, "values": values}


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """Leaves by path; a list of plain values is one leaf."""
    if isinstance(value, dict) and value:
        return {name: leaf for key, inner in value.items() for name, leaf in _flat(inner, f"{path}.{key}".lstrip(".")).items()}
    if isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        return {name: leaf for index, inner in enumerate(value) for name, leaf in _flat(inner, f"{path}[{index}]").items()}
    return {path: value}


def _results(experiments: list[Object], summaries: list[Summary]) -> Iterable[Row]:
    def row(name: str, values: list[Any], unit: str = "") -> Iterable[Row]:
        if any(value is not None for value in values):
            yield {"name": name, "values": values, **({"unit": unit} if unit else {})}

    yield from row("phase", [summary["phase"] for summary in summaries])
    yield from row("duration", [summary["seconds"] for summary in summaries], "seconds")
    yield from row("dataset fingerprint", [_fingerprint(experiment) for experiment in experiments])
    yield from row("training loss", [_metric(experiment, "train", "loss") for experiment in experiments])
    precisions = [precision(summary) for summary in summaries]
    for model in dict.fromkeys(model for one in precisions for model in one):
        of_model = [one.get(model) or {} for one in precisions]
        yield from row(f"mAP {model}", [one.get("mAP") for one in of_model])
        for name in sorted({name for one in of_model for name in one} - {"mAP"}):
            yield from row(f"AP {model} {name}", [one.get(name) for one in of_model])
    chosen = [next((row for row in variants(summary) if row["chosen"]), {}) for summary in summaries]
    yield from row("pruned at", [one.get("variant") for one in chosen])
    yield from row("parameters left", [one.get("parameterRatio") for one in chosen])
    yield from row("pruned model", [one.get("bytes") for one in chosen], "bytes")
    yield from row("exported model", [(summary["export"] or {}).get("bytes") for summary in summaries], "bytes")


def _fingerprint(experiment: Object) -> str | None:
    text = (find(stage_list(experiment), "prepare") or {}).get("fingerprint")
    return str(text)[:12] if text else None


def _metric(experiment: Object, stage: str, name: str) -> Any:
    return ((find(stage_list(experiment), stage) or {}).get("metrics") or {}).get(name)


def comparison_view(result: dict[str, Any]) -> RenderableType:
    """Two tables; of the results' numbers the best is bold."""
    parts: list[RenderableType] = [Text("What differs in the specs", style="bold"), _table("field", result["experiments"])]
    for row in result["spec"]:
        _last(parts).add_row(row["name"], *(Text("" if value is None else plain(value)) for value in row["values"]))
    if not result["spec"]:
        parts[-1] = Text("nothing", style="dim")
    parts += ["", Text("What came of it", style="bold"), _table("result", result["experiments"])]
    for row in result["results"]:
        best = _best(row)
        cells = [
            Text(said(row, value), style="bold green" if best is not None and value == best else "") for value in row["values"]
        ]
        _last(parts).add_row(row["name"], *cells)
    return Group(*parts)


def _best(row: Row) -> float | None:
    """The highest precision, the lowest loss; nothing where all are the same."""
    numbers = [value for value in row["values"] if isinstance(value, int | float)]
    if len(set(numbers)) < 2:
        return None
    if row["name"].startswith(("mAP", "AP")):
        return max(numbers)
    return min(numbers) if row["name"] in ("training loss", "exported model", "pruned model", "parameters left") else None


def _table(first: str, names: list[str]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column(first, overflow="fold")
    for name in names:
        table.add_column(name, overflow="fold")
    return table


def _last(parts: list[RenderableType]) -> Table:
    table = parts[-1]
    assert isinstance(table, Table)  # noqa: S101 - made a few lines above
    return table
