"""The stage itself: from the cache or the net into the stage's directory."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from yolo_operator.runner.runner import Stage, measure
from yolo_operator.weights import ngc
from yolo_operator.weights.cache import keep, locked, whole
from yolo_operator.weights.download import Download
from yolo_operator.weights.errors import USER, Reason, WeightsError
from yolo_operator.weights.web import Web

KEY_VARIABLE = "NGC_API_KEY"


def weights(stage: Stage) -> dict[str, Any]:
    """Fetch, check, link. Returns the report's fields; raises WeightsError."""
    wanted = stage.instructions["weights"]
    os.umask(0o002)  # the cache is shared: by group, as volumes are
    key = os.environ.pop(KEY_VARIABLE, "").strip()
    if key:
        stage.key = key  # masked in whatever is written from here on
    stage.open_log()
    if wanted.get("keyed") and not key:
        raise WeightsError(
            Reason.KEY_MISSING,
            "The key of NGC is empty: put it into the Secret that spec.pretrained.ngc.apiKeySecretRef names",
            USER,
        )
    sha256 = wanted.get("sha256")
    web = Web()
    if "ngc" in wanted:
        model = ngc.Model.of(wanted["ngc"])
        cached = _listed(Path(stage.instructions["cache"]), model, wanted)
        name, places = (cached, []) if cached else ngc.find(web, model, wanted["ngc"].get("file"), key)
        file = _ngc_directory(Path(stage.instructions["cache"]), model) / name
    else:
        model, places = None, [ngc.Found(wanted["url"], None)]
        file = Path(stage.instructions["cache"]) / f"sha256-{sha256}" / _name_of(wanted["url"])
    with locked(stage, file) as part:
        found = whole(stage, file, sha256)
        if found is None:
            if not places and model is not None:
                _, places = ngc.find(web, model, file.name, key)
            found = _fetched(stage, Source(web, model, places, key), part, file, sha256)
            fetched = "fetched"
        else:
            stage.say(f"{file} is in the cache.")
            fetched = "from the cache"
        output = _place(file, Path(wanted["output"]))
    size, digest = measure(str(output))
    made = {"name": "weights", "path": os.path.relpath(output, stage.workspace), "bytes": size, "sha256": digest}
    return {"message": f"{output.name} ({size} bytes, sha256 {found[:12]}…) {fetched}", "artifacts": [made]}


@dataclass(frozen=True, slots=True)
class Source:
    """Where a file may be had, in the order of trying."""

    web: Web
    model: ngc.Model | None
    places: list[ngc.Found]
    key: str

    def authorization(self, number: int) -> str | None:
        """Of the place of that number: all but the first of NGC's want the key."""
        known = self.places[number].authorization
        return ngc.authorize(self.web, self.model, self.key) if number and self.model is not None and known is None else known


def _fetched(stage: Stage, source: Source, part: Path, file: Path, sha256: str | None) -> str:
    """The file from the first place that gives it; checked and in the cache."""
    for number, place in enumerate(source.places):
        download = Download(stage, source.web, place.url, source.authorization(number), part, sha256)
        try:
            found = download.run()
        except WeightsError as error:
            if error.reason in (Reason.DENIED, Reason.NOT_FOUND) and number + 1 < len(source.places):
                stage.say("Not to be had without the key: trying with it.")
                continue
            raise
        if sha256 is not None and found != sha256:
            download.forget()
            raise WeightsError(
                Reason.CHANGED,
                f"{file.name} has the sha256 {found}, but {sha256} was asked for: correct spec.pretrained, or trust it not",
                USER,
            )
        keep(part, file, found)
        download.forget()
        return found
    raise WeightsError(Reason.NOT_FOUND, "spec.pretrained names no place", USER)


def _place(file: Path, directory: Path) -> Path:
    """The file in the stage's own directory: a link where cache and workspace are one volume, else a copy."""
    directory.mkdir(parents=True, exist_ok=True)
    output, building = directory / file.name, directory / f".{file.name}.building"
    building.unlink(missing_ok=True)
    try:
        os.link(file, building)
    except OSError:
        shutil.copyfile(file, building)
    building.replace(output)
    return output


def _ngc_directory(cache: Path, model: ngc.Model) -> Path:
    return cache.joinpath("ngc", *(part for part in (model.org, model.team, model.name, model.version) if part))


def _listed(cache: Path, model: ngc.Model, wanted: Mapping[str, Any]) -> str | None:
    """The file's name when it is said, or when the cache holds just one: then NGC need not be asked."""
    if file := wanted["ngc"].get("file"):
        return str(file)
    notes = sorted(_ngc_directory(cache, model).glob("*.sha256"))
    return notes[0].name.removesuffix(".sha256") if len(notes) == 1 else None


def _name_of(url: str) -> str:
    return PurePosixPath(urlsplit(url).path).name
