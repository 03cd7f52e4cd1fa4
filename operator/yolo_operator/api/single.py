"""Numbers of 32 bits: TAO's messages hold no more, so what is written is rounded to what they hold.

The API server and we hold a value against its bounds as it is written; it is rounded afterwards. What was inside a bound
that the field must not reach stays inside.
"""

from __future__ import annotations

import math
import struct

from pydantic import AfterValidator

LEAST = 1.2e-38
"""Nearly the least number above 0 that has full precision."""
MOST = 1e18
"""The bound where there is no other. 32 bits hold more, but the API server holds a whole number against a bound of 64 bits:
3.4e38 would be less than nothing."""
_BOUNDS = (0.0, 0.25, 0.5, 1.0)
"""Those that some field must not reach; 32 bits hold each of them exactly."""


def single(value: float) -> float:
    """The nearest float of 32 bits in its shortest spelling; beside a bound, when the value is no more than beside it."""
    try:
        packed = struct.pack("f", value)
    except OverflowError:
        return math.inf
    (nearest,) = struct.unpack("f", packed)
    if nearest in _BOUNDS and nearest != value:
        packed = _beside(nearest, value)
        (nearest,) = struct.unpack("f", packed)
    spellings = (float(f"{nearest:.{digits}g}") for digits in range(6, 10))
    return next((number for number in spellings if struct.pack("f", number) == packed), nearest)


def _beside(bound: float, value: float) -> bytes:
    """The number next to a bound, on the side of the value."""
    if bound == 0:
        return struct.pack("f", math.copysign(LEAST, value))
    (bits,) = struct.unpack("I", struct.pack("f", bound))
    return struct.pack("I", bits + (1 if value > bound else -1))


SINGLE = AfterValidator(single)
