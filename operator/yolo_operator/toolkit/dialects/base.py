"""What all dialects share. A dialect is facts about one toolkit image and the few commands that only it has.

The facts come from the toolkits themselves: nothing else in the operator asks which toolkit it is dealing with.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any, Literal

from yolo_operator.api.delivery import Calibration, DataType
from yolo_operator.api.pruning import Normalizer, Prune
from yolo_operator.api.spec import Spec
from yolo_operator.api.toolkit import Profile
from yolo_operator.toolkit import text
from yolo_operator.toolkit.invocation import DATASET_MOUNT, KEY_TOKEN, SPEC_FILE, DataPaths, Invocation

COMMAND = "yolo_v4"
STATUS_FILE = "status.json"

# What TAO takes when a flag is absent: only what differs is written.
PRUNING_GRANULARITY = 8
MIN_NUM_FILTERS = 16
INFERENCE_THRESHOLD = 0.3

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

    profile: Profile
    default_image: str
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
    qat_on_pruned: bool
    """Whether quantisation-aware training takes effect when it starts from a pruned model."""
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
        flags += ["-eq", spec.prune.equalization_criterion.value, "-pth", text.number(threshold), "-e", spec_file(directory)]
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
        retrained = spec.retrain is not None and spec.retrain.enable_qat and self.qat_on_pruned
        return spec.experiment_spec.training_config.enable_qat or retrained

    # --- for the dialects ---

    def _invocation(self, task: str, flags: Sequence[str], directory: str, expect: Mapping[str, Any]) -> Invocation:
        argv = (COMMAND, task, *flags)
        if task not in self.status_tasks:
            return Invocation(task=task, argv=argv, expect=expect)
        result = f"{directory}/result"
        return Invocation(
            task=task,
            argv=(*argv, "--results_dir", result),
            directories=(result,),
            expect={**expect, "statusFile": f"{result}/{STATUS_FILE}"},
        )

    def _key(self, spec: Spec) -> list[str]:
        return when(self.key is not KeyUse.NONE and spec.toolkit.encryption_key_secret_ref is not None, "-k", KEY_TOKEN)

    def _exported(self, spec: Spec, directory: str, model: str) -> tuple[DataType, str]:
        """The precision asked for, and the exported model's file."""
        if spec.export is None:
            raise ValueError("spec.export is not set")
        precision = spec.export.data_type
        return precision, f"{directory}/{PurePosixPath(model).stem}-{precision.value}{self.export_suffix}"


def calibration(spec: Spec, data: DataPaths) -> tuple[Calibration, str]:
    """How int8 ranges are measured, and the absolute directory of the images."""
    chosen = (spec.export.calibration if spec.export is not None else None) or Calibration()
    if chosen.images is None:
        return chosen, data.train_images
    base = DATASET_MOUNT if spec.dataset.claim_name is not None else spec.workspace.mount_path
    return chosen, chosen.images if chosen.images.startswith("/") else f"{base}/{chosen.images}"


def calibration_flags(chosen: Calibration) -> list[str]:
    """How many images."""
    return ["--batches", str(chosen.batches), "--batch_size", str(chosen.batch_size)]


def threshold_flags(spec: Spec) -> list[str]:
    """`-t`, unless it is the toolkit's own."""
    threshold = spec.inference.threshold if spec.inference is not None else INFERENCE_THRESHOLD
    return when(threshold != INFERENCE_THRESHOLD, "-t", text.number(threshold))


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
    flags = when(prune.normalizer is not Normalizer.MAX, "-n", prune.normalizer.value)
    flags += when(prune.pruning_granularity != PRUNING_GRANULARITY, "-pg", prune.pruning_granularity)
    flags += when(prune.min_num_filters != MIN_NUM_FILTERS, "-nf", prune.min_num_filters)
    return flags + (["-el", *prune.excluded_layers] if prune.excluded_layers else [])
