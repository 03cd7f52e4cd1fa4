"""The objects that every cluster of ours has from its first minute."""

from __future__ import annotations

from .api import Api, ApiError, Document
from .choose import Flavour
from .gpus import RESOURCE
from .record import Record
from .volumes import CLASS, storage_class


def apply_all(api: Api, record: Record) -> None:
    """Apply them; doing it again changes nothing."""
    # Without a scheduler nobody chooses a node, and a claim that waits for its first consumer would wait for ever.
    scheduled = record.flavour is Flavour.EMBEDDED or record.nodes > 0
    wanted = storage_class("WaitForFirstConsumer" if scheduled else "Immediate")
    api.apply(f"/apis/storage.k8s.io/v1/storageclasses/{CLASS}", wanted)
    if record.flavour is Flavour.EMBEDDED:
        api.apply("/apis/node.k8s.io/v1/runtimeclasses/nvidia", runtime_class())
        api.apply("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/kube-proxy", proxy_binding())
    else:
        for number in range(record.nodes):
            _create(api, "/api/v1/nodes", fake_node(number, record.gpus))


def _create(api: Api, path: str, document: Document) -> None:
    try:
        api.request("POST", path, document)
    except ApiError as error:
        if error.status != 409:
            raise


def runtime_class() -> Document:
    """Give the RuntimeClass that NVIDIA's GPU operator makes on real clusters."""
    return {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "nvidia"}, "handler": "nvidia"}


def proxy_binding() -> Document:
    """Let kube-proxy, which runs on the machine with a certificate, read what it needs."""
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "kube-proxy"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:node-proxier"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "system:kube-proxy"}],
    }


def fake_node(number: int, gpus: int) -> Document:
    """Give a simulated GPU node: kwok keeps its heartbeat and plays its pods."""
    name = f"kwok-{number}"
    room = {"cpu": "64", "memory": "512Gi", "pods": "250", "ephemeral-storage": "1Ti", RESOURCE: str(gpus)}
    labels = {
        "type": "kwok",
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": name,
        "nvidia.com/gpu.present": "true",
        "nvidia.com/gpu.product": "Simulated",
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": {"kwok.x-k8s.io/node": "fake"}},
        "status": {"capacity": room, "allocatable": room},
    }
