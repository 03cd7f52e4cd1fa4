"""NVIDIA NGC's registry of models, over its REST interface.

A public model needs no key. A private one does: a personal key (`nvapi-…`) is the bearer token itself, a key of the older kind is
exchanged for one at the authentication service.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from yolo_operator.weights.errors import USER, Reason, WeightsError, failure_of_connection
from yolo_operator.weights.web import LOST, Web, host_of, place_of

WEIGHTS = (".hdf5", ".tlt", ".pth")
LONGEST = 1 << 20
"""Bytes of an answer that is read whole."""


@dataclass(frozen=True, slots=True)
class Model:
    """A version of a model, and where NGC answers."""

    api: str
    authn: str
    org: str
    team: str | None
    name: str
    version: str

    @classmethod
    def of(cls, wanted: Mapping[str, Any]) -> Model:
        """From the instructions: `model` is `org/[team/]name:version`."""
        path, _, version = wanted["model"].rpartition(":")
        org, *team, name = path.split("/")
        return cls(wanted["api"].rstrip("/"), wanted["authn"], org, team[0] if team else None, name, version)

    def __str__(self) -> str:
        return f"{'/'.join(part for part in (self.org, self.team, self.name) if part)}:{self.version}"

    def files(self, *, private: bool) -> str:
        """URL of the version's files: the public catalogue's, or the organisation's own."""
        if not private:
            parts = ["models", *(part for part in (self.org, self.team, self.name) if part)]
        else:
            parts = ["org", self.org, *(("team", self.team) if self.team else ()), "models", self.name]
        return "/".join([self.api, "v2", *map(quote, parts), "versions", quote(self.version), "files"])


@dataclass(frozen=True, slots=True)
class Found:
    """A file, and what its server wants to be shown."""

    url: str
    authorization: str | None


def find(web: Web, model: Model, file: str | None, key: str) -> tuple[str, list[Found]]:
    """The file's name, and where it may be, to be tried in this order: without the key first, which a public model needs not.

    Raises:
        WeightsError: when no file is named and NGC lists none or several, when NGC denies or cannot be reached.
    """
    places = [Found(model.files(private=False), None)]
    if key:
        places.append(Found(model.files(private=True), None))
    name = file
    if name is None:
        listing, places = _first(web, model, places, key)
        name = _only(listing, model)
    return name, [Found(f"{place.url}/{quote(name)}", place.authorization) for place in places]


def authorize(web: Web, model: Model, key: str) -> str:
    """The Authorization header of a private model."""
    if key.startswith("nvapi-"):
        return f"Bearer {key}"
    scopes = [f"group/ngc:{model.org}", *([f"group/ngc:{model.org}/{model.team}"] if model.team else [])]
    query = "&".join(["service=ngc", *(f"scope={quote(scope, safe=':/')}" for scope in scopes)])
    basic = base64.b64encode(f"$oauthtoken:{key}".encode()).decode()
    answer = _json(web, f"{model.authn}?{query}", f"Basic {basic}")
    token = answer.get("token") if isinstance(answer, dict) else None
    if not isinstance(token, str) or not token:
        raise WeightsError(Reason.DENIED, f"{place_of(model.authn)} gave no token for the key of NGC: correct the Secret", USER)
    return f"Bearer {token}"


def _first(web: Web, model: Model, places: list[Found], key: str) -> tuple[Any, list[Found]]:
    """What the first place lists that lets us in, and that place."""
    failure: WeightsError | None = None
    for place in places:
        private = place is not places[0]
        authorization = authorize(web, model, key) if private else None
        try:
            return _json(web, place.url, authorization), [Found(place.url, authorization)]
        except WeightsError as error:
            if error.reason not in (Reason.DENIED, Reason.NOT_FOUND):
                raise
            failure = error
    assert failure is not None  # noqa: S101 - there is at least one place
    raise failure


def _only(listing: Any, model: Model) -> str:
    """The one file of weights among what NGC lists: as objects with a path, or as plain paths."""
    listed = (listing.get("modelFiles") or listing.get("filepath") or []) if isinstance(listing, dict) else []
    paths = [item.get("path") if isinstance(item, dict) else item for item in listed]
    names = [path for path in paths if isinstance(path, str) and path.endswith(WEIGHTS)]
    if len(names) != 1:
        found = f"has {', '.join(sorted(names))}" if names else f"has no {', '.join(WEIGHTS)}"
        raise WeightsError(Reason.NOT_FOUND, f"NGC's {model} {found}: name one in spec.pretrained.ngc.file", USER)
    return names[0]


def _json(web: Web, url: str, authorization: str | None) -> Any:
    answer = web.get(url, {"Accept": "application/json"}, authorization=authorization)
    try:
        with answer.body as body:
            return json.loads(body.read(LONGEST))
    except ValueError:
        raise WeightsError(Reason.REFUSED, f"{place_of(url)} answers with something else than JSON", USER) from None
    except LOST as error:
        raise failure_of_connection(host_of(url), error) from error
