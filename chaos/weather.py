"""Bad weather at the API server: errors, resets, slow answers, watches that end, lag, repeat or lose what they tell.

Whatever happens, the end state is that of a calm run, and what the way there costs (requests, lines of log, CPU) is bounded.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from yolobench.plane import Plane

from chaos.case import Case, Lab, Usage
from chaos.kubelet import Kubelet
from chaos.proxy import Answer, Call, Disturbance, Reset
from chaos.state import State
from chaos.stories import Story

PATIENCE = 120.0
"""Without any change."""
BEHIND_SECONDS = 4.0
"""What is written after the end of an experiment: labels, Events, the report."""
PAUSE_SECONDS = 20.0
"""For which etcd stands still."""
KILLS = 2
STRIKE_SECONDS = 3.0
"""From the operator's first watch, and from one death of the API server to the next: the experiment runs."""
MISSED = Answer(410, "Expired", "too old resource version: 1 (2)")
_GONE = json.dumps({
    "type": "ERROR",
    "object": {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410, "message": "gone"},
}).encode() + b"\n"  # fmt: skip


@dataclass
class Weather(Disturbance):
    """Begins with the operator's first watch, so that it is the running operator that it meets, unless `from_start`."""

    rng: random.Random = field(default_factory=lambda: random.Random(7))
    injected: int = 0
    """Faults so far."""
    excused: int = 0
    """Those that excuse a retry. Where everything fails for a while they are not: each retry would excuse the next one."""
    from_start: bool = False
    begun: float | None = None
    started: asyncio.Event = field(default_factory=asyncio.Event)

    async def before(self, call: Call) -> Answer | None:
        """Only once it has begun."""
        if self.begun is None and (self.from_start or call.watch):
            self.begun = time.monotonic()
            self.started.set()
        return None if self.begun is None else await self.strike(call)

    async def strike(self, call: Call) -> Answer | None:
        """As `before`."""
        return None

    def hit(self, *, excuses: bool = True) -> None:
        """Count a fault."""
        self.injected += 1
        self.excused += excuses


@dataclass
class Errors(Weather):
    """Every sort of error, at a rate."""

    rate: float = 0.1

    async def strike(self, call: Call) -> Answer | None:
        """One of them."""
        if self.rng.random() >= self.rate:
            return None
        self.hit()
        return await self.one_of(call, ("conflict", "throttled", "broken", "away", "reset", "slow"))

    async def one_of(self, call: Call, kinds: tuple[str, ...]) -> Answer | None:
        """A fault of these kinds; a conflict is an answer to writes alone."""
        kind = self.rng.choice([kind for kind in kinds if call.write or kind != "conflict"])
        if kind == "reset":
            raise Reset
        if kind == "slow":
            await asyncio.sleep(2)
            return None
        return {
            "conflict": Answer(409, "Conflict", "the object has been modified; please apply your changes to the latest version"),
            "throttled": Answer(429, "TooManyRequests", "the server has received too many requests", retry_after=1),
            "broken": Answer(500, "InternalError", "etcdserver: leader changed"),
            "away": Answer(503, "ServiceUnavailable", "the server is currently unable to handle the request"),
        }[kind]


@dataclass
class LostAnswers(Weather):
    """One write in five is done by the API server, and the operator never learns of it."""

    rate: float = 0.2

    async def after(self, call: Call) -> Answer | None:
        """Break the connection in place of the answer."""
        if self.begun is not None and call.write and self.rng.random() < self.rate:
            self.hit()
            raise Reset
        return None


@dataclass
class Bursts(Errors):
    """Nothing works for some seconds, again and again."""

    bad_seconds: float = 4.0
    good_seconds: float = 4.0
    bursts: int = 0

    async def strike(self, call: Call) -> Answer | None:
        """While it is bad."""
        assert self.begun is not None
        burst, second = divmod(time.monotonic() - self.begun, self.bad_seconds + self.good_seconds)
        if second >= self.bad_seconds:
            return None
        self.hit(excuses=burst >= self.bursts)
        self.bursts = int(burst) + 1
        return await self.one_of(call, ("throttled", "broken", "away", "reset"))


@dataclass
class ExpiredWatches(Weather):
    """Watches end with 410 after a few events, or do not even begin."""

    async def strike(self, call: Call) -> Answer | None:
        """One in three does not begin."""
        if call.watch and self.rng.random() < 0.33:
            self.hit()
            return MISSED
        return None

    async def line(self, call: Call, line: bytes) -> list[bytes]:
        """One line in five is the last."""
        if self.rng.random() < 0.2:
            self.hit()
            return [line, _GONE]
        return [line]


@dataclass
class Lag(Weather):
    """Watches tell everything seconds late."""

    lag_seconds: float = 3.0

    async def strike(self, call: Call) -> Answer | None:
        """Nothing is refused; a watch counts as one fault, however much it tells."""
        if call.watch:
            self.hit()
        return None


@dataclass
class OldWatches(Weather):
    """Watches begin again and again, and tell from an old version on what was told before."""

    oldest: dict[str, str] = field(default_factory=dict)

    def query(self, call: Call) -> dict[str, str]:
        """With the first version that was ever asked for on this path."""
        version = call.query.get("resourceVersion")
        if version is None:
            return call.query
        return call.query | {"resourceVersion": self.oldest.setdefault(call.path, version)}

    async def line(self, call: Call, line: bytes) -> list[bytes]:
        """Now and then the watch breaks."""
        if self.rng.random() < 0.05:
            self.hit()
            raise Reset
        return [line]


@dataclass
class DroppedLines(Weather):
    """Watches lose a third of what they have to tell, for good."""

    async def line(self, call: Call, line: bytes) -> list[bytes]:
        """Or nothing."""
        if self.rng.random() < 0.33:
            self.hit()
            return []
        return [line]


@dataclass
class Outcome:
    """What a case came to."""

    name: str
    injected: int
    excused: int
    differences: list[str]
    more_jobs: int
    usage: Usage
    restarts: int
    settled: bool
    excesses: list[str] = field(default_factory=list)
    """Which bounds it broke."""

    @property
    def passed(self) -> bool:
        """Whether it is as it should be."""
        return self.settled and not self.differences and not self.excesses and (self.injected > 0 or self.name == CALM)


CALM = "calm"
Fault = Callable[[Lab, Plane, Weather], Coroutine[Any, Any, None]]
WEATHERS: dict[str, Callable[[], Weather]] = {
    "errors at 10 %": Errors,
    "errors at 10 %, from the start": lambda: Errors(from_start=True),
    "errors in bursts": Bursts,
    "lost answers": LostAnswers,
    "expired watches": ExpiredWatches,
    "watches lag 3 s": Lag,
    "watches replayed": OldWatches,
    "watch lines dropped": DroppedLines,
}
RESYNC = {"watch lines dropped": "5"}
"""What is lost for good is found by the periodic list, which is 600 s unless said otherwise."""


async def everything(lab: Lab, story: Story, plane: Plane | None = None) -> list[Outcome]:
    """A calm run, then each weather, side by side; with a plane of our own also what its processes can suffer, one by one."""
    async with Kubelet(lab.upstream, story.ending, story.run_seconds):
        calm, reference = await _one(lab, story, CALM, Weather())
        found = await asyncio.gather(*(_one(lab, story, name, make(), reference) for name, make in WEATHERS.items()))
    outcomes = [calm, *(judged(outcome, state, calm, reference) for outcome, state in found)]
    return outcomes + (await _server_faults(lab, story, plane, calm, reference) if plane is not None else [])


async def _server_faults(lab: Lab, story: Story, plane: Plane, calm: Outcome, reference: State) -> list[Outcome]:
    found = []
    for name, fault in (("API server killed", kill_server), ("etcd paused 20 s", pause_etcd)):
        weather = Weather()

        async def strike(weather: Weather = weather, fault: Fault = fault) -> None:
            await weather.started.wait()
            await fault(lab, plane, weather)

        async with Kubelet(lab.upstream, story.ending, story.run_seconds):
            outcome, state = await _one(lab, story, name, weather, reference, strike)
        found.append(judged(outcome, state, calm, reference))
    return found


async def kill_server(lab: Lab, plane: Plane, weather: Weather) -> None:
    """Kill the API server some times; the supervisor starts it again."""
    for _ in range(KILLS):
        await asyncio.sleep(STRIKE_SECONDS)
        os.kill(plane.pid("kube-apiserver"), signal.SIGKILL)
        weather.hit()
        status, _version = await lab.upstream.call("GET", "/version")
        assert status == 200, "the API server was not started again"


async def pause_etcd(_: Lab, plane: Plane, weather: Weather) -> None:
    """etcd hears nothing for a while, and then goes on."""
    await asyncio.sleep(STRIKE_SECONDS)
    pid = plane.pid("etcd")
    os.kill(pid, signal.SIGSTOP)
    weather.hit()
    try:
        await asyncio.sleep(PAUSE_SECONDS)
    finally:
        os.kill(pid, signal.SIGCONT)


def judged(outcome: Outcome, state: State, calm: Outcome, reference: State) -> Outcome:
    """With the differences from the calm run, and the bounds that it broke."""
    outcome.differences = state.differences(reference)
    outcome.more_jobs = state.more_jobs(reference)
    outcome.excesses = excesses(outcome.usage, calm.usage, outcome.excused)
    if outcome.restarts:
        outcome.excesses.append(f"{outcome.restarts} ends of the process, at most 0")
    return outcome


def excesses(usage: Usage, calm: Usage, excused: int) -> list[str]:
    """Bounds: what the calm run needs, times a small number, and something for each fault and for the longer time."""
    longer = max(0.0, usage.seconds - calm.seconds)
    bounds = {
        "requests": (usage.requests, 2 * calm.requests + 3 * excused + 6 * longer),
        "lines of log": (usage.log_lines, 2 * calm.log_lines + 3 * excused + longer),
        "CPU seconds": (usage.cpu_seconds, 3 * calm.cpu_seconds + 0.02 * excused + 0.1 * usage.seconds),
        "tracebacks": (usage.unhandled, 0),
    }
    return [f"{number} {what}, at most {bound:.0f}" for what, (number, bound) in bounds.items() if number > bound]


async def _one(
    lab: Lab,
    story: Story,
    name: str,
    weather: Weather,
    reference: State | None = None,
    during: Callable[[], Coroutine[Any, Any, None]] | None = None,
) -> tuple[Outcome, State]:
    """One run; without a reference, that which the others are compared with."""
    case = Case.of(lab, name, weather)
    await case.prepare()
    async with case.proxy.serve(), _kept_running(case, {"YOLO_OPERATOR_RESYNC_SECONDS": RESYNC.get(name, "600")}) as ends:
        await case.submit(story.spec())
        case.began = time.monotonic()
        fault = asyncio.create_task(during()) if during else None
        user = story.user(case) if story.user else None
        await case.settled(PATIENCE, tick=user, like=reference)
        if fault is not None:
            await fault
        await asyncio.sleep(BEHIND_SECONDS)
        state = await case.settled(PATIENCE, tick=user, like=reference)
        restarts = len(ends)
    usage = await case.finish()
    await case.remove()
    return Outcome(name, weather.injected, weather.excused, [], 0, usage, restarts, state.settled), state


@asynccontextmanager
async def _kept_running(case: Case, settings: dict[str, str]) -> AsyncIterator[list[int]]:
    """An operator that is started again when it ends, as a Deployment does; the exit statuses so far."""
    ends: list[int] = []

    async def keep() -> None:
        while True:
            operator = await case.operator(**settings)
            await operator.ended.wait()
            ends.append(operator.status or 0)
            await asyncio.sleep(min(5.0, 2.0 ** len(ends) / 2))

    keeper = asyncio.create_task(keep())
    try:
        yield ends
    finally:
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)


def as_json(outcomes: list[Outcome]) -> list[dict[str, Any]]:
    """For results."""
    return [
        {
            "name": outcome.name,
            "passed": outcome.passed,
            "injected": outcome.injected,
            "restarts": outcome.restarts,
            "differences": outcome.differences,
            "moreJobs": outcome.more_jobs,
            "excesses": outcome.excesses,
            **vars(outcome.usage),
        }
        for outcome in outcomes
    ]
