"""What a stage's container asks for, and what of its experiment spec follows from that."""

from __future__ import annotations

import re

from yolo_operator.api.pods import Resources
from yolo_operator.api.quantity import amount
from yolo_operator.api.spec import Spec
from yolo_operator.pipeline.graph import stage_override
from yolo_operator.pipeline.values import NO_GPUS, Gpus, StageKey, StageRun
from yolo_operator.pipeline.work import stage_image
from yolo_operator.toolkit.dialects import dialect

GPU = "nvidia.com/gpu"
_WORKERS = re.compile(r"^  n_workers: \d+$", re.MULTILINE)


def effective_resources(spec: Spec, key: StageKey) -> Resources:
    """The stage's own resources field by field over the general ones, over the profile's."""
    facts = dialect(spec.toolkit.profile)
    override = stage_override(spec, key).resources or Resources()
    chosen = override.over(spec.resources).model_dump(exclude_none=True)
    chosen.setdefault("shared_memory", facts.default_shared_memory)
    gpus = 0 if stage_image(spec, key) is None else facts.gpus(spec, key.group)
    # TAO refuses more than one GPU for anything but training.
    gpus = gpus if key.trains else min(gpus, 1)
    if not gpus:
        chosen.pop("dra", None)
    if "dra" in chosen:
        chosen["dra"]["count"] = gpus
    else:
        chosen["gpus"] = gpus
    return Resources.model_validate(chosen)


def with_workers(spec: Spec, text: str, wanted: Resources) -> str:
    """The experiment spec with as many loader workers as the container may use CPUs, unless the user said how many.

    TAO would start one for each CPU of the node. The number is set here and not where the digest is taken: another limit must
    not make a finished training run again.
    """
    cpus = cpu_limit(wanted)
    if cpus is None or dialect(spec.toolkit.profile).sees_cpu_limit:
        return text
    if spec.experiment_spec.training_config.n_workers is not None:
        return text
    return _WORKERS.sub(f"  n_workers: {cpus}", text, count=1)


def cpu_limit(wanted: Resources) -> int | None:
    """Whole CPUs that the container may use, at least 1; None: no limit."""
    limit = (wanted.limits or {}).get("cpu")
    return None if limit is None else max(1, int(amount(limit)))


def run_resources(spec: Spec, run: StageRun) -> Resources:
    """What an attempt asks for: nothing but a place when it only takes over what another experiment has."""
    if run.adopt is not None:
        return Resources(gpus=0, shared_memory=spec.resources.shared_memory)
    return effective_resources(spec, run.key)


def gpus_of(wanted: Resources) -> Gpus:
    """The GPUs among what a stage asks for, by whichever way."""
    if wanted.dra is not None:
        return Gpus(wanted.dra.device_class_name, wanted.dra.count)
    return Gpus(wanted.gpu_resource_name or GPU, wanted.gpus) if wanted.gpus else NO_GPUS
