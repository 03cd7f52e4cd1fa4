"""The Job of a stage."""

from __future__ import annotations

import json
from typing import Any

import pytest
from memory_cluster import LONGEST_ANNOTATIONS
from yolo_operator.api import resource
from yolo_operator.api.pods import DeviceClaim
from yolo_operator.api.spec import parse_spec
from yolo_operator.kube.cluster import Object
from yolo_operator.kube.device_claim import template_manifest, template_name
from yolo_operator.kube.job import JobSettings, device_claim_of, final_patch, job_manifest
from yolo_operator.kube.views import job_view
from yolo_operator.pipeline import graph
from yolo_operator.pipeline.names import job_name
from yolo_operator.pipeline.values import CreateJob, StageKey
from yolo_operator.pipeline.work import Results, StageRun, stage_run

from examples import NAME, UID, experiment, small_spec, tao_spec, whole_spec

SETTINGS = JobSettings("operator:1", "yolo-runner-abc")


def manifest(spec: dict[str, Any] | None = None, key: StageKey = graph.TRAIN, text: str = "random_seed: 42\n") -> Object:
    """The Job of a stage; what it runs is prepare's, which needs no results."""
    owner = experiment(spec or small_spec())
    run = stage_run(owner, graph.PREPARE, Results({}))
    if key != graph.PREPARE:
        run = StageRun(key, run.digest, run.directory, run.instructions, text, "toolkit:1")
    return job_manifest(owner, CreateJob(job_name(NAME, key, run.digest, 3), 3, run), SETTINGS)


def pod(body: Object) -> Object:
    return dict(body["spec"]["template"]["spec"])


def container(body: Object) -> Object:
    (only,) = pod(body)["containers"]
    return dict(only)


def test_an_attempt_is_one_job() -> None:
    spec = manifest()["spec"]
    assert spec["backoffLimit"] == 0
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    # Kubernetes takes a podFailurePolicy only with restartPolicy Never, and then replaces failed pods alone.
    assert spec["podReplacementPolicy"] == "Failed"
    ignore, fail = spec["podFailurePolicy"]["rules"]
    assert ignore == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    assert fail["action"] == "FailJob"
    assert fail["onExitCodes"] == {"containerName": "stage", "operator": "In", "values": [10]}
    assert container(manifest())["name"] == "stage"


def test_it_belongs_to_the_experiment_and_blocks_nothing() -> None:
    (owner,) = manifest()["metadata"]["ownerReferences"]
    assert owner == {
        "apiVersion": resource.API_VERSION,
        "kind": resource.KIND,
        "name": NAME,
        "uid": UID,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def test_the_view_reads_what_the_manifest_writes() -> None:
    body = manifest(key=StageKey("prune", "0.5"))
    body["metadata"] |= {"uid": "u", "resourceVersion": "7"}
    view = job_view(body)
    assert (view.stage, view.attempt, view.owner_uid, view.owner_name) == (StageKey("prune", "0.5"), 3, UID, NAME)
    assert view.digest == body["metadata"]["annotations"][resource.ANNOTATION_DIGEST]
    assert not view.finished


def test_labels_are_on_job_and_pod() -> None:
    body = manifest(small_spec(queueName="gpus"))
    labels = body["metadata"]["labels"]
    assert labels.pop(resource.LABEL_QUEUE) == "gpus"
    assert body["spec"]["template"]["metadata"]["labels"] == labels
    assert labels[resource.LABEL_EXPERIMENT] == NAME
    assert all(len(value) <= 63 for value in labels.values())


def test_without_a_queue_there_is_no_queue_label() -> None:
    assert resource.LABEL_QUEUE not in manifest()["metadata"]["labels"]


def test_instructions_travel_as_annotations_and_arrive_as_files() -> None:
    body = manifest()
    carried = body["spec"]["template"]["metadata"]["annotations"]
    instructions = json.loads(carried[resource.ANNOTATION_INSTRUCTIONS])
    assert instructions["attempt"] == 3
    assert carried[resource.ANNOTATION_EXPERIMENT_SPEC] == "random_seed: 42\n"
    assert resource.ANNOTATION_INSTRUCTIONS not in body["metadata"]["annotations"]
    (volume,) = [volume for volume in pod(body)["volumes"] if volume["name"] == "instructions"]
    paths = {item["path"]: item["fieldRef"]["fieldPath"] for item in volume["downwardAPI"]["items"]}
    assert paths == {
        "instructions.json": f"metadata.annotations['{resource.ANNOTATION_INSTRUCTIONS}']",
        "experiment-spec.txt": f"metadata.annotations['{resource.ANNOTATION_EXPERIMENT_SPEC}']",
    }
    assert container(body)["command"] == ["python3", "/opt/yolo-operator/runner.py", "/etc/yolo-operator/instructions.json"]


def test_the_largest_annotations_fit() -> None:
    spec = whole_spec()
    spec["dataset"]["classes"] = {str(number): "c" * 60 + f"{number:03d}" for number in range(256)}
    annotations = manifest(spec, text="x" * 100_000)["spec"]["template"]["metadata"]["annotations"]
    assert sum(len(name) + len(value) for name, value in annotations.items()) < LONGEST_ANNOTATIONS


def test_prepare_runs_in_the_operators_image_without_a_gpu() -> None:
    body = manifest(tao_spec(), key=graph.PREPARE)
    own = container(body)
    assert own["image"] == "operator:1"
    assert own["command"][:3] == ["python3", "-m", "yolo_operator.dataset"]
    assert "nvidia.com/gpu" not in own["resources"].get("limits", {})
    assert {volume["name"] for volume in pod(body)["volumes"]} == {"workspace", "instructions", "tmp"}


def test_no_pod_gets_a_token() -> None:
    for body in (manifest(), manifest(tao_spec()), manifest(key=graph.PREPARE)):
        assert pod(body)["automountServiceAccountToken"] is False
        assert pod(body)["enableServiceLinks"] is False


@pytest.mark.parametrize("key", [graph.PREPARE, graph.TRAIN, graph.EXPORT])
def test_the_open_toolkit_meets_restricted_pod_security(key: StageKey) -> None:
    body = manifest(key=key)
    security, own = pod(body)["securityContext"], container(body)["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] != 0
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert own["allowPrivilegeEscalation"] is False
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert own["readOnlyRootFilesystem"] is True
    allowed = {"persistentVolumeClaim", "downwardAPI", "emptyDir", "configMap"}
    assert {kind for volume in pod(body)["volumes"] for kind in volume if kind != "name"} <= allowed
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod(body))


def test_prepare_writes_as_the_user_that_reads() -> None:
    users = {pod(manifest(key=key))["securityContext"]["runAsUser"] for key in (graph.PREPARE, graph.TRAIN)}
    groups = {pod(manifest(key=key))["securityContext"]["fsGroup"] for key in (graph.PREPARE, graph.TRAIN)}
    assert len(users) == len(groups) == 1


def test_a_chosen_user_is_used_everywhere() -> None:
    spec = tao_spec(securityContext={"runAsUser": 1000, "fsGroup": 2000})
    for key in (graph.PREPARE, graph.TRAIN):
        security = pod(manifest(spec, key=key))["securityContext"]
        assert (security["runAsUser"], security["fsGroup"], security["runAsNonRoot"]) == (1000, 2000, True)


def test_the_key_comes_from_the_secret_and_from_nowhere_else() -> None:
    body = manifest(tao_spec())
    (variable,) = [variable for variable in container(body)["env"] if variable["name"] == "YOLO_TOOLKIT_KEY"]
    assert variable["valueFrom"] == {"secretKeyRef": {"name": "tao", "key": "passphrase"}}
    assert "value" not in variable
    assert not any("secret" in volume for volume in pod(body)["volumes"])


def test_workspace_and_dataset_mounts() -> None:
    spec = small_spec(workspace={"claimName": "data", "subPath": "runs/a"})
    spec["dataset"] |= {"claimName": "images", "subPath": "plates"}
    body = manifest(spec)
    mounts = {mount["name"]: mount for mount in container(body)["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod(body)["volumes"]}
    assert mounts["workspace"] == {"name": "workspace", "mountPath": "/workspace", "subPath": "runs/a"}
    assert volumes["workspace"]["persistentVolumeClaim"] == {"claimName": "data"}
    assert mounts["dataset"] == {"name": "dataset", "mountPath": "/dataset", "readOnly": True, "subPath": "plates"}
    assert volumes["dataset"]["persistentVolumeClaim"] == {"claimName": "images", "readOnly": True}
    assert {mount["name"] for mount in container(body)["volumeMounts"]} == set(volumes)
    assert mounts["runner"]["readOnly"] is True
    assert volumes["runner"]["configMap"] == {"name": "yolo-runner-abc"}


def test_a_claim_from_the_template_has_the_experiments_name() -> None:
    body = manifest(small_spec(workspace={"volumeClaimTemplate": {"storage": "1Gi"}}))
    (volume,) = [volume for volume in pod(body)["volumes"] if volume["name"] == "workspace"]
    assert volume["persistentVolumeClaim"] == {"claimName": f"{NAME}-workspace"}


@pytest.mark.parametrize(
    ("spec", "key", "gpus"),
    [
        (small_spec(), graph.TRAIN, None),
        (tao_spec(), graph.TRAIN, "1"),
        (tao_spec(), graph.PREPARE, None),
        (tao_spec(resources={"gpus": 4}), graph.TRAIN, "4"),
        (tao_spec(resources={"gpus": 4}), graph.RETRAIN, "4"),
        (tao_spec(resources={"gpus": 4}), graph.EVALUATE, "1"),
        (tao_spec(resources={"gpus": 4}), StageKey("prune", "0.5"), "1"),
        (tao_spec(resources={"gpus": 4}), graph.PREPARE, None),
        (tao_spec(resources={"gpus": 4}, stages={"train": {"resources": {"gpus": 2}}}), graph.TRAIN, "2"),
        (small_spec(resources={"gpus": 1}), graph.EVALUATE, "1"),
        # What makes no use of a GPU gets one only by its own word.
        (small_spec(resources={"gpus": 1}), graph.ANCHORS, None),
        (small_spec(resources={"gpus": 1}), StageKey("prune", "0.5"), None),
        (small_spec(resources={"gpus": 1}, stages={"prune": {"resources": {"gpus": 1}}}), StageKey("prune", "0.5"), "1"),
        (tao_spec(), graph.ANCHORS, "1"),
    ],
)
def test_gpus(spec: dict[str, Any], key: StageKey, gpus: str | None) -> None:
    assert container(manifest(spec, key=key))["resources"].get("limits", {}).get("nvidia.com/gpu") == gpus


def test_resources_of_a_stage_replace_the_general_ones_field_by_field() -> None:
    spec = tao_spec(
        resources={"requests": {"cpu": "4"}, "limits": {"memory": "8Gi"}, "sharedMemory": "4Gi"},
        stages={"evaluate": {"resources": {"limits": {"memory": "2Gi"}, "gpuResourceName": "nvidia.com/mig-1g.5gb"}}},
    )
    assert container(manifest(spec))["resources"] == {
        "requests": {"cpu": "4"},
        "limits": {"memory": "8Gi", "nvidia.com/gpu": "1"},
    }
    assert container(manifest(spec, key=StageKey("evaluate-pruned", "0.5")))["resources"] == {
        "requests": {"cpu": "4"},
        "limits": {"memory": "2Gi", "nvidia.com/mig-1g.5gb": "1"},
    }
    (shm,) = [volume for volume in pod(manifest(spec))["volumes"] if volume["name"] == "shm"]
    assert shm["emptyDir"] == {"medium": "Memory", "sizeLimit": "4Gi"}


UUID = 'device.attributes["gpu.nvidia.com"].uuid == "GPU-82864c44-d125-bf84-645f-e800925bf730"'
DRA = {"dra": {"deviceClassName": "gpu.nvidia.com", "selectors": [UUID], "count": 4}}


def created(spec: dict[str, Any], key: StageKey) -> tuple[Any, CreateJob]:
    """The experiment, and the attempt of its stage that is to be made."""
    owner = experiment(spec)
    run = stage_run(owner, graph.PREPARE, Results({}))
    if key != graph.PREPARE:
        run = StageRun(key, run.digest, run.directory, run.instructions, "", "toolkit:1")
    return owner, CreateJob(job_name(NAME, key, run.digest, 1), 1, run)


@pytest.mark.parametrize(("key", "count"), [(graph.TRAIN, 4), (graph.RETRAIN, 4), (graph.EVALUATE, 1)])
def test_gpus_by_resource_claim(key: StageKey, count: int) -> None:
    body = manifest(tao_spec(resources=DRA), key=key)
    assert container(body)["resources"] == {"claims": [{"name": "gpu"}]}
    (reference,) = pod(body)["resourceClaims"]
    owner, action = created(tao_spec(resources=DRA), key)
    claim = device_claim_of(owner, action)
    assert claim is not None
    template = template_manifest(owner, claim)
    assert reference == {"name": "gpu", "resourceClaimTemplateName": template["metadata"]["name"]}
    (request,) = template["spec"]["spec"]["devices"]["requests"]
    assert request["name"] == "gpu"
    assert request["exactly"] == {
        "deviceClassName": "gpu.nvidia.com",
        "selectors": [{"cel": {"expression": UUID}}],
        "allocationMode": "ExactCount",
        "count": count,
    }
    assert [reference["uid"] for reference in template["metadata"]["ownerReferences"]] == [UID]


def test_templates_are_named_by_owner_and_content() -> None:
    claim = DeviceClaim.model_validate(DRA["dra"])
    first, other = experiment(tao_spec()), experiment(tao_spec(), uid="another")
    assert template_name(first, claim) == template_name(first, claim)
    assert template_name(first, claim) != template_name(other, claim)
    assert template_name(first, claim) != template_name(first, claim.model_copy(update={"count": 1}))
    assert len(template_name(experiment(tao_spec(), name="x" * 63), claim)) <= 63


def test_without_a_gpu_nothing_is_claimed() -> None:
    spec = small_spec(resources=DRA)
    for key in (graph.PREPARE, graph.ANCHORS):
        assert "resourceClaims" not in pod(manifest(spec, key=key))
        assert "claims" not in container(manifest(spec, key=key))["resources"]
        assert device_claim_of(*created(spec, key)) is None


def test_the_way_to_gpus_is_one_of_two() -> None:
    by_number = tao_spec(resources=DRA, stages={"evaluate": {"resources": {"gpuResourceName": "nvidia.com/mig-1g.5gb"}}})
    body = manifest(by_number, key=graph.EVALUATE)
    assert container(body)["resources"] == {"limits": {"nvidia.com/mig-1g.5gb": "1"}}
    assert "resourceClaims" not in pod(body)
    by_claim = tao_spec(resources={"gpus": 2}, stages={"evaluate": {"resources": DRA}})
    assert container(manifest(by_claim, key=graph.EVALUATE))["resources"] == {"claims": [{"name": "gpu"}]}
    assert container(manifest(by_claim))["resources"] == {"limits": {"nvidia.com/gpu": "2"}}


def environment(body: Object) -> dict[str, str | None]:
    return {variable["name"]: variable.get("value") for variable in container(body)["env"]}


def test_no_pod_sees_gpus_that_it_did_not_ask_for() -> None:
    # With NVIDIA's runtime as the node's default, a CUDA image without a request would see them all.
    assert environment(manifest())["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert "NVIDIA_DRIVER_CAPABILITIES" not in environment(manifest())
    # The device plugin sets the variable itself.
    assert "NVIDIA_VISIBLE_DEVICES" not in environment(manifest(tao_spec()))
    assert environment(manifest(tao_spec()))["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"
    assert environment(manifest(tao_spec(resources=DRA)))["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert environment(manifest(tao_spec(resources=DRA)))["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"


def test_every_stage_finds_a_home_it_can_write_to() -> None:
    for body in (manifest(), manifest(tao_spec()), manifest(key=graph.PREPARE)):
        mounts = {mount["mountPath"]: mount for mount in container(body)["volumeMounts"]}
        assert "readOnly" not in mounts[environment(body)["HOME"]]
        assert environment(body)["PYTHONUNBUFFERED"] == "1"
        assert container(body)["command"][0] == "python3"


LIMITED = {"resources": {"limits": {"cpu": "6500m"}}}


def loaders(body: Object) -> str:
    return str(body["spec"]["template"]["metadata"]["annotations"][resource.ANNOTATION_EXPERIMENT_SPEC])


def test_loader_threads_follow_the_cpu_limit() -> None:
    text = "training_config {\n  n_workers: 8\n}\n"
    limited, free = manifest(tao_spec(**LIMITED), text=text), manifest(tao_spec(), text=text)
    assert loaders(limited) == text.replace("8", "6")
    assert loaders(free) == text
    assert environment(limited)["OMP_NUM_THREADS"] == "6"
    assert "OMP_NUM_THREADS" not in environment(free)
    small = manifest(tao_spec(resources={"limits": {"cpu": "500m"}}), text=text)
    assert loaders(small) == text.replace("8", "1")
    # The limit is no part of what the stage is.
    names = [body["metadata"]["annotations"][resource.ANNOTATION_DIGEST] for body in (limited, free, small)]
    assert len(set(names)) == 1


def test_the_users_own_number_of_loader_threads_stands() -> None:
    text = "training_config {\n  n_workers: 12\n}\n"
    spec = tao_spec(**LIMITED)
    spec["experimentSpec"]["trainingConfig"]["nWorkers"] = 12
    assert loaders(manifest(spec, text=text)) == text


def test_the_open_toolkit_reads_its_limit_itself() -> None:
    text = "training_config {\n  n_workers: 8\n}\n"
    body = manifest(small_spec(**LIMITED), text=text)
    assert loaders(body) == text
    assert "OMP_NUM_THREADS" not in environment(body)


def test_root_keeps_no_more_than_it_needs() -> None:
    tao = container(manifest(tao_spec()))["securityContext"]
    assert tao == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"], "add": ["DAC_OVERRIDE"]}}
    other = container(manifest(tao_spec(securityContext={"runAsUser": 1000})))["securityContext"]
    assert other["capabilities"] == {"drop": ["ALL"]}
    assert "privileged" not in tao | other


def test_a_claim_from_the_template_may_hold_the_dataset() -> None:
    spec = small_spec(workspace={"volumeClaimTemplate": {"storage": "1Gi"}})
    spec["dataset"] |= {"claimName": f"{NAME}-workspace", "subPath": "plates"}
    body = manifest(spec)
    # A claim that is mentioned twice would be read-only for both.
    assert [v["name"] for v in pod(body)["volumes"] if "persistentVolumeClaim" in v] == ["workspace"]
    (mount,) = [mount for mount in container(body)["volumeMounts"] if mount["mountPath"] == "/dataset"]
    assert mount == {"name": "workspace", "mountPath": "/dataset", "readOnly": True, "subPath": "plates"}


def test_kueues_labels_are_on_the_job_alone() -> None:
    body = manifest(small_spec(queueName="gpus", queuePriorityClass="high"))
    assert body["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    assert body["metadata"]["labels"]["kueue.x-k8s.io/priority-class"] == "high"
    assert not [name for name in body["spec"]["template"]["metadata"]["labels"] if "kueue" in name]
    # Kueue's webhook suspends it; the operator never writes the field.
    assert "suspend" not in body["spec"]


def test_a_finished_job_is_let_go_by_one_patch() -> None:
    spec = parse_spec(small_spec(ttlSecondsAfterFinished=60))
    assert final_patch(spec) == {
        "metadata": {"labels": {resource.LABEL_FINAL: "true"}},
        "spec": {"ttlSecondsAfterFinished": 60},
    }
    assert "ttlSecondsAfterFinished" not in manifest(small_spec(ttlSecondsAfterFinished=60))["spec"]


def nodes(key: str) -> dict[str, Any]:
    term = {"matchExpressions": [{"key": key, "operator": "Exists"}]}
    return {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}


def test_affinity_and_spread() -> None:
    apart = {
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {
                "weight": 50,
                "podAffinityTerm": {
                    "labelSelector": {"matchLabels": {"app": "noisy"}},
                    "topologyKey": "kubernetes.io/hostname",
                },
            }
        ]
    }
    spec = small_spec(
        scheduling={
            "affinity": {"nodeAffinity": nodes("any"), "podAntiAffinity": apart},
            "topologySpreadConstraints": [{"topologyKey": "kubernetes.io/hostname"}],
            "schedulerName": "volcano",
        },
        stages={"train": {"scheduling": {"affinity": {"nodeAffinity": nodes("a100")}}}},
    )
    train, export = pod(manifest(spec)), pod(manifest(spec, key=graph.EXPORT))
    # A stage has its own nodes; how pods lie to other pods is said once.
    assert train["affinity"] == {"nodeAffinity": nodes("a100"), "podAntiAffinity": apart}
    assert export["affinity"] == {"nodeAffinity": nodes("any"), "podAntiAffinity": apart}
    assert train["topologySpreadConstraints"] == [
        {
            "labelSelector": {"matchLabels": {resource.LABEL_EXPERIMENT: NAME}},
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
        }
    ]
    assert train["schedulerName"] == "volcano"


def test_scheduling_of_a_stage_replaces_the_general_one() -> None:
    tolerations = [{"key": "gpu", "operator": "Exists"}]
    spec = small_spec(
        scheduling={"nodeSelector": {"zone": "a"}, "tolerations": tolerations, "priorityClassName": "low"},
        stages={"train": {"scheduling": {"nodeSelector": {"zone": "b"}, "runtimeClassName": "nvidia"}}},
    )
    train, export = pod(manifest(spec)), pod(manifest(spec, key=graph.EXPORT))
    assert train["nodeSelector"] == {"zone": "b"}
    assert train["runtimeClassName"] == "nvidia"
    assert train["tolerations"] == tolerations
    assert train["priorityClassName"] == "low"
    assert export["nodeSelector"] == {"zone": "a"}
    assert "runtimeClassName" not in export


def test_pull_policy_and_secrets() -> None:
    spec = small_spec(toolkit={"profile": "open", "imagePullPolicy": "Always", "imagePullSecrets": [{"name": "registry"}]})
    assert container(manifest(spec))["imagePullPolicy"] == "Always"
    assert pod(manifest(spec))["imagePullSecrets"] == [{"name": "registry"}]


def test_the_pod_outlives_the_toolkits_grace() -> None:
    body = manifest()
    instructions = json.loads(body["spec"]["template"]["metadata"]["annotations"][resource.ANNOTATION_INSTRUCTIONS])
    assert pod(body)["terminationGracePeriodSeconds"] > instructions["graceSeconds"]
