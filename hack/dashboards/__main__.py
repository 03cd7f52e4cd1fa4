"""Write every dashboard as DIRECTORY/NAME.json."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from .experiments import experiments
from .own import own

DASHBOARDS = {"yolo-experiments": experiments, "yolo-operator": own}


def main() -> None:
    """The command line."""
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for name, make in DASHBOARDS.items():
        text = json.dumps(make().build(), cls=JSONEncoder, indent=1, sort_keys=True, ensure_ascii=False)
        (target / f"{name}.json").write_text(text + "\n", encoding="utf-8")


main()
