"""Tests that compute: skipped where torch, onnx or onnxruntime is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from stack import missing  # noqa: E402

if missing():
    collect_ignore = [path.name for path in HERE.glob("test_*.py") if path.name != "test_stack.py"]
else:
    import torch

    # The networks are so small that a second thread would only wait for the first.
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve training and four validation images with a bright bar on the left or right of a dark square."""
    import numpy as np
    from PIL import Image

    root = tmp_path_factory.mktemp("dataset")
    rng = np.random.default_rng(1)
    for split, count in (("train", 12), ("valid", 4)):
        (root / split / "images").mkdir(parents=True)
        (root / split / "labels").mkdir()
        for index in range(count):
            pixels = rng.integers(90, 160, (64, 96, 3)).astype(np.uint8)
            x, y, side = int(rng.integers(0, 60)), int(rng.integers(0, 34)), int(rng.integers(22, 30))
            pixels[y : y + side, x : x + side] = 20
            name = ("0", "right")[index % 2]
            bar = x if name == "0" else x + side - 6
            pixels[y : y + side, bar : bar + 6] = (255, 240, 40)
            Image.fromarray(pixels).save(root / split / "images" / f"{index:03d}.png")
            line = f"{name} 0 0 0 {x} {y} {x + side} {y + side} 0 0 0 0 0 0 0\n"
            (root / split / "labels" / f"{index:03d}.txt").write_text(line)
    return root


@pytest.fixture
def write_spec(spec_text: str, dataset: Path, tmp_path: Path):
    """Writes the spec on this dataset, with additions that win over what it says."""

    def write(additions: str = "", name: str = "spec.txt") -> str:
        path = tmp_path / name
        path.write_text(spec_text.replace("/dataset", str(dataset)) + additions)
        return str(path)

    return write
