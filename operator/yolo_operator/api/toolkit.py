"""`spec.toolkit`: the image that runs the stages, and its dialect."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from yolo_operator.api.base import Model, ObjectName, Rule


class Profile(StrEnum):
    """A toolkit's command-line dialect and outputs."""

    TAO_3_21_11 = "tao-3.21.11"
    TAO_5_0 = "tao-5.0"
    OPEN = "open"


class SecretKeyRef(Model):
    """A key of a Secret in the experiment's namespace. The operator never reads it; the stage's pod does."""

    name: ObjectName
    key: Annotated[str, Field(pattern=r"^[-._a-zA-Z0-9]+$", min_length=1, max_length=253)]


class LocalRef(Model):
    """A reference to an object of the same namespace."""

    name: ObjectName


class PullPolicy(StrEnum):
    """When the kubelet pulls the image."""

    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


class Toolkit(Model):
    """The image that runs the stages and the dialect it speaks."""

    profile: Profile
    image: Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[A-Za-z0-9._/:@-]+$")] | None = None
    """Absent: the profile's own image."""
    image_pull_policy: PullPolicy = PullPolicy.IF_NOT_PRESENT
    image_pull_secrets: Annotated[list[LocalRef], Field(max_length=8)] | None = None
    encryption_key_secret_ref: SecretKeyRef | None = None
    """The passphrase of TAO's encrypted models (`-k`). Mandatory with tao-3.21.11; one key for all stages."""

    rules: ClassVar = (
        Rule(
            cel="self.profile != 'tao-3.21.11' || has(self.encryptionKeySecretRef)",
            message="tao-3.21.11 encrypts its models: encryptionKeySecretRef must name the Secret that holds the key",
            check=lambda t: t.profile is not Profile.TAO_3_21_11 or t.encryption_key_secret_ref is not None,
            field=".encryptionKeySecretRef",
        ),
    )
