"""The part of the client that needs no cluster: reading a log's tail."""

from __future__ import annotations

from yolo_operator.cli.client import last_progress


def test_the_last_whole_line_counts() -> None:
    log = """Epoch 3/80
{"yoloProgress":{"epoch":3,"loss":9.5}}
Epoch 4/80
{"yoloProgress":{"epoch":4,"loss":8.5}}
saving
{"yoloProgress":{"epoch":5,"lo"""
    assert last_progress(log) == {"epoch": 4, "loss": 8.5}


def test_no_progress_is_none() -> None:
    assert last_progress("") is None
    assert last_progress('{"yoloProgress": 3}') is None
    assert last_progress("Epoch 1/80\n") is None
