"""docs/troubleshooting.md tells of every reason that the code can give, and of no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from yolo_operator.toolkit import failures
from yolo_operator.weights.errors import Reason

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
PACKAGE = ROOT / "operator/yolo_operator"
ROOMS = ("pipeline", "dataset", "weights", "kube/kueue.py", "kube/views.py", "controller/reconcile.py", "controller/sources.py")

OTHER = {
    *("Active", "Admitted", "Complete", "DisruptionTarget", "False", "Failed", "Finished", "Missing", "NotFound", "PodScheduled"),
    *(
        "Present",
        "QuotaReserved",
        "True",
        "Unknown",
        "Valid",
        "Warning",
        "Normal",
        "Running",
    ),  # states, conditions, kinds of Events
    *("ContainerCreating", "PodInitializing"),  # a container that is on its way
    *("Images", "Labels", "DropImage", "Node", "Part"),  # words of the spec and of sentences
    *("Accept", "Authorization", "Conflict", "Range"),  # HTTP
}
"""Words in CamelCase in those files that are no reasons."""
KUBERNETES = {"EvictionByEvictionAPI", "PreemptionByScheduler", "DeletionByTaintManager", "TerminationByKubelet"}


def written() -> Iterator[str]:
    """Every text in CamelCase, and every one that is called a reason."""
    for room in ROOMS:
        place = PACKAGE / room
        for path in [place] if place.is_file() else sorted(place.glob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if (
                    isinstance(node, ast.Constant)
                    and isinstance(node.value, str)
                    and re.fullmatch("[A-Z][a-z]+[A-Za-z]*", node.value)
                ):
                    yield node.value


def test_no_reason_is_missing() -> None:
    known = failures.REASONS.keys() | {reason.value for reason in Reason} | (set(written()) - OTHER)
    assert len(known) > 60
    assert {reason for reason in known if f"`{reason}`" not in PAGE} == set()


def test_no_reason_is_told_that_the_code_does_not_have() -> None:
    known = failures.REASONS.keys() | {reason.value for reason in Reason} | set(written()) | KUBERNETES
    tables = PAGE[PAGE.index("## By reason") :]
    told = {word for row in re.findall(r"^\| (.+?) \|", tables, re.MULTILINE) for word in re.findall("`([A-Z][A-Za-z]+)`", row)}
    assert told - known == set()


def test_every_class_and_its_effect_are_told() -> None:
    assert all(f"| {who.value} |" in PAGE for who in failures.FailureClass)
