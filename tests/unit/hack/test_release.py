"""One version everywhere, the changelog, the packaged chart, bills of material."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from charts import CHART, HELM, ROOT, needs_helm
from releasing import cli, package, sbom, versions


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The files that a release changes."""
    for path in {place.path for place in versions.PLACES} | {versions.CHANGELOG}:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, tmp_path / path)
    return tmp_path


def test_all_places_say_one_version() -> None:
    version = versions.current(ROOT)
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == version


def test_a_place_that_says_another_is_named(tree: Path) -> None:
    path = tree / "open-toolkit/yolo_v4/__init__.py"
    path.write_text(path.read_text().replace("__version__ = ", '__version__ = "9.9.9"  # '))
    with pytest.raises(versions.ReleaseError, match=r"open-toolkit/yolo_v4/__init__\.py .*9\.9\.9"):
        versions.current(tree)
    path.write_text("nothing\n")
    with pytest.raises(versions.ReleaseError, match=r"__init__\.py: the version must be there once"):
        versions.current(tree)


def test_a_release_writes_its_version_everywhere(tree: Path) -> None:
    versions.bump(tree, "7.8.9-rc.1", "2026-02-03")
    assert {version for _, version in versions.found(tree)} == {"7.8.9-rc.1"}
    changelog = (tree / versions.CHANGELOG).read_text()
    unreleased, _, released = changelog.partition("## 7.8.9-rc.1 – 2026-02-03\n")
    assert unreleased.endswith("## Unreleased\n\n")
    assert "YoloExperiment" in released
    assert versions.notes(changelog, "7.8.9-rc.1").startswith("- ")
    # Nothing but versions has changed.
    for path in {place.path for place in versions.PLACES}:
        before, after = (ROOT / path).read_text(), (tree / path).read_text()
        assert after.replace("7.8.9-rc.1", versions.current(ROOT)) == before
    with pytest.raises(versions.ReleaseError, match="says nothing under `## Unreleased`"):
        versions.bump(tree, "7.8.9", "2026-02-04")


@pytest.mark.parametrize("version", ["0.0.1", "one", "1.2", "v1.2.3", "1.2.3 "])
def test_what_is_no_later_version_is_refused(tree: Path, version: str) -> None:
    before = (tree / "pyproject.toml").read_text()
    with pytest.raises(versions.ReleaseError, match=r"is not later than|is no semantic version"):
        versions.bump(tree, version, "2026-02-03")
    assert (tree / "pyproject.toml").read_text() == before


def test_versions_are_ordered_as_semver_says() -> None:
    ordered = [
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0.0-alpha.beta",
        "1.0.0-rc.2",
        "1.0.0-rc.10",
        "1.0.0",
        "1.0.1",
        "1.10.0",
        "2.0.0",
    ]
    assert sorted(random.Random(1).sample(ordered, len(ordered)), key=versions.order) == ordered


# --- what a release consists of ---


@needs_helm
def test_a_package_has_everything_under_the_registrys_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert HELM is not None
    monkeypatch.setenv("HELM", HELM)
    monkeypatch.setattr(package.images, "archive_folder", lambda reference: tmp_path / "none")
    out, version = tmp_path / "dist", versions.current(ROOT)
    (out / "old").parent.mkdir()
    (out / "old.tgz").write_text("")
    options = ["--out", str(out), "--registry", "registry.example.com/ml/", "--url", "https://charts.example.com"]
    assert cli.main(["package", *options]) == 0, capsys.readouterr().err
    names = {path.name for path in out.iterdir()}
    assert names == {f"yolo-operator-{version}.tgz", "index.yaml", "crd.yaml", "images.txt", "NOTES.md", "SHA256SUMS"}
    (entry,) = yaml.safe_load((out / "index.yaml").read_text())["entries"]["yolo-operator"]
    assert entry["urls"] == [f"https://charts.example.com/yolo-operator-{version}.tgz"]
    assert entry["digest"] in (out / "SHA256SUMS").read_text()
    for line in (out / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split("  ")
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    command = [HELM, "template", "x", str(out / f"yolo-operator-{version}.tgz")]
    rendered = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    images = (out / "images.txt").read_text().splitlines()
    assert images[0] == f"registry.example.com/ml/yolo-operator/operator:{version}"
    assert f"image: {images[0]}\n" in rendered
    assert any(image.startswith("nvcr.io/nvidia/tao/") for image in images)


# --- bills of material ---

STATUS = """\
Package: zlib1g
Status: install ok installed
Architecture: amd64
Version: 1:1.3+b1

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1
"""


def layer(files: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


def archive(path: Path, *layers: bytes) -> Path:
    """An OCI archive."""

    def described(blob: bytes) -> dict[str, Any]:
        blobs[f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}"] = blob
        return {"digest": f"sha256:{hashlib.sha256(blob).hexdigest()}", "size": len(blob)}

    blobs: dict[str, bytes] = {}
    config = json.dumps({"config": {"Labels": {"org.opencontainers.image.version": "1.2.3"}}}).encode()
    manifest = {"config": described(config), "layers": [described(blob) for blob in layers]}
    index = {"manifests": [described(json.dumps(manifest).encode())]}
    with tarfile.open(path, "w") as tar:
        for name, blob in {"index.json": json.dumps(index).encode(), **blobs}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(blob)
            tar.addfile(entry, io.BytesIO(blob))
    return path


def packed(blob: bytes) -> bytes:
    return subprocess.run(["zstd", "-q", "-c"], input=blob, stdout=subprocess.PIPE, check=True).stdout


def test_a_bill_lists_what_the_layers_leave(tmp_path: Path) -> None:
    site = "opt/venv/lib/python3.13/site-packages"
    below = layer(
        {
            "usr/lib/os-release": 'ID=debian\nVERSION_ID="13"\n',
            "./var/lib/dpkg/status": "Package: old\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n",
            f"{site}/a-1.0.dist-info/METADATA": "Name: A_b\nVersion: 1.0\nLicense-Expression: MIT\n\ntext",
            f"{site}/b-1.0.dist-info/METADATA": "Name: b\nVersion: 1.0\n",
            f"{site}/c/c-1.0.dist-info/METADATA": "Name: c\nVersion: 1.0\n",
            "etc/passwd": "root",
        }
    )
    above = layer(
        {
            "var/lib/dpkg/status": STATUS,
            f"{site}/.wh.b-1.0.dist-info": "",
            f"{site}/b-2.0.dist-info/METADATA": "Name: b\nVersion: 2.0\n",
            f"{site}/c/.wh..wh..opq": "",
        }
    )
    path = archive(tmp_path / "image.tar", gzip.compress(below), above)
    bill = sbom.bill(path, "yolo-operator/operator", "1.2.3")
    assert [component["purl"] for component in bill["components"]] == [
        "pkg:deb/debian/zlib1g@1%3A1.3%2Bb1?arch=amd64&distro=debian-13",
        "pkg:pypi/a-b@1.0",
        "pkg:pypi/b@2.0",
    ]
    assert bill["components"][1]["licenses"] == [{"expression": "MIT"}]
    assert bill["metadata"]["component"]["purl"].startswith("pkg:oci/operator@sha256%3A")
    assert bill == sbom.bill(path, "yolo-operator/operator", "1.2.3")


@pytest.mark.skipif(shutil.which("zstd") is None, reason="zstd is not installed")
def test_layers_may_be_packed_with_zstd(tmp_path: Path) -> None:
    path = archive(tmp_path / "image.tar", packed(layer({"var/lib/dpkg/status": STATUS})))
    assert [component["name"] for component in sbom.bill(path, "x", "1")["components"]] == ["zlib1g"]


def test_without_zstd_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(versions.ReleaseError, match="zstd"):
        sbom.bill(archive(tmp_path / "image.tar", b"\x28\xb5\x2f\xfd rest"), "x", "1")
