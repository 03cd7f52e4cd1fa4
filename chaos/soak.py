"""Experiments that come and go for a long time: memory, handles, tasks, threads and series must not grow with it.

    python -m chaos.soak --minutes 60                       # 1,000 experiments present, one more and one less each second
    python -m chaos.soak --minutes 5 --present 60           # whether it works: memories of bounded size still fill up meanwhile

A population is built up, then for every new experiment the oldest is deleted, as many minutes as are asked for. What is sampled
in that time is compared, quarter by quarter. Results go into build/chaos/raw.json, so that `python -m chaos --only` has them in
its table.
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
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from yolo_operator.kube.cluster import EXPERIMENTS
from yolobench.contenders import install_crd
from yolobench.plane import Plane

from chaos import ROOT
from chaos.__main__ import plane, say
from chaos.case import Case, Lab
from chaos.kubelet import Kubelet
from chaos.mutations import Mutation
from chaos.nursery import Nursery, Operator
from chaos.proxy import upstream
from chaos.state import ENDED
from chaos.table import rows, text

OUT = ROOT / "build" / "chaos"
SAMPLE_SECONDS = 15.0
"""As often as Prometheus would look, and more."""
BUILD_UP_SECONDS = 0.2
"""Between two experiments as long as fewer are present than there are to be."""
AT_START = ("handles", "tasks", "threads", "series", "unfinished")
SLACK = {"handles": 8, "tasks": 12, "threads": 2, "series": 0.05, "unfinished": 25}
"""How much more the last quarter may have than the first; of the series a part, as phases and states come and go."""
MEMORY_SLOPE = 20.0
"""MiB an hour."""
FILLED = 1000
"""So many that came and went fill the memories of bounded size (4,096 Events, as many deleted objects): then memory is judged."""


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
    unfinished: int
    """Experiments that it has still to bring to their end: more and more when it does not keep pace."""
    gone: int
    """Experiments that came and went before."""


class Tasks:
    """What the operator says of its own tasks, as far as its log was read."""

    def __init__(self, operator: Operator) -> None:
        self._operator, self._place = operator, 0

    async def count(self) -> int:
        """How many there are now.

        Raises:
            RuntimeError: when it does not say within a quarter of a minute.
        """
        self._said()
        self._operator.signal(signal.SIGUSR1)
        for _ in range(150):
            await asyncio.sleep(0.1)
            if counts := self._said():
                return int(counts[-1])
        raise RuntimeError("the operator does not tell how many tasks it has")

    def _said(self) -> list[bytes]:
        with self._operator.log_path.open("rb") as file:
            file.seek(self._place)
            text = file.read()
        # The last line may not be whole yet.
        whole = text[: text.rfind(b"\n") + 1]
        self._place += len(whole)
        return re.findall(rb"^tasks (\d+)$", whole, re.MULTILINE)


@dataclass
class Crowd:
    """The experiments that are present."""

    case: Case
    names: deque[str] = field(default_factory=deque)
    came: int = 0

    async def come(self) -> None:
        """One more."""
        name = f"m{self.came:05d}"
        await self.case.create(EXPERIMENTS, Mutation("small", ()).before(name))
        self.names.append(name)
        self.came += 1

    async def go(self) -> None:
        """The oldest."""
        path = EXPERIMENTS.path(self.case.namespace, self.names.popleft())
        status, answer = await self.case.lab.upstream.call("DELETE", path)
        if status not in (200, 202):
            raise RuntimeError(f"{path} is not deleted: {status} {answer.get('message')}")


async def sample(operator: Operator, tasks: Tasks, began: float, crowd: Crowd) -> Sample:
    """From /proc, its metrics page, and its own count of asyncio's tasks."""
    home = Path(f"/proc/{operator.pid}")
    count = await tasks.count()
    async with aiohttp.ClientSession() as session:
        page = await (await session.get(f"http://127.0.0.1:{operator.port}/metrics")).text()
    fields = dict(re.findall(r"^(VmRSS|Threads):\s+(\d+)", (home / "status").read_text(), re.MULTILINE))
    phases = re.findall(r'^yolo_experiments\{.*phase="(\w+)".*\} (\S+)$', page, re.MULTILINE)
    return Sample(
        seconds=round(time.monotonic() - began, 1),
        memory_mib=round(int(fields["VmRSS"]) / 1024, 2),
        handles=len(list((home / "fd").iterdir())),
        tasks=count,
        threads=int(fields["Threads"]),
        series=sum(not line.startswith("#") for line in page.splitlines()),
        present=len(crowd.names),
        unfinished=round(sum(float(number) for phase, number in phases if phase not in ENDED)),
        gone=crowd.came - len(crowd.names),
    )


async def watched(operator: Operator, crowd: Crowd, samples: list[Sample]) -> None:
    """Sample it again and again, beside those that come and go."""
    tasks, began = Tasks(operator), time.monotonic()
    while True:
        await asyncio.sleep(SAMPLE_SECONDS)
        try:
            samples.append(await sample(operator, tasks, began, crowd))
        except (aiohttp.ClientError, RuntimeError) as error:
            # One look that failed ends no hour; too few of them are told in the end.
            say(f"no sample: {error!r}")
        else:
            say(json.dumps(asdict(samples[-1])))


async def come_and_go(crowd: Crowd, minutes: float, present: int, pause: float, alive: Callable[[], None]) -> None:
    """Build the population up, then one more and one less every so many seconds; `alive` raises when there is no more point."""
    while len(crowd.names) < present:
        alive()
        await crowd.come()
        await asyncio.sleep(BUILD_UP_SECONDS)
    due = time.monotonic()
    end = due + 60 * minutes
    while due < end:
        alive()
        await crowd.come()
        await crowd.go()
        due = max(due + pause, time.monotonic() - 1)
        await asyncio.sleep(max(0.0, due - time.monotonic()))


async def soak(made: Plane, minutes: float, present: int, pause: float) -> list[Sample]:
    """A control plane's operator under those that come and go."""
    await install_crd(made)
    samples: list[Sample] = []
    async with upstream(made.kubeconfig) as server, Nursery(OUT / "logs" / time.strftime("soak-%H%M%S")) as nursery:
        case = Case.of(Lab(server, nursery), "soak")
        await case.prepare()
        async with case.proxy.serve(), Kubelet(server):
            operator = await case.operator(YOLO_OPERATOR_RESYNC_SECONDS="60")
            await asyncio.sleep(3)
            crowd = Crowd(case)
            watcher = asyncio.create_task(watched(operator, crowd, samples))

            def alive() -> None:
                if operator.status is not None:
                    raise RuntimeError(f"the operator ended with {operator.status}: {operator.log()[-2000:]}")
                if watcher.done():
                    watcher.result()

            await come_and_go(crowd, minutes, present, pause, alive)
            watcher.cancel()
            say(f"{crowd.came} experiments came, {crowd.came - len(crowd.names)} went")
            usage = await case.finish()
            if usage.unhandled:
                raise RuntimeError(f"{usage.unhandled} tracebacks in {operator.log_path}")
    return samples


def judged(samples: list[Sample], present: int) -> list[dict[str, Any]]:
    """One line for each figure; from when the population is there, less a first tenth in which everything settles."""
    steady = [one for one in samples if one.gone > 0]
    steady = steady[len(steady) // 10 :]
    if len(steady) < 8:
        return [{"what": "all", "found": f"only {len(steady)} samples with {present} present", "wanted": "8", "passed": False}]
    quarter = len(steady) // 4
    first, last = steady[:quarter], steady[-quarter:]
    full = [one for one in steady if one.gone >= FILLED]
    full = full if len(full) >= 8 else steady  # a run that is too short for it
    slope = statistics.linear_regression([one.seconds / 3600 for one in full], [one.memory_mib for one in full]).slope
    hours = (full[-1].seconds - full[0].seconds) / 3600
    grown = slope * hours
    found = [{
        "what": f"memory over {60 * hours:.0f} min, {present} present, {full[-1].gone - full[0].gone} came and went",
        "found": f"{full[0].memory_mib:g} to {full[-1].memory_mib:g} MiB, {slope:.1f} MiB an hour",
        "wanted": f"at most {MEMORY_SLOPE:g} MiB an hour, or 3 MiB in all",
        "passed": slope <= MEMORY_SLOPE or grown <= 3,
    }]  # fmt: skip
    for name in AT_START:
        # Medians: a machine that is busy for a moment lets work pile up, which is no growth.
        before, after = (statistics.median(getattr(one, name) for one in part) for part in (first, last))
        slack = SLACK[name] if SLACK[name] >= 1 else SLACK[name] * before
        found.append(
            {
                "what": name,
                "found": f"{before:g} to {after:g}",
                "wanted": f"at most {slack:g} more",
                "passed": after <= before + slack,
            }
        )
    return found


def main() -> int:
    """Exit status 0 when nothing grows."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--present", type=int, default=1000)
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between two experiments that come once all are present")
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
