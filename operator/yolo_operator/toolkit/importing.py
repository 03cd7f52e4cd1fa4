"""From TAO's own text of an experiment spec to the resource's fields, and what of it they can't say.

Nothing is dropped in silence: what has no field, and what TAO would take as 0 though the resource has it otherwise, is a finding
with its line and column.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from annotated_types import Ge, Gt
from google.protobuf import json_format
from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from yolo_operator.api.base import Model
from yolo_operator.api.dataset import Dataset
from yolo_operator.api.experiment_spec import ExperimentSpec
from yolo_operator.api.spec import Spec, WrittenSpec, parse_spec
from yolo_operator.toolkit import text
from yolo_operator.toolkit.proto.experiment_pb2 import DataSource
from yolo_operator.toolkit.spec_text import format_anchors
from yolo_operator.toolkit.text import Parsed, Path, Place

Json = dict[str, Any]
SCALES = ("big", "mid", "small")
_DATASET = "dataset_config"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a person should know of a text's fields."""

    place: Place
    path: str
    """The field by TAO's names: `training_config.resume_model_path`."""
    message: str
    lost: bool
    """The resource can't say it, or says something else. Otherwise it is only worth knowing."""

    @property
    def about_data(self) -> bool:
        """Whether `spec.dataset`, where there is one, takes its place."""
        return self.path.startswith(_DATASET)

    def __str__(self) -> str:
        return f"{self.place}: {self.path}: {self.message}"


@dataclass(frozen=True, slots=True)
class Imported:
    """A text as fields of the resource."""

    experiment_spec: Json
    """`spec.experimentSpec`; valid when no finding about it is lost."""
    dataset: Json
    """`spec.dataset`; the same."""
    mount_path: str | None
    """The directory that the text's absolute paths share: `spec.workspace.mountPath`. None when there is none."""
    findings: tuple[Finding, ...]
    places: Parsed


class UnmappableError(ValueError):
    """A text that can't be run as it is."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def import_text(source: str, *, mount_path: str | None = None) -> Imported:
    """The resource's fields for a text.

    Args:
        source: TAO's experiment spec.
        mount_path: where its workspace is mounted; None: what its paths have in common.

    Raises:
        TextError: when it is no experiment spec.
    """
    parsed = text.parse(source)
    return _Import(parsed, mount_path or common_directory(parsed)).run()


def resolve(spec: WrittenSpec, source: str) -> Spec:
    """The whole spec of an experiment that refers to a text.

    Raises:
        TextError: when it is no experiment spec.
        UnmappableError: when the resource can't say the same, or when it doesn't go with the rest of the spec.
    """
    imported = import_text(source, mount_path=spec.workspace.mount_path)
    own_data = spec.dataset is not None
    lost = [finding for finding in imported.findings if finding.lost and not (own_data and finding.about_data)]
    if lost:
        raise UnmappableError([str(finding) for finding in lost])
    raw = {name: value for name, value in spec.dump().items() if name != "experimentSpecFrom"}
    raw = {"dataset": imported.dataset, **raw, "experimentSpec": imported.experiment_spec}
    try:
        return parse_spec(raw)
    except ValidationError as error:
        raise UnmappableError([f"spec.{_dotted(detail['loc'])}: {sentence(detail)}" for detail in error.errors()]) from None


def common_directory(parsed: Parsed) -> str | None:
    """The directory that all absolute paths of a text lie in, when it is not the root."""
    data = parsed.experiment.dataset_config
    training = parsed.experiment.training_config
    directories = [
        path
        for source in (*data.data_sources, *data.validation_data_sources)
        for path in (source.label_directory_path, source.image_directory_path)
    ]
    files = [training.pretrain_model_path, training.pruned_model_path]
    above = [PurePosixPath(path).parent for path in (*directories, *files) if path.startswith("/")]
    if not above:
        return None
    shared = above[0]
    while any(not path.is_relative_to(shared) for path in above):
        shared = shared.parent
    return None if shared == PurePosixPath("/") else str(shared)


def sentence(detail: Any) -> str:
    """One of pydantic's findings in words."""
    if detail["type"] == "value_error":
        return str(detail["ctx"]["error"])
    if detail["type"] == "missing":
        return "is missing"
    plain = not isinstance(detail["input"], dict | list)
    return f"{detail['msg']}, not {detail['input']!r}" if plain else str(detail["msg"])


def _dotted(path: Iterable[str | int]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


@dataclass(slots=True)
class _Import:
    """One text on its way."""

    parsed: Parsed
    mount_path: str | None
    findings: list[Finding] = field(default_factory=list)

    def run(self) -> Imported:
        raw: Json = json_format.MessageToDict(self.parsed.experiment)
        raw.pop("datasetConfig", None)
        network, training = raw.setdefault("yolov4Config", {}), raw.setdefault("trainingConfig", {})
        self._anchors(network)
        self._training(training)
        self._zeros(raw, ExperimentSpec, ())
        raw = self._validated(ExperimentSpec, raw, ())
        dataset = self._validated(Dataset, self._dataset(), (_DATASET,))
        self.findings.sort(key=lambda finding: finding.place)
        return Imported(raw, dataset, self.mount_path, tuple(self.findings), self.parsed)

    def _find(self, message: str, *path: str | int, lost: bool = True) -> None:
        self.findings.append(Finding(self.parsed.place(*path), _dotted(path), message, lost))

    # --- sections ---

    def _anchors(self, network: Json) -> None:
        for scale in SCALES:
            name = f"{scale}AnchorShape"
            if name in network:
                try:
                    network[name] = format_anchors(read_anchors(network[name]))
                except ValueError as error:
                    self._find(f"{error}; TAO would run it as Python", "yolov4_config", f"{scale}_anchor_shape")
                    del network[name]

    def _training(self, training: Json) -> None:
        at = "training_config"
        if training.pop("resumeModelPath", None) is not None:
            self._find("left out: the operator resumes a training by itself, from its own checkpoints", at, "resume_model_path")
        for name in ("pretrain_model_path", "pruned_model_path"):
            if (path := training.get(to_camel(name))) is not None:
                training[to_camel(name)] = self._path(path, at, name)
        if training.get("nWorkers") == 0:
            self._find("0 is left out: TAO would start one for each CPU of the node", at, "n_workers", lost=False)
            del training["nWorkers"]
        if training.get("maxQueueSize") == 0:  # as if it were not there
            del training["maxQueueSize"]
        regularizer = training.setdefault("regularizer", {})
        if regularizer.setdefault("type", "NO_REG") == "NO_REG" and not 0 < regularizer.get("weight", 0.5) < 1:
            del regularizer["weight"]  # means nothing then
        wandb = training.get("visualizer", {}).get("wandbConfig", {})
        if wandb.pop("key", None) is not None:
            # Its value goes nowhere, not even into the finding.
            self._find(
                "left out: a secret has no place in an object; TAO also takes WANDB_API_KEY",
                at,
                "visualizer",
                "wandb_config",
                "key",
            )

    def _dataset(self) -> Json:
        config = self.parsed.experiment.dataset_config
        out: Json = {"format": "kitti"}
        for part, name in (("train", "data_sources"), ("validation", "validation_data_sources")):
            out[part] = self._sources(name, getattr(config, name))
        out["classes"] = dict(config.target_class_mapping)
        if config.HasField("include_difficult_in_training"):
            out["includeDifficultInTraining"] = config.include_difficult_in_training
        if config.image_extension:
            out["imageExtension"] = config.image_extension.lstrip(".").lower()
        if config.HasField("validation_fold"):
            self._find("left out: folds are parts of TFRecords; name the validation data instead", _DATASET, "validation_fold")
        for unused in ("type", "is_monochrome"):
            if config.HasField(unused):
                self._find("left out: TAO reads it and does not use it", _DATASET, unused, lost=False)
        return out

    def _sources(self, name: str, sources: Sequence[DataSource]) -> Json:
        for index, source in enumerate(sources):
            at = (_DATASET, name, index)
            if source.HasField("tfrecords_path"):
                self._find("tfrecords_path is left out: the operator trains on directories of images and KITTI labels", *at)
            if index and source.HasField("label_directory_path"):
                self._find("left out: there is one directory of images and one of labels; put the files together", *at)
            for unused in ("root_path", "source_weight"):
                if source.HasField(unused):
                    self._find("left out: TAO does not use it with directories of labels", *at, unused, lost=False)
        if not sources:
            self._find("is missing: name the directories of images and labels", _DATASET, name)
        first = next((source for source in sources if source.HasField("label_directory_path")), DataSource())
        at = (_DATASET, name, list(sources).index(first) if first in sources else 0)
        paths = {"images": "image_directory_path", "labels": "label_directory_path"}
        return {
            part: self._path(getattr(first, path).rstrip("/"), *at, path) for part, path in paths.items() if getattr(first, path)
        }

    def _path(self, path: str, *at: str | int) -> str:
        """Relative to the workspace where it lies in there."""
        if not path.startswith("/"):
            if path:
                message = "is relative: TAO takes it from its working directory, the operator from the workspace"
                self._find(message, *at, lost=False)
            return path
        inside = path.removeprefix(f"{(self.mount_path or '').rstrip('/')}/") if self.mount_path else path
        if inside != path:
            # As it is spelt, so that it comes back so. What would not be relative stays absolute, and means the same.
            return path if not inside or inside.startswith("/") else inside
        self._find(f"lies outside of the workspace ({self.mount_path or 'not known'}): the image must have it", *at, lost=False)
        return path

    # --- what is not there, and what is wrong ---

    def _zeros(self, raw: Json, model: type[Model], path: Path) -> None:
        """A number that is not there is 0 to TAO, whatever the resource's default: it is written, or it is a finding."""
        for name, info in model.model_fields.items():
            alias = info.alias or name
            inner = _model_of(info.annotation)
            if inner is not None:
                if alias in raw or isinstance(info.default, Model):
                    self._zeros(raw.setdefault(alias, {}), inner, (*path, name))
            elif alias not in raw and isinstance(info.default, int | float) and info.default:
                if any(_above_zero(bound) for bound in info.metadata):
                    message = (
                        f"is not there: TAO would take 0, which it refuses or breaks on. The resource's {info.default} is taken"
                    )
                    self._find(message, *path, name)
                else:
                    raw[alias] = 0

    def _validated(self, model: type[Model], raw: Json, prefix: Path) -> Json:
        """The same fields in the resource's own types and order, or as they are and findings."""
        try:
            valid = model.model_validate(raw, by_alias=True, by_name=False)
        except ValidationError as error:
            known = {finding.path for finding in self.findings if finding.lost}
            for detail in error.errors(include_url=False):
                path = (*prefix, *_in_tao(detail["loc"], data=bool(prefix)))
                # What is missing because it was left out is said already.
                if not any(_dotted(path).startswith(said) or said.startswith(_dotted(path)) for said in known):
                    self._find(sentence(detail), *path)
            return raw
        return _sorted_maps(valid.model_dump(mode="json", by_alias=True, exclude_unset=True))


_DATA_NAMES: dict[str, Path] = {
    "train": ("data_sources", 0),
    "validation": ("validation_data_sources", 0),
    "classes": ("target_class_mapping",),
    "images": ("image_directory_path",),
    "labels": ("label_directory_path",),
}


def _in_tao(loc: Sequence[str | int], *, data: bool) -> Iterator[str | int]:
    """A place in the resource by TAO's names."""
    for part in loc:
        yield from _DATA_NAMES.get(str(part), (snake(part),)) if data else (snake(part),)


def _sorted_maps(raw: Json) -> Json:
    for maps, name in (("augmentationConfig", "imageMean"), ("classWeightingConfig", "classWeighting"), ("", "classes")):
        section = raw.get(maps, {}) if maps else raw
        if name in section:
            section[name] = dict(sorted(section[name].items()))
    return raw


def snake(part: str | int) -> str | int:
    """camelCase to TAO's spelling."""
    if isinstance(part, int):
        return part
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in part)


def read_anchors(literal: str) -> list[tuple[float, float]]:
    """Width and height of each anchor: a Python literal, read and never run.

    Raises:
        ValueError: when it is anything else.
    """
    wrong = ValueError("is no list of (width, height) pairs of numbers")
    try:
        value = ast.literal_eval(literal.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise wrong from None
    if not isinstance(value, list | tuple) or not value:
        raise wrong
    pairs = []
    for pair in value:
        if not (isinstance(pair, list | tuple) and len(pair) == 2 and all(type(side) in (int, float) for side in pair)):
            raise wrong
        width, height = pair
        if not (0 < width < 1e6 and 0 < height < 1e6):
            raise ValueError("has an anchor that is not above 0 (or beyond all measure)")
        pairs.append((float(width), float(height)))
    return pairs


def _model_of(annotation: Any) -> type[Model] | None:
    candidates = [annotation, *getattr(annotation, "__args__", ())]
    return next((kind for kind in candidates if isinstance(kind, type) and issubclass(kind, Model)), None)


def _above_zero(bound: Any) -> bool:
    return (isinstance(bound, Gt) and float(bound.gt) >= 0) or (isinstance(bound, Ge) and float(bound.ge) > 0)  # type: ignore[arg-type]
