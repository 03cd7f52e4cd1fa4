"""`spec.workspace`: where data and artifacts live."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from yolo_operator.api.base import Model, ObjectName, Quantity, Rule, SafePath, Unquoted, exactly_one

RESERVED = r"^/+((dataset|dev|etc/yolo-operator|opt/yolo-operator|proc|sys|tmp)(/.*)?)?$"
"""Where a stage's pod mounts something else."""


class Retention(StrEnum):
    """What is kept."""

    RETAIN = "Retain"
    """Everything, also when the experiment is deleted."""
    DELETE_ON_SUCCESS = "DeleteOnSuccess"
    """Everything but a successful training's checkpoints that nothing reads: the best and the last stay."""
    DELETE = "Delete"
    """A claim made from the template goes with the experiment."""


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


class From(Model):
    """Another experiment of the same namespace whose finished stages are taken over where the digests agree."""

    experiment: ObjectName


class Workspace(Model):
    """Where data and artifacts live: a directory on a claim, for this experiment alone."""

    claim_name: ObjectName | None = None
    """An existing PersistentVolumeClaim."""
    volume_claim_template: VolumeClaimTemplate | None = None
    """Or one that the operator makes."""
    sub_path: Annotated[SafePath, Field(max_length=256)] | None = None
    """The directory on the claim; absent: its root."""
    mount_path: Annotated[str, Field(pattern="^/.", max_length=256), Unquoted("A-Za-z0-9._/-")] = "/workspace"
    """Where the stages see it. Absolute paths in the experiment spec refer to it."""
    retention: Retention = Retention.RETAIN
    """Retain: all is kept, also when the experiment is deleted. DeleteOnSuccess: after a successful training its checkpoints go,
    but for those that are artifacts. Delete: the claim made from the template goes with the experiment."""
    min_free_space: Quantity | None = None
    """Less free on the workspace's file system, and no training starts: the stage fails with NoSpace. Absent: not looked at."""

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
        Rule(
            cel="self.retention != 'Delete' || has(self.volumeClaimTemplate)",
            message="a claim that you made is never deleted: retention Delete goes with volumeClaimTemplate",
            check=lambda w: w.retention is not Retention.DELETE or w.volume_claim_template is not None,
            field=".retention",
        ),
        Rule(
            cel=f"!self.mountPath.matches('{RESERVED}')",
            message="mountPath: /dataset, /dev, /etc/yolo-operator, /opt/yolo-operator, /proc, /sys and /tmp are the pod's own",
            check=lambda w: re.match(RESERVED, w.mount_path) is None,
            field=".mountPath",
        ),
    )
