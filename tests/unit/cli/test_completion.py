"""Completion as kubectl asks for it."""

from __future__ import annotations

import pytest
from yolo_operator.cli.client import Cluster, ClusterError
from yolo_operator.cli.completion import proposals


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    asked: dict[str, str | None] = {}

    def init(self: Cluster, **where: str | None) -> None:
        asked.update(where)

    monkeypatch.setattr(Cluster, "__init__", init)
    monkeypatch.setattr(Cluster, "list", lambda self: [{"metadata": {"name": name}} for name in ("plates", "plates-2", "cars")])
    return asked


def test_commands_with_what_they_do() -> None:
    found, directive = proposals(["li"])
    assert (found, directive) == (["list\tList experiments."], 4)
    assert len(proposals([""])[0]) > 8


def test_options_and_their_values() -> None:
    assert "--stage" in [line.split("\t")[0] for line in proposals(["logs", "plates", "--s"])[0]]
    assert proposals(["list", "-o", ""])[0] == ["table", "json", "yaml"]


def test_files_are_the_shells_to_complete() -> None:
    assert proposals(["validate", "exa"]) == ([], 0)


def test_experiments_of_the_namespace(cluster: dict[str, str | None]) -> None:
    assert proposals(["watch", "-n", "team-a", "pl"]) == (["plates", "plates-2"], 4)
    assert cluster == {"namespace": "team-a"}
    assert proposals(["compare", "plates", ""])[0] == ["plates", "plates-2", "cars"]
    assert proposals(["list", ""])[0] == []


def test_no_cluster_is_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(self: Cluster, **_: str | None) -> None:
        raise ClusterError("no cluster to talk to")

    monkeypatch.setattr(Cluster, "__init__", init)
    assert proposals(["watch", "pl"]) == ([], 4)
