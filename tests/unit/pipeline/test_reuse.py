"""What runs, what does not have to, and what the status says of it: lost artifacts, other experiments, forced runs, gates."""

from __future__ import annotations

import json
from typing import Any

import pytest
from job_simulator import Outcome, stage_of
from world import World, timeless
from yolo_operator.api import resource
from yolo_operator.kube.cluster import EXPERIMENTS, JOBS, Object
from yolo_operator.kube.errors import ApiError
from yolo_operator.pipeline.names import rerun_tokens
from yolo_operator.pipeline.plan import REMAKES

from examples import NAME, NAMESPACE, experiment_body, small_spec, whole_spec


def stages(world: World, since: int = 0, name: str = NAME) -> list[str]:
    """Stages of the Jobs of an experiment that were made, in order."""
    jobs = [job for job in world.created_jobs()[since:] if job["metadata"]["labels"][resource.LABEL_EXPERIMENT] == name]
    return [f"{stage} {variant}".strip() for stage, variant in map(stage_of, jobs)]


def instructions(job: Object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(job["spec"]["template"]["metadata"]["annotations"][resource.ANNOTATION_INSTRUCTIONS])
    return found


def artifact(world: World, stage: str, variant: str = "") -> str:
    """The path of a stage's first artifact."""
    return f"/workspace/{world.stage(stage, variant)['artifacts'][0]['path']}"


def annotate(world: World, **annotations: str | None) -> None:
    names = {f"{resource.GROUP}/{name}": value for name, value in annotations.items()}
    world.edit({"metadata": {"annotations": names}})


# --- why ---


def test_the_status_says_why_each_stage_ran() -> None:
    world = World(whole_spec()).rest()
    assert {record["why"] for record in world.status()["stages"]} == {"new"}
    world.edit({"spec": {"experimentSpec": {"trainingConfig": {"numEpochs": 40}}, "toolkit": {"image": "open:2"}}})
    world.rest()
    why = {f"{r['name']} {r.get('variant', '')}".strip(): r["why"] for r in world.status()["stages"]}
    assert why["prepare"] == "new"
    assert why["anchors"] == "inputs changed: image"
    assert why["train"] == "inputs changed: image, command, experiment spec"
    assert why["prune 0.1"] == "inputs changed: image, command, experiment spec, model"


def test_a_result_that_the_workspace_holds_is_said_to_be_reused() -> None:
    world = World(small_spec()).rest()
    world.edit({"spec": {"experimentSpec": {"trainingConfig": {"numEpochs": 40}}}})
    world.rest()
    for job in world.cluster.objects(JOBS):
        world.cluster.remove(JOBS, NAMESPACE, job["metadata"]["name"])
    world.edit({"spec": {"experimentSpec": {"trainingConfig": {"numEpochs": 20}}}})
    world.rest()
    assert world.stage("train")["why"] == "reused: the workspace held this result"
    assert world.stage("train")["reused"] is True


def test_unlabelled_images_have_no_part_in_the_training() -> None:
    world = World(small_spec()).rest()
    made = len(world.created_jobs())
    world.edit({"spec": {"dataset": {"unlabelled": {"images": "test"}}, "inference": {}}})
    world.rest()
    assert stages(world, made) == ["prepare", "inference"]


def test_every_attempt_keeps_its_log_and_node() -> None:
    world = World(small_spec(), {("train", ""): [Outcome.TRANSIENT]}).rest()
    record = world.stage("train")
    (attempt,) = record["attempts"]
    assert attempt["log"] == f"{record['directory']}/logs/attempt-1.log"
    assert attempt["node"] == "node-1"


# --- artifacts that are lost ---


@pytest.mark.parametrize("change", [False, True])
def test_an_artifact_that_is_lost_is_made_again(change: bool) -> None:
    world = World(whole_spec(prune={"thresholds": [0.1], "select": {"threshold": 0.1}}, export=None, inference=None)).rest()
    made, before = len(world.created_jobs()), timeless(world.status())
    world.simulator.vandalise(artifact(world, "train"), change=change)
    world.edit({"spec": {"prune": {"thresholds": [0.1, 0.3]}}})
    world.rest()
    assert world.status()["phase"] == "Succeeded"
    again = stages(world, made)
    assert again[:2] == ["prune 0.3", "train"]
    trained = world.stage("train")
    assert trained["remakes"] == 1
    assert "made again: prune 0.3 found" in trained["why"]
    if change:
        # Nothing that lies beside the changed file is trusted.
        assert trained["directory"].endswith("-1")
        assert {"evaluate", "prune 0.1", "retrain"} <= set(again)
    else:
        assert set(again) == {"prune 0.3", "train", "evaluate-pruned 0.3"}
        assert before["stages"][2]["digest"] == trained["digest"]
    assert not world.simulator.problems


def test_an_artifact_that_is_lost_over_and_over_is_a_persons_business() -> None:
    world = World(small_spec())
    world.until(lambda: world.states().get("train") == "Succeeded")
    path = artifact(world, "train")

    def vandal() -> None:
        if world.simulator.workspace.get(path):
            world.simulator.vandalise(path, change=False)

    world.after_round = vandal
    world.rest()
    assert world.status()["phase"] == "Failed"
    assert world.condition("Failed")["reason"] == "InputMissing"
    assert f"has made it again {REMAKES} times" in world.status()["message"]
    assert stages(world).count("train") == 1 + REMAKES
    world.after_round = lambda: None
    annotate(world, retry="1")
    world.rest()
    assert world.status()["phase"] == "Succeeded"


def test_labels_that_prepare_wrote_are_looked_at_before_they_are_read() -> None:
    world = World(small_spec())
    world.until(lambda: world.states().get("prepare") == "Succeeded")
    world.simulator.vandalise(artifact(world, "prepare"), change=False)
    world.rest()
    assert world.status()["phase"] == "Succeeded"
    assert stages(world) == ["prepare", "anchors", "prepare", "anchors", "train", "evaluate"]


def test_a_file_of_the_users_own_is_never_made() -> None:
    world = World(small_spec())
    world.until(lambda: world.states().get("anchors") == "Succeeded")
    original = world.simulator._run

    def run(order: dict[str, Any], outcome: Outcome, known: Any) -> tuple[int, dict[str, Any]]:
        code, report = original(order, outcome, known)
        if order["stage"] == "train":
            lost = {"outcome": "Failed", "reason": "InputMissing", "class": "user", "input": "/workspace/mine/pretrained.tlt"}
            return 10, {**report, **lost}
        return code, report

    world.simulator._run = run  # type: ignore[method-assign]
    world.rest()
    assert (world.states()["train"], stages(world)) == ("Failed", ["prepare", "anchors", "train"])


# --- another place ---


def test_on_another_directory_every_stage_runs_anew() -> None:
    world = World(small_spec(workspace={"claimName": "data", "subPath": "a"}, dataset=_elsewhere())).rest()
    digests = [record["digest"] for record in world.status()["stages"]]
    made = len(world.created_jobs())
    world.edit({"spec": {"workspace": {"subPath": "b"}}})
    world.rest()
    assert world.status()["phase"] == "Succeeded"
    assert world.status()["subPath"] == "b"
    assert stages(world, made) == ["prepare", "anchors", "train", "evaluate"]
    assert [record["digest"] for record in world.status()["stages"]] == digests
    assert len({job["metadata"]["name"] for job in world.created_jobs()}) == 8


def _elsewhere() -> dict[str, Any]:
    return {**small_spec()["dataset"], "claimName": "pictures"}


# --- another experiment ---


def other(**changes: Any) -> dict[str, Any]:
    return small_spec(
        **{"from": {"experiment": NAME}},
        workspace={"claimName": "data", "subPath": "other"},
        dataset=_elsewhere(),
        **changes,
    )


def shared(**changes: Any) -> World:
    world = World(small_spec(workspace={"claimName": "data", "subPath": "first"}, dataset=_elsewhere())).rest()
    world.cluster.add(EXPERIMENTS, NAMESPACE, experiment_body(other(**changes), "other"))
    return world


def test_finished_stages_of_another_experiment_are_taken_over() -> None:
    world = shared().rest()
    assert world.status("other")["phase"] == "Succeeded"
    for record in world.status("other")["stages"]:
        assert record["why"] == f"reused: from experiment {NAME}"
    others = [job for job in world.created_jobs() if job["metadata"]["labels"][resource.LABEL_EXPERIMENT] == "other"]
    (train,) = [job for job in others if stage_of(job)[0] == "train"]
    container = train["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "yolo-operator:test"
    (mount,) = [mount for mount in container["volumeMounts"] if mount["mountPath"] == "/from"]
    assert mount == {"name": "workspace", "mountPath": "/from", "readOnly": True, "subPath": "first"}
    assert instructions(train)["adopt"] == {"workspace": "/from", "only": True}


def test_what_differs_is_run_and_what_is_behind_it() -> None:
    world = shared(train={"checkpoint": "last"}).rest()
    adopted = {record["name"] for record in world.status("other")["stages"] if record["why"].startswith("reused")}
    assert adopted == {"prepare", "anchors"}
    assert world.status("other")["phase"] == "Succeeded"


def test_where_there_is_nothing_to_take_over_the_stage_is_run_once_and_for_all() -> None:
    world = shared()
    world.simulator.nothing_to_adopt = True
    world.rest()
    assert world.status("other")["phase"] == "Succeeded"
    assert stages(world, name="other") == [stage for stage in ("prepare", "anchors", "train", "evaluate") for _ in range(2)]
    for record in world.status("other")["stages"]:
        assert (record["notAdopted"], record["failures"]) == (True, 0)


def test_an_experiment_that_is_not_there_is_named_and_awaited() -> None:
    world = World(other())
    world.until(lambda: bool(world.status()))
    accepted = world.condition("Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", "SourceNotFound")
    assert "spec.from.experiment" in accepted["message"]
    assert world.created_jobs() == []


# --- forced runs, cancelling ---


def test_a_forced_run_takes_along_what_reads_its_results() -> None:
    world = World(whole_spec()).rest()
    made = len(world.created_jobs())
    annotate(world, rerun="retrain=1")
    world.rest()
    assert sorted(stages(world, made)) == ["evaluate-exported", "evaluate-retrained", "export", "inference", "retrain"]
    assert world.stage("retrain")["why"] == "asked for: rerun 1"
    annotate(world, rerun="retrain=1,prepare=2")
    world.rest()
    assert stages(world, made + 5)[0] == "prepare"
    assert len(stages(world, made + 5)) == len(world.status()["stages"])
    assert world.status()["phase"] == "Succeeded"


@pytest.mark.parametrize(
    ("annotation", "tokens"),
    [
        ("train=1", {"train": "1"}),
        ("train=1, prune/0.5=x", {"train": "1", "prune 0.5": "x"}),
        ("train", {}),
        ("=1,train=", {}),
        ("", {}),
    ],
)
def test_what_the_rerun_annotation_says(annotation: str, tokens: dict[str, str]) -> None:
    assert rerun_tokens(annotation) == tokens


def test_a_cancelled_experiment_stops_and_without_the_annotation_goes_on() -> None:
    world = World(small_spec())
    world.until(lambda: world.states().get("train") == "Running")
    annotate(world, cancel="now")
    world.rest()
    assert world.status()["phase"] == "Failed"
    assert world.condition("Failed")["reason"] == "Cancelled"
    assert world.states() == {"prepare": "Succeeded", "anchors": "Succeeded", "train": "Skipped", "evaluate": "Skipped"}
    made = len(world.created_jobs())
    annotate(world, cancel=None)
    world.rest()
    assert world.status()["phase"] == "Succeeded"
    assert stages(world, made) == ["train", "evaluate"]


def test_cancelling_what_is_complete_changes_nothing() -> None:
    world = World(small_spec()).rest()
    annotate(world, cancel="now")
    world.rest()
    assert world.status()["phase"] == "Succeeded"


# --- gates ---


def test_a_closed_gate_ends_the_experiment_and_an_open_one_lets_it_go_on() -> None:
    world = World(whole_spec(gates={"train": {"minMap": 0.95, "minAp": {"license_plate": 0.2}}})).rest()
    assert world.status()["phase"] == "Failed"
    failed = world.condition("Failed")
    assert failed["reason"] == "GateClosed"
    assert failed["message"] == "gate train is closed: mAP 0.9000 is below minMap 0.95"
    assert world.status()["gates"] == [{"name": "train", "open": False, "message": "mAP 0.9000 is below minMap 0.95"}]
    assert stages(world) == ["prepare", "anchors", "train", "evaluate"]
    assert world.states()["prune 0.1"] == "Skipped"
    assert world.stage("train")["artifacts"]
    made = len(world.created_jobs())
    world.edit({"spec": {"gates": {"train": {"minMap": 0.9}}}})
    world.rest()
    assert world.status()["phase"] == "Succeeded"
    assert "train" not in stages(world, made)


@pytest.mark.parametrize(
    ("gates", "message"),
    [
        ({"retrain": {"maxMapDrop": {"by": 0.005}}}, ""),
        ({"retrain": {"maxMapDrop": {"by": 0.005}, "minAp": {"top_left": 0.95}}}, "AP of top_left 0.9100 is below minAp 0.95"),
        ({"prune": {"maxMapDrop": {"by": 0.01}}}, "mAP 0.8850 is 0.0150 below that of train (0.9000); maxMapDrop allows 0.01"),
        ({"export": {"maxMapDrop": {"of": "retrain", "by": 0.005}}}, "mAP 0.9000 is 0.0100 below that of retrain (0.9100)"),
    ],
)
def test_gates_after_each_evaluation(gates: dict[str, Any], message: str) -> None:
    world = World(whole_spec(gates=gates)).rest()
    assert world.status()["phase"] == ("Failed" if message else "Succeeded")
    assert message in world.status()["message"]
    assert all(gate["open"] is not bool(message) for gate in world.status()["gates"])


# --- what the API server refuses ---


def test_a_refused_job_does_not_hide_what_was_judged_beside_it() -> None:
    world = World(whole_spec(maxParallel=2, prune={"thresholds": [0.1, 0.3], "select": {"maxMapDrop": 0.02}}))
    world.until(lambda: world.states().get("prune 0.1") == "Running")

    def refuse(request: Any) -> None:
        if request.verb == "create" and request.resource == "jobs" and "evaluate-pruned" in request.name:
            raise ApiError(403, "Forbidden", "admission webhook says no")

    world.cluster.on_request = refuse
    world.until(lambda: world.states()["prune 0.1"] == world.states()["prune 0.3"] == "Succeeded")
    assert world.condition("Stalled")["reason"] == "Rejected"
    assert "admission webhook says no" in world.status()["message"]
    waiting = world.stage("evaluate-pruned", "0.1")
    assert (waiting["state"], waiting["reason"], waiting["attempt"]) == ("Pending", "Rejected", 0)
    assert "Rejected" in world.reasons()
    world.cluster.on_request = lambda request: None
    world.rest()
    assert world.status()["phase"] == "Succeeded"
    assert world.condition("Stalled")["status"] == "False"


# --- the sweep ---


def test_the_sweep_is_a_table_with_its_front() -> None:
    spec = whole_spec(prune={"thresholds": [0.1, 0.3, 0.5], "select": {"maxMapDrop": 0.02}})
    world = World(spec, ratio_of=lambda threshold: {"0.1": 0.9, "0.3": 0.3, "0.5": 0.3}[threshold]).rest()
    rows = {row["name"]: row for row in world.status()["variants"]}
    assert {name: row["pareto"] for name, row in rows.items()} == {"0.1": True, "0.3": True, "0.5": False}
    assert {name: row["fits"] for name, row in rows.items()} == {"0.1": True, "0.3": True, "0.5": False}
    assert "above 0.02" in rows["0.5"]["message"]
    assert rows["0.3"]["retrainedMAP"] == 0.91
    assert "retrainedMAP" not in rows["0.1"]


def test_a_deadline_and_a_stall_limit_reach_the_container() -> None:
    retry = {"activeDeadlineSeconds": 3600, "stallSeconds": 600}
    world = World(small_spec(retry=retry, stages={"train": {"retry": {"stallSeconds": 900}}})).rest()
    for job in world.created_jobs():
        assert job["spec"]["activeDeadlineSeconds"] == 3600
        assert instructions(job)["stallSeconds"] == (900 if stage_of(job)[0] == "train" else 600)


def test_annotations_of_any_length_are_borne() -> None:
    world = World(small_spec(), script={("train", ""): [Outcome.USER]}).rest()
    assert world.status()["phase"] == "Failed"
    annotate(world, retry="again " + "x" * 300)
    assert world.rest().status()["phase"] == "Succeeded"
    annotate(world, retry="again " + "x" * 301)
    before = len(world.created_jobs())
    annotate(world, rerun="evaluate=" + "y" * 1000)
    assert world.rest().status()["phase"] == "Succeeded"
    assert len(world.created_jobs()) == before + 1
    assert world.stage("evaluate")["why"].startswith("asked for: rerun yyy")
    assert len(world.status()["retry"]) <= 128
