"""What was measured as pictures for the documentation: SVG files that stand alone and follow the reader's colour scheme."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

from yolo_operator.cli.charts import Series, lines

Raw = dict[str, Any]

COLOURS = ("#2a78d6", "#1b8a5a", "#c2571a", "#8a4fbf", "#b8860b", "#5f6b7a")
_STYLE = (
    "<style>svg{font:13px system-ui,sans-serif;--ink:#333;--grid:#ddd;"
    + "".join(f"--series-{number}:{colour};" for number, colour in enumerate(COLOURS))
    + "}@media(prefers-color-scheme:dark){svg{--ink:#ccc;--grid:#444}}"
    "text{fill:var(--ink)}.grid{stroke:var(--grid)}.line{fill:none;stroke-width:2}</style>"
)


def write(folder: Path, raw: Raw) -> list[tuple[str, str]]:
    """Draw what there is; (file's name, what it shows) of each."""
    many, growth = raw.get("chains", {}), raw.get("growth", {})
    cpu = [Series(one["contender"], _since_start(one["samples"]["controller"], 1)) for one in many.values()]
    memory = [Series(one["contender"], _since_start(one["samples"]["controller"], 2)) for one in many.values()]
    cost = [Series("CPU a stage", [(float(n), one["cpuMsPerStage"]) for n, one in _by_number(growth)])]
    queue = [Series("oldest key", [(point[0], point[1]) for point in raw.get("burst", {}).get("queueAges", ())])]
    watched = [Series("memory", _since_start(raw.get("running", {}).get("samples", {}).get("controller", []), 2))]
    drawn = {
        "performance-cpu.svg": (cpu, "seconds", "CPU seconds of the controller", "CPU of each contender over time"),
        "performance-memory.svg": (memory, "seconds", "resident MiB", "Memory of each contender over time"),
        "performance-growth.svg": (cost, "finished experiments", "CPU ms a stage", "Cost of a stage beside finished experiments"),
        "performance-queue.svg": (queue, "seconds", "age of the oldest key, s", "The work queue in a burst"),
        "performance-running.svg": (watched, "seconds", "resident MiB", "Memory while trainings run"),
    }
    shown = []
    for name, (series, x_label, y_label, title) in drawn.items():
        if picture := lines(series, x_label=x_label, y_label=y_label, zero=True):
            (folder / name).write_text(alone(picture, [one.name for one in series if one.points]), encoding="utf-8")
            shown.append((name, title))
    return shown


def alone(picture: str, names: list[str]) -> str:
    """A chart of the report as a file of its own, its legend drawn in."""
    svg = picture.partition("<p class")[0]
    head, _, rest = svg.partition(">")
    legend = "".join(
        f'<g transform="translate(66 {24 + 18 * number})"><rect width="12" height="4" y="-5" '
        f'style="fill:var(--series-{number % len(COLOURS)})"/><text x="18">{escape(name)}</text></g>'
        for number, name in enumerate(names)
    )
    legend = legend if len(names) > 1 else ""
    return f"{head.replace('<svg', _SVG, 1)}>{_STYLE}{rest.removesuffix('</svg>')}{legend}</svg>\n"


_SVG = '<svg xmlns="http://www.w3.org/2000/svg"'


def _since_start(samples: list[list[float]], column: int) -> list[tuple[float, float]]:
    return [(round(sample[0] - samples[0][0], 2), float(sample[column])) for sample in samples]


def _by_number(growth: Raw) -> list[tuple[str, Any]]:
    return sorted(growth.items(), key=lambda item: int(item[0]))
