"""The floor: a program that creates the next Job when one completes, and nothing else. No retry, no status, no report read.

    python -m yolobench.floor NAMESPACE CHAINS STEPS AT_ONCE [JOBS]

It shows what the API server, the Job controller and the scheduler need for so many Jobs: no controller can be faster. JOBS is a
file with the Jobs of one chain, which are then those of every chain; without it they are as small as a Job can be.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from kubernetes.aio import client as kube_client
from kubernetes.aio import config as kube_config

LABELS = {"app.kubernetes.io/managed-by": "floor", "app.kubernetes.io/component": "step"}
PATH = "/apis/batch/v1/namespaces/{}/jobs"
POOL = 32
CHAIN = "chain-00000"
"""The chain whose Jobs the others' are like."""


class Floor:
    """Chains of Jobs."""

    def __init__(self, api: Any, namespace: str, chains: int, steps: int, at_once: int, jobs: list[str]) -> None:
        self._api, self._path, self._jobs = api, PATH.format(namespace), jobs
        self._steps, self._left = steps, chains
        self._gate = asyncio.Semaphore(POOL)
        self._waiting = [f"chain-{number:05d}" for number in range(chains)]
        self._at_once = at_once
        self._tasks: set[asyncio.Task[None]] = set()
        self._seen: set[str] = set()

    async def run(self) -> None:
        """Until every chain is at its end."""
        version = (await self._call("GET", query=[("limit", "1")]))["metadata"]["resourceVersion"]
        for _ in range(min(self._at_once, len(self._waiting))):
            self._start(self._waiting.pop(0), 1)
        while self._left:
            version = await self._watch(version)

    async def _watch(self, version: str) -> str:
        query = [("watch", "1"), ("resourceVersion", version), ("labelSelector", "app.kubernetes.io/managed-by=floor")]
        response = await self._send("GET", query=query, seconds=600)
        async for line in response.response.content:
            event = json.loads(line)
            version = event["object"]["metadata"]["resourceVersion"]
            self._ended(event["object"])
            if not self._left:
                break
        response.response.close()
        return version

    def _ended(self, job: dict[str, Any]) -> None:
        conditions = job.get("status", {}).get("conditions", ())
        if not any(c["type"] == "Complete" and c["status"] == "True" for c in conditions):
            return
        name = job["metadata"]["name"]
        if name in self._seen:
            return
        self._seen.add(name)
        chain, _, step = name.rpartition("-")
        if int(step) < self._steps:
            self._start(chain, int(step) + 1)
            return
        self._left -= 1
        if self._waiting:
            self._start(self._waiting.pop(0), 1)

    def _start(self, chain: str, step: int) -> None:
        task = asyncio.create_task(self._create(chain, step))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _create(self, chain: str, step: int) -> None:
        body = json.loads(self._jobs[step - 1].replace(CHAIN, chain)) if self._jobs else bare()
        body["metadata"]["name"] = f"{chain}-{step}"
        async with self._gate:
            await self._call("POST", body=body)

    async def _call(self, method: str, **how: Any) -> dict[str, Any]:
        response = await self._send(method, **how)
        data = await response.read()
        if not 200 <= response.status < 300:
            raise RuntimeError(f"{method} {self._path}: {response.status} {data[:300]!r}")
        found: dict[str, Any] = json.loads(data)
        return found

    async def _send(self, method: str, *, query: Any = None, body: Any = None, seconds: float = 30) -> Any:
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        request = await self._api.param_serialize(
            method, self._path, query_params=query, header_params=headers, body=body, auth_settings=["BearerToken"]
        )
        return await self._api.call_api(*request, _request_timeout=seconds)


def bare() -> dict[str, Any]:
    """As small as a Job can be."""
    container = {"name": "step", "image": "floor:1", "command": ["true"]}
    template = {"metadata": {"labels": LABELS}, "spec": {"restartPolicy": "Never", "containers": [container]}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"labels": LABELS},
        "spec": {"backoffLimit": 0, "template": template},
    }


def like(job: dict[str, Any]) -> dict[str, Any]:
    """A Job of the operator's as the floor makes it: without an owner, and told apart by its label."""
    meta, spec = job["metadata"], dict(job["spec"])
    labels = meta["labels"] | {"app.kubernetes.io/managed-by": "floor"}
    labels.pop("yolo-operator.dev/final", None)
    for given in ("selector", "ttlSecondsAfterFinished"):
        spec.pop(given, None)
    template = {**spec["template"], "metadata": {"labels": labels, "annotations": spec["template"]["metadata"]["annotations"]}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"labels": labels, "annotations": meta["annotations"]},
        "spec": {**spec, "template": template},
    }


async def main(namespace: str, chains: int, steps: int, at_once: int, jobs: list[str]) -> None:
    """Run it against the kubeconfig's cluster."""
    config = kube_client.Configuration()
    await kube_config.load_kube_config(client_configuration=config, persist_config=False)
    config.connection_pool_maxsize = POOL + 1
    api = kube_client.ApiClient(config)
    api.user_agent = "yolo-floor"
    try:
        await Floor(api, namespace, chains, steps, at_once, jobs).run()
    finally:
        await api.close()


if __name__ == "__main__":
    like_these = [json.dumps(job) for path in sys.argv[5:] for job in json.loads(Path(path).read_text())]
    chains, steps, at_once = (int(word) for word in sys.argv[2:5])
    asyncio.run(main(sys.argv[1], chains, steps, at_once, like_these))
