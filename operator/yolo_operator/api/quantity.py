"""Kubernetes quantities as numbers."""

from __future__ import annotations

from decimal import Decimal

_UNITS = {"m": Decimal("0.001"), "": Decimal(1)}
_UNITS |= {unit: Decimal(1000) ** power for power, unit in enumerate(("k", "M", "G", "T", "P"), start=1)}
_UNITS |= {unit: Decimal(1024) ** power for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi"), start=1)}


def amount(quantity: str) -> Decimal:
    """The number that a `Quantity` stands for: bytes, CPUs, or whatever it counts.

    Raises:
        ValueError: when it is none (the API server's schema lets none of these in).
    """
    digits = quantity.rstrip("mkKMGTPi")
    unit = quantity[len(digits) :]
    if unit not in _UNITS or not digits.replace(".", "", 1).isdecimal():
        raise ValueError(f"{quantity!r} is no quantity, such as 500m, 2, 20Gi")
    return Decimal(digits) * _UNITS[unit]
