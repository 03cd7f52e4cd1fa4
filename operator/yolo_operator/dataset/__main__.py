import sys
from typing import Any

from yolo_operator.dataset.merge import merge
from yolo_operator.dataset.own_stage import OwnStage
from yolo_operator.dataset.prepare import prepare
from yolo_operator.runner import runner

_TASKS = {"prepare": prepare, "merge": merge}


def _work(stage: runner.Stage) -> dict[str, Any]:
    task = stage.instructions["task"]
    if task not in _TASKS:
        # A toolkit's stage is here only to take over another experiment's result, which the runner would have done by now.
        raise runner.StageError("NothingToAdopt", f"task {task} runs in the toolkit's image")
    return _TASKS[task](stage)


def main(argv: list[str]) -> int:
    """Run the stage that the instructions file describes; returns the container's exit code."""
    if len(argv) != 2:
        sys.stderr.write("usage: python3 -m yolo_operator.dataset INSTRUCTIONS.json\n")
        return 2
    return runner.execute(argv[1], _work, OwnStage)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
