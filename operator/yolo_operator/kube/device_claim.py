"""GPUs by dynamic resource allocation: the ResourceClaimTemplate that a stage's pods refer to."""

from __future__ import annotations

from yolo_operator.api import resource
from yolo_operator.api.pods import DeviceClaim
from yolo_operator.kube.cluster import Object
from yolo_operator.kube.owner import owner_reference
from yolo_operator.pipeline.names import digest_of
from yolo_operator.pipeline.values import Experiment

NAME = "gpu"
"""Of the claim within the pod, and of the request within the claim."""
_LONGEST = 63


def template_name(experiment: Experiment, claim: DeviceClaim) -> str:
    """By experiment (its uid, too: a deleted one's goes away later) and content, since a template cannot be changed."""
    tail = f"-gpu-{digest_of([experiment.uid, _spec(claim)])[:8]}"
    return experiment.name[: _LONGEST - len(tail)].rstrip("-.") + tail


def template_manifest(experiment: Experiment, claim: DeviceClaim) -> Object:
    """The template. It belongs to the experiment and goes with it."""
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaimTemplate",
        "metadata": {
            "name": template_name(experiment, claim),
            "namespace": experiment.namespace,
            "labels": {resource.LABEL_MANAGED_BY: resource.MANAGED_BY, resource.LABEL_EXPERIMENT: experiment.name},
            "ownerReferences": [owner_reference(experiment)],
        },
        "spec": {"spec": _spec(claim)},
    }


def pod_claim(experiment: Experiment, claim: DeviceClaim) -> Object:
    """The reference in the pod."""
    return {"name": NAME, "resourceClaimTemplateName": template_name(experiment, claim)}


def _spec(claim: DeviceClaim) -> Object:
    request: Object = {"deviceClassName": claim.device_class_name, "allocationMode": "ExactCount", "count": claim.count}
    if claim.selectors:
        request["selectors"] = [{"cel": {"expression": expression}} for expression in claim.selectors]
    return {"devices": {"requests": [{"name": NAME, "exactly": request}]}}
