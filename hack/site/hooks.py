"""What MkDocs does besides, so that docs/ reads the same on a repository's page and as a site.

* A link from docs/ to a file of the repository (an example, the chart's README) leads to a page of the site that holds the file.
* A bar in a table's code is written `\\|` and read as a bar.
* A list may follow its paragraph without an empty line, as everywhere but in Python's Markdown.
* Pictures (SVG) stand in the page itself, so that they follow its light or dark scheme.
"""

from __future__ import annotations

import html
import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
DOCS = "docs"
ELSEWHERE = "repository"
"""Where the site keeps files that lie outside docs/."""

LINK = re.compile(r"(\]\()([^)\s]+)(\))")
PICTURE = re.compile(r'<img alt="([^"]*)" src="([^"]*\.svg)" ?/?>')
BAR = r"\|"
BAR_IN_CODE = re.compile(r"`([^`]*\\\|[^`]*)`")
FENCE = re.compile(r"^\s*(`{3,}|~{3,})")
ITEM = re.compile(r"^(\*|-|\d+\.) ")
LANGUAGES = {".yaml": "yaml", ".yml": "yaml", ".lua": "lua", ".py": "python", ".sh": "sh", ".json": "json"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds a page for each file of the repository that a page refers to, and for what those refer to."""
    known: set[str] = set()
    named = str(config.nav)
    pages = [(f"{DOCS}/{file.src_uri}", file.content_string) for file in files.documentation_pages()]
    while pages:
        place, text = pages.pop()
        for target in sorted(_outside(place, text) - known):
            known.add(target)
            text_of = _read(place, target)
            uri = f"{ELSEWHERE}/{target}" if target.endswith(".md") else f"{ELSEWHERE}/{target}.md"
            inclusion = InclusionLevel.INCLUDED if uri in named else InclusionLevel.NOT_IN_NAV
            files.append(File.generated(config, uri, content=text_of, inclusion=inclusion))
            if target.endswith(".md"):
                pages.append((target, text_of))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Links of the repository as links of the site; lists with the empty line that they need here."""
    place = _place(page.file.src_uri)

    def changed(line: str) -> str:
        line = LINK.sub(lambda found: _link(found, place, page.file.src_uri), line)
        return BAR_IN_CODE.sub(_with_bars, line) if line.startswith("|") else line

    linked = _outside_fences(markdown, changed)
    return "\n".join(_with_empty_lines(linked.splitlines()))


def on_page_content(text: str, page: Page, config: MkDocsConfig, **_: Any) -> str:
    """Each SVG's own text in place of its address."""

    def inline(found: re.Match[str]) -> str:
        # The address counts from the page's file, as MkDocs wrote it.
        uri = posixpath.normpath(posixpath.join(posixpath.dirname(page.file.dest_uri), found[2]))
        path = Path(config.docs_dir) / uri
        if not path.is_file():
            return found[0]  # MkDocs has said so
        svg = path.read_text(encoding="utf-8")
        return svg[svg.index("<svg") :].strip()

    return PICTURE.sub(inline, text)


# --- links ---


def _place(uri: str) -> str:
    """A page's file, relative to the repository."""
    if not uri.startswith(f"{ELSEWHERE}/"):
        return f"{DOCS}/{uri}"
    inside = uri.removeprefix(f"{ELSEWHERE}/")
    return inside if (ROOT / inside).exists() else inside.removesuffix(".md")


def _targets(place: str, text: str) -> Iterator[str]:
    """Relative links of a file, as places in the repository."""
    lines: list[str] = []
    _outside_fences(text, lambda line: lines.append(line) or line)
    for line in lines:
        for found in LINK.finditer(line):
            if target := _resolve(place, found[2]):
                yield target


def _resolve(place: str, link: str) -> str:
    """Where a link leads in the repository; empty: nowhere there."""
    path = link.partition("#")[0]
    if not path or ":" in path.partition("/")[0] or path.startswith("/"):
        return ""
    return posixpath.normpath(posixpath.join(posixpath.dirname(place), path))


def _outside(place: str, text: str) -> set[str]:
    return {target for target in _targets(place, text) if not target.startswith(f"{DOCS}/")}


def _read(place: str, target: str) -> str:
    path = ROOT / target
    if not path.is_file():
        raise PluginError(f"{place}: a link leads to {target}, which is no file of the repository")
    text = path.read_text(encoding="utf-8")
    if target.endswith(".md"):
        return text
    return f"# {path.name}\n\n`{target}`\n\n~~~~{LANGUAGES.get(path.suffix, 'text')}\n{text.rstrip()}\n~~~~\n"


def _link(found: re.Match[str], place: str, uri: str) -> str:
    target = _resolve(place, found[2])
    if not target:
        return found[0]
    if target.startswith(f"{DOCS}/"):
        where = target.removeprefix(f"{DOCS}/")
    else:
        where = f"{ELSEWHERE}/{target}" if target.endswith(".md") else f"{ELSEWHERE}/{target}.md"
    _, mark, anchor = found[2].partition("#")
    return f"{found[1]}{posixpath.relpath(where, posixpath.dirname(uri) or '.')}{mark}{anchor}{found[3]}"


# --- text ---


def _with_bars(code: re.Match[str]) -> str:
    return f"<code>{html.escape(code[1].replace(BAR, '|')).replace('|', '&#124;')}</code>"


def _outside_fences(text: str, change: Callable[[str], str]) -> str:
    """The text with the lines changed that stand in no block of code."""
    lines, fence = [], ""
    for line in text.splitlines():
        mark = FENCE.match(line)
        if mark and not fence:
            fence = mark[1]
        elif mark and mark[1].startswith(fence):
            fence = ""
        elif not fence:
            line = change(line)
        lines.append(line)
    return "\n".join(lines)


def _with_empty_lines(lines: list[str]) -> Iterator[str]:
    """The lines, with an empty one before a list or table that follows a paragraph at once."""
    fence, before, in_list = "", "", False
    for line in lines:
        mark = FENCE.match(line)
        if fence:
            fence = "" if mark and mark[1].startswith(fence) else fence
        else:
            starts = bool(ITEM.match(line))
            if starts and before.strip() and not in_list:
                yield ""
            if mark:
                fence = mark[1]
            in_list = starts or (in_list and bool(line.strip()) and not mark) or (in_list and line.startswith("  "))
        yield line
        before = line
