"""The tool in hack/ is no installed package: it runs before there is anything to install into."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "hack"))
