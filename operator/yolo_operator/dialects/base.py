"""What all dialects share. A dialect is facts about one toolkit image and the few commands that only it has.

The facts come from the toolkits themselves: nothing else in the operator asks which toolkit it is dealing with.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from yolo_operator.dialects.invocation import DATASET_MOUNT, KEY_TOKEN, SPEC_FILE, DataPaths, Invocation

if TYPE_CHECKING:  # `api` makes its enums and rules from the dialects: at run time they come first
    from yolo_operator.api.delivery import Engine
    from yolo_operator.api.pruning import Prune
    from yolo_operator.api.spec import Spec

COMMAND = "yolo_v4"
STATUS_FILE = "status.json"

# What TAO takes when a flag is absent: only what differs is written.
NORMALIZER = "max"
PRUNING_GRANULARITY = 8
MIN_NUM_FILTERS = 16
INFERENCE_THRESHOLD = 0.3

TAO_WORKERS = 8
"""Loader workers of TAO when the spec has no `nWorkers`.

TAO itself would start one for each CPU of the *node*, whatever the container's limit. 8 is the number of CPUs that NVIDIA asks
for at least. It does not follow the stage's CPU limit here, where the digest is taken: a changed limit must not make a finished
training run again. Where there is a limit, the Job's manifest puts it in.
"""
INT8 = "int8"
CALIBRATION_SUFFIXES = (".jpg", ".jpeg", ".png")
BATCHES, BATCH_SIZE = 10, 8
"""What int8 ranges are measured on when nothing is said: 80 images."""
TENSOR_FILE = "/tmp/calibration.tensorfile"  # noqa: S108 - TAO takes up a half-written one: it must not outlive the pod


class KeyUse(StrEnum):
    """Whether models are encrypted, so that commands carry `-k`."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect(ABC):
    """A toolkit's facts and command lines.

    In every command `directory` is the stage's own directory: absolute, with the experiment spec at `<directory>/config.txt`.
    """

    profile: str
    """Its name in `spec.toolkit.profile`."""
    title: str
    """Its name for people."""
    order: int
    """Where it stands among the others in lists and tables."""
    default_image: str
    images: tuple[str, ...]
    """Regular expressions of the images that are known to speak it. CEL searches with them, too: no backslashes, no quotes."""
    checkpoint_suffix: str
    pruned_suffix: str
    export_suffix: str
    default_gpus: int
    needs_gpu: bool
    """Whether every task asks for a GPU before it does anything, so that no stage of it runs without one."""
    cpu_stages: frozenset[str] = frozenset()
    """Stages that make no use of a GPU: they get one only when their own override says so."""
    sees_cpu_limit: bool
    """Whether it finds the container's CPU limit by itself; what does not takes all CPUs of the node for its own."""
    default_shared_memory: str
    """Size of /dev/shm."""
    run_as_user: int | None
    """None: the image's own user."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Beyond HOME and PYTHONUNBUFFERED, which every stage has."""
    key: KeyUse
    export_formats: tuple[str, ...]
    data_types: tuple[str, ...]
    """Precisions of the exported model."""
    engine: bool
    """Whether `export` can build a TensorRT engine."""
    tensorfile: bool
    """Whether int8 ranges can be measured on a calibration tensorfile."""
    mixed_precision: bool
    """Whether a training takes `--use_amp`."""
    architectures: Mapping[str, tuple[int, ...]] | None = None
    """Backbones with their numbers of layers; None: all that the experiment spec has."""
    open_config: bool = False
    """Whether its experiment spec has the section `open_config`."""
    rmsprop: bool = False
    """Whether it can train with RMSProp."""
    default_workers: int | None = None
    """Loader workers when the experiment spec names none; None: the toolkit knows best."""
    qat_on_pruned: bool
    """Whether quantisation-aware training takes effect when it starts from a pruned model."""
    saves_last_epoch: bool
    """Whether the last epoch has a checkpoint when it is no multiple of the interval."""
    evaluates_export: bool
    """Whether `evaluate` takes an exported model without a TensorRT engine made of it first."""
    status_tasks: frozenset[str]
    """Tasks that leave a status file, which ends in a success when they succeeded."""

    # --- commands ---

    def anchors(self, spec: Spec, data: DataPaths, directory: str) -> Invocation:
        """k-means over the training boxes."""
        if spec.anchors is None:
            raise ValueError("spec.anchors is not set")
        auto, augmentation = spec.anchors.auto, spec.experiment_spec.augmentation_config
        flags = ["-l", data.train_labels, "-i", data.train_images]
        flags += ["-x", str(augmentation.output_width), "-y", str(augmentation.output_height), "-n", str(auto.count)]
        flags += when(auto.max_steps is not None, "--max_steps", auto.max_steps)
        flags += when(bool(auto.min_width), "--min_x", auto.min_width)
        flags += when(bool(auto.min_height), "--min_y", auto.min_height)
        return self._invocation("kmeans", flags, directory, {"metrics": ["anchors"]})

    def train(
        self,
        spec: Spec,
        directory: str,
        *,
        epochs: int,
        checkpoint: str = "best",  # noqa: ARG002 - the runner chooses it; no command line does
        stage: Literal["train", "retrain", "fine_tune"] = "train",
    ) -> Invocation:
        """Training, retraining and fine-tuning: the same command, only the experiment spec differs."""
        result = f"{directory}/result"
        weights = {"directory": f"{result}/weights", "suffix": self.checkpoint_suffix}
        status = {"statusFile": f"{result}/{STATUS_FILE}"} if "train" in self.status_tasks else {}
        gpus = self.gpus(spec, stage)
        flags = ["-r", result, "-e", spec_file(directory), *self._key(spec), *when(gpus > 1, "--gpus", gpus)]
        flags += ["--use_amp"] if uses_amp(spec, stage) else []
        return Invocation(
            task="train",
            argv=(COMMAND, "train", *flags),
            directories=(result,),
            expect={"checkpoints": weights, **status, "metrics": ["mAP"]},
            resume={"weights": weights["directory"], "suffix": self.checkpoint_suffix, "epochs": epochs},
        )

    def evaluate(self, spec: Spec, directory: str, model: str) -> Invocation:
        """mAP on the validation data."""
        flags = ["-m", model, "-e", spec_file(directory), *self._key(spec)]
        return self._invocation("evaluate", flags, directory, {"metrics": ["mAP"]})

    def prune(self, spec: Spec, directory: str, model: str, threshold: float) -> Invocation:
        """One variant: the model without the channels below the threshold."""
        if spec.prune is None:
            raise ValueError("spec.prune is not set")
        output = f"{directory}/{PurePosixPath(model).stem}_pruned{self.pruned_suffix}"
        flags = ["-m", model, "-o", output, *self._key(spec)]
        flags += ["-eq", spec.prune.equalization_criterion.value, "-pth", number(threshold), "-e", spec_file(directory)]
        flags += _pruning_details(spec.prune)
        expect = {"files": [{"name": "model", "path": output}], "metrics": ["parameterRatio"]}
        return self._invocation("prune", flags, directory, expect)

    @abstractmethod
    def export(self, spec: Spec, directory: str, model: str, data: DataPaths) -> Invocation:
        """The deployable model."""

    def inference(self, spec: Spec, directory: str, model: str, images: str) -> Invocation:
        """Annotated images and labels for a directory of images."""
        flags = ["-i", images, "-r", directory, "-e", spec_file(directory), "-m", model, *self._key(spec)]
        return Invocation(
            task="inference",
            argv=(COMMAND, "inference", *flags, *threshold_flags(spec)),
            expect={**expect_inferred(directory), "statusFile": f"{directory}/{STATUS_FILE}"},
        )

    # --- facts about a spec ---

    def gpus(self, spec: Spec, stage: str) -> int:
        """GPUs of a stage: its own, else the experiment's, else the toolkit's."""
        override = getattr(spec.stages, stage) if spec.stages is not None else None
        own = override.resources if override is not None else None
        general = None if stage in self.cpu_stages else spec.resources
        chosen = [resources.devices for resources in (own, general) if resources and resources.devices is not None]
        return chosen[0] if chosen else 0 if stage in self.cpu_stages else self.default_gpus

    def quantised(self, spec: Spec) -> bool:
        """Whether the final model carries ranges of a quantisation-aware training, so that int8 needs no calibration."""
        return (spec.trains_with_qat and not self.ignores_qat(spec, "train")) or (spec.retrains_with_qat and self.qat_on_pruned)

    def ignores_qat(self, spec: Spec, stage: str) -> bool:
        """Whether a training stage is asked for QAT that does nothing: the graph is taken from a pruned model as it is.

        A retraining of a QAT model is none of that: it finds the quantisation in the graph.
        """
        if self.qat_on_pruned:
            return False
        if stage == "train":
            return spec.trains_with_qat and spec.experiment_spec.training_config.pruned_model_path is not None
        return stage == "retrain" and spec.retrains_with_qat and not spec.trains_with_qat

    # --- for the dialects ---

    def _invocation(
        self, task: str, flags: Sequence[str], directory: str, expect: Mapping[str, Any], reads: tuple[str, ...] = ()
    ) -> Invocation:
        argv = (COMMAND, task, *flags)
        if task not in self.status_tasks:
            return Invocation(task=task, argv=argv, expect=expect, reads=reads)
        result = f"{directory}/result"
        return Invocation(
            task=task,
            argv=(*argv, "--results_dir", result),
            directories=(result,),
            expect={**expect, "statusFile": f"{result}/{STATUS_FILE}"},
            reads=reads,
        )

    def _key(self, spec: Spec) -> list[str]:
        return when(self.key is not KeyUse.NONE and spec.toolkit.encryption_key_secret_ref is not None, "-k", KEY_TOKEN)

    def _exported(self, spec: Spec, directory: str, model: str) -> Export:
        """What of an export is the same everywhere: precision, the model's file, DeepStream's files."""
        if spec.export is None:
            raise ValueError("spec.export is not set")
        precision = spec.export.data_type.value
        output = f"{directory}/{PurePosixPath(model).stem}-{precision}{self.export_suffix}"
        export = Export(precision, flags=["-m", model, *self._key(spec), "-o", output, "-e", spec_file(directory)])
        export.file("model", output)
        if spec.export.gen_ds_config:
            export.flags.append("--gen_ds_config")
            export.file("labels", f"{directory}/labels.txt")
            # TAO writes the key of its encrypted models into it.
            export.file("deepstream", f"{directory}/nvinfer_config.txt", masked=bool(self._key(spec)))
        return export

    def _run_export(self, export: Export, directory: str) -> Invocation:
        expect: dict[str, Any] = {"files": export.files}
        if export.images:
            expect["calibration"] = export.images
        return self._invocation("export", export.flags, directory, expect, tuple(export.reads))


@dataclass(slots=True)
class Export:
    """An export's command while a dialect puts it together."""

    precision: str
    flags: list[str]
    files: list[dict[str, Any]] = field(default_factory=list)
    reads: list[str] = field(default_factory=list)
    images: list[dict[str, Any]] = field(default_factory=list)
    """`expect.calibration`: images that must be there before."""

    def file(self, name: str, path: str, *, masked: bool = False) -> str:
        """Expect a file, and return its path; `masked`: the key in it is masked before anybody sees it."""
        self.files.append({"name": name, "path": path} | ({"maskKey": True} if masked else {}))
        return path

    def calibrate(self, spec: Spec, data: DataPaths, *, tensors: bool = True) -> None:
        """How the ranges of a model are measured that was trained without QAT: on a tensorfile, or on images.

        `tensors`: the toolkit makes a tensorfile of the images on its way.
        """
        chosen = spec.export.calibration if spec.export is not None else None
        if chosen is not None and chosen.tensorfile is not None:
            path = in_data(spec, chosen.tensorfile)
            self.flags += ["--cal_data_file", path]
            self.reads.append(path)
        else:
            images = data.train_images if chosen is None or chosen.images is None else in_data(spec, chosen.images)
            self.flags += [*(["--cal_data_file", TENSOR_FILE] if tensors else []), "--cal_image_dir", images]
            self.reads.append(images)
            if tensors:
                # Without enough of them TAO fails; without the directory it measures random numbers and says nothing.
                count = chosen.batches * chosen.batch_size if chosen is not None else BATCHES * BATCH_SIZE
                self.images.append({"path": images, "suffixes": list(CALIBRATION_SUFFIXES), "atLeast": count})

    def batches(self, spec: Spec) -> None:
        """How many images."""
        chosen = spec.export.calibration if spec.export is not None else None
        batches, size = (chosen.batches, chosen.batch_size) if chosen is not None else (BATCHES, BATCH_SIZE)
        self.flags += ["--batches", str(batches), "--batch_size", str(size)]


def in_data(spec: Spec, path: str) -> str:
    """An absolute path; a relative one counts from the dataset's claim, or from the workspace where there is none."""
    base = DATASET_MOUNT if spec.dataset.claim_name is not None else spec.workspace.mount_path
    return path if path.startswith("/") else f"{base}/{path}"


def engine_flags(path: str, engine: Engine | None) -> list[str]:
    """A TensorRT engine, built on the GPU that the export runs on and good for that kind alone."""
    flags = ["--engine_file", path]
    if engine is not None:
        flags += when(engine.min_batch_size is not None, "--min_batch_size", engine.min_batch_size)
        flags += when(engine.opt_batch_size is not None, "--opt_batch_size", engine.opt_batch_size)
        flags += when(engine.max_batch_size is not None, "--max_batch_size", engine.max_batch_size)
        flags += when(engine.max_workspace_size is not None, "--max_workspace_size", engine.max_workspace_size)
        flags += ["--strict_type_constraints"] if engine.strict_types else []
    return flags


def uses_amp(spec: Spec, stage: str) -> bool:
    """Whether a training stage uses automatic mixed precision: all as the training, unless the retraining says otherwise."""
    own = spec.retrain.use_amp if stage != "train" and spec.retrain is not None else None
    return spec.train.use_amp if own is None else own


def number(value: float) -> str:
    """The shortest text that reads back as the same number: 80, 0.5, 1e-7."""
    if isinstance(value, int) or not math.isfinite(value):
        return str(value)
    mantissa, exponent, power = repr(value).partition("e")
    return f"{mantissa}e{int(power)}" if exponent else mantissa


def threshold_flags(spec: Spec) -> list[str]:
    """`-t`, unless it is the toolkit's own."""
    threshold = spec.inference.threshold if spec.inference is not None else INFERENCE_THRESHOLD
    return when(threshold != INFERENCE_THRESHOLD, "-t", number(threshold))


def expect_inferred(directory: str) -> dict[str, Any]:
    """A label file for each image, empty where nothing was found; what the images are named differs."""
    return {
        "directories": [
            {"name": "labels", "path": f"{directory}/labels", "suffix": ".txt", "atLeast": 1},
            {"name": "images", "path": f"{directory}/images_annotated", "atLeast": 1},
        ]
    }


def spec_file(directory: str) -> str:
    """The stage's experiment spec."""
    return f"{directory}/{SPEC_FILE}"


def when(condition: bool, flag: str, value: object) -> list[str]:
    """A flag with its value, or nothing."""
    return [flag, str(value)] if condition else []


def _pruning_details(prune: Prune) -> list[str]:
    flags = when(prune.normalizer.value != NORMALIZER, "-n", prune.normalizer.value)
    flags += when(prune.pruning_granularity != PRUNING_GRANULARITY, "-pg", prune.pruning_granularity)
    flags += when(prune.min_num_filters != MIN_NUM_FILTERS, "-nf", prune.min_num_filters)
    return flags + (["-el", *prune.excluded_layers] if prune.excluded_layers else [])
