"""Who owns what the operator makes."""

from __future__ import annotations

from yolo_operator.api import resource
from yolo_operator.kube.cluster import Object
from yolo_operator.pipeline.values import Experiment


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
