"""The commands, as far as they need no cluster: validate, and what is said when there is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from yolo_operator.cli.client import Cluster
from yolo_operator.cli.main import main

VALID = """
apiVersion: yolo-operator.dev/v1alpha1
kind: YoloExperiment
metadata: {name: plates}
spec:
  toolkit: {profile: open}
  workspace: {claimName: data}
  dataset:
    format: darknet
    train: {images: train/images, labels: train/labels}
    validation: {images: valid/images, labels: valid/labels}
    classes: {"0": top_left}
  anchors: {auto: {count: 9}}
  experimentSpec:
    yolov4Config: {arch: resnet, nlayers: 18}
    trainingConfig:
      batchSizePerGpu: 8
      numEpochs: 12
      checkpointInterval: 2
      learningRate: {softStartCosineAnnealingSchedule: {minLearningRate: 1.0e-5, maxLearningRate: 1.0e-3, softStart: 0.3}}
      regularizer: {type: L1, weight: 1.0e-4}
      optimizer: {adam: {}}
    evalConfig: {batchSize: 8}
    augmentationConfig: {outputWidth: 160, outputHeight: 160}
"""


def validate(tmp_path: Path, text: str) -> tuple[int, str]:
    file = tmp_path / "experiment.yaml"
    file.write_text(text)
    result = CliRunner().invoke(main, ["validate", str(file)])
    return result.exit_code, result.output.replace(str(tmp_path) + "/", "")


def test_a_valid_experiment(tmp_path: Path) -> None:
    assert validate(tmp_path, VALID) == (0, "experiment.yaml: plates: valid\n")


def test_other_kinds_in_the_file_are_left_alone(tmp_path: Path) -> None:
    assert validate(tmp_path, VALID + "---\napiVersion: v1\nkind: Secret\n---\n")[0] == 0


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("batchSizePerGpu: 8", "batchSizePerGpu: 0", "spec.experimentSpec.trainingConfig.batchSizePerGpu: "),
        ("batchSizePerGpu: 8", "batchsize: 8", "trainingConfig.batchsize: unknown field, did you mean batchSizePerGpu?"),
        (
            "batchSizePerGpu: 8",
            "batchSizePerGPU: 8",
            "trainingConfig.batchSizePerGPU: unknown field, did you mean batchSizePerGpu?",
        ),
        ("batchSizePerGpu: 8", "wholly: 8", "spec.experimentSpec.trainingConfig.wholly: unknown field\n"),
        ("profile: open", "profile: tao-3.21.11", "spec.toolkit.encryptionKeySecretRef: tao-3.21.11 encrypts its models"),
        ("{claimName: data}", "{}", "spec.workspace: set exactly one of claimName, volumeClaimTemplate"),
        ("  anchors: {auto: {count: 9}}\n", "", "spec: no anchors: set anchors.auto"),
        ("name: plates", "name: my.plates", "metadata.name: becomes a label value"),
        ("v1alpha1", "v9", "apiVersion: is 'yolo-operator.dev/v9'"),
    ],
)
def test_the_message_has_the_fields_path(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in VALID
    code, output = validate(tmp_path, VALID.replace(old, new))
    assert code == 1
    assert said in output


def test_the_verdicts_as_data(tmp_path: Path) -> None:
    file = tmp_path / "e.yaml"
    file.write_text(VALID + "---\n" + VALID.replace("format: darknet", "format: coco"))
    result = CliRunner().invoke(main, ["validate", str(file), "-o", "json"])
    good, bad = json.loads(result.stdout)
    assert (result.exit_code, good["valid"], good["problems"], bad["valid"]) == (1, True, [], False)
    assert "spec.dataset.format" in bad["problems"][0]


def test_each_change_as_data(finished: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    running = {**finished, "status": {**finished["status"], "phase": "Running", "conditions": []}}
    monkeypatch.setattr(Cluster, "__init__", lambda self, **_: None)
    monkeypatch.setattr(Cluster, "follow", lambda *_: iter([running, running, finished]))
    for output, load in (("json", json.loads), ("yaml", yaml.safe_load)):
        result = CliRunner().invoke(main, ["watch", "plates", "-o", output])
        values = result.stdout.split("---\n")[1:] if output == "yaml" else result.stdout.splitlines()
        assert [load(text)["phase"] for text in values] == ["Running", "Succeeded"]
        assert result.exit_code == 0


def test_files_that_hold_no_experiment(tmp_path: Path) -> None:
    assert validate(tmp_path, "kind: Secret\n") == (2, "No YoloExperiment in the files given.\n")
    assert validate(tmp_path, "a: [\n")[0] == 2


def test_no_cluster_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    result = CliRunner().invoke(main, ["list", "--kubeconfig", str(tmp_path / "none")])
    assert result.exit_code == 1
    assert "no cluster to talk to" in result.output
    assert "Traceback" not in result.output
