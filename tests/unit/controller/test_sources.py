"""Experiments whose experiment spec is a text in a ConfigMap: it appears, is wrong, is corrected, changes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from job_simulator import stage_of
from world import World
from yolo_operator.api import resource
from yolo_operator.api.spec import parse_spec
from yolo_operator.controller.sources import FRESH_SECONDS, LOOK_SECONDS
from yolo_operator.kube.cluster import CONFIG_MAPS, Object
from yolo_operator.toolkit.invocation import DataPaths
from yolo_operator.toolkit.spec_text import experiment_text

from examples import NAMESPACE, small_spec

DATA = DataPaths("/workspace/train/images", "/workspace/train/labels", "/workspace/valid/images", "/workspace/valid/labels")
NINE = [[number, number] for number in range(10, 19)]
TEXT = experiment_text(parse_spec(small_spec()), DATA, anchors=NINE)
REFERENCE = {"configMapKeyRef": {"name": "config", "key": "config.txt"}}
FROM: dict[str, Any] = {"experimentSpec": None, "dataset": None, "anchors": None, "experimentSpecFrom": REFERENCE}


def config_map(text: str, key: str = "config.txt") -> Object:
    return {"metadata": {"name": "config"}, "data": {key: text}}


def until(world: World, holds: Callable[[], bool]) -> None:
    for _ in range(400):
        if holds():
            return
        world.round()
    raise AssertionError(f"it did not come to that: {world.status()}")


def until_phase(world: World, phase: str) -> None:
    until(world, lambda: world.status().get("phase") == phase)


def condition(world: World, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = next((c for c in world.status().get("conditions", ()) if c["type"] == kind), {})
    return found


def started(text: str | None = TEXT, **changes: Any) -> World:
    world = World(small_spec(**(FROM | changes)))
    if text is not None:
        world.cluster.add(CONFIG_MAPS, NAMESPACE, config_map(text))
    return world


def texts_of(world: World, stage: str) -> list[str]:
    """The experiment specs that the stage's Jobs carry."""
    jobs = [job for job in world.created_jobs() if stage_of(job)[0] == stage]
    return [job["spec"]["template"]["metadata"]["annotations"][resource.ANNOTATION_EXPERIMENT_SPEC] for job in jobs]


def test_it_runs_the_text_as_it_is() -> None:
    world = started()
    until_phase(world, "Succeeded")
    assert texts_of(world, "train") == [TEXT]
    assert [stage_of(job)[0] for job in world.created_jobs()] == ["prepare", "train", "evaluate"]


def test_it_waits_for_the_text() -> None:
    world = started(None)
    until(world, lambda: condition(world, "Accepted").get("status") == "False")
    accepted = condition(world, "Accepted")
    assert accepted["reason"] == "ExperimentSpecNotFound"
    assert accepted["message"].startswith("spec.experimentSpecFrom.configMapKeyRef.name: there is no ConfigMap config")
    assert not world.created_jobs()
    world.cluster.add(CONFIG_MAPS, NAMESPACE, config_map(TEXT, key="other.txt"))
    until(world, lambda: "has no key config.txt" in condition(world, "Accepted")["message"])
    world.cluster.update(CONFIG_MAPS, NAMESPACE, "config", config_map(TEXT))
    until_phase(world, "Succeeded")
    assert condition(world, "Accepted")["status"] == "True"
    assert condition(world, "Stalled")["status"] == "False"


def test_a_wrong_text_says_where() -> None:
    world = started(TEXT.replace("batch_size_per_gpu: 8", "batch_size: 8"))
    until(world, lambda: condition(world, "Accepted").get("reason") == "InvalidExperimentSpec")
    line = TEXT[: TEXT.index("batch_size_per_gpu")].count("\n") + 1
    message = condition(world, "Accepted")["message"]
    assert message.startswith(f"spec.experimentSpecFrom.configMapKeyRef: config/config.txt:{line}:3: ")
    assert 'no field named "batch_size"' in message
    world.cluster.update(CONFIG_MAPS, NAMESPACE, "config", config_map(TEXT))
    until_phase(world, "Succeeded")


def test_a_text_that_the_resource_cannot_say_is_refused() -> None:
    world = started(TEXT.replace("  top_k: 200\n", ""))
    until(world, lambda: condition(world, "Accepted").get("reason") == "InvalidExperimentSpec")
    assert "nms_config.top_k: is not there: TAO would take 0" in condition(world, "Accepted")["message"]


def test_a_text_that_does_not_go_with_the_rest_is_refused() -> None:
    tiny = TEXT.replace('arch: "resnet"', 'arch: "vgg"').replace("nlayers: 18", "nlayers: 16")
    world = started(tiny)
    until(world, lambda: condition(world, "Accepted").get("reason") == "InvalidExperimentSpec")
    assert "the open toolkit has arch resnet" in condition(world, "Accepted")["message"]


def test_the_resources_own_data_take_the_place_of_the_texts() -> None:
    records = TEXT.replace('label_directory_path: "/workspace/train/labels"', 'tfrecords_path: "/workspace/train/*"')
    world = started(records, dataset=small_spec()["dataset"])
    until_phase(world, "Succeeded")
    (text,) = texts_of(world, "train")
    assert "tfrecords" not in text


def test_an_edit_of_the_text_has_the_effect_of_an_edit() -> None:
    world = started()
    until_phase(world, "Succeeded")
    changed = TEXT.replace("num_epochs: 20", "num_epochs: 30")
    world.cluster.update(CONFIG_MAPS, NAMESPACE, "config", config_map(changed))
    until(world, lambda: len(texts_of(world, "train")) == 2)
    assert texts_of(world, "train")[1] == changed
    until_phase(world, "Succeeded")
    # What the change doesn't concern stands.
    assert [stage_of(job)[0] for job in world.created_jobs()] == ["prepare", "train", "evaluate", "train", "evaluate"]


def test_layout_and_comments_are_no_change() -> None:
    world = started()
    until_phase(world, "Succeeded")
    made = len(world.created_jobs())
    world.cluster.update(CONFIG_MAPS, NAMESPACE, "config", config_map("# the same\n" + TEXT.replace("  ", "\t")))
    for _ in range(2 * LOOK_SECONDS):
        world.round()
    assert len(world.created_jobs()) == made
    assert world.status()["phase"] == "Succeeded"


def test_a_text_is_not_read_at_every_look() -> None:
    world = started()
    until_phase(world, "Succeeded")
    asked: list[Any] = []
    get = world.cluster.get

    async def counted(kind: Any, namespace: str, name: str) -> Object | None:
        if kind == CONFIG_MAPS and name == "config":
            asked.append(world.clock())
        return await get(kind, namespace, name)

    world.cluster.get = counted  # type: ignore[method-assign]
    for _ in range(50):
        world.edit({"metadata": {"annotations": {"look": str(_)}}})
        world.round()
    assert len(asked) >= 2
    assert all((later - earlier).total_seconds() >= FRESH_SECONDS for earlier, later in pairwise(asked))
