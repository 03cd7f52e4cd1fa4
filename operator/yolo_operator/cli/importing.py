"""`kubectl yolo import`: an experiment from TAO's own text, with a word about everything that did not go over."""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import click
import yaml

from yolo_operator import dialects
from yolo_operator.api.resource import API_VERSION, KIND
from yolo_operator.cli.validate import problems
from yolo_operator.dialects.base import KeyUse
from yolo_operator.toolkit.dialects import dialect
from yolo_operator.toolkit.importing import Imported, import_text
from yolo_operator.toolkit.text import TextError

Json = dict[str, Any]
UNKNOWN = "SET-ME"
"""Stands for a path that the text doesn't have."""
DEFAULT_MOUNT = "/workspace"


def document(imported: Imported, *, name: str, profile: str, claim: str, mount_path: str | None, key_secret: str) -> Json:
    """The experiment for a text."""
    secret, _, key = key_secret.partition("/")
    toolkit: Json = {"profile": profile}
    if profile in dialects.names() and dialect(profile).key is KeyUse.REQUIRED:
        toolkit["encryptionKeySecretRef"] = {"name": secret, "key": key or "key"}
    data = dict(imported.dataset)
    for part in ("train", "validation"):
        data[part] = {"images": f"{UNKNOWN}/{part}/images", "labels": f"{UNKNOWN}/{part}/labels"} | data.get(part, {})
    spec: Json = {
        "toolkit": toolkit,
        "workspace": {"claimName": claim, "mountPath": mount_path or imported.mount_path or DEFAULT_MOUNT},
        "dataset": data,
        "experimentSpec": imported.experiment_spec,
    }
    if not any(f"{scale}AnchorShape" in imported.experiment_spec["yolov4Config"] for scale in ("big", "mid", "small")):
        spec["anchors"] = {
            "auto": {"count": 6 if imported.experiment_spec["yolov4Config"].get("arch") == "cspdarknet_tiny" else 9}
        }
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name}, "spec": spec}


def manifest(body: Json, remarks: list[str], source: str) -> str:
    """The experiment as YAML, remarks as comments before it."""
    head = [f"From {source}, by `kubectl yolo import`.", *remarks]
    comments = "".join(textwrap.fill(remark, 126, initial_indent="# ", subsequent_indent="#     ") + "\n" for remark in head)
    return comments + yaml.safe_dump(body, sort_keys=False, width=126, allow_unicode=True)


def default_name(file: Path) -> str:
    """An object's name from a file's."""
    words = re.sub(r"[^a-z0-9]+", "-", file.stem.lower()).strip("-")
    return words[:63].strip("-") or "experiment"


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--name", help="The experiment's name; default: the file's.")
@click.option("--profile", help="Toolkit profile; default: tao-5.0, or open where the text has open_config.")
@click.option("--claim", help="Claim of workspace and data; default: the experiment's name.")
@click.option("--mount-path", help="Where the text's paths see that claim; default: the directory that they share.")
@click.option("--key-secret", default="tao/key", show_default=True, help="Secret and key of TAO 3's encryption key.")
@click.option("--force", is_flag=True, help="Exit code 0 even when something could not be mapped.")
def import_(
    file: Path, name: str | None, profile: str | None, claim: str | None, mount_path: str | None, key_secret: str, *, force: bool
) -> None:
    """Make an experiment of TAO's experiment spec (config.txt, or - for standard input).

    The experiment goes to standard output; what could not be mapped, or is worth knowing, goes to standard error and into
    comments. The exit code is 1 when something could not be mapped, 2 when the file is no experiment spec.
    """
    shown = "standard input" if str(file) == "-" else str(file)
    source = _read(file, shown)
    try:
        imported = import_text(source, mount_path=mount_path)
    except TextError as error:
        click.echo(f"{shown}:{error}", err=True)
        sys.exit(2)
    name = name or default_name(file)
    profile = profile or _profile(imported)
    body = document(imported, name=name, profile=profile, claim=claim or name, mount_path=mount_path, key_secret=key_secret)
    lost = [f"{shown}:{finding}" for finding in imported.findings if finding.lost]
    # What the text's own findings say is not said again by the resource's checks.
    lost += [] if lost else [f"{shown}:1:1: {problem}" for problem in problems(body)]
    notes = [f"{shown}:{finding}" for finding in imported.findings if not finding.lost]
    if imported.mount_path and not mount_path:
        notes.append(f"{shown}:1:1: its paths share {imported.mount_path}, which is taken as workspace.mountPath")
    for remark in (*lost, *notes):
        click.echo(remark, err=True)
    remarks = [f"NOT MAPPED: {remark}" for remark in lost] + notes
    click.echo(manifest(body, remarks, shown), nl=False)
    sys.exit(1 if lost and not force else 0)


def _profile(imported: Imported) -> str:
    """The newest toolkit that reads such a text: TAO's, unless the text has what only another one knows."""
    known = "openConfig" in imported.experiment_spec
    return max((one for one in dialects.DIALECTS.values() if one.open_config is known), key=lambda one: one.order).profile


def _read(file: Path, shown: str) -> str:
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        click.echo(f"{shown}:1:1: is not UTF-8: {error}", err=True)
        sys.exit(2)
