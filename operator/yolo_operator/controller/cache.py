"""What the operator knows of the cluster: small projections, ordered by resourceVersion.

Watches feed it, our own writes feed it (read-your-writes), and a mark-and-sweep over a LIST removes what a watch gap hid.
An older version never replaces a newer one, and a deleted object does not come back from an old list.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import orjson
from pydantic import ValidationError

from yolo_operator.api import resource
from yolo_operator.api.spec import Spec
from yolo_operator.api.status import Phase
from yolo_operator.api.workspace import Workspace
from yolo_operator.kube.cluster import Object
from yolo_operator.kube.views import experiment_of, job_view, pod_view, resource_version
from yolo_operator.pipeline.names import workspace_claim
from yolo_operator.pipeline.values import Experiment, JobView, Observed, PodView, Source

ENDED = frozenset(phase.value for phase in Phase if phase.final)
GRAVES = 4096
"""Deleted objects that are remembered, so that an old list cannot raise them."""


class Key(NamedTuple):
    """An experiment by name."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class _Versioned(Protocol):
    @property
    def uid(self) -> str: ...
    @property
    def resource_version(self) -> int: ...


V = TypeVar("V", bound=_Versioned)


class Table(Generic[V]):
    """Objects of one kind by (namespace, name)."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], V] = {}
        self._graves: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[V]:
        return iter(list(self._rows.values()))

    def get(self, namespace: str, name: str) -> V | None:
        """The object, if it is known."""
        return self._rows.get((namespace, name))

    def put(self, namespace: str, name: str, row: V, *, live: bool = False) -> bool:
        """Take it in; whether that was news: nothing at least as new was known, and something differs.

        `live`: the API server has just shown that it exists.
        """
        if live:
            # It was only out of sight: what a selector hides looks deleted to a watch and to a list.
            self._graves.pop(row.uid, None)
        if self._graves.get(row.uid, -1) >= row.resource_version:
            return False
        known = self._rows.get((namespace, name))
        if known is not None and known.resource_version >= row.resource_version:
            return False
        self._rows[namespace, name] = row
        return row != known

    def remove(self, namespace: str, name: str, uid: str, version: int) -> V | None:
        """Forget it, unless the name belongs to another object by now."""
        self._graves[uid] = max(version, self._graves.get(uid, -1))
        while len(self._graves) > GRAVES:
            self._graves.popitem(last=False)
        known = self._rows.get((namespace, name))
        return self._rows.pop((namespace, name)) if known is not None and known.uid == uid else None

    def sweep(self, listed: set[str], version: int, served: Callable[[str], bool]) -> list[V]:
        """Forget what a list of this version does not show, and return it."""
        ghosts = [
            (place, row)
            for place, row in self._rows.items()
            if row.uid not in listed and row.resource_version <= version and served(place[0])
        ]
        for place, row in ghosts:
            del self._rows[place]
            self._graves[row.uid] = version
        return [row for _, row in ghosts]


class Directory(NamedTuple):
    """A directory on a claim."""

    namespace: str
    claim: str
    parts: tuple[str, ...]
    """Of its path; empty: the claim's root."""

    def taken(self) -> list[Directory]:
        """What an experiment takes: all of its directory, but of a claim's root only what the stages write there.

        Otherwise one experiment without subPath would keep every other off a claim that holds the data of many.
        """
        return [self] if self.parts else [self._replace(parts=(name,)) for name in _WRITTEN]

    def above(self) -> list[Directory]:
        """All directories that it lies in."""
        return [self._replace(parts=self.parts[:depth]) for depth in range(1, len(self.parts))]


_WRITTEN = ("stages", ".yolo-operator")


class Directories:
    """Who works where: two directories overlap when they are the same or one lies in the other."""

    def __init__(self) -> None:
        self._at: defaultdict[Directory, set[str]] = defaultdict(set)
        self._below: defaultdict[Directory, set[str]] = defaultdict(set)

    def add(self, directory: Directory, name: str) -> None:
        """An experiment works there."""
        for place in directory.taken():
            self._at[place].add(name)
            for parent in place.above():
                self._below[parent].add(name)

    def remove(self, directory: Directory, name: str) -> None:
        """It does no longer."""
        for place in directory.taken():
            _discard(self._at, place, name)
            for parent in place.above():
                _discard(self._below, parent, name)

    def overlapping(self, directory: Directory) -> set[str]:
        """Who works there, above or below."""
        found: set[str] = set()
        for place in directory.taken():
            found |= self._at.get(place, set()) | self._below.get(place, set())
            for parent in place.above():
                found |= self._at.get(parent, set())
        return found


def _discard(index: dict[Directory, set[str]], place: Directory, name: str) -> None:
    index[place].discard(name)
    if not index[place]:
        del index[place]


class Parsed(NamedTuple):
    """What an experiment's object says."""

    status: dict[str, Any]
    experiment: Experiment | None
    """None: it was stored under other rules than this operator's."""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ExperimentRow:
    """An experiment. One that has ended is kept as packed text and read when it is asked for: a thirtieth of the memory."""

    key: Key
    uid: str
    resource_version: int
    generation: int
    created: str
    content: Parsed | bytes = field(repr=False)
    phase: str
    m_ap: float | None
    directory: Directory | None
    """Where its workspace is; None when its spec cannot be read."""
    name_label: str = ""
    """Its label app.kubernetes.io/name: experiments that share it are compared with each other."""

    @property
    def parsed(self) -> Parsed:
        """What it says."""
        return _thawed(self.content) if isinstance(self.content, bytes) else self.content

    @property
    def status(self) -> dict[str, Any]:
        """The recorded status, as the API has it."""
        return self.parsed.status

    @property
    def experiment(self) -> Experiment | None:
        """The experiment, unless its spec cannot be read."""
        return self.parsed.experiment

    @property
    def problem(self) -> str:
        """Why it cannot."""
        return self.parsed.problem


_QUICKLY = 1
"""zlib's level: a third of the text, in a tenth of a millisecond."""
THAWED = 256
"""Ended experiments that are kept as objects, too: those that metrics show."""


@lru_cache(maxsize=THAWED)
def _thawed(content: bytes) -> Parsed:
    return _parse(orjson.loads(zlib.decompress(content)))


def _parse(body: Object, spec: Spec | None = None) -> Parsed:
    status = body.get("status") or {}
    try:
        return Parsed(status, experiment_of(body, spec))
    except ValidationError as error:
        first = error.errors()[0]
        return Parsed(status, None, f"spec.{'.'.join(str(part) for part in first['loc'])}: {first['msg']}")


def _frozen(body: Object) -> bytes:
    """What is needed of an object, as packed text."""
    meta = body["metadata"]
    kept = {name: meta[name] for name in ("namespace", "name", "uid", "generation", "annotations") if name in meta}
    kept["annotations"] = {
        name: text for name, text in (meta.get("annotations") or {}).items() if name.startswith(resource.GROUP)
    }
    text = orjson.dumps({"metadata": kept, "spec": body.get("spec") or {}, "status": body.get("status") or {}})
    return zlib.compress(text, _QUICKLY)


class Cache:
    """Experiments, and the Jobs and Pods of each."""

    def __init__(self) -> None:
        self.experiments: Table[ExperimentRow] = Table()
        self.jobs: Table[JobView] = Table()
        self.pods: Table[PodView] = Table()
        self._jobs_of: defaultdict[Key, set[str]] = defaultdict(set)
        self._pods_of: defaultdict[Key, set[str]] = defaultdict(set)
        self._directories = Directories()
        self.going: set[tuple[str, str]] = set()
        """Namespace and name of Jobs that are being let go: the watch may tell before the answer that they left it."""
        self.changed: Callable[[Key], None] | None = None
        """Told of each experiment that changed itself or by its Jobs, if somebody wants to know."""

    # --- experiments ---

    def put_experiment(self, body: Object) -> Key | None:
        """Take it in; its key when that was news."""
        meta = body["metadata"]
        known = self.experiments.get(meta["namespace"], meta["name"])
        if known is not None and known.resource_version >= resource_version(body):
            return None  # most are the echo of our own writes: not worth parsing
        row = _experiment_row(body, known)
        if not self.experiments.put(row.key.namespace, row.key.name, row):
            return None
        if known is not None and known.directory != row.directory:
            self._forget_directory(known)
        if row.directory is not None:
            self._directories.add(row.directory, row.key.name)
        self._tell(row.key)
        return row.key

    def remove_experiment(self, body: Object) -> list[Key]:
        """Forget it; the keys that this concerns: its own, and those that waited for its directory."""
        row = self.experiments.remove(*_place(body))
        return [] if row is None else self._left_behind(row)

    def sweep_experiments(self, listed: set[str], version: int, served: Callable[[str], bool]) -> list[Key]:
        """Forget those that a list does not show."""
        return [key for row in self.experiments.sweep(listed, version, served) for key in self._left_behind(row)]

    def _tell(self, key: Key) -> None:
        if self.changed is not None:
            self.changed(key)

    def _left_behind(self, row: ExperimentRow) -> list[Key]:
        self._tell(row.key)
        self._forget_directory(row)
        waiting = self._directories.overlapping(row.directory) if row.directory else set()
        return [row.key, *(Key(row.key.namespace, name) for name in waiting)]

    def _forget_directory(self, row: ExperimentRow) -> None:
        if row.directory is not None:
            self._directories.remove(row.directory, row.key.name)

    # --- Jobs and Pods ---

    def put_job(self, body: Object, *, live: bool = False) -> Key | None:
        """Take it in; its experiment's key when that was news."""
        key = self._put(self.jobs, self._jobs_of, job_view(body), live=live)
        if key is not None:
            self._tell(key)
        return key

    def put_pod(self, body: Object) -> Key | None:
        """Take it in; its experiment's key when that was news."""
        return self._put(self.pods, self._pods_of, pod_view(body))

    def put_pods_of(self, key: Key, job: str, bodies: list[Object]) -> None:
        """All pods of a Job, as the API server has just shown them."""
        listed = {body["metadata"]["uid"] for body in bodies}
        known = [self.pods.get(key.namespace, name) for name in self._pods_of.get(key, ())]
        for pod in known:
            if pod is not None and pod.job == job and pod.uid not in listed:
                self.pods.remove(pod.namespace, pod.name, pod.uid, pod.resource_version)
                _forget([pod], self._pods_of)
        for body in bodies:
            self._put(self.pods, self._pods_of, pod_view(body), live=True)

    def remove_job(self, body: Object) -> Key | None:
        """Forget it; its experiment's key when it was known."""
        return self._remove_job(*_place(body))

    def forget_job(self, namespace: str, name: str, uid: str) -> None:
        """The API server does not know it: what the watch should have told."""
        known = self.jobs.get(namespace, name)
        if known is not None:
            self._remove_job(namespace, name, uid, known.resource_version)

    def _remove_job(self, namespace: str, name: str, uid: str, version: int) -> Key | None:
        key = self._remove(self.jobs, self._jobs_of, namespace, name, uid, version)
        if key is not None:
            self._tell(key)
        return key

    def remove_pod(self, body: Object) -> Key | None:
        """Forget it; its experiment's key when it was known."""
        return self._remove(self.pods, self._pods_of, *_place(body))

    def sweep_jobs(self, listed: set[str], version: int, served: Callable[[str], bool]) -> list[Key]:
        """Forget those that a list does not show."""
        keys = _forget(self.jobs.sweep(listed, version, served), self._jobs_of)
        for key in keys:
            self._tell(key)
        return keys

    def sweep_pods(self, listed: set[str], version: int, served: Callable[[str], bool]) -> list[Key]:
        """Forget those that a list does not show."""
        return _forget(self.pods.sweep(listed, version, served), self._pods_of)

    def _put(self, table: Table[Any], index: dict[Key, set[str]], view: JobView | PodView, *, live: bool = False) -> Key | None:
        if not table.put(view.namespace, view.name, view, live=live):
            return None
        key = Key(view.namespace, view.owner_name)
        index[key].add(view.name)
        return key

    def _remove(
        self, table: Table[Any], index: dict[Key, set[str]], namespace: str, name: str, uid: str, version: int
    ) -> Key | None:
        view = table.remove(namespace, name, uid, version)
        return _forget([view], index)[0] if view is not None else None

    # --- for decisions ---

    def jobs_of(self, key: Key) -> list[JobView]:
        """The Jobs of an experiment's name, in the order of theirs, also those of an earlier one of it."""
        found = (self.jobs.get(key.namespace, name) for name in sorted(self._jobs_of.get(key, ())))
        return [job for job in found if job is not None]

    def observed(self, row: ExperimentRow) -> Observed:
        """What is known around an experiment."""
        pods = [self.pods.get(row.key.namespace, name) for name in sorted(self._pods_of.get(row.key, ()))]
        mine = tuple(job for job in self.jobs_of(row.key) if job.owner_uid == row.uid)
        names = {job.name for job in mine}
        return Observed(
            jobs=mine,
            pods=tuple(pod for pod in pods if pod is not None and pod.job in names),
            rival=self._rival(row),
            source=self._source(row),
        )

    def _source(self, row: ExperimentRow) -> Source | None:
        """The experiment that `spec.from` names, as it stands now."""
        wanted = row.experiment.spec.from_ if row.experiment else None
        other = self.experiments.get(row.key.namespace, wanted.experiment) if wanted else None
        if other is None or other.experiment is None:
            return None
        status = other.experiment.status
        claim = status.claim_name or workspace_claim(other.key.name, other.experiment.spec.workspace)
        return Source(other.key.name, tuple(status.stages or ()), claim, (status.sub_path or "").strip("/"))

    def _rival(self, row: ExperimentRow) -> str | None:
        if row.directory is None:
            return None
        names = self._directories.overlapping(row.directory) - {row.key.name}
        rows = [self.experiments.get(row.key.namespace, name) for name in names]
        older = [other for other in rows if other is not None and (other.created, other.key) < (row.created, row.key)]
        return min(older, key=lambda other: (other.created, other.key)).key.name if older else None


def _place(body: Object) -> tuple[str, str, str, int]:
    """Namespace, name, uid and version."""
    meta = body["metadata"]
    return meta["namespace"], meta["name"], meta["uid"], resource_version(body)


def _experiment_row(body: Object, known: ExperimentRow | None) -> ExperimentRow:
    meta, status = body["metadata"], body.get("status") or {}
    generation = int(meta.get("generation") or 0)
    phase = str(status.get("phase") or Phase.PENDING.value)
    precision = status.get("mAP")
    if phase in ENDED:
        content: Parsed | bytes = _frozen(body)
    else:
        # A status write leaves the generation: the spec that is parsed already serves on.
        content = _parse(body, _known_spec(known, meta["uid"], generation))
    readable = isinstance(content, bytes) or content.experiment is not None
    return ExperimentRow(
        key=Key(meta["namespace"], meta["name"]),
        uid=meta["uid"],
        resource_version=resource_version(body),
        generation=generation,
        created=meta.get("creationTimestamp") or "",
        content=content,
        phase=phase,
        m_ap=float(precision) if isinstance(precision, int | float) else None,
        directory=_directory_of(body, known) if readable else None,
        name_label=str((meta.get("labels") or {}).get(resource.LABEL_NAME) or ""),
    )


def _directory_of(body: Object, known: ExperimentRow | None) -> Directory | None:
    meta = body["metadata"]
    if known is not None and (known.uid, known.generation) == (meta["uid"], int(meta.get("generation") or 0)):
        return known.directory
    try:
        workspace = Workspace.model_validate((body.get("spec") or {}).get("workspace"))
    except ValidationError:
        return None
    parts = PurePosixPath(workspace.sub_path or "").parts
    return Directory(meta["namespace"], workspace_claim(meta["name"], workspace), parts)


def _known_spec(known: ExperimentRow | None, uid: str, generation: int) -> Spec | None:
    if known is None or isinstance(known.content, bytes) or known.uid != uid or known.generation != generation:
        return None
    return known.content.experiment.spec if known.content.experiment is not None else None


def _forget(views: Iterable[JobView | PodView], index: dict[Key, set[str]]) -> list[Key]:
    keys = []
    for view in views:
        key = Key(view.namespace, view.owner_name)
        index[key].discard(view.name)
        if not index[key]:
            del index[key]
        keys.append(key)
    return keys
