"""A content key changes when, and only when, the result may."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from localcluster import build, keys
from localcluster.images import Image


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "a.py").write_text("a")
    (tmp_path / "b.py").write_text("b")
    return tmp_path


def key(tree: Path) -> str:
    return keys.of_files(tree, tree.iterdir(), "v1")


def test_content_counts_and_time_does_not(tree: Path) -> None:
    before = key(tree)
    os.utime(tree / "a.py", (1, 1))
    assert key(tree) == before
    (tree / "a.py").write_text("A")
    assert key(tree) != before


def test_names_and_the_executable_bit_count(tree: Path) -> None:
    seen = {key(tree)}
    (tree / "a.py").rename(tree / "c.py")
    seen.add(key(tree))
    (tree / "c.py").chmod(0o755)
    seen.add(key(tree))
    assert len(seen) == 3


def test_parts_are_framed() -> None:
    assert keys.of_parts("ab", "c") != keys.of_parts("a", "bc")


def test_the_pinned_versions_are_those_of_the_modules() -> None:
    for name, module in (("kubernetes", r"k8s\.io/kubernetes"), ("etcd", r"go\.etcd\.io/etcd/server/v3")):
        piece = build.PIECES[name]
        text = (piece.source / "go.mod").read_text()
        found = re.search(rf"^(?:require )?\s*{module} (v\S+)", text, re.MULTILINE)
        assert found is not None
        assert found[1] == piece.version


def test_an_image_depends_on_what_it_copies_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY source /source\n")
    (tmp_path / ".dockerignore").write_text("**/*.md\n")
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "main.py").write_text("1")
    image = Image("x/y:dev", tmp_path / "Dockerfile", tmp_path)
    before = image.key()
    (tmp_path / "elsewhere").write_text("1")
    (tmp_path / "source" / "notes.md").write_text("1")
    (tmp_path / "source" / "__pycache__").mkdir()
    (tmp_path / "source" / "__pycache__" / "main.pyc").write_text("1")
    assert image.key() == before
    assert image.key("another base") != before
    (tmp_path / "source" / "main.py").write_text("2")
    assert image.key() != before


def test_a_revision_counts_where_it_is_told(tree: Path) -> None:
    (tree / "Dockerfile").write_text("FROM scratch\nCOPY a.py /\n")
    image = Image("x/y:dev", tree / "Dockerfile", tree)
    told = replace(image, revision="0" * 40)
    assert image.arguments() == {}
    assert told.arguments() == {"REVISION": "0" * 40}
    assert len({image.key(), told.key(), replace(image, revision="1" * 40).key()}) == 3
