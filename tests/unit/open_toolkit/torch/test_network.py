"""The graph, the network and the meaning of its outputs."""

from __future__ import annotations

import pytest
import torch
from tiny_network import HEAD, network
from yolo_v4.errors import ModelError
from yolo_v4.model.files import Model, epoch_of_name, load_checkpoint, save_model
from yolo_v4.model.graph import Graph
from yolo_v4.model.head import Decoder, corners_and_scores


@pytest.mark.parametrize("nlayers", [10, 18, 34])
def test_three_scales_of_anchors_times_fields(nlayers: int) -> None:
    outputs = network(nlayers)(torch.zeros(2, 3, 64, 96))
    assert [tuple(output.shape) for output in outputs] == [(2, 7, 2, 3), (2, 7, 4, 6), (2, 14, 8, 12)]


def test_a_graph_survives_json() -> None:
    graph = network().graph
    assert Graph.from_json(graph.to_json()).layers == graph.layers
    broken = [entry for entry in graph.to_json() if entry["name"] != "conv1"]
    with pytest.raises(ModelError, match="pool1"):
        Graph.from_json(broken)


def test_decoding_by_hand() -> None:
    raws = [torch.zeros(1, 7, 1, 2), torch.zeros(1, 7, 2, 4), torch.zeros(1, 14, 4, 8)]
    # The second anchor of the fine scale, row 3, column 5: twice as wide, half as high; class 1.
    raws[2][0, 7:, 3, 5] = torch.tensor([0.0, 0.0, 0.6931, -0.6931, 50.0, -50.0, 50.0])
    corners, scores = corners_and_scores(Decoder(HEAD)(tuple(raws)))
    place = 2 + 8 + 32 + 3 * 8 + 5
    assert corners.shape == (1, 2 + 8 + 64, 4)
    assert corners[0, place].tolist() == pytest.approx([44 - 16, 28 - 2.5, 44 + 16, 28 + 2.5], abs=0.01)
    assert scores[0, place].tolist() == pytest.approx([0.0, 1.0], abs=1e-6)


def test_centres_reach_beyond_their_cell_by_half_the_extension() -> None:
    raws = [torch.zeros(1, 7, 1, 1), torch.zeros(1, 7, 2, 2), torch.full((1, 14, 4, 4), -50.0)]
    boxes = Decoder(HEAD)(tuple(raws)).boxes
    assert boxes[0, 5, :2].tolist() == pytest.approx([-0.8, -0.8], abs=1e-4)


def test_a_checkpoint_says_what_it_is(tmp_path) -> None:
    path = tmp_path / "yolov4_resnet18_epoch_007.pth"
    save_model(path, Model(network(), HEAD, ["left", "right"]), epoch=7)
    loaded = load_checkpoint(path)
    images = torch.rand(1, 3, 64, 64)
    for mine, theirs in zip(network()(images), loaded.model.network.eval()(images), strict=True):
        assert torch.equal(mine, theirs)
    assert (loaded.model.head, loaded.model.classes, loaded.epoch) == (HEAD, ["left", "right"], 7)
    assert [path.name for path in tmp_path.iterdir()] == ["yolov4_resnet18_epoch_007.pth"]


def test_what_is_no_checkpoint(tmp_path) -> None:
    (tmp_path / "torn.pth").write_bytes(b"PK\x03\x04torn")
    torch.save({"a": 1}, tmp_path / "other.pth")
    for name in ("none.pth", "torn.pth", "other.pth", "model.tlt"):
        with pytest.raises(ModelError, match=name.split(".")[0]):
            load_checkpoint(tmp_path / name)


def test_the_epoch_is_in_the_name() -> None:
    assert epoch_of_name("/x/yolov4_resnet18_epoch_080.pth") == 80
    assert epoch_of_name("yolov4_resnet18_epoch_1000.pth") == 1000
    with pytest.raises(ModelError, match="renamed"):
        epoch_of_name("best.pth")
