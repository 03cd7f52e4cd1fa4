"""Limits of what runs at once, as whoever runs the operator writes them: of all together, and of each namespace."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from yolo_operator.api.base import DNS_LABEL, Model

Count = Annotated[int, Field(ge=0, le=1_000_000, strict=True)]
Namespace = Annotated[str, Field(pattern=DNS_LABEL, max_length=63)]
Resource = Annotated[str, Field(min_length=1, max_length=253)]
EXPERIMENTS = "experiments"
GPUS = "GPUs"
Bounds = dict[str, int]
"""Most of each thing: `EXPERIMENTS`, `GPUS` of whatever resource, and those of one resource by its `dimension`."""


def dimension(resource: str) -> str:
    """What GPUs of one resource are counted as, beside all GPUs together."""
    return f"{GPUS} {resource}"


class Ceiling(Model):
    """What may run at once. A field that is absent bounds nothing."""

    max_concurrent_experiments: Count | None = None
    """Experiments that have started and not ended. 0: nothing new starts."""
    max_gpus: Annotated[Count | None, Field(alias="maxGPUs")] = None
    """GPUs of all stages that have a Job, whatever the resource: whole ones, MIG slices, devices of a claim count one each."""
    max_gpus_by_resource: Annotated[dict[Resource, Count] | None, Field(alias="maxGPUsByResource", max_length=32)] = None
    """The same for single resources: `nvidia.com/mig-1g.10gb: 4`. A claim counts as its device class (`gpu.nvidia.com`)."""

    def bounds(self) -> Bounds:
        """What it bounds, by dimension."""
        found = {EXPERIMENTS: self.max_concurrent_experiments, GPUS: self.max_gpus}
        found |= {dimension(name): most for name, most in (self.max_gpus_by_resource or {}).items()}
        return {name: most for name, most in found.items() if most is not None}


class NamespaceCeiling(Ceiling):
    """The same of one namespace."""

    max_priority: Annotated[int | None, Field(ge=-1000, le=1000, strict=True)] = None
    """Highest `spec.priority` that counts against other namespaces. A higher one still orders the namespace's own."""

    def over(self, general: NamespaceCeiling) -> NamespaceCeiling:
        """This one's fields over those of a more general one."""
        return general.model_copy(
            update={name: value for name in self.model_fields_set if (value := getattr(self, name)) is not None}
        )


class Limits(Model):
    """All limits. Without any, every stage starts as soon as its inputs are there."""

    cluster: Ceiling = Ceiling()
    """All namespaces together."""
    default: NamespaceCeiling = NamespaceCeiling()
    """Each namespace."""
    namespaces: Annotated[
        dict[Annotated[str, Field(pattern=DNS_LABEL, max_length=63)], NamespaceCeiling], Field(max_length=5000)
    ] = {}
    """Single namespaces, field by field over the default."""
    kueue_decides: Annotated[bool, Field(strict=True)] = False
    """Whether stages of a Kueue queue are neither limited nor counted. Only where Kueue is there: a queue's name would be a way
    round the limits."""
    patience_seconds: Annotated[int, Field(ge=0, le=604_800, strict=True)] = 600
    """A stage for which there is not room enough is passed by smaller ones for so long; then room is kept for it."""

    def of(self, namespace: str) -> NamespaceCeiling:
        """What holds for a namespace."""
        own = self.namespaces.get(namespace)
        return self.default if own is None else own.over(self.default)

    @property
    def any(self) -> bool:
        """Whether anything is bounded at all."""
        return any(ceiling.bounds() for ceiling in (self.cluster, self.default, *self.namespaces.values()))
