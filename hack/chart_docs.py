#!/usr/bin/env python3
"""Tables in the documents that the chart's own files say better: values, and rights with their reasons.

    python3 hack/chart_docs.py [--check]

Each replaces what stands between `<!-- NAME -->` and `<!-- /NAME -->`. `--check` writes nothing and fails when that is needed.
A value's text is the comment above it that starts with `--`; a rule's reason is the comment above the rule. Runs in the project's
Python environment (PyYAML).
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "helm" / "yolo-operator"


def main(arguments: list[str]) -> int:
    """Write the tables, or check that nothing would change."""
    helpers = (CHART / "templates" / "_helpers.tpl").read_text(encoding="utf-8")
    wanted = {
        CHART / "README.md": {"values": values_table((CHART / "values.yaml").read_text(encoding="utf-8"))},
        ROOT / "docs" / "security.md": {
            "rights": rights_table(rules_of(helpers, "yolo-operator.rules")),
            "lease-rights": rights_table(rules_of(helpers, "yolo-operator.leaseRules")),
        },
    }
    stale = 0
    for path, tables in wanted.items():
        text = before = path.read_text(encoding="utf-8")
        for name, table in tables.items():
            text = replaced(text, name, table)
        if text != before:
            stale += 1
            if "--check" in arguments:
                print(f"{path.relative_to(ROOT)} is stale: make generate", file=sys.stderr)
            else:
                path.write_text(text, encoding="utf-8")
    return int(bool(stale) and "--check" in arguments)


def replaced(text: str, name: str, table: str) -> str:
    """The text with another table between the marks of that name.

    Raises:
        ValueError: when the marks are not there, once.
    """
    start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    if text.count(start) != 1 or text.count(end) != 1:
        raise ValueError(f"the marks of {name} must be there once")
    head, rest = text.split(start)
    return head + start + table + rest[rest.index(end) :]


# --- values ---


def values_table(text: str) -> str:
    """Value, default, text: one row a value, in the file's order.

    Raises:
        ValueError: when a value has no text.
    """
    rows = ["| value | default | what it does |", "|---|---|---|"]
    lines = text.splitlines()
    for path, node in _leaves(yaml.compose(text, Loader=yaml.SafeLoader), ()):
        told = _comment_above(lines, node[0].start_mark.line)
        if not told.startswith("-- "):
            raise ValueError(f"values.yaml: {path} has no comment that starts with `# --`")
        default = _default(node[1])
        rows.append(f"| `{path}` | {default} | {_cell(told.removeprefix('-- '))} |")
    return "\n".join(rows) + "\n"


def _leaves(node: yaml.Node, path: tuple[str, ...]) -> Iterator[tuple[str, tuple[yaml.Node, yaml.Node]]]:
    """Scalars, lists and maps in braces; a map written as a block is a section."""
    for key, value in node.value:
        here = (*path, str(key.value))
        if isinstance(value, yaml.MappingNode) and not value.flow_style:
            yield from _leaves(value, here)
        else:
            yield ".".join(here), (key, value)


def _default(node: yaml.Node) -> str:
    value = yaml.SafeLoader("").construct_object(node, deep=True)
    if value == "":
        return ""
    return f"`{value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}`"


# --- rights ---


def rules_of(helpers: str, name: str) -> list[tuple[dict[str, list[str]], str]]:
    """The rules of one template of the chart, each with the comment above it.

    Raises:
        ValueError: when the template is not there, or a rule has no comment.
    """
    start = f'{{{{- define "{name}" -}}}}\n'
    if start not in helpers:
        raise ValueError(f"_helpers.tpl does not define {name}")
    body = helpers.split(start)[1].split("{{- define")[0]
    # Lines that only steer helm say nothing; a name that it fills in is some name here.
    body = "\n".join(line for line in body.splitlines() if not line.startswith("{{"))
    body = re.sub(r"\{\{.*?\}\}", "NAME", body)
    lines = body.splitlines()
    document = yaml.compose(body, Loader=yaml.SafeLoader)
    found = []
    for node in document.value:
        why = _comment_above(lines, node.start_mark.line)
        if not why:
            raise ValueError(f"_helpers.tpl: a rule of {name} has no comment: {lines[node.start_mark.line]}")
        found.append((yaml.SafeLoader("").construct_object(node, deep=True), why))
    return found


def rights_table(rules: list[tuple[dict[str, list[str]], str]]) -> str:
    """API group, resources, verbs, why: one row a rule."""
    rows = ["| API group | resources | verbs | why |", "|---|---|---|---|"]
    for rule, why in rules:
        named = " (by its name)" if "resourceNames" in rule else ""
        groups = ", ".join(f"`{group or 'core'}`" for group in rule["apiGroups"])
        resources = ", ".join(f"`{resource}`" for resource in rule["resources"])
        rows.append(f"| {groups} | {resources}{named} | {', '.join(rule['verbs'])} | {_cell(why)} |")
    return "\n".join(rows) + "\n"


# --- both ---


def _comment_above(lines: list[str], line: int) -> str:
    """The comment of whole lines that ends right above a line."""
    told: list[str] = []
    while line > 0 and lines[line - 1].lstrip().startswith("#"):
        line -= 1
        told.insert(0, lines[line].lstrip()[1:].strip())
    return " ".join(told)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
