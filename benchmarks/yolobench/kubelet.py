"""Simulated nodes whose pods have logs: the server of `yolobench.logs`, to which every node's kubelet endpoint points."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from localcluster.certs import Authority
from localcluster.layout import Home
from localcluster.record import Record

from yolobench.plane import ROOT, Plane


@dataclass(frozen=True)
class Trainings:
    """What the logs tell: every training began at once, and takes as long."""

    pid: int
    """Of the server."""
    began: float
    """Seconds since the epoch."""
    seconds: float

    def left(self, now: float) -> float:
        """Seconds that every training still needs."""
        return self.seconds - (now - self.began)


@contextmanager
def serving(plane: Plane, seconds: float, log: Path) -> Iterator[Trainings]:
    """Logs for the trainings of a control plane.

    The API server asks a node's kubelet at its InternalIP, and believes it by the cluster's authority. So the server listens at
    the machine's end of the cluster's cable, with a certificate for that address.
    """
    home = Home.of(plane.name)
    address = str(Record.load(home).link.host)
    certificate, key = Authority(home.pki).server("kubelet-logs", "kubelet-logs", [address])
    began = time.time()
    words = [address, str(certificate), str(key), repr(began), repr(seconds)]
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [sys.executable, "-m", "yolobench.logs", *words],
            cwd=ROOT / "benchmarks", stdout=subprocess.PIPE, stderr=errors, text=True,
        ) as process,
    ):  # fmt: skip
        try:
            told = process.stdout.readline().strip() if process.stdout else ""
            if not told:
                raise RuntimeError(f"the server of logs did not start: see {log}")
            _point(plane, address, int(told))
            yield Trainings(process.pid, began, seconds)
        finally:
            process.terminate()


def _point(plane: Plane, address: str, port: int) -> None:
    """Tell the API server that every node's kubelet is there."""
    plane.kubectl("wait", "--for=condition=Ready", "--timeout=60s", "node", "--all")
    for node in plane.kubectl("get", "nodes", "-o", "name").split():
        plane.kubectl(
            "patch", node, "--subresource=status", "--type=merge", "-p", json.dumps({"status": endpoint(node, address, port)})
        )


def endpoint(node: str, address: str, port: int) -> dict[str, object]:
    """The part of a node's status by which its kubelet is found; kwok keeps addresses that are there."""
    addresses = [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": node.removeprefix("node/")}]
    return {"addresses": addresses, "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}
