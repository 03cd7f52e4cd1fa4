"""Results: one table for people, one file for programs, and the latest of both in docs/reliability.md."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

BEGIN, END = "<!-- results: written by chaos -->", "<!-- end of results -->"
LEAST_MUTATIONS = 2000
KEYS = (
    "writePoints", "divergent", "duplicateJobs",
    "mutations", "rejected", "reconciled", "stuck", "crashed",
    "faults", "wrongVerdicts",
)  # fmt: skip
"""Of build/chaos/results.json, beside the details."""


class Row(NamedTuple):
    """A line of the table."""

    what: str
    found: str
    wanted: str
    passed: bool


def rows(raw: dict[str, Any], *, quick: bool = False) -> list[Row]:
    """What was measured, against what is asked for."""
    found: list[Row] = []
    for story in raw.get("crash", ()):
        told = f"{story['deaths']} deaths at {story['writes']} writes: "
        told += f"{story['divergent']} diverge, {story['duplicateJobs']} Jobs too many"
        good = story["deaths"] >= 1.6 * story["writes"] and not story["divergent"] and not story["duplicateJobs"]
        found.append(Row(f"killed at every write, pipeline `{story['story']}`", told, "0 and 0", good))
    for weather in raw.get("weather", ()):
        faults = "; ".join([*weather["differences"][:1], *weather["excesses"]]) or "same end state"
        told = f"{faults}; {weather['injected']} faults, {weather['requests']} requests, {weather['cpu_seconds']:g} s of CPU"
        found.append(Row(f"weather: {weather['name']}", told, "same end state, bounded", weather["passed"]))
    if mutants := raw.get("mutations"):
        counts = f"{mutants['rejected']} rejected with a path, {mutants['reconciled']} reconciled, {mutants['other']} other"
        least = 1 if quick else LEAST_MUTATIONS
        good = mutants["mutations"] >= least and not mutants["other"]
        found.append(Row(f"{mutants['mutations']} mutated resources", counts, f"at least {least}, 0 other", good))
    for fault in raw.get("faults", ()):
        found.append(
            Row(f"node: {fault['name']}", " ".join(fault["verdict"].split())[:140], "right verdict and next step", fault["right"])
        )
    for soak in raw.get("soak", ()):
        found.append(Row(f"soak, {soak['what']}", soak["found"], soak["wanted"], soak["passed"]))
    return found


def results(raw: dict[str, Any]) -> dict[str, Any]:
    """The figures by name; None for what was not measured."""
    crash, mutants, faults = raw.get("crash"), raw.get("mutations") or {}, raw.get("faults")
    weather = raw.get("weather") or []
    figures: dict[str, Any] = dict.fromkeys(KEYS)
    if crash is not None:
        figures |= {
            "writePoints": sum(story["deaths"] for story in crash),
            "divergent": sum(story["divergent"] for story in crash) + sum(bool(one["differences"]) for one in weather),
            "duplicateJobs": sum(story["duplicateJobs"] for story in crash) + sum(one.get("moreJobs", 0) for one in weather),
        }
    figures |= {name: mutants.get(name) for name in ("mutations", "rejected", "reconciled", "stuck", "crashed")}
    if faults is not None:
        figures |= {"faults": len(faults), "wrongVerdicts": sum(not fault["right"] for fault in faults)}
    return figures


def text(table: Sequence[Row]) -> str:
    """For a terminal."""
    width = max((len(row.what) for row in table), default=0)
    return "\n".join(f"{'pass' if row.passed else 'FAIL'}  {row.what:<{width}}  {row.found}  ({row.wanted})" for row in table)


def markdown(table: Sequence[Row]) -> str:
    """For docs."""
    head = "| what | found | asked for | |\n|---|---|---|---|\n"
    return head + "".join(f"| {row.what} | {row.found} | {row.wanted} | {'pass' if row.passed else 'FAIL'} |\n" for row in table)


def write_docs(path: Path, table: Sequence[Row]) -> None:
    """Put the table between the marks.

    Raises:
        ValueError: when the page has no such marks.
    """
    page = path.read_text()
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if not pattern.search(page):
        raise ValueError(f"{path} has no place for results: {BEGIN} … {END}")
    path.write_text(pattern.sub(lambda _: f"{BEGIN}\n\n{markdown(table)}\n{END}", page))
