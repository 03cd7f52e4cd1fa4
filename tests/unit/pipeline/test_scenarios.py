"""What happens to an experiment, and what the operator makes of it."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from job_simulator import Outcome, default_map, is_finished, owner_of, stage_of
from memory_cluster import finish
from world import World, timeless
from yolo_operator.api import resource
from yolo_operator.controller.reconcile import NameTaken
from yolo_operator.kube.cluster import CLAIMS, CONFIG_MAPS, EXPERIMENTS, JOBS, PODS
from yolo_operator.kube.errors import ApiError
from yolo_operator.pipeline.times import from_text, seconds_between

from examples import NAME, NAMESPACE, experiment_body, small_spec, tao_spec, whole_spec


def stages(world: World, since: int = 0) -> list[str]:
    """Stages of the Jobs that were made, in order."""
    return [f"{stage} {variant}".strip() for stage, variant in map(stage_of, world.created_jobs()[since:])]


def annotate(world: World, token: str) -> None:
    world.edit({"metadata": {"annotations": {resource.ANNOTATION_RETRY: token}}})


def running(world: World, stage: str, variant: str = "") -> bool:
    """Whether the stage's container runs, as far as the cluster knows."""
    pods = world.cluster.objects(PODS, NAMESPACE)
    return any(stage_of(pod) == (stage, variant) and pod["status"]["phase"] == "Running" for pod in pods)


# --- editing ---


def test_another_threshold_runs_from_pruning_only() -> None:
    spec = whole_spec(prune={"thresholds": [0.1], "select": {"threshold": 0.1}})
    world = World(spec).rest()
    made = len(world.created_jobs())
    world.edit({"spec": {"prune": {"thresholds": [0.1, 0.3]}}})
    world.rest()
    assert stages(world, made) == ["prune 0.3", "evaluate-pruned 0.3"]
    assert world.status()["phase"] == "Succeeded"


def test_an_earlier_result_is_not_told_as_what_is_waited_for() -> None:
    world = World(whole_spec(prune={"thresholds": [0.1], "select": {"threshold": 0.1}})).rest()
    earlier = world.stage("retrain")["message"]
    world.edit({"spec": {"prune": {"thresholds": [0.1, 0.3]}}})
    world.until(lambda: world.states().get("prune 0.3") == "Running")
    assert world.stage("retrain") | {"state": "Pending", "reason": "Completed", "message": earlier} == world.stage("retrain")
    assert earlier not in world.status().get("message", "")


def test_another_choice_runs_from_retraining() -> None:
    world = World(whole_spec()).rest()
    assert world.status()["chosen"]["variant"] == "0.3"
    made = len(world.created_jobs())
    world.edit({"spec": {"prune": {"select": {"maxMapDrop": 0.03}}}})
    world.rest()
    assert world.status()["chosen"]["variant"] == "0.5"
    again = ["retrain", "evaluate-retrained", "export", "inference", "evaluate-exported"]
    assert sorted(stages(world, made)) == sorted(again)


def test_an_edit_back_finds_the_earlier_jobs_results() -> None:
    world = World(whole_spec(retrain=None, export=None, inference=None)).rest()
    before, made = timeless(world.status()), len(world.created_jobs())
    world.edit({"spec": {"prune": {"thresholds": [0.1, 0.3]}}})
    world.rest()
    assert "prune 0.5" not in world.states()
    world.edit({"spec": {"prune": {"thresholds": [0.1, 0.3, 0.5]}}})
    world.rest()
    assert stages(world, made) == []
    assert timeless(world.status())["stages"] == before["stages"]


def test_a_lost_status_is_found_again_without_a_job() -> None:
    world = World(small_spec()).rest()
    made = len(world.created_jobs())
    world.cluster.update(EXPERIMENTS, NAMESPACE, NAME, {"status": None}, subresource="status")
    body = world.cluster.peek(EXPERIMENTS, NAMESPACE, NAME)
    assert body is not None
    for name in body["status"]:
        world.cluster.update(EXPERIMENTS, NAMESPACE, NAME, {"status": {name: None}}, subresource="status")
    assert world.status() == {}
    world.rest()
    assert world.status()["phase"] == "Succeeded"
    assert stages(world, made) == []


def test_editing_the_training_stops_what_depends_on_it() -> None:
    world = World(whole_spec())
    world.until(lambda: running(world, "prune", "0.1"))
    made = len(world.created_jobs())
    world.edit({"spec": {"experimentSpec": {"trainingConfig": {"numEpochs": 40}}}})
    world.rest()
    assert world.status()["phase"] == "Succeeded"
    assert not world.simulator.problems
    assert stages(world, made)[0] == "train"
    assert Counter(stages(world, made)) == {stage: 1 for stage in world.states() if stage not in ("prepare", "anchors")}
    assert world.stage("train")["metrics"]["epochs"] == 40


def test_a_stage_that_the_spec_loses_is_stopped() -> None:
    world = World(whole_spec())
    world.until(lambda: running(world, "export"))
    world.edit({"spec": {"export": None}})
    world.rest()
    assert world.status()["phase"] == "Succeeded"
    assert "export" not in world.states()
    assert "export" not in [stage_of(job)[0] for job in world.cluster.objects(JOBS)]


def test_an_edit_of_the_same_meaning_runs_nothing() -> None:
    world = World(small_spec()).rest()
    made = len(world.created_jobs())
    world.edit({"spec": {"retry": {"limit": 7}, "resources": {"requests": {"cpu": "1"}}, "maxParallel": 2}})
    world.rest()
    assert stages(world, made) == []
    assert world.status()["observedGeneration"] == 2
    assert {condition["observedGeneration"] for condition in world.status()["conditions"]} == {2}


# --- failures and retries ---


def test_a_failure_skips_the_rest_and_names_its_stage() -> None:
    world = World(whole_spec(), {("train", ""): [Outcome.USER]}).rest()
    assert world.states()["train"] == "Failed"
    assert {state for stage, state in world.states().items() if stage not in ("prepare", "anchors", "train")} == {"Skipped"}
    failed = world.condition("Failed")
    assert (failed["status"], failed["reason"]) == ("True", "BadInput")
    assert "train" in failed["message"]
    assert world.status()["stage"] == "train"
    assert world.condition("Stalled")["status"] == "True"


def test_transient_failures_back_off_and_end_at_the_limit() -> None:
    spec = small_spec(retry={"limit": 2, "backoffSeconds": 10})
    world = World(spec, {("train", ""): [Outcome.TRANSIENT] * 3})
    waits = []

    def ended(attempt: int) -> bool:
        record = world.stage("train") if "train" in world.states() else {}
        return "retryTime" in record and record["attempt"] == attempt

    for attempt in (1, 2):
        world.until(lambda: ended(attempt))  # noqa: B023
        record = world.stage("train")
        waits.append(seconds_between(record["attempts"][-1]["finishTime"], record["retryTime"]))
        assert world.clock() < from_text(record["retryTime"])
    world.rest()
    assert 10 <= waits[0] <= 13
    assert 20 <= waits[1] <= 23
    record = world.stage("train")
    assert (record["state"], record["attempt"], record["failures"]) == ("Failed", 3, 3)
    assert [attempt["class"] for attempt in record["attempts"]] == ["transient"] * 3
    starts = [attempt["startTime"] for attempt in record["attempts"]]
    assert starts == sorted(set(starts))
    assert all(attempt["startTime"] <= attempt["finishTime"] for attempt in record["attempts"])


def test_the_infrastructure_never_counts() -> None:
    outcomes = [Outcome.POD_LOST, Outcome.INFRASTRUCTURE, Outcome.JOB_DELETED] * 4
    world = World(small_spec(retry={"limit": 0}), {("train", ""): outcomes}).rest()
    record = world.stage("train")
    assert (record["state"], record["attempt"], record["failures"]) == ("Succeeded", 13, 0)
    assert len(record["attempts"]) == 10
    assert {attempt["class"] for attempt in record["attempts"]} == {"infrastructure"}


def test_the_image_that_ran_is_recorded_by_its_digest() -> None:
    world = World(small_spec(), {("train", ""): [Outcome.POD_LOST]})
    world.until(lambda: "Running" in world.states().values())
    assert "@sha256:" in next(record["image"] for record in world.status()["stages"] if record["state"] == "Running")
    world.rest()
    images = {record["name"]: record["image"] for record in world.status()["stages"]}
    assert images["train"] == images["evaluate"] != images["prepare"]
    assert all("@sha256:" in image for image in images.values())


def test_an_evicted_pod_is_replaced_within_its_job() -> None:
    world = World(small_spec(), {("train", ""): [Outcome.DISRUPTED]}).rest()
    assert world.stage("train")["attempt"] == 1
    assert "attempts" not in world.stage("train")


def test_a_complete_job_without_a_report_is_no_success_yet() -> None:
    world = World(small_spec(), {("train", ""): [Outcome.NO_REPORT]}).rest()
    record = world.stage("train")
    assert (record["state"], record["attempt"], record["reused"]) == ("Succeeded", 2, True)
    assert record["attempts"][0]["reason"] == "ReportLost"


def test_a_retry_annotation_runs_what_failed_and_what_was_skipped_for_it() -> None:
    script = {("prune", "0.1"): [Outcome.USER], ("prune", "0.3"): [Outcome.TRANSIENT]}
    world = World(whole_spec(maxParallel=2), script).rest()
    assert world.states()["prune 0.1"] == "Failed"
    assert {world.states()["prune 0.3"], world.states()["prune 0.5"]} == {"Skipped"}
    annotate(world, "1")
    world.rest()
    assert world.status()["phase"] == "Succeeded"
    assert world.status()["retry"] == "1"
    assert world.stage("prune", "0.1")["attempt"] == 2
    assert world.condition("Failed")["status"] == "False"


def test_an_old_retry_annotation_does_nothing() -> None:
    world = World(small_spec(), {("train", ""): [Outcome.USER, Outcome.USER]})
    annotate(world, "1")
    world.rest()
    assert world.stage("train")["attempt"] == 1
    annotate(world, "2")
    world.rest()
    assert world.stage("train")["attempt"] == 2
    assert world.status()["phase"] == "Failed"


def test_no_variant_within_the_bounds_fails_the_experiment() -> None:
    spec = whole_spec(prune={"thresholds": [0.5, 0.7], "select": {"maxMapDrop": 0.0}}, retrain=None, export=None, inference=None)
    world = World(spec).rest()
    assert world.status()["phase"] == "Failed"
    assert world.condition("Failed")["reason"] == "NoVariantQualifies"
    assert world.condition("Complete")["status"] == "False"
    assert "0.5" in world.condition("Failed")["message"]


def test_several_candidates_are_retrained_and_the_best_after_that_goes_on() -> None:
    spec = whole_spec(
        prune={"thresholds": [0.1, 0.3, 0.5, 0.7], "select": {"maxMapDrop": 0.03}}, retrain={"numEpochs": 6, "candidates": 2}
    )
    maps = {("evaluate-retrained", "0.3"): 0.92, ("evaluate-retrained", "0.5"): 0.91}
    world = World(spec, map_of=lambda stage, variant: maps.get((stage, variant), default_map(stage, variant)))
    world.until(lambda: "train" in world.states())
    assert world.states()["retrain"] == "Pending"
    world.rest()
    assert world.status()["phase"] == "Succeeded"
    assert {stage for stage in stages(world) if "retrain" in stage} == {
        *("retrain 0.3", "retrain 0.5"),
        *("evaluate-retrained 0.3", "evaluate-retrained 0.5"),
    }
    assert "retrain" not in world.states()
    assert world.status()["chosen"]["variant"] == "0.3"
    export = next(job for job in world.created_jobs() if stage_of(job)[0] == "export")
    body = json.loads(export["spec"]["template"]["metadata"]["annotations"][resource.ANNOTATION_INSTRUCTIONS])
    assert body["inputs"][0]["path"].endswith(world.stage("retrain", "0.3")["artifacts"][0]["path"])


# --- admission ---


def test_a_missing_secret_stalls_and_goes_on_by_itself() -> None:
    world = World(tao_spec())
    world.simulator.secret_missing = True
    world.until(lambda: world.status().get("stages") is not None and world.condition("Accepted")["status"] == "False")
    accepted = world.condition("Accepted")
    assert accepted["reason"] == "SecretNotFound"
    assert "spec.toolkit.encryptionKeySecretRef (tao/passphrase)" in accepted["message"]
    assert world.condition("Stalled")["status"] == "True"
    assert world.condition("Failed")["status"] == "False"
    world.simulator.secret_missing = False
    world.rest()
    assert world.status()["phase"] == "Succeeded"
    assert world.condition("Accepted")["status"] == "True"
    assert all(record["attempt"] == 1 for record in world.status()["stages"])


def test_a_missing_secret_of_ngc_is_told_with_its_field() -> None:
    ngc = {"model": "nvidia/tao/a:b", "file": "a.hdf5", "apiKeySecretRef": {"name": "ngc", "key": "key"}}
    world = World(small_spec(pretrained={"ngc": ngc}))
    world.simulator.secret_missing = True
    world.until(lambda: world.status().get("stages") is not None and world.condition("Accepted")["status"] == "False")
    assert "spec.pretrained.ngc.apiKeySecretRef (ngc/key)" in world.condition("Accepted")["message"]
    world.simulator.secret_missing = False
    world.rest()
    assert world.status()["phase"] == "Succeeded"


def test_a_missing_claim_is_named_and_awaited() -> None:
    world = World(small_spec(), claim=False)
    world.until(lambda: bool(world.status()))
    assert world.condition("Accepted")["reason"] == "ClaimNotFound"
    assert "spec.workspace.claimName" in world.condition("Accepted")["message"]
    assert world.created_jobs() == []
    for _ in range(5):
        world.round()
    world.cluster.add(CLAIMS, NAMESPACE, {"metadata": {"name": "data"}})
    world.until(lambda: world.status()["phase"] == "Succeeded")


@pytest.mark.parametrize(("retention", "owned"), [("Delete", True), ("Retain", False)])
def test_a_claim_is_made_from_the_template(retention: str, owned: bool) -> None:
    workspace = {"volumeClaimTemplate": {"storage": "1Gi"}, "retention": retention}
    world = World(small_spec(workspace=workspace), claim=False).rest()
    claim = world.cluster.peek(CLAIMS, NAMESPACE, f"{NAME}-workspace")
    assert claim is not None
    assert bool(owner_of(claim)) is owned
    assert world.status()["claimName"] == f"{NAME}-workspace"
    assert world.status()["phase"] == "Succeeded"


def test_two_experiments_in_one_directory_run_one_after_the_other_is_gone() -> None:
    world = World(small_spec())
    world.clock.advance(60)
    world.cluster.add(EXPERIMENTS, NAMESPACE, experiment_body(small_spec(), "younger"))
    world.until(lambda: world.status().get("phase") == "Succeeded")
    assert world.condition("Accepted", "younger")["reason"] == "WorkspaceInUse"
    assert NAME in world.condition("Accepted", "younger")["message"]
    assert {job["metadata"]["labels"][resource.LABEL_EXPERIMENT] for job in world.created_jobs()} == {NAME}
    world.cluster.remove(EXPERIMENTS, NAMESPACE, NAME)
    world.until(lambda: world.status("younger")["phase"] == "Succeeded")


def test_two_directories_of_one_claim_are_no_rivals() -> None:
    world = World(small_spec(workspace={"claimName": "data", "subPath": "a"}))
    world.cluster.add(
        EXPERIMENTS, NAMESPACE, experiment_body(small_spec(workspace={"claimName": "data", "subPath": "b"}), "other")
    )
    world.until(lambda: {world.status().get("phase"), world.status("other").get("phase")} == {"Succeeded"})


def claim_looks(world: World) -> int:
    return sum((request.verb, request.resource) == ("get", CLAIMS.plural) for request in world.cluster.requests)


def test_experiments_of_a_burst_ask_for_their_claim_once() -> None:
    world = World(small_spec(workspace={"claimName": "data", "subPath": "a"}))

    def more(name: str) -> None:
        body = experiment_body(small_spec(workspace={"claimName": "data", "subPath": name}), name)
        world.cluster.add(EXPERIMENTS, NAMESPACE, body)
        world.until(lambda: bool(world.status(name).get("stages")))

    world.until(lambda: bool(world.status().get("stages")))
    more("b")
    assert claim_looks(world) == 1
    world.clock.advance(31)
    more("c")
    assert claim_looks(world) == 2


def test_what_the_api_server_refuses_is_shown_and_tried_again() -> None:
    world = World(small_spec())
    refused = ApiError(403, "Forbidden", "admission webhook says no")

    def refuse(request: Any) -> None:
        if request.verb == "create" and request.resource == "jobs":
            raise refused

    world.cluster.on_request = refuse
    world.until(lambda: bool(world.status()))
    assert world.condition("Stalled")["reason"] == "Rejected"
    assert "admission webhook says no" in world.status()["message"]
    world.cluster.on_request = lambda request: None
    world.rest()
    assert world.status()["phase"] == "Succeeded"
    assert world.condition("Stalled")["status"] == "False"


# --- suspend, queues, parallelism ---


def test_suspend_stops_the_job_and_resume_goes_on() -> None:
    world = World(small_spec())
    world.until(lambda: world.states().get("train") == "Running")
    world.edit({"spec": {"suspend": True}})
    world.rest()
    assert world.status()["phase"] == "Suspended"
    assert world.condition("Suspended")["status"] == "True"
    assert world.stage("train")["state"] == "Suspended"
    assert not [job for job in world.cluster.objects(JOBS) if not is_finished(job)]
    world.edit({"spec": {"suspend": False}})
    world.rest()
    record = world.stage("train")
    assert (record["state"], record["attempt"], record["failures"]) == ("Succeeded", 2, 0)
    assert "attempts" not in record
    assert world.condition("Suspended")["status"] == "False"
    assert Counter(world.reasons())["Suspended"] == Counter(world.reasons())["Resumed"] == 1


def test_suspended_means_that_nothing_runs_any_more() -> None:
    world = World(small_spec())
    world.until(lambda: world.states().get("train") == "Running")
    world.edit({"spec": {"suspend": True}})
    stopping = []

    def look() -> None:
        live = [job for job in world.cluster.objects(JOBS) if not is_finished(job)]
        held = [c["status"] for c in world.status()["conditions"] if c["type"] == "Suspended"] == ["True"]
        stopping.append(bool(live) and world.stage("train")["state"] == "Suspended")
        assert not (live and held)

    world.after_round = look
    world.rest()
    assert any(stopping)
    assert world.condition("Suspended")["status"] == "True"


def test_resume_before_the_job_has_gone_waits_for_it() -> None:
    world = World(small_spec())
    world.until(lambda: world.states().get("train") == "Running")
    world.edit({"spec": {"suspend": True}})
    world.operator.deliver()
    world.work()
    world.edit({"spec": {"suspend": False}})
    world.rest()
    record = world.stage("train")
    assert (record["state"], record["attempt"], record["failures"]) == ("Succeeded", 2, 0)
    assert not world.simulator.problems


def test_suspended_from_the_start_makes_no_job() -> None:
    world = World(small_spec(suspend=True)).rest()
    assert world.status()["phase"] == "Suspended"
    assert world.created_jobs() == []


def test_a_job_that_kueue_holds_is_queued_and_never_touched() -> None:
    world = World(small_spec(queueName="gpus"))
    world.simulator.holds_jobs = True
    world.until(lambda: world.status().get("phase") == "Queued")
    assert world.stage("prepare")["state"] == "Queued"
    world.simulator.holds_jobs = False
    world.rest()
    assert world.status()["phase"] == "Succeeded"
    touched = [request for request in world.cluster.requests if request.verb == "patch" and request.resource == "jobs"]
    # Only what is finished, and so has given its quota back, is written to.
    final = {"metadata": {"labels": {resource.LABEL_FINAL: "true"}}, "spec": {"ttlSecondsAfterFinished": 604_800}}
    assert touched
    assert all(request.body == final for request in touched)


@pytest.mark.parametrize("most", [1, 2, 3])
def test_never_more_jobs_than_max_parallel(most: int) -> None:
    world = World(whole_spec(maxParallel=most))
    seen = set()

    def count() -> None:
        seen.add(sum(not is_finished(job) for job in world.cluster.objects(JOBS)))

    world.after_round = count
    world.rest()
    assert max(seen) == most
    assert world.status()["phase"] == "Succeeded"


# --- the objects around ---


def test_deleting_the_experiment_leaves_nothing() -> None:
    world = World(whole_spec())
    world.until(lambda: running(world, "train"))
    writes = world.cluster.writes
    world.cluster.remove(EXPERIMENTS, NAMESPACE, NAME)
    world.rest()
    assert world.cluster.objects(JOBS) == world.cluster.objects(PODS) == []
    assert world.cluster.writes == writes
    assert len(world.operator.cache.jobs) == len(world.operator.cache.pods) == 0


def test_an_experiment_made_again_under_its_name_starts_over() -> None:
    world = World(small_spec())
    world.until(lambda: running(world, "train"))
    world.cluster.remove(EXPERIMENTS, NAMESPACE, NAME)
    world.cluster.add(EXPERIMENTS, NAMESPACE, experiment_body(small_spec()))
    world.rest()
    assert world.status()["phase"] == "Succeeded"
    assert not world.simulator.problems


def test_a_foreign_job_of_the_name_is_not_taken_over() -> None:
    world = World(small_spec())
    first = World(small_spec())
    first.until(lambda: bool(first.created_jobs()))
    name = first.created_jobs()[0]["metadata"]["name"]
    world.cluster.add(JOBS, NAMESPACE, {"metadata": {"name": name, "labels": {resource.LABEL_STAGE: "x"}}, "spec": {}})
    with pytest.raises(NameTaken, match=name):
        _reconcile(world)


def _reconcile(world: World) -> None:
    finish(world.operator.reconciler.reconcile(next(iter(world.operator.cache.experiments)).key))


def test_every_stage_carries_the_runner_and_one_map_serves_all() -> None:
    world = World(whole_spec()).rest()
    assert len(world.cluster.objects(CONFIG_MAPS)) == 1


def test_recorded_jobs_leave_the_watch() -> None:
    world = World(small_spec()).rest()
    assert all(job["metadata"]["labels"][resource.LABEL_FINAL] == "true" for job in world.cluster.objects(JOBS))
    assert len(world.operator.cache.jobs) == 0


def test_events_tell_every_transition_once() -> None:
    world = World(whole_spec(), {("train", ""): [Outcome.TRANSIENT]}).rest()
    told = Counter(world.reasons())
    stages_run = len(world.status()["stages"])
    assert told == {
        "StageStarted": stages_run + 1,
        "StageSucceeded": stages_run,
        "ToolkitFailed": 1,
        "VariantChosen": 1,
        "Complete": 1,
    }
    world.restart()
    world.rest()
    assert world.reasons() == []


def test_a_condition_keeps_its_time_until_it_turns() -> None:
    world = World(small_spec())
    world.until(lambda: world.states().get("train") == "Running")
    since = world.condition("Reconciling")["lastTransitionTime"]
    accepted = world.condition("Accepted")["lastTransitionTime"]
    world.rest()
    assert world.condition("Accepted")["lastTransitionTime"] == accepted
    assert world.condition("Reconciling")["lastTransitionTime"] > since


def test_a_spec_of_other_rules_is_refused_in_status() -> None:
    world = World()
    world.cluster.add(EXPERIMENTS, NAMESPACE, experiment_body(small_spec(dataset={"format": "coco"})))
    world.rest()
    assert world.condition("Accepted")["reason"] == "InvalidSpec"
    assert "spec.dataset" in world.status()["message"]
    assert world.condition("Reconciling")["status"] == "False"


def test_a_namespace_that_is_made_anew_gets_its_runner_again() -> None:
    world = World(small_spec())
    world.until(lambda: "Running" in world.states().values())
    for kind in (EXPERIMENTS, CONFIG_MAPS):
        for body in world.cluster.objects(kind):
            world.cluster.remove(kind, NAMESPACE, body["metadata"]["name"])
    while world.cluster.collect_garbage():
        pass
    world.round()
    world.cluster.add(EXPERIMENTS, NAMESPACE, experiment_body(small_spec()))
    world.until(lambda: "Starting" in world.states().values())
    assert world.cluster.objects(CONFIG_MAPS)


def test_an_experiment_that_is_cancelled_before_anything_has_run_rests() -> None:
    world = World(small_spec())
    world.edit({"metadata": {"annotations": {resource.ANNOTATION_CANCEL: "1"}}})
    world.rest()
    assert world.status()["phase"] == "Failed"
    assert not world.created_jobs()
    writes, completed = world.cluster.writes, world.status()["completionTime"]
    world.clock.advance(60)
    world.operator.resync()
    world.rest()
    assert (world.cluster.writes, world.status()["completionTime"]) == (writes, completed)


def test_a_job_whose_end_was_not_heard_of_holds_no_place() -> None:
    world = World(small_spec(maxParallel=1))
    world.until(lambda: world.states().get("train") == "Running")
    ghost = world.stage("train")["job"]
    world.cluster.remove(JOBS, NAMESPACE, ghost)
    for watch in world.operator.watches.values():
        world.operator.gap(watch)
    world.edit({"spec": {"experimentSpec": {"trainingConfig": {"numEpochs": 40}}}})
    # Without a complete list, which comes every ten minutes only.
    world.operator.resync = lambda: None  # type: ignore[method-assign]
    world.until(lambda: world.states().get("train") == "Succeeded", rounds=100)
    assert world.stage("train")["metrics"]["epochs"] == 40


def test_a_condition_that_goes_on_holding_tells_what_is_so_now_and_since_when_it_holds() -> None:
    world = World(small_spec())
    told = []
    for stage in ("train", "evaluate"):
        world.until(lambda stage=stage: world.states().get(stage) == "Running")
        told.append(world.condition("Reconciling"))
        assert told[-1]["message"].startswith(f"{stage} ")
    assert len({(each["status"], each["lastTransitionTime"]) for each in told}) == 1
