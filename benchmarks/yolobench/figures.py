"""From measurements to the figures that are to be reached, a table, and docs/performance.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolobench import plots
from yolobench.contenders import Measured

Raw = dict[str, Any]
START, END = "<!-- results: written by benchmarks/bench.py -->", "<!-- end of results -->"


@dataclass(frozen=True)
class Goal:
    """One figure and its bound."""

    name: str
    bound: float
    words: str

    def reached(self, value: float) -> bool:
        """All bounds are upper ones."""
        return value <= self.bound


GOALS = (
    Goal("makespanOverFloor", 1.2, "makespan over the floor's: a script that creates the same Jobs"),
    Goal("makespanOverArgo", 1.0, "makespan over Argo Workflows' better one"),
    Goal("handoverP50Seconds", 0.1, "light load: end of a stage to its successor's Job, median, s"),
    Goal("handoverP99Seconds", 1.0, "the same, 99th percentile, s"),
    Goal("cpuPerStageOverArgo", 0.7, "controller CPU a stage over Argo's with its default requeue"),
    Goal("writesPerStage", 4.0, "API writes of ours a stage"),
    Goal("rssMiBAt5000", 250.0, "resident memory with 5,000 experiments, MiB"),
    Goal("kibPerExperiment", 40.0, "memory an experiment, KiB"),
    Goal("restartSeconds", 15.0, "restart with 5,000 finished experiments: all looked at, s"),
    Goal("restartWrites", 0.0, "writes of that restart"),
    Goal("cpuGrowth", 1.15, "CPU a stage beside the most experiments over that beside the fewest"),
    Goal("runningLists", 0.0, "lists while trainings run, a resync's aside"),
)


BESIDE = {
    "makespanOverArgoDefault": "makespan over Argo Workflows' with its default requeue",
    "makespanOverBareFloor": "makespan over that of a script with bare Jobs",
}
"""What is shown without a bound."""


def results(raw: Raw) -> dict[str, float]:
    """The figures that the measurements give."""
    found: dict[str, float] = {}
    many = raw.get("chains", {})
    if "ours" in many:
        ours = many["ours"]
        units = ours["chains"] * ours["steps"]
        found["writesPerStage"] = ours["writes"] / units
        for name, figure in (("floor", "makespanOverFloor"), ("bare-floor", "makespanOverBareFloor")):
            if name in many:
                found[figure] = ours["makespan"] / many[name]["makespan"]
        argos = [many[name] for name in ("argo", "argo-500ms") if name in many]
        if argos:
            found["makespanOverArgo"] = ours["makespan"] / min(argo["makespan"] for argo in argos)
        if "argo" in many:
            found["makespanOverArgoDefault"] = ours["makespan"] / many["argo"]["makespan"]
            theirs = many["argo"]["cpu_seconds"] / (many["argo"]["chains"] * many["argo"]["steps"])
            found["cpuPerStageOverArgo"] = ours["cpu_seconds"] / units / theirs
    if "ours" in raw.get("light", {}):
        found["handoverP50Seconds"] = raw["light"]["ours"]["handover_p50"]
        found["handoverP99Seconds"] = raw["light"]["ours"]["handover_p99"]
    if "lists" in raw.get("running", {}):
        found["runningLists"] = raw["running"]["lists"]
    return found | _growth({int(present): figures for present, figures in raw.get("growth", {}).items()})


def _growth(growth: dict[int, dict[str, float]]) -> dict[str, float]:
    found: dict[str, float] = {}
    if 5000 in growth:
        found["rssMiBAt5000"] = growth[5000]["rssMiB"]
        found["restartSeconds"] = growth[5000]["restartSeconds"]
        found["restartWrites"] = growth[5000]["restartWrites"]
    if len(growth) > 1:
        few, most = min(growth), max(growth)
        found["kibPerExperiment"] = 1024 * (growth[most]["readyMiB"] - growth[few]["readyMiB"]) / (most - few)
        found["cpuGrowth"] = growth[most]["cpuMsPerStage"] / growth[few]["cpuMsPerStage"]
    return found


def reached(found: dict[str, float]) -> bool:
    """Whether every figure that was measured is within its bound."""
    return all(goal.reached(found[goal.name]) for goal in GOALS if goal.name in found)


def table(found: dict[str, float]) -> str:
    """The figures against their bounds, as a Markdown table."""
    lines: list[tuple[str, ...]] = []
    for goal in GOALS:
        bound = f"≤ {goal.bound:g}"
        if goal.name in found:
            verdict = "reached" if goal.reached(found[goal.name]) else "**missed**"
            lines.append((goal.words, f"{found[goal.name]:.3g}", bound, verdict))
        else:
            lines.append((goal.words, "not measured", bound, ""))
    lines += [(words, f"{found[name]:.3g}", "", "") for name, words in BESIDE.items() if name in found]
    return grid(("figure", "measured", "bound", ""), lines)


def grid(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [f"|{'|'.join(f' {cell} ' if cell else ' ' for cell in line)}|" for line in (heads, *rows)]
    return "\n".join([lines[0], "|---" * len(heads) + "|", *lines[1:]])


def line(one: Measured) -> str:
    """A measurement in a line."""
    parts = (
        f"{one.makespan:.1f} s",
        f"{one.cpu_ms_per_step:.2f} ms CPU a step",
        f"{one.rss_mib:.0f} MiB",
        f"API server {one.api_cpu_seconds:.0f} CPU s",
        f"hand-over p50 {one.handover_p50:.3f} s, p99 {one.handover_p99:.3f} s",
        f"{one.writes / one.units:.2f} writes a step",
    )
    return ", ".join(parts) + f" {one.notes}"


def write_docs(path: Path, raw: Raw, found: dict[str, float]) -> None:
    """Put tables and pictures between the marks of docs/performance.md; what stands around them stays.

    Raises:
        ValueError: when the marks are not there.
    """
    before, mark, rest = path.read_text(encoding="utf-8").partition(START)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise ValueError(f"{path}: no place for the results: {START} … {END}")
    shown = plots.write(path.parent / "pictures", raw)
    pictures = "\n\n".join(f"![{title}](pictures/{name})" for name, title in shown)
    tables = [table(found), side_by_side(raw.get("chains", {})), growth_table(raw.get("growth", {}))]
    tables += [burst_table(raw["burst"])] if raw.get("burst") else []
    tables += [running_table(raw["running"])] if raw.get("running") else []
    text = "\n\n".join([*tables, pictures])
    path.write_text(f"{before}{START}\n\n{text}\n\n{END}{after}", encoding="utf-8")


def side_by_side(many: Raw) -> str:
    """The contenders of one load."""
    heads = ("contender", "makespan", "CPU a step", "memory", "API server's CPU", "hand-over p50 / p99", "writes a step")
    return grid(
        heads,
        (
            (
                f"{one.contender} ({one.chains} × {one.steps})",
                f"{one.makespan:.1f} s",
                f"{one.cpu_ms_per_step:.2f} ms",
                f"{one.rss_mib:.0f} MiB",
                f"{one.api_cpu_seconds:.0f} s",
                f"{one.handover_p50:.2f} / {one.handover_p99:.2f} s",
                f"{one.writes / one.units:.2f}",
            )
            for one in (Measured(**each) for each in many.values())
        ),
    )


def growth_table(growth: Raw) -> str:
    """Cost beside more and more finished experiments."""
    heads = ("finished experiments", "restart", "its writes", "memory when ready", "CPU a stage of 50 new chains")
    return grid(
        heads,
        (
            (
                present,
                f"{one['restartSeconds']:.1f} s",
                f"{one['restartWrites']:.0f}",
                f"{one['readyMiB']:.0f} MiB",
                f"{one['cpuMsPerStage']:.2f} ms",
            )
            for present, one in sorted(growth.items(), key=lambda item: int(item[0]))
        ),
    )


def burst_table(one: Raw) -> str:
    """Experiments submitted as fast as the API server takes them."""
    cells = {
        "burst": f"{one['experiments']}, {one['jobs']} Jobs, {one['again']} of them second attempts",
        "submitted in": f"{one['submissionSeconds']:.1f} s",
        "create → first Job p50 / p99": f"{one['firstJobP50']:.2f} / {one['firstJobP99']:.2f} s",
        "makespan": f"{one['makespan']:.1f} s",
        "CPU a step": f"{one['cpuMsPerStep']:.2f} ms",
        "memory": f"{one['rssMiB']:.0f} MiB",
        "writes a step": f"{one['writesPerStep']:.2f}",
        "oldest key": f"{one['queueOldestSeconds']:.1f} s",
    }
    return grid(tuple(cells), [tuple(cells.values())])


def running_table(one: Raw) -> str:
    """Trainings that all run at once, over a window in which nothing else happens."""
    cells = {
        "trainings at once": f"{one['experiments']} for {one['seconds']:.0f} s",
        "CPU": f"{100 * one['cpuShare']:.1f} % of a core",
        "memory": f"{one['rssFirstMiB']:.0f} → {one['rssLastMiB']:.0f} MiB",
        "logs read a second": f"{one['logsPerSecond']:.2f} of {one['logsBudget']:g}",
        "status writes": f"{one['statusWritesPerSecond']:.2f}",
        "other requests": f"{one['othersPerSecond']:.2f}",
        "age of progress p50 / most": f"{one['progressAgeP50']:.0f} / {one['progressAgeMax']:.0f} s",
    }
    return grid(tuple(cells), [tuple(cells.values())])
