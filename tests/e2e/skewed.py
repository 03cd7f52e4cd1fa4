"""Containers whose clock can be set, by libfaketime: what a node whose clock jumps does to what runs on it, and nothing else.

The nodes of a local cluster share the machine's clock, which belongs to others, too. The clock that a container's processes see
is in a file that libfaketime reads each second; it is written from outside.
"""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from harness import OPERATOR_NAMESPACE, ROOT, Failure, Object, Scenario, processes_of

_FOLDER, _FILE = "/clock", "/dev/shm/clock"
_LIBRARY = "libfaketimeMT.so.1"
_ENVIRONMENT = {
    "LD_PRELOAD": f"{_FOLDER}/{_LIBRARY}",
    "FAKETIME_TIMESTAMP_FILE": _FILE,
    "FAKETIME_CACHE_DURATION": "1",
    # A clock that is set leaves the monotonic one alone.
    "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    "NO_FAKE_STAT": "1",
}
_VOLUME: Object = {"name": "clock", "configMap": {"name": "clock"}}
_MOUNT: Object = {"name": "clock", "mountPath": _FOLDER}
_POLICY = "skewed-clock"


def config_map(namespace: str) -> Object:
    """The library, as a ConfigMap: a volume of any other kind is nothing for a restricted namespace."""
    sys.path.append(str(ROOT / "hack"))
    from localcluster import packages

    packages.ensure(packages.FAKETIME)
    (library,) = Path("/usr/lib").glob(f"*/faketime/{_LIBRARY}")
    data = base64.b64encode(library.read_bytes()).decode()
    meta = {"name": "clock", "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "binaryData": {_LIBRARY: data}}


@contextlib.contextmanager
def stages_of(scenario: Scenario, experiment: str) -> Iterator[None]:
    """Every pod of an experiment's stages that is made meanwhile has a clock that can be set. The API server itself adds it."""
    environment = ", ".join(
        f"Object.spec.containers.env{{name: '{name}', value: '{value}'}}" for name, value in _ENVIRONMENT.items()
    )
    mount = f"Object.spec.containers.volumeMounts{{name: 'clock', mountPath: '{_FOLDER}'}}"
    volume = "Object.spec.volumes{name: 'clock', configMap: Object.spec.volumes.configMap{name: 'clock'}}"
    container = f"Object.spec.containers{{name: c.name, volumeMounts: [{mount}], env: [{environment}]}}"
    expression = f"Object{{spec: Object.spec{{volumes: [{volume}], containers: object.spec.containers.map(c, {container})}}}}"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": _POLICY},
        "spec": {
            "matchConstraints": {
                "resourceRules": [rule],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": scenario.namespace}},
                "objectSelector": {"matchLabels": {"yolo-operator.dev/experiment": experiment}},
            },
            "failurePolicy": "Fail",
            "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}],
        },
    }
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": _POLICY},
        "spec": {"policyName": _POLICY},
    }
    try:
        scenario.apply(config_map(scenario.namespace), policy, binding)
        yield
    finally:
        for kind in ("mutatingadmissionpolicybinding", "mutatingadmissionpolicy"):
            scenario.kubectl("delete", kind, _POLICY, "--ignore-not-found", check=False)


@contextlib.contextmanager
def operator() -> Iterator[None]:
    """The operator has a clock that can be set."""
    container = {"name": "operator", "env": [{"name": n, "value": v} for n, v in _ENVIRONMENT.items()], "volumeMounts": [_MOUNT]}
    patch = {"spec": {"template": {"spec": {"containers": [container], "volumes": [_VOLUME]}}}}
    _kubectl("apply", "-f", "-", stdin=json.dumps(config_map(OPERATOR_NAMESPACE)))
    try:
        _kubectl("patch", "deployment", "yolo-operator", "--type=strategic", "-p", json.dumps(patch))
        _kubectl("rollout", "status", "deployment/yolo-operator", "--timeout=3m")
        yield
    finally:
        _kubectl("rollout", "undo", "deployment/yolo-operator")
        _kubectl("rollout", "status", "deployment/yolo-operator", "--timeout=3m")
        _kubectl("delete", "configmap", "clock", "--ignore-not-found")


def operator_pod() -> Object:
    """Its pod.

    Raises:
        Failure: when there is not one.
    """
    found = json.loads(_kubectl("get", "pods", "-l", "app.kubernetes.io/name=yolo-operator", "-o", "json"))["items"]
    if len(found) != 1:
        raise Failure(f"{len(found)} pods of the operator")
    return dict(found[0])


def set_clock(pod: Object, seconds: float) -> None:
    """Set a container's clock to so much more than the true time; it is seen within two seconds.

    Raises:
        Failure: when none of its processes has the library.
    """
    (container,) = [status["containerID"].rpartition("/")[2] for status in pod["status"]["containerStatuses"]]
    for process in processes_of(container):
        with contextlib.suppress(OSError):
            root = Path(f"/proc/{process}/root")
            if _LIBRARY not in (root.parent / "maps").read_text():
                continue
            file = root / _FILE.removeprefix("/")
            file.with_name("clock-new").write_text(f"{seconds:+.0f}\n")
            file.with_name("clock-new").chmod(0o644)
            file.with_name("clock-new").rename(file)
            time.sleep(2)
            return
    raise Failure(f"no process of {pod['metadata']['name']} has a clock that can be set")


def clock_of(pod: Object) -> float:
    """Seconds that the clock in a pod's container is ahead of the true time, as a program of its image sees it."""
    meta = pod["metadata"]
    command = ["exec", "--namespace", meta["namespace"], meta["name"], "--", "python3", "-c", "import time; print(time.time())"]
    return (
        float(subprocess.run(["kubectl", *command], check=True, capture_output=True, text=True, timeout=60).stdout) - time.time()
    )


def _kubectl(*arguments: str, stdin: str | None = None) -> str:
    done = subprocess.run(
        ["kubectl", "--namespace", OPERATOR_NAMESPACE, *arguments],
        input=stdin, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    if done.returncode:
        raise Failure(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout
