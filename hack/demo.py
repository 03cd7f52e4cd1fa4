#!/usr/bin/env python3
"""`make demo`: a whole experiment on this machine, CPU only, from an empty cluster to an exported model.

Every step can be repeated and reuses what is there; Ctrl-C leaves the cluster and the experiment running. What the tables
and build/demo/summary.json say is read from the cluster.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "demo"
CHART = ROOT / "helm" / "yolo-operator"
DATASET = ROOT / "examples" / "license-plate-dataset.yaml"
EXPERIMENT = ROOT / "examples" / "license-plate-cpu.yaml"
SYSTEM_NAMESPACE = "yolo-system"
IMAGE = "yolo-operator/operator"
TAG = "dev"
DATASET_SECONDS = 900
PICTURES = 8

Object = dict[str, Any]


class DemoError(Exception):
    """A step did not work; the text says what, and what to look at."""


def main() -> int:
    """Run the demo; 0 when the experiment is complete."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", default=os.environ.get("YOLO_CLUSTER", "yolo"), help="the local cluster (default: yolo)")
    parser.add_argument("--experiment", type=Path, default=EXPERIMENT, help="another experiment on the same dataset")
    arguments = parser.parse_args()
    try:
        run_demo(arguments.name, arguments.experiment)
    except DemoError as error:
        print(f"\n\033[1;31m{error}\033[0m", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped looking; the cluster goes on. `make demo` takes it up again, `make down` removes it.")
        return 130
    return 0


def run_demo(cluster: str, experiment: Path) -> None:
    """All steps in order."""
    with step(f"Cluster {cluster}"):
        call("hack/cluster", "up", "--name", cluster, hint=f"hack/cluster status --name {cluster}")
        enter(cluster)
    with step("Images"):
        call("hack/images", "build", "all", "--load", cluster, hint="the build's output above")
    with step("Chart"):
        install()
    with step("Dataset"):
        apply(DATASET)
        wait_for_jobs(DATASET)
    with step("Experiment"):
        apply(experiment)
        name = one_name(experiment, "YoloExperiment")
        watch(name)
    report(name)
    fetch(name)
    print("\nEverything is still there. To go on by hand:")
    print(f"  export KUBECONFIG={os.environ['KUBECONFIG']} PATH={':'.join(os.environ['PATH'].split(os.pathsep)[:2])}:$PATH")
    print(f"  kubectl yolo status {name}")
    print("Edit the example's prune.thresholds and run `make demo` again: only pruning and what follows runs anew.")


def enter(cluster: str) -> None:
    """From here on kubectl, helm and kubectl-yolo are the project's own and speak to this cluster."""
    programs = capture("hack/cluster", "bin").strip()
    os.environ["KUBECONFIG"] = capture("hack/cluster", "kubeconfig", "--name", cluster).strip()
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), programs, os.environ["PATH"]])
    # The cluster's own kubeconfig has the right context already.
    os.environ.pop("YOLO_KUBECONTEXT", None)


def install() -> None:
    """The chart with the images built just now. The tag never changes, so a rebuilt image needs a new pod."""
    look = f"kubectl -n {SYSTEM_NAMESPACE} describe pods; kubectl -n {SYSTEM_NAMESPACE} logs deployment/yolo-operator"
    call(
        "helm", "upgrade", "--install", "yolo-operator", str(CHART), "--namespace", SYSTEM_NAMESPACE, "--create-namespace",
        "--set", f"image.repository={IMAGE}", "--set", f"image.tag={TAG}", "--force-conflicts", "--hide-notes",
        hint="helm's message above",
    )  # fmt: skip
    rollout = ("kubectl", "-n", SYSTEM_NAMESPACE, "rollout")
    call(*rollout, "restart", "deployment/yolo-operator", hint=look, quiet=True)
    call(*rollout, "status", "deployment/yolo-operator", "--timeout=180s", hint=look)


def apply(manifest: Path) -> None:
    """The example as it is in the repository."""
    call("kubectl", "apply", "-f", str(manifest), hint=f"kubectl delete -f {manifest.relative_to(ROOT)}, then again")


def wait_for_jobs(manifest: Path) -> None:
    """Until the manifest's Jobs are complete."""
    started = time.monotonic()
    for name in names(manifest, "Job"):
        look = f"kubectl describe job/{name}; kubectl logs job/{name}"
        while True:
            conditions = get("job", name).get("status", {}).get("conditions", [])
            true = {condition["type"]: condition.get("message", "") for condition in conditions if condition["status"] == "True"}
            if "Complete" in true:
                print(f"job/{name} is complete")
                break
            if "Failed" in true:
                raise DemoError(f"The dataset's Job {name} failed: {true['Failed']}\nLook at: {look}")
            if time.monotonic() - started > DATASET_SECONDS:
                raise DemoError(f"The dataset's Job {name} is not complete after {DATASET_SECONDS} s\nLook at: {look}")
            time.sleep(2)


def watch(name: str) -> None:
    """Live, until the experiment ends."""
    code = subprocess.run(["kubectl-yolo", "watch", name], check=False).returncode
    if code == 130:
        raise KeyboardInterrupt
    if code:
        keep_summary(name)
        raise DemoError(
            f"The experiment {name} did not complete: the red lines above say why\n"
            f"Look at: kubectl yolo status {name}; kubectl describe yoloexperiment {name}; "
            f"kubectl logs -l yolo-operator.dev/experiment={name} --tail=50\n"
            f"Start over: kubectl delete yoloexperiment {name}, then `make demo`"
        )


def report(name: str) -> None:
    """The final tables, and the same as JSON."""
    keep_summary(name)
    print(flush=True)
    call("kubectl-yolo", "summary", name, hint=f"kubectl yolo summary {name}")


def keep_summary(name: str) -> None:
    """build/demo/summary.json."""
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "summary.json").write_text(capture("kubectl-yolo", "summary", name, "-o", "json"))


# --- files out of the workspace ---


def fetch(name: str) -> None:
    """Annotated pictures with their pseudo-labels, and the exported model, to build/demo."""
    experiment = get("yoloexperiment", name)
    status = experiment["status"]
    homes = {stage["name"]: stage_home(stage) for stage in status.get("stages", []) if stage.get("artifacts")}
    claim = status.get("claimName") or experiment["spec"]["workspace"].get("claimName")
    if claim is None or not {"inference", "export"} & homes.keys():
        return
    print(f"\n\033[1mIn the workspace\033[0m (claim {claim}, directory {experiment['spec']['workspace'].get('subPath', '/')})")
    with reader(claim, experiment) as pod:
        if home := homes.get("inference"):
            print(f"  pictures and pseudo-labels: {home}")
            pictures = find(pod, home, "jpg", "jpeg", "png")[:PICTURES]
            stems = {Path(picture).stem for picture in pictures}
            labels = [label for label in find(pod, home, "txt") if Path(label).stem in stems and "labels" in Path(label).parts]
            copy(pod, pictures, OUT / "pictures")
            copy(pod, labels, OUT / "labels")
        if home := homes.get("export"):
            print(f"  exported model:             {home}")
            exported = [artifact for stage in status["stages"] if stage["name"] == "export" for artifact in stage["artifacts"]]
            copy(pod, [artifact["path"] for artifact in exported], OUT / "model")


def stage_home(stage: Object) -> str:
    """A stage's own directory in the workspace: the first two parts of its artifacts' paths (stages/NAME-DIGEST)."""
    return "/".join(Path(stage["artifacts"][0]["path"]).parts[:2])


@contextmanager
def reader(claim: str, experiment: Object) -> Iterator[str]:
    """A pod that lives a few minutes and sees the workspace read-only, as the user that the stages run as."""
    name = f"{experiment['metadata']['name']}-reader"
    user = (experiment["spec"].get("securityContext") or {}).get("runAsUser", 65532)
    container = {
        "name": "reader",
        "image": f"{IMAGE}:{TAG}",
        "command": ["sleep", "600"],
        "workingDir": "/workspace",
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [
            {
                "name": "workspace",
                "mountPath": "/workspace",
                "readOnly": True,
                "subPath": experiment["spec"]["workspace"].get("subPath", ""),
            }
        ],
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/part-of": "yolo-operator-demo"}},
        "spec": {
            "containers": [container],
            "volumes": [{"name": "workspace", "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}],
            "securityContext": {"runAsUser": user, "runAsNonRoot": user != 0, "seccompProfile": {"type": "RuntimeDefault"}},
            "restartPolicy": "Never",
            "activeDeadlineSeconds": 600,
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
        },
    }
    look = f"kubectl describe pod/{name}"
    remove = ("kubectl", "delete", "pod", name, "--ignore-not-found", "--wait=true")
    call(*remove, hint=look, quiet=True)
    try:
        call("kubectl", "apply", "-f", "-", hint=look, quiet=True, stdin=json.dumps(pod))
        call("kubectl", "wait", "--for=condition=Ready", f"pod/{name}", "--timeout=90s", hint=look, quiet=True)
        yield name
    finally:
        call(*remove, hint=look, quiet=True)


def find(pod: str, directory: str, *suffixes: str) -> list[str]:
    """Paths of the files under a directory of the workspace that end so, in order."""
    listed = capture("kubectl", "exec", pod, "--", "find", directory, "-type", "f")
    return sorted(path for path in listed.splitlines() if Path(path).suffix.lstrip(".").lower() in suffixes)


def copy(pod: str, paths: list[str], target: Path) -> None:
    """Copy files out of the workspace, into one flat folder that holds nothing else afterwards."""
    if not paths:
        return
    answer = subprocess.run(["kubectl", "exec", pod, "--", "tar", "-cf", "-", *paths], capture_output=True, check=False)
    if answer.returncode:
        raise DemoError(f"Could not copy files out of the workspace: {answer.stderr.decode().strip()}")
    target.mkdir(parents=True, exist_ok=True)
    for old in target.iterdir():
        old.unlink()
    with tarfile.open(fileobj=io.BytesIO(answer.stdout)) as archive:
        members = [member for member in archive.getmembers() if member.isfile()]
        for member in members:
            content = archive.extractfile(member)
            if content is not None:
                (target / Path(member.name).name).write_bytes(content.read())
    print(f"    {len(members)} copied to {target.relative_to(ROOT)}/")


# --- commands ---


@contextmanager
def step(title: str) -> Iterator[None]:
    """A heading, and how long it took."""
    print(f"\n\033[1m== {title}\033[0m", flush=True)
    started = time.monotonic()
    yield
    print(f"\033[2m{title}: {time.monotonic() - started:.0f} s\033[0m", flush=True)


def call(*command: str, hint: str, quiet: bool = False, stdin: str | None = None) -> None:
    """Run a command; its output is shown, or only when it fails.

    Raises:
        DemoError: with the command and where to look.
    """
    answer = subprocess.run(command, cwd=ROOT, check=False, text=True, input=stdin, capture_output=quiet)
    if answer.returncode:
        said = f"\n{(answer.stdout + answer.stderr).strip()}" if quiet else ""
        raise DemoError(f"Failed: {' '.join(command)}{said}\nLook at: {hint}")


def capture(*command: str) -> str:
    """A command's standard output.

    Raises:
        DemoError: with what the command said.
    """
    answer = subprocess.run(command, cwd=ROOT, check=False, text=True, capture_output=True)
    if answer.returncode:
        raise DemoError(f"Failed: {' '.join(command)}\n{answer.stderr.strip()}")
    return answer.stdout


def get(kind: str, name: str) -> Object:
    """One object of the context's namespace."""
    found: Object = json.loads(capture("kubectl", "get", kind, name, "-o", "json"))
    return found


def names(manifest: Path, kind: str) -> list[str]:
    """Names of the manifest's objects of a kind."""
    listed = json.loads(capture("kubectl", "get", "-f", str(manifest), "-o", "json"))
    return [item["metadata"]["name"] for item in listed.get("items", [listed]) if item["kind"] == kind]


def one_name(manifest: Path, kind: str) -> str:
    """The name of the manifest's one object of a kind."""
    found = names(manifest, kind)
    if len(found) != 1:
        raise DemoError(f"{manifest.name} should hold one {kind}, it holds {len(found)}")
    return found[0]


if __name__ == "__main__":
    sys.exit(main())
