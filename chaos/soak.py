"""Experiments that come and go for a long time: memory, handles, tasks, threads and series must not grow with it.

    python -m chaos.soak --minutes 60                       # 1,000 experiments present, one more and one less each second
    python -m chaos.soak --minutes 5 --present 60

A population is built up, then for every new experiment the oldest is deleted. What is sampled after the population is there is
compared, quarter by quarter. Results go into build/chaos/raw.json, so that `python -m chaos --only` has them in its table.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import signal
import statistics
import sys
import time
from collections import deque
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp

from chaos import ROOT
from chaos.nursery import Operator

OUT = ROOT / "build" / "chaos"
SAMPLE_SECONDS = 5.0
AT_START = ("handles", "tasks", "threads", "series")
SLACK = {"handles": 8, "tasks": 12, "threads": 2, "series": 0.05}
"""How much more the last quarter may have than the first; of the series a part, as phases and states come and go."""
MEMORY_SLOPE = 20.0
"""MiB an hour."""


@dataclass
class Sample:
    """The operator at a moment."""

    seconds: float
    memory_mib: float
    handles: int
    tasks: int
    threads: int
    series: int
    present: int


async def sample(operator: Operator, began: float, present: int) -> Sample:
    """From /proc, its metrics page, and its own count of asyncio's tasks."""
    home = Path(f"/proc/{operator.pid}")
    said = operator.log().count("\ntasks ")
    operator.signal(signal.SIGUSR1)
    async with aiohttp.ClientSession() as session:
        page = await (await session.get(f"http://127.0.0.1:{operator.port}/metrics")).text()
    for _ in range(20):
        if operator.log().count("\ntasks ") > said:
            break
        await asyncio.sleep(0.1)
    counts = re.findall(r"^tasks (\d+)$", operator.log(), re.MULTILINE)
    status = (home / "status").read_text()
    fields = dict(re.findall(r"^(VmRSS|Threads):\s+(\d+)", status, re.MULTILINE))
    return Sample(
        seconds=round(time.monotonic() - began, 1),
        memory_mib=round(int(fields["VmRSS"]) / 1024, 2),
        handles=len(list((home / "fd").iterdir())),
        tasks=int(counts[-1]) if counts else 0,
        threads=int(fields["Threads"]),
        series=sum(not line.startswith("#") for line in page.splitlines()),
        present=present,
    )


async def soak(made: Any, minutes: float, present: int, pause: float) -> list[Sample]:
    """Come and go."""
    from yolo_operator.kube.cluster import EXPERIMENTS
    from yolobench.contenders import install_crd

    from chaos.case import Case, Lab
    from chaos.kubelet import Kubelet
    from chaos.mutations import Mutation
    from chaos.nursery import Nursery
    from chaos.proxy import upstream

    await install_crd(made)
    samples: list[Sample] = []
    async with upstream(made.kubeconfig) as server, Nursery(OUT / "logs" / time.strftime("soak-%H%M%S")) as nursery:
        case = Case.of(Lab(server, nursery), "soak")
        await case.prepare()
        async with case.proxy.serve(), Kubelet(server):
            operator = await case.operator(YOLO_OPERATOR_RESYNC_SECONDS="60")
            await asyncio.sleep(3)
            names: deque[str] = deque()
            began = looked = time.monotonic()
            number = 0
            while time.monotonic() - began < 60 * minutes:
                if operator.status is not None:
                    raise RuntimeError(f"the operator ended with {operator.status}: {operator.log()[-2000:]}")
                name = f"m{number:05d}"
                await case.create(EXPERIMENTS, Mutation("small", ()).before(name))
                names.append(name)
                number += 1
                if len(names) > present:
                    await server.call("DELETE", EXPERIMENTS.path(case.namespace, names.popleft()))
                if time.monotonic() - looked > SAMPLE_SECONDS:
                    looked = time.monotonic()
                    with suppress(aiohttp.ClientError):
                        samples.append(await sample(operator, began, len(names)))
                await asyncio.sleep(pause)
            print(f"{number} experiments came, {number - len(names)} went", flush=True)
            await case.finish()
    return samples


def judged(samples: list[Sample], present: int) -> list[dict[str, Any]]:
    """One line for each figure; from when the population is there, less a first tenth in which everything settles."""
    steady = [one for one in samples if one.present >= present]
    steady = steady[len(steady) // 10 :]
    if len(steady) < 8:
        return [{"what": "all", "found": f"only {len(steady)} samples with {present} present", "wanted": "8", "passed": False}]
    quarter = len(steady) // 4
    first, last = steady[:quarter], steady[-quarter:]
    slope = statistics.linear_regression([one.seconds / 3600 for one in steady], [one.memory_mib for one in steady]).slope
    hours = (steady[-1].seconds - steady[0].seconds) / 3600
    grown = slope * hours
    found = [{
        "what": f"memory over {60 * hours:.0f} min at {present} experiments",
        "found": f"{steady[0].memory_mib:g} to {steady[-1].memory_mib:g} MiB, {slope:.1f} MiB an hour",
        "wanted": f"at most {MEMORY_SLOPE:g} MiB an hour, or 3 MiB in all",
        "passed": slope <= MEMORY_SLOPE or grown <= 3,
    }]  # fmt: skip
    for name in AT_START:
        before, after = (max(getattr(one, name) for one in part) for part in (first, last))
        slack = SLACK[name] if SLACK[name] >= 1 else SLACK[name] * before
        found.append(
            {
                "what": name,
                "found": f"{before} to {after}",
                "wanted": f"at most {slack:g} more",
                "passed": after <= before + slack,
            }
        )
    return found


def main() -> int:
    """Exit status 0 when nothing grows."""
    from chaos.__main__ import plane
    from chaos.table import rows, text

    parser = argparse.ArgumentParser(prog="soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--present", type=int, default=1000)
    parser.add_argument("--pause", type=float, default=0.5, help="seconds between two experiments that come")
    arguments = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    with plane("soak") as made:
        samples = asyncio.run(soak(made, arguments.minutes, arguments.present, arguments.pause))
    (OUT / "soak.json").write_text(json.dumps([asdict(one) for one in samples], indent=0))
    found = judged(samples, arguments.present)
    path = OUT / "raw.json"
    raw = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(raw | {"soak": found}, indent=1))
    print(text(rows({"soak": found})))
    return 0 if all(one["passed"] for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
