"""The benchmarks' modules are programs beside the package, not part of it; they know the local cluster's."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "hack")]
