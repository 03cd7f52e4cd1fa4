"""What trainings are told about space on disk, and what of it concerns their digest: nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from world import World
from yolo_operator.api import resource

from examples import whole_spec

ROOM = {"claimName": "data", "minFreeSpace": "1.5Gi", "retention": "DeleteOnSuccess"}


def told(world: World) -> dict[str, dict[str, Any]]:
    """Instructions by stage."""
    found = {}
    for job in world.created_jobs():
        text = job["spec"]["template"]["metadata"]["annotations"][resource.ANNOTATION_INSTRUCTIONS]
        found[json.loads(text)["stage"]] = json.loads(text)
    return found


def test_trainings_alone_are_told() -> None:
    instructions = told(World(whole_spec(workspace=ROOM)).rest())
    for stage in ("train", "retrain"):
        assert instructions[stage]["minFreeBytes"] == 1610612736
        assert instructions[stage]["keepCheckpoints"] == "artifacts"
    for stage in instructions.keys() - {"train", "retrain"}:
        assert not {"minFreeBytes", "keepCheckpoints"} & instructions[stage].keys()


@pytest.mark.parametrize("retention", ["Retain", "Delete"])
def test_without_a_word_everything_is_kept(retention: str) -> None:
    workspace = {"volumeClaimTemplate": {"storage": "1Gi"}, "retention": retention}
    instructions = told(World(whole_spec(workspace=workspace)).rest())
    assert not {"minFreeBytes", "keepCheckpoints"} & instructions["train"].keys()


def test_another_word_runs_nothing_again() -> None:
    world = World(whole_spec()).rest()
    made = len(world.created_jobs())
    world.edit({"spec": {"workspace": ROOM, "ttlSecondsAfterFinished": 5}})
    world.rest()
    assert len(world.created_jobs()) == made
    assert world.status()["phase"] == "Succeeded"
