"""How a stage's pod is run: resources, placement, retries, user; for all stages and for each."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from pydantic.alias_generators import to_camel

from yolo_operator.api.affinity import Affinity, LabelValue, StageAffinity, TopologySpread
from yolo_operator.api.base import Model, ObjectName, Quantity, Rule


class DeviceClaim(Model):
    """GPUs by dynamic resource allocation (resource.k8s.io/v1, Kubernetes 1.34), where a DRA driver is installed.

    The operator makes a ResourceClaimTemplate of it; each pod gets a claim of its own and no extended resource.
    """

    device_class_name: ObjectName
    """For example gpu.nvidia.com, or mig.nvidia.com."""
    selectors: Annotated[list[Annotated[str, Field(min_length=1, max_length=10240)]], Field(max_length=8)] | None = None
    """CEL over `device`, all of which must hold: device.attributes["gpu.nvidia.com"].uuid == "GPU-…"."""
    count: Annotated[int, Field(ge=1, le=16)] = 1
    """Devices of a training; every other stage gets one."""


class Resources(Model):
    """What a stage's container asks for."""

    gpus: Annotated[int, Field(ge=0, le=16)] | None = None
    """Absent: 1 with a TAO profile, 0 with the open toolkit. Above 1 for train and retrain only."""
    gpu_resource_name: Annotated[str, Field(pattern=r"^[a-z0-9./-]+$", max_length=253)] | None = None
    """Absent: nvidia.com/gpu. A MIG profile has a name of its own."""
    dra: DeviceClaim | None = None
    """GPUs by resource claim instead."""
    requests: Annotated[dict[str, Quantity], Field(max_length=8)] | None = None
    limits: Annotated[dict[str, Quantity], Field(max_length=8)] | None = None
    shared_memory: Quantity | None = None
    """Size of /dev/shm, which counts as memory of the container. Absent: 16Gi with a TAO profile, 512Mi with the open toolkit."""

    rules: ClassVar = (
        Rule(
            cel="!has(self.dra) || !(has(self.gpus) || has(self.gpuResourceName))",
            message="dra says which GPUs and how many (count): leave gpus and gpuResourceName out",
            check=lambda r: r.dra is None or (r.gpus is None and r.gpu_resource_name is None),
            field=".dra",
        ),
    )

    @property
    def devices(self) -> int | None:
        """How many GPUs, by whichever way; None: not said."""
        return self.dra.count if self.dra is not None else self.gpus

    def over(self, general: Resources) -> Resources:
        """These field by field over more general ones. The way to GPUs is one of them: by claim here, by number there."""
        own, base = self.model_dump(exclude_none=True), general.model_dump(exclude_none=True)
        if self.dra is not None:
            base.pop("gpus", None)
            base.pop("gpu_resource_name", None)
        elif self.gpus is not None or self.gpu_resource_name is not None:
            base.pop("dra", None)
        return Resources.model_validate(base | own)


class Toleration(Model):
    """As in a pod."""

    key: Annotated[str, Field(max_length=316)] | None = None
    operator: Annotated[str, Field(pattern="^(Exists|Equal)$")] | None = None
    value: Annotated[str, Field(max_length=63)] | None = None
    effect: Annotated[str, Field(pattern="^(NoSchedule|PreferNoSchedule|NoExecute)$")] | None = None
    toleration_seconds: Annotated[int, Field(ge=0)] | None = None


class StageScheduling(Model):
    """Where a stage's pod may run: which nodes, and how soon."""

    node_selector: Annotated[dict[str, LabelValue], Field(max_length=16)] | None = None
    tolerations: Annotated[list[Toleration], Field(max_length=16)] | None = None
    affinity: StageAffinity | None = None
    priority_class_name: ObjectName | None = None
    runtime_class_name: ObjectName | None = None
    scheduler_name: ObjectName | None = None


class Scheduling(StageScheduling):
    """Where the stages' pods may run. How they lie to other pods is said once for all stages."""

    affinity: Affinity | None = None
    topology_spread_constraints: Annotated[list[TopologySpread], Field(max_length=4)] | None = None


class Retry(Model):
    """How often a stage that failed for no fault of its own input is tried again. What the infrastructure did never counts."""

    limit: Annotated[int, Field(ge=0, le=20)] = 3
    backoff_seconds: Annotated[int, Field(ge=1, le=3600)] = 10
    """Wait before the first retry; doubled for each further one, up to an hour."""
    active_deadline_seconds: Annotated[int, Field(ge=60, le=31_536_000)] | None = None
    """An attempt that runs longer is ended, reason DeadlineExceeded, and counts. Absent: no limit."""
    stall_seconds: Annotated[int, Field(ge=60, le=604_800)] | None = None
    """An attempt whose toolkit says nothing for so long is ended, reason Stalled, and counts. Absent: no limit."""


class StageOverride(Model):
    """What differs for one stage."""

    resources: Resources | None = None
    scheduling: StageScheduling | None = None
    retry: Retry | None = None


_ONE_GPU = ("prepare", "weights", "anchors", "evaluate", "prune", "pseudo_label", "merge", "export", "inference")


def _gpus(override: StageOverride | None) -> int:
    resources = override.resources if override is not None else None
    return (resources.gpus if resources is not None else None) or 0


class StageOverrides(Model):
    """Overrides by stage; a field that is set replaces the general one."""

    prepare: StageOverride | None = None
    weights: StageOverride | None = None
    anchors: StageOverride | None = None
    train: StageOverride | None = None
    evaluate: StageOverride | None = None
    """All evaluations: trained, pruned, retrained, of a round, exported."""
    prune: StageOverride | None = None
    retrain: StageOverride | None = None
    pseudo_label: StageOverride | None = None
    merge: StageOverride | None = None
    fine_tune: StageOverride | None = None
    export: StageOverride | None = None
    inference: StageOverride | None = None

    rules: ClassVar = (
        Rule(
            cel="[" + ", ".join(f"self.?{to_camel(name)}.?resources.?gpus.orValue(0)" for name in _ONE_GPU) + "].all(n, n <= 1)",
            message="more than one GPU is for train, retrain and fineTune only: the toolkit refuses it anywhere else",
            check=lambda s: all(_gpus(getattr(s, name)) <= 1 for name in _ONE_GPU),
        ),
    )


class SecurityContext(Model):
    """The user a stage runs as. Absent: 65532 with the open toolkit, the image's own (root) with TAO."""

    run_as_user: Annotated[int, Field(ge=0)] | None = None
    run_as_group: Annotated[int, Field(ge=0)] | None = None
    fs_group: Annotated[int, Field(ge=0)] | None = None
