"""What a stage runs: command, experiment spec, inputs and what must come of it, and the digest over all of it.

A stage's work is a function of the spec and of the recorded results of the stages before it. It is built with a placeholder for
the stage's own directory, whose name is taken from the digest over all the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from yolo_operator.api.dataset import LabelFormat, LabelledImages
from yolo_operator.api.quantity import amount
from yolo_operator.api.spec import Spec
from yolo_operator.api.status import Artifact, StageStatus
from yolo_operator.api.workspace import Retention
from yolo_operator.pipeline import graph, weights
from yolo_operator.pipeline.names import digest_of, place_of, stage_directory
from yolo_operator.pipeline.rounds import rounds_of
from yolo_operator.pipeline.values import Adoption, Experiment, StageKey, StageRun
from yolo_operator.toolkit.dialects import dialect
from yolo_operator.toolkit.invocation import DATASET_MOUNT, SPEC_FILE, DataPaths, Invocation
from yolo_operator.toolkit.spec_text import experiment_text, label_names

PREPARE_VERSION = 2
"""Raised when `prepare` writes something else for the same data; an operator upgrade alone never runs a stage again."""

MERGE_VERSION = 1
"""The same for `merge`."""
KEY_VARIABLE = "YOLO_TOOLKIT_KEY"
METRICS_PORT = 9402
ADOPT_MOUNT = "/from"
"""Where the workspace of the experiment in `spec.from` is mounted, read-only."""
GRACE_SECONDS = 45
"""What the runner gives the toolkit after SIGTERM; the pod's own grace period is longer."""

_DIRECTORY = "/{directory}"
"""Stands for the stage's own directory until the digest gives it a name; no path of a user can have braces."""
_MODELS = ("checkpoint", "model", "export")


@dataclass(frozen=True, slots=True)
class Results:
    """Recorded results of the stages that succeeded, and what was decided from them."""

    stages: Mapping[StageKey, StageStatus]
    chosen: StageKey | None = None
    """The prune stage of the chosen variant."""
    best: StageKey | None = None
    """The stage whose model goes on."""

    def digest(self, key: StageKey) -> str:
        return self.stages[key].digest or ""

    def model(self, key: StageKey) -> Artifact:
        """The stage's model: a checkpoint, a pruned or an exported model."""
        artifacts = {artifact.name: artifact for artifact in self.stages[key].artifacts or ()}
        for name in _MODELS:
            if name in artifacts:
                return artifacts[name]
        raise LookupError(f"stage {key} recorded no model among its artifacts: {', '.join(artifacts) or 'none'}")

    def artifact(self, key: StageKey, name: str) -> Artifact:
        """The stage's artifact of that name."""
        for artifact in self.stages[key].artifacts or ():
            if artifact.name == name:
                return artifact
        raise LookupError(f"stage {key} recorded no artifact {name}")

    def label_paths(self) -> dict[str, str]:
        """Where prepare's labels lie, by the names that stand for them."""
        prepared = self.stages.get(graph.PREPARE)
        artifacts = (prepared.artifacts if prepared else None) or ()
        return {f"{{{artifact.name}}}": artifact.path for artifact in artifacts}

    def with_labels_anywhere(self) -> Results:
        """The same with names in place of the paths of prepare's labels: a digest depends on what they are, not where."""
        prepared = self.stages.get(graph.PREPARE)
        if prepared is None or not prepared.artifacts:
            return self
        named = [artifact.model_copy(update={"path": f"{{{artifact.name}}}"}) for artifact in prepared.artifacts]
        return replace(self, stages={**self.stages, graph.PREPARE: prepared.model_copy(update={"artifacts": named})})

    def pruned(self, key: StageKey) -> StageKey | None:
        """The prune stage that a retraining began from."""
        return StageKey("prune", key.variant) if key.variant else self.chosen


def stage_run(experiment: Experiment, key: StageKey, results: Results, *, spoiled: Mapping[str, int] | None = None) -> StageRun:
    """The work of a stage whose inputs are all in `results`.

    Args:
        experiment: whose stage it is.
        key: which one.
        results: of the stages before.
        spoiled: directories that were given up, by digest.
    """
    spec, workspace = experiment.spec, experiment.spec.workspace.mount_path
    draft = _BUILDERS[key.name](spec, key, results.with_labels_anywhere(), _DIRECTORY)
    aside = draft.pop("aside", {})  # what changes nothing of the result
    image = stage_image(spec, key)
    draft["rerun"] = _tokens(experiment, key)
    digest = digest_of({**draft, "stage": key.name, "image": image})
    directory = stage_directory(workspace, key, digest, (spoiled or {}).get(digest, 0))
    body: dict[str, Any] = _filled({**draft, **aside}, {_DIRECTORY: directory, **results.label_paths()})
    text = str(body.pop("experimentSpec", ""))
    instructions = {
        "version": 1,
        "namespace": experiment.namespace,
        "experiment": experiment.name,
        "uid": experiment.uid,
        "stage": key.name,
        "variant": key.variant,
        "digest": digest,
        "workspace": workspace,
        "directory": directory,
        "progressSeconds": 3,
        "graceSeconds": GRACE_SECONDS,
        "metricsPort": METRICS_PORT,
        **(_disk_care(spec) if key.trains else {}),
        **{name: value for name, value in body.items() if name not in ("upstream", "rerun")},
    }
    if (stall := graph.stage_retry(spec, key).stall_seconds) is not None:
        instructions["stallSeconds"] = stall
    place = place_of(experiment.name, spec.workspace)
    return StageRun(key, digest, directory, instructions, text, image, parts_of(draft, image), place)


def _disk_care(spec: Spec) -> dict[str, Any]:
    """What a training is told about space on disk. It is no part of the digest: no result depends on it."""
    care: dict[str, Any] = {}
    if spec.workspace.min_free_space is not None:
        care["minFreeBytes"] = int(amount(spec.workspace.min_free_space))
    if spec.workspace.retention is Retention.DELETE_ON_SUCCESS:
        care["keepCheckpoints"] = "artifacts"
    return care


def adopting(run: StageRun, adoption: Adoption) -> StageRun:
    """The run that only takes over another experiment's result: in the operator's image, without a GPU."""
    instructions = {**run.instructions, "adopt": {"workspace": ADOPT_MOUNT, "only": True}}
    return replace(run, instructions=instructions, image=None, adopt=adoption)


def parts_of(draft: Mapping[str, Any], image: str | None) -> dict[str, str]:
    """Beginnings of the digests of a stage's parts. A part does not change for where the artifacts lie that it reads."""
    inputs = draft.get("inputs") or []
    shapeless = {str(read["path"]): f"{{input {number}}}" for number, read in enumerate(inputs)}
    upstream = draft.get("upstream") or {}
    named = upstream if isinstance(upstream, dict) else {"inputs": upstream}
    apart = ("experimentSpec", "upstream", "inputs", "rerun")
    parts = {
        "image": image,
        "command": {name: _filled(value, shapeless) for name, value in draft.items() if name not in apart},
        "experiment spec": _filled(draft.get("experimentSpec"), shapeless),
        "rerun": draft.get("rerun") or None,
        **named,
    }
    return {name: digest_of(value)[:8] for name, value in parts.items() if value is not None}


def _tokens(experiment: Experiment, key: StageKey) -> list[str]:
    """The rerun tokens that concern a stage: its own, and those of the stages whose digests are no part of its own."""
    names = dict.fromkeys((graph.PREPARE.name, graph.ANCHORS.name, key.name, str(key)))
    return [experiment.rerun[name] for name in names if name in experiment.rerun]


def _filled(value: Any, names: Mapping[str, str]) -> Any:
    """The value with every name replaced by what it stands for."""
    match value:
        case str():
            for name, meaning in names.items():
                value = value.replace(name, meaning)
            return value
        case dict():
            return {name: _filled(inner, names) for name, inner in value.items()}
        case list() | tuple():
            return [_filled(inner, names) for inner in value]
        case _:
            return value


def stage_image(spec: Spec, key: StageKey) -> str | None:
    """The image a stage runs in; None: the operator's own."""
    return None if key.own else spec.toolkit.image or dialect(spec.toolkit.profile).default_image


def data_paths(spec: Spec, prepared: StageStatus) -> DataPaths:
    """Where the stages after `prepare` find images and KITTI labels."""
    labels = {artifact.name: artifact.path for artifact in prepared.artifacts or ()}
    mount = spec.workspace.mount_path
    if spec.dataset.format is LabelFormat.DARKNET:
        train, validation = (f"{mount}/{labels[name]}" for name in ("trainLabels", "validationLabels"))
    else:
        train, validation = (data_path(spec, part.labels) for part in (spec.dataset.train, spec.dataset.validation))
    return DataPaths(
        train_images=data_path(spec, spec.dataset.train.images),
        train_labels=train,
        validation_images=data_path(spec, spec.dataset.validation.images),
        validation_labels=validation,
        unlabelled_images=data_path(spec, spec.dataset.unlabelled.images) if spec.dataset.unlabelled else None,
    )


def data_path(spec: Spec, path: str) -> str:
    """A path of `spec.dataset` as the container sees it."""
    base = DATASET_MOUNT if spec.dataset.claim_name else spec.workspace.mount_path
    return path if path.startswith("/") else f"{base}/{path}"


# --- one builder a stage: (spec, key, results, directory) -> part of the instructions, plus `experimentSpec` and `upstream` ---


def _prepare(spec: Spec, key: StageKey, results: Results, directory: str) -> dict[str, Any]:  # noqa: ARG001
    def labelled(part: LabelledImages) -> dict[str, str]:
        return {"images": data_path(spec, part.images), "labels": data_path(spec, part.labels)}

    augmentation = spec.experiment_spec.augmentation_config
    body: dict[str, Any] = {
        "format": spec.dataset.format.value,
        "classes": dict(sorted(spec.dataset.classes.items())),
        "train": labelled(spec.dataset.train),
        "validation": labelled(spec.dataset.validation),
        "output": f"{directory}/dataset",
        "width": augmentation.output_width,
        "height": augmentation.output_height,
    }
    if spec.dataset.unlabelled is not None:
        body["unlabelled"] = {"images": data_path(spec, spec.dataset.unlabelled.images)}
    # Which claim the data come from is part of what was prepared; the paths alone would not tell.
    place = [spec.dataset.claim_name, spec.dataset.sub_path or ""]
    if spec.dataset.claim_name is None:
        place = [spec.workspace.claim_name, spec.workspace.sub_path or ""]
    return {"task": "prepare", "prepare": body, "upstream": {"dataset": [*place, PREPARE_VERSION]}}


def _weights(spec: Spec, key: StageKey, results: Results, directory: str) -> dict[str, Any]:  # noqa: ARG001
    return weights.build(spec, directory)


def _anchors(spec: Spec, key: StageKey, results: Results, directory: str) -> dict[str, Any]:  # noqa: ARG001
    data = data_paths(spec, results.stages[graph.PREPARE])
    invocation = dialect(spec.toolkit.profile).anchors(spec, data, directory)
    body = _toolkit(spec, invocation, directory, labels=_labels(spec, results))
    return {**body, "upstream": {"dataset": results.stages[graph.PREPARE].fingerprint}}


def _train(spec: Spec, key: StageKey, results: Results, directory: str) -> dict[str, Any]:  # noqa: ARG001
    invocation = dialect(spec.toolkit.profile).train(
        spec, directory, epochs=spec.experiment_spec.training_config.num_epochs, checkpoint=spec.train.checkpoint
    )
    body = _toolkit(spec, invocation, directory, labels=_labels(spec, results))
    _, read = weights.starting_point(spec, results.stages)
    return {
        **body,
        **({"inputs": [*body.get("inputs", ()), *read]} if read else {}),
        "experimentSpec": _text(spec, results),
        "checkpoint": spec.train.checkpoint,
        "upstream": {"dataset": results.stages[graph.PREPARE].fingerprint},
    }


def _retrain(spec: Spec, key: StageKey, results: Results, directory: str) -> dict[str, Any]:
    pruned = results.pruned(key)
    assert spec.retrain is not None  # noqa: S101 - the graph has no retrain without both
    assert pruned is not None  # noqa: S101
    invocation = dialect(spec.toolkit.profile).train(
        spec, directory, epochs=spec.retrain.num_epochs, checkpoint=spec.retrain.checkpoint, stage="retrain"
    )
    return {
        **_toolkit(spec, invocation, directory, results.model(pruned), _labels(spec, results)),
        "experimentSpec": _text(spec, results, pruned=pruned),
        "checkpoint": spec.retrain.checkpoint,
        "upstream": {"model": results.digest(pruned), "dataset": results.stages[graph.PREPARE].fingerprint},
    }


def _prune(spec: Spec, key: StageKey, results: Results, directory: str) -> dict[str, Any]:
    assert spec.prune is not None  # noqa: S101 - the graph has no prune without it
    (threshold,) = [value for value in spec.prune.thresholds if graph.prune_key(value) == key]
    model = results.model(graph.TRAIN)
    invocation = dialect(spec.toolkit.profile).prune(spec, directory, _absolute(spec, model), threshold)
    return {
        **_toolkit(spec, invocation, directory, model),
        "experimentSpec": _text(spec, results),
        "upstream": {"model": results.digest(graph.TRAIN)},
    }


def _evaluate(spec: Spec, key: StageKey, results: Results, directory: str) -> dict[str, Any]:
    source = _evaluated(key)
    trained = final_model(results) if source == graph.EXPORT else source
    model = results.model(source)
    invocation = dialect(spec.toolkit.profile).evaluate(spec, directory, _absolute(spec, model))
    return {
        **_toolkit(spec, invocation, directory, model, _labels(spec, results)),
        "experimentSpec": _text(spec, results, pruned=_pruned(spec, results, trained)),
        "upstream": {"model": results.digest(source), "dataset": results.stages[graph.PREPARE].fingerprint},
    }


def _export(spec: Spec, key: StageKey, results: Results, directory: str) -> dict[str, Any]:  # noqa: ARG001
    source = final_model(results)
    model = results.model(source)
    data = data_paths(spec, results.stages[graph.PREPARE])
    invocation = dialect(spec.toolkit.profile).export(spec, directory, _absolute(spec, model), data)
    return {
        **_toolkit(spec, invocation, directory, model),
        "experimentSpec": _text(spec, results, pruned=_pruned(spec, results, source)),
        "upstream": {"model": results.digest(source)},
    }


def _inference(spec: Spec, key: StageKey, results: Results, directory: str) -> dict[str, Any]:  # noqa: ARG001
    source = final_model(results)
    model = results.model(source)
    images = data_paths(spec, results.stages[graph.PREPARE]).unlabelled_images or ""
    invocation = dialect(spec.toolkit.profile).inference(spec, directory, _absolute(spec, model), images)
    return {
        **_toolkit(spec, invocation, directory, model),
        "experimentSpec": _text(spec, results, pruned=_pruned(spec, results, source)),
        "upstream": {
            "model": results.digest(source),
            "dataset": results.stages[graph.PREPARE].unlabelled_fingerprint or results.stages[graph.PREPARE].fingerprint,
        },
    }


def _pseudo_label(spec: Spec, key: StageKey, results: Results, directory: str) -> dict[str, Any]:
    rounds, inference = rounds_of(spec), spec.inference
    assert rounds is not None and inference is not None  # noqa: S101, PT018 - the graph has no rounds without both
    threshold = rounds.threshold or inference.threshold
    return _inference(
        spec.model_copy(update={"inference": inference.model_copy(update={"threshold": threshold})}), key, results, directory
    )


def _merge(spec: Spec, key: StageKey, results: Results, directory: str) -> dict[str, Any]:
    rounds, prepared = rounds_of(spec), results.stages[graph.PREPARE]
    assert rounds is not None  # noqa: S101 - the graph has no rounds without it
    label = StageKey("pseudo-label", key.variant)
    found = results.artifact(label, "labels")
    wanted = {
        "labels": _absolute(spec, found),
        "images": data_paths(spec, prepared).unlabelled_images,
        "output": f"{directory}/labels",
        "provenance": f"{directory}/provenance.jsonl",
        "classes": label_names(spec.dataset),
        "round": int(key.variant),
        "model": results.model(final_model(results)).sha256,
        **rounds.model_dump(
            mode="json",
            by_alias=True,
            exclude_none=True,
            include={
                *("min_confidence", "min_confidence_per_class", "max_per_class", "min_per_image", "max_images", "uncertain"),
            },
        ),
    }
    upstream = [results.digest(label), prepared.fingerprint, MERGE_VERSION]
    return {"task": "merge", "merge": wanted, "inputs": [_input(spec, found)], "upstream": upstream}


def _fine_tune(spec: Spec, key: StageKey, results: Results, directory: str) -> dict[str, Any]:
    rounds, prepared = rounds_of(spec), results.stages[graph.PREPARE]
    assert rounds is not None  # noqa: S101 - the graph has no rounds without it
    tuning, merge, start = rounds.fine_tune, StageKey("merge", key.variant), final_model(results)
    model, labels = results.model(start), results.artifact(merge, "labels")
    invocation = dialect(spec.toolkit.profile).train(
        spec, directory, epochs=tuning.num_epochs, checkpoint=tuning.checkpoint, stage="fine_tune"
    )
    body = _toolkit(spec, invocation, directory, model)
    data = replace(data_paths(spec, prepared), pseudo_labels=_absolute(spec, labels))
    return {
        **body,
        "inputs": [*body["inputs"], _input(spec, labels)],
        "experimentSpec": experiment_text(
            spec, data, anchors=_anchors_of(spec, results), pruned_model=_absolute(spec, model), fine_tune=tuning
        ),
        "checkpoint": tuning.checkpoint,
        "upstream": [results.digest(start), results.digest(merge), prepared.fingerprint],
    }


def final_model(results: Results) -> StageKey:
    """The stage whose model is exported and used for inference.

    Raises:
        LookupError: while that is not decided.
    """
    if results.best is None:
        raise LookupError("which model goes on is not decided yet")
    return results.best


def _evaluated(key: StageKey) -> StageKey:
    match key.name:
        case "evaluate":
            return graph.TRAIN
        case "evaluate-pruned":
            return StageKey("prune", key.variant)
        case "evaluate-retrained":
            return StageKey("retrain", key.variant)
        case "evaluate-round":
            return StageKey("fine-tune", key.variant)
        case _:
            return graph.EXPORT


def _pruned(spec: Spec, results: Results, source: StageKey) -> StageKey | None:
    """The prune stage that a model's retraining began from; None: it was never retrained."""
    if source.name == "retrain":
        return results.pruned(source)
    return results.chosen if source.name == "fine-tune" and spec.retrain is not None else None


def _anchors_of(spec: Spec, results: Results) -> list[list[float]] | None:
    """Computed anchors; None: the experiment spec's own."""
    if spec.anchors is None:
        return None
    metrics = results.stages[graph.ANCHORS].metrics
    return (metrics.anchors if metrics else None) or []


def _text(spec: Spec, results: Results, *, pruned: StageKey | None = None) -> str:
    model = _absolute(spec, results.model(pruned)) if pruned else None
    spec, _ = weights.starting_point(spec, results.stages)
    data = data_paths(spec, results.stages[graph.PREPARE])
    return experiment_text(spec, data, anchors=_anchors_of(spec, results), pruned_model=model)


def _labels(spec: Spec, results: Results) -> list[Artifact]:
    """The labels that prepare wrote: whoever reads them finds out first whether they are still what they were."""
    return list(results.stages[graph.PREPARE].artifacts or ()) if spec.dataset.format is LabelFormat.DARKNET else []


def _toolkit(
    spec: Spec, invocation: Invocation, directory: str, model: Artifact | None = None, labels: Sequence[Artifact] = ()
) -> dict[str, Any]:
    body: dict[str, Any] = {
        "task": invocation.task,
        "argv": list(invocation.argv),
        "makeDirectories": list(invocation.directories),
        "expect": dict(invocation.expect),
    }
    if invocation.task != "kmeans":
        body["specPath"] = f"{directory}/{SPEC_FILE}"
    if spec.toolkit.encryption_key_secret_ref is not None:
        body["keyEnv"] = KEY_VARIABLE
    if invocation.resume is not None:
        body["resume"] = dict(invocation.resume)
    read = [_input(spec, file) for file in (*([model] if model else []), *labels)]
    if read or invocation.reads:
        body["inputs"] = [*read, *({"path": path} for path in invocation.reads)]
    return body


def _input(spec: Spec, artifact: Artifact) -> dict[str, Any]:
    return {"path": _absolute(spec, artifact), "bytes": artifact.bytes, "sha256": artifact.sha256}


def _absolute(spec: Spec, artifact: Artifact) -> str:
    return f"{spec.workspace.mount_path}/{artifact.path}"


_Builder = Callable[[Spec, StageKey, Results, str], dict[str, Any]]
_BUILDERS: dict[str, _Builder] = {
    "prepare": _prepare,
    "anchors": _anchors,
    "weights": _weights,
    "train": _train,
    "evaluate": _evaluate,
    "prune": _prune,
    "evaluate-pruned": _evaluate,
    "retrain": _retrain,
    "evaluate-retrained": _evaluate,
    "pseudo-label": _pseudo_label,
    "merge": _merge,
    "fine-tune": _fine_tune,
    "evaluate-round": _evaluate,
    "export": _export,
    "evaluate-exported": _evaluate,
    "inference": _inference,
}
