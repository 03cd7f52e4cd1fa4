"""Pictures of panels: each kind says its numbers, and a picture ends where its page ends."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import pytest
from panel_pictures import page, trimmed
from panels import queries

BOARD = "YOLO experiments"


def answers(panel: str, *series: list[dict[str, Any]]) -> dict[str, Any]:
    asked = [query for query in queries() if query.panel == panel]
    return {panel: list(zip(asked, series, strict=False))}


def one(value: float, **labels: str) -> list[dict[str, Any]]:
    return [{"metric": labels, "values": [[10, str(value)], [20, str(value)]]}]


def test_a_stat_is_a_number_and_a_table_joins_its_queries() -> None:
    assert ">2 <small>Running" in page(BOARD, answers("Experiments by phase", one(2, phase="Running")), 0)
    whose = {"namespace": "lab", "experiment": "plates"}
    found = page(BOARD, answers("Experiments", one(1, **whose, phase="Running"), one(0.5, **whose), one(0.75, **whose)), 0)
    assert "<td>plates</td><td>Running</td><td>50%</td><td>0.75</td>" in found


def test_the_sweep_is_a_scatter_and_all_else_lines() -> None:
    whose = {"namespace": "lab", "experiment": "plates", "variant": "0.5"}
    sweep = page(BOARD, answers("Pruning: mAP over the parameters left", one(0.4, **whose), one(0.9, **whose)), 0)
    assert "plates 0.5: parameters left 0.4, mAP 0.9" in sweep
    lines = page(BOARD, answers("mAP", one(0.9, experiment="plates", stage="train")), 0)
    assert "plates train, seconds 10: 90" in lines
    assert "no samples" in page(BOARD, answers("mAP", []), 0)


@pytest.mark.parametrize("channels", [3, 4])
def test_the_empty_end_of_a_picture_is_cut_off(channels: int) -> None:
    drawn, empty = b"\0" + bytes(range(2 * channels)), b"\0" + bytes(2 * channels)
    header = struct.pack(">IIBBBBB", 2, 100, 8, {3: 2, 4: 6}[channels], 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(drawn * 10 + empty * 90)), (b"IEND", b"")]
    whole = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    short = trimmed(whole, margin=5)
    assert struct.unpack(">II", short[16:24]) == (2, 15)
    assert zlib.decompress(short[41 : 41 + struct.unpack(">I", short[33:37])[0]]) == drawn * 10 + empty * 5
