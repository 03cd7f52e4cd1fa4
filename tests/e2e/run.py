"""Run one scenario and write its result: `python tests/e2e/run.py pipeline`.

build/e2e/NAME.json: {"scenario", "passed", "seconds", "facts": {…}}, with "error" when it did not pass.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import time
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent)

from harness import ROOT, Failure, Scenario  # noqa: E402

SCENARIOS = sorted(path.stem.replace("_", "-") for path in (Path(__file__).parent / "scenarios").glob("[a-z]*.py"))


def main() -> int:
    """Exit code 0 when the scenario passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", choices=SCENARIOS)
    name = parser.parse_args().scenario
    module = importlib.import_module(f"scenarios.{name.replace('-', '_')}")
    scenario, start, error = Scenario(name), time.monotonic(), None
    print(f"{name}: {module.__doc__}", flush=True)
    try:
        module.run(scenario)
    except (Failure, subprocess.SubprocessError) as failure:
        error = str(failure)
    seconds = round(time.monotonic() - start, 1)
    result = {"scenario": name, "passed": error is None, "seconds": seconds, "facts": scenario.facts}
    target = ROOT / "build" / "e2e" / f"{name}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps({**result, **({"error": error} if error else {})}, indent=2) + "\n")
    print(f"{name}: {'passed' if error is None else f'FAILED: {error}'} after {seconds:g} s ({target.relative_to(ROOT)})")
    return 0 if error is None else 1


if __name__ == "__main__":
    sys.exit(main())
