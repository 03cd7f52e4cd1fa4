"""Fault injection: one table, build/chaos/results.json, and with --write-docs the table in docs/reliability.md.

    python -m chaos                                   # all that needs no kubelet: 1 hour on two cores
    python -m chaos --only crash --stories small
    python -m chaos --only mutations --mutations 200 --seed 3

A control plane of its own (hack/cluster, flavour kwok without nodes) is made and removed. The results of the node faults and of
the soak, which are programs of their own, are taken from where those leave them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chaos import ROOT

OUT = ROOT / "build" / "chaos"
FAULTS = ROOT / "build" / "e2e" / "node-faults.json"
PLANE = "chaos"
LONGEST_LINE = 2000


@contextmanager
def plane(name: str) -> Iterator[Any]:
    """A fresh control plane without nodes, with the CRD; gone afterwards."""
    from yolobench.plane import CLUSTER, Plane

    subprocess.run([CLUSTER, "down", "--name", name], check=False, capture_output=True, timeout=120)
    subprocess.run(
        [CLUSTER, "up", "--name", name, "--flavour", "kwok", "--nodes", "0"], check=True, timeout=900, stdout=subprocess.DEVNULL
    )
    try:
        found = subprocess.run([CLUSTER, "kubeconfig", "--name", name], check=True, capture_output=True, text=True, timeout=60)
        yield Plane(name, Path(found.stdout.strip()))
    finally:
        subprocess.run([CLUSTER, "down", "--name", name], check=False, capture_output=True, timeout=120)


async def measure(arguments: argparse.Namespace, made: Any, keep: Any) -> None:
    """Every part that was asked for; `keep` is told of each as it is there."""
    from yolobench.contenders import install_crd

    from chaos import crash, mutate, mutations, stories, weather
    from chaos.case import Lab
    from chaos.nursery import Nursery
    from chaos.proxy import upstream

    await install_crd(made)
    named = {story.name: story for story in (stories.SMALL, stories.TROUBLED, stories.WHOLE)}
    async with upstream(made.kubeconfig) as server, Nursery(OUT / "logs" / time.strftime("%H%M%S")) as nursery:
        lab = Lab(server, nursery)
        if "crash" in arguments.only:
            found = [await crash.every_write(lab, named[name]) for name in arguments.stories]
            for one in found:
                for death in one.divergent:
                    say(f"DIVERGENT {death}"[:LONGEST_LINE])
            keep("crash", [one.document() for one in found])
        if "weather" in arguments.only:
            keep("weather", weather.as_json(await weather.everything(lab, stories.WHOLE, made)))
        if "mutations" in arguments.only:
            chosen = [mutations.mutation(arguments.seed, number) for number in range(arguments.mutations)]
            mutants = await mutate.try_all(lab, [*mutate.regressions(), *chosen])
            for verdict in mutants.bad:
                say(f"BAD {verdict}"[:LONGEST_LINE])
            keep("mutations", mutants.document())


def say(line: str) -> None:
    """With the time."""
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def main() -> int:
    """Exit status 0 when everything that was tried is as it should be."""
    from chaos import table

    parts = ("crash", "weather", "mutations")
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=parts, default=list(parts), help="parts to run; none: only the table")
    parser.add_argument("--stories", nargs="+", choices=("small", "troubled", "whole"), default=["whole", "troubled"])
    parser.add_argument("--mutations", type=int, default=table.LEAST_MUTATIONS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plane", default=PLANE, help="name of the control plane that is made: two runs need two")
    parser.add_argument("--write-docs", action="store_true", help="bring the table into docs/reliability.md")
    arguments = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    path = OUT / "raw.json"

    def measured() -> dict[str, Any]:
        known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return known

    def keep(name: str, found: Any) -> None:
        # The soak, and another part that runs beside this one, write there too.
        path.write_text(json.dumps(measured() | {name: found}, indent=1))
        say(f"{name} is done")

    if arguments.only:
        with plane(arguments.plane) as made:
            asyncio.run(measure(arguments, made, keep))
    if FAULTS.exists():
        keep("faults", json.loads(FAULTS.read_text())["facts"].get("faults", []))
    raw = measured()
    lines = table.rows(raw, quick=arguments.mutations < table.LEAST_MUTATIONS)
    figures = table.results(raw)
    (OUT / "results.json").write_text(json.dumps(figures, indent=2) + "\n")
    print(table.text(lines))
    print(json.dumps(figures))
    if arguments.write_docs:
        table.write_docs(ROOT / "docs" / "reliability.md", lines)
    return 0 if all(line.passed for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
