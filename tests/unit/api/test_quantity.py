"""Quantities as numbers."""

from __future__ import annotations

from decimal import Decimal

import pytest
from yolo_operator.api.quantity import amount


@pytest.mark.parametrize(
    ("text", "number"),
    [("2", 2), ("500m", Decimal("0.5")), ("1.5Gi", 1610612736), ("20G", 20_000_000_000), ("3Ki", 3072), ("1k", 1000), ("0", 0)],
)
def test_amount(text: str, number: Decimal) -> None:
    assert amount(text) == number


@pytest.mark.parametrize("text", ["", "Gi", "1KiB", "-1", "1e3", "1iK", "a"])
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="is no quantity"):
        amount(text)
