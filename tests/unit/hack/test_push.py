"""Images reach a registry as they were built: a real push to a registry in memory."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from pathlib import Path

import pytest
from localcluster import imagebuild, imagescli
from localcluster.choose import engine
from localcluster.images import Image
from localcluster.ociarchive import write_single_file_image
from tiny_registry import TinyRegistry, digest

pytestmark = [
    pytest.mark.skipif(shutil.which("buildah") is None or os.geteuid() != 0, reason="buildah or root is missing"),
    pytest.mark.skipif(engine() is not None, reason="an engine would be used instead"),
]


def test_an_image_is_pushed_under_its_tag_and_its_digest_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program, archive = tmp_path / "program", tmp_path / "image.tar"
    program.write_bytes(b"\x7fELF" + os.urandom(2000))
    write_single_file_image(archive, "docker.io/yolo-operator/tiny:dev", program, "/program")
    built: list[Image] = []
    monkeypatch.setattr(imagebuild, "build", lambda image: built.append(image) or archive)
    monkeypatch.setattr(imagescli, "revision", lambda: "c0ffee")
    monkeypatch.setattr(imagescli, "IMAGES", {"tiny": Image("yolo-operator/tiny:dev", tmp_path, tmp_path)})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with TinyRegistry() as registry:
        options = ["--registry", f"{registry.address}/ml/", "--tag", "1.2.3", "--plain-http"]
        assert imagescli.main(["push", "tiny", *options]) == 0, capsys.readouterr()
    assert [image.arguments() for image in built] == [{"REVISION": "c0ffee"}]
    ((place, manifest),) = registry.manifests.items()
    assert place == ("ml/yolo-operator/tiny", "1.2.3")
    assert capsys.readouterr().out.strip() == f"{registry.address}/ml/yolo-operator/tiny@{digest(manifest)}"
    layers = json.loads(manifest)["layers"]
    assert all(layer["digest"] in registry.blobs for layer in layers)
    assert program.read_bytes() in gzip.decompress(registry.blobs[layers[0]["digest"]])
