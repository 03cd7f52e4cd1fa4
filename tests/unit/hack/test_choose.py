"""Which kind of cluster runs where."""

from __future__ import annotations

from dataclasses import replace

import pytest
from localcluster.choose import Facts, Flavour, choose
from localcluster.console import ClusterError

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
