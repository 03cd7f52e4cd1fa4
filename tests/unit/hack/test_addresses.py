"""Every cluster has a network of its own between the machine and its node."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest
from localcluster import addresses
from localcluster.addresses import PODS, RANGE, SERVICES, allocate, networks_of_routes
from localcluster.console import ClusterError


def test_the_same_name_has_the_same_address() -> None:
    assert allocate("yolo", []) == allocate("yolo", [])


def test_a_taken_network_is_passed_over() -> None:
    first = allocate("yolo", [])
    second = allocate("yolo", [first.network])
    assert not first.network.overlaps(second.network)


def test_many_clusters_never_share_an_address() -> None:
    taken: list[IPv4Network] = []
    for number in range(200):
        taken.append(allocate(f"t{number}", taken).network)
    assert len(set(taken)) == 200


def test_the_range_is_none_of_the_clusters_inner_ones() -> None:
    assert not any(RANGE.overlaps(inner) for inner in (PODS, SERVICES))


def test_a_full_range_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "_LINKS", 8)
    with pytest.raises(ClusterError, match="no /30 is free"):
        allocate("yolo", [RANGE])


def test_routes_are_read_without_the_default_one() -> None:
    routes: list[dict[str, object]] = [{"dst": "default"}, {"dst": "192.0.2.0/24"}, {"dst": "192.0.2.7"}, {}]
    assert networks_of_routes(routes) == [IPv4Network("192.0.2.0/24"), IPv4Network("192.0.2.7/32")]


def test_both_ends_lie_in_the_link() -> None:
    link = allocate("yolo", [])
    assert {link.host, link.node} == set(link.network.hosts())
    assert link.server == f"https://{link.node}:6443"
