"""The site of docs/: what breaks its build, and what the hooks make of a page."""

from __future__ import annotations

import logging
import shutil
import sys
from pathlib import Path

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "hack" / "site"))
import hooks  # noqa: E402


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ROOT / "docs", tmp_path / "docs"))


def built(docs: Path) -> Path:
    """The site of these pages.

    Raises:
        Abort: there was a warning.
    """
    site = docs.parent / "site"
    config = load_config(str(ROOT / "mkdocs.yml"), docs_dir=str(docs), site_dir=str(site))
    try:
        build(config)
    finally:
        logging.getLogger("mkdocs").handlers.clear()  # each build adds its counter of warnings
    return site


def test_the_site_builds_needs_no_network_and_holds_the_files_that_pages_refer_to(docs: Path) -> None:
    site = built(docs)
    pages = {page: page.read_text(encoding="utf-8") for page in site.rglob("*.html")}
    for page, text in pages.items():
        assert 'src="http' not in text, page
        assert '<link rel="stylesheet" href="http' not in text, page
    assert "LocalQueue" in pages[site / "repository/examples/kueue.yaml.html"]
    assert any('repository/examples/kueue.yaml.html"' in text for text in pages.values())


LINKS = {
    "[x](nowhere.md)": "'nowhere.md'",
    "[x](architecture.md#nowhere)": "'architecture.md#nowhere'",
    "[x](#nowhere)": "'#nowhere'",
    "![x](nowhere.svg)": "'nowhere.svg'",
    "[x](/absolute.md)": "'/absolute.md'",
}


def test_what_leads_nowhere_breaks_the_build(docs: Path, caplog: pytest.LogCaptureFixture) -> None:
    page = docs / "gitops.md"
    page.write_text(page.read_text() + "".join(f"\n\n{link}\n" for link in LINKS))
    (docs / "new.md").write_text("# In no entry of the navigation\n")
    with caplog.at_level("WARNING"), pytest.raises(Abort):
        built(docs)
    told = caplog.text
    for link, target in LINKS.items():
        assert target in told, link
    assert "- new.md" in told


def test_a_link_to_no_file_of_the_repository_breaks_the_build(docs: Path, caplog: pytest.LogCaptureFixture) -> None:
    page = docs / "gitops.md"
    page.write_text(f"{page.read_text()}\n\n[x](../examples/nowhere.yaml)\n")
    with pytest.raises(Abort):
        built(docs)
    assert "docs/gitops.md: a link leads to examples/nowhere.yaml, which is no file" in caplog.text


def test_links_of_the_repository_become_links_of_the_site() -> None:
    def told(text: str, place: str, uri: str) -> str:
        return hooks.LINK.sub(lambda found: hooks._link(found, place, uri), text)

    assert told("[a](../examples/kueue.yaml)", "docs/a.md", "a.md") == "[a](repository/examples/kueue.yaml.md)"
    assert told("[a](../../helm/x/README.md#b)", "docs/a/b.md", "a/b.md") == "[a](../repository/helm/x/README.md#b)"
    assert told("[a](../docs/c.md#d)", "benchmarks/README.md", "repository/benchmarks/README.md") == "[a](../../c.md#d)"
    assert told("[a](https://example.com) [b](#here)", "docs/a.md", "a.md") == "[a](https://example.com) [b](#here)"


def test_a_list_may_follow_its_paragraph_at_once() -> None:
    lines = ["**Look**", "* one", "  goes on", "* two", "", "Text", "1. first", "```", "no", "* list", "```"]
    assert list(hooks._with_empty_lines(lines)) == [
        *("**Look**", "", "* one", "  goes on", "* two", "", "Text", "", "1. first", "```", "no", "* list", "```")
    ]


def test_a_bar_in_a_tables_code_is_a_bar() -> None:
    assert hooks.BAR_IN_CODE.sub(hooks._with_bars, r"| `(^\|/)a` | `b` |") == "| <code>(^&#124;/)a</code> | `b` |"
