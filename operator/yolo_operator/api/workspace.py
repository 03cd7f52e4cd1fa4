"""`spec.workspace`: where data and artifacts live."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from yolo_operator.api.base import Model, ObjectName, Quantity, Rule, SafePath, exactly_one


class Retention(StrEnum):
    """What happens to a claim made from the template when the experiment is deleted."""

    RETAIN = "Retain"
    DELETE = "Delete"


class AccessMode(StrEnum):
    """How many nodes may mount the claim."""

    READ_WRITE_ONCE = "ReadWriteOnce"
    READ_WRITE_MANY = "ReadWriteMany"
    READ_WRITE_ONCE_POD = "ReadWriteOncePod"


class VolumeClaimTemplate(Model):
    """A claim that the operator makes, named after the experiment."""

    storage_class_name: ObjectName | None = None
    access_modes: Annotated[list[AccessMode], Field(min_length=1, max_length=3)] = [AccessMode.READ_WRITE_ONCE]
    storage: Quantity
    """Size, for example 20Gi."""


class Workspace(Model):
    """Where data and artifacts live: a directory on a claim, for this experiment alone."""

    claim_name: ObjectName | None = None
    """An existing PersistentVolumeClaim."""
    volume_claim_template: VolumeClaimTemplate | None = None
    """Or one that the operator makes."""
    sub_path: Annotated[SafePath, Field(max_length=256)] | None = None
    """The directory on the claim; absent: its root."""
    mount_path: Annotated[str, Field(pattern=r"^/[A-Za-z0-9._/-]+$", max_length=256)] = "/workspace"
    """Where the stages see it. Absolute paths in the experiment spec refer to it."""
    retention: Retention = Retention.RETAIN
    """Of a claim from the template. An existing claim is never deleted."""

    rules: ClassVar = (
        exactly_one("claim_name", "volume_claim_template"),
        Rule(
            cel="!has(self.subPath) || !(self.subPath.startsWith('/') || '..' in self.subPath.split('/'))",
            message="subPath must be relative and without '..'",
            check=lambda w: w.sub_path is None or not (w.sub_path.startswith("/") or ".." in w.sub_path.split("/")),
            field=".subPath",
        ),
        Rule(
            cel="!has(self.volumeClaimTemplate) || !has(self.subPath)",
            message="subPath goes with claimName: a claim made for one experiment is used from its root",
            check=lambda w: w.volume_claim_template is None or w.sub_path is None,
            field=".subPath",
        ),
    )
