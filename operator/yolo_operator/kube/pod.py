"""The pod of a stage: container, volumes, user, placement (docs/stage-contract.md).

It asks for no privilege that the toolkit can do without. `own` is true for stages that run in the operator's own image.
"""

from __future__ import annotations

import json
from typing import Any

from yolo_operator.api import resource
from yolo_operator.api.pods import Resources, Scheduling, StageScheduling
from yolo_operator.api.spec import Spec
from yolo_operator.kube import device_claim, weights_pod
from yolo_operator.kube.cluster import Object
from yolo_operator.kube.views import CONTAINER
from yolo_operator.pipeline.graph import stage_override
from yolo_operator.pipeline.keys import REPORT, WEIGHTS
from yolo_operator.pipeline.names import workspace_claim
from yolo_operator.pipeline.resources import GPU, cpu_limit, gpus_of, run_resources, with_workers
from yolo_operator.pipeline.values import Adoption, Experiment, StageKey, StageRun
from yolo_operator.pipeline.work import ADOPT_MOUNT, GRACE_SECONDS, KEY_VARIABLE, METRICS_PORT
from yolo_operator.toolkit.dialects import dialect
from yolo_operator.toolkit.invocation import DATASET_MOUNT

CONFIG_MOUNT = "/etc/yolo-operator"
RUNNER_MOUNT = "/opt/yolo-operator"
OWN_USER = 65532
_OWN_MODULES = {
    "prepare": "yolo_operator.dataset",
    "merge": "yolo_operator.dataset",
    "weights": "yolo_operator.weights",
    "report": "yolo_operator.cli.workspace_report",
}
"""Python modules of the stages that run in the operator's own image."""
ADOPTING_MODULE = "yolo_operator.dataset"


def pod_template(experiment: Experiment, run: StageRun, attempt: int, operator_image: str, runner_map: str) -> Object:
    """The pod template of a stage's Job, with instructions and experiment spec in its annotations."""
    spec, own = experiment.spec, run.image is None
    wanted = run_resources(spec, run)
    instructions = json.dumps({**run.instructions, "attempt": attempt}, separators=(",", ":"), ensure_ascii=False)
    pod: Object = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        # The runner gives the toolkit GRACE_SECONDS and needs a moment to judge and report.
        "terminationGracePeriodSeconds": GRACE_SECONDS + 30,
        "securityContext": _pod_security(spec, own=own),
        "containers": [_container(experiment, run, wanted, operator_image, own=own)],
        "volumes": _volumes(experiment, wanted, runner_map, own=own)
        + (weights_pod.volumes(experiment) if run.key == WEIGHTS else [])
        + _adopted_volumes(experiment, run),
        **_placement(experiment, run.key),
    }
    if spec.toolkit.image_pull_secrets:
        pod["imagePullSecrets"] = [secret.dump() for secret in spec.toolkit.image_pull_secrets]
    if wanted.dra is not None:
        pod["resourceClaims"] = [device_claim.pod_claim(experiment, wanted.dra)]
    annotations = {
        resource.ANNOTATION_INSTRUCTIONS: instructions,
        resource.ANNOTATION_EXPERIMENT_SPEC: with_workers(spec, run.experiment_spec, wanted),
    }
    if (gpus := gpus_of(wanted)).number:
        annotations[resource.ANNOTATION_GPUS] = str(gpus)
    return {"metadata": {"annotations": annotations}, "spec": pod}


def _container(experiment: Experiment, run: StageRun, wanted: Resources, operator_image: str, *, own: bool) -> Object:
    spec = experiment.spec
    instructions = f"{CONFIG_MOUNT}/instructions.json"
    # A toolkit's stage that only takes over a result runs in the operator's image, too.
    module = ADOPTING_MODULE if run.adopt else _OWN_MODULES.get(run.key.name, "")
    command = ["-m", module] if own else [f"{RUNNER_MOUNT}/runner.py"]
    fetches = run.key == WEIGHTS
    container: Object = {
        "name": CONTAINER,
        "image": run.image or operator_image,
        "imagePullPolicy": "IfNotPresent" if own else spec.toolkit.image_pull_policy.value,
        # `command` replaces the image's entrypoint: TAO's prints a banner and asks for a licence.
        "command": ["python3", *command, instructions],
        "env": _environment(spec, wanted, own=own, keyed=run.key != REPORT) + (weights_pod.environment(spec) if fetches else []),
        "resources": _resources(wanted),
        "securityContext": _container_security(spec, own=own),
        # Without a report (a broken image, a crash of the runner) the log's end is the next best thing to tell.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": _mounts(experiment, own=own)
        + (weights_pod.mounts(experiment) if fetches else [])
        + _adopted_mounts(experiment, run),
    }
    if not own:
        container["ports"] = [{"name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP"}]
    return container


# --- resources and what follows from them ---


def _resources(wanted: Resources) -> Object:
    limits, requests = dict(wanted.limits or {}), dict(wanted.requests or {})
    if wanted.gpus:
        limits[wanted.gpu_resource_name or GPU] = str(wanted.gpus)
    found: Object = {name: values for name, values in (("requests", requests), ("limits", limits)) if values}
    return found if wanted.dra is None else {**found, "claims": [{"name": device_claim.NAME}]}


def _environment(spec: Spec, wanted: Resources, *, own: bool, keyed: bool) -> list[Object]:
    values = {"HOME": "/tmp", "PYTHONUNBUFFERED": "1"}  # noqa: S108 - an emptyDir
    if not own:
        values |= {**_gpu_environment(wanted), **_cpu_environment(spec, wanted), **dialect(spec.toolkit.profile).environment}
    environment: list[Object] = [{"name": name, "value": value} for name, value in sorted(values.items())]
    if keyed and (reference := spec.toolkit.encryption_key_secret_ref) is not None:
        # Our own stages have it too, so that a missing Secret is found before anything runs.
        environment.append({"name": KEY_VARIABLE, "valueFrom": {"secretKeyRef": {"name": reference.name, "key": reference.key}}})
    return environment


def _gpu_environment(wanted: Resources) -> dict[str, str]:
    """What NVIDIA's container runtime reads.

    CUDA images say `NVIDIA_VISIBLE_DEVICES=all`: where that runtime is the node's default, a pod without a GPU request would see
    every GPU of the node, those of others too. The device plugin sets the variable itself; a DRA driver injects by CDI.
    """
    if wanted.gpus:
        # `utility` brings nvidia-smi, which TAO calls before every task.
        return {"NVIDIA_DRIVER_CAPABILITIES": "compute,utility"}
    if wanted.dra is not None:
        return {"NVIDIA_VISIBLE_DEVICES": "void", "NVIDIA_DRIVER_CAPABILITIES": "compute,utility"}
    return {"NVIDIA_VISIBLE_DEVICES": "void"}


def _cpu_environment(spec: Spec, wanted: Resources) -> dict[str, str]:
    cpus = cpu_limit(wanted)
    if cpus is None or dialect(spec.toolkit.profile).sees_cpu_limit:
        return {}
    return dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(cpus))


# --- volumes ---


def _volumes(experiment: Experiment, wanted: Resources, runner_map: str, *, own: bool) -> list[Object]:
    spec = experiment.spec
    claim = workspace_claim(experiment.name, spec.workspace)
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
        volumes.append({"name": "runner", "configMap": {"name": runner_map}})
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": wanted.shared_memory}})
    if spec.dataset.claim_name and not _dataset_in_workspace(experiment):
        source = {"claimName": spec.dataset.claim_name, "readOnly": True}
        volumes.append({"name": "dataset", "persistentVolumeClaim": source})
    return volumes


def _adopted_volumes(experiment: Experiment, run: StageRun) -> list[Object]:
    """The claim of the experiment in `spec.from`, where it is another one than those that the pod has anyway."""
    if run.adopt is None or _adopted_volume(experiment, run.adopt) != "from":
        return []
    return [{"name": "from", "persistentVolumeClaim": {"claimName": run.adopt.claim, "readOnly": True}}]


def _adopted_mounts(experiment: Experiment, run: StageRun) -> list[Object]:
    if run.adopt is None:
        return []
    mount: Object = {"name": _adopted_volume(experiment, run.adopt), "mountPath": ADOPT_MOUNT, "readOnly": True}
    return [mount | ({"subPath": run.adopt.sub_path} if run.adopt.sub_path else {})]


def _adopted_volume(experiment: Experiment, adopt: Adoption) -> str:
    """The pod's volume with that claim: a pod must not mention a claim twice."""
    if adopt.claim == workspace_claim(experiment.name, experiment.spec.workspace):
        return "workspace"
    return "dataset" if adopt.claim == experiment.spec.dataset.claim_name else "from"


def _dataset_in_workspace(experiment: Experiment) -> bool:
    """Whether both lie on one claim. A pod must not mention a claim twice: read-only for one is read-only for both."""
    return experiment.spec.dataset.claim_name == workspace_claim(experiment.name, experiment.spec.workspace)


def _mounts(experiment: Experiment, *, own: bool) -> list[Object]:
    spec = experiment.spec
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
        volume = "workspace" if _dataset_in_workspace(experiment) else "dataset"
        dataset: Object = {"name": volume, "mountPath": DATASET_MOUNT, "readOnly": True}
        if spec.dataset.sub_path:
            dataset["subPath"] = spec.dataset.sub_path
        mounts.append(dataset)
    return mounts


# --- user and privileges ---


def _user(spec: Spec, *, own: bool) -> int | None:
    chosen = spec.security_context.run_as_user if spec.security_context else None
    if chosen is not None:
        return chosen
    facts = dialect(spec.toolkit.profile)
    # Our own stages write as the user that the toolkit runs as, where that is known, so that both can change what they made.
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
    capabilities: Object = {"drop": ["ALL"]}
    if not _user(spec, own=own):
        # TAO's image runs as root. What root keeps: to read data and to write directories that belong to somebody else.
        capabilities["add"] = ["DAC_OVERRIDE"]
    security: Object = {"allowPrivilegeEscalation": False, "capabilities": capabilities}
    if own or dialect(spec.toolkit.profile).run_as_user is not None:
        # TAO writes beside its models and into its image, nowhere documented in full: there the root file system stays writable.
        security["readOnlyRootFilesystem"] = True
    return security


# --- placement ---


def _placement(experiment: Experiment, key: StageKey) -> dict[str, Any]:
    """The stage's own fields over the general ones; of the affinity only the nodes' part has an own one."""
    general = experiment.spec.scheduling
    own = stage_override(experiment.spec, key).scheduling or StageScheduling()
    affinity = {**(general.affinity.dump() if general.affinity else {}), **(own.affinity.dump() if own.affinity else {})}
    fields = {**general.dump(), **own.dump()}
    if affinity:
        fields["affinity"] = affinity
    if general.topology_spread_constraints:
        fields["topologySpreadConstraints"] = _spread(experiment, general)
    return fields


def _spread(experiment: Experiment, scheduling: Scheduling) -> list[Object]:
    mine = {"matchLabels": {resource.LABEL_EXPERIMENT: experiment.name}}
    return [{"labelSelector": mine, **constraint.dump()} for constraint in scheduling.topology_spread_constraints or ()]
