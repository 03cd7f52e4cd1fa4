"""Which kind of cluster runs where."""

from __future__ import annotations

from dataclasses import replace

import pytest
from localcluster import cli
from localcluster.choose import Facts, Flavour, choose
from localcluster.console import ClusterError
from localcluster.record import Record

BARE = Facts(context=None, engine=None, kind=False, linux=True, root=True)
LAPTOP = Facts(context=None, engine="docker", kind=True, linux=False, root=False)


@pytest.mark.parametrize(
    ("facts", "flavour"),
    [
        (BARE, Flavour.EMBEDDED),
        (LAPTOP, Flavour.KIND),
        (replace(BARE, engine="docker"), Flavour.EMBEDDED),  # no kind program
        (replace(BARE, kind=True), Flavour.EMBEDDED),  # a docker command, but no engine behind it
        (replace(LAPTOP, context="staging"), Flavour.KUBECONFIG),
    ],
)
def test_auto_takes_the_first_that_can_run(facts: Facts, flavour: Flavour) -> None:
    assert choose("auto", facts) is flavour


@pytest.mark.parametrize(
    ("requested", "facts", "says"),
    [
        ("kubeconfig", BARE, "--context"),
        ("kind", BARE, "no Docker or Podman engine answers"),
        ("kind", replace(LAPTOP, kind=False), "`kind` is not installed"),
        ("embedded", LAPTOP, "Linux and root"),
        ("kwok", replace(BARE, root=False), "Linux and root"),
        ("auto", replace(BARE, root=False), "Linux and root"),
    ],
)
def test_what_can_not_run_says_why(requested: str, facts: Facts, says: str) -> None:
    with pytest.raises(ClusterError, match=says):
        choose(requested, facts)


def test_an_existing_cluster_is_never_taken_unasked() -> None:
    assert choose("auto", BARE) is not Flavour.KUBECONFIG


def wanted(*words: str, known: Record | None = None) -> Record:
    return cli.wanted(cli.parser().parse_args(["up", *words]), known, BARE)


def test_up_without_options_asks_for_what_is_there() -> None:
    known = Record("yolo", Flavour.KWOK, gpus=8, nodes=0, audit=True, network="10.213.0.0/30")
    assert wanted(known=known) == known
    assert wanted("--gpus", "4", known=known).gpus == 4
    assert wanted("--nodes", "0").nodes == 0


def test_defaults_follow_the_flavour() -> None:
    assert wanted() == Record("yolo", Flavour.EMBEDDED, gpus=2, nodes=1)
    assert wanted("--flavour", "kwok") == Record("yolo", Flavour.KWOK, gpus=2, nodes=4)
