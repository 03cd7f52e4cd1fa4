"""Mutated experiments, a real API server and a running operator: each is refused with a path, or comes to rest with a reason.

What the API server accepts, our own models must accept. The operator must not end, hang, meet an error of its own, or go on
writing about an experiment that rests.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from pydantic import ValidationError
from yolo_operator.api.spec import parse_spec
from yolo_operator.kube.cluster import EXPERIMENTS, JOBS

from chaos.case import Case, Lab
from chaos.kubelet import Kubelet
from chaos.mutations import Mutation
from chaos.nursery import Operator
from chaos.proxy import Call, Disturbance
from chaos.state import ENDED, listed

Object = dict[str, Any]
REGRESSIONS = Path(__file__).parent / "regressions.yaml"
SIDE_BY_SIDE = 12
PATIENCE = 90.0
"""Without any news of an experiment."""
REST_SECONDS = 8.0
"""So long nothing must change about an experiment that waits."""
QUIET_SECONDS = 3.0
_PATH = re.compile(r"\b(spec|metadata|ObjectMeta)\b")
_OWN_ERROR = re.compile(r"(\S+)/(m\d+): an error of the operator itself")


class Result(StrEnum):
    """What becomes of a mutation."""

    REJECTED = "rejected"
    RECONCILED = "reconciled"
    PATHLESS = "rejected without a path"
    DISPARITY = "accepted by the API server, not by our models"
    STUCK = "neither at an end nor waiting with a reason"
    RESTLESS = "written about again and again"
    CRASHED = "the operator ended, or met an error of its own"

    @property
    def good(self) -> bool:
        """Whether it is one that should be."""
        return self in (Result.REJECTED, Result.RECONCILED)


@dataclass
class Verdict:
    """Of one mutation."""

    name: str
    mutation: Mutation
    result: Result
    detail: str

    def __str__(self) -> str:
        return f"{self.name} {self.mutation}: {self.result}: {self.detail}"


@dataclass
class Writes(Disturbance):
    """Lets everything pass, and knows when what was last written about whom."""

    last: dict[str, float] = field(default_factory=dict)

    async def after(self, call: Call) -> None:
        """Every experiment of a mutation has a name that occurs in the names of all that is about it."""
        if call.write and (found := re.search(r"m\d{5}", call.path + call.body[:600].decode(errors="replace"))):
            self.last[found.group()] = time.monotonic()


@dataclass
class Mutants:
    """Of one run."""

    verdicts: list[Verdict]
    seconds: float

    @property
    def counts(self) -> Counter[Result]:
        """By result."""
        return Counter(verdict.result for verdict in self.verdicts)

    @property
    def bad(self) -> list[Verdict]:
        """Those that are not as they should be."""
        return [verdict for verdict in self.verdicts if not verdict.result.good]

    def document(self) -> dict[str, int]:
        """For results."""
        counts = self.counts
        return {
            "mutations": len(self.verdicts),
            "rejected": counts[Result.REJECTED],
            "reconciled": counts[Result.RECONCILED],
            "stuck": counts[Result.STUCK] + counts[Result.RESTLESS],
            "crashed": counts[Result.CRASHED],
            "other": len(self.bad),
        }


def regressions() -> list[Mutation]:
    """Mutations that were not treated well once."""
    return [Mutation.of(case) for case in yaml.safe_load(REGRESSIONS.read_text())["cases"]]


async def try_all(lab: Lab, mutations: Sequence[Mutation], *, side_by_side: int = SIDE_BY_SIDE) -> Mutants:
    """Try them, some at a time, with one operator."""
    began = time.monotonic()
    bench = _Bench(Case.of(lab, "mutations", Writes()))
    gate = asyncio.Semaphore(side_by_side)

    async def one(number: int, mutation: Mutation) -> Verdict:
        async with gate:
            return await bench.verdict(f"m{number:05d}", mutation)

    async with Kubelet(lab.upstream), bench.running():
        verdicts = list(await asyncio.gather(*(one(number, mutation) for number, mutation in enumerate(mutations))))
        hung = await bench.unhealthy()
    log = "".join(operator.log() for operator in bench.case.operators)
    own = {found.group(2) for found in _OWN_ERROR.finditer(log)}
    for verdict in verdicts:
        if verdict.name in own:
            verdict.result, verdict.detail = Result.CRASHED, "an error of the operator itself: see its log"
    if hung and verdicts:
        verdicts[-1].result, verdicts[-1].detail = Result.CRASHED, f"not healthy: {hung}"
    return Mutants(verdicts, round(time.monotonic() - began, 1))


@dataclass
class _Bench:
    """The namespace, and the operator that serves it."""

    case: Case
    operator: Operator | None = None
    ends: int = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """An operator, started again when it ends."""
        await self.case.prepare()
        async with self.case.proxy.serve():
            keeper = asyncio.create_task(self._keep())
            try:
                yield
            finally:
                keeper.cancel()
                await asyncio.gather(keeper, return_exceptions=True)
                for operator in self.case.operators:
                    operator.kill()
                await self.case.remove()

    async def _keep(self) -> None:
        while True:
            self.operator = await self.case.operator()
            await self.operator.ended.wait()
            self.ends += 1

    async def unhealthy(self) -> str:
        """What the operator's own health says, if it is not well."""
        if self.operator is None:
            return "not started"
        with suppress(aiohttp.ClientError):
            async with aiohttp.ClientSession() as session:
                answer = await session.get(f"http://127.0.0.1:{self.operator.port}/healthz")
                return "" if answer.status == 200 else await answer.text()
        return "does not answer"

    async def verdict(self, name: str, mutation: Mutation) -> Verdict:
        """Try one."""
        ends = self.ends
        try:
            result, detail = await self._try(name, mutation)
        finally:
            await self._call("DELETE", EXPERIMENTS.path(self.case.namespace, name))
        if self.ends > ends:
            result, detail = Result.CRASHED, "the operator ended while this one, or one beside it, was tried"
        return Verdict(name, mutation, result, detail)

    async def _try(self, name: str, mutation: Mutation) -> tuple[Result, str]:
        status, answer = await (self._edit(name, mutation) if mutation.edit else self._create(mutation.after(name)))
        if status >= 400:
            message = str(answer.get("message"))
            named = 400 <= status < 500 and _PATH.search(message)
            return Result.REJECTED if named else Result.PATHLESS, f"{status} {message[:300]}"
        try:
            parse_spec(answer["spec"])
        except ValidationError as error:
            return Result.DISPARITY, str(error).replace("\n", " ")[:500]
        return await self._rest(name)

    async def _create(self, body: Object) -> tuple[int, Object]:
        # As kubectl does: what the schema does not know is an error and not pruned in silence.
        path = EXPERIMENTS.path(self.case.namespace)
        return await self._call("POST", path, body, query={"fieldValidation": "Strict"})

    async def _edit(self, name: str, mutation: Mutation) -> tuple[int, Object]:
        status, answer = await self._create(mutation.before(name))
        if status >= 400:
            raise RuntimeError(f"the valid experiment of {mutation} is refused: {answer.get('message')}")
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if await self._jobs(name):
                break
            await asyncio.sleep(0.3)
        path = EXPERIMENTS.path(self.case.namespace, name)
        while True:
            status, body = await self._call("GET", path)
            for change in mutation.changes:
                change.apply(body)
            status, answer = await self._call("PUT", path, body, query={"fieldValidation": "Strict"})
            if status != 409:
                return status, answer

    async def _jobs(self, name: str) -> list[Object]:
        jobs = await listed(self.case.lab.upstream, JOBS, self.case.namespace, f"yolo-operator.dev/experiment={name}")
        return list(jobs)

    async def _rest(self, name: str) -> tuple[Result, str]:
        """Wait until it is at its end, or waits with a reason; then see that nothing more is written."""
        path, version, since = EXPERIMENTS.path(self.case.namespace, name), "", time.monotonic()
        said = "no status"
        while time.monotonic() - since < PATIENCE:
            _, body = await self._call("GET", path)
            status = body.get("status") or {}
            if body["metadata"]["resourceVersion"] != version:
                version, since = body["metadata"]["resourceVersion"], time.monotonic()
            said = _reason(body)
            current = status.get("observedGeneration") == body["metadata"].get("generation")
            if current and status.get("phase") in ENDED:
                return await self._quiet(name, said)
            if current and said and time.monotonic() - since > REST_SECONDS and not await self._moving(name):
                return await self._quiet(name, said)
            await asyncio.sleep(0.7)
        return Result.STUCK, said or f"no reason: {status.get('phase')} {status.get('stage')}"

    async def _moving(self, name: str) -> bool:
        """Whether a pod is about to end: with many experiments at once that takes its time."""
        jobs = await self._jobs(name)
        return any((job.get("status") or {}).get("active") for job in jobs)

    async def _quiet(self, name: str, said: str) -> tuple[Result, str]:
        writes = self.case.proxy.disturbance
        assert isinstance(writes, Writes)
        end = time.monotonic() + 10 * QUIET_SECONDS
        while time.monotonic() < end:
            if time.monotonic() - writes.last.get(name, 0.0) > QUIET_SECONDS:
                return (Result.RECONCILED, said) if said else (Result.STUCK, "at its end without a reason")
            await asyncio.sleep(0.5)
        return Result.RESTLESS, said

    async def _call(self, method: str, path: str, body: Any = None, **how: Any) -> tuple[int, Object]:
        return await self.case.lab.upstream.call(method, path, body, **how)


def _reason(body: Object) -> str:
    """Why it is where it is, in one line; empty when nothing says so."""
    status = body.get("status") or {}
    conditions = [c for c in status.get("conditions") or () if c.get("reason")]
    told = [
        c for c in conditions if (c["type"], c["status"]) in (("Accepted", "False"), ("Complete", "True"), ("Failed", "True"))
    ]
    reasons = ", ".join(f"{c['type']}={c['status']} {c['reason']}" for c in told)
    waiting = [f"{s['name']} {s['state']} {s['reason']}" for s in status.get("stages") or () if s.get("reason")]
    message = status.get("message") or ""
    if not (reasons or message or waiting or status.get("phase") == "Suspended"):
        return ""
    return f"{status.get('phase')}: {reasons} {message} {'; '.join(waiting[:2])}"[:400]
