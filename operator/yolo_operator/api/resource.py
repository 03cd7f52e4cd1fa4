"""The resource's identity: group, version, names, labels and annotations. One place for every constant that others must match."""

from __future__ import annotations

GROUP = "yolo-operator.dev"
VERSION = "v1alpha1"
KIND = "YoloExperiment"
PLURAL = "yoloexperiments"
SINGULAR = "yoloexperiment"
SHORT_NAMES = ("yexp",)
API_VERSION = f"{GROUP}/{VERSION}"

MANAGED_BY = "yolo-operator"
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
LABEL_NAME = "app.kubernetes.io/name"
LABEL_COMPONENT = "app.kubernetes.io/component"
LABEL_EXPERIMENT = f"{GROUP}/experiment"
LABEL_STAGE = f"{GROUP}/stage"
LABEL_VARIANT = f"{GROUP}/variant"
LABEL_FINAL = f"{GROUP}/final"
"""On Jobs whose report is in status: they leave the operator's watch."""
LABEL_QUEUE = "kueue.x-k8s.io/queue-name"
LABEL_PRIORITY = "kueue.x-k8s.io/priority-class"

ANNOTATION_INSTRUCTIONS = f"{GROUP}/instructions"
ANNOTATION_EXPERIMENT_SPEC = f"{GROUP}/experiment-spec"
ANNOTATION_DIGEST = f"{GROUP}/digest"
ANNOTATION_ATTEMPT = f"{GROUP}/attempt"
ANNOTATION_RETRY = f"{GROUP}/retry"
"""On an experiment: a new value lets failed stages run again."""
ANNOTATION_RERUN = f"{GROUP}/rerun"
"""On an experiment: `STAGE=TOKEN[,STAGE=TOKEN…]`. A stage's token joins its digest, so that it and all that reads it run anew."""
ANNOTATION_CANCEL = f"{GROUP}/cancel"
"""On an experiment: not empty ends it."""
