#!/usr/bin/env python3
"""Put the generator of the licence-plate data into license-plate-dataset.yaml, whose ConfigMap carries it to the cluster.

    python3 examples/build.py [--check]

The script is the end of that file: what follows its key is replaced. `--check` writes nothing and fails when that is needed.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

HERE = Path(__file__).parent
MANIFEST = HERE / "license-plate-dataset.yaml"
SCRIPT = HERE / "license-plate-dataset" / "generate.py"
KEY = "\n  generate.py: |\n"


def build(manifest: str, script: str) -> str:
    """The manifest with the script at its end."""
    head, found, _ = manifest.partition(KEY)
    if not found:
        raise ValueError(f"{MANIFEST.name} has no key generate.py")
    return head + KEY + textwrap.indent(script, "    ")


def main(arguments: list[str]) -> int:
    """Build, or check that nothing would change."""
    manifest = MANIFEST.read_text(encoding="utf-8")
    built = build(manifest, SCRIPT.read_text(encoding="utf-8"))
    if "--check" in arguments:
        if built != manifest:
            print(f"{MANIFEST} is stale: python3 examples/build.py", file=sys.stderr)
        return int(built != manifest)
    MANIFEST.write_text(built, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
