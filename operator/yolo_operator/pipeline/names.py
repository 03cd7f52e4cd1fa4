"""Deterministic names: creating twice is a conflict, never a second Job."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from yolo_operator.api.workspace import Workspace
from yolo_operator.pipeline.values import StageKey

_LONGEST = 63  # a Job's name becomes a label value of its pods


def digest_of(value: Any) -> str:
    """SHA-256 (64 hex digits) of a JSON value in canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def job_name(experiment: str, key: StageKey, digest: str, attempt: int) -> str:
    """The name of a stage's Job: readable in front, unique by the tag over everything that makes the attempt what it is."""
    tag = hashlib.sha256(f"{experiment}/{key.name}/{key.variant}/{digest}".encode()).hexdigest()[:8]
    tail = f"-{key.slug}-{tag}-{attempt}"
    return experiment[: _LONGEST - len(tail)].rstrip("-.") + tail


def stage_directory(workspace: str, key: StageKey, digest: str) -> str:
    """The stage's own directory in the workspace; another digest has another one, so nothing stale is ever taken for new."""
    return f"{workspace}/stages/{key.slug}-{digest[:8]}"


def claim_name(experiment: str) -> str:
    """The claim made from the template."""
    return f"{experiment}-workspace"


def workspace_claim(experiment: str, workspace: Workspace) -> str:
    """The claim that holds the workspace: the one that is named, or the one made from the template."""
    return workspace.claim_name or claim_name(experiment)
