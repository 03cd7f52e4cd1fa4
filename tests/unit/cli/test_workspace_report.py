"""The report that a Job writes into the workspace at an experiment's end: what the operator makes, and what the Job does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from memory_cluster import LONGEST_ANNOTATIONS, Fault
from world import World
from yolo_operator.api import resource
from yolo_operator.cli import workspace_report
from yolo_operator.kube.cluster import JOBS, Object
from yolo_operator.kube.errors import ApiError

from examples import NAME, small_spec, tao_spec, whole_spec

SELECTOR = f"{resource.LABEL_COMPONENT}=report"


def world_of(spec: dict[str, Any], **more: Any) -> World:
    world = World(spec, **more)
    world.operator.reconciler.reports = True
    return world


def jobs(world: World) -> list[Object]:
    return world.cluster.objects(JOBS, selector=SELECTOR)


def instructions(job: Object) -> dict[str, Any]:
    text = job["spec"]["template"]["metadata"]["annotations"][resource.ANNOTATION_INSTRUCTIONS]
    assert len(text) < LONGEST_ANNOTATIONS
    return dict(json.loads(text))


# --- what the operator makes ---


def test_an_experiment_that_ends_makes_one_job_beside_its_stages() -> None:
    world = world_of(whole_spec()).rest()
    (job,) = jobs(world)
    assert world.status()["phase"] == "Succeeded"
    assert job["metadata"]["name"].startswith(f"{NAME}-report-")
    assert resource.LABEL_STAGE not in job["metadata"]["labels"]
    assert job["spec"]["ttlSecondsAfterFinished"] > 0
    writes = world.cluster.writes
    world.operator.resync()
    world.rest()
    assert (jobs(world), world.cluster.writes) == ([job], writes)


def test_it_runs_as_prepare_does_and_has_neither_key_nor_token() -> None:
    spec = tao_spec(stages={"prepare": {"resources": {"requests": {"cpu": "250m"}}}}, queueName="lab")
    (job,) = jobs(world_of(spec).rest())
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"][:3] == ["python3", "-m", "yolo_operator.cli.workspace_report"]
    assert container["resources"] == {"requests": {"cpu": "250m"}}
    assert {variable["name"] for variable in container["env"]} == {"HOME", "PYTHONUNBUFFERED"}
    assert pod["automountServiceAccountToken"] is False
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "lab"


def test_a_crash_between_the_job_and_the_status_makes_no_second_one() -> None:
    quiet = world_of(small_spec()).rest()
    for write in range(1, quiet.cluster.writes + 1):
        for after in (False, True):
            world = world_of(small_spec())
            world.cluster.faults[write] = Fault(ApiError(500, "Crash", "no answer"), after=after)
            world.rest()
            assert world.status()["phase"] == "Succeeded"
            assert len(jobs(world)) <= 1


def test_a_report_that_cannot_be_made_keeps_nothing_from_ending() -> None:
    world = world_of(small_spec())
    create = world.cluster.create

    async def refusing(kind: Any, namespace: str | None, body: Object) -> Object:
        if "-report-" in body["metadata"]["name"]:
            raise ApiError(403, "Forbidden", "exceeded quota")
        return await create(kind, namespace, body)

    world.cluster.create = refusing  # type: ignore[method-assign]
    world.rest()
    assert world.condition("Complete")["status"] == "True"
    assert world.reasons().count("ReportNotWritten") == 1


def test_what_ended_under_an_earlier_operator_gets_none() -> None:
    world = World(small_spec()).rest()
    world.restart()
    world.operator.reconciler.reports = True
    world.rest()
    assert not jobs(world)
    world.edit({"spec": {"ttlSecondsAfterFinished": 60}})
    world.rest()
    assert len(jobs(world)) == 1, "another spec: the report says it"


def test_another_outcome_is_another_report() -> None:
    world = world_of(whole_spec()).rest()
    world.edit({"metadata": {"annotations": {resource.ANNOTATION_RERUN: "export=again"}}})
    world.clock.advance(60)
    world.rest()
    assert len({job["metadata"]["name"] for job in jobs(world)}) == 2


# --- what the Job does ---


@pytest.fixture
def told() -> dict[str, Any]:
    world = world_of(whole_spec()).rest()
    return instructions(jobs(world)[0])


def in_workspace(root: Path, told: dict[str, Any], **owner: Any) -> Path:
    file = root / ".yolo-operator" / "owner.json"
    file.parent.mkdir()
    mine = {"namespace": told["namespace"], "name": told["experiment"], "uid": told["uid"]}
    file.write_text(json.dumps(mine | owner))
    page = root / "instructions.json"
    page.write_text(json.dumps(told | {"workspace": str(root)}))
    return page


def test_the_page_has_the_numbers_of_the_status(tmp_path: Path, told: dict[str, Any]) -> None:
    world = world_of(whole_spec()).rest()
    train = tmp_path / world.stage("train")["directory"]
    train.mkdir(parents=True)
    (train / "report.json").write_text(json.dumps({"history": [{"epoch": 1, "loss": 9.5}, {"epoch": 2, "loss": 8.5}]}))
    assert workspace_report.main(["", str(in_workspace(tmp_path, told))]) == 0
    page = (tmp_path / "stages" / "report.html").read_text()
    status = world.status()
    assert f"{status['mAP']:.4f}" in page
    assert "train, epoch 2: 8.5" in page
    for stage in status["stages"]:
        assert all(artifact["sha256"] in page for artifact in stage.get("artifacts", ()))
    assert all(stage["image"] in page for stage in status["stages"] if stage.get("image"))
    assert sorted(path.name for path in (tmp_path / "stages").iterdir()) == sorted([train.name, "report.html"])


def test_another_experiments_directory_is_left_alone(
    tmp_path: Path, told: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert workspace_report.main(["", str(in_workspace(tmp_path, told, uid="other"))]) == 1
    assert "not this experiment's" in capsys.readouterr().err
    assert not (tmp_path / "stages").exists()


def test_a_directory_that_nobody_has_claimed_is_left_alone(tmp_path: Path, told: dict[str, Any]) -> None:
    file = in_workspace(tmp_path, told)
    (tmp_path / ".yolo-operator" / "owner.json").unlink()
    assert workspace_report.main(["", str(file)]) == 1
    assert not (tmp_path / "stages").exists()
