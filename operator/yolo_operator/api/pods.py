"""How a stage's pod is run: resources, placement, retries, user; for all stages and for each."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from yolo_operator.api.base import Model, ObjectName, Quantity


class Resources(Model):
    """What a stage's container asks for."""

    gpus: Annotated[int, Field(ge=0, le=16)] | None = None
    """Absent: 1 with a TAO profile, 0 with the open toolkit. Above 1 for train and retrain only."""
    gpu_resource_name: Annotated[str, Field(pattern=r"^[a-z0-9./-]+$", max_length=253)] | None = None
    """Absent: nvidia.com/gpu. A MIG profile has a name of its own."""
    requests: Annotated[dict[str, Quantity], Field(max_length=8)] | None = None
    limits: Annotated[dict[str, Quantity], Field(max_length=8)] | None = None
    shared_memory: Quantity | None = None
    """Size of /dev/shm. Absent: 16Gi with a TAO profile, 512Mi with the open toolkit."""


class Toleration(Model):
    """As in a pod."""

    key: Annotated[str, Field(max_length=316)] | None = None
    operator: Annotated[str, Field(pattern="^(Exists|Equal)$")] | None = None
    value: Annotated[str, Field(max_length=63)] | None = None
    effect: Annotated[str, Field(pattern="^(NoSchedule|PreferNoSchedule|NoExecute)$")] | None = None
    toleration_seconds: Annotated[int, Field(ge=0)] | None = None


class Scheduling(Model):
    """Where a stage's pod may run."""

    node_selector: Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=16)] | None = None
    tolerations: Annotated[list[Toleration], Field(max_length=16)] | None = None
    priority_class_name: ObjectName | None = None
    runtime_class_name: ObjectName | None = None
    scheduler_name: ObjectName | None = None


class Retry(Model):
    """How often a stage that failed for no fault of its own input is tried again. What the infrastructure did never counts."""

    limit: Annotated[int, Field(ge=0, le=20)] = 3
    backoff_seconds: Annotated[int, Field(ge=1, le=3600)] = 10
    """Wait before the first retry; doubled for each further one, up to an hour."""


class StageOverride(Model):
    """What differs for one stage."""

    resources: Resources | None = None
    scheduling: Scheduling | None = None
    retry: Retry | None = None


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


class SecurityContext(Model):
    """The user a stage runs as. Absent: 65532 with the open toolkit, the image's own (root) with TAO."""

    run_as_user: Annotated[int, Field(ge=0)] | None = None
    run_as_group: Annotated[int, Field(ge=0)] | None = None
    fs_group: Annotated[int, Field(ge=0)] | None = None
