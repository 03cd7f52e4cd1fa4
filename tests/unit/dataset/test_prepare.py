"""The stage `prepare`: what it converts, what it counts and what it refuses."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Dataset

JPEG = (
    b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0"
    + b"\xff\xc0\0\x11\x08"
    + struct.pack(">HH", 100, 200)
    + b"\x03\x01\x22\0\x02\x11\x01\x03\x11\x01"
    + b"\xff\xd9"
    + b"\0" * 30
)
"""The markers of an image of 200 x 100 pixels."""


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# ---- success ---------------------------------------------------------------------------------------------------------------


def test_darknet_becomes_kitti(dataset: Dataset) -> None:
    dataset.good()
    dataset.label("train/labels/a.txt", "0 0.5 0.5 0.2 0.4", "", "1 0.95 0.05 0.2 0.2", "01 0.5 0.5 1.0005 1")
    before = tree(dataset.data)
    code, report = dataset.prepare()
    assert (code, report["outcome"], report["reason"]) == (0, "Succeeded", "Completed")
    assert (dataset.output / "train/labels/a.txt").read_text().splitlines() == [
        "top_left 0.00 0 0.00 80.00 30.00 120.00 70.00 0.00 0.00 0.00 0.00 0.00 0.00 0.00",
        "plate 0.00 0 0.00 170.00 0.00 200.00 15.00 0.00 0.00 0.00 0.00 0.00 0.00 0.00",  # clipped to the image
        "plate 0.00 0 0.00 0.00 0.00 200.00 100.00 0.00 0.00 0.00 0.00 0.00 0.00 0.00",
    ]
    assert sorted(tree(dataset.output)) == ["train/labels/a.txt", "train/labels/b.txt", "validation/labels/c.txt"]
    assert report["metrics"] == {"trainImages": 2, "validationImages": 1, "boxes": {"plate": 2, "top_left": 2}}
    assert [(item["name"], item["path"]) for item in report["artifacts"]] == [
        ("trainLabels", "stages/prepare-1/dataset/train/labels"),
        ("validationLabels", "stages/prepare-1/dataset/validation/labels"),
    ]
    assert report["message"] == "2 training and 1 validation images, 4 training boxes"
    assert len(report["fingerprint"]) == 64
    assert report["warnings"] == []
    assert tree(dataset.data) == before


def test_kitti_is_used_as_it_is(kitti: Dataset) -> None:
    kitti.good()
    kitti.label(
        "train/labels/a.txt",
        "license_PLATE 0 0 0 1 2 30 40 0 0 0 0 0 0 0 0.97",
        "DontCare -1 -1 -10 1 2 3 4 -1 -1 -1 -1 -1 -1 -1",
    )
    code, report = kitti.prepare()
    assert code == 0
    assert report["artifacts"] == []
    assert not kitti.output.exists()
    assert report["metrics"]["boxes"] == {"plate": 1, "top_left": 1}


def test_images_and_labels_may_share_a_folder(dataset: Dataset) -> None:
    for part in ("train", "valid"):
        dataset.image(f"{part}/a.png")
        dataset.label(f"{part}/a.txt", "0 0.5 0.5 0.2 0.4")
    dataset.label("train/classes.txt", "top_left", "plate")
    dataset.label("train/obj.names", "top_left")
    folders = {
        part: {"images": str(dataset.data / name), "labels": str(dataset.data / name)}
        for part, name in (("train", "train"), ("validation", "valid"))
    }
    dataset.changes = folders
    code, report = dataset.prepare()
    assert code == 0
    assert {
        "reason": "LabelWithoutImage",
        "message": "1 labels have no image and are not used (the first: train/classes.txt)",
    } in report["warnings"]


def test_images_for_inference_are_counted(dataset: Dataset) -> None:
    dataset.good()
    dataset.image("test/x.JPG")
    dataset.image("test/y.png")
    dataset.changes = {"unlabelled": {"images": str(dataset.data / "test")}}
    assert dataset.prepare()[1]["metrics"]["unlabelledImages"] == 2


def test_an_image_without_objects_is_a_pair(dataset: Dataset) -> None:
    dataset.good()
    dataset.label("train/labels/a.txt")
    code, report = dataset.prepare()
    assert (code, report["metrics"]["trainImages"], report["metrics"]["boxes"]["top_left"]) == (0, 2, 1)
    assert (dataset.output / "train/labels/a.txt").read_bytes() == b""


def test_preparing_again_gives_the_same(dataset: Dataset) -> None:
    first = dataset.good().prepare()[1]
    assert dataset.prepare()[1]["reused"] is True
    (dataset.directory / "report.json").unlink()
    (dataset.output / "train/labels/stale.txt").write_text("left over")
    again = dataset.prepare()[1]
    assert (again["fingerprint"], again["artifacts"], again["reused"]) == (first["fingerprint"], first["artifacts"], False)


@pytest.mark.parametrize("change", ["label", "image", "class", "name"])
def test_the_fingerprint_is_of_the_content(dataset: Dataset, change: str) -> None:
    first = dataset.good().prepare()[1]["fingerprint"]
    (dataset.directory / "report.json").unlink()
    for path in sorted(dataset.data.rglob("*"), reverse=True):  # another age and order
        os.utime(path, (1, 1))
    assert dataset.prepare()[1]["fingerprint"] == first
    (dataset.directory / "report.json").unlink()
    match change:
        case "label":
            dataset.label("train/labels/a.txt", "0 0.5 0.5 0.2 0.5")
        case "image":
            dataset.image("train/images/a.png", 201)
        case "class":
            dataset.classes["0"] = "corner"
        case "name":
            (dataset.data / "train/images/a.png").rename(dataset.data / "train/images/d.png")
            (dataset.data / "train/labels/a.txt").rename(dataset.data / "train/labels/d.txt")
    assert dataset.prepare()[1]["fingerprint"] != first


def test_unlabelled_images_have_a_fingerprint_of_their_own(dataset: Dataset) -> None:
    report = dataset.good().prepare()[1]
    assert "unlabelledFingerprint" not in report
    dataset.image("test/x.png")
    dataset.changes = {"unlabelled": {"images": str(dataset.data / "test")}}
    found = []
    for width in (200, 201):
        dataset.image("test/x.png", width)
        (dataset.directory / "report.json").unlink()
        again = dataset.prepare()[1]
        assert (again["fingerprint"], again["artifacts"]) == (report["fingerprint"], report["artifacts"])
        found.append(again["unlabelledFingerprint"])
    assert found[0] != found[1]


def test_progress_counts_the_images(dataset: Dataset, capfd: pytest.CaptureFixture[str]) -> None:
    dataset.good().prepare()
    lines = [json.loads(line)["yoloProgress"] for line in capfd.readouterr().out.splitlines() if line.startswith("{")]
    assert lines[-1] == {"step": 3, "steps": 3}


# ---- errors ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("0 0.5 0.5 0.2", "4 columns instead of 5 (id cx cy w h): correct or remove the line"),
        ("0 0.5 0.5 0.2 0.4 0.9", "6 columns instead of 5 (id cx cy w h): correct or remove the line"),
        ("plate 0.5 0.5 0.2 0.4", "the class id `plate` is not a whole number: correct the line"),
        ("0 0.5 0,5 0.2 0.4", "`0,5` is not a number: correct the line"),
        ("0 0.5 nan 0.2 0.4", "`nan` is not a number: correct the line"),
        ("0 120 0.5 0.2 0.4", "cx is 120, outside 0 to 1: darknet's coordinates are fractions of the image"),
        ("0 0.5 -0.01 0.2 0.4", "cy is -0.01, outside 0 to 1: darknet's coordinates are fractions of the image"),
        ("0 0.5 0.5 0 0.4", "the box has no width or no height: correct or remove the line"),
        ("7 0.5 0.5 0.2 0.4", "the class id 7 is not in spec.dataset.classes: map it, or remove the line"),
    ],
)
def test_a_darknet_line_that_is_wrong(dataset: Dataset, line: str, says: str) -> None:
    dataset.good().label("train/labels/b.txt", "0 0.5 0.5 0.2 0.4", "", line)
    assert dataset.errors() == [f"train/labels/b.txt:3: {says}"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("top_left 1 2 3", "4 columns, KITTI has 15: correct or remove the line"),
        ("top_left 0 0.0 0 1 2 3 4 0 0 0 0 0 0 0", "occlusion (column 3) is `0.0`, not a whole number: write 0"),
        ("top_left 0 0 0 1 x 3 4 0 0 0 0 0 0 0", "`x` is not a number: correct the line"),
        ("top_left 0 0 0 5 2 3 4 0 0 0 0 0 0 0", "the box has no width or no height: correct or remove the line"),
        (
            "top_left 0 0 0 300 2 310 4 0 0 0 0 0 0 0",
            "the box lies outside its image of 200 x 100 pixels: correct or remove the line",
        ),
        ("Car 0 0 0 1 2 3 4 0 0 0 0 0 0 0", "the class `Car` is not in spec.dataset.classes: map it, or remove the line"),
    ],
)
def test_a_kitti_line_that_is_wrong(kitti: Dataset, line: str, says: str) -> None:
    kitti.good().label("valid/labels/c.txt", line)
    assert kitti.errors() == [f"valid/labels/c.txt:1: {says}"]


def test_a_directory_that_is_missing(dataset: Dataset) -> None:
    dataset.good()
    dataset.changes = {"train": {"images": str(dataset.data / "train/imgs"), "labels": str(dataset.data / "train/lbls")}}
    assert dataset.errors() == [
        "train/imgs: there is no such directory: correct spec.dataset.train.images",
        "train/lbls: there is no such directory: correct spec.dataset.train.labels",
    ]


def test_a_directory_without_images(dataset: Dataset) -> None:
    dataset.good()
    for path in (dataset.data / "valid/images").iterdir():
        path.unlink()
    dataset.image("valid/images/deeper/c.png")
    assert dataset.errors() == [
        "valid/images: there are no images in it: put them right there, folders inside are not searched "
        "(spec.dataset.validation.images)"
    ]


def test_an_image_without_a_label(dataset: Dataset) -> None:
    dataset.good().image("train/images/d.png")
    assert dataset.errors() == [
        "train/images/d.png: its label train/labels/d.txt is missing: write it (empty for no object), or remove the image"
    ]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("d.PNG", "the toolkit does not read .PNG here: rename it to .png"),
        ("d.webp", "the toolkit does not read .webp here: convert it to .jpg or .png"),
    ],
)
def test_a_suffix_that_the_toolkit_does_not_read(dataset: Dataset, name: str, says: str) -> None:
    dataset.good().image(f"train/images/{name}")
    dataset.label("train/labels/d.txt", "0 0.5 0.5 0.2 0.4")
    assert dataset.errors() == [f"train/images/{name}: {says}"]


def test_only_upper_case_suffixes(dataset: Dataset) -> None:
    dataset.good()
    for path in (dataset.data / "train/images").iterdir():
        path.rename(path.with_suffix(".JPG"))
    says = "the toolkit does not read .JPG here: rename it to .jpg"
    assert dataset.errors() == [f"train/images/a.JPG: {says}", f"train/images/b.JPG: {says}"]


def test_an_image_that_inference_does_not_read(dataset: Dataset) -> None:
    dataset.good().image("test/x.bmp")
    dataset.changes = {"unlabelled": {"images": str(dataset.data / "test")}}
    assert dataset.errors() == ["test/x.bmp: the toolkit does not read .bmp here: convert it to .jpg or .png"]


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0", b"<html>not found</html>"])
def test_an_image_whose_header_cannot_be_read(dataset: Dataset, content: bytes) -> None:
    dataset.good().image("train/images/b.png").write_bytes(content)
    assert dataset.errors() == ["train/images/b.png: the image's header cannot be read: replace the file"]


def test_two_images_of_one_name(dataset: Dataset) -> None:
    dataset.good().image("train/images/b.jpg")
    assert dataset.errors() == ["train/images/b.png: one label cannot serve this image and b.jpg: rename one of them"]


def test_a_label_that_is_no_text(dataset: Dataset) -> None:
    dataset.good().label("train/labels/b.txt").write_bytes(b"\xff\xfe0\x000")
    assert dataset.errors() == ["train/labels/b.txt: it is no text in UTF-8: write it again"]


def test_many_errors_are_counted_and_the_first_told(dataset: Dataset) -> None:
    dataset.good().label("train/labels/a.txt", *["9 0.5 0.5 0.2 0.4"] * 50)
    dataset.label("train/labels/b.txt", "0 0.5")
    assert len(dataset.errors()) == 20
    report = json.loads((dataset.directory / "report.json").read_text())
    assert report["message"].endswith("map it, or remove the line (and 50 more)")
    assert report["message"].startswith("The dataset cannot be used: train/labels/a.txt:1: ")


def test_an_earlier_conversion_survives_a_failure(dataset: Dataset) -> None:
    dataset.good().prepare()
    before = tree(dataset.output)
    (dataset.directory / "report.json").unlink()
    dataset.label("train/labels/b.txt", "broken")
    assert dataset.prepare()[0] == 10
    assert tree(dataset.output) == before


# ---- warnings and the rest ---------------------------------------------------------------------------------------------------


def warnings(dataset: Dataset) -> dict[str, str]:
    code, report = dataset.prepare()
    assert code == 0
    return {item["reason"]: item["message"] for item in report["warnings"]}


def test_no_training_box_of_a_class(dataset: Dataset) -> None:
    assert warnings(dataset.good()) == {"ClassWithoutBoxes": "no training box is of class plate: it cannot be learnt"}


def test_boxes_that_training_drops(dataset: Dataset) -> None:
    dataset.good().label("train/labels/a.txt", "1 0.5 0.5 0.001 0.4", "1 0.5 0.5 0.2 0.0009")
    assert warnings(dataset) == {
        "TinyBoxes": "2 boxes are at most 0.1 % of their image wide or high: training drops them (the first: train/labels/a.txt)"
    }


def test_lines_that_anchors_ignore(kitti: Dataset) -> None:
    kitti.good().label("train/labels/a.txt", "license_plate 0 0 0 1 2 30 40 0")
    assert warnings(kitti) == {
        "ShortLines": "1 lines have fewer than 15 columns: computing anchors ignores them (the first: train/labels/a.txt)"
    }


def test_an_exif_rotation(dataset: Dataset) -> None:
    dataset.good()
    orientation = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0x0112, 3, 1, 6, 0)  # a quarter turn
    exif = b"\xff\xe1" + struct.pack(">H", len(orientation) + 8) + b"Exif\0\0" + orientation
    (dataset.data / "train/images/b.png").unlink()
    (dataset.data / "train/images/b.jpg").write_bytes(JPEG[:2] + exif + JPEG[2:])
    assert "ExifRotated" in warnings(dataset)
    assert "80.00 30.00 120.00 70.00" in (dataset.output / "train/labels/b.txt").read_text()  # in stored pixels


def test_sizes_of_the_other_formats(dataset: Dataset) -> None:
    dataset.good()
    bmp = b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, 200, 100, 1, 24, 0, 0, 0, 0, 0, 0)
    gif = b"GIF89a" + struct.pack("<HH", 200, 100) + b"\0" * 40
    for name, content in (("j.jpg", JPEG), ("k.jpeg", JPEG), ("l.bmp", bmp), ("m.gif", gif)):
        (dataset.data / "train/images" / name).write_bytes(content)
        dataset.label(f"train/labels/{name[0]}.txt", "0 0.5 0.5 0.2 0.4")
    assert dataset.prepare()[0] == 0
    assert {path.read_text()[:46] for path in (dataset.output / "train/labels").iterdir()} == {
        "top_left 0.00 0 0.00 80.00 30.00 120.00 70.00 "
    }


def test_sigterm_leaves_nothing_half_done(dataset: Dataset) -> None:
    dataset.good()
    for number in range(3000):
        dataset.image(f"train/images/{number}.png")
        dataset.label(f"train/labels/{number}.txt", "0 0.5 0.5 0.2 0.4")
    dataset.prepare()
    (dataset.directory / "report.json").unlink()
    process = subprocess.Popen(
        [sys.executable, "-m", "yolo_operator.dataset", str(dataset.root / "etc" / "instructions.json")],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    report = json.loads((dataset.directory / "report.json").read_text())
    assert (process.returncode, report["outcome"], report["class"]) == (143, "Interrupted", "infrastructure")
    assert {path.name for path in dataset.directory.iterdir()} == {"logs", "report.json", "dataset"}
    assert len(list((dataset.output / "train/labels").iterdir())) == 3002


def test_the_workspace_of_another_experiment(dataset: Dataset) -> None:
    dataset.good()
    assert dataset.prepare()[0] == 0
    before = (dataset.directory / "report.json").read_text()
    dataset.more = {"experiment": "other", "digest": "e" * 64}
    assert dataset.prepare()[0] == 10
    told = json.loads((dataset.root / "termination-log").read_text())
    assert (told["reason"], told["class"]) == ("WorkspaceInUse", "user")
    assert "default/plates" in told["message"]
    assert (dataset.directory / "report.json").read_text() == before
    dataset.more = {"uid": "u-2"}
    assert dataset.prepare()[0] == 0  # made again under its name: it takes over
    assert json.loads((dataset.workspace / ".yolo-operator" / "owner.json").read_text())["uid"] == "u-2"
    assert [path.name for path in (dataset.workspace / ".yolo-operator").iterdir()] == ["owner.json"]


def finished_elsewhere(dataset: Dataset) -> tuple[Path, dict[str, Any]]:
    """The workspace and the report of an experiment that has prepared the same."""
    report = dataset.good().prepare()[1]
    other = dataset.root / "other"
    dataset.workspace.rename(other)
    return other, report


def test_a_finished_result_is_adopted_from_another_workspace(dataset: Dataset) -> None:
    other, first = finished_elsewhere(dataset)
    shutil.rmtree(dataset.data)  # nothing is read again
    dataset.more = {"adopt": {"workspace": str(other), "only": True}, "attempt": 3}
    code, report = dataset.prepare()
    assert (code, report) == (0, first | {"reused": True, "attempt": 3})
    for part in ("train", "validation"):
        labels = f"stages/prepare-1/dataset/{part}/labels"
        for path in (other / labels).iterdir():
            assert (dataset.workspace / labels / path.name).read_bytes() == path.read_bytes()
    assert not list(dataset.workspace.rglob("*.tmp"))


def test_a_toolkits_stage_is_adopted_here_too(dataset: Dataset) -> None:
    other, first = finished_elsewhere(dataset)
    model = other / "stages/prepare-1/model.tlt"
    model.write_text("model")
    digest = hashlib.sha256(b"model").hexdigest()
    made = [{"name": "model", "path": "stages/prepare-1/model.tlt", "bytes": 5, "sha256": digest}]
    model.with_name("report.json").write_text(json.dumps(first | {"stage": "prune", "artifacts": made}))
    dataset.more = {"adopt": {"workspace": str(other), "only": True}, "task": "prune"}
    assert dataset.prepare()[1]["artifacts"] == made
    assert (dataset.directory / "model.tlt").read_text() == "model"


def test_what_is_not_intact_is_not_adopted(dataset: Dataset) -> None:
    other, first = finished_elsewhere(dataset)
    next((other / first["artifacts"][0]["path"]).iterdir()).write_text("x")
    dataset.more = {"adopt": {"workspace": str(other), "only": True}}
    code, report = dataset.prepare()
    assert (code, report["reason"], report["class"]) == (11, "NothingToAdopt", "infrastructure")
    dataset.more = {"adopt": {"workspace": str(other)}}
    assert dataset.prepare()[1]["reused"] is False
