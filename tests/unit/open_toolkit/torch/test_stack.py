"""Says why nothing else of this folder runs where the toolkit's stack is missing."""

from __future__ import annotations

import pytest
from stack import STACK, missing


def test_the_stack_is_there() -> None:
    if missing():
        pytest.skip(f"needs {', '.join(STACK)}: missing {', '.join(missing())}; `make toolkit-test` runs these in the image")
    for name in STACK:
        __import__(name)
