"""The cable between the machine and a cluster's network namespace."""

from __future__ import annotations

import hashlib
import json
import socket
from ipaddress import IPv4Address, IPv4Network

from .addresses import Link, networks_of_routes
from .shell import run


def cable(name: str) -> tuple[str, str]:
    """Give the names of the cable's ends (machine, node): a digest, because the kernel allows 15 characters only."""
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"yo{digest}h", f"yo{digest}n"


def routed() -> list[IPv4Network]:
    """Give the networks that this machine already has routes to."""
    return networks_of_routes(json.loads(run(["ip", "-4", "-json", "route", "show", "table", "all"]).stdout or "[]"))


def connect(name: str, link: Link, pid: int) -> None:
    """Lay the cable from this machine into the network namespace of a process.

    The namespace has no name of its own: it ends with its last process, and the cable with it.
    """
    outside, inside = cable(name)
    disconnect(name)
    run(["ip", "link", "add", outside, "type", "veth", "peer", "name", inside, "netns", str(pid)])
    run(["ip", "address", "add", f"{link.host}/30", "dev", outside])
    run(["ip", "link", "set", outside, "up"])
    # The default route gives the API server and Service addresses a way out to choose; nothing needs to be at its end.
    steps = "\n".join([
        "link set lo up",
        f"address add {link.node}/30 dev {inside}",
        f"link set {inside} up",
        f"route add default via {link.host}",
    ])  # fmt: skip
    run(["nsenter", f"--target={pid}", "--net", "ip", "-batch", "-"], stdin=steps + "\n")


def disconnect(name: str) -> None:
    """Remove the cable, if it is there."""
    run(["ip", "link", "delete", cable(name)[0]], check=False)


def has_address(address: IPv4Address) -> bool:
    """Tell whether this network namespace has an address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            return False
    return True
