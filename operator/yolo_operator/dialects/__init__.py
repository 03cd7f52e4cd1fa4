"""What the toolkits are: facts, command lines and image tags, one file a toolkit.

This room lies below `api`: the CRD's enum of profiles and the rules about them are made from what is found here, so a new file in
this directory with a `DIALECT` of its own is all that a new toolkit needs. It speaks of the experiment in types alone; nothing of
ours is imported at run time.
"""

from __future__ import annotations

import importlib
import pkgutil
import re

from yolo_operator.dialects.base import Dialect

__all__ = ["DIALECTS", "Dialect", "dialect", "guess", "names"]


def _found() -> dict[str, Dialect]:
    modules = (importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__))
    dialects = [module.DIALECT for module in modules if hasattr(module, "DIALECT")]
    return {known.profile: known for known in sorted(dialects, key=lambda known: (known.order, known.profile))}


DIALECTS = _found()
"""By profile."""


def names() -> tuple[str, ...]:
    """The profiles there are."""
    return tuple(DIALECTS)


def dialect(profile: str) -> Dialect:
    """The dialect of a profile.

    Raises:
        KeyError: when there is none of that name.
    """
    return DIALECTS[profile]


def guess(image: str | None) -> str | None:
    """The profile that an image's name and tag tell; None when they tell none."""
    return next((name for name, known in DIALECTS.items() for tag in known.images if image and re.search(tag, image)), None)
