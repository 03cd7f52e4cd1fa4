"""The real operator process against a real API server, Job controller and garbage collector; only kubelets are played."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import ClientError, ClientSession
from job_simulator import JobSimulator, report_of, stage_of
from playground import OperatorProcess, Playground
from yolo_operator.api import resource
from yolo_operator.kube.cluster import CONFIG_MAPS, EVENTS, EXPERIMENTS, JOBS, PODS, Object

from examples import NAME, small_spec

Kubectl = Callable[..., subprocess.CompletedProcess[str]]


async def first_job(ground: Playground) -> Object:
    async def made() -> list[Object]:
        return await ground.jobs()

    return dict((await ground.until(made, "a Job is made"))[0])


async def status_where(ground: Playground, holds: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        status = (await ground.experiment() or {}).get("status") or {}
        return status if status and holds(status) else None

    return dict(await ground.until(look, what))


async def played_to_the_end(ground: Playground, simulator: JobSimulator) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        await ground.play(simulator)
        status = (await ground.experiment() or {}).get("status") or {}
        return status if status.get("phase") in ("Succeeded", "Failed") else None

    return dict(await ground.until(look, "the experiment ends"))


async def test_a_first_look_makes_prepare_and_says_so(ground: Playground) -> None:
    stored = await ground.apply(small_spec())
    ground.operator()
    job = await first_job(ground)
    (owner,) = job["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == (resource.KIND, stored["metadata"]["uid"], True)
    assert stage_of(job) == ("prepare", "")
    status = await status_where(ground, lambda status: status["stages"][0]["state"] == "Starting", "prepare starts")
    assert status["observedGeneration"] == 1
    assert status["stages"][0]["job"] == job["metadata"]["name"]
    assert len(await ground.listed(CONFIG_MAPS, f"{resource.LABEL_COMPONENT}=runner")) == 1
    body = await ground.experiment()
    assert body is not None
    assert not [name for name in body["metadata"].get("annotations") or {} if "kopf" in name]
    assert "finalizers" not in body["metadata"]


async def test_a_whole_experiment(ground: Playground, simulator: JobSimulator) -> None:
    await ground.apply(small_spec())
    operator = ground.operator()
    status = await played_to_the_end(ground, simulator)
    assert status["phase"] == "Succeeded"
    assert status["mAP"] == 0.9
    assert [record["attempt"] for record in status["stages"]] == [1, 1, 1, 1]
    conditions = {condition["type"]: condition["status"] for condition in status["conditions"]}
    assert conditions["Complete"] == "True"
    assert len(await ground.jobs()) == 4

    async def settled() -> bool:
        jobs = await ground.jobs()
        return all(job["metadata"]["labels"].get(resource.LABEL_FINAL) == "true" for job in jobs)

    await ground.until(settled, "all Jobs are marked as recorded")

    async def told() -> bool:
        return "Complete" in {event["reason"] for event in await ground.listed(EVENTS)}

    await ground.until(told, "the Event of the end")
    async with ClientSession(f"http://127.0.0.1:{operator.port}") as client:
        assert (await client.get("/healthz")).status == 200
        assert (await client.get("/readyz")).status == 200
        metrics = await (await client.get("/metrics")).text()
    assert f'yolo_stage_map{{experiment="{NAME}",namespace="{ground.namespace}",stage="evaluate",variant=""}} 0.9' in metrics
    assert "Traceback" not in operator.log()


async def test_a_users_mistake_is_not_tried_again(ground: Playground) -> None:
    await ground.apply(small_spec())
    ground.operator()

    async def waiting() -> list[Object]:
        return await ground.listed(PODS)

    (pod,) = await ground.until(waiting, "prepare's pod")
    instructions = json.loads(pod["metadata"]["annotations"][resource.ANNOTATION_INSTRUCTIONS])
    report = report_of(instructions, "Failed", "EmptyLabelFile", "user", "train/labels/a.txt is empty")
    await ground.end_pod(pod, 10, json.dumps(report))
    status = await status_where(ground, lambda status: status["phase"] == "Failed", "the experiment fails")
    assert "train/labels/a.txt is empty" in status["message"]
    (job,) = await ground.jobs()
    failed = [condition for condition in job["status"]["conditions"] if condition["type"] == "Failed"]
    assert failed[0]["reason"] == "PodFailurePolicy"
    # Only a person's word runs it again.
    retry = {"metadata": {"annotations": {resource.ANNOTATION_RETRY: "1"}}}
    await ground.cluster.patch(EXPERIMENTS, ground.namespace, NAME, retry)

    async def second() -> bool:
        return len(await ground.jobs()) == 2

    await ground.until(second, "the second attempt")


async def test_a_killed_operator_makes_no_second_job(ground: Playground, simulator: JobSimulator) -> None:
    await ground.apply(small_spec())
    operator = ground.operator()
    name = (await first_job(ground))["metadata"]["name"]
    operator.kill()
    ground.operator()
    status = await played_to_the_end(ground, simulator)
    assert status["phase"] == "Succeeded"
    jobs = await ground.jobs()
    assert name in [job["metadata"]["name"] for job in jobs]
    assert len(jobs) == len(status["stages"])
    assert all(record["attempt"] == 1 for record in status["stages"])


async def test_a_second_operator_does_no_harm(ground: Playground, simulator: JobSimulator) -> None:
    await ground.apply(small_spec())
    operators = [ground.operator(), ground.operator()]
    status = await played_to_the_end(ground, simulator)
    assert status["phase"] == "Succeeded"
    assert len(await ground.jobs()) == len(status["stages"])
    assert all("Traceback" not in operator.log() for operator in operators)


async def test_suspend_deletes_the_job_and_resume_makes_the_next(ground: Playground) -> None:
    await ground.apply(small_spec())
    ground.operator()
    await first_job(ground)
    await ground.cluster.patch(EXPERIMENTS, ground.namespace, NAME, {"spec": {"suspend": True}})

    async def gone() -> bool:
        return not await ground.jobs()

    await ground.until(gone, "the Job is gone")
    await status_where(ground, lambda status: status["phase"] == "Suspended", "the experiment is suspended")
    await ground.cluster.patch(EXPERIMENTS, ground.namespace, NAME, {"spec": {"suspend": False}})
    job = await first_job(ground)
    assert job["metadata"]["annotations"][resource.ANNOTATION_ATTEMPT] == "2"


async def test_deleting_the_experiment_deletes_its_jobs(ground: Playground) -> None:
    await ground.apply(small_spec())
    operator = ground.operator()
    await first_job(ground)
    await ground.cluster.delete(EXPERIMENTS, ground.namespace, NAME)

    async def gone() -> bool:
        return not await ground.jobs() and not await ground.listed(PODS) and await ground.experiment() is None

    await ground.until(gone, "Job and pod are collected")
    await asyncio.sleep(1)
    assert await ground.jobs() == []
    assert "Traceback" not in operator.log()


async def test_a_deleted_job_is_replaced_and_counts_for_nothing(ground: Playground) -> None:
    await ground.apply(small_spec())
    ground.operator()
    name = (await first_job(ground))["metadata"]["name"]
    await ground.cluster.delete(JOBS, ground.namespace, name)
    status = await status_where(ground, lambda status: status["stages"][0]["attempt"] == 2, "the second attempt")
    record = status["stages"][0]
    assert record["failures"] == 0
    assert [past["reason"] for past in record["attempts"]] == ["JobDeleted"]


async def test_sigterm_ends_it_in_order(ground: Playground) -> None:
    operator = ground.operator()
    await ground.apply(small_spec())

    async def watching() -> bool:
        async with ClientSession(f"http://127.0.0.1:{operator.port}") as client:
            try:
                return "yolo_operator_watch_events_total{" in await (await client.get("/metrics")).text()
            except ClientError:
                return False

    await ground.until(watching, "the operator hears its watches")
    operator.process.terminate()
    assert await operator.ended() == 0
    assert "Traceback" not in operator.log()


# --- rights ---


@pytest.fixture
def rendered(ground: Playground, root: Path, programs: Path) -> list[Object]:
    """What the chart says of the operator's rights, for the test's namespace."""
    command = [programs / "helm", "template", "op", root / "helm/yolo-operator", "--namespace", ground.namespace]
    command += ["--set", f"watchNamespaces={{{ground.namespace}}}", "--set", "rbac.dra=true", "--set", "rbac.kueue=true"]
    command += ["-s", "templates/rbac.yaml", "-s", "templates/serviceaccount.yaml"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [body for body in yaml.safe_load_all(text) if body]


@pytest.fixture
def as_chart(
    ground: Playground, rendered: list[Object], kubectl: Kubectl
) -> Callable[[Callable[[Object], bool]], OperatorProcess]:
    """Starts the operator with the chart's rights, less the rules that a predicate names."""

    def start(left_out: Callable[[Object], bool]) -> OperatorProcess:
        for body in rendered:
            if "rules" in body:
                body["rules"] = [rule for rule in body["rules"] if not left_out(rule)]
        applied = kubectl("apply", "-n", ground.namespace, "-f", "-", stdin=yaml.safe_dump_all(rendered))
        assert applied.returncode == 0, applied.stderr
        (account,) = [body["metadata"]["name"] for body in rendered if body["kind"] == "ServiceAccount"]
        token = kubectl("create", "token", account, "-n", ground.namespace).stdout.strip()
        config = yaml.safe_load(ground.kubeconfig.read_text())
        config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
        path = ground.directory / "kubeconfig"
        path.write_text(yaml.safe_dump(config))
        return ground.operator(KUBECONFIG=str(path))

    return start


async def test_the_charts_rights_are_enough(
    ground: Playground,
    simulator: JobSimulator,
    as_chart: Callable[[Callable[[Object], bool]], OperatorProcess],
) -> None:
    operator = as_chart(lambda rule: False)
    claim = {"dra": {"deviceClassName": "gpu.nvidia.com"}}
    await ground.apply(small_spec(workspace={"volumeClaimTemplate": {"storage": "1Gi"}}, resources=claim))
    status = await played_to_the_end(ground, simulator)
    assert status["phase"] == "Succeeded"
    assert not [line for line in operator.log().splitlines() if "403" in line or "orbidden" in line]


async def test_a_right_that_few_need_is_missed_only_by_them(
    ground: Playground,
    simulator: JobSimulator,
    as_chart: Callable[[Callable[[Object], bool]], OperatorProcess],
) -> None:
    operator = as_chart(lambda rule: rule["apiGroups"] in (["resource.k8s.io"], ["kueue.x-k8s.io"]))
    await ground.apply(small_spec(resources={"dra": {"deviceClassName": "gpu.nvidia.com"}}))
    await ground.apply(small_spec(workspace={"claimName": "data", "subPath": "other"}, queueName="gpus"), "other")

    async def told() -> bool:
        await ground.play(simulator)
        first, second = [(await ground.experiment(name) or {}).get("status") or {} for name in (NAME, "other")]
        return "rbac.dra=true" in (first.get("message") or "") and second.get("phase") == "Succeeded"

    await ground.until(told, "one says what it lacks, the other succeeds")
    assert "Traceback" not in operator.log()


@pytest.mark.parametrize("missing", ["jobs", "pods/log", "events", "yoloexperiments/status"])
async def test_a_missing_right_ends_it_with_a_sentence(
    ground: Playground, as_chart: Callable[[Callable[[Object], bool]], OperatorProcess], missing: str
) -> None:
    operator = as_chart(lambda rule: missing in rule["resources"])
    assert await operator.ended() != 0
    assert "lacks rights" in operator.log()
    assert f" {missing}" in operator.log()
    assert f"in {ground.namespace}" in operator.log()
    assert "Traceback" not in operator.log()


async def test_settings_are_checked_before_anything(ground: Playground) -> None:
    operator = ground.operator(YOLO_OPERATOR_IMAGE="")
    assert await operator.ended() != 0
    assert "YOLO_OPERATOR_IMAGE is not set" in operator.log()


async def test_an_api_server_that_is_not_there_ends_it_with_a_sentence(ground: Playground) -> None:
    config = yaml.safe_load(ground.kubeconfig.read_text())
    for entry in config["clusters"]:
        entry["cluster"]["server"] = "https://127.0.0.1:1"
    path = ground.directory / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    operator = ground.operator(KUBECONFIG=str(path))
    assert await operator.ended() != 0
    assert "the API server did not answer as expected" in operator.log()
    assert "Traceback" not in operator.log()


async def test_without_the_crd_it_ends_with_a_sentence(
    ground: Playground, own_cluster: bool, kubectl: Kubectl, crd: Callable[[], None]
) -> None:
    if not own_cluster:
        pytest.skip("the cluster may be in use")
    kubectl("delete", "crd", "yoloexperiments.yolo-operator.dev", "--wait", "--timeout=30s")
    try:
        operator = ground.operator()
        assert await operator.ended() != 0
        assert "CustomResourceDefinition yoloexperiments.yolo-operator.dev is not there" in operator.log()
        assert "Traceback" not in operator.log()
    finally:
        crd()
