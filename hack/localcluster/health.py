"""How a cluster of ours is: what `status` shows, and what `up` waits for."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from . import namespaces
from .api import Api, Document
from .choose import Flavour
from .console import ClusterError
from .gpus import RESOURCE
from .layout import Home
from .record import Record
from .supervisor import STATUS_FILE


@dataclass(frozen=True)
class Health:
    """A look at a cluster; every check is a name and whether it holds."""

    name: str
    flavour: str
    server: str
    kubeconfig: str
    checks: dict[str, bool] = field(default_factory=dict)
    components: dict[str, Any] = field(default_factory=dict)

    @property
    def healthy(self) -> bool:
        """Whether every check holds."""
        return all(self.checks.values())

    def trouble(self) -> str:
        """Say what does not hold."""
        failed = [name for name, good in self.checks.items() if not good]
        ended = [name for name, one in self.components.items() if not one["running"]]
        return "; ".join([*(f"not yet: {name}" for name in failed), *(f"{name} does not run" for name in ended)]) or "nothing"

    def document(self) -> dict[str, Any]:
        """Give the look as plain JSON values."""
        return {
            "name": self.name,
            "flavour": self.flavour,
            "server": self.server,
            "kubeconfig": self.kubeconfig,
            "healthy": self.healthy,
            "checks": self.checks,
            "components": self.components,
        }


def inspect(home: Home) -> Health:
    """Look at a cluster of our own. A cluster that does not exist is an error; one that does not run has failing checks."""
    record = Record.load(home)
    checks = {"processes": namespaces.running(home)}
    components = (home.read(STATUS_FILE) or {}) if checks["processes"] else {}
    checks["components"] = bool(components) and all(one["ready"] for one in components.values())
    if checks["components"]:
        api = record.api(home)
        checks["API server"] = api.ready()
        if checks["API server"]:
            try:
                checks |= _look_inside(api, record, since=components.get("kubelet", {}).get("since", 0.0))
            except (OSError, ClusterError):
                checks["API server"] = False
    return Health(home.name, record.flavour.value, record.link.server, str(home.kubeconfig), checks, components)


def _look_inside(api: Api, record: Record, since: float) -> dict[str, bool]:
    account = _exists(api, "/api/v1/namespaces/default/serviceaccounts/default")
    checks = {"default service account": account}
    nodes = api.request("GET", "/api/v1/nodes").get("items", [])
    wanted = record.nodes if record.flavour is Flavour.KWOK else 1
    checks[f"{wanted} node(s) ready"] = sum(is_ready(node, since) for node in nodes) >= wanted
    if record.gpus and wanted:
        checks[f"{record.gpus} GPU(s) a node"] = bool(nodes) and all(gpus_of(node) == record.gpus for node in nodes)
    return checks


def _exists(api: Api, path: str) -> bool:
    try:
        api.request("GET", path)
    except ClusterError:
        return False
    return True


def is_ready(node: Document, since: float = 0.0) -> bool:
    """Tell whether a node says it is ready, and has said so after a moment: before a restart it may have said so too."""
    for condition in node.get("status", {}).get("conditions", []):
        if condition["type"] == "Ready" and condition["status"] == "True":
            heartbeat = condition.get("lastHeartbeatTime")
            return since == 0.0 or (heartbeat is not None and datetime.fromisoformat(heartbeat).timestamp() >= int(since))
    return False


def gpus_of(node: Document) -> int:
    """Give how many GPUs may be allocated on a node."""
    return int(node.get("status", {}).get("allocatable", {}).get(RESOURCE, "0"))
