"""`kubectl yolo import`: an experiment that validates, and everything that did not go over said twice."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from yolo_operator.cli.importing import default_name
from yolo_operator.cli.main import main

SEED = (Path(__file__).parents[1] / "toolkit" / "seed-config.txt").read_text(encoding="utf-8")
EXAMPLE = yaml.safe_load((Path(__file__).parents[3] / "examples" / "license-plate-tao.yaml").read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def imported(text: str, *options: str) -> Result:
    Path("config.txt").write_text(text, encoding="utf-8")
    return CliRunner().invoke(main, ["import", "config.txt", *options])


def validated(text: str) -> str:
    Path("experiment.yaml").write_text(text, encoding="utf-8")
    return CliRunner().invoke(main, ["validate", "experiment.yaml"]).output


def test_the_seeds_file() -> None:
    result = imported(SEED, "--name", "license-plate", "--profile", "tao-3.21.11")
    assert result.exit_code == 0
    assert result.stderr == "config.txt:1:1: its paths share /yolov4, which is taken as workspace.mountPath\n"
    assert validated(result.stdout) == "experiment.yaml: license-plate: valid\n"
    spec = yaml.safe_load(result.stdout)["spec"]
    assert spec["toolkit"] == {"profile": "tao-3.21.11", "encryptionKeySecretRef": {"name": "tao", "key": "key"}}
    assert spec["workspace"] == EXAMPLE["spec"]["workspace"]
    assert spec["experimentSpec"] == EXAMPLE["spec"]["experimentSpec"]


def test_options() -> None:
    result = imported(SEED, "--mount-path", "/yolov4/dataset", "--claim", "plates", "--key-secret", "a/b")
    assert result.exit_code == 0
    assert result.stderr == (
        "config.txt:47:3: training_config.pretrain_model_path: lies outside of the workspace (/yolov4/dataset): "
        "the image must have it\n"
    )
    body = yaml.safe_load(result.stdout)
    assert body["metadata"]["name"] == "config"
    assert body["spec"]["toolkit"] == {"profile": "tao-5.0"}
    assert body["spec"]["workspace"] == {"claimName": "plates", "mountPath": "/yolov4/dataset"}
    assert body["spec"]["dataset"]["train"]["images"] == "train/images"


def test_standard_input() -> None:
    result = CliRunner().invoke(main, ["import", "-"], input=SEED)
    assert result.exit_code == 0
    assert validated(result.stdout) == "experiment.yaml: experiment: valid\n"


def test_what_is_lost_is_said_with_its_place_and_fails() -> None:
    text = SEED.replace("pretrain_model_path", "resume_model_path").replace("  top_k: 200\n", "")
    result = imported(text)
    assert result.exit_code == 1
    said = "config.txt:47:3: training_config.resume_model_path: left out: the operator resumes"
    assert said in result.stderr
    assert "config.txt:54:1: nms_config.top_k: is not there" in result.stderr
    comments = " ".join(line.removeprefix("#").strip() for line in result.stdout.splitlines() if line.startswith("#"))
    assert f"NOT MAPPED: {said}" in comments
    assert validated(result.stdout) == "experiment.yaml: config: valid\n"
    forced = imported(text, "--force")
    assert (forced.exit_code, forced.stdout) == (0, result.stdout)


def test_data_that_are_not_there_leave_a_mark() -> None:
    result = imported(
        SEED.replace('label_directory_path: "/yolov4/dataset/train/labels"', 'tfrecords_path: "/yolov4/tfrecords/*"')
    )
    assert result.exit_code == 1
    assert "dataset_config.data_sources[0]: tfrecords_path is left out" in result.stderr
    assert yaml.safe_load(result.stdout)["spec"]["dataset"]["train"]["labels"] == "SET-ME/train/labels"


def test_no_anchors_are_computed_ones() -> None:
    text = "\n".join(line for line in SEED.splitlines() if "anchor_shape" not in line)
    result = imported(text)
    assert result.exit_code == 0
    assert yaml.safe_load(result.stdout)["spec"]["anchors"] == {"auto": {"count": 9}}


def test_a_rule_of_the_rest_is_a_loss() -> None:
    result = imported(SEED, "--profile", "tao-3.21.11", "--name", "a.b")
    assert result.exit_code == 1
    assert "config.txt:1:1: metadata.name: becomes a label value" in result.stderr


def test_no_experiment_spec() -> None:
    result = imported(SEED.replace("nms_config {", "nms_config {\n  top: 1"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == 'config.txt:55:3: NMSConfig has no field named "top".\n'
    twice = imported(SEED + "random_seed: 1")
    assert twice.exit_code == 2
    assert "random_seed is there twice" in twice.stderr
    Path("config.txt").write_bytes(b"\xff\xfe")
    assert CliRunner().invoke(main, ["import", "config.txt"]).exit_code == 2


def test_names() -> None:
    assert default_name(Path("a/My Config_2.txt")) == "my-config-2"
    assert default_name(Path("---")) == "experiment"
    assert len(default_name(Path("x" * 100))) == 63
