"""Addresses: every cluster has a /30 of its own between the machine and its node, so that clusters run side by side."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from .console import ClusterError

RANGE = IPv4Network("10.213.0.0/16")
SERVICES = IPv4Network("10.96.0.0/16")
PODS = IPv4Network("10.244.0.0/16")
API_SERVICE = SERVICES[1]
API_PORT = 6443
_LINKS = RANGE.num_addresses // 4


@dataclass(frozen=True)
class Link:
    """The two ends of a cluster's cable: the machine's and the node's. Services and pods use the same ranges in every
    cluster, because they exist only inside its network namespace.
    """

    network: IPv4Network

    @property
    def host(self) -> IPv4Address:
        """The machine's end."""
        return self.network[1]

    @property
    def node(self) -> IPv4Address:
        """The node's end: what the API server advertises."""
        return self.network[2]

    @property
    def server(self) -> str:
        """The API server's URL, the same from the machine and from the node."""
        return f"https://{self.node}:{API_PORT}"


def allocate(name: str, taken: Iterable[IPv4Network]) -> Link:
    """Choose a cluster's /30: the same one for the same name where it is free, the next free one else."""
    used = list(taken)
    first = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    for offset in range(_LINKS):
        index = (first + offset) % _LINKS
        network = IPv4Network((int(RANGE.network_address) + 4 * index, 30))
        if not any(network.overlaps(other) for other in used):
            return Link(network)
    raise ClusterError(f"no /30 is free in {RANGE}: take a cluster down first")


def networks_of_routes(routes: Iterable[dict[str, object]]) -> list[IPv4Network]:
    """Give the networks of `ip -json route`; the default route covers everything and so says nothing."""
    words = [str(route.get("dst", "")) for route in routes]
    return [IPv4Network(word, strict=False) for word in words if word and word[0].isdigit()]
