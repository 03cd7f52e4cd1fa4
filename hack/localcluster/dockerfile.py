"""What a Dockerfile says about its inputs, and how settings get into a build without staying in the image."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator

_CONTINUED = re.compile(r"\\\s*\n(?:\s*#[^\n]*\n)*")
_FROM = re.compile(r"^\s*FROM\s+(?:--\S+\s+)*(\S+)(?:\s+AS\s+(\S+))?", re.IGNORECASE)


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Give each instruction as (NAME, rest), continued lines joined."""
    for line in _CONTINUED.sub(" ", text).splitlines():
        name, _, rest = line.strip().partition(" ")
        if name and not name.startswith("#"):
            yield name.upper(), rest.strip()


def copied(text: str) -> list[str]:
    """Give the context's paths that COPY and ADD take; "." (everything) where a path is only known at build time."""
    sources: list[str] = []
    for name, rest in instructions(text):
        if name not in ("COPY", "ADD"):
            continue
        words = shlex.split(rest.strip("[]").replace('",', '" ')) if rest.startswith("[") else shlex.split(rest)
        flags = [word for word in words if word.startswith("--")]
        if any(flag.startswith("--from=") for flag in flags):
            continue
        paths = [word for word in words if not word.startswith("--")][:-1]
        sources += ["." if "$" in path else path for path in paths if "://" not in path]
    return sorted(set(sources))


def bases(text: str) -> list[str]:
    """Give the images that a Dockerfile starts from; stages of its own and `scratch` are none."""
    found: list[str] = []
    stages: set[str] = set()
    for name, rest in instructions(text):
        match = _FROM.match(f"{name} {rest}")
        if match:
            if match[1].lower() not in stages and match[1] != "scratch":
                found.append(match[1])
            if match[2]:
                stages.add(match[2].lower())
    return sorted(set(found))


def with_arguments(text: str, names: Iterable[str]) -> str:
    """Give the Dockerfile with an ARG line for each name in each of its stages.

    An argument is in the environment of RUN and nowhere in the image's configuration, which is how a machine's package
    settings reach pip and apt without being baked in and without each Dockerfile having to know them.
    """
    added = "".join(f"ARG {name}\n" for name in names)
    out: list[str] = []
    continued = False  # a RUN's later line may well begin with `from …`
    for line in text.splitlines():
        begins_stage = not continued and _FROM.match(line)
        out.append(f"{line}\n{added}" if begins_stage else f"{line}\n")
        continued = line.rstrip().endswith("\\") or (continued and line.lstrip().startswith("#"))
    return "".join(out)


def qualified(name: str) -> str:
    """Give an image's whole name, as the container runtime asks for it: `a/b` is `docker.io/a/b:latest`."""
    last = name.rpartition("/")[2]
    tagged = name if ":" in last or "@" in last else f"{name}:latest"
    first, slash, _ = tagged.partition("/")
    if not slash:
        return f"docker.io/library/{tagged}"
    return tagged if "." in first or ":" in first or first == "localhost" else f"docker.io/{tagged}"
