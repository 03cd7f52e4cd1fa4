"""`toolkits.json`: what the runner must know about toolkits, written from this room's tables (`make generate`).

python -m yolo_operator.toolkit.runner_data operator/yolo_operator/runner/toolkits.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from yolo_operator.toolkit import failures, outputs


def runner_data() -> dict[str, Any]:
    """The tables as JSON's values."""
    return {
        "generated": "by `make generate` from operator/yolo_operator/toolkit/{failures,outputs}.py; do not edit",
        "reasons": {name: {"class": who.value, "sentence": sentence} for name, (who, sentence) in failures.REASONS.items()},
        "diagnoses": [
            {
                "reason": known.reason,
                "pattern": known.pattern,
                "hint": known.hint,
                "class": known.class_.value if known.class_ else "",
                "when": known.when,
            }
            for known in failures.DIAGNOSES
        ],
        "exitCodes": {
            str(code): {"reason": reason, "class": who.value if who else ""}
            for code, (reason, who) in failures.EXIT_CODES.items()
        },
        "storage": {str(number): reason for number, reason in failures.STORAGE.items()},
        "lines": [{"kind": kind, "pattern": pattern} for kind, pattern in outputs.LINES],
        "liveMetrics": outputs.LIVE_METRICS,
        "csv": outputs.TRAINING_LOG,
        "kpis": outputs.STATUS_NUMBERS,
        "sentences": [list(pair) for pair in outputs.SENTENCES],
    }


def render() -> str:
    """The file's text."""
    return json.dumps(runner_data(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(render(), encoding="utf-8")
