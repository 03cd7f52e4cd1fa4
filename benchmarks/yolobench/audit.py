"""What the API server saw: its audit log, one JSON line a request, read as a stream."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


@dataclass
class Findings:
    """What a contender's requests were."""

    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(verb, resource) -> number, of the contender alone."""
    created: dict[str, float] = field(default_factory=dict)
    """Name of a Job or Pod that the contender made -> when the request came, seconds since the epoch."""
    ended: dict[str, float] = field(default_factory=dict)
    """Name of a Job (Argo: Pod) -> when its last status write was answered."""
    first: float = 0.0
    """The contender's first create."""
    last: float = 0.0
    """The last end of any Job or Pod, or when the contender said of the last chain that it is at its end, if later."""

    @property
    def writes(self) -> int:
        """Mutating requests of the contender. A review of its rights is a create in form alone: nothing is stored."""
        return sum(
            number for (verb, kind), number in self.requests.items() if verb in WRITES and not kind.endswith("accessreviews")
        )


@dataclass(frozen=True, slots=True)
class Request:
    """One line of the log."""

    came: float
    answered: float
    agent: str
    verb: str
    resource: str
    """With its subresource, if any: `pods/log`."""
    name: str
    code: int
    complete: bool
    """Whether this is its end; a watch and a log have a line at their start, too."""

    @property
    def good(self) -> bool:
        """Whether it was done."""
        return 200 <= self.code < 300


def requests(path: Path, *, namespace: str = "", since: float = 0.0) -> Iterator[Request]:
    """The lines of the log, those of one namespace and of none if it is given; only what came after `since`."""
    for entry in _entries(path):
        about = entry.get("objectRef") or {}
        if namespace and about.get("namespace") not in (namespace, None):
            continue
        came = _seconds(entry["requestReceivedTimestamp"])
        if came < since:
            continue
        yield Request(
            came=came,
            answered=_seconds(entry["stageTimestamp"]),
            agent=str(entry.get("userAgent", "")),
            verb=entry["verb"],
            resource=f"{about.get('resource', '')}/{about.get('subresource', '')}".rstrip("/"),
            name=about.get("name") or "",
            code=(entry.get("responseStatus") or {}).get("code", 0),
            complete=entry.get("stage") == "ResponseComplete",
        )


def read(path: Path, *, agent: str, unit: str, whole: str = "", namespace: str = "", since: float = 0.0) -> Findings:
    """The findings about a contender.

    Args:
        path: the audit log.
        agent: the beginning of the contender's user agent.
        unit: what it makes for a step: jobs or pods.
        whole: where it tells how a chain is (`workflows`), if it does: what people wait for.
        namespace: only objects of this one.
        since: only what came after it, seconds since the epoch.
    """
    found = Findings()
    for request in requests(path, namespace=namespace, since=since):
        if request.agent.startswith(agent) and request.complete:
            found.requests[request.verb, request.resource] += 1
            if request.verb == "create" and request.resource == unit and request.good:
                found.created[request.name] = request.came
                found.first = min(found.first or request.came, request.came)
            if request.resource == whole and request.verb in ("update", "patch") and request.good:
                found.last = max(found.last, request.answered)
        if request.resource == f"{unit}/status" and request.verb in ("update", "patch") and request.good:
            found.ended[request.name] = request.answered
            found.last = max(found.last, request.answered)
    return found


def handovers(found: Findings, steps: Iterable[tuple[str, str]]) -> list[float]:
    """Seconds from the end of a step to the creation of the next one, for each pair of names that both exist."""
    return sorted(
        found.created[after] - found.ended[before] for before, after in steps if before in found.ended and after in found.created
    )


def quantile(values: list[float], part: float) -> float:
    """The value below which this part of the sorted values lies; nan for none."""
    return values[min(len(values) - 1, int(part * len(values)))] if values else float("nan")


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            try:
                yield json.loads(line)
            except ValueError:  # the last line may be in the making
                continue


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
