"""A cluster that exists already, named by its kubeconfig context: we only look at it and write its kubeconfig down."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from . import packages
from .console import ClusterError, say
from .health import Health, gpus_of, is_ready
from .layout import Home, write_atomically
from .record import Record
from .shell import run


class Existing:
    """The kubeconfig flavour."""

    def up(self, home: Home, wish: Record) -> None:
        """Write the context's own kubeconfig and see that it answers."""
        view = ["kubectl", "config", "view", "--minify", "--flatten", "--context", wish.context, "-o", "json"]
        packages.need("kubectl")
        write_atomically(home.kubeconfig, run(view).stdout)
        wish.save(home)
        health = self.status(home)
        if not health.healthy:
            raise ClusterError(f"context '{wish.context}': {health.trouble()}")
        say(f"Using context '{wish.context}': export KUBECONFIG={home.kubeconfig}")

    def down(self, home: Home, *, keep_data: bool) -> None:  # noqa: ARG002
        """Forget the cluster; nothing in it is ours."""
        shutil.rmtree(home.root, ignore_errors=True)
        say(f"Forgot '{home.name}'; the cluster itself was left alone")

    def status(self, home: Home) -> Health:
        """Ask it for its nodes."""
        return look(home)

    def load(self, home: Home, archive: Path) -> str:
        """There is no way into an unknown cluster's nodes."""
        raise ClusterError(f"push {archive.name} to a registry that cluster '{home.name}' pulls from")


def look(home: Home) -> Health:
    """Look at any cluster through kubectl and its kubeconfig."""
    kubectl = ["kubectl", "--kubeconfig", str(home.kubeconfig), "--request-timeout=10s"]
    answer = run([*kubectl, "get", "nodes", "-o", "json"], check=False, timeout=30)
    nodes = json.loads(answer.stdout)["items"] if answer.returncode == 0 else []
    checks = {"API server": answer.returncode == 0, "a node ready": any(is_ready(node) for node in nodes)}
    record = Record.load(home)
    if record.gpus:
        checks["GPUs (nvidia.com/gpu)"] = any(gpus_of(node) for node in nodes)
    server = run([*kubectl, "config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}"], check=False).stdout
    return Health(home.name, record.flavour.value, server, str(home.kubeconfig), checks)
