"""The configuration files of containerd, the CNI, the kubelet and kube-proxy: everything that flags can't say."""

from __future__ import annotations

import json

from .addresses import PODS, Link
from .api import Document
from .layout import Home

PAUSE_IMAGE = "docker.io/yolo-operator/pause:1"
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"


def containerd(home: Home, cni_plugins: str) -> str:
    """Give containerd's configuration.

    `restrict_oom_score_adj`: a machine without CAP_SYS_RESOURCE may not lower scores, and every sandbox fails without it.
    The runtime `nvidia` is runc too: experiments may name the RuntimeClass that GPU nodes have.
    """
    data = home.data / "containerd"
    runc = '{ runtime_type = "io.containerd.runc.v2" }'
    return f'''version = 2
root = "{data}"
state = "/run/containerd"
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "{CONTAINERD_SOCKET}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{data}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni_plugins}"
    conf_dir = "{home.etc}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes]
      runc = {runc}
      nvidia = {runc}
'''


def cni() -> str:
    """Give the pods' network: `ptp`, as kind has it. A bridge would answer Service traffic between its own pods directly,
    past the address translation, on kernels without br_netfilter.
    """
    ipam = {"type": "host-local", "ranges": [[{"subnet": str(PODS)}]], "routes": [{"dst": "0.0.0.0/0"}]}
    plugins = [{"type": "ptp", "ipMasq": True, "ipam": ipam}, {"type": "portmap", "capabilities": {"portMappings": True}}]
    return json.dumps({"cniVersion": "0.4.0", "name": "pods", "plugins": plugins}, indent=1)


def kubelet(home: Home, link: Link, cgroup_root: str) -> Document:
    """Give the kubelet's configuration: nothing is evicted and no image removed because this machine's disk is full."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(home.pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroup_root}",
        # No DNS server runs. This names the node, where nothing listens: a look-up fails at once instead of timing out,
        # and pods get no MissingClusterDNS event each.
        "clusterDNS": [str(link.node)],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "enforceNodeAllocatable": [],
        "evictionHard": {"imagefs.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%"},
        "failCgroupV1": False,
        "failSwapOn": False,
        "imageGCHighThresholdPercent": 100,
        "maxPods": 250,
        "oomScoreAdj": 0,
        "resolvConf": str(home.etc / "resolv.conf"),
        "tlsCertFile": str(home.pki / "kubelet-server.crt"),
        "tlsPrivateKeyFile": str(home.pki / "kubelet-server.key"),
        "volumePluginDir": str(home.data / "volume-plugins"),
        # What pods have in their volumes is looked at after a minute or two elsewhere: too rarely for a test of limits.
        "volumeStatsAggPeriod": "10s",
    }


def kube_proxy(home: Home, node: str) -> Document:
    """Give kube-proxy's configuration. Nothing of conntrack is set: its limits are the machine's, not a namespace's."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(home.pki / "kube-proxy.kubeconfig")},
        "clusterCIDR": str(PODS),
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "hostnameOverride": node,
        "mode": "nftables",
        "oomScoreAdj": 0,
    }


def audit_policy() -> Document:
    """Give the audit policy: who did what to which object, without the objects; one line a request, at its end."""
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata"}],
    }


def kind(nodes: int) -> Document:
    """Give kind's configuration."""
    roles = [{"role": "control-plane"}, *({"role": "worker"} for _ in range(max(0, nodes - 1)))]
    return {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "nodes": roles}


def resolv_conf(link: Link) -> str:
    """Give the pods' resolver file: an address that refuses at once."""
    return f"nameserver {link.node}\noptions timeout:1 attempts:1\n"


def server_names(link: Link, service: str) -> list[str]:
    """Give the names and addresses that the API server answers to."""
    local = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost"]
    return [*local, "127.0.0.1", service, str(link.node)]
