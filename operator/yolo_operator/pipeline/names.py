"""Deterministic names: creating twice is a conflict, never a second Job."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from yolo_operator.api.workspace import Workspace
from yolo_operator.pipeline.values import StageKey

_MOST_TOKENS = 64
_LONGEST_TOKEN = 128
_LONGEST = 63  # a Job's name becomes a label value of its pods


def digest_of(value: Any) -> str:
    """SHA-256 (64 hex digits) of a JSON value in canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def job_name(experiment: str, key: StageKey, digest: str, attempt: int, place: str = "") -> str:
    """The name of a stage's Job: readable in front, unique by the tag over everything that makes the attempt what it is."""
    tag = hashlib.sha256(f"{experiment}/{key.name}/{key.variant}/{digest}/{place}".encode()).hexdigest()[:8]
    tail = f"-{key.slug}-{tag}-{attempt}"
    return short_name(experiment, tail)


def short_name(experiment: str, tail: str) -> str:
    """A Job's name: the experiment's, cut where it has to be, and what makes it unique."""
    return experiment[: _LONGEST - len(tail)].rstrip("-.") + tail


def stage_directory(workspace: str, key: StageKey, digest: str, spoiled: int = 0) -> str:
    """The stage's own directory in the workspace; another digest has another one, so nothing stale is ever taken for new.

    `spoiled` counts the earlier directories of the same digest in which something was changed.
    """
    return f"{workspace}/stages/{key.slug}-{digest[:8]}" + (f"-{spoiled}" if spoiled else "")


def place_of(experiment: str, workspace: Workspace) -> str:
    """Short digest of where the workspace lies: a Job of another place has nothing to do with the results here."""
    return digest_of([workspace_claim(experiment, workspace), (workspace.sub_path or "").strip("/")])[:8]


def remembered(token: str) -> str:
    """What status keeps of an annotation's value: itself, or the digest of one that is longer than a person would write."""
    return token if len(token) <= _LONGEST_TOKEN else digest_of(token)


def rerun_tokens(annotation: str) -> dict[str, str]:
    """Tokens by stage from `STAGE=TOKEN[,STAGE=TOKEN…]`. A stage is a name, or a name and a variant (`prune/0.5`)."""
    pairs = (part.partition("=") for part in annotation.split(",")[:_MOST_TOKENS])
    return {" ".join(name.replace("/", " ").split()): token.strip() for name, _, token in pairs if name.strip() and token.strip()}


def claim_name(experiment: str) -> str:
    """The claim made from the template."""
    return f"{experiment}-workspace"


def workspace_claim(experiment: str, workspace: Workspace) -> str:
    """The claim that holds the workspace: the one that is named, or the one made from the template."""
    return workspace.claim_name or claim_name(experiment)
