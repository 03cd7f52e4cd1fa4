"""Argo Workflows' workflow-controller as a peer, on a control plane of its own. Its server and its executor are not needed."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

from yolobench.plane import CLUSTER, ROOT, Plane

MODULE = "github.com/argoproj/argo-workflows/v3@v3.7.2"
"""The version that hack/cluster builds."""
DONE = "workflows.argoproj.io/completed=true"


def program() -> Path:
    """The controller, built when it is missing."""
    subprocess.run([CLUSTER, "build", "argo-workflows"], check=True, capture_output=True, timeout=1800)
    found = subprocess.run([CLUSTER, "bin"], check=True, capture_output=True, text=True, timeout=1800)
    return Path(found.stdout.strip().splitlines()[-1]) / "workflow-controller"


def install(plane: Plane, namespace: str) -> None:
    """Its CRDs, from the module that the controller is built of, and its configuration."""
    told = subprocess.run(
        ["go", "mod", "download", "-json", MODULE], check=True, capture_output=True, text=True, cwd=ROOT / "hack", timeout=600
    )
    for path in sorted((Path(json.loads(told.stdout)["Dir"]) / "manifests/base/crds/minimal").glob("*.yaml")):
        documents = [d for d in yaml.safe_load_all(path.read_text()) if d and d.get("kind") == "CustomResourceDefinition"]
        for document in documents:
            plane.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(document))
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "workflow-controller-configmap", "namespace": namespace},
    }
    plane.kubectl("apply", "-f", "-", stdin=json.dumps(config))
    plane.kubectl("wait", "--for=condition=Established", "--timeout=60s", "crd", "workflows.argoproj.io")


def start(plane: Plane, namespace: str, log: Path, requeue: str) -> subprocess.Popen[bytes]:
    """Start the controller for one namespace."""
    environment = {"LEADER_ELECTION_DISABLE": "true", "TASK_RESULT_TIMEOUT_DURATION": "1ms", "ARGO_NAMESPACE": namespace}
    if requeue:
        environment["DEFAULT_REQUEUE_TIME"] = requeue
    flags = ["--kubeconfig", str(plane.kubeconfig), "--namespace", namespace, "--namespaced", "--managed-namespace", namespace]
    flags += ["--qps", "200", "--burst", "400", "--executor-image", "argoexec:none", "--loglevel", "warn"]
    return subprocess.Popen(
        [program(), *flags], env={**os.environ, **environment}, stdout=log.open("w"), stderr=subprocess.STDOUT
    )


def workflow(name: str, steps: int) -> dict[str, Any]:
    """Steps in a row, each one container."""
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": name},
        "spec": {
            "entrypoint": "chain",
            "templates": [
                {"name": "chain", "steps": [[{"name": f"step-{n}", "template": "step"}] for n in range(1, steps + 1)]},
                {"name": "step", "container": {"image": "step:1", "command": ["true"]}},
            ],
        },
    }


def completed(plane: Plane, namespace: str) -> int:
    """How many workflows are at their end."""
    return len(plane.kubectl("get", "workflows", "-n", namespace, "-l", DONE, "--no-headers", "-o", "name").split())


def steps_by_workflow(plane: Plane, namespace: str) -> dict[str, list[str]]:
    """The pods of each workflow in the order of their steps."""
    template = r"{range .items[*]}{.metadata.labels.workflows\.argoproj\.io/workflow} {.metadata.creationTimestamp} "
    template += r'{.metadata.annotations.workflows\.argoproj\.io/node-name} {.metadata.name}{"\n"}{end}'
    found: dict[str, list[tuple[int, str]]] = {}
    for line in plane.kubectl("get", "pods", "-n", namespace, "-o", f"jsonpath={template}").splitlines():
        flow, _, node, pod = line.split()
        # chain-00000[0].step-1 names the step by its index.
        found.setdefault(flow, []).append((int(node.partition("[")[2].partition("]")[0] or 0), pod))
    return {flow: [pod for _, pod in sorted(pods)] for flow, pods in found.items()}
