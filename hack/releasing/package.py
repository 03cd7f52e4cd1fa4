"""What a release consists of: the packaged chart and its index, the CRD, the images' list, their bills, checksums."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from localcluster import images

from . import sbom, versions

NAMES = {"operator": "yolo-operator/operator", "open-toolkit": "yolo-operator/open-toolkit"}
"""Our images by their short names in hack/images."""


def package(root: Path, out: Path, registry: str, url: str) -> list[Path]:
    """Write the release's files into a folder; registry: where the images will be; url: where the chart will be.

    Raises:
        ReleaseError: when versions differ, or helm fails.
    """
    version = versions.current(root)
    out.mkdir(parents=True, exist_ok=True)
    for old in [path for path in out.iterdir() if path.is_file()]:
        old.unlink()
    _chart(root, out, version, registry, url)
    shutil.copyfile(root / "crds/yoloexperiments.yaml", out / "crd.yaml")
    (out / "images.txt").write_text("".join(f"{line}\n" for line in image_list(root, version, registry)))
    (out / "NOTES.md").write_text(versions.notes((root / versions.CHANGELOG).read_text(encoding="utf-8"), version))
    for short, name in NAMES.items():
        archive = images.archive_folder(images.IMAGES[short].reference) / "current.tar"
        if archive.exists():
            text = json.dumps(sbom.bill(archive, name, version), indent=1, ensure_ascii=False)
            (out / f"{short}.cdx.json").write_text(text + "\n")
    return _summed(out)


def image_list(root: Path, version: str, registry: str) -> list[str]:
    """Every image that a site without a way out needs: ours, and the toolkits' that the profiles name."""
    ours = [f"{_prefix(registry)}{name}:{version}" for name in NAMES.values()]
    dialects = root / "operator/yolo_operator"
    theirs = {
        image
        for path in dialects.rglob("*.py")
        for image in re.findall(r'default_image="([^"\s]+\.[^"\s]+/[^"\s]+)"', path.read_text(encoding="utf-8"))
    }
    return [*ours, *sorted(theirs)]


def _prefix(registry: str) -> str:
    return f"{registry.rstrip('/')}/" if registry else ""


def _chart(root: Path, out: Path, version: str, registry: str, url: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        chart = Path(folder) / "yolo-operator"
        shutil.copytree(root / "helm/yolo-operator", chart)
        values = chart / "values.yaml"
        # The release's chart names the release's images.
        line = f"\n  repository: {NAMES['operator']}\n"
        text = values.read_text(encoding="utf-8")
        if text.count(line) != 1:
            raise versions.ReleaseError("values.yaml: image.repository is not where it was")
        values.write_text(text.replace(line, f"\n  repository: {_prefix(registry)}{NAMES['operator']}\n"), encoding="utf-8")
        _helm("lint", "--strict", str(chart))
        _helm("package", str(chart), "--destination", str(out))
    packaged = out / f"yolo-operator-{version}.tgz"
    if not packaged.is_file():
        raise versions.ReleaseError(f"helm made no {packaged.name}: is it the chart's version?")
    _helm("repo", "index", str(out), *(["--url", url] if url else []))


def _helm(*arguments: str) -> None:
    helm = os.environ.get("HELM") or shutil.which("helm")
    if helm is None:
        raise versions.ReleaseError("helm is not in PATH: PATH=$(hack/cluster bin):$PATH")
    result = subprocess.run([helm, *arguments], capture_output=True, text=True, check=False)
    if result.returncode:
        raise versions.ReleaseError(f"helm {arguments[0]}: {result.stdout}{result.stderr}".strip())


def _summed(out: Path) -> list[Path]:
    files = sorted(path for path in out.iterdir() if path.is_file())
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (out / "SHA256SUMS").write_text("".join(lines))
    return [*files, out / "SHA256SUMS"]
