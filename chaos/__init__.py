"""Fault injection: the operator's real process between a real API server and everything that can go wrong.

`python -m chaos` runs all of it. What benchmarks and tests have already is used, not copied.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
for _folder in ("operator", "benchmarks", "tests/support"):
    if str(ROOT / _folder) not in sys.path:
        sys.path.append(str(ROOT / _folder))
