"""A stage's Job: the one write that starts it (docs/stage-contract.md)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from yolo_operator.api import resource
from yolo_operator.api.pods import Resources, Scheduling
from yolo_operator.api.spec import Spec
from yolo_operator.kube.cluster import Object
from yolo_operator.kube.views import CONTAINER
from yolo_operator.pipeline import graph
from yolo_operator.pipeline.graph import stage_override
from yolo_operator.pipeline.names import workspace_claim
from yolo_operator.pipeline.values import CreateJob, Experiment, StageKey, StageRun
from yolo_operator.pipeline.work import GRACE_SECONDS, KEY_VARIABLE, METRICS_PORT
from yolo_operator.toolkit.dialects import dialect
from yolo_operator.toolkit.invocation import DATASET_MOUNT

CONFIG_MOUNT = "/etc/yolo-operator"
RUNNER_MOUNT = "/opt/yolo-operator"
OWN_USER = 65532
GPU = "nvidia.com/gpu"
EXIT_USER = 10
"""The container's exit code for what the user must fix (docs/stage-contract.md)."""


@dataclass(frozen=True, slots=True)
class JobSettings:
    """What the operator itself brings to a Job."""

    operator_image: str
    runner_config_map: str


def job_manifest(experiment: Experiment, action: CreateJob, settings: JobSettings) -> Object:
    """The Job of an attempt."""
    run, spec = action.run, experiment.spec
    labels = {
        resource.LABEL_MANAGED_BY: resource.MANAGED_BY,
        resource.LABEL_NAME: "yolo-experiment",
        resource.LABEL_COMPONENT: "stage",
        resource.LABEL_EXPERIMENT: experiment.name,
        resource.LABEL_STAGE: run.key.name,
        resource.LABEL_VARIANT: run.key.variant,
    }
    annotations = {resource.ANNOTATION_DIGEST: run.digest, resource.ANNOTATION_ATTEMPT: str(action.attempt)}
    instructions = json.dumps({**run.instructions, "attempt": action.attempt}, separators=(",", ":"), ensure_ascii=False)
    carried = {resource.ANNOTATION_INSTRUCTIONS: instructions, resource.ANNOTATION_EXPERIMENT_SPEC: run.experiment_spec}
    queue = {resource.LABEL_QUEUE: spec.queue_name} if spec.queue_name else {}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": action.name,
            "namespace": experiment.namespace,
            "labels": {**labels, **queue},
            "annotations": annotations,
            "ownerReferences": [owner_reference(experiment)],
        },
        "spec": {
            # An attempt is one Job: the operator decides about the next one. A pod lost to a disruption is replaced within it.
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    {
                        "action": "FailJob",
                        "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": [EXIT_USER]},
                    },
                ]
            },
            "template": {
                "metadata": {"labels": labels, "annotations": {**annotations, **carried}},
                "spec": _pod(spec, run, settings, experiment.name),
            },
        },
    }


def owner_reference(experiment: Experiment) -> Object:
    """Deleting the experiment deletes what it owns. It blocks nothing, so no right on finalizers is needed."""
    return {
        "apiVersion": resource.API_VERSION,
        "kind": resource.KIND,
        "name": experiment.name,
        "uid": experiment.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def effective_resources(spec: Spec, key: StageKey) -> Resources:
    """The stage's own resources field by field over the general ones, over the profile's."""
    facts = dialect(spec.toolkit.profile)
    own = stage_override(spec, key).resources or Resources()
    merged = {**spec.resources.model_dump(exclude_none=True), **own.model_dump(exclude_none=True)}
    merged.setdefault("shared_memory", facts.default_shared_memory)
    gpus = facts.gpus(spec, key.group)
    # TAO refuses more than one GPU for anything but training; preparation uses none.
    merged["gpus"] = 0 if key == graph.PREPARE else gpus if key.trains else min(gpus, 1)
    return Resources.model_validate(merged)


def _pod(spec: Spec, run: StageRun, settings: JobSettings, experiment: str) -> Object:
    own = run.image is None
    pod: Object = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        # The runner gives the toolkit GRACE_SECONDS and needs a moment to judge and report.
        "terminationGracePeriodSeconds": GRACE_SECONDS + 30,
        "securityContext": _pod_security(spec, own=own),
        "containers": [_container(spec, run, settings, own=own)],
        "volumes": _volumes(spec, run, settings, experiment, own=own),
        **_scheduling(spec, run.key),
    }
    if spec.toolkit.image_pull_secrets:
        pod["imagePullSecrets"] = [secret.dump() for secret in spec.toolkit.image_pull_secrets]
    return pod


def _container(spec: Spec, run: StageRun, settings: JobSettings, *, own: bool) -> Object:
    instructions = f"{CONFIG_MOUNT}/instructions.json"
    command = ["-m", "yolo_operator.dataset"] if own else [f"{RUNNER_MOUNT}/runner.py"]
    container: Object = {
        "name": CONTAINER,
        "image": run.image or settings.operator_image,
        "imagePullPolicy": "IfNotPresent" if own else spec.toolkit.image_pull_policy.value,
        "command": ["python3", *command, instructions],
        "env": _environment(spec, own=own),
        "resources": _resources(effective_resources(spec, run.key)),
        "securityContext": _container_security(spec, own=own),
        # Without a report (a broken image, a crash of the runner) the log's end is the next best thing to tell.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": _mounts(spec, own=own),
    }
    if not own:
        container["ports"] = [{"name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP"}]
    return container


def _environment(spec: Spec, *, own: bool) -> list[Object]:
    facts = dialect(spec.toolkit.profile)
    values = {"HOME": "/tmp", "PYTHONUNBUFFERED": "1"} | ({} if own else dict(facts.environment))  # noqa: S108 - an emptyDir
    environment: list[Object] = [{"name": name, "value": value} for name, value in sorted(values.items())]
    if (reference := spec.toolkit.encryption_key_secret_ref) is not None:
        # `prepare` has it too, so that a missing Secret is found before anything runs.
        environment.append({"name": KEY_VARIABLE, "valueFrom": {"secretKeyRef": {"name": reference.name, "key": reference.key}}})
    return environment


def _resources(wanted: Resources) -> Object:
    limits, requests = dict(wanted.limits or {}), dict(wanted.requests or {})
    if wanted.gpus:
        limits[wanted.gpu_resource_name or GPU] = str(wanted.gpus)
    return {name: values for name, values in (("requests", requests), ("limits", limits)) if values}


def _volumes(spec: Spec, run: StageRun, settings: JobSettings, experiment: str, *, own: bool) -> list[Object]:
    claim = workspace_claim(experiment, spec.workspace)
    fields = [
        {"path": "instructions.json", "fieldRef": {"fieldPath": f"metadata.annotations['{resource.ANNOTATION_INSTRUCTIONS}']"}},
        {
            "path": "experiment-spec.txt",
            "fieldRef": {"fieldPath": f"metadata.annotations['{resource.ANNOTATION_EXPERIMENT_SPEC}']"},
        },
    ]
    volumes: list[Object] = [
        {"name": "workspace", "persistentVolumeClaim": {"claimName": claim}},
        {"name": "instructions", "downwardAPI": {"items": fields}},
        {"name": "tmp", "emptyDir": {}},
    ]
    if not own:
        volumes.append({"name": "runner", "configMap": {"name": settings.runner_config_map}})
        size = effective_resources(spec, run.key).shared_memory
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": size}})
    if spec.dataset.claim_name and not _dataset_in_workspace(spec):
        source = {"claimName": spec.dataset.claim_name, "readOnly": True}
        volumes.append({"name": "dataset", "persistentVolumeClaim": source})
    return volumes


def _dataset_in_workspace(spec: Spec) -> bool:
    """Whether both lie on one claim. A pod must not mention a claim twice: read-only for one is read-only for both."""
    return spec.dataset.claim_name is not None and spec.dataset.claim_name == spec.workspace.claim_name


def _mounts(spec: Spec, *, own: bool) -> list[Object]:
    workspace: Object = {"name": "workspace", "mountPath": spec.workspace.mount_path}
    if spec.workspace.sub_path:
        workspace["subPath"] = spec.workspace.sub_path
    mounts: list[Object] = [
        workspace,
        {"name": "instructions", "mountPath": CONFIG_MOUNT, "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - an emptyDir
    ]
    if not own:
        mounts.append({"name": "runner", "mountPath": RUNNER_MOUNT, "readOnly": True})
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})  # noqa: S108 - an emptyDir in memory
    if spec.dataset.claim_name:
        volume = "workspace" if _dataset_in_workspace(spec) else "dataset"
        dataset: Object = {"name": volume, "mountPath": DATASET_MOUNT, "readOnly": True}
        if spec.dataset.sub_path:
            dataset["subPath"] = spec.dataset.sub_path
        mounts.append(dataset)
    return mounts


def _user(spec: Spec, *, own: bool) -> int | None:
    chosen = spec.security_context.run_as_user if spec.security_context else None
    if chosen is not None:
        return chosen
    facts = dialect(spec.toolkit.profile)
    # `prepare` writes as the user that the toolkit runs as, where that is known, so that both can change what they made.
    return facts.run_as_user if not own or facts.run_as_user is not None else OWN_USER


def _pod_security(spec: Spec, *, own: bool) -> Object:
    security: Object = {"seccompProfile": {"type": "RuntimeDefault"}}
    chosen = spec.security_context
    user = _user(spec, own=own)
    group = chosen.run_as_group if chosen and chosen.run_as_group is not None else user
    fs_group = chosen.fs_group if chosen and chosen.fs_group is not None else group
    if user is not None:
        security |= {"runAsUser": user, "runAsGroup": group, "runAsNonRoot": user != 0}
    if fs_group is not None:
        security |= {"fsGroup": fs_group, "fsGroupChangePolicy": "OnRootMismatch"}
    return security


def _container_security(spec: Spec, *, own: bool) -> Object:
    security: Object = {"allowPrivilegeEscalation": False}
    if own or dialect(spec.toolkit.profile).run_as_user is not None:
        security |= {"capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}
    return security


def _scheduling(spec: Spec, key: StageKey) -> dict[str, Any]:
    own = stage_override(spec, key).scheduling or Scheduling()
    return {**spec.scheduling.dump(), **own.dump()}
