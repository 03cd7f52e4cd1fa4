"""An image's files in a folder: made once, made anew with another image, and never over what somebody else has put there."""

from __future__ import annotations

from pathlib import Path

import pytest
from localcluster import imagebuild, imagescli
from localcluster.images import Image


class Tool:
    """Buildah as far as it is asked here; it can be killed halfway."""

    unpacked: list[Path] = []
    dies = False

    def unpack(self, archive: Path, folder: Path) -> None:
        Tool.unpacked.append(archive)
        folder.mkdir()
        (folder / "first").write_text(archive.name)
        if Tool.dies:
            raise KeyboardInterrupt
        (folder / "second").write_text(archive.name)


@pytest.fixture
def archives(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """What the builds give, the last one now."""
    found = [tmp_path / "one.tar"]
    Tool.unpacked, Tool.dies = [], False
    monkeypatch.setattr(imagebuild, "build", lambda _: found[-1])
    monkeypatch.setattr(imagescli, "Buildah", Tool)
    monkeypatch.setattr(imagescli, "IMAGES", {"tiny": Image("yolo-operator/tiny:dev", tmp_path, tmp_path)})
    return found


def unpack(folder: Path) -> int:
    return imagescli.main(["unpack", "tiny", str(folder)])


def test_it_is_made_once_and_anew_with_another_image(archives: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "root"
    assert [unpack(folder), unpack(folder)] == [0, 0]
    assert len(Tool.unpacked) == 1
    archives.append(tmp_path / "two.tar")
    assert unpack(folder) == 0
    assert {file.name: file.read_text() for file in folder.iterdir()} == {"first": "two.tar", "second": "two.tar"}


def test_a_folder_of_somebody_else_is_left_alone(
    archives: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "root"
    folder.mkdir()
    (folder / "mine").write_text("dear")
    assert unpack(folder) == 1
    assert (folder / "mine").read_text() == "dear"
    out = capsys.readouterr()
    assert "name another folder" in out.out + out.err
    assert not Tool.unpacked
    assert archives


def test_one_that_was_killed_is_begun_anew(archives: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "root"
    Tool.dies = True
    assert unpack(folder) == 130
    assert not folder.exists()
    Tool.dies = False
    assert unpack(folder) == 0
    assert (folder / "second").read_text() == archives[-1].name


def test_one_that_was_killed_before_its_last_step_is_begun_anew(archives: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "root"
    assert unpack(folder) == 0
    folder.rename(tmp_path / "gone")
    assert unpack(folder) == 0
    assert (folder / "second").read_text() == archives[-1].name
