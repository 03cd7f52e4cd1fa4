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
    """The last end of any Job or Pod."""

    @property
    def writes(self) -> int:
        """Mutating requests of the contender. A review of its rights is a create in form alone: nothing is stored."""
        return sum(
            number for (verb, kind), number in self.requests.items() if verb in WRITES and not kind.endswith("accessreviews")
        )


def read(path: Path, *, agent: str, unit: str, namespace: str = "", since: float = 0.0) -> Findings:
    """The findings about a contender.

    Args:
        path: the audit log.
        agent: the beginning of the contender's user agent.
        unit: what it makes for a step: jobs or pods.
        namespace: only objects of this one.
        since: only what came after it, seconds since the epoch.
    """
    found = Findings()
    for entry in _entries(path):
        about = entry.get("objectRef") or {}
        if namespace and about.get("namespace") not in (namespace, None):
            continue
        came, answered = _seconds(entry["requestReceivedTimestamp"]), _seconds(entry["stageTimestamp"])
        if came < since:
            continue
        verb, resource, sub = entry["verb"], about.get("resource", ""), about.get("subresource", "")
        if str(entry.get("userAgent", "")).startswith(agent) and entry.get("stage") == "ResponseComplete":
            found.requests[verb, f"{resource}/{sub}".rstrip("/")] += 1
            if verb == "create" and resource == unit and _good(entry):
                name = about.get("name") or ""
                found.created[name] = came
                found.first = min(found.first or came, came)
        if resource == unit and sub == "status" and verb in ("update", "patch") and _good(entry):
            found.ended[about["name"]] = answered
            found.last = max(found.last, answered)
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


def _good(entry: dict[str, Any]) -> bool:
    code: int = (entry.get("responseStatus") or {}).get("code", 0)
    return 200 <= code < 300


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
