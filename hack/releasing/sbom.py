"""A bill of material of an image archive, as CycloneDX: what its package databases say, layer over layer.

Debian's packages come from dpkg's status file, Python's from the metadata that pip leaves. The same archive gives the same bytes.
"""

from __future__ import annotations

import email
import gzip
import io
import json
import shutil
import subprocess
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .versions import ReleaseError

_DPKG = "var/lib/dpkg/status"
_NAMESPACE = uuid.UUID("6f3f0a1e-7f3e-5d0a-9c7e-3b7f1d2c4a55")


def bill(archive: Path, name: str, version: str) -> dict[str, Any]:
    """The bill of an OCI archive.

    Raises:
        KeyError: when it is no OCI archive.
    """
    with tarfile.open(archive) as outer:
        digest, config, layers = _image(outer)
        files: dict[str, bytes] = {}
        for layer in layers:
            _apply(outer, layer, files)
    release = dict(_pairs(files.get("usr/lib/os-release", b"").decode()))
    distribution = f"{release.get('ID', 'debian')}-{release.get('VERSION_ID', '')}".rstrip("-")
    components = sorted([*_debian(files, distribution), *_python(files)], key=lambda component: str(component["purl"]))
    labels = (config.get("config") or {}).get("Labels") or {}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(_NAMESPACE, digest)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "container",
                "name": name,
                "version": version,
                "purl": f"pkg:oci/{name.rpartition('/')[2]}@{quote(digest)}",
                "properties": [{"name": f"label:{key}", "value": value} for key, value in sorted(labels.items())],
            }
        },
        "components": components,
    }


def _image(outer: tarfile.TarFile) -> tuple[str, dict[str, Any], list[str]]:
    index = json.loads(_read(outer, "index.json"))
    digest = str(index["manifests"][0]["digest"])
    manifest = json.loads(_read(outer, _blob(digest)))
    config = json.loads(_read(outer, _blob(manifest["config"]["digest"])))
    return digest, config, [_blob(layer["digest"]) for layer in manifest["layers"]]


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _read(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    if file is None:
        raise KeyError(name)
    return file.read()


def _apply(outer: tarfile.TarFile, layer: str, files: dict[str, bytes]) -> None:
    """Put a layer's package databases over those of the layers below it, and take away what it deletes."""
    with tarfile.open(fileobj=io.BytesIO(_unpacked(_read(outer, layer))), mode="r:") as tar:
        for entry in tar:
            path = entry.name.removeprefix("./").lstrip("/")
            folder, _, base = path.rpartition("/")
            if base == ".wh..wh..opq":
                _forget(files, folder)
            elif base.startswith(".wh."):
                _forget(files, f"{folder}/{base.removeprefix('.wh.')}".lstrip("/"))
            elif entry.isfile() and _counts(path):
                content = tar.extractfile(entry)
                files[path] = content.read() if content else b""


def _unpacked(blob: bytes) -> bytes:
    """A layer's tar. Python reads zstd from 3.14 on: the program does it everywhere."""
    if blob.startswith(b"\x1f\x8b"):
        return gzip.decompress(blob)
    if blob.startswith(b"\x28\xb5\x2f\xfd"):
        if shutil.which("zstd") is None:
            raise ReleaseError("the image's layers are packed with zstd: install it (Debian: zstd)")
        return subprocess.run(["zstd", "-dc"], input=blob, stdout=subprocess.PIPE, check=True).stdout
    return blob


def _forget(files: dict[str, bytes], path: str) -> None:
    for known in [known for known in files if known == path or known.startswith(f"{path}/")]:
        del files[known]


def _counts(path: str) -> bool:
    return path in (_DPKG, "usr/lib/os-release") or path.endswith((".dist-info/METADATA", ".egg-info/PKG-INFO"))


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        key, found, value = line.partition("=")
        if found:
            yield key, value.strip('"')


def _debian(files: dict[str, bytes], distribution: str) -> Iterator[dict[str, Any]]:
    for paragraph in files.get(_DPKG, b"").decode(errors="replace").split("\n\n"):
        fields = email.message_from_string(paragraph)
        if (fields["Status"] or "").endswith(" installed"):
            name, version, architecture = fields["Package"], fields["Version"], fields["Architecture"]
            purl = f"pkg:deb/{distribution.partition('-')[0]}/{name}@{quote(version)}?arch={architecture}&distro={distribution}"
            yield {"type": "library", "name": name, "version": version, "purl": purl}


def _python(files: dict[str, bytes]) -> Iterator[dict[str, Any]]:
    seen = set()
    for path, text in files.items():
        if not path.endswith(("METADATA", "PKG-INFO")) or path.startswith("var/"):
            continue
        fields = email.message_from_bytes(text)
        name, version = str(fields["Name"]), str(fields["Version"])
        purl = f"pkg:pypi/{name.lower().replace('_', '-')}@{quote(version)}"
        if purl in seen:
            continue
        seen.add(purl)
        component: dict[str, Any] = {"type": "library", "name": name, "version": version, "purl": purl}
        if licence := fields["License-Expression"]:
            component["licenses"] = [{"expression": str(licence)}]
        yield component
