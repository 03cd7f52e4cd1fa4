"""From objects of the API to the small values of the pipeline. Tolerant: what is missing is empty, never an error."""

from __future__ import annotations

from typing import Any

from yolo_operator.api import resource
from yolo_operator.api.spec import Spec, parse_spec
from yolo_operator.api.status import read_status
from yolo_operator.kube.cluster import Object
from yolo_operator.pipeline.names import remembered, rerun_tokens
from yolo_operator.pipeline.values import NO_GPUS, Experiment, Gpus, JobState, JobView, PodView, StageKey

CONTAINER = "stage"
DOCKER_PULLED = "docker-pullable://"
"""What old runtimes put before an image with its digest."""


def experiment_of(body: Object, spec: Spec | None = None) -> Experiment:
    """The experiment in an object.

    Args:
        body: the object.
        spec: its spec where it is parsed already.

    Raises:
        pydantic.ValidationError: when the object was stored under other rules than this operator's.
    """
    meta = body["metadata"]
    annotations = meta.get("annotations") or {}
    return Experiment(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        generation=int(meta.get("generation") or 0),
        spec=spec or parse_spec(body.get("spec") or {}),
        status=read_status(body.get("status") or {}),
        retry_token=remembered(str(annotations.get(resource.ANNOTATION_RETRY) or "")),
        rerun=rerun_tokens(str(annotations.get(resource.ANNOTATION_RERUN) or "")),
        cancel_token=str(annotations.get(resource.ANNOTATION_CANCEL) or ""),
    )


def job_view(body: Object) -> JobView:
    """A stage's Job."""
    meta, spec, status = body["metadata"], body.get("spec") or {}, body.get("status") or {}
    labels, annotations = meta.get("labels") or {}, meta.get("annotations") or {}
    owner = _owner(meta)
    state, condition = _job_state(status)
    return JobView(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        owner_uid=owner.get("uid") or "",
        owner_name=owner.get("name") or labels.get(resource.LABEL_EXPERIMENT) or "",
        stage=StageKey(labels.get(resource.LABEL_STAGE) or "", labels.get(resource.LABEL_VARIANT) or ""),
        digest=annotations.get(resource.ANNOTATION_DIGEST) or "",
        attempt=_whole(annotations.get(resource.ANNOTATION_ATTEMPT)),
        state=state,
        resource_version=_whole(meta.get("resourceVersion")),
        suspended=bool(spec.get("suspend")),
        deleting=meta.get("deletionTimestamp") is not None,
        final=labels.get(resource.LABEL_FINAL) == "true",
        place=annotations.get(resource.ANNOTATION_PLACE) or "",
        gpus=_gpus(spec.get("template") or {}),
        reason=condition.get("reason") or "",
        message=condition.get("message") or "",
        start_time=status.get("startTime"),
        finish_time=status.get("completionTime") or condition.get("lastTransitionTime"),
        created=meta.get("creationTimestamp") or "",
    )


def _gpus(template: Object) -> Gpus:
    """What is written in the template, or what a Job of an earlier operator asks for."""
    written = ((template.get("metadata") or {}).get("annotations") or {}).get(resource.ANNOTATION_GPUS)
    if written:
        name, _, count = written.rpartition("=")
        return Gpus(name, _whole(count))
    for container in (template.get("spec") or {}).get("containers") or ():
        for name, count in ((container.get("resources") or {}).get("limits") or {}).items():
            if name.rpartition("/")[2].startswith(("gpu", "mig-")) and "/" in name:
                return Gpus(name, _whole(count))
    return NO_GPUS


def pod_view(body: Object) -> PodView:
    """A stage's Pod."""
    meta, status = body["metadata"], body.get("status") or {}
    labels = meta.get("labels") or {}
    conditions = {condition.get("type"): condition for condition in status.get("conditions") or ()}
    container: Object = next((c for c in status.get("containerStatuses") or () if c.get("name") == CONTAINER), {})
    state = container.get("state") or {}
    waiting, running, ended = (state.get(name) or {} for name in ("waiting", "running", "terminated"))
    return PodView(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        job=labels.get("batch.kubernetes.io/job-name") or labels.get("job-name") or "",
        owner_name=labels.get(resource.LABEL_EXPERIMENT) or "",
        phase=status.get("phase") or "Pending",
        created=meta.get("creationTimestamp") or "",
        resource_version=_whole(meta.get("resourceVersion")),
        node=(body.get("spec") or {}).get("nodeName"),
        image=(container.get("imageID") or "").removeprefix(DOCKER_PULLED)[:512],
        start_time=running.get("startedAt") or ended.get("startedAt"),
        finish_time=ended.get("finishedAt"),
        exit_code=ended.get("exitCode"),
        terminated_reason=ended.get("reason") or "",
        termination_message=ended.get("message") or "",
        waiting_reason=waiting.get("reason") or "",
        waiting_message=waiting.get("message") or "",
        unschedulable=_unschedulable(conditions.get("PodScheduled") or {}),
        disrupted=_disruption(conditions.get("DisruptionTarget") or {}),
        failed_reason=(status.get("reason") or "")[:128] if status.get("phase") == "Failed" else "",
        failed_message=(status.get("message") or "")[:512] if status.get("phase") == "Failed" else "",
        deleting=meta.get("deletionTimestamp") is not None,
    )


def resource_version(body: Object) -> int:
    """The object's resourceVersion; comparable within a kind (Kubernetes 1.35 made that a promise)."""
    return _whole(body["metadata"].get("resourceVersion"))


def controlled_by(body: Object, uid: str) -> bool:
    """Whether the object's controller is the one with this uid."""
    return _owner(body["metadata"]).get("uid") == uid


def _owner(meta: Object) -> Object:
    return next((ref for ref in meta.get("ownerReferences") or () if ref.get("controller")), {})


def _job_state(status: Object) -> tuple[JobState, Object]:
    for condition in status.get("conditions") or ():
        if condition.get("status") == "True" and condition.get("type") in ("Complete", "Failed"):
            return JobState(condition["type"]), condition
    return JobState.ACTIVE, next(
        (c for c in status.get("conditions") or () if c.get("type") == "Suspended" and c.get("status") == "True"), {}
    )


def _unschedulable(condition: Object) -> str:
    return str(condition.get("message") or "no node fits") if condition.get("reason") == "Unschedulable" else ""


def _disruption(condition: Object) -> str:
    return str(condition.get("reason") or "Disrupted") if condition.get("status") == "True" else ""


def _whole(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        return 0
