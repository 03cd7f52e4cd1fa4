"""GPUs by resource claim, as far as the operator makes anything for them."""

from __future__ import annotations

from typing import Any

import pytest
from memory_cluster import Request
from world import World
from yolo_operator.api import resource
from yolo_operator.kube.cluster import DEVICE_TEMPLATES, EXPERIMENTS, JOBS
from yolo_operator.kube.errors import ApiError

from examples import NAMESPACE, tao_spec

DRA = {"dra": {"deviceClassName": "gpu.nvidia.com", "count": 2}}


def test_the_template_is_there_before_the_job() -> None:
    world = World(tao_spec(resources=DRA)).rest()
    assert world.status()["phase"] == "Succeeded"
    made = {body["metadata"]["name"]: body for body in world.cluster.objects(DEVICE_TEMPLATES, NAMESPACE)}
    # One for trainings, one for what gets a single GPU.
    assert len(made) == 2
    for job in world.created_jobs():
        pod = job["spec"]["template"]["spec"]
        references = [entry["resourceClaimTemplateName"] for entry in pod.get("resourceClaims", ())]
        assert set(references) <= made.keys()
        assert bool(references) is (job["metadata"]["labels"][resource.LABEL_STAGE] != "prepare")
    writes = [
        r.resource for r in world.cluster.requests if r.verb == "create" and r.resource in (DEVICE_TEMPLATES.plural, JOBS.plural)
    ]
    assert writes[:4] == ["jobs", "resourceclaimtemplates", "jobs", "resourceclaimtemplates"]
    # They go with their experiment.
    world.cluster.remove(*_experiment(world))
    while world.cluster.collect_garbage():
        pass
    assert world.cluster.objects(DEVICE_TEMPLATES) == []


def _experiment(world: World) -> Any:
    (body,) = world.cluster.objects(EXPERIMENTS)
    return EXPERIMENTS, body["metadata"]["namespace"], body["metadata"]["name"]


@pytest.mark.parametrize(("status", "words"), [(403, "install the chart with rbac.dra=true"), (404, "needs Kubernetes 1.34")])
def test_a_cluster_without_says_what_to_do_and_goes_on_when_it_is_done(status: int, words: str) -> None:
    world = World(tao_spec(resources=DRA))

    def refuse(request: Request) -> None:
        if request.resource == DEVICE_TEMPLATES.plural:
            raise ApiError(status, "Refused", "no")

    world.cluster.on_request = refuse
    world.until(lambda: words in (world.status().get("message") or ""))
    assert world.condition("Stalled")["status"] == "True"
    assert [job["metadata"]["labels"][resource.LABEL_STAGE] for job in world.created_jobs()] == ["prepare"]
    world.cluster.on_request = lambda request: None
    assert world.rest().status()["phase"] == "Succeeded"


def test_without_a_word_of_it_nothing_is_asked_for() -> None:
    world = World(tao_spec()).rest()
    assert not [request for request in world.cluster.requests if request.resource == DEVICE_TEMPLATES.plural]
