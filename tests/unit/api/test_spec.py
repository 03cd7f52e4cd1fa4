"""What the resource accepts and refuses, and where it points."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError
from yolo_operator.api.spec import Spec, parse_spec

Patch = Callable[[dict[str, Any]], dict[str, Any]]

YOLO = "experimentSpec.yolov4Config"
TRAINING = "experimentSpec.trainingConfig"
COSINE = f"{TRAINING}.learningRate.softStartCosineAnnealingSchedule"
AUGMENTATION = "experimentSpec.augmentationConfig"


def errors(raw: dict[str, Any]) -> dict[str, str]:
    """Messages by the path of the field they point at."""
    try:
        parse_spec(raw)
    except ValidationError as found:
        return {".".join(map(str, error["loc"])): error["msg"] for error in found.errors()}
    return {}


def test_the_examples_are_accepted(examples: dict[str, Any]) -> None:
    assert {"license-plate-cpu.yaml", "license-plate-tao-5.yaml", "license-plate-tao.yaml"} <= set(examples)
    for manifest in examples.values():
        assert isinstance(parse_spec(manifest["spec"]), Spec)
        assert len(manifest["metadata"]["name"]) <= 63


def test_what_is_dumped_is_what_was_read(examples: dict[str, Any]) -> None:
    for manifest in examples.values():
        spec = parse_spec(manifest["spec"])
        assert parse_spec(spec.dump()) == spec


@pytest.mark.parametrize(
    "path",
    ["surprise", "toolkit.images", f"{YOLO}.big_anchor_shape", f"{TRAINING}.batchSize", f"{TRAINING}.optimizer.adagrad"],
)
def test_unknown_fields_are_errors(path: str, patched: Patch) -> None:
    assert errors(patched({path: {}})) == {path: "Extra inputs are not permitted"}


@pytest.mark.parametrize(
    ("path", "bad", "good"),
    [
        ("toolkit.profile", "tao-4.0", "open"),
        ("toolkit.image", "an image", "registry.example/a/b:1@sha256:0"),
        ("workspace.mountPath", "relative", "/yolov4"),
        ("workspace.volumeClaimTemplate.storage", "lots", "1.5Gi"),
        ("workspace.volumeClaimTemplate.accessModes", [], ["ReadWriteMany"]),
        ("dataset.format", "coco", "darknet"),
        ("dataset.train.images", "with space", "a/b_c-d.e"),
        ("dataset.train.images", "$(reboot)", "/absolute/too"),
        ("dataset.train.images", "", "images"),
        ("dataset.classes", {}, {"0": "left"}),
        ("dataset.claimName", "Upper", "lower-case.name"),
        (f"{YOLO}.arch", "yolov7", "resnet"),
        (f"{YOLO}.boxMatchingIou", 0, 1),
        (f"{YOLO}.boxMatchingIou", 1.1, 0.01),
        (f"{YOLO}.matchingNeutralBoxIou", 0.25, 0.26),
        (f"{YOLO}.lossLocWeight", 0, 0.1),
        (f"{YOLO}.lossNegObjWeights", 0, 0.1),
        (f"{YOLO}.lossClassWeights", 0, 0.1),
        (f"{YOLO}.labelSmoothing", 0.31, 0.3),
        (f"{YOLO}.focalLossAlpha", 1, 0.99),
        (f"{YOLO}.focalLossGamma", -0.1, 0),
        (f"{YOLO}.freezeBlocks", [6], [0, 5]),
        (f"{YOLO}.smallGridXyExtend", 0.4, 0),
        (f"{TRAINING}.batchSizePerGpu", 0, 1),
        (f"{TRAINING}.batchSizePerGpu", 1.5, 2),
        (f"{TRAINING}.batchSizePerGpu", "many", 2),
        (f"{TRAINING}.numEpochs", 0, 5),
        (f"{TRAINING}.checkpointInterval", 0, 1),
        (f"{TRAINING}.nWorkers", 0, 1),
        (f"{TRAINING}.pretrainModelPath", "a;b", "a.hdf5"),
        (f"{COSINE}.maxLearningRate", float("inf"), 1),
        (f"{COSINE}.minLearningRate", 0, 1e-12),
        (f"{COSINE}.softStart", 1.01, 1),
        (f"{TRAINING}.regularizer.weight", 1, 0.5),
        (f"{TRAINING}.regularizer.type", "l1", "L1"),
        (f"{TRAINING}.optimizer.adam.beta1", 1, 0.5),
        (f"{TRAINING}.optimizer.adam.epsilon", 0, 1e-9),
        (f"{TRAINING}.earlyStopping", {"minDelta": 0, "patience": 0}, {"minDelta": 0, "patience": 1}),
        (f"{TRAINING}.earlyStopping", {"monitor": "mAP", "minDelta": 0, "patience": 1}, None),
        ("experimentSpec.evalConfig.batchSize", 0, 1),
        ("experimentSpec.evalConfig.averagePrecisionMode", "VOC", "INTEGRATE"),
        ("experimentSpec.nmsConfig.confidenceThreshold", 0, 0.001),
        ("experimentSpec.nmsConfig.topK", 0, 1),
        (f"{AUGMENTATION}.outputWidth", 100, 96),
        (f"{AUGMENTATION}.outputHeight", 0, 32),
        (f"{AUGMENTATION}.saturation", 0.9, 1),
        (f"{AUGMENTATION}.hue", 1.1, 1),
        (f"{AUGMENTATION}.mosaicMinRatio", 0.5, 0.49),
        (f"{AUGMENTATION}.mosaicMinRatio", 0, 0.01),
        ("experimentSpec.openConfig.widthMultiplier", 0, 1),
        ("experimentSpec.openConfig.widthMultiplier", 1.5, 0.1),
        ("experimentSpec.randomSeed", -1, 0),
        ("pretrained.url", "http://mirror.example/a.hdf5", "https://mirror.example/b/a.hdf5"),
        ("pretrained.url", "https://mirror.example/", "https://mirror.example:8443/a.hdf5"),
        ("pretrained.url", "https://user:word@mirror.example/a.hdf5", "https://mirror.example/b%20c/a.hdf5"),
        ("pretrained.url", "https://mirror.example/a.hdf5?token=1", "https://mirror.example/~b/a.hdf5"),
        ("pretrained.sha256", "A" * 64, "a" * 64),
        ("pretrained.proxy.https", "http://user:word@proxy.example:3128", "http://proxy.example:3128"),
        ("anchors.auto.count", 8, 6),
        ("anchors.auto.count", 30, 27),
        ("train.checkpoint", "0", "best"),
        ("train.checkpoint", "newest", "last"),
        ("train.checkpoint", "-1", "20"),
        ("prune.thresholds", [], [0.5]),
        ("prune.equalizationCriterion", "sum", "arithmetic_mean"),
        ("prune.select.maxMapDrop", 1.5, 1),
        ("retrain.numEpochs", 0, 6),
        ("export.dataType", "int4", "fp32"),
        ("inference.threshold", 0, 0.01),
        ("inference.threshold", 1, 0.99),
        ("resources.gpus", -1, 0),
        ("resources.requests", {"cpu": "one"}, {"cpu": "100m"}),
        ("retry.limit", -1, 0),
        ("retry.backoffSeconds", 0, 1),
        ("maxParallel", 0, 1),
        ("queueName", "Queue", "queue"),
    ],
)
def test_ranges_and_patterns(path: str, bad: Any, good: Any, patched: Patch) -> None:
    fetched = {"url": "https://mirror.example/a.hdf5", "sha256": "0" * 64}
    around = {"pretrained": fetched} if path.startswith("pretrained") else {}
    assert errors(patched({**around, path: good})) == {}
    assert [found for found in errors(patched({**around, path: bad})) if found.startswith(path)], path


@pytest.mark.parametrize("threshold", [0, 1, -0.1, 1.1])
def test_a_threshold_lies_between_0_and_1(threshold: float, patched: Patch) -> None:
    assert list(errors(patched({"prune.thresholds": [0.1, threshold]}))) == ["prune.thresholds.1"]


@pytest.mark.parametrize(
    "literal",
    ["[(1, 2), (3.5, 4)]", "[(10.00,20.0)]", " [ ( 1 , 2 ) , ] "],
)
def test_anchor_literals(literal: str, patched: Patch) -> None:
    assert errors(patched({f"{YOLO}.{scale}AnchorShape": literal for scale in ("big", "mid", "small")})) == {}


@pytest.mark.parametrize("literal", ["__import__('os').system('id')", "[]", "[(1, 2, 3)]", "[(1, -2)]", "(1, 2)", "[(1, 2)] * 3"])
def test_an_anchor_literal_can_be_nothing_but_numbers(literal: str, patched: Patch) -> None:
    anchors = {f"{YOLO}.{scale}AnchorShape": literal for scale in ("big", "mid", "small")}
    assert set(errors(patched(anchors))) == set(anchors)


def test_models_do_not_change(patched: Patch) -> None:
    spec = parse_spec(patched({}))
    with pytest.raises(ValidationError, match="frozen"):
        spec.suspend = True  # type: ignore[misc]
