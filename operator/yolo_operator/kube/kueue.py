"""What Kueue says of a Job that it holds: the conditions of the Job's Workload."""

from __future__ import annotations

from typing import Any

from yolo_operator.kube.cluster import Cluster, Kind, Object
from yolo_operator.kube.errors import ApiError
from yolo_operator.pipeline.values import Held

GROUP = "kueue.x-k8s.io"
LABEL_JOB_UID = f"{GROUP}/job-uid"
WORKLOADS = tuple(Kind(f"/apis/{GROUP}/{version}", "workloads") for version in ("v1beta2", "v1beta1"))
"""By version, the newest first: conditions are the same in both."""


async def workload_of(cluster: Cluster, namespace: str, job_uid: str) -> Object | None:
    """The Workload that Kueue made for a Job; None: not yet.

    Raises:
        ApiError: status 404 when the cluster has no Kueue, 403 without the right to read its Workloads.
    """
    missing: ApiError | None = None
    for kind in WORKLOADS:
        try:
            async for page in cluster.pages(kind, namespace, selector=f"{LABEL_JOB_UID}={job_uid}"):
                for body in page.items:
                    return body
        except ApiError as error:
            if not error.not_found:
                raise
            missing = error
        else:
            return None
    raise missing or ApiError(404, "NotFound", f"{GROUP} is not served")


def held(workload: Object) -> Held | None:
    """Why a Workload does not run: who it had to give way to, or what it waits for. None: it says nothing."""
    conditions = {c.get("type"): c for c in (workload.get("status") or {}).get("conditions") or ()}
    evicted, reserved, admitted = (conditions.get(name) or {} for name in ("Evicted", "QuotaReserved", "Admitted"))
    waits = next((c for c in (reserved, admitted) if c.get("status") == "False"), {})
    if evicted.get("status") == "True":
        texts = dict.fromkeys(text for text in (evicted.get("message"), waits.get("message")) if text)
        return Held(_reason(evicted, "Evicted"), "; ".join(texts) or "evicted by Kueue")
    if waits:
        return Held(_reason(waits, "Pending"), str(waits.get("message") or "waits in its queue"))
    return None


def _reason(condition: dict[str, Any], default: str) -> str:
    return str(condition.get("reason") or default)[:128]
