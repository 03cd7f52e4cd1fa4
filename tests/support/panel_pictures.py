"""Pictures of a dashboard's panels, drawn from Prometheus's answers by the panels' kinds, since Grafana isn't on every machine.

A stat is a number, a table the rows of its queries joined by their labels, an xychart a scatter, all else lines over time.
"""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import zlib
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from panels import Query, boards
from yolo_operator.cli import charts
from yolo_operator.cli.report_style import STYLE
from yolo_operator.cli.words import size

Series = dict[str, Any]
Answers = Sequence[tuple[Query, list[Series]]]

MOST_LINES = 8
_UNITS = {"percentunit": (100, "%"), "s": (1, "s"), "bytes": (1 / 2**20, "MiB"), "ops": (1, "1/s"), "reqps": (1, "1/s")}
_STYLE = """
.panels { display: grid; grid-template-columns: repeat(24, 1fr); gap: 14px; align-items: stretch; }
.panels section { margin: 0; padding: 10px 16px; min-width: 0; } .panels h2 { font-size: 14px; margin: 0 0 6px; }
.legend { font-size: 11px; } .stat { font-size: 26px; font-weight: 600; margin: 2px 0; }
.stat small { font-size: 13px; color: var(--soft); }
td, th { padding: 3px 12px 3px 0; font-size: 12.5px; }
"""


def page(title: str, answers: Mapping[str, Answers], start: float) -> str:
    """A dashboard's panels as one HTML page; x: seconds since `start`."""
    panels = {panel["title"]: panel for board in boards() if board["title"] == title for panel in board["panels"]}
    sections = []
    for name, found in answers.items():
        panel = panels.get(name, {})
        kind, width = panel.get("type", "timeseries"), panel.get("gridPos", {}).get("w", 12)
        draw = {"stat": _stat, "table": _table, "xychart": _scatter}.get(kind, _lines)
        drawn = draw(panel, found, start) or "<p>no samples</p>"
        sections.append(f'<section style="grid-column: span {width}"><h2>{escape(name)}</h2>{drawn}</section>')
    body = f'<main><h1>{escape(title)}</h1><br><div class="panels">{"".join(sections)}</div></main>'
    head = f'<meta charset="utf-8"><meta name="color-scheme" content="light dark"><style>{STYLE}{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>'


def _unit(panel: Mapping[str, Any], column: str = "") -> str:
    for override in panel.get("fieldConfig", {}).get("overrides", []):
        if column and override["matcher"]["options"] == column:
            return next((str(one["value"]) for one in override["properties"] if one["id"] == "unit"), "")
    return "" if column else str(panel.get("fieldConfig", {}).get("defaults", {}).get("unit", ""))


def _said(value: float, unit: str) -> str:
    if unit == "bytes":
        return size(value)
    factor, name = _UNITS.get(unit, (1, ""))
    return f"{value * factor:.4g}{'' if name == '%' else ' '}{name}".strip()


def _values(series: Series) -> list[tuple[float, float]]:
    return [(moment, float(value)) for moment, value in series["values"] if value not in ("NaN", "+Inf", "-Inf")]


def _named(series: Series, query: Query) -> str:
    labels = series["metric"]
    if query.legend:
        return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: labels.get(found[1], ""), query.legend).strip() or query.ref
    return (
        " ".join(value for name, value in labels.items() if name not in ("__name__", "job", "instance", "namespace")) or query.ref
    )


def _lines(panel: Mapping[str, Any], answers: Answers, start: float) -> str:
    factor, unit = _UNITS.get(_unit(panel), (1, ""))
    lines = [
        charts.Series(_named(one, query), [(moment - start, value * factor) for moment, value in _values(one)])
        for query, series in answers
        for one in series
    ]
    # Those that say most: a line that never moves is seen in the table as well.
    lines.sort(key=lambda line: (-len({value for _, value in line.points}), line.name))
    shown, left = lines[:MOST_LINES], len(lines) - MOST_LINES
    drawn = charts.lines(shown, x_label="seconds", y_label=unit)
    return drawn + (f'<p class="legend">and {left} more lines</p>' if left > 0 and drawn else "")


def _stat(panel: Mapping[str, Any], answers: Answers, _: float) -> str:
    """The newest number of each series that has one at the end."""
    points = [(_named(one, query) if query.legend else "", _values(one)) for query, series in answers for one in series]
    end = max((values[-1][0] for _, values in points if values), default=0.0)
    found = [(name, values[-1][1]) for name, values in points if values and values[-1][0] == end]
    unit = _unit(panel)
    return "".join(f'<p class="stat">{escape(_said(value, unit))} <small>{escape(name)}</small></p>' for name, value in found)


def _rows(answers: Answers) -> list[tuple[dict[str, str], dict[str, float]]]:
    """Labels and the queries' values by ref, of the moment at which most was there."""
    first = answers[0][1]
    moments = [moment for one in first for moment, _ in _values(one)]
    at = max(sorted(set(moments), reverse=True), key=moments.count, default=0.0)
    rows: list[tuple[dict[str, str], dict[str, float]]] = []
    for query, series in answers:
        for one in series:
            value = dict(_values(one)).get(at)
            if value is None:
                continue
            same = [row for row in rows if all(row[0].get(name, text) == text for name, text in one["metric"].items())]
            for row in same:
                row[1][query.ref] = value
            if not same and query is answers[0][0]:
                rows.append((one["metric"], {query.ref: value}))
    return sorted(rows, key=lambda row: sorted(row[0].items()))


def _table(panel: Mapping[str, Any], answers: Answers, _: float) -> str:
    options: dict[str, Any] = next((one["options"] for one in panel["transformations"] if one["id"] == "organize"), {})
    fields = sorted(options.get("indexByName", {}), key=options["indexByName"].get)
    heads = [options.get("renameByName", {}).get(name, name) for name in fields]

    def cell(row: tuple[dict[str, str], dict[str, float]], field: str, head: str) -> str:
        if not field.startswith("Value #"):
            return row[0].get(field, "")
        value = row[1].get(field.removeprefix("Value #"))
        return "" if value is None else _said(value, _unit(panel, head))

    rows = [[cell(row, field, head) for field, head in zip(fields, heads, strict=True)] for row in _rows(answers)]
    if not rows:
        return ""
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _scatter(panel: Mapping[str, Any], answers: Answers, _: float) -> str:
    marks = [
        charts.Mark(" ".join(labels.get(name, "") for name in ("experiment", "variant")), values["A"], values["B"])
        for labels, values in _rows(answers)
        if {"A", "B"} <= values.keys()
    ]
    return charts.scatter(marks, x_label="parameters left", y_label="mAP") if panel else ""


def picture(html: Path, *, dark: bool = False) -> Path | None:
    """A PNG of a page beside it, as wide as a laptop's screen and as high as the page, where there is a Chromium."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        return None
    target = html.with_name(f"{html.stem}{'-dark' if dark else ''}.png")
    command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1366,9000"]
    command += [f"--blink-settings=preferredColorScheme={0 if dark else 1}", f"--screenshot={target}", html.resolve().as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=240)
    target.write_bytes(trimmed(target.read_bytes()))
    return target


def trimmed(png: bytes, margin: int = 24) -> bytes:
    """Without the empty rows at its lower end: a row is encoded by itself and those above, so that the last ones may go."""
    chunks, at = [], 8
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        chunks.append((kind, png[at + 8 : at + 8 + length]))
        at += length + 12
    header = chunks[0][1]
    width, height, _, colour = struct.unpack(">IIBB", header[:10])
    stride = 1 + width * {2: 3, 6: 4}[colour]
    rows = zlib.decompress(b"".join(data for kind, data in chunks if kind == b"IDAT"))
    last, kept = rows[(height - 1) * stride :], height
    while kept > 1 and rows[(kept - 1) * stride : kept * stride] == last:
        kept -= 1
    kept = min(height, kept + margin)
    parts = [(b"IHDR", struct.pack(">II", width, kept) + header[8:]), (b"IDAT", zlib.compress(rows[: kept * stride], 9))]
    parts.append((b"IEND", b""))
    checked = [(kind + data, len(data)) for kind, data in parts]
    body = b"".join(struct.pack(">I", length) + data + struct.pack(">I", zlib.crc32(data)) for data, length in checked)
    return png[:8] + body
