"""docs/toolkits.md is what the code says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from yolo_operator.dialects import DIALECTS
from yolo_operator.toolkit import reference

PAGE = Path(__file__).parents[3] / "docs" / "toolkits.md"


def test_the_page_is_fresh() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference.render(), "make generate"


@pytest.mark.parametrize(("title", "command"), [(title, command) for title, _, command in reference._COMMANDS])
def test_every_command_stands_there_word_for_word(title: str, command: reference._Command) -> None:
    section = reference.render().split(f"### {title}\n")[1].split("\n### ")[0]
    shown = {
        profile: block
        for profiles, block in re.findall(r"^(`[^\n]*`):\n\n```sh\n(.*?)\n```$", section, flags=re.MULTILINE | re.DOTALL)
        for profile in re.findall("`(.*?)`", profiles)
    }
    assert set(shown) == set(DIALECTS)
    for known in DIALECTS.values():
        invocation = command(known)
        if invocation is None:
            assert shown[known.profile] == "# not to be had"
        else:
            assert tuple(shlex.split(shown[known.profile].replace("\\\n", ""))) == invocation.argv


def test_lines_can_be_read() -> None:
    blocks = [part.split("\n```")[0] for part in reference.render().split("```sh\n")[1:]]
    assert max(len(line) for block in blocks for line in block.splitlines()) <= reference.WIDTH


def test_every_stage_of_every_toolkit_is_there() -> None:
    tasks = {
        (known.profile, found.task) for known in DIALECTS.values() for *_, make in reference._COMMANDS if (found := make(known))
    }
    assert tasks == {
        (profile, task) for profile in DIALECTS for task in ("kmeans", "train", "evaluate", "prune", "export", "inference")
    }


def test_the_page_on_compatibility_names_every_toolkit_and_the_charts_least_kubernetes() -> None:
    text = (PAGE.parent / "compatibility.md").read_text(encoding="utf-8")
    for known in DIALECTS.values():
        assert f"| `{known.profile}` |" in text
        assert "/" not in known.default_image.partition("/")[2] or f"`{known.default_image}`" in text
    chart = (PAGE.parents[1] / "helm/yolo-operator/Chart.yaml").read_text(encoding="utf-8")
    least = re.search(r'kubeVersion: ">=(\d+\.\d+)', chart)
    assert least
    assert f"**{least[1]} or newer**" in text
