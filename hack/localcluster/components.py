"""The command lines of a cluster's components."""

from __future__ import annotations

from . import packages
from .addresses import API_PORT, SERVICES
from .build import program
from .choose import Flavour
from .component import Component
from .configs import CONTAINERD_SOCKET
from .layout import HACK, Home
from .record import Record
from .shell import PYTHON

_API_SERVER = "kube-apiserver"
_ETCD = "http://127.0.0.1:2379"


def components(home: Home, record: Record) -> list[Component]:
    """Give everything that runs in a cluster, in the order of the first start."""
    parts = [_etcd(home), _api_server(home, record), _controller_manager(home)]
    if record.flavour is Flavour.EMBEDDED:
        parts += [_containerd(home), _scheduler(home), _kubelet(home, record), _proxy(home), _helper(home, "volumes")]
        if record.gpus:
            parts.append(_helper(home, "gpus"))
    else:
        parts.append(_helper(home, "volumes"))
        if record.nodes:
            parts += [_scheduler(home), _kwok(home, record)]
    return parts


def _flags(name: str, flags: dict[str, object]) -> tuple[str, ...]:
    return (str(program(name)), *(f"--{flag}={value}" for flag, value in flags.items()))


def _etcd(home: Home) -> Component:
    """etcd without fsync: what a local cluster holds need not survive a power cut, and slow disks would slow every write."""
    flags = {
        "name": "local",
        "data-dir": home.data / "etcd",
        "listen-client-urls": _ETCD,
        "advertise-client-urls": _ETCD,
        "listen-peer-urls": "http://127.0.0.1:2380",
        "initial-advertise-peer-urls": "http://127.0.0.1:2380",
        "initial-cluster": "local=http://127.0.0.1:2380",
        "unsafe-no-fsync": "true",
        "quota-backend-bytes": 4 * 1024**3,
        "auto-compaction-mode": "periodic",
        "auto-compaction-retention": "5m",
        "logger": "zap",
        "log-level": "warn",
    }
    return Component("etcd", _flags("etcd", flags), probe="tcp:2379")


def _api_server(home: Home, record: Record) -> Component:
    pki = home.pki
    flags = {
        "advertise-address": record.link.node,
        "bind-address": "0.0.0.0",
        "secure-port": API_PORT,
        "etcd-servers": _ETCD,
        "service-cluster-ip-range": SERVICES,
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "allow-privileged": "true",
        "client-ca-file": pki / "ca.crt",
        "tls-cert-file": pki / "apiserver.crt",
        "tls-private-key-file": pki / "apiserver.key",
        "service-account-issuer": "https://kubernetes.default.svc.cluster.local",
        "service-account-key-file": pki / "service-accounts.pub",
        "service-account-signing-key-file": pki / "service-accounts.key",
        "kubelet-preferred-address-types": "InternalIP",
        "kubelet-certificate-authority": pki / "ca.crt",
        "kubelet-client-certificate": pki / "apiserver-kubelet.crt",
        "kubelet-client-key": pki / "apiserver-kubelet.key",
        "max-requests-inflight": 2000,
        "max-mutating-requests-inflight": 1000,
        "profiling": "false",
    }
    if record.audit:
        flags |= {
            "audit-policy-file": home.etc / "audit-policy.json",
            "audit-log-path": home.audit_log,
            "audit-log-format": "json",
            "audit-log-maxsize": 4096,
        }
    return Component(_API_SERVER, _flags(_API_SERVER, flags), after=("etcd",), probe="readyz")


def _controller_manager(home: Home) -> Component:
    pki = home.pki
    config = pki / "kube-controller-manager.kubeconfig"
    flags = {
        "kubeconfig": config,
        "authentication-kubeconfig": config,
        "authorization-kubeconfig": config,
        "leader-elect": "false",
        "use-service-account-credentials": "true",
        "service-account-private-key-file": pki / "service-accounts.key",
        "root-ca-file": pki / "ca.crt",
        "cluster-signing-cert-file": pki / "ca.crt",
        "cluster-signing-key-file": pki / "ca.key",
        "kube-api-qps": 200,
        "kube-api-burst": 400,
        "concurrent-job-syncs": 20,
        "bind-address": "127.0.0.1",
        "profiling": "false",
    }
    name = "kube-controller-manager"
    return Component(name, _flags(name, flags), after=(_API_SERVER,))


def _scheduler(home: Home) -> Component:
    config = home.pki / "kube-scheduler.kubeconfig"
    flags = {
        "kubeconfig": config,
        "authentication-kubeconfig": config,
        "authorization-kubeconfig": config,
        "leader-elect": "false",
        "kube-api-qps": 500,
        "kube-api-burst": 1000,
        "bind-address": "127.0.0.1",
        "profiling": "false",
    }
    return Component("kube-scheduler", _flags("kube-scheduler", flags), after=(_API_SERVER,))


def _containerd(home: Home) -> Component:
    argv = (str(packages.need("containerd")), "--config", str(home.etc / "containerd.toml"))
    return Component("containerd", argv, probe=f"socket:{CONTAINERD_SOCKET}")


def _kubelet(home: Home, record: Record) -> Component:
    flags = {
        "config": home.etc / "kubelet.json",
        "kubeconfig": home.pki / "kubelet.kubeconfig",
        "hostname-override": record.node_name,
        "node-ip": record.link.node,
        "root-dir": "/var/lib/kubelet",
    }
    if record.gpus:
        flags["node-labels"] = "nvidia.com/gpu.present=true,nvidia.com/gpu.product=Simulated"
    return Component("kubelet", _flags("kubelet", flags), after=(_API_SERVER, "containerd"))


def _proxy(home: Home) -> Component:
    return Component("kube-proxy", _flags("kube-proxy", {"config": home.etc / "kube-proxy.json"}), after=(_API_SERVER,))


def _kwok(home: Home, record: Record) -> Component:
    flags = {
        "kubeconfig": home.kubeconfig,
        "manage-all-nodes": "false",
        "manage-nodes-with-annotation-selector": "kwok.x-k8s.io/node=fake",
        "node-lease-duration-seconds": 40,
        "cidr": "10.244.0.0/16",
        "node-ip": "10.0.0.1",
    }
    stages = (HACK / "kwok" / "nodes.yaml", record.kwok_config or HACK / "kwok" / "pods.yaml")
    argv = (*_flags("kwok", flags), *(f"--config={file}" for file in stages))
    return Component("kwok", argv, after=(_API_SERVER,))


def _helper(home: Home, module: str) -> Component:
    """Give a component of our own: a module of this package, run by the Python that runs now."""
    argv = (PYTHON, "-m", f"localcluster.{module}", "--name", home.name)
    environment = {"PYTHONPATH": str(HACK), "PYTHONUNBUFFERED": "1", "YOLO_STATE_DIR": str(home.root.parent)}
    return Component(module, argv, after=(_API_SERVER,), environment=environment)
