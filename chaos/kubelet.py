"""What kubelets and toolkits would do, for all namespaces at once: a stage's pod runs, and ends with the report of its stage."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from job_simulator import JobSimulator, report_of
from memory_cluster import MemoryCluster
from yolo_operator.api import resource
from yolo_operator.kube.cluster import PODS

from chaos.proxy import Upstream

Object = dict[str, Any]
Ending = tuple[int, Object]
"""Exit code and report."""
_MERGE = "application/merge-patch+json"
_STAGES = f"{resource.LABEL_COMPONENT}=stage"


def success(simulator: JobSimulator, instructions: Object) -> Ending:
    """The stage did its work."""
    return 0, simulator.success(instructions)


def transient(instructions: Object) -> Ending:
    """A failure that may pass."""
    return 11, report_of(instructions, "Failed", "ToolkitFailed", "transient", "CUDA error")


@dataclass
class Kubelet:
    """Ends every stage's pod soon after it was made; beside the body it is entered for."""

    upstream: Upstream
    ending: Callable[[JobSimulator, Object], Ending] = success
    run_seconds: Callable[[Object], float] = lambda _: 0.0
    """Of a pod's instructions; above 0 it is Running for so long first."""
    simulator: JobSimulator = field(default_factory=lambda: JobSimulator(MemoryCluster()))
    ended: int = 0
    _seen: set[str] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Kubelet:
        self._watcher = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in [self._watcher, *self._tasks]:
            task.cancel()
        await asyncio.gather(self._watcher, *self._tasks, return_exceptions=True)

    async def _watch(self) -> None:
        query = {"watch": "true", "labelSelector": _STAGES, "timeoutSeconds": "300"}
        while True:
            # Without a version a watch begins with all that is there: whatever was missed is seen again.
            with contextlib.suppress(aiohttp.ClientError, ConnectionError, json.JSONDecodeError, asyncio.IncompleteReadError):
                async with self.upstream.session.get(f"{self.upstream.server}/api/v1/pods", params=query) as answer:
                    async for line in answer.content:
                        event = json.loads(line)
                        if event["type"] in ("ADDED", "MODIFIED"):
                            self._pod(event["object"])
                        elif event["type"] == "ERROR":
                            break
            await asyncio.sleep(0.2)

    def _pod(self, pod: Object) -> None:
        meta = pod["metadata"]
        if pod["status"]["phase"] not in ("Pending", "Running") or meta.get("deletionTimestamp") or meta["uid"] in self._seen:
            return
        self._seen.add(meta["uid"])
        task = asyncio.create_task(self._run(pod))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, pod: Object) -> None:
        meta = pod["metadata"]
        instructions = json.loads(meta["annotations"][resource.ANNOTATION_INSTRUCTIONS])
        began = _now()
        if (seconds := self.run_seconds(instructions)) > 0:
            await self._patch(pod, "Running", {"running": {"startedAt": began}})
            await asyncio.sleep(seconds)
        code, report = self.ending(self.simulator, instructions)
        terminated = {"exitCode": code, "message": json.dumps(report), "reason": "Error" if code else "Completed"}
        state = {"terminated": terminated | {"startedAt": began, "finishedAt": _now()}}
        if await self._patch(pod, "Failed" if code else "Succeeded", state):
            self.ended += 1

    async def _patch(self, pod: Object, phase: str, state: Object) -> bool:
        container = {"name": "stage", "image": "x", "imageID": "x", "ready": False, "restartCount": 0, "state": state}
        status = {"phase": phase, "startTime": _now(), "containerStatuses": [container]}
        path = PODS.path(pod["metadata"]["namespace"], pod["metadata"]["name"], "status")
        while True:
            try:
                code, _ = await self.upstream.call("PATCH", path, {"status": status}, content=_MERGE)
            except (aiohttp.ClientError, ConnectionError):
                code = 0
            if code in (0, 429) or code >= 500:  # a server that restarts comes back
                await asyncio.sleep(0.5)
                continue
            return code == 200


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
