"""The narrow protocol towards a cluster: the operator needs these verbs and no more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, NamedTuple, Protocol

from yolo_operator.api import resource

Object = dict[str, Any]


class Kind(NamedTuple):
    """A kind of objects by its path in the API."""

    prefix: str
    plural: str

    def path(self, namespace: str | None, name: str = "", subresource: str = "") -> str:
        """The path of the objects of a namespace (None: of all), of one object, or of its subresource."""
        scope = f"/namespaces/{namespace}" if namespace else ""
        tail = "".join(f"/{part}" for part in (name, subresource) if part)
        return f"{self.prefix}{scope}/{self.plural}{tail}"


EXPERIMENTS = Kind(f"/apis/{resource.GROUP}/{resource.VERSION}", resource.PLURAL)
JOBS = Kind("/apis/batch/v1", "jobs")
PODS = Kind("/api/v1", "pods")
CONFIG_MAPS = Kind("/api/v1", "configmaps")
CLAIMS = Kind("/api/v1", "persistentvolumeclaims")
EVENTS = Kind("/api/v1", "events")
DEVICE_TEMPLATES = Kind("/apis/resource.k8s.io/v1", "resourceclaimtemplates")
"""Only where spec asks for GPUs by resource claim."""
LEASES = Kind("/apis/coordination.k8s.io/v1", "leases")
ACCESS_REVIEWS = Kind("/apis/authorization.k8s.io/v1", "selfsubjectaccessreviews")


class Page(NamedTuple):
    """A part of a list."""

    items: list[Object]
    resource_version: int
    """Of the whole list: the moment it shows."""


class Change(NamedTuple):
    """One line of a watch."""

    type: str
    """ADDED, MODIFIED, DELETED, or BOOKMARK: only the version is news."""
    body: Object


class Cluster(Protocol):
    """Every method raises `ApiError` when the server refuses or cannot be reached."""

    def pages(
        self, kind: Kind, namespace: str | None = None, *, selector: str = "", fields: str = "", limit: int = 500
    ) -> AsyncIterator[Page]:
        """All objects that the selectors of labels and fields leave, page by page, as they were at one moment."""
        ...

    def changes(
        self, kind: Kind, namespace: str | None = None, *, selector: str = "", version: int, seconds: int
    ) -> AsyncIterator[Change]:
        """What changes after a version, for at most so many seconds; status 410 says that the version is too old."""
        ...

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """The object, or None when there is none."""
        ...

    async def create(self, kind: Kind, namespace: str | None, body: Object) -> Object:
        """The object as stored."""
        ...

    async def patch(self, kind: Kind, namespace: str, name: str, body: Object, *, subresource: str = "") -> Object:
        """A merge patch; the object as stored."""
        ...

    async def delete(self, kind: Kind, namespace: str, name: str, *, uid: str | None = None, foreground: bool = False) -> bool:
        """Delete it (only when it still has this uid); whether it was still there: absent already is fine."""
        ...

    async def log_tail(self, namespace: str, pod: str, *, lines: int) -> str:
        """The last lines of the log of a pod's only container."""
        ...
