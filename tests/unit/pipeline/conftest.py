"""What the tests of the pipeline share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from yolo_operator.pipeline import work


@pytest.fixture(scope="session", autouse=True)
def _remembered_texts() -> Iterator[None]:
    """Simulations render the same experiment spec thousands of times: once is enough."""
    render, known = work.experiment_text, {}

    def remembered(spec: Any, data: Any, **inputs: Any) -> str:
        # The spec is kept, so that its id stays its own.
        key = (id(spec), data, repr(inputs))
        if key not in known:
            known[key] = (spec, render(spec, data, **inputs))
        return str(known[key][1])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work, "experiment_text", remembered)
        yield
