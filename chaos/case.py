"""One case: a namespace, a proxy, an operator that serves this namespace alone, and what becomes of the experiments in it."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from yolo_operator.kube.cluster import CLAIMS, EXPERIMENTS, Kind

from chaos.nursery import Nursery, Operator
from chaos.proxy import Disturbance, Proxy, Upstream
from chaos.state import State, state_of
from examples import experiment_body

NAMESPACES = Kind("/api/v1", "namespaces")
Object = dict[str, Any]
LOOK_SECONDS = 0.5
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Lab:
    """What all cases share."""

    upstream: Upstream
    nursery: Nursery


@dataclass
class Usage:
    """What a run has cost the operator and the API server."""

    requests: int
    writes: int
    cpu_seconds: float
    log_lines: int
    seconds: float
    unhandled: int = 0
    """Tracebacks in the log."""


@dataclass
class Case:
    """A namespace of its own on the control plane that all cases share."""

    lab: Lab
    name: str
    proxy: Proxy
    namespace: str = ""
    operators: list[Operator] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, lab: Lab, name: str, disturbance: Disturbance | None = None) -> Case:
        """A new one."""
        namespace = f"chaos-{int(time.time()) % 10**6}-{next(_numbers)}"
        return cls(lab, name, Proxy(lab.upstream, disturbance or Disturbance()), namespace)

    async def prepare(self) -> None:
        """The namespace, and the claim that specs name."""
        await self.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}})
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        await self.create(
            CLAIMS, {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}, "spec": spec}
        )

    async def create(self, kind: Kind, body: Object) -> Object:
        """Create an object, past the proxy.

        Raises:
            RuntimeError: when the API server refuses it.
        """
        path = kind.path(None if kind is NAMESPACES else self.namespace)
        status, answer = await self.lab.upstream.call("POST", path, body)
        if status != 201:
            raise RuntimeError(f"{kind.plural} {body['metadata']['name']}: {status} {answer.get('message')}")
        return answer

    async def submit(self, spec: Object, name: str = "plates") -> Object:
        """Create an experiment."""
        return await self.create(EXPERIMENTS, experiment_body(spec, name))

    async def operator(self, **settings: str) -> Operator:
        """Start an operator for this namespace, through the proxy."""
        environment = {"YOLO_OPERATOR_NAMESPACES": self.namespace}
        operator = await self.lab.nursery.start(environment | settings, self.proxy.kubeconfig(), self.namespace)
        self.operators.append(operator)
        return operator

    async def ready(self, operator: Operator) -> None:
        """Wait until the operator's caches are full, or it has ended."""
        async with aiohttp.ClientSession() as session:
            while operator.status is None:
                with suppress(aiohttp.ClientError):
                    async with session.get(f"http://127.0.0.1:{operator.port}/readyz") as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(LOOK_SECONDS)

    async def settled(
        self, patience: float, *, tick: Callable[[], Awaitable[None]] | None = None, like: State | None = None
    ) -> State:
        """The state as soon as all is at its end, and as in `like`; as it is once nothing has changed for `patience` seconds.

        A machine that is busy makes a run longer, and no run worse.
        """
        last: State | None = None
        end = 0.0
        while True:
            state = await state_of(self.lab.upstream, self.namespace)
            if state != last:
                last, end = state, time.monotonic() + patience
            if (state.settled and (like is None or not state.differences(like))) or time.monotonic() > end:
                return state
            if tick is not None:
                await tick()
            await asyncio.sleep(LOOK_SECONDS)

    async def remove(self) -> None:
        """The namespace goes, in the background of the API server."""
        await self.lab.upstream.call("DELETE", NAMESPACES.path(None, self.namespace))

    async def finish(self) -> Usage:
        """End what runs, and tell what all of it has cost."""
        seconds = time.monotonic() - self.began
        for operator in self.operators:
            await operator.stop()
        logs = [operator.log() for operator in self.operators]
        return Usage(
            requests=sum(self.proxy.requests.values()),
            writes=self.proxy.writes,
            cpu_seconds=round(sum(operator.cpu_seconds for operator in self.operators), 2),
            log_lines=sum(log.count("\n") for log in logs),
            seconds=round(seconds, 1),
            unhandled=sum(log.count("Traceback") for log in logs),
        )
