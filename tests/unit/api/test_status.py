"""A status that a newer version wrote is read as far as it goes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yolo_operator.api.status import Phase, Status, read_status

STORED: dict[str, Any] = {
    "phase": "Running",
    "stage": "train",
    "claimName": "data",
    "stages": [
        {"name": "prepare", "state": "Succeeded", "attempt": 1, "digest": "a" * 64},
        {"name": "train", "state": "Running", "attempt": 1, "digest": "b" * 64},
    ],
}


def test_what_this_version_wrote_is_read_whole() -> None:
    assert read_status(STORED) == Status.model_validate(STORED)
    assert read_status({}) == Status()


def test_a_record_in_an_unknown_state_goes_alone() -> None:
    newer = {**STORED, "stages": [STORED["stages"][0], {**STORED["stages"][1], "state": "Hibernating", "bed": "soft"}]}
    status = read_status(newer)
    assert [record.name for record in status.stages or ()] == ["prepare"]
    assert (status.phase, status.claim_name) == (Phase.RUNNING, "data")
    assert newer["stages"][1]["state"] == "Hibernating", "what was given is not changed"


@pytest.mark.parametrize(
    ("change", "gone"),
    [
        ({"phase": "Dreaming"}, "phase"),
        ({"stage": 7}, "stage"),
        ({"chosen": {"variant": []}}, "chosen"),
        ({"stages": {}}, "stages"),
    ],
)
def test_a_field_that_cannot_be_read_goes_as_a_whole(change: dict[str, Any], gone: str) -> None:
    status = read_status({**STORED, **change})
    assert getattr(status, gone) is None
    assert status.claim_name == "data"


def test_a_field_that_is_not_known_is_passed_over() -> None:
    assert read_status({**STORED, "mood": {"good": True}}) == read_status(STORED)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_FIELDS = [field.alias or name for name, field in Status.model_fields.items()] + list(Status.model_fields)


@given(st.dictionaries(st.sampled_from(_FIELDS), _JSON, max_size=6))
def test_nothing_that_is_stored_is_an_error(stored: dict[str, Any]) -> None:
    assert isinstance(read_status(stored), Status)
