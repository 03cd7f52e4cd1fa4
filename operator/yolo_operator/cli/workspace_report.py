"""`python3 -m yolo_operator.cli.workspace_report INSTRUCTIONS.json`: the report, into the workspace when an experiment ends.

Runs in the operator's image with the workspace mounted, and without access to the cluster: the experiment as it ended comes with
the instructions (docs/stage-contract.md). Whatever goes wrong here ends this Job alone.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import zlib
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from yolo_operator.cli import gather
from yolo_operator.cli.report import report


def write(instructions: dict[str, Any]) -> str:
    """Write the page; a sentence about it.

    Raises:
        OSError: of the file system; PermissionError where the directory is another experiment's.
    """
    root = Path(instructions["workspace"])
    owner = _owner(root)
    mine = {name: instructions[name] for name in ("namespace", "experiment", "uid")}
    if owner != mine:
        raise PermissionError(f"the workspace directory is not this experiment's: {owner or 'nobody has claimed it'}")
    experiment = json.loads(zlib.decompress(base64.b64decode(instructions["object"])))
    files = gather.MountedFiles(root)
    curves = gather.histories(files, experiment, errors=(OSError,), told=print)
    try:
        pictures = gather.pictures(files, experiment)
    except OSError as error:
        pictures = []
        print(f"no pictures: {error}")
    page = report(experiment, datetime.now(UTC), histories=curves, pictures=pictures, version=version("yolo-operator"))
    target = root / instructions["report"]
    target.parent.mkdir(parents=True, exist_ok=True)
    building = target.with_name(f".{target.name}.{os.uname().nodename}.tmp")
    building.write_text(page, encoding="utf-8")
    building.replace(target)
    return f"{instructions['report']}: {len(curves)} curves, {len(pictures)} pictures, {len(page.encode()) / 1024:.0f} KiB"


def _owner(root: Path) -> dict[str, Any]:
    """Whose directory it is, as the stage `prepare` left it there."""
    try:
        said = json.loads((root / ".yolo-operator" / "owner.json").read_text(encoding="utf-8"))
        return {"namespace": said["namespace"], "experiment": said["name"], "uid": said["uid"]}
    except (OSError, ValueError, LookupError, TypeError):
        return {}


def main(argv: list[str]) -> int:
    """Exit code 0: written."""
    try:
        print(write(json.loads(Path(argv[1]).read_text(encoding="utf-8"))))
    except OSError as error:
        sys.stderr.write(f"the report was not written: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
