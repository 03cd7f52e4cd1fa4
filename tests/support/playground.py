"""A namespace on a real API server, the operator's real process, and what a kubelet would do."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from job_simulator import JobSimulator
from yolo_operator.api import resource
from yolo_operator.kube.client import KubernetesCluster
from yolo_operator.kube.cluster import CLAIMS, EXPERIMENTS, JOBS, PODS, Kind, Object

from examples import NAME, experiment_body

PATIENCE = 60
"""Seconds after which something that was to happen is given up."""


@dataclass
class Playground:
    """A namespace of a test's own."""

    cluster: KubernetesCluster
    namespace: str
    kubeconfig: Path
    directory: Path
    operators: list[OperatorProcess] = field(default_factory=list)

    async def experiment(self, name: str = NAME) -> Object | None:
        """The experiment."""
        return await self.cluster.get(EXPERIMENTS, self.namespace, name)

    async def apply(self, spec: dict[str, Any], name: str = NAME, **meta: Any) -> Object:
        """Create an experiment."""
        return await self.cluster.create(EXPERIMENTS, self.namespace, experiment_body(spec, name, **meta))

    async def claim(self, name: str = "data") -> None:
        """Make a claim."""
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        body = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}
        await self.cluster.create(CLAIMS, self.namespace, body)

    async def listed(self, kind: Kind, selector: str = "") -> list[Object]:
        """All objects of a kind."""
        return [body async for page in self.cluster.pages(kind, self.namespace, selector=selector) for body in page.items]

    async def jobs(self) -> list[Object]:
        """The stages' Jobs, without those that write reports."""
        return _without_reports(await self.listed(JOBS))

    async def pods(self) -> list[Object]:
        """Their Pods."""
        return _without_reports(await self.listed(PODS))

    async def until(self, holds: Callable[[], Any], what: str) -> Any:
        """Wait until an awaitable gives something true, and give that."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if found := await holds():
                return found
            await asyncio.sleep(0.1)
        logs = "\n".join(operator.log() for operator in self.operators)
        raise AssertionError(f"not within {PATIENCE} s: {what}\n{logs}")

    async def play(self, simulator: JobSimulator, *, claims: bool = True) -> None:
        """Let every pod that waits run, and succeed with its report; without `claims` only those that want no device."""
        for pod in await self.listed(PODS, f"{resource.LABEL_COMPONENT}=stage"):
            if not claims and "resourceClaims" in pod["spec"]:
                continue
            if pod["status"]["phase"] == "Pending" and not pod["metadata"].get("deletionTimestamp"):
                instructions = json.loads(pod["metadata"]["annotations"][resource.ANNOTATION_INSTRUCTIONS])
                code, report = 0, simulator.success(instructions)
                await self.end_pod(pod, code, json.dumps(report))

    async def end_pod(self, pod: Object, code: int, message: str) -> None:
        """The pod's container ended."""
        now = _now()
        terminated = {"exitCode": code, "message": message, "reason": "Completed", "startedAt": now, "finishedAt": now}
        await self._pod_is(pod, "Failed" if code else "Succeeded", {"terminated": terminated})

    async def run_pod(self, pod: Object) -> None:
        """The pod's container runs."""
        await self._pod_is(pod, "Running", {"running": {"startedAt": _now()}})

    async def _pod_is(self, pod: Object, phase: str, state: Object) -> None:
        container = {"name": "stage", "image": "x", "imageID": "x", "ready": False, "restartCount": 0, "state": state}
        status = {"phase": phase, "startTime": _now(), "containerStatuses": [container]}
        await self.cluster.patch(PODS, self.namespace, pod["metadata"]["name"], {"status": status}, subresource="status")

    def operator(self, **environment: str) -> OperatorProcess:
        """Start the operator for this namespace."""
        process = OperatorProcess(self, environment)
        self.operators.append(process)
        return process


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class OperatorProcess:
    """The real command."""

    def __init__(self, ground: Playground, environment: dict[str, str]) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._path = ground.directory / f"operator-{len(ground.operators)}.log"
        settings = {
            "KUBECONFIG": str(ground.kubeconfig),
            "YOLO_OPERATOR_IMAGE": "yolo-operator:test",
            "YOLO_OPERATOR_NAMESPACES": ground.namespace,
            "YOLO_OPERATOR_LISTEN": f"127.0.0.1:{self.port}",
        }
        command = [Path(sys.executable).parent / "yolo-operator", "run"]
        with self._path.open("w") as log:
            self.process = subprocess.Popen(command, env=os.environ | settings | environment, stdout=log, stderr=log)

    def log(self) -> str:
        """What it has said."""
        return self._path.read_text()

    async def ended(self) -> int:
        """Its exit status."""
        return await asyncio.wait_for(asyncio.to_thread(self.process.wait), PATIENCE)

    def kill(self) -> None:
        """No time to tidy up."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def _without_reports(bodies: list[Object]) -> list[Object]:
    return [body for body in bodies if body["metadata"]["labels"].get(resource.LABEL_COMPONENT) != "report"]
