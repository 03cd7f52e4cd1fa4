"""The stage `weights`, and what the first training starts from (`spec.pretrained`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from yolo_operator.api.pretrained import CACHE_DIRECTORY, NGC_API, NGC_AUTHN, Pretrained
from yolo_operator.api.spec import Spec
from yolo_operator.api.status import Artifact, StageStatus
from yolo_operator.pipeline.keys import WEIGHTS
from yolo_operator.pipeline.values import StageKey
from yolo_operator.toolkit.spec_text import in_workspace

CACHE_MOUNT = "/opt/yolo-operator/weights-cache"
"""Where a cache on a claim of its own is mounted, in the stage `weights` alone."""


def fetches(spec: Spec) -> bool:
    """Whether there is a stage `weights`."""
    return spec.pretrained is not None and spec.pretrained.fetched


def build(spec: Spec, directory: str) -> dict[str, Any]:
    """The stage's part of the instructions. Where the cache is, and the way out, change nothing of what is fetched."""
    wanted = spec.pretrained
    assert wanted is not None  # noqa: S101 - the graph has no `weights` without it
    body: dict[str, Any] = {"output": f"{directory}/weights"}
    if wanted.sha256 is not None:
        body["sha256"] = wanted.sha256
    if wanted.ngc is not None:
        body["ngc"] = {"model": wanted.ngc.model, "api": NGC_API, "authn": NGC_AUTHN}
        body["ngc"] |= {"file": wanted.ngc.file} if wanted.ngc.file is not None else {}
        body["keyed"] = wanted.ngc.api_key_secret_ref is not None
    else:
        body["url"] = wanted.url
    return {"task": "weights", "weights": body, "upstream": [], "aside": {"cache": _cache(spec, wanted)}}


def _cache(spec: Spec, wanted: Pretrained) -> str:
    if wanted.cache.claim_name is not None:
        return CACHE_MOUNT
    return in_workspace(spec, wanted.cache.sub_path or CACHE_DIRECTORY)


def starting_point(spec: Spec, stages: Mapping[StageKey, StageStatus]) -> tuple[Spec, list[dict[str, Any]]]:
    """The spec with the weights as its `pretrainModelPath`, and what the training reads of them, as `inputs`."""
    if spec.pretrained is None:
        return spec, []
    if spec.pretrained.path is not None:
        path = in_workspace(spec, spec.pretrained.path)
        return _starting_at(spec, path), [{"path": path}]
    (found,) = [artifact for artifact in stages[WEIGHTS].artifacts or () if artifact.name == "weights"]
    path = f"{spec.workspace.mount_path}/{found.path}"
    return _starting_at(spec, path), [_input(path, found)]


def _input(path: str, artifact: Artifact) -> dict[str, Any]:
    return {"path": path, "bytes": artifact.bytes, "sha256": artifact.sha256}


def _starting_at(spec: Spec, path: str) -> Spec:
    training = spec.experiment_spec.training_config.model_copy(update={"pretrain_model_path": path})
    experiment = spec.experiment_spec.model_copy(update={"training_config": training})
    return spec.model_copy(update={"experiment_spec": experiment})
