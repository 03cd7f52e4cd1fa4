"""Numbers of 32 bits: what the API server bears, our models bear, and what they make of it is within the bounds still."""

from __future__ import annotations

import functools
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from yolo_operator.api import experiment_spec
from yolo_operator.api.single import MOST, single

FIELDS = ("Unit32", "PositiveUnit32", "OpenUnit32", "Extend32", "Positive32", "NonNegative32")
NEAR = (0.0, 5e-324, 1e-300, 1e-40, 0.25, 0.3 + 1e-12, 0.5, 1 - 2**-53, 1.0, 1 + 2**-52, MOST, 3.4028236e38, 1e300)


@functools.cache
def adapter(name: str) -> TypeAdapter[float]:
    return TypeAdapter(getattr(experiment_spec, name))


def borne(schema: dict[str, Any], value: float) -> bool:
    """Whether the API server takes it, by the bounds of the schema alone."""
    return (
        schema.get("minimum", value) <= value <= schema.get("maximum", value)
        and ("exclusiveMinimum" not in schema or value > schema["exclusiveMinimum"])
        and ("exclusiveMaximum" not in schema or value < schema["exclusiveMaximum"])
    )


@pytest.mark.parametrize("name", FIELDS)
@given(value=st.floats(-1, 2) | st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(NEAR))
def test_the_models_bear_what_the_schema_bears_and_nothing_else(name: str, value: float) -> None:
    schema = adapter(name).json_schema()
    if not borne(schema, value):
        with pytest.raises(ValidationError):
            adapter(name).validate_python(value)
        return
    made = adapter(name).validate_python(value)
    assert borne(schema, made)
    assert struct.unpack("f", struct.pack("f", made))[0] == pytest.approx(made, rel=1e-7)
    assert adapter(name).validate_python(made) == made


@pytest.mark.parametrize(
    ("value", "made"),
    [
        (0.1, 0.1),
        (1 / 3, 0.33333334),
        (1e300, float("inf")),
        (1e-300, 1.2e-38),
        (0.99999999999, 0.99999994),
        (0.25000000001, 0.25000003),
        (0.49999999999, 0.49999997),
        (1.00000000001, 1.0000001),
        (1.0, 1.0),
        (0.0, 0.0),
    ],
)
def test_the_nearest_number_in_its_shortest_spelling(value: float, made: float) -> None:
    assert single(value) == made


def test_a_bound_that_is_not_in_the_way_of_a_number_of_its_own_is_kept() -> None:
    for bound in (0.25, 0.5, 1.0):
        assert single(bound) == bound
        assert single(bound * (1 - 1e-12)) < bound < single(bound * (1 + 1e-12))


def test_what_toolkits_break_on_they_never_get() -> None:
    """An epsilon of 0, a mosaic of half an image: what is written beside them is beside them in 32 bits, too."""
    augmentation = experiment_spec.AugmentationConfig(output_width=160, output_height=160, mosaic_min_ratio=0.49999999999)
    assert struct.unpack("f", struct.pack("f", augmentation.mosaic_min_ratio))[0] < 0.5
    adam = experiment_spec.Adam(epsilon=1e-50)
    assert struct.unpack("f", struct.pack("f", adam.epsilon))[0] > 0
