"""Command lines of each toolkit."""

from __future__ import annotations

from yolo_operator.api.toolkit import Profile
from yolo_operator.toolkit.dialects.base import Dialect
from yolo_operator.toolkit.dialects.open import OPEN
from yolo_operator.toolkit.dialects.tao_3_21_11 import TAO_3_21_11
from yolo_operator.toolkit.dialects.tao_5_0 import TAO_5_0

__all__ = ["Dialect", "dialect"]

_DIALECTS = {known.profile: known for known in (TAO_3_21_11, TAO_5_0, OPEN)}


def dialect(profile: Profile) -> Dialect:
    """The dialect of a profile."""
    return _DIALECTS[profile]
