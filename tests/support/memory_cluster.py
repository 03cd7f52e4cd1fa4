"""A cluster in memory that behaves as the operator may rely on an API server to behave, and no better.

It counts resourceVersions, refuses conflicts, keeps status apart from the rest, collects garbage only when told to, and tells its
watches everything in order. Stored objects are replaced and never changed in place. Nothing in it waits, so that a test may drive
coroutines over it without an event loop (`finish`).
"""

from __future__ import annotations

import json
import marshal
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from pydantic import ValidationError
from yolo_operator.api.status import Status
from yolo_operator.kube.cluster import (
    ACCESS_REVIEWS,
    CLAIMS,
    CONFIG_MAPS,
    DEVICE_TEMPLATES,
    EVENTS,
    EXPERIMENTS,
    JOBS,
    LEASES,
    PODS,
    Kind,
    Object,
    Page,
)
from yolo_operator.kube.cluster import (
    Change as Told,
)
from yolo_operator.kube.errors import ApiError
from yolo_operator.pipeline.times import to_text

T = TypeVar("T")

KINDS = (EXPERIMENTS, JOBS, PODS, CONFIG_MAPS, CLAIMS, EVENTS, DEVICE_TEMPLATES, LEASES)
WITH_STATUS = (EXPERIMENTS, JOBS, PODS)
"""Kinds whose status is a subresource."""
LONGEST_ANNOTATIONS = 256 * 1024
FOREGROUND = "foregroundDeletion"


class Crash(BaseException):
    """The operator's process ends here; nothing may catch it."""


def finish(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise AssertionError("the coroutine waits for something")


def clone(value: Any) -> Any:
    """A copy of a JSON value that shares nothing with it."""
    return marshal.loads(marshal.dumps(value))


def over_the_wire(value: Any) -> Any:
    """A body as the server receives it."""
    return json.loads(json.dumps(value, allow_nan=False))


def apply_merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = apply_merge_patch(result.get(key), value)
    return result


def matches(labels: dict[str, str], selector: str) -> bool:
    """Whether labels fit a selector of `=` and `!=` terms."""
    for term in filter(None, selector.split(",")):
        name, _, value = term.partition("!=" if "!=" in term else "=")
        if (labels.get(name) == value) == ("!=" in term):
            return False
    return True


def has_fields(body: Any, selector: str) -> bool:
    """Whether an object fits a field selector of `=` terms."""
    for term in filter(None, selector.split(",")):
        path, _, wanted = term.partition("=")
        value = body
        for key in path.split("."):
            value = (value or {}).get(key)
        if value != wanted:
            return False
    return True


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self.now = start

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)

    @property
    def text(self) -> str:
        """The time as the API writes it."""
        return to_text(self.now)


@dataclass(frozen=True, slots=True)
class Request:
    """One request to the cluster."""

    verb: str
    resource: str
    namespace: str | None
    name: str
    body: Object | None = None
    subresource: str = ""

    @property
    def writes(self) -> bool:
        """Whether it may change anything."""
        return self.verb in ("create", "patch", "delete") and self.resource != ACCESS_REVIEWS.plural


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to a request instead of, or after, its effect."""

    error: BaseException
    after: bool = False
    """The effect takes place, only its answer is lost."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a watch tells; type None is an object of an initial list."""

    type: str | None
    body: Object


@dataclass
class Watch:
    """A watch with a label selector, from the moment it was opened; the reader takes changes when it likes."""

    kind: Kind
    selector: str
    pending: deque[Change] = field(default_factory=deque)

    def tell(self, before: Object | None, after: Object | None, version: str) -> None:
        """Take in a change; leaving the selector looks like a deletion, of the object as it was."""
        was = before is not None and matches(before["metadata"].get("labels") or {}, self.selector)
        fits = after is not None and matches(after["metadata"].get("labels") or {}, self.selector)
        if fits and after is not None:
            self.pending.append(Change("MODIFIED" if was else "ADDED", after))
        elif was and before is not None:
            last = {**before, "metadata": {**before["metadata"], "resourceVersion": version}}
            self.pending.append(Change("DELETED", last))


class MemoryCluster:
    """`Cluster` in memory."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.requests: list[Request] = []
        self.writes = 0
        """Mutating requests so far; `faults` counts by it, from 1."""
        self.faults: dict[int, Fault] = {}
        self.on_request: Callable[[Request], None] = lambda request: None
        """Called before each request; may raise."""
        self.denied: set[tuple[str, str]] = set()
        """(verb, resource with subresource) that access reviews refuse."""
        self.logs: dict[tuple[str, str], str] = {}
        """Of pods by (namespace, name)."""
        self._objects: dict[Kind, dict[tuple[str, str], Object]] = {kind: {} for kind in KINDS}
        self._version = 1000
        self._uids = 0
        self._watches: list[Watch] = []

    # --- the protocol ---

    async def pages(
        self, kind: Kind, namespace: str | None = None, *, selector: str = "", fields: str = "", limit: int = 500
    ) -> AsyncIterator[Page]:
        if kind not in self._objects:
            self._request(Request("list", kind.plural, namespace, ""))
            raise ApiError(404, "NotFound", f"the server could not find the requested resource {kind.plural}")
        version, items = self._version, self.objects(kind, namespace, selector=selector)
        items = [body for body in items if has_fields(body, fields)]
        for start in range(0, max(1, len(items)), limit):
            self._request(Request("list", kind.plural, namespace, ""))
            yield Page(clone(items[start : start + limit]), version)

    async def changes(
        self, kind: Kind, namespace: str | None = None, *, selector: str = "", version: int, seconds: int
    ) -> AsyncIterator[Told]:
        raise AssertionError("a test hands on what its `watch` tells")
        yield

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        self._request(Request("get", kind.plural, namespace, name))
        return clone(self.peek(kind, namespace, name))  # type: ignore[no-any-return]

    async def create(self, kind: Kind, namespace: str | None, body: Object) -> Object:
        request = Request("create", kind.plural, namespace, (body.get("metadata") or {}).get("name") or "", over_the_wire(body))
        if kind == ACCESS_REVIEWS:
            self._request(request)
            return self._review(body)
        return self._mutate(request, lambda: self.add(kind, namespace or "", body))

    async def patch(self, kind: Kind, namespace: str, name: str, body: Object, *, subresource: str = "") -> Object:
        request = Request("patch", kind.plural, namespace, name, over_the_wire(body), subresource)
        return self._mutate(request, lambda: self._patch(kind, namespace, name, body, subresource))

    async def delete(self, kind: Kind, namespace: str, name: str, *, uid: str | None = None, foreground: bool = False) -> bool:
        request = Request("delete", kind.plural, namespace, name)
        return self._mutate(request, lambda: self._delete(kind, namespace, name, uid, foreground))

    async def log_tail(self, namespace: str, pod: str, *, lines: int) -> str:
        self._request(Request("log", PODS.plural, namespace, pod))
        if (namespace, pod) not in self.logs:
            raise ApiError(400, "BadRequest", f'container "stage" in pod "{pod}" is waiting to start')
        return "\n".join(self.logs[namespace, pod].splitlines()[-lines:])

    # --- the test's side: nothing here counts as a request ---

    def serve(self, kind: Kind) -> None:
        """A kind that not every cluster has."""
        self._objects.setdefault(kind, {})

    def watch(self, kind: Kind, selector: str = "") -> Watch:
        """A watch from now on."""
        watch = Watch(kind, selector)
        self._watches.append(watch)
        return watch

    def unwatch(self, watch: Watch) -> None:
        """Close a watch."""
        self._watches.remove(watch)

    def objects(self, kind: Kind, namespace: str | None = None, *, selector: str = "") -> list[Object]:
        """All objects of a kind, by name; not to be changed."""
        rows = sorted(self._objects[kind].items())
        return [
            body
            for (place, _), body in rows
            if namespace in (None, place) and matches(body["metadata"].get("labels") or {}, selector)
        ]

    def peek(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """The object, or None; not to be changed."""
        return self._objects[kind].get((namespace, name))

    def add(self, kind: Kind, namespace: str, body: Object) -> Object:
        """Create an object."""
        body = over_the_wire(body)
        name = body["metadata"]["name"]
        if (namespace, name) in self._objects[kind]:
            raise ApiError(409, "AlreadyExists", f'{kind.plural} "{name}" already exists')
        _check_annotations(body)
        self._uids += 1
        body["metadata"] |= {
            "namespace": namespace,
            "uid": f"00000000-0000-4000-8000-{self._uids:012d}",
            "creationTimestamp": self.clock.text,
        }
        if kind in (EXPERIMENTS, JOBS):
            body["metadata"]["generation"] = 1
        if kind in WITH_STATUS:
            body.pop("status", None)
        return self._store(kind, None, body)

    def update(self, kind: Kind, namespace: str, name: str, body: Object, *, subresource: str = "") -> Object:
        """A merge patch by somebody else."""
        return self._patch(kind, namespace, name, body, subresource)

    def remove(self, kind: Kind, namespace: str, name: str) -> None:
        """The object is gone at once."""
        body = self._objects[kind].pop((namespace, name))
        self._version += 1
        self._tell(kind, body, None)

    def mark_deleted(self, kind: Kind, namespace: str, name: str, *, foreground: bool = False) -> None:
        """A graceful deletion begins."""
        body = self._objects[kind][namespace, name]
        meta = body["metadata"]
        if meta.get("deletionTimestamp") is None:
            finalizers = [*meta.get("finalizers", ()), *([FOREGROUND] if foreground else [])]
            change = {"metadata": {"deletionTimestamp": self.clock.text, "finalizers": finalizers}}
            self._store(kind, body, apply_merge_patch(body, change))

    def collect_garbage(self) -> bool:
        """One pass of the garbage collector; whether anything changed."""
        version = self._version
        uids = {body["metadata"]["uid"] for rows in self._objects.values() for body in rows.values()}
        waiting = {
            body["metadata"]["uid"]
            for rows in self._objects.values()
            for body in rows.values()
            if FOREGROUND in body["metadata"].get("finalizers", ())
        }
        owners_in_use: set[str] = set()
        for kind, (namespace, name), body in self._all():
            owners = {reference["uid"] for reference in body["metadata"].get("ownerReferences", ())}
            if owners and (not owners & uids or owners & waiting):
                owners_in_use |= owners
                if kind == PODS:
                    self.mark_deleted(kind, namespace, name)
                else:
                    self.remove(kind, namespace, name)
        for kind, (namespace, name), body in self._all():
            if body["metadata"]["uid"] in waiting - owners_in_use:
                self.remove(kind, namespace, name)
        return self._version != version

    def _all(self) -> Iterator[tuple[Kind, tuple[str, str], Object]]:
        yield from [(kind, place, body) for kind, rows in self._objects.items() for place, body in sorted(rows.items())]

    # --- inside ---

    def _request(self, request: Request) -> None:
        self.requests.append(request)
        self.on_request(request)

    def _mutate(self, request: Request, effect: Callable[[], T]) -> T:
        self.writes += 1
        fault = self.faults.pop(self.writes, None)
        self._request(request)
        if fault is not None and not fault.after:
            raise fault.error
        result = effect()
        if fault is not None:
            raise fault.error
        return clone(result)  # type: ignore[no-any-return]

    def _patch(self, kind: Kind, namespace: str, name: str, body: Object, subresource: str) -> Object:
        body, known = over_the_wire(body), self._objects[kind].get((namespace, name))
        if known is None:
            raise ApiError(404, "NotFound", f'{kind.plural} "{name}" not found')
        expected = (body.get("metadata") or {}).get("resourceVersion")
        if expected is not None and expected != known["metadata"]["resourceVersion"]:
            raise ApiError(
                409, "Conflict", f'Operation cannot be fulfilled on {kind.plural} "{name}": the object has been modified'
            )
        if subresource == "status":
            changed = {**known, "status": apply_merge_patch(known.get("status") or {}, body.get("status") or {})}
            _check_status(kind, changed)
        else:
            change = {key: value for key, value in body.items() if not (key == "status" and kind in WITH_STATUS)}
            changed = apply_merge_patch(known, change)
            _check_annotations(changed)
        changed["metadata"] = {**changed["metadata"], "resourceVersion": known["metadata"]["resourceVersion"]}
        if changed == known:
            return known
        if kind in (EXPERIMENTS, JOBS) and changed.get("spec") != known.get("spec"):
            changed["metadata"]["generation"] += 1
        return self._store(kind, known, changed)

    def _delete(self, kind: Kind, namespace: str, name: str, uid: str | None, foreground: bool) -> bool:
        known = self._objects[kind].get((namespace, name))
        # As the real client: gone already, or the name of another object by now, is fine.
        if known is None or (uid is not None and known["metadata"]["uid"] != uid):
            return False
        if foreground or kind == PODS:
            self.mark_deleted(kind, namespace, name, foreground=foreground)
        else:
            self.remove(kind, namespace, name)
        return True

    def _store(self, kind: Kind, before: Object | None, after: Object) -> Object:
        self._version += 1
        after = {**after, "metadata": {**after["metadata"], "resourceVersion": str(self._version)}}
        self._objects[kind][after["metadata"]["namespace"], after["metadata"]["name"]] = after
        self._tell(kind, before, after)
        return after

    def _tell(self, kind: Kind, before: Object | None, after: Object | None) -> None:
        for watch in self._watches:
            if watch.kind == kind:
                watch.tell(before, after, str(self._version))

    def _review(self, body: Object) -> Object:
        asked = body["spec"]["resourceAttributes"]
        resource = "/".join(filter(None, (asked["resource"], asked.get("subresource"))))
        return {**body, "status": {"allowed": (asked["verb"], resource) not in self.denied}}


def _check_annotations(body: Object) -> None:
    template = (body.get("spec") or {}).get("template") or {}
    for meta in (body["metadata"], template.get("metadata") or {}):
        size = sum(len(name.encode()) + len(text.encode()) for name, text in (meta.get("annotations") or {}).items())
        if size > LONGEST_ANNOTATIONS:
            raise ApiError(422, "Invalid", f"metadata.annotations: Too long: must have at most {LONGEST_ANNOTATIONS} bytes")


def _check_status(kind: Kind, body: Object) -> None:
    if kind != EXPERIMENTS:
        return
    try:
        Status.model_validate(body["status"])
    except (ValidationError, ValueError) as error:
        raise ApiError(422, "Invalid", f"status: {error}") from error
