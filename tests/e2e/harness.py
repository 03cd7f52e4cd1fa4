"""What every scenario uses: kubectl, a namespace, a small dataset, an experiment, waiting.

Scenarios are programs against whatever cluster the kubeconfig names; the operator is installed there already.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Object = dict[str, Any]

ROOT = Path(__file__).resolve().parents[2]
GENERATOR = ROOT / "examples" / "license-plate-dataset" / "generate.py"
OPERATOR_NAMESPACE = os.environ.get("NAMESPACE", "yolo-system")
TOOLKIT_IMAGE = "yolo-operator/open-toolkit:dev"
CLAIM = "data"


class Failure(Exception):  # noqa: N818 - a scenario's verdict
    """Something is not as the scenario demands."""


@dataclass
class Scenario:
    """A run of one scenario: its namespace and what it finds out."""

    name: str
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        """A namespace of its own."""
        return f"e2e-{self.name}"

    def check(self, holds: bool, what: str) -> None:
        """Demand something.

        Raises:
            Failure: when it does not hold.
        """
        print(f"  {'ok  ' if holds else 'FAIL'}  {what}", flush=True)
        if not holds:
            raise Failure(what)

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True, timeout: float = 120) -> str:
        """Standard output of kubectl in the scenario's namespace.

        Raises:
            Failure: with what kubectl said, unless `check` is false: then that is the answer.
        """
        done = subprocess.run(
            ["kubectl", "--namespace", self.namespace, *arguments],
            input=stdin, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
        if done.returncode and check:
            raise Failure(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout if not done.returncode else done.stderr

    def get(self, kind: str, name: str = "", selector: str = "") -> Object:
        """An object or a list."""
        arguments = ["get", kind, *([name] if name else []), *(["-l", selector] if selector else []), "-o", "json"]
        answer: Object = json.loads(self.kubectl(*arguments))
        return answer

    def stage_jobs(self) -> set[str]:
        """Names of the Jobs that stages have here."""
        jobs = self.get("jobs", selector="app.kubernetes.io/managed-by=yolo-operator,app.kubernetes.io/component=stage")["items"]
        return {job["metadata"]["name"] for job in jobs}

    def is_told(self, name: str, words: str, *, seconds: float = 30) -> bool:
        """Whether an Event on an experiment has these words: at once, or soon, as Events are written when nothing presses."""
        end = time.monotonic() + seconds
        while True:
            events = [event for event in self.get("events")["items"] if event["involvedObject"]["name"] == name]
            told = any(words in event["reason"] + event["message"] for event in events)
            if told or time.monotonic() > end:
                return told
            time.sleep(1)

    def apply(self, *objects: Object) -> None:
        """Apply objects."""
        self.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))

    def fresh_namespace(self, pod_security: str = "restricted") -> None:
        """Make the namespace, or empty it of an earlier run. Pod Security is enforced there: TAO's stages need `baseline`."""
        subprocess.run(
            ["kubectl", "delete", "namespace", self.namespace, "--ignore-not-found", "--wait"], check=True, timeout=300
        )
        subprocess.run(["kubectl", "create", "namespace", self.namespace], check=True, timeout=60, stdout=subprocess.DEVNULL)
        self.kubectl("label", "namespace", self.namespace, f"pod-security.kubernetes.io/enforce={pod_security}")

    def make_dataset(self, *, train: int = 120, validation: int = 30, test: int = 6, size: str = "160x120") -> None:
        """A claim with a small dataset in Darknet format, drawn by the example's generator."""
        arguments = ["--output", "/data/dataset", "--size", size, "--seed", "7"]
        arguments += ["--train", str(train), "--validation", str(validation), "--test", str(test)]
        self.apply(
            claim(CLAIM),
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "generator"},
                "data": {"generate.py": GENERATOR.read_text()},
            },
            job(
                "dataset",
                ["python3", "/generator/generate.py", *arguments],
                volumes={"generator": {"configMap": {"name": "generator"}}},
            ),
        )
        self.kubectl("wait", "--for=condition=Complete", "job/dataset", "--timeout=240s", timeout=250)

    def in_workspace(self, script: str) -> str:
        """Output of a Python script that runs in a pod with the claim at /data."""
        name = f"look-{time.time_ns() % 10**9}"
        self.apply(job(name, ["python3", "-c", script]))
        self.kubectl("wait", "--for=condition=Complete", f"job/{name}", "--timeout=120s", timeout=130)
        return self.kubectl("logs", f"job/{name}")

    def wait(
        self, name: str, until: Callable[[Object], bool], *, seconds: float, tick: Callable[[Object], None] | None = None
    ) -> Object:
        """The experiment as soon as `until` holds.

        Raises:
            Failure: when it does not hold in time; with the status' message.
        """
        end, said = time.monotonic() + seconds, ""
        while time.monotonic() < end:
            experiment = self.get("yexp", name)
            status = experiment.get("status", {})
            line = f"{status.get('phase')} {status.get('stage') or ''} {status.get('progress') or ''}"
            if line != said:
                print(f"  [{time.strftime('%H:%M:%S')}] {line}", flush=True)
                said = line
            if until(experiment):
                return experiment
            if tick is not None:
                tick(experiment)
            time.sleep(1)
        raise Failure(f"{name} is not there after {seconds:g} s: {status.get('phase')}: {status.get('message')}")


def ended(experiment: Object) -> bool:
    """Whether it is Complete or Failed, for its present generation."""
    return (condition(experiment, "Complete") or condition(experiment, "Failed")) and experiment["status"][
        "observedGeneration"
    ] == experiment["metadata"]["generation"]


def condition(experiment: Object, kind: str) -> bool:
    """Whether a condition is true."""
    return any(c["type"] == kind and c["status"] == "True" for c in experiment.get("status", {}).get("conditions", []))


def stages(experiment: Object) -> dict[str, Object]:
    """The stages by name, or `name variant`."""
    return {f"{s['name']} {s.get('variant', '')}".strip(): s for s in experiment.get("status", {}).get("stages", [])}


def claim(name: str) -> Object:
    """A claim that pods can share."""
    spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "2Gi"}}}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def job(name: str, command: list[str], volumes: dict[str, Object] | None = None) -> Object:
    """A Job of ours with the claim at /data and further volumes at /NAME."""
    every = {"data": {"persistentVolumeClaim": {"claimName": CLAIM}}, **(volumes or {})}
    container = {
        "name": "main",
        "image": TOOLKIT_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": command,
        "env": [{"name": "HOME", "value": "/tmp"}],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": volume, "mountPath": f"/{volume}"} for volume in every],
    }
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": volume, **source} for volume, source in every.items()],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"backoffLimit": 0, "template": {"spec": pod}},
    }


_CORNERS = {"0": "top_left", "1": "top_right", "2": "bottom_right", "3": "bottom_left", "4": "license_plate"}
_PAIRS = [{"left": "top_left", "right": "top_right"}, {"left": "bottom_left", "right": "bottom_right"}]
_SMALL: Object = {
    "toolkit": {"profile": "open", "image": TOOLKIT_IMAGE},
    "workspace": {"claimName": CLAIM, "subPath": "experiments/small"},
    "dataset": {
        "format": "darknet",
        "claimName": CLAIM,
        "subPath": "dataset",
        "train": {"images": "train/images", "labels": "train/labels"},
        "validation": {"images": "valid/images", "labels": "valid/labels"},
        "unlabelled": {"images": "test"},
        "classes": _CORNERS,
    },
    "anchors": {"auto": {"count": 9}},
    "experimentSpec": {
        "randomSeed": 42,
        "yolov4Config": {"arch": "resnet", "nlayers": 18, "lossLocWeight": 5.0, "lossNegObjWeights": 50.0},
        "trainingConfig": {
            "batchSizePerGpu": 8,
            "numEpochs": 8,
            "checkpointInterval": 4,
            "modelEma": False,
            "learningRate": {
                "softStartCosineAnnealingSchedule": {"maxLearningRate": 5e-3, "minLearningRate": 1e-5, "softStart": 0.1}
            },
            "regularizer": {"type": "L1", "weight": 3e-4},
            "optimizer": {"adam": {}},
        },
        "evalConfig": {"averagePrecisionMode": "INTEGRATE", "batchSize": 8},
        "augmentationConfig": {"outputWidth": 160, "outputHeight": 160, "mosaicProb": 0.2},
        "openConfig": {"widthMultiplier": 0.25, "flipPairs": _PAIRS},
    },
    "prune": {"thresholds": [0.1, 0.7], "select": {"maxMapDrop": 1.0, "maxParameterRatio": 1.0}},
    "retrain": {
        "enableQat": True,
        "numEpochs": 3,
        "checkpointInterval": 1,
        "regularizer": {"type": "NO_REG"},
        "learningRate": {
            "softStartCosineAnnealingSchedule": {"maxLearningRate": 2e-3, "minLearningRate": 1e-5, "softStart": 0.1}
        },
    },
    "export": {"format": "onnx", "dataType": "int8"},
    "inference": {"threshold": 0.3},
    # The local node has two GPUs to give away, so that variants run two at a time, as they would on a GPU node.
    "resources": {"gpus": 1},
}


def small_experiment(name: str = "small") -> Object:
    """An experiment of a few minutes through every stage; a copy to be changed."""
    spec = copy.deepcopy(_SMALL)
    spec["workspace"]["subPath"] = f"experiments/{name}"
    return {"apiVersion": "yolo-operator.dev/v1alpha1", "kind": "YoloExperiment", "metadata": {"name": name}, "spec": spec}


def kill_operator() -> bool:
    """SIGKILL to the operator's process, by its container's id; whether it was found on this machine.

    Its pod is then replaced, so that the kubelet's back-off for crashing containers does not stretch the scenario.
    """
    selector = "app.kubernetes.io/name=yolo-operator"
    base = ["kubectl", "--namespace", OPERATOR_NAMESPACE]
    pods = json.loads(
        subprocess.run([*base, "get", "pods", "-l", selector, "-o", "json"], check=True, capture_output=True).stdout
    )
    found = False
    for pod in pods["items"]:
        for status in pod["status"].get("containerStatuses", []):
            for process in processes_of(status.get("containerID", "").rpartition("/")[2]):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
                    found = True
        delete = [*base, "delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force", "--wait=false"]
        subprocess.run(delete, check=True, capture_output=True)
    return found


def processes_of(container: str) -> Iterator[int]:
    if not container:
        return
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        with contextlib.suppress(OSError):
            if container in (entry / "cgroup").read_text():
                yield int(entry.name)
