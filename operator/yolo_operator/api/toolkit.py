"""`spec.toolkit`: the image that runs the stages, and its dialect."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from yolo_operator import dialects
from yolo_operator.api.base import Model, ObjectName, Rule
from yolo_operator.dialects.base import Dialect, KeyUse


def _known(profile: str) -> str:
    if profile not in dialects.names():
        raise ValueError(f"there is no profile {profile!r}: choose one of {', '.join(dialects.names())}")
    return profile


Profile = Annotated[str, AfterValidator(_known), Field(json_schema_extra={"enum": list(dialects.names())})]
"""The name of a toolkit's dialect: of `yolo_operator.dialects`, which knows them all."""


def profile_cel(toolkit: str = "self.toolkit") -> str:
    """The profile in CEL: the one that is named, else the one that the image tells, else ''. `dialects.guess` says the same."""
    told = "".join(
        f"{toolkit}.image.matches('{tag}') ? '{name}' : " for name, known in dialects.DIALECTS.items() for tag in known.images
    )
    return f"(has({toolkit}.profile) ? {toolkit}.profile : !has({toolkit}.image) ? '' : {told}'')"


def profiles_that(holds: Callable[[Dialect], bool]) -> list[str]:
    """The profiles of which something holds."""
    return [name for name, known in dialects.DIALECTS.items() if holds(known)]


def profile_in_cel(profiles: Sequence[str], toolkit: str = "self.toolkit") -> str:
    """Whether the profile is one of some, in CEL."""
    return f"{profile_cel(toolkit)} in [{', '.join(repr(name) for name in profiles)}]"


def allowed_cel(value: str, of: Callable[[Dialect], Sequence[str]]) -> str:
    """Whether the profile allows a value, in CEL; any where the profile is not known, which is an error of its own."""
    table = ", ".join(f"{name!r}: {list(of(known))!r}" for name, known in dialects.DIALECTS.items())
    anything = sorted({item for known in dialects.DIALECTS.values() for item in of(known)})
    return f"{value} in {{'': {anything!r}, {table}}}[{profile_cel()}]"


def told_by_profile(of: Callable[[Dialect], Sequence[str]]) -> str:
    """For messages: what each profile has, for example `open: fp32, int8`."""
    return "; ".join(f"{name}: {', '.join(of(known))}" for name, known in dialects.DIALECTS.items())


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


def _guessed(fields: dict[str, Any]) -> str:
    """Empty where the image tells nothing: the rules refuse that."""
    return dialects.guess(fields.get("image")) or ""


_NAMES = ", ".join(dialects.names())
_ENCRYPTING = profiles_that(lambda known: known.key is KeyUse.REQUIRED)


class Toolkit(Model):
    """The image that runs the stages and the dialect it speaks: one of the two is enough where it tells the other."""

    image: Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[A-Za-z0-9._/:@-]+$")] | None = None
    """Absent: the profile's own image."""
    profile: Profile = Field(default_factory=_guessed)
    """The dialect. Absent: told by the image's name and tag, where it is one that is known (docs/toolkits.md)."""
    image_pull_policy: PullPolicy = PullPolicy.IF_NOT_PRESENT
    image_pull_secrets: Annotated[list[LocalRef], Field(max_length=8)] | None = None
    encryption_key_secret_ref: SecretKeyRef | None = None
    """The passphrase of TAO's encrypted models (`-k`). Mandatory with tao-3.21.11; one key for all stages."""

    rules: ClassVar = (
        Rule(
            cel="has(self.profile) || has(self.image)",
            message=f"set profile ({_NAMES}), or an image whose tag tells it",
            check=lambda t: bool(t.profile or t.image),
        ),
        Rule(
            cel=f"!has(self.image) || {profile_cel('self')} != ''",
            message=f"the image is not one whose tag tells the dialect that it speaks: set profile to one of {_NAMES}",
            check=lambda t: t.image is None or bool(t.profile),
            field=".profile",
        ),
        Rule(
            cel=f"!({profile_in_cel(_ENCRYPTING, 'self')}) || has(self.encryptionKeySecretRef)",
            message=f"{' and '.join(_ENCRYPTING)} encrypts its models: encryptionKeySecretRef must name the Secret with the key",
            check=lambda t: t.profile not in _ENCRYPTING or t.encryption_key_secret_ref is not None,
            field=".encryptionKeySecretRef",
        ),
    )
