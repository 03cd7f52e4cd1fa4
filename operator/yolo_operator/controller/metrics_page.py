"""docs/metrics.md from the declared families: `python -m yolo_operator.controller.metrics_page docs/metrics.md`."""

from __future__ import annotations

import sys
from pathlib import Path

from yolo_operator.controller import families
from yolo_operator.controller.experiment_metrics import CLASSES, LIMIT
from yolo_operator.controller.families import Family

_HEAD = f"""# Metrics

Written from the operator's code by `make generate`. The operator serves them at `/metrics`, port 8080. Series of experiments are
made from what the operator knows at the moment of the scrape: a deleted experiment leaves none.

**Cardinality.** Every label's values are bounded: phases, states and conditions are fixed lists, stages at most 64 an experiment,
artifacts 8 a stage, classes the first {CLASSES} names. At most {LIMIT} experiments have series of their own (chart value
`metrics.maxExperiments`; unfinished ones come first, then the newest), and all are counted by phase. `metrics.perClass: false`
leaves out the series by class.

**Stage pods** serve finer numbers of a running stage themselves (see the stage contract); their series have the same names and
another `job` label. Dashboards and alerts aggregate with `max by (namespace, experiment, …)`, so they hold with either or both.

**`namespace`** is the experiment's. A scrape configuration must keep it: `honorLabels: true`, as in the chart's ServiceMonitor.
"""


def page() -> str:
    """The page's text, Markdown."""
    parts = [_HEAD]
    for title, group in (
        ("Experiments", families.OF_EXPERIMENTS),
        ("Stages", families.OF_STAGES),
        ("Limits", families.OF_LIMITS),
        ("The operator", families.OF_OPERATOR),
    ):
        parts += [
            f"## {title}\n",
            "| metric | type | labels | meaning |\n|---|---|---|---|\n" + "\n".join(map(_row, group)) + "\n",
        ]
    parts.append("Besides: `process_*` of the operator's process (CPU, memory, open files), as prometheus-client names them.\n")
    return "\n".join(parts)


def _row(family: Family) -> str:
    labels = ", ".join(f"`{name}`" for name in family.labels)
    return f"| `{family.name}` | {family.kind} | {labels} | {family.help} |"


def main() -> None:
    """Write the page to each path given."""
    for path in sys.argv[1:]:
        Path(path).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
