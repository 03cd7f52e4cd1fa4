"""Before the operator starts: is the CRD there, and has it the rights it needs? If not, it ends with a sentence."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple, Protocol

from yolo_operator.api import resource
from yolo_operator.kube.cluster import ACCESS_REVIEWS, EXPERIMENTS, Kind, Object, Page
from yolo_operator.kube.errors import ApiError


class Right(NamedTuple):
    """A right that the operator needs, and what for."""

    group: str
    resource: str
    verbs: tuple[str, ...]
    why: str


RIGHTS = (
    Right(resource.GROUP, resource.PLURAL, ("get", "list", "watch"), "to see experiments"),
    Right(resource.GROUP, f"{resource.PLURAL}/status", ("patch",), "to show their progress"),
    Right("batch", "jobs", ("get", "list", "watch", "create", "patch", "delete"), "to run stages"),
    Right("", "pods", ("get", "list", "watch"), "to read reports and to see why a stage does not start"),
    Right("", "pods/log", ("get",), "to read live progress"),
    Right("", "configmaps", ("get", "list", "create", "delete"), "to bring the runner into a namespace and remove it"),
    Right("", "persistentvolumeclaims", ("get", "create"), "to find or make workspaces"),
    Right("", "events", ("list", "create", "patch"), "to record Events, and to read why a Job has no pod"),
)
WITH_KUEUE = Right("kueue.x-k8s.io", "workloads", ("list",), "to show why a stage is Queued")
WITH_DRA = Right("resource.k8s.io", "resourceclaimtemplates", ("create",), "to ask for GPUs by resource claim")
"""Rights that only some experiments need. They are not checked: where one is missing, the experiment says so, or less."""


LEASE_RIGHTS = (
    Right("coordination.k8s.io", "leases", ("create",), "to make the Lease that tells who leads"),
    Right("coordination.k8s.io", "leases", ("get", "patch"), "to take, renew and release it"),
)
"""With leader election, in the Lease's namespace. All but create may be bound to its name."""


class NotReady(Exception):  # noqa: N818 - it is what the operator is
    """The cluster is not prepared for the operator; the message says what is missing."""


class Reader(Protocol):
    """What of a `Cluster` the checks need."""

    def pages(self, kind: Kind, namespace: str | None = None, *, selector: str = "", limit: int = 500) -> AsyncIterator[Page]:
        """All objects, page by page."""
        ...

    async def create(self, kind: Kind, namespace: str | None, body: Object) -> Object:
        """The review's answer."""
        ...


async def check_cluster(cluster: Reader, namespaces: tuple[str, ...], lease: tuple[str, str] | None = None) -> None:
    """Look for the CRD and the rights; lease: namespace and name of the Lease, with leader election.

    Raises:
        NotReady: naming everything that is missing.
        ApiError: when the API server cannot be reached.
    """
    wanted = [(namespace, "", right) for namespace in namespaces or ("",) for right in RIGHTS]
    if lease is not None:
        wanted += [(lease[0], lease[1], right) for right in LEASE_RIGHTS]
    missing = [
        f"{verb} {right.resource}{'.' + right.group if right.group else ''} in {namespace or 'all namespaces'} ({right.why})"
        for namespace, name, right in wanted
        for verb in right.verbs
        if not await _allowed(cluster, namespace, right, verb, "" if verb == "create" else name)
    ]
    if missing:
        raise NotReady("the service account lacks rights; apply the chart's RBAC:\n  " + "\n  ".join(missing))
    try:
        async for _ in cluster.pages(EXPERIMENTS, namespaces[0] if namespaces else None, limit=1):
            break
    except ApiError as error:
        if error.not_found:
            name = f"{resource.PLURAL}.{resource.GROUP}"
            raise NotReady(
                f"the CustomResourceDefinition {name} is not there: install the chart with crds.install=true"
            ) from error
        raise


async def _allowed(cluster: Reader, namespace: str, right: Right, verb: str, name: str) -> bool:
    resource_name, _, subresource = right.resource.partition("/")
    attributes = {
        "verb": verb,
        "group": right.group,
        "resource": resource_name,
        "subresource": subresource,
        "namespace": namespace,
        "name": name,
    }
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {key: value for key, value in attributes.items() if value}},
    }
    answer = await cluster.create(ACCESS_REVIEWS, None, review)
    return bool((answer.get("status") or {}).get("allowed"))
