"""The pod of the stage `weights`: in the operator's image, with the cache, a key that stands in no object, and a way out."""

from __future__ import annotations

import json
from typing import Any

from yolo_operator.kube.cluster import Object
from yolo_operator.kube.job import JobSettings, job_manifest
from yolo_operator.kube.weights_pod import CA_VARIABLE, NGC_KEY_VARIABLE
from yolo_operator.pipeline import graph
from yolo_operator.pipeline.values import CreateJob, StageKey
from yolo_operator.pipeline.weights import CACHE_MOUNT
from yolo_operator.pipeline.work import Results, stage_run
from yolo_operator.weights import fetch, web

from examples import experiment, small_spec, tao_spec

URL = {"url": "https://mirror.example/resnet_18.hdf5", "sha256": "a" * 64}
NGC = {"ngc": {"model": "nvidia/tao/a:b", "apiKeySecretRef": {"name": "ngc", "key": "api-key"}}}


def pod(pretrained: dict[str, Any], key: StageKey = graph.WEIGHTS, **changes: Any) -> Object:
    owner = experiment(small_spec(pretrained=pretrained, **changes))
    run = stage_run(owner, key, Results({}))
    body = job_manifest(owner, CreateJob("job", 1, run), JobSettings("operator:1", "yolo-runner-abc"))
    return dict(body["spec"]["template"]["spec"])


def container(body: Object) -> Object:
    (only,) = body["containers"]
    return dict(only)


def environment(body: Object) -> dict[str, Any]:
    return {item["name"]: item.get("value", item.get("valueFrom")) for item in container(body)["env"]}


def test_it_runs_in_the_operators_image_without_a_gpu() -> None:
    body = pod(URL, resources={"gpus": 2, "limits": {"cpu": "1"}})
    assert container(body)["image"] == "operator:1"
    assert container(body)["command"][:3] == ["python3", "-m", "yolo_operator.weights"]
    assert container(body)["resources"] == {"limits": {"cpu": "1"}}
    assert container(body)["securityContext"]["readOnlyRootFilesystem"] is True
    assert "runner" not in {volume["name"] for volume in body["volumes"]}
    assert body["automountServiceAccountToken"] is False


def test_the_cache_in_the_workspace_needs_no_volume() -> None:
    assert {volume["name"] for volume in pod(URL)["volumes"]} == {"workspace", "instructions", "tmp"}


def test_a_cache_on_a_claim_of_its_own() -> None:
    body = pod(URL | {"cache": {"claimName": "weights", "subPath": "shared"}})
    assert {"name": "weights-cache", "persistentVolumeClaim": {"claimName": "weights"}} in body["volumes"]
    assert {"name": "weights-cache", "mountPath": CACHE_MOUNT, "subPath": "shared"} in container(body)["volumeMounts"]


def test_a_cache_on_the_workspaces_claim_mentions_the_claim_once() -> None:
    body = pod(URL | {"cache": {"claimName": "data"}}, workspace={"claimName": "data", "subPath": "plates"})
    claims = [volume for volume in body["volumes"] if "persistentVolumeClaim" in volume]
    assert len(claims) == 1
    assert {"name": "workspace", "mountPath": CACHE_MOUNT} in container(body)["volumeMounts"]


def test_the_key_comes_from_its_secret_alone() -> None:
    body = pod(NGC)
    assert environment(body)[NGC_KEY_VARIABLE] == {"secretKeyRef": {"name": "ngc", "key": "api-key"}}
    assert fetch.KEY_VARIABLE == NGC_KEY_VARIABLE
    assert NGC_KEY_VARIABLE not in environment(pod({"ngc": {"model": "nvidia/tao/a:b"}}))


def test_no_other_stage_gets_the_key_or_the_proxy() -> None:
    body = pod(NGC | {"proxy": {"https": "http://proxy.example:3128"}, "cache": {"claimName": "weights"}}, graph.PREPARE)
    text = json.dumps(body)
    assert "NGC_API_KEY" not in text
    assert "proxy.example" not in text
    assert CACHE_MOUNT not in text


def test_the_way_out() -> None:
    proxy = {"https": "http://proxy.example:3128", "noProxy": "mirror.example"}
    body = pod(URL | {"proxy": proxy, "caBundle": {"name": "authorities", "key": "ca.pem"}})
    found = environment(body)
    assert (found["HTTPS_PROXY"], found["NO_PROXY"]) == ("http://proxy.example:3128", "mirror.example")
    (mount,) = [mount for mount in container(body)["volumeMounts"] if mount["name"] == "ca"]
    assert found[CA_VARIABLE] == f"{mount['mountPath']}/bundle.pem"
    assert CA_VARIABLE == web.CA_VARIABLE
    volume = {"name": "ca", "configMap": {"name": "authorities", "items": [{"key": "ca.pem", "path": "bundle.pem"}]}}
    assert volume in body["volumes"]


def test_it_writes_as_the_user_that_the_toolkit_runs_as() -> None:
    owner = experiment(tao_spec(pretrained=URL))
    run = stage_run(owner, graph.WEIGHTS, Results({}))
    body = job_manifest(owner, CreateJob("job", 1, run), JobSettings("operator:1", "map"))["spec"]["template"]["spec"]
    assert body["securityContext"]["runAsUser"] == 65532
    assert pod(URL)["securityContext"]["runAsUser"] == 65532
