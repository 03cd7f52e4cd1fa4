"""The report: one file, no network, no script, and the numbers of the status."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pytest
from click.testing import CliRunner
from yolo_operator.cli import gather, results
from yolo_operator.cli.client import Cluster, NotThereError
from yolo_operator.cli.compare import comparison
from yolo_operator.cli.main import main
from yolo_operator.cli.report import Picture, comparison_page, image_type, report

NOW = datetime(2026, 1, 2, tzinfo=UTC)
JPEG, PNG = b"\xff\xd8\xff\xe0jpeg", b"\x89PNG\r\n\x1a\npng"
HISTORY = [
    {"epoch": 1, "loss": 84.2},
    {"epoch": 10, "loss": 9.5, "mAP": 0.5, "validationLoss": 12.5},
    {"epoch": 20, "loss": None},
]


class Page(HTMLParser):
    """Tags that are closed in order, their text, and what they refer to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.text: list[str] = []
        self.refers: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.refers += [value or "" for name, value in attributes if name in ("src", "href", "srcset", "xlink:href")]
        assert not any(name.startswith("on") for name, _ in attributes)
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def page_of(experiment: dict[str, Any], **more: Any) -> Page:
    return Page(report(experiment, NOW, **({"histories": {}} | more)))


def test_numbers_are_those_of_the_status(finished: dict[str, Any]) -> None:
    finished["status"]["stages"][0] |= {"fingerprint": "042e54d25210" + "0" * 52}
    text = " | ".join(page_of(finished).text)
    for expected in (
        "default/plates", "Succeeded", "0.9081", "0.400", "pruned at 0.5", "105 B", "onnx int8", "20m30s", "320",
        "fingerprint 042e54d25210", "exported, mAP 0.9081", "0.90773", "0.90787", "0.9000", "0.45350", "chosen",
        "stages/x/checkpoint.bin", "0" * 64,
    ):  # fmt: skip
        assert expected in text, expected
    for stage in finished["status"]["stages"]:
        assert f"{stage['name']} {stage['variant']}".strip() in text


def test_it_needs_no_network_and_runs_nothing(finished: dict[str, Any]) -> None:
    page = page_of(finished, histories={("train", ""): HISTORY}, pictures=[Picture("a.jpg", JPEG)])
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert all(reference.startswith("data:image/") for reference in page.refers)
    raw = report(finished, NOW, histories={})
    assert "default-src 'none'" in raw
    assert not re.search(r"url\(|@import|https?://", raw)


def test_curves_of_every_training(finished: dict[str, Any]) -> None:
    page = page_of(finished, histories={("train", ""): HISTORY, ("retrain", "0.5"): HISTORY})
    text = " | ".join(page.text)
    assert "train, epoch 1: 84.2" in text
    assert "retrain 0.5, epoch 10: 0.5" in text
    assert "Validation loss" in text
    assert "Curves" not in " ".join(page_of(finished).text), "no history, no empty plot"


def test_pictures_are_embedded_by_what_they_are(finished: dict[str, Any]) -> None:
    pictures = [Picture("a.jpg", JPEG), Picture("b.png", PNG), Picture("c.html", b"<script>")]
    page = page_of(finished, pictures=pictures)
    assert [reference.split(";")[0] for reference in page.refers] == ["data:image/jpeg", "data:image/png"]
    assert image_type(b"<svg onload=alert(1)>") is None


def test_nothing_from_an_object_becomes_markup(finished: dict[str, Any]) -> None:
    evil = "<script>alert(1)</script>"
    status = finished["status"]
    finished["spec"]["note"] = evil
    finished["metadata"]["labels"] = {"a": evil}
    for stage in status["stages"]:
        stage |= {"message": evil, "node": evil, "variant": evil, "warnings": [{"reason": evil, "message": evil}]}
        stage["attempts"] = [{"number": 1, "reason": evil, "message": evil, "class": evil, "node": evil}]
        stage["artifacts"] = [{"name": evil, "path": evil, "sha256": evil, "bytes": 1}]
        stage["metrics"] = {"mAP": 0.5, "AP": {evil: 0.5}, "parameterRatio": 0.5}
    status |= {"phase": evil, "message": evil, "chosen": {"variant": evil, "message": evil}}
    page = page_of(finished, histories={(evil, evil): HISTORY}, pictures=[Picture(evil, JPEG)])
    assert "script" not in page.tags


def test_failed_attempts_and_warnings_are_told(finished: dict[str, Any]) -> None:
    finished["status"]["stages"][2] |= {
        "attempts": [{"number": 1, "reason": "NodeLost", "message": "gone", "class": "infrastructure", "node": "gpu-7"}],
        "warnings": [{"reason": "QatIgnored", "message": "not quantised"}],
    }
    text = " ".join(page_of(finished).text)
    assert "attempt 1, infrastructure: NodeLost: gone on gpu-7" in text
    assert "QatIgnored: not quantised" in text


def test_rounds_are_told(with_rounds: dict[str, Any]) -> None:
    text = " | ".join(page_of(with_rounds).text)
    assert "Pseudo-label rounds" in text
    assert "0.91310" in text
    assert "kept" in text
    assert "not kept" in text


@pytest.mark.parametrize(
    "odd",
    [{}, {"metadata": {"name": "new"}, "spec": {}}, {"status": {"stages": [{}]}}, {"status": {"stages": [{"metrics": None}]}}],
)
def test_anything_has_a_report(odd: dict[str, Any]) -> None:
    page_of(odd)


def test_a_page_of_several(finished: dict[str, Any]) -> None:
    result = comparison([finished, finished | {"metadata": {"name": "other", "namespace": "b"}, "spec": {}}])
    page = Page(comparison_page(result, {("plates train", ""): HISTORY, ("other train", ""): HISTORY}, NOW))
    text = " | ".join(page.text)
    assert "plates train, epoch 1: 84.2" in text
    assert "other train, epoch 1: 84.2" in text
    assert "export.format" in text


# --- the command ---


class Files:
    """A workspace by a dictionary."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self._files = files

    def read(self, path: str) -> list[bytes]:
        if path not in self._files:
            raise NotThereError(f"no {path}")
        return [self._files[path]]

    def files(self, path: str) -> dict[str, int]:
        return {name.removeprefix(path + "/"): len(data) for name, data in self._files.items() if name.startswith(path + "/")}


@pytest.fixture
def ran(finished: dict[str, Any]) -> dict[str, Any]:
    for stage in finished["status"]["stages"]:
        stage["digest"] = "ab12cd34" + "0" * 56
    images = {"name": "images", "path": "stages/inference/images_annotated", "bytes": 9, "sha256": "0" * 64}
    finished["status"]["stages"].append({"name": "inference", "state": "Succeeded", "artifacts": [images], "digest": "ab12cd34"})
    return finished


FILES = {
    "stages/train-ab12cd34/report.json": json.dumps({"history": HISTORY}).encode(),
    **{f"stages/inference/images_annotated/{number:02}.jpg": JPEG for number in range(20)},
    "stages/inference/images_annotated/huge.jpg": JPEG + b"x" * gather.PICTURE_BYTES,
    "stages/inference/images_annotated/notes.txt": b"text",
}


def test_curves_and_pictures_come_from_the_workspace(ran: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    workspace: Any = Files(FILES)
    assert set(results.histories_of(workspace, ran)) == {("train", "")}
    assert "no curve of retrain: no stages/retrain-ab12cd34/report.json" in capsys.readouterr().err
    names = [picture.name for picture in gather.pictures(workspace, ran, 5)]
    assert names == ["00.jpg", "04.jpg", "08.jpg", "12.jpg", "16.jpg"]
    assert gather.pictures(workspace, ran, 0) == []


def test_the_command_writes_the_page(ran: dict[str, Any], tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Pod:
        def __init__(self, *_: Any) -> None: ...

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: Any) -> None: ...

    def init(self: Cluster, **_: Any) -> None:
        self.namespace = "default"

    monkeypatch.setattr(Cluster, "__init__", init)
    monkeypatch.setattr(Cluster, "get", lambda self, name: ran)
    monkeypatch.setattr(results, "WorkspacePod", Pod)
    monkeypatch.setattr(results, "Workspace", lambda pod: Files(FILES))
    result = CliRunner().invoke(main, ["report", "plates", "-o", str(tmp_path / "r.html")])
    assert result.exit_code == 0, result.output
    assert "1 curves, 6 pictures" in result.output
    assert "train, epoch 1: 84.2" in (tmp_path / "r.html").read_text()
    monkeypatch.setattr(results, "WorkspacePod", None)
    result = CliRunner().invoke(main, ["report", "plates", "-o", str(tmp_path / "s.html"), "--without-workspace"])
    assert result.exit_code == 0, result.output
    assert "<h1>default/plates</h1>" in (tmp_path / "s.html").read_text()
