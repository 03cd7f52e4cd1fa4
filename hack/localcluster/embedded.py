"""Clusters of our own, embedded and kwok: bring one up, take it down, tell how it is."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from . import addresses, build, cgroups, components, configs, images_of_node, namespaces, network, objects, packages
from .certs import Authority, Identity, write_kubeconfig
from .choose import Flavour
from .console import ClusterError, elapsed, say
from .health import Health, inspect
from .layout import Home, lock, state_root, write_atomically
from .processes import wait_until
from .record import Record
from .supervisor import STATUS_FILE, WISHES_FILE

_READY_SECONDS = 120
_REPAIR_SECONDS = 20
_CLIENTS = (
    Identity("admin", "kubernetes-admin", "system:masters"),
    Identity("kube-controller-manager", "system:kube-controller-manager"),
    Identity("kube-scheduler", "system:kube-scheduler"),
    Identity("kube-proxy", "system:kube-proxy"),
    Identity("apiserver-kubelet", "kube-apiserver-kubelet-client", "system:masters"),
)


def up(home: Home, wish: Record) -> None:
    """Bring the cluster up: start it, find it running, or repair it."""
    started = time.monotonic()
    with lock(state_root() / f".{home.name}.lock", busy=f"another command is at work on cluster '{home.name}'"):
        known = Record.read(home)
        if known is not None and _runs_well(home, known, wish):
            return
        _install(wish)
        record = _start(home, wish, known)
        _wait_ready(home, record)
    say(f"Cluster '{home.name}' is ready after {elapsed(time.monotonic() - started)}: export KUBECONFIG={home.kubeconfig}")


def _runs_well(home: Home, known: Record, wish: Record) -> bool:
    """Tell whether the cluster runs and is healthy; one that runs and does not recover is taken down (its data stays)."""
    if not namespaces.running(home):
        say(f"Cluster '{home.name}' is not running: starting it with the data it had")
        return False
    different = [
        field for field in ("flavour", "gpus", "nodes", "audit", "kwok_config") if getattr(known, field) != getattr(wish, field)
    ]
    if different:
        raise ClusterError(f"cluster '{home.name}' runs with another {', '.join(different)}: `hack/cluster down` first")
    if wait_until(lambda: inspect(home).healthy, _REPAIR_SECONDS, poll=1):
        say(f"Cluster '{home.name}' runs and is healthy: export KUBECONFIG={home.kubeconfig}")
        return True
    say(f"Cluster '{home.name}' is not healthy ({inspect(home).trouble()}): starting it again")
    _stop(home, gently=True)
    return False


def _install(wish: Record) -> None:
    node = wish.flavour is Flavour.EMBEDDED
    packages.ensure(packages.CONTROL_PLANE, packages.NODE if node else {})
    pieces = ["kubernetes", "etcd"]
    if node:
        pieces.append("pause")
    elif wish.nodes:
        pieces.append("kwok")
    build.ensure(pieces)
    build.link_programs()


def _start(home: Home, wish: Record, known: Record | None) -> Record:
    """Make the cluster's surroundings and start its first process."""
    _stop(home, gently=False)  # what an interrupted start or a reboot has left
    record = _record(home, wish, known)
    record.save(home)
    _write_files(home, record)
    if record.flavour is Flavour.EMBEDDED:
        cgroups.create(home.name)
    wishes = [component.document() for component in components.components(home, record)]
    home.write(WISHES_FILE, {"components": wishes})
    (home.root / STATUS_FILE).unlink(missing_ok=True)
    namespaces.start(home, record.link)
    return record


def _record(home: Home, wish: Record, known: Record | None) -> Record:
    """Give the wish an address: the one it had, or a free one. Homes of clusters that are down keep theirs."""
    if known is not None:
        return replace(wish, network=known.network)
    with lock(state_root() / ".addresses.lock"):
        others = [Record.read(Home(path.name, path)) for path in state_root().iterdir() if path.is_dir()]
        taken = [other.link.network for other in others if other and other.network]
        record = replace(wish, network=str(addresses.allocate(home.name, [*taken, *network.routed()]).network))
        record.save(home)
    return record


def _write_files(home: Home, record: Record) -> None:
    for folder in (home.etc, home.logs, home.data, home.volumes):
        folder.mkdir(parents=True, exist_ok=True)
    home.root.chmod(0o755)  # pods reach their volumes through it
    home.pki.mkdir(exist_ok=True, mode=0o700)
    _write_credentials(home, record)
    texts = {"audit-policy.json": json.dumps(configs.audit_policy())}
    if record.flavour is Flavour.EMBEDDED:
        plugins = packages.need("cni:ptp").parent
        texts |= {
            "containerd.toml": configs.containerd(home, str(plugins)),
            "cni/10-pods.conflist": configs.cni(),
            "kubelet.json": json.dumps(configs.kubelet(home, record.link, cgroups.group(home.name))),
            "kube-proxy.json": json.dumps(configs.kube_proxy(home, record.node_name)),
            "resolv.conf": configs.resolv_conf(record.link),
        }
    for name, text in texts.items():
        write_atomically(home.etc / name, text, 0o644)


def _write_credentials(home: Home, record: Record) -> None:
    authority = Authority(home.pki)
    authority.ensure()
    authority.signing_key()
    authority.server("apiserver", "kube-apiserver", configs.server_names(record.link, str(addresses.API_SERVICE)))
    clients = list(_CLIENTS)
    if record.flavour is Flavour.EMBEDDED:
        names = [record.node_name, str(record.link.node)]
        authority.server("kubelet-server", f"system:node:{record.node_name}", names, "system:nodes")
        clients.append(Identity("kubelet", f"system:node:{record.node_name}", "system:nodes"))
    for client in clients:
        certificate, key = authority.client(client)
        path = home.kubeconfig if client.file == "admin" else home.pki / f"{client.file}.kubeconfig"
        write_kubeconfig(
            path,
            context=f"yolo-operator-{home.name}",
            server=record.link.server,
            authority=authority.certificate,
            certificate=certificate,
            key=key,
        )


def _wait_ready(home: Home, record: Record) -> None:
    """See the cluster through its start: the API, the node's image, the objects every cluster has, then all of it."""
    api = record.api(home)
    deadline = time.monotonic() + _READY_SECONDS
    if record.flavour is Flavour.EMBEDDED:
        images_of_node.load_pause(home)
    _wait(home, api.ready, deadline)
    say("  the API server is ready")
    _retry(home, lambda: objects.apply_all(api, record), deadline)
    _wait(home, lambda: inspect(home).healthy, deadline)


def _wait(home: Home, true: Callable[[], bool], deadline: float) -> None:
    if not wait_until(true, deadline - time.monotonic(), poll=0.2):
        raise ClusterError(f"cluster '{home.name}' is not ready: {inspect(home).trouble()}\n  logs: {home.logs}")


def _retry(home: Home, act: Callable[[], None], deadline: float) -> None:
    """Do something that a server which has only just started may still refuse."""

    def attempt() -> bool:
        try:
            act()
        except (OSError, ClusterError):
            return False
        return True

    _wait(home, attempt, deadline)


def _stop(home: Home, *, gently: bool) -> None:
    """End everything of this cluster that runs or is mounted; its files stay."""
    namespaces.stop(home, gently=gently)
    network.disconnect(home.name)
    left = cgroups.remove(home.name)
    if left:
        raise ClusterError(f"these control groups are still in use: {', '.join(map(str, left))}")


def down(home: Home, *, keep_data: bool) -> None:
    """Take the cluster down, its files too unless they are to be kept."""
    with lock(state_root() / f".{home.name}.lock", busy=f"another command is at work on cluster '{home.name}'"):
        _stop(home, gently=keep_data)
        if not keep_data:
            _remove(home.root)
    say(f"Cluster '{home.name}' is down" + (f"; its data stays in {home.root}" if keep_data else ""))


def _remove(folder: Path) -> None:
    """Remove a folder; something that ended a moment ago may hold a file for a moment more."""
    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)
    shutil.rmtree(folder)


def status(home: Home) -> Health:
    """Tell how the cluster is."""
    return inspect(home)
