"""A real API server with a controller-manager and no nodes: what a kubelet would do, `Playground.play` does through the API.

`YOLO_TEST_KUBECONFIG` names a cluster to use instead of one of our own; the tests that take the CRD away are then left out.
"""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from job_simulator import JobSimulator
from kubernetes.aio import client as kube_client
from kubernetes.aio import config as kube_config
from memory_cluster import MemoryCluster
from playground import Playground
from yolo_operator.kube.client import KubernetesCluster
from yolo_operator.kube.cluster import Kind

OWN_CLUSTER = "YOLO_TEST_KUBECONFIG" not in os.environ
NAMESPACES = Kind("/api/v1", "namespaces")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs the cluster."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session")
def programs(root: Path) -> Path:
    """The folder of kubectl and helm."""
    found = subprocess.run([root / "hack/cluster", "bin"], check=True, capture_output=True, text=True, timeout=600)
    return Path(found.stdout.strip().splitlines()[-1])


@pytest.fixture(scope="session")
def own_cluster() -> bool:
    """Whether nobody else uses the cluster."""
    return OWN_CLUSTER


@pytest.fixture(scope="session")
def kubeconfig(root: Path) -> Iterator[Path]:
    """The admin's kubeconfig."""
    if not OWN_CLUSTER:
        yield Path(os.environ["YOLO_TEST_KUBECONFIG"])
        return
    command, name = root / "hack/cluster", f"yolo-test-{os.getpid()}"
    try:
        subprocess.run([command, "up", "--name", name, "--flavour", "kwok", "--nodes", "0"], check=True, timeout=600)
        found = subprocess.run([command, "kubeconfig", "--name", name], check=True, capture_output=True, text=True)
        yield Path(found.stdout.strip())
    finally:
        subprocess.run([command, "down", "--name", name], check=False, timeout=120)


@pytest.fixture(scope="session")
def kubectl(programs: Path, kubeconfig: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """kubectl as the admin; it does not raise."""

    def run(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        command = [programs / "kubectl", "--kubeconfig", kubeconfig, *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)

    return run


@pytest.fixture(scope="session")
def crd(root: Path, kubectl: Callable[..., subprocess.CompletedProcess[str]]) -> Callable[[], None]:
    """Installs the CRD; called again, it brings it back."""

    def install() -> None:
        path = str(root / "crds/yoloexperiments.yaml")
        applied = kubectl("apply", "--server-side", "--force-conflicts", "-f", path)
        assert applied.returncode == 0, applied.stderr
        for _ in range(20):
            waited = kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", path)
            if "accessor error" not in waited.stderr:
                break
            # Just after it was made it has no conditions yet, which kubectl takes for an error.
            time.sleep(0.5)
        assert waited.returncode == 0, waited.stderr

    install()
    return install


@pytest_asyncio.fixture
async def cluster(kubeconfig: Path) -> AsyncIterator[KubernetesCluster]:
    """The operator's own client, as the admin."""
    config = kube_client.Configuration()
    config.connection_pool_maxsize = 8
    await kube_config.load_kube_config(config_file=str(kubeconfig), client_configuration=config, persist_config=False)
    found = KubernetesCluster(config, user_agent="yolo-operator-tests")
    yield found
    await found.close()


@pytest_asyncio.fixture
async def ground(
    cluster: KubernetesCluster, crd: Callable[[], None], kubeconfig: Path, tmp_path: Path
) -> AsyncIterator[Playground]:
    """A namespace with the claim that `examples.small_spec` names."""
    name = f"test-{uuid.uuid4().hex[:10]}"
    await cluster.create(NAMESPACES, None, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    found = Playground(cluster, name, kubeconfig, tmp_path)
    await found.claim()
    yield found
    for operator in found.operators:
        if operator.process.poll() is None:
            operator.kill()
    await cluster.delete(NAMESPACES, "", name)


@pytest.fixture
def simulator() -> JobSimulator:
    """What stages report."""
    return JobSimulator(MemoryCluster())
