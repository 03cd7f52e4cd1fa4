"""What pages tell people to type is there: commands and options, targets of make, values of the chart, fields of the resource."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from yolo_operator.api.spec import WrittenSpec
from yolo_operator.cli.main import main
from yolo_operator.cli.validate import _fields, problems

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in PAGES}
SPEC = {field.alias or name for name, field in WrittenSpec.model_fields.items()}


def found(pattern: str) -> Iterator[tuple[str, re.Match[str]]]:
    for name, text in TEXTS.items():
        joined = text.replace("\\\n", " ")
        yield from ((name, match) for match in re.finditer(pattern, joined))


def test_every_command_of_the_plugin_is_there_with_its_options() -> None:
    assert isinstance(main, click.Group)
    seen = set()
    for page, match in found(r"kubectl yolo ([a-z]+)([^\n`|#]*)"):
        command = main.commands.get(match[1])
        assert command is not None, f"{page}: {match[0]}"
        known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        for option in re.findall(r"(?<=\s)\[?(--?[a-z][a-z-]*)", match[2]):
            assert option in known, f"{page}: {match[0]}"
        seen.add(match[1])
    assert {"status", "validate", "render", "import", "retry", "rerun", "fetch", "report"} <= seen


def test_every_target_of_make_is_there() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    asked = {(page, match[1]) for page, match in found(r"(?:^|`|&& )make ([a-z][a-z0-9-]*)(?m:\b)")}
    asked |= {(page, match[1]) for page, match in found(r"(?m)^make ([a-z][a-z0-9-]*)")}
    assert len(asked) > 5
    assert {(page, target) for page, target in asked if target not in targets} == set()


def test_every_value_of_the_chart_is_there() -> None:
    values = yaml.safe_load((ROOT / "helm/yolo-operator/values.yaml").read_text(encoding="utf-8"))
    asked = {(page, match[1]) for page, match in found(r"--set ([A-Za-z.]+)=")}
    assert asked
    for page, path in asked:
        node: Any = values
        for part in path.split("."):
            assert part in node, f"{page}: --set {path}"
            node = node[part]


def blocks() -> Iterator[tuple[str, dict[str, Any]]]:
    """Parts of a spec that pages show."""
    for page, match in found(r"(?ms)^( *)```yaml\n(.*?)^\1```$"):
        try:
            documents = list(yaml.safe_load_all(match[2]))
        except yaml.YAMLError:
            continue  # with something left out in the middle
        for document in documents:
            if isinstance(document, dict) and document.get("kind") == "YoloExperiment":
                document = document.get("spec")
            if isinstance(document, dict) and set(document) & SPEC:
                yield page, document


def unknown(node: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Paths of fields that the resource does not have."""
    fields = _fields(path)
    if isinstance(node, dict):
        for key, value in node.items():
            if fields and key not in fields and key != "…":
                yield ".".join((*path, str(key)))
            else:
                yield from unknown(value, (*path, str(key)))
    elif isinstance(node, list):
        for value in node:
            yield from unknown(value, (*path, "0"))


def test_every_field_that_a_page_shows_is_there() -> None:
    shown = list(blocks())
    assert len(shown) > 8
    assert [f"{page}: {path}" for page, spec in shown for path in unknown(spec)] == []
    assert list(unknown({"prune": {"treshold": 1}, "stages": {"train": {"resources": {"gpu": 1}}}})) == [
        "prune.treshold",
        "stages.train.resources.gpu",
    ]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("batchSizePerGpu: 8", "batchSize: 8", "trainingConfig.batchSize: unknown field"),
        ("[0.1, 0.3, 0.5, 0.7]", "[0.9, 1.2]", "spec.prune.thresholds[1]"),
        (
            "  maxParallel: 2",
            "  gates: {train: {minAp: {licence_plate: 0.7}}}",
            "minAp names a class that dataset.classes does not map to",
        ),
    ],
)
def test_what_the_quick_start_breaks_is_refused_in_the_words_that_it_shows(old: str, new: str, said: str) -> None:
    text = (ROOT / "examples/license-plate-cpu.yaml").read_text(encoding="utf-8")
    assert old in text
    assert said in TEXTS["docs/quick-start.md"]
    assert any(said in problem for problem in problems(yaml.safe_load(text.replace(old, new))))
