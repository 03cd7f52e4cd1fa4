"""What a build depends on is read from its Dockerfile."""

from __future__ import annotations

import pytest
from localcluster import dockerfile
from localcluster.ignorefile import Ignore, parse

TEXT = """\
# a comment
FROM debian:trixie-slim AS base
COPY --chown=1:1 pyproject.toml README.md ./
COPY --from=other /x /y
COPY ["with blank", "/z"]
RUN python3 -c 'import sys; \\
from sys import path; \\
# a comment between
print(path)' && true

from --platform=linux/amd64 scratch as other
FROM base
ADD https://example.org/file /file
COPY operator ./operator
"""


def test_copied_paths() -> None:
    assert dockerfile.copied(TEXT) == ["README.md", "operator", "pyproject.toml", "with blank"]


def test_a_path_known_only_at_build_time_means_everything() -> None:
    assert dockerfile.copied("FROM scratch\nCOPY $WHAT /x\n") == ["."]


def test_bases_leave_out_stages_and_scratch() -> None:
    assert dockerfile.bases(TEXT) == ["debian:trixie-slim"]


def test_arguments_reach_every_stage_and_nothing_else() -> None:
    lines = dockerfile.with_arguments(TEXT, ["A", "B"]).splitlines()
    after_from = [
        lines[index + 1 : index + 3] for index, line in enumerate(lines) if line.lower().startswith("from ") and "sys" not in line
    ]
    assert after_from == [["ARG A", "ARG B"]] * 3
    assert [line for line in lines if not line.startswith("ARG ")] == TEXT.splitlines()


@pytest.mark.parametrize(
    ("name", "whole"),
    [
        ("debian:trixie-slim", "docker.io/library/debian:trixie-slim"),
        ("debian", "docker.io/library/debian:latest"),
        ("yolo-operator/operator:dev", "docker.io/yolo-operator/operator:dev"),
        ("nvcr.io/nvidia/tao:1", "nvcr.io/nvidia/tao:1"),
        ("localhost/x:1", "localhost/x:1"),
        ("registry:5000/x", "registry:5000/x:latest"),
    ],
)
def test_whole_names(name: str, whole: str) -> None:
    assert dockerfile.qualified(name) == whole


@pytest.mark.parametrize(
    ("path", "ignored"),
    [
        ("README.md", True),
        ("operator/app.py", False),
        ("operator/__pycache__/app.pyc", True),
        ("operator/deep/er/__pycache__/app.pyc", True),
        ("operator/data.txt", True),
        ("operator/deep/data.txt", False),
        ("LICENSE", False),
    ],
)
def test_the_last_pattern_wins(path: str, ignored: bool) -> None:
    rules = Ignore(parse("# only these\n*\n!LICENSE\n!/operator\n**/__pycache__\noperator/*.txt\n"))
    assert rules.ignores(path) is ignored
