"""One process of a cluster, as data: what the supervisor starts, and how it knows that it is up."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Component:
    """A command line, what must be ready before its first start, and its own sign of being ready.

    `probe` is `socket:PATH` (a UNIX socket that accepts), `tcp:PORT` (a port of the node's loopback), `readyz` (the API
    server says so) or empty (running is ready).
    """

    name: str
    argv: tuple[str, ...]
    after: tuple[str, ...] = ()
    probe: str = ""
    environment: dict[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Give the component as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Component:
        """Read back what `document` gave."""
        return cls(**{**document, "argv": tuple(document["argv"]), "after": tuple(document["after"])})
