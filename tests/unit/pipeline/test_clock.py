"""The operator's clock jumps in the middle of a run: what was to happen soon still happens soon, and the end is the same."""

from __future__ import annotations

from datetime import timedelta

import pytest
from job_simulator import Outcome
from world import World, timeless

from examples import small_spec

SPEC = small_spec(retry={"limit": 3, "backoffSeconds": 10})
SCRIPT = {("train", ""): [Outcome.TRANSIENT, Outcome.TRANSIENT], ("prepare", ""): [Outcome.POD_LOST]}
SOON = 120


def jump(world: World, by: timedelta) -> None:
    """The operator's clock alone, as after an adjustment on its node."""
    clock = world.clock
    world.operator.reconciler.clock = lambda: clock() + by


@pytest.mark.parametrize("by", [timedelta(days=-400), timedelta(hours=-3), timedelta(seconds=-7), timedelta(days=400)])
@pytest.mark.parametrize("stage", ["prepare", "train", "evaluate"])
def test_a_clock_that_jumps_changes_nothing_but_times(by: timedelta, stage: str) -> None:
    calm = World(SPEC, SCRIPT).rest()
    world = World(SPEC, SCRIPT)
    world.until(lambda: world.states().get(stage) not in (None, "Pending"))
    jump(world, by)
    world.rest()
    assert world.status()["phase"] == "Succeeded"
    assert timeless(world.status()) == timeless(calm.status())


@pytest.mark.parametrize("by", [timedelta(days=-400), timedelta(hours=-3)])
def test_a_retry_that_is_due_soon_is_not_put_off_by_a_clock_that_is_set_back(by: timedelta) -> None:
    world = World(SPEC, SCRIPT)
    world.until(lambda: "stages" in world.status() and world.stage("train").get("retryTime") is not None)
    before = world.clock()
    jump(world, by)
    world.rest()
    assert world.status()["phase"] == "Succeeded"
    assert world.clock() - before < timedelta(seconds=SOON)
