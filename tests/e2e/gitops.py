"""The real Argo CD beside the cluster: repo-server, application-controller and Redis as processes, and a Git repository.

Its server and its user interface are not needed: an Application is an object, and its status tells health and sync.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from harness import ROOT, Failure, Object

sys.path.insert(0, str(ROOT / "hack"))

from localcluster import build, packages

NAMESPACE = "argocd"
HEALTH = ROOT / "helm" / "yolo-operator" / "files" / "argocd-health.lua"
MODULE = "github.com/argoproj/argo-cd/v3@" + build.PIECES["argo-cd"].version
PART = {"app.kubernetes.io/part-of": "argocd"}
REDIS = {"redis-server": "redis-server"}


@dataclass
class Repository:
    """A Git repository that Argo CD reads by its path."""

    path: Path

    @property
    def url(self) -> str:
        """As an Application names it."""
        return f"file://{self.path}"

    def commit(self, message: str, **files: list[Object] | None) -> str:
        """Write `NAME.yaml` for each keyword (None removes it) and commit; the commit's id."""
        for name, objects in files.items():
            target = self.path / f"{name}.yaml"
            if objects is None:
                target.unlink()
            else:
                target.write_text(yaml.safe_dump_all(objects, sort_keys=False))
        self._git("add", "--all")
        self._git("-c", "user.name=someone", "-c", "user.email=someone@example.com", "commit", "--quiet", "--message", message)
        return self._git("rev-parse", "HEAD").strip()

    def _git(self, *words: str) -> str:
        return subprocess.run(["git", *words], cwd=self.path, check=True, capture_output=True, text=True).stdout

    @classmethod
    def fresh(cls, path: Path) -> Repository:
        """An empty one."""
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        repository = cls(path)
        repository._git("init", "--quiet", "--initial-branch", "main")
        return repository


@dataclass
class ArgoCd:
    """A running Argo CD."""

    server: str

    def application(self, name: str, repository: Repository, destination: str) -> None:
        """An Application that follows the repository by itself, and takes away what is taken out."""
        kubectl(
            {
                "apiVersion": "argoproj.io/v1alpha1",
                "kind": "Application",
                "metadata": {"name": name, "namespace": NAMESPACE},
                "spec": {
                    "project": "default",
                    "source": {"repoURL": repository.url, "targetRevision": "main", "path": "."},
                    "destination": {"server": self.server, "namespace": destination},
                    "syncPolicy": {"automated": {"prune": True, "selfHeal": True}},
                },
            }
        )

    def read(self, name: str) -> Object:
        """The Application."""
        found: Object = json.loads(_kubectl("get", "application", name, "--namespace", NAMESPACE, "--output", "json"))
        return found

    def refresh(self, name: str) -> None:
        """Look at Git now."""
        _kubectl("annotate", "application", name, "--namespace", NAMESPACE, "--overwrite", "argocd.argoproj.io/refresh=normal")

    def remove(self, name: str) -> None:
        """Delete the Application alone."""
        _kubectl("delete", "application", name, "--namespace", NAMESPACE, "--ignore-not-found")


@contextmanager
def argo_cd(out: Path) -> Iterator[ArgoCd]:
    """Install the objects, start the processes; both are gone afterwards."""
    packages.ensure(REDIS)
    program = build.ensure(["argo-cd"])["argo-cd"]
    kubeconfig = Path(os.environ["KUBECONFIG"])
    server = _install(kubeconfig)
    redis, repo = _free_port(), _free_port()
    environment = {
        **os.environ, "ARGOCD_GPG_ENABLED": "false", "ARGOCD_RECONCILIATION_TIMEOUT": "10s", "HOME": str(out),
        "ARGOCD_GNUPGHOME": str(out / "gpg"), "TMPDIR": str(out / "tmp"),
    }  # fmt: skip
    (out / "tmp").mkdir(parents=True, exist_ok=True)
    quiet = ["--loglevel", "warn"]
    where = ["--kubeconfig", str(kubeconfig), "--namespace", NAMESPACE, "--redis", f"localhost:{redis}"]
    commands = {
        "redis": [str(packages.need("redis-server")), "--port", str(redis), "--save", "", "--bind", "127.0.0.1"],
        "repo-server": [
            str(program / "argocd-repo-server"), "--redis", f"localhost:{redis}", "--disable-tls", "--port", str(repo),
            "--metrics-port", str(_free_port()), *quiet,
        ],
        "application-controller": [
            str(program / "argocd-application-controller"), *where, "--repo-server", f"localhost:{repo}",
            "--repo-server-plaintext", "--app-resync", "10", "--persist-resource-health",
            "--metrics-port", str(_free_port()), *quiet,
        ],
    }  # fmt: skip
    running = []
    try:
        for name, words in commands.items():
            log = (out / f"{name}.log").open("w")
            running.append(subprocess.Popen(words, env=environment, stdout=log, stderr=subprocess.STDOUT))
        time.sleep(2)
        ended = [name for name, process in zip(commands, running, strict=True) if process.poll() is not None]
        if ended:
            raise Failure(f"Argo CD: {', '.join(ended)} ended at once: see {out}")
        yield ArgoCd(server)
    finally:
        for process in reversed(running):
            process.terminate()
        for process in running:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
        _kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=false")


def _install(kubeconfig: Path) -> str:
    """CRDs, configuration with our health rules, the project and the cluster; the cluster's address."""
    _kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait")
    told = subprocess.run(
        ["go", "mod", "download", "-json", MODULE], check=True, capture_output=True, text=True, cwd=ROOT / "hack"
    )
    crds = Path(json.loads(told.stdout)["Dir"]) / "manifests" / "crds"
    for name in ("application-crd.yaml", "applicationset-crd.yaml", "appproject-crd.yaml"):
        _kubectl("apply", "--server-side", "--force-conflicts", "-f", str(crds / name))
    config = yaml.safe_load(kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    tls = {
        "caData": cluster["certificate-authority-data"],
        "certData": user["client-certificate-data"],
        "keyData": user["client-key-data"],
    }
    kubectl({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    health = {"resource.customizations.health.yolo-operator.dev_YoloExperiment": HEALTH.read_text()}
    for name, data in (("argocd-cm", health), ("argocd-cmd-params-cm", {}), ("argocd-rbac-cm", {})):
        kubectl(_object("ConfigMap", name, PART, data=data))
    kubectl(_object("Secret", "argocd-secret", PART, stringData={"server.secretkey": secrets.token_urlsafe(32)}))
    label = {"argocd.argoproj.io/secret-type": "cluster", **PART}
    named = {"name": "local", "server": cluster["server"], "config": json.dumps({"tlsClientConfig": tls})}
    kubectl(_object("Secret", "cluster-local", label, stringData=named))
    project = {
        "sourceRepos": ["*"],
        "destinations": [{"namespace": "*", "server": "*"}],
        "clusterResourceWhitelist": [{"group": "*", "kind": "*"}],
    }
    kubectl(
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "AppProject",
            "metadata": {"name": "default", "namespace": NAMESPACE},
            "spec": project,
        }
    )
    server: str = cluster["server"]
    return server


def _object(kind: str, name: str, labels: dict[str, str], **fields: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
        **fields,
    }


def kubectl(manifest: Object) -> None:
    """Apply an object."""
    _kubectl("apply", "-f", "-", stdin=json.dumps(manifest))


def _kubectl(*words: str, stdin: str | None = None) -> str:
    done = subprocess.run(["kubectl", *words], input=stdin, capture_output=True, text=True, timeout=180, check=False)
    if done.returncode:
        raise Failure(f"kubectl {' '.join(words[:3])}: {done.stderr.strip()}")
    return done.stdout


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
