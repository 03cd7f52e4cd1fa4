"""A cluster by kind, in a Docker or Podman engine: for laptops, where our own flavours would need root."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from . import configs
from .choose import engine
from .console import say, step
from .existing import look
from .gpus import RESOURCE
from .health import Health
from .layout import Home, lock, state_root
from .record import Record
from .shell import run


class Kind:
    """The kind flavour."""

    def up(self, home: Home, wish: Record) -> None:
        """Create the cluster unless it is there; give its nodes GPUs."""
        with lock(state_root() / f".{home.name}.lock", busy=f"another command is at work on cluster '{home.name}'"):
            wish.save(home)
            if home.name not in self._run("get", "clusters").split():
                with step(f"Creating kind cluster '{home.name}'", "a minute or two"):
                    config = json.dumps(configs.kind(wish.nodes))
                    self._run("create", "cluster", "--name", home.name, "--wait", "180s", "--config", "-", stdin=config)
            self._run("export", "kubeconfig", "--name", home.name, "--kubeconfig", str(home.kubeconfig))
            self._add_gpus(home, wish.gpus)
        say(f"Cluster '{home.name}' is ready: export KUBECONFIG={home.kubeconfig}")

    def down(self, home: Home, *, keep_data: bool) -> None:  # noqa: ARG002
        """Delete the cluster; kind can't keep its data."""
        self._run("delete", "cluster", "--name", home.name)
        shutil.rmtree(home.root, ignore_errors=True)
        say(f"Cluster '{home.name}' is down")

    def status(self, home: Home) -> Health:
        """Ask it for its nodes."""
        return look(home)

    def load(self, home: Home, archive: Path) -> str:
        """Load the archive into every node."""
        self._run("load", "image-archive", str(archive), "--name", home.name)
        return f"loaded {archive.name}"

    def _run(self, *words: str, stdin: str | None = None) -> str:
        provider = {"KIND_EXPERIMENTAL_PROVIDER": "podman"} if engine() == "podman" else {}
        return run(["kind", *words], stdin=stdin, env={**os.environ, **provider}).stdout

    def _add_gpus(self, home: Home, count: int) -> None:
        """Put the resource on the nodes once; kind's kubelets don't restart while the cluster lives."""
        if not count:
            return
        kubectl = ["kubectl", "--kubeconfig", str(home.kubeconfig)]
        patch = json.dumps({"status": {"capacity": {RESOURCE: str(count)}, "allocatable": {RESOURCE: str(count)}}})
        for node in run([*kubectl, "get", "nodes", "-o", "name"]).stdout.split():
            run([*kubectl, "patch", node, "--subresource=status", "--type=merge", "-p", patch])
