"""A stage of ours: it takes possession of the workspace directory, and can take over what another experiment has finished."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from yolo_operator.runner.runner import Stage, StageError, parse_json, read_text, write_atomically


class OwnStage(Stage):
    """One attempt at a stage that runs in the operator's image."""

    def start(self) -> None:
        """As any stage; and nothing is read or written in a directory that belongs to another experiment."""
        super().start()
        self._claim()

    def finished_before(self, workspace: str) -> dict[str, Any] | None:
        """Also one of another experiment, in the workspace that the instructions name: its artifacts are copied first.

        Raises StageError `NothingToAdopt` when the stage may do nothing else.
        """
        own = super().finished_before(workspace)
        adopt = self.instructions.get("adopt")
        if own is not None or adopt is None:
            return own
        if (report := super().finished_before(adopt["workspace"])) is not None:
            for item in report.get("artifacts", []):
                _copy(Path(adopt["workspace"], item["path"]), Path(self.workspace, item["path"]))
            return report
        if adopt.get("only"):
            raise StageError("NothingToAdopt", f"{adopt['workspace']} has no success of this stage with all its artifacts")
        return None

    def _claim(self) -> None:
        """One workspace directory belongs to one experiment: two of them would overwrite each other's artifacts.

        The same namespace and name with another uid is a re-created experiment: it takes over.
        """
        named = self.instructions
        mine = {"namespace": named["namespace"], "name": named["experiment"], "uid": named.get("uid", "")}
        path = Path(self.workspace, ".yolo-operator", "owner.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        claim = path.with_name(f"{os.uname().nodename}-{os.getpid()}.claim")
        write_atomically(str(claim), json.dumps(mine).encode())
        try:
            os.link(claim, path)  # of two pods at the same time one succeeds
        except OSError:  # it is there, or the file system has no hard links
            owner = parse_json(read_text(str(path))) or mine
            if (owner.get("namespace"), owner.get("name")) != (mine["namespace"], mine["name"]):
                raise StageError("WorkspaceInUse", f"{owner.get('namespace')}/{owner.get('name')}") from None
            claim.replace(path)
        finally:
            claim.unlink(missing_ok=True)


def _copy(source: Path, target: Path) -> None:
    """A file or directory appears whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    building = target.with_name(f"{target.name}.{os.uname().nodename}-{os.getpid()}.tmp")
    for left in (building, target):
        if left.is_dir():
            shutil.rmtree(left)
    if source.is_dir():
        shutil.copytree(source, building)
    else:
        shutil.copyfile(source, building)
    building.replace(target)
