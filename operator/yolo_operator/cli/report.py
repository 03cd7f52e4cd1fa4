"""An experiment as one HTML file that needs nothing else: no network, no script. Objects and files in, text out. Pure.

Numbers are those of the status; curves and pictures come from the workspace and are left out where they are not to be had.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any, NamedTuple

import yaml

from yolo_operator.cli import charts
from yolo_operator.cli.charts import Mark, Series
from yolo_operator.cli.report_style import STYLE
from yolo_operator.cli.summary import (
    Object,
    Summary,
    find,
    parse_time,
    precision,
    seconds_between,
    stage_list,
    summarise,
    variants,
)
from yolo_operator.cli.words import StageKey, duration, number, outcome_message, said, size, stage_key, title

History = Sequence[Mapping[str, Any]]
"""Rows of a training: epoch, loss, validationLoss, mAP; those that it has."""


class Picture(NamedTuple):
    """An image with its boxes drawn in."""

    name: str
    data: bytes


def comparison_page(result: Mapping[str, Any], histories: Mapping[StageKey, History], now: datetime) -> str:
    """Several experiments on one page: what differs, what came of it, and their curves; `result` as of `comparison`."""
    names = result["experiments"]
    numbers = range(1, len(names) + 1)
    specs = [[escape(row["name"]), *(escape("" if v is None else str(v)) for v in row["values"])] for row in result["spec"]]
    results = [[escape(row["name"]), *(escape(said(row, value)) for value in row["values"])] for row in result["results"]]
    sections = [
        ("What differs in the specs", _table(("field", *names), specs, numbers=numbers) if specs else "<p>Nothing.</p>"),
        ("What came of it", _table(("result", *names), results, numbers=numbers)),
        ("Curves", _curves(histories)),
    ]
    head = f"<header><h1>{escape(', '.join(names))}</h1></header>"
    return _page(" and ".join(names), head, sections, f"{now:%Y-%m-%d %H:%M} UTC")


def _page(heading: str, head: str, sections: Iterable[tuple[str, str]], foot: str) -> str:
    body = "".join(f"<section><h2>{name}</h2>{content}</section>" for name, content in sections if content)
    # The policy makes «needs no network» a promise that the browser keeps.
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
        f"<title>{escape(heading)}</title><style>{STYLE}</style></head><body><main>{head}{body}"
        f"<footer>{escape(foot)}</footer></main></body></html>\n"
    )


def report(
    experiment: Object,
    now: datetime,
    *,
    histories: Mapping[StageKey, History],
    pictures: Sequence[Picture] = (),
    version: str = "",
) -> str:
    """The page."""
    summary = summarise(experiment)
    name = f"{summary['namespace']}/{summary['experiment']}"
    sections = [
        ("Stages", _stages(experiment)),
        ("Curves", _curves(histories)),
        ("Average precision by class", _precision(summary)),
        ("Pruning", _pruning(experiment, summary)),
        ("Pseudo-label rounds", _rounds(summary)),
        ("Predictions", _pictures(pictures)),
        ("Warnings and failed attempts", _warnings(experiment)),
        ("Artifacts", _artifacts(experiment)),
        ("What was asked for", _spec(experiment)),
    ]
    return _page(name, _head(experiment, summary, escape(name)), sections, f"kubectl yolo {version}, {now:%Y-%m-%d %H:%M} UTC")


def _head(experiment: Object, summary: Summary, name: str) -> str:
    status = experiment.get("status") or {}
    phase = str(summary["phase"] or "Pending")
    prepared = find(stage_list(experiment), "prepare") or {}
    counts = prepared.get("metrics") or {}
    tiles = [
        ("mAP", number(status.get("mAP"), 4), "of the newest model that was evaluated"),
        ("Parameters left", number(status.get("pruned"), 3), f"pruned at {summary['chosen']}" if summary["chosen"] else ""),
        ("Exported model", size((summary["export"] or {}).get("bytes")), _format(summary["export"])),
        ("Duration", duration(summary["seconds"]), _span(status)),
        ("Training images", str(counts.get("trainImages") or ""), _dataset(counts, prepared)),
    ]
    cards = "".join(
        f'<div class="tile"><b>{escape(heading)}</b><strong>{escape(value)}</strong><small>{escape(note)}</small></div>'
        for heading, value, note in tiles
        if value
    )
    message = outcome_message(experiment)
    return (
        f'<header><h1>{name}</h1><span class="phase {escape(phase.lower())}">{escape(phase)}</span>'
        f'<p>{escape(message)}</p></header><div class="tiles">{cards}</div>'
    )


def _format(exported: Summary | None) -> str:
    return f"{exported['format']} {exported['dataType']}" if exported else ""


def _span(status: Object) -> str:
    first, last = parse_time(status.get("startTime")), parse_time(status.get("completionTime"))
    if first is None:
        return ""
    return f"{first:%Y-%m-%d %H:%M} – {last:%Y-%m-%d %H:%M} UTC" if last else f"since {first:%Y-%m-%d %H:%M} UTC"


def _dataset(counts: Object, prepared: Object) -> str:
    facts = [f"{counts['validationImages']} for validation"] if counts.get("validationImages") is not None else []
    if prepared.get("fingerprint"):
        facts.append(f"fingerprint {prepared['fingerprint'][:12]}")
    return ", ".join(facts)


def _stages(experiment: Object) -> str:
    rows = []
    for stage in stage_list(experiment):
        metrics = stage.get("metrics") or {}
        began = parse_time(stage.get("startTime"))
        state = str(stage.get("state") or "?")
        remarks = [str(stage.get("message") or "")] + ["reused"] * bool(stage.get("reused"))
        rows.append(
            [
                escape(title(stage)),
                f'<span class="state {escape(state.lower())}">{escape(state)}</span>',
                str(stage.get("attempt") or ""),
                f'<span class="one-line">{escape(str(stage.get("node") or ""))}</span>',
                f"{began:%H:%M:%S}" if began else "",
                duration(seconds_between(stage.get("createTime"), stage.get("startTime"))),
                duration(seconds_between(stage.get("startTime"), stage.get("finishTime"))),
                number(metrics.get("loss"), 4),
                number(metrics.get("mAP"), 4),
                escape("; ".join(filter(None, remarks))),
            ]
        )
    heads = ("stage", "state", "attempt", "node", "started", "waited", "ran", "loss", "mAP", "")
    return _table(heads, rows, numbers=range(4, 9)) if rows else ""


def _curves(histories: Mapping[StageKey, History]) -> str:
    def series(key: str) -> list[Series]:
        def points(rows: History) -> list[tuple[float, float]]:
            return [(row["epoch"], row[key]) for row in rows if _number(row.get(key)) and _number(row.get("epoch"))]

        return [Series(" ".join(stage).strip(), points(rows)) for stage, rows in histories.items()]

    plots = [
        ("Training loss", charts.lines(series("loss"), x_label="epoch", y_label="loss")),
        ("Validation loss", charts.lines(series("validationLoss"), x_label="epoch", y_label="loss")),
        ("mAP on the validation images", charts.lines(series("mAP"), x_label="epoch", y_label="mAP", zero=True)),
        ("Learning rate", charts.lines(series("learningRate"), x_label="epoch", y_label="learning rate", zero=True)),
    ]
    return _plots(plots)


def _plots(plots: Iterable[tuple[str, str]]) -> str:
    drawn = "".join(f"<figure><figcaption>{heading}</figcaption>{plot}</figure>" for heading, plot in plots if plot)
    return f'<div class="plots">{drawn}</div>' if drawn else ""


def _precision(summary: Summary) -> str:
    found = precision(summary)
    if not found:
        return ""
    names = list(found)
    classes = sorted({name for values in found.values() for name in values} - {"mAP"})
    rows = [[escape(name), *(number(found[model].get(name), 5) for model in names)] for name in classes]
    rows.append(["<b>mAP</b>", *(f"<b>{number(found[model]['mAP'], 5)}</b>" for model in names)])
    table = _table(("class", *names), rows, numbers=range(1, len(names) + 1))
    plot = charts.dots(
        [(name, [found[model].get(name) for model in names]) for name in classes], names, x_label="average precision"
    )
    return f'<div class="plots"><div>{table}</div><figure>{plot}</figure></div>'


def _pruning(experiment: Object, summary: Summary) -> str:
    rows = variants(summary)
    if not rows:
        return ""
    cells = [
        [
            escape(row["variant"]),
            number(row["parameterRatio"], 4),
            size(row["bytes"]),
            number(row["mAP"], 5),
            '<span class="state succeeded">chosen</span>' if row["chosen"] else "",
        ]
        for row in rows
    ]
    marks = [
        Mark(row["variant"], row["parameterRatio"], row["mAP"], row["chosen"])
        for row in rows
        if _number(row["parameterRatio"]) and _number(row["mAP"])
    ]
    why = ((experiment.get("status") or {}).get("chosen") or {}).get("message") or ""
    table = _table(("threshold", "parameters left", "size", "mAP before retraining", ""), cells, numbers=range(1, 4))
    plot = charts.scatter(marks, x_label="parameters left", y_label="mAP")
    return f'<div class="plots"><div>{table}<p>{escape(why)}</p></div><figure>{plot}</figure></div>'


def _rounds(summary: Summary) -> str:
    rows = [
        [
            str(entry["number"]),
            *("" if entry[name] is None else str(entry[name]) for name in ("images", "labels", "dropped")),
            number(entry["mAPBefore"], 5),
            number(entry["mAPAfter"], 5),
            {True: '<span class="state succeeded">kept</span>', False: "not kept"}.get(entry["kept"], ""),
            escape(str(entry["message"] or "")),
        ]
        for entry in summary["rounds"]
    ]
    heads = ("round", "images", "labels", "dropped", "mAP before", "mAP after", "", "")
    return _table(heads, rows, numbers=range(1, 6)) if rows else ""


def _pictures(pictures: Sequence[Picture]) -> str:
    drawn = []
    for picture in pictures:
        kind = image_type(picture.data)
        if kind:
            data = base64.b64encode(picture.data).decode()
            name = escape(picture.name)
            drawn.append(f'<figure><img alt="{name}" src="data:{kind};base64,{data}"><figcaption>{name}</figcaption></figure>')
    return f'<div class="gallery">{"".join(drawn)}</div>' if drawn else ""


def image_type(data: bytes) -> str | None:
    """The media type by the first bytes: JPEG and PNG, which every browser shows."""
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    return "image/png" if data.startswith(b"\x89PNG\r\n\x1a\n") else None


def _warnings(experiment: Object) -> str:
    items = []
    for stage in stage_list(experiment):
        for past in stage.get("attempts") or ():
            words = f"attempt {past.get('number')}, {past.get('class')}: {past.get('reason')}: {past.get('message') or ''}"
            where = f" on {past['node']}" if past.get("node") else ""
            items.append(f"<li><b>{escape(title(stage))}</b> {escape(words + where)}</li>")
        for warning in stage.get("warnings") or ():
            words = f"{warning.get('reason')}: {warning.get('message') or ''}"
            items.append(f'<li class="warning"><b>{escape(title(stage))}</b> {escape(words)}</li>')
    return f"<ul>{''.join(items)}</ul>" if items else ""


def _artifacts(experiment: Object) -> str:
    rows = [
        [
            escape(title(stage)),
            escape(str(artifact.get("name"))),
            f"<code>{escape(str(artifact.get('path')))}</code>",
            size(artifact.get("bytes")),
            f'<code class="digest">{escape(str(artifact.get("sha256") or ""))}</code>',
        ]
        for stage in stage_list(experiment)
        for artifact in stage.get("artifacts") or ()
    ]
    return _table(("stage", "artifact", "path in the workspace", "size", "sha256"), rows, numbers=range(3, 4)) if rows else ""


def _spec(experiment: Object) -> str:
    metadata, spec = experiment.get("metadata") or {}, experiment.get("spec") or {}
    if not spec:
        return ""
    pairs = (metadata.get("labels") or {}).items()
    labels = "".join(f"<li><code>{escape(f'{key}={value}')}</code></li>" for key, value in pairs)
    facts = f"<p>Generation {metadata.get('generation', '?')}</p>{_images(experiment)}"
    text = escape(yaml.safe_dump(spec, sort_keys=False, allow_unicode=True))
    return f"{facts}<ul>{labels}</ul><details open><summary>spec</summary><pre>{text}</pre></details>"


def _images(experiment: Object) -> str:
    """What ran in which image, by its digest."""
    found: dict[str, list[str]] = {}
    for stage in stage_list(experiment):
        if stage.get("image"):
            found.setdefault(stage["image"], []).append(title(stage))
    rows = [[f"<code>{escape(image)}</code>", escape(", ".join(stages))] for image, stages in found.items()]
    return _table(("image", "stages"), rows, numbers=range(0)) if rows else ""


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: range) -> str:
    """Cells are HTML already; columns of numbers are right-aligned."""

    def cell(tag: str, index: int, content: str) -> str:
        return f'<{tag} class="number">{content}</{tag}>' if index in numbers else f"<{tag}>{content}</{tag}>"

    head = "".join(cell("th", index, escape(name)) for index, name in enumerate(heads))
    body = "".join("<tr>" + "".join(cell("td", index, text) for index, text in enumerate(row)) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def trained_stages(experiment: Object) -> list[Object]:
    """The stages whose reports hold a curve."""
    training = ("train", "retrain", "fine-tune")
    return [stage for stage in stage_list(experiment) if stage_key(stage)[0] in training and stage.get("digest")]
