"""Which kind of cluster to run: the decision, and the facts it rests on."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from enum import StrEnum

from .console import ClusterError


class Flavour(StrEnum):
    """The kinds of cluster this tool knows."""

    KUBECONFIG = "kubeconfig"  # one that exists already; we own nothing of it
    KIND = "kind"  # needs a Docker or Podman engine
    EMBEDDED = "embedded"  # a whole node in namespaces of its own; needs Linux and root
    KWOK = "kwok"  # a control plane and simulated nodes; needs Linux and root


@dataclass(frozen=True)
class Facts:
    """What the machine offers."""

    context: str | None
    engine: str | None
    kind: bool
    linux: bool
    root: bool


def choose(requested: str, facts: Facts) -> Flavour:
    """Choose the flavour: what was asked for, if it can run here; else the first of kubeconfig, kind, embedded.

    An existing cluster is used only when its context was named: nobody's production cluster is a test cluster by accident.
    """
    if requested == "auto":
        if facts.context:
            return Flavour.KUBECONFIG
        return Flavour.KIND if facts.engine and facts.kind else _need_root(Flavour.EMBEDDED, facts)
    flavour = Flavour(requested)
    if flavour is Flavour.KUBECONFIG and not facts.context:
        raise ClusterError("the kubeconfig flavour needs --context NAME (or YOLO_KUBECONTEXT)")
    if flavour is Flavour.KIND and not (facts.engine and facts.kind):
        lacks = "no Docker or Podman engine answers" if not facts.engine else "`kind` is not installed"
        raise ClusterError(f"the kind flavour can't run here: {lacks}")
    return flavour if flavour in (Flavour.KUBECONFIG, Flavour.KIND) else _need_root(flavour, facts)


def _need_root(flavour: Flavour, facts: Facts) -> Flavour:
    if not facts.linux or not facts.root:
        raise ClusterError(f"the {flavour.value} flavour needs Linux and root; without them: kind, or --context")
    return flavour


def observe(context: str | None) -> Facts:
    """Look at the machine."""
    return Facts(
        context=context or os.environ.get("YOLO_KUBECONTEXT") or None,
        engine=engine(),
        kind=shutil.which("kind") is not None,
        linux=platform.system() == "Linux",
        root=os.geteuid() == 0,
    )


def engine() -> str | None:
    """Give the container engine that really answers. A `docker` command alone proves nothing: it may be only a client."""
    for name in ("docker", "podman"):
        if shutil.which(name):
            try:
                answer = subprocess.run(
                    [name, "info", "--format", "{{json .}}"], capture_output=True, text=True, timeout=10, check=False
                )
            except (subprocess.TimeoutExpired, OSError):
                continue
            if answer.returncode == 0 and answer.stdout.startswith("{") and '"ServerVersion":""' not in answer.stdout:
                return name
    return None
