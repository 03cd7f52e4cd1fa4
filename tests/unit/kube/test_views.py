"""Objects as values: whatever is missing in them, reading them does not fail."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_cluster import clone, finish
from world import World
from yolo_operator.api import resource
from yolo_operator.kube.claim import claim_manifest
from yolo_operator.kube.cluster import CLAIMS, CONFIG_MAPS, JOBS, PODS, Kind
from yolo_operator.kube.errors import ApiError, from_answer
from yolo_operator.kube.runner_map import ensure_runner, remove_unused, runner_files, runner_manifest
from yolo_operator.kube.views import controlled_by, job_view, pod_view
from yolo_operator.pipeline.values import JobState

from examples import NAME, NAMESPACE, experiment, small_spec

META = {"namespace": "lab", "name": "x", "uid": "u", "resourceVersion": "12"}


def finished_world() -> World:
    return World(small_spec()).rest()


REAL = finished_world()
REAL_JOB, REAL_POD = REAL.cluster.objects(JOBS)[0], REAL.cluster.objects(PODS)[0]


def _paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    return [path for key, inner in items for path in [(*at, key), *_paths(inner, (*at, key))]]


def _without(body: Any, path: tuple[Any, ...], replacement: Any) -> Any:
    body = clone(body)
    at = body
    for key in path[:-1]:
        at = at[key]
    if replacement is None and isinstance(at, dict):
        del at[path[-1]]
    else:
        at[path[-1]] = replacement
    return body


MUST = {("metadata",), ("metadata", "namespace"), ("metadata", "name"), ("metadata", "uid")}


@pytest.mark.parametrize(("view", "body"), [(job_view, REAL_JOB), (pod_view, REAL_POD)])
def test_any_missing_field_is_read_as_empty(view: Any, body: Any) -> None:
    for path in _paths(body):
        if path not in MUST and not isinstance(path[-1], int):
            view(_without(body, path, None))


@given(st.data())
def test_any_fields_missing_at_once(data: st.DataObject) -> None:
    view, body = data.draw(st.sampled_from([(job_view, REAL_JOB), (pod_view, REAL_POD)]))
    for _ in range(data.draw(st.integers(1, 5))):
        paths = [path for path in _paths(body) if path not in MUST and not isinstance(path[-1], int)]
        body = _without(body, data.draw(st.sampled_from(paths)), None)
    view(body)


@pytest.mark.parametrize("view", [job_view, pod_view])
def test_the_least_there_is(view: Any) -> None:
    found = view({"metadata": META})
    assert found.resource_version == 12
    assert found.owner_name == ""


def test_a_job_that_is_told_to_wait_shows_why() -> None:
    conditions = [{"type": "Suspended", "status": "True", "reason": "JobSuspended", "message": "held"}]
    found = job_view({"metadata": META, "spec": {"suspend": True}, "status": {"conditions": conditions}})
    assert (found.state, found.suspended, found.reason, found.message) == (JobState.ACTIVE, True, "JobSuspended", "held")


@pytest.mark.parametrize(
    ("conditions", "state"),
    [
        ([], JobState.ACTIVE),
        ([{"type": "FailureTarget", "status": "True"}], JobState.ACTIVE),
        ([{"type": "SuccessCriteriaMet", "status": "True"}], JobState.ACTIVE),
        ([{"type": "Failed", "status": "False"}], JobState.ACTIVE),
        ([{"type": "FailureTarget", "status": "True"}, {"type": "Failed", "status": "True"}], JobState.FAILED),
        ([{"type": "Complete", "status": "True"}], JobState.COMPLETE),
    ],
)
def test_only_a_true_condition_ends_a_job(conditions: list[dict[str, str]], state: JobState) -> None:
    assert job_view({"metadata": META, "status": {"conditions": conditions}}).state is state


def test_a_sidecar_is_not_the_stage() -> None:
    statuses = [
        {"name": "istio-proxy", "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}},
        {"name": "stage", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}},
    ]
    found = pod_view({"metadata": META, "status": {"phase": "Pending", "containerStatuses": statuses}})
    assert (found.waiting_reason, found.start_time, found.running) == ("ImagePullBackOff", None, False)


@pytest.mark.parametrize("said", ["docker-pullable://r.io/x@sha256:12", "r.io/x@sha256:12"])
def test_the_image_as_the_runtime_resolved_it(said: str) -> None:
    statuses = [{"name": "istio-proxy", "imageID": "other"}, {"name": "stage", "imageID": said}]
    assert pod_view({"metadata": META, "status": {"containerStatuses": statuses}}).image == "r.io/x@sha256:12"


def test_a_pod_that_fits_nowhere() -> None:
    conditions = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}]
    assert pod_view({"metadata": META, "status": {"conditions": conditions}}).unschedulable == "0/3 nodes"


def test_only_the_controller_counts_as_owner() -> None:
    meta = {**META, "ownerReferences": [{"uid": "a"}, {"uid": "b", "controller": True}]}
    assert controlled_by({"metadata": meta}, "b")
    assert not controlled_by({"metadata": meta}, "a")
    assert not controlled_by({"metadata": META}, "a")


# --- errors ---


@given(st.integers(300, 599), st.binary(max_size=300), st.none() | st.text(max_size=10))
def test_whatever_a_proxy_answers_is_an_error_with_its_status(status: int, body: bytes, wait: str | None) -> None:
    error = from_answer(status, body, wait)
    assert error.status == status
    assert str(error)


@pytest.mark.parametrize("body", [b"[]", b"null", b"1", b'{"reason": null}', b'{"message": {"a": 1}}'])
def test_json_that_is_no_status(body: bytes) -> None:
    assert from_answer(503, body, None).status == 503


def test_what_the_server_says_is_kept() -> None:
    error = from_answer(429, b'{"reason": "TooManyRequests", "message": "slow down"}', "7")
    assert (error.reason, error.message, error.retry_after) == ("TooManyRequests", "slow down", 7.0)
    assert from_answer(409, b"", None).conflict
    assert from_answer(404, b"", None).not_found
    assert from_answer(503, b"", "Wed, 21 Oct 2026 07:28:00 GMT").retry_after is None


def test_paths() -> None:
    assert JOBS.path(None) == "/apis/batch/v1/jobs"
    assert JOBS.path("lab", "x", "status") == "/apis/batch/v1/namespaces/lab/jobs/x/status"
    assert Kind("/api/v1", "pods").path("lab", "x", "log") == "/api/v1/namespaces/lab/pods/x/log"


# --- the runner's ConfigMap and the claim ---


def test_the_runner_is_named_by_its_content_and_cannot_change() -> None:
    one, other = runner_manifest({"runner.py": "a"}), runner_manifest({"runner.py": "b"})
    assert one["metadata"]["name"] != other["metadata"]["name"]
    assert one == runner_manifest({"runner.py": "a"})
    assert one["immutable"] is True
    assert sum(map(len, runner_files().values())) < 1_000_000
    compile(runner_files()["runner.py"], "runner.py", "exec")


def test_unused_runners_are_removed_and_others_maps_stay() -> None:
    world = World()
    cluster = world.cluster
    for text in ("a", "b", "c"):
        finish(ensure_runner(cluster, NAMESPACE, runner_manifest({"runner.py": text})))
    finish(ensure_runner(cluster, NAMESPACE, runner_manifest({"runner.py": "a"})))
    finish(ensure_runner(cluster, "other", runner_manifest({"runner.py": "a"})))
    cluster.add(CONFIG_MAPS, NAMESPACE, {"metadata": {"name": "mine"}})
    keep = runner_manifest({"runner.py": "b"})["metadata"]["name"]
    removed = finish(remove_unused(cluster, NAMESPACE, keep=keep))
    assert len(removed) == 2
    assert {body["metadata"]["name"] for body in cluster.objects(CONFIG_MAPS, NAMESPACE)} == {"mine", keep}
    assert len(cluster.objects(CONFIG_MAPS, "other")) == 1


def test_another_error_than_that_it_exists_is_raised() -> None:
    world = World()

    def refuse(request: Any) -> None:
        raise ApiError(403, "Forbidden", "no")

    world.cluster.on_request = refuse
    with pytest.raises(ApiError):
        finish(ensure_runner(world.cluster, NAMESPACE, runner_manifest({"runner.py": "a"})))


def test_the_claim_has_what_the_template_says() -> None:
    template = {"storage": "20Gi", "storageClassName": "fast", "accessModes": ["ReadWriteMany"]}
    claim = claim_manifest(experiment(small_spec(workspace={"volumeClaimTemplate": template})), "w")
    assert claim["spec"] == {
        "accessModes": ["ReadWriteMany"],
        "resources": {"requests": {"storage": "20Gi"}},
        "storageClassName": "fast",
    }
    assert claim["metadata"]["labels"][resource.LABEL_EXPERIMENT] == NAME
    assert "ownerReferences" not in claim["metadata"]


def test_without_a_template_there_is_no_claim() -> None:
    with pytest.raises(ValueError, match="volumeClaimTemplate"):
        claim_manifest(experiment(), CLAIMS.plural)
