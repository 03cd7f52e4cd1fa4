"""The operator dies after every single write of a run, and before the first one: the end does not differ.

To die after a write is to die before the next one: the process has nothing else that could make a difference.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from job_simulator import Outcome
from memory_cluster import Crash, Fault
from world import World, timeless

from examples import whole_spec

SPEC = whole_spec(
    workspace={"volumeClaimTemplate": {"storage": "1Gi"}},
    prune={"thresholds": [0.1, 0.5], "select": {"maxMapDrop": 0.02}},
    export=None,
    inference=None,
)
SCRIPT = {
    ("train", ""): [Outcome.TRANSIENT, Outcome.POD_LOST],
    ("prune", "0.5"): [Outcome.DISRUPTED],
    ("retrain", ""): [Outcome.INFRASTRUCTURE],
}
MOST_WRITES = 70


def _world(fault: tuple[int, bool] | None = None) -> World:
    world = World(SPEC, SCRIPT, claim=False)
    if fault is not None:
        world.cluster.faults[fault[0]] = Fault(Crash(), after=fault[1])
    return world.rest()


@cache
def _undisturbed() -> tuple[int, dict[str, Any], list[str]]:
    world = _world()
    return world.cluster.writes, timeless(world.status()), [job["metadata"]["name"] for job in world.created_jobs()]


def test_the_number_of_writes_is_known() -> None:
    writes, status, names = _undisturbed()
    assert status["phase"] == "Succeeded"
    assert writes <= MOST_WRITES
    assert len(names) == 13


@pytest.mark.parametrize("number", range(MOST_WRITES + 1))
def test_a_crash_at_any_write_changes_nothing(number: int) -> None:
    writes, status, names = _undisturbed()
    if number > writes:
        return
    world = _world((max(1, number), number > 0))
    assert world.crashes == 1
    assert timeless(world.status()) == status
    assert sorted(job["metadata"]["name"] for job in world.created_jobs()) == sorted(names)
    assert not world.simulator.problems
