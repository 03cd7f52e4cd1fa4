import sys

from yolo_operator.dataset.own_stage import OwnStage
from yolo_operator.runner import runner
from yolo_operator.weights.fetch import weights


def main(argv: list[str]) -> int:
    """Run the stage that the instructions file describes; returns the container's exit code."""
    if len(argv) != 2:
        sys.stderr.write("usage: python3 -m yolo_operator.weights INSTRUCTIONS.json\n")
        return 2
    return runner.execute(argv[1], weights, OwnStage)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
