"""A crash at every write: the operator dies at each mutating call in turn, and must end where an undisturbed run ends.

Two ways to die at call n: before it has left the process, and after the API server has done it but before the answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from chaos.case import Case, Lab
from chaos.kubelet import Kubelet
from chaos.nursery import Operator
from chaos.proxy import Answer, Call, Disturbance, Reset
from chaos.state import State, state_of
from chaos.stories import Story

SIDE_BY_SIDE = 16
PATIENCE = 60.0
"""Without any change."""
BEHIND_SECONDS = 4.0
"""What is written after the end of an experiment: labels, Events, the report."""
LATE_SECONDS = 20.0
"""The same beside fifteen others: what decides nothing waits for a calm second."""
SECOND_LOOK_SECONDS = 2.0
"""In which an operator that is ready has looked at the one experiment that there is."""
BEFORE, AFTER = "before", "after"


@dataclass
class KillAt(Disturbance):
    """Kills the operator at its nth mutating call."""

    number: int
    mode: str
    operator: Operator | None = None
    call: Call | None = None
    """That it died at."""
    died: asyncio.Event = field(default_factory=asyncio.Event)

    async def before(self, call: Call) -> Answer | None:
        """Kill it, when it is the call and the way."""
        if self.mode == BEFORE:
            self._kill(call)
        return None

    async def after(self, call: Call) -> Answer | None:
        """The same."""
        if self.mode == AFTER:
            self._kill(call)
        return None

    def _kill(self, call: Call) -> None:
        # What the dying process sends beside it is on its way already.
        if call.number == self.number and self.call is None and self.operator is not None:
            self.call = call
            self.operator.kill()
            self.died.set()
            raise Reset


@dataclass
class Death:
    """What came of one death."""

    number: int
    mode: str
    call: str
    differences: list[str]
    more_jobs: int
    unhandled: int
    settled: bool


@dataclass
class Crashes:
    """Of one story."""

    story: str
    writes: int
    """Of the undisturbed run."""
    deaths: list[Death]
    seconds: float

    @property
    def divergent(self) -> list[Death]:
        """Those after which something is not as in the undisturbed run."""
        return [death for death in self.deaths if death.differences or not death.settled or death.unhandled]

    @property
    def duplicate_jobs(self) -> int:
        """Jobs that the undisturbed run did not need."""
        return sum(death.more_jobs for death in self.deaths)

    def document(self) -> dict[str, object]:
        """For results."""
        return {
            "story": self.story,
            "writes": self.writes,
            "deaths": len(self.deaths),
            "divergent": len(self.divergent),
            "duplicateJobs": self.duplicate_jobs,
            "seconds": self.seconds,
            "found": [vars(death) for death in self.divergent],
        }


async def undisturbed(lab: Lab, story: Story) -> tuple[State, int]:
    """The state to compare with, and the number of mutating calls that led there.

    Raises:
        RuntimeError: when even this run does not come to its end.
    """
    case = Case.of(lab, story.name)
    async with _running(case, story):
        await case.operator()
        state = await case.settled(PATIENCE, tick=story.user(case) if story.user else None)
        if not state.settled:
            raise RuntimeError(f"{story.name}: no end without any fault:\n{case.operators[0].log()}")
        await asyncio.sleep(BEHIND_SECONDS)
        return await state_of(lab.upstream, case.namespace), case.proxy.writes


async def every_write(lab: Lab, story: Story, *, side_by_side: int = SIDE_BY_SIDE, only: range | None = None) -> Crashes:
    """Die at each write of the story, both ways."""
    began = time.monotonic()
    async with Kubelet(lab.upstream, story.ending, story.run_seconds):
        reference, writes = await undisturbed(lab, story)
        gate = asyncio.Semaphore(side_by_side)

        async def die(number: int, mode: str) -> Death | None:
            async with gate:
                return await _die(lab, story, number, mode, reference)

        wanted = only or range(1, writes + 1)
        deaths = await asyncio.gather(*(die(number, mode) for number in wanted for mode in (BEFORE, AFTER)))
    return Crashes(story.name, writes, [death for death in deaths if death], round(time.monotonic() - began, 1))


async def _die(lab: Lab, story: Story, number: int, mode: str, reference: State) -> Death | None:
    """None when the run came to its end with fewer writes: statuses that are close are one write as often as two."""
    kill = KillAt(number, mode)
    case = Case.of(lab, f"{story.name}-{number}-{mode}", kill)
    user = story.user(case) if story.user else None
    async with _running(case, story):
        kill.operator = await case.operator()
        died = asyncio.create_task(kill.died.wait())
        end = asyncio.create_task(case.settled(PATIENCE, tick=user, like=reference))
        await asyncio.wait([end, died], return_when=asyncio.FIRST_COMPLETED)
        with suppress(TimeoutError):
            await asyncio.wait_for(died, LATE_SECONDS)
        if not kill.died.is_set():
            state = await end
            return _death(kill, state, reference, "none: it ended elsewhere by itself") if state.differences(reference) else None
        await kill.operator.ended.wait()
        again = await case.operator()
        await end
        # Where it died behind the end, the second one must find nothing more to do.
        await case.ready(again)
        await asyncio.sleep(SECOND_LOOK_SECONDS)
        state = await case.settled(PATIENCE, tick=user, like=reference)
        tracebacks = sum(operator.log().count("Traceback") for operator in (kill.operator, again))
        return _death(kill, state, reference, str(kill.call).replace(case.namespace, "NAMESPACE"), tracebacks)


def _death(kill: KillAt, state: State, reference: State, call: str, tracebacks: int = 0) -> Death:
    return Death(
        kill.number, kill.mode, call, state.differences(reference), state.more_jobs(reference), tracebacks, state.settled
    )


@asynccontextmanager
async def _running(case: Case, story: Story) -> AsyncIterator[None]:
    """The case with the story's experiment in it; no operator and no namespace is left afterwards."""
    await case.prepare()
    async with case.proxy.serve():
        try:
            await case.submit(story.spec())
            yield
        finally:
            for operator in case.operators:
                operator.kill()
            await case.remove()
