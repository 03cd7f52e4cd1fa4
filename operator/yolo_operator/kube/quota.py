"""What an API server says when a ResourceQuota has no room, of a Job or (in an Event of the Job) of its pod."""

from __future__ import annotations

import re
from typing import NamedTuple

from yolo_operator.api.quantity import amount

_SENTENCE = re.compile(
    r"exceeded quota: (?P<name>[^,\s]+), requested: (?P<asked>.+?), used: (?P<used>.+?), limited: (?P<most>.+)$", re.S
)
"""As `k8s.io/apiserver/pkg/admission/plugin/resourcequota` writes it; each part is `NAME=QUANTITY[,NAME=QUANTITY…]`."""


class Exceeded(NamedTuple):
    """A quota without room."""

    quota: str
    asked: dict[str, str]
    used: dict[str, str]
    limited: dict[str, str]

    @property
    def never(self) -> bool:
        """Whether it asks for more than there is when nothing is used."""
        return any(_more(number, self.limited.get(name)) for name, number in self.asked.items())

    @property
    def message(self) -> str:
        """Which quota, and of each thing what was asked for, is used, and is the limit."""
        parts = [
            f"{name}: asks for {number}, {self.used.get(name, '?')} of {self.limited.get(name, '?')} in use"
            for name, number in self.asked.items()
        ]
        what = f"ResourceQuota {self.quota} has no room for {'; '.join(parts)}"
        return f"{what}; it never will: ask for less, or for a larger quota" if self.never else what


def exceeded(message: str) -> Exceeded | None:
    """The quota in a refusal; None: it is about something else."""
    found = _SENTENCE.search(message)
    if found is None:
        return None
    return Exceeded(found["name"], *(_pairs(found[part]) for part in ("asked", "used", "most")))


def _pairs(text: str) -> dict[str, str]:
    pairs = (part.strip().rpartition("=") for part in text.split(","))
    return {name: number for name, _, number in pairs if name}


def _more(asked: str, most: str | None) -> bool:
    try:
        return most is not None and amount(asked) > amount(most)
    except ValueError:
        return False
