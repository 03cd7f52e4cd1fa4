"""A stage's Job: the one write that starts it (docs/stage-contract.md), and the one that lets it go."""

from __future__ import annotations

from dataclasses import dataclass

from yolo_operator.api import resource
from yolo_operator.api.pods import DeviceClaim
from yolo_operator.api.spec import Spec
from yolo_operator.kube.cluster import Object
from yolo_operator.kube.owner import owner_reference
from yolo_operator.kube.pod import pod_template
from yolo_operator.kube.views import CONTAINER
from yolo_operator.pipeline.graph import stage_retry
from yolo_operator.pipeline.resources import run_resources
from yolo_operator.pipeline.values import CreateJob, Experiment, StageKey

EXIT_USER = 10
"""The container's exit code for what the user must fix (docs/stage-contract.md)."""


@dataclass(frozen=True, slots=True)
class JobSettings:
    """What the operator itself brings to a Job."""

    operator_image: str
    runner_config_map: str


def job_manifest(experiment: Experiment, action: CreateJob, settings: JobSettings) -> Object:
    """The Job of an attempt. Kueue sees its own labels on the Job alone: on the pods they would be counted twice."""
    run, spec = action.run, experiment.spec
    labels = {
        **job_labels(experiment, "stage"),
        resource.LABEL_STAGE: run.key.name,
        resource.LABEL_VARIANT: run.key.variant,
    }
    annotations = {resource.ANNOTATION_DIGEST: run.digest, resource.ANNOTATION_ATTEMPT: str(action.attempt)}
    annotations[resource.ANNOTATION_PLACE] = run.place
    template = pod_template(experiment, run, action.attempt, settings.operator_image, settings.runner_config_map)
    template["metadata"] = {"labels": labels, "annotations": {**annotations, **template["metadata"]["annotations"]}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": action.name,
            "namespace": experiment.namespace,
            "labels": {**labels, **queue_labels(spec)},
            "annotations": annotations,
            "ownerReferences": [owner_reference(experiment)],
        },
        "spec": {
            # An attempt is one Job: the operator decides about the next one. A pod lost to a disruption is replaced within it.
            "backoffLimit": 0,
            **_deadline(experiment.spec, run.key),
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
            "template": template,
        },
    }


def device_claim_of(experiment: Experiment, action: CreateJob) -> DeviceClaim | None:
    """What the attempt's pod claims by dynamic resource allocation, if anything."""
    return run_resources(experiment.spec, action.run).dra


def job_labels(experiment: Experiment, component: str) -> dict[str, str]:
    """What every Job of an experiment carries, and its pods."""
    return {
        resource.LABEL_MANAGED_BY: resource.MANAGED_BY,
        resource.LABEL_NAME: "yolo-experiment",
        resource.LABEL_COMPONENT: component,
        resource.LABEL_EXPERIMENT: experiment.name,
    }


def final_patch(spec: Spec) -> Object:
    """What is written onto a Job once its report is in status: it leaves the watch, and Kubernetes removes it after a while.

    Never before: a Job that vanished early would take its report along. One write for both, so that there is no Job that is
    watched for ever or kept for ever. Kueue is not disturbed: a finished Job has given its quota back.
    """
    return {
        "metadata": {"labels": {resource.LABEL_FINAL: "true"}},
        "spec": {"ttlSecondsAfterFinished": spec.ttl_seconds_after_finished},
    }


def _deadline(spec: Spec, key: StageKey) -> Object:
    seconds = stage_retry(spec, key).active_deadline_seconds
    return {} if seconds is None else {"activeDeadlineSeconds": seconds}


def queue_labels(spec: Spec) -> dict[str, str]:
    """What puts a Job into Kueue's queue, where the spec names one."""
    labels = {resource.LABEL_QUEUE: spec.queue_name, resource.LABEL_PRIORITY: spec.queue_priority_class}
    return {name: value for name, value in labels.items() if value}
