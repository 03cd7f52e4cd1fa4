"""The workspace's claim made from the experiment's template."""

from __future__ import annotations

from yolo_operator.api import resource
from yolo_operator.api.workspace import Retention
from yolo_operator.kube.cluster import Object
from yolo_operator.kube.owner import owner_reference
from yolo_operator.pipeline.values import Experiment


def claim_manifest(experiment: Experiment, name: str) -> Object:
    """The claim. Only with retention Delete does it belong to the experiment and go with it."""
    template = experiment.spec.workspace.volume_claim_template
    if template is None:
        raise ValueError(f"{experiment.namespace}/{experiment.name} has no volumeClaimTemplate")
    meta: Object = {
        "name": name,
        "namespace": experiment.namespace,
        "labels": {resource.LABEL_MANAGED_BY: resource.MANAGED_BY, resource.LABEL_EXPERIMENT: experiment.name},
    }
    if experiment.spec.workspace.retention is Retention.DELETE:
        meta["ownerReferences"] = [owner_reference(experiment)]
    spec: Object = {
        "accessModes": [mode.value for mode in template.access_modes],
        "resources": {"requests": {"storage": template.storage}},
    }
    if template.storage_class_name is not None:
        spec["storageClassName"] = template.storage_class_name
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": spec}
