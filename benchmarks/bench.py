"""Side by side on one machine: the floor, the operator, Argo Workflows; growth; a restart with thousands of experiments; a burst
of new experiments; a thousand trainings at once.

    python benchmarks/bench.py                      # everything that docs/performance.md shows
    python benchmarks/bench.py --only chains --chains 60

Every contender gets a control plane of its own, made anew, one after the other. What is measured comes from the API server's
audit log and from /proc. Results: build/bench/results.json; `--write-docs` brings them into docs/performance.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1] / "operator")]
sys.path.append(str(Path(__file__).resolve().parents[1] / "hack"))

from yolobench import burst, contenders, figures, image, restart, running, stages  # noqa: E402
from yolobench.contenders import Measured  # noqa: E402
from yolobench.plane import ROOT, Plane, plane  # noqa: E402

OUT = ROOT / "build" / "bench"
Contender = Callable[[Plane, int, int, Path], Coroutine[Any, Any, Measured]]

CONTENDERS: dict[str, Contender] = {
    "ours": contenders.ours,
    "floor": contenders.floor,
    "bare-floor": lambda p, c, a, o: contenders.floor(p, c, a, o, bare=True),
    "argo": contenders.argo_workflows,
    "argo-500ms": lambda p, c, a, o: contenders.argo_workflows(p, c, a, o, "500ms"),
}
LIGHT_AT_ONCE = 30


def run(name: str, where: str, contender: Contender, chains: int, at_once: int, run_seconds: float) -> Measured:
    """One contender on a fresh control plane."""
    print(f"{time.strftime('%H:%M:%S')} {name}: {chains} chains, {at_once} at once, steps of {run_seconds:g} s", flush=True)
    file = stages.write(OUT / f"stages-{run_seconds:g}.yaml", run_seconds=run_seconds)
    with plane(where, file) as made:
        found = asyncio.run(contender(made, chains, at_once, OUT))
    print(f"  {figures.line(found)}", flush=True)
    return found


def chains(arguments: argparse.Namespace) -> dict[str, Any]:
    """The load of many chains at once, side by side."""
    wanted = [name for name in CONTENDERS if name in arguments.contenders]
    load = (arguments.chains, arguments.chains, 0)
    return {name: asdict(run(name, arguments.plane, CONTENDERS[name], *load)) for name in wanted}


def light(arguments: argparse.Namespace) -> dict[str, Any]:
    """Few at once, so that the API server is no bottleneck: how long a finished stage waits for the next one."""
    return {"ours": asdict(run("ours", arguments.plane, contenders.ours, 2 * LIGHT_AT_ONCE, LIGHT_AT_ONCE, 2))}


def growth(arguments: argparse.Namespace) -> dict[str, Any]:
    """The same chains beside more and more finished experiments: does a stage cost more?"""
    file = stages.write(OUT / "stages-0.yaml", run_seconds=0)
    found = {}
    for present in arguments.present:
        print(f"{time.strftime('%H:%M:%S')} {present} finished experiments, a restart, then 50 chains", flush=True)
        with plane(arguments.plane, file) as made:
            found[str(present)] = asyncio.run(restart.measure(made, present, OUT))
        print(f"  {json.dumps(found[str(present)])}", flush=True)
    return found


def at_once(arguments: argparse.Namespace) -> dict[str, Any]:
    """Experiments as fast as the API server takes them."""
    print(f"{time.strftime('%H:%M:%S')} a burst of {arguments.burst} experiments", flush=True)
    file = stages.write(OUT / "stages-failures.yaml", run_seconds=0, failures=True)
    with plane(arguments.plane, file) as made:
        found = asyncio.run(burst.measure(made, arguments.burst, OUT))
    print(f"  {json.dumps(without_series(found))}", flush=True)
    return found


def trainings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Trainings that all run at once and tell their progress."""
    print(f"{time.strftime('%H:%M:%S')} {arguments.running} trainings at once", flush=True)
    file = stages.write(OUT / "stages-train.yaml", run_seconds=0, by_stage={"train": running.TRAIN_SECONDS})
    with plane(arguments.plane, file) as made:
        found = asyncio.run(running.measure(made, arguments.running, OUT))
    print(f"  {json.dumps(without_series(found))}", flush=True)
    return found


def without_series(found: dict[str, Any]) -> dict[str, Any]:
    """The figures alone."""
    return {name: value for name, value in found.items() if name not in ("samples", "queueAges", "ramp")}


PARTS = {"chains": chains, "light": light, "growth": growth, "burst": at_once, "running": trainings}


def main() -> int:
    """Exit code 0 when every figure that was measured is reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, action="append", help="a part; can be repeated")
    parser.add_argument("--chains", type=int, default=300)
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--present", type=int, nargs="+", default=[300, 1000, 5000])
    parser.add_argument("--burst", type=int, default=500, help="experiments submitted at once")
    parser.add_argument("--running", type=int, default=1000, help="trainings that run at once")
    parser.add_argument(
        "--plane", default="bench", help="the control plane's name: one that is up is taken down (default: bench)"
    )
    parser.add_argument("--write-docs", action="store_true", help="bring the results into docs/performance.md")
    arguments = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    # Built before anything is measured, and on the disk.
    image.root()
    os.sync()
    raw = contenders.load_json(OUT / "raw.json")
    for name in arguments.only or PARTS:
        raw.setdefault(name, {}).update(PARTS[name](arguments))
        (OUT / "raw.json").write_text(json.dumps(raw, indent=1))
    results = figures.results(raw)
    (OUT / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    print(figures.table(results))
    if arguments.write_docs:
        figures.write_docs(ROOT / "docs" / "performance.md", raw, results)
    return 0 if figures.reached(results) else 1


if __name__ == "__main__":
    sys.exit(main())
