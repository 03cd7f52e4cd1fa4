"""The rules between fields: for each what breaks it, and a neighbour that keeps it.

The API server evaluates the CEL half of a rule; this is the Python half.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import ValidationError
from yolo_operator.api.base import Model, Rule
from yolo_operator.api.spec import Spec, WrittenSpec, parse_spec

Changes = dict[str, Any]
Patch = Callable[[Changes], dict[str, Any]]

YOLO = "experimentSpec.yolov4Config"
TRAINING = "experimentSpec.trainingConfig"
SCHEDULES = f"{TRAINING}.learningRate"
AUGMENTATION = "experimentSpec.augmentationConfig"

DEEP = {f"{AUGMENTATION}.outputDepth": 16, f"{AUGMENTATION}.outputChannel": 1, f"{AUGMENTATION}.imageMean": None}
PNG = {"dataset.imageExtension": "png"}
BIG, MID, SMALL = ({f"{YOLO}.{scale}AnchorShape": "[(1, 2)]"} for scale in ("big", "mid", "small"))
CLAIM = {"workspace": {"claimName": "data"}}
TAO_3 = {
    "toolkit": {"profile": "tao-3.21.11", "encryptionKeySecretRef": {"name": "tao", "key": "key"}},
    "experimentSpec.openConfig": None,
    "export.format": "etlt",
}
BY_IMAGE = {
    "toolkit": {
        "image": "nvcr.io/nvidia/tao/tao-toolkit-tf:v3.21.11-tf1.15.5-py3",
        "encryptionKeySecretRef": {"name": "tao", "key": "key"},
    },
    "experimentSpec.openConfig": None,
    "export.format": "etlt",
}
TAO_5 = {"toolkit.profile": "tao-5.0", "experimentSpec.openConfig": None}
TINY = {
    **TAO_5,
    f"{YOLO}.arch": "cspdarknet_tiny",
    f"{YOLO}.nlayers": None,
    f"{YOLO}.smallGridXyExtend": 0,
    "anchors.auto.count": 6,
}
COSINE = {"minLearningRate": 1e-5, "maxLearningRate": 1e-3, "softStart": 0.1}
ANNEALING = {**COSINE, "annealing": 0.7}


def schedule(name: str, fields: Changes, **other: float) -> Changes:
    return {SCHEDULES: {name: {**fields, **other}}}


LAYERS = "nlayers must be one of resnet: 10, 18, 34, 50, 101; vgg: 16, 19; darknet, cspdarknet: 19, 53"
TWO_SCALES = "cspdarknet_tiny has two scales: leave smallAnchorShape out and set smallGridXyExtend to 0"
ALL_SCALES = "give the anchors of every scale (bigAnchorShape, midAnchorShape, smallAnchorShape) or of none"
RATES = "minLearningRate must be below maxLearningRate"
ONE_SCHEDULE = "set exactly one of softStartAnnealingSchedule, softStartCosineAnnealingSchedule"
INTERVAL = "checkpointInterval must not be above numEpochs: no checkpoint would be written"
MEANS = "imageMean has the keys r, g, b with 3 channels, l with 1"
WORDS = "a class in a label file is one word: the keys must have 1 to 63 characters, no blanks and no quotes"
ONE_CLASS = {"dataset.classes": {"Straßenbahn-1/2": "tram"}, "experimentSpec.openConfig.flipPairs": None}
CHOICE = "set threshold, or bounds (maxMapDrop, maxParameterRatio, maxBytes)"
GATES = "a gate, and what it compares with, need their stage: prune, retrain, inference.rounds, export (open)"
SAVED = "{}.checkpoint must be a saved epoch: a multiple of checkpointInterval (numEpochs, but not with TAO 3)"
ROUNDS = {"inference.rounds": {"fineTune": {"numEpochs": 4}}}
NEEDS_GPU = "TAO looks for a GPU before every task, whatever it is: gpus must not be 0"
MOUNT_PATH = "mountPath: /dataset, /dev, /etc/yolo-operator, /opt/yolo-operator, /proc, /sys and /tmp are the pod's own"
FORMATS = "the toolkit exports another format (tao-3.21.11: etlt; tao-5.0: onnx; open: onnx)"
PRECISIONS = "the toolkit exports other precisions (tao-3.21.11: fp32, fp16, int8; tao-5.0: fp32, fp16, int8; open: fp32, int8)"
AMP = "only tao-3.21.11 and tao-5.0 have automatic mixed precision: leave useAmp out"
SIZES = "minBatchSize, optBatchSize and maxBatchSize (1 where absent) must not fall"
QAT = {f"{TRAINING}.enableQat": True, "retrain.enableQat": False}
FETCHED = {"url": "https://mirror.example/weights/resnet_18.hdf5", "sha256": "0" * 64}
SUB_PATH = "subPath must be relative and without '..'"


def on_nodes(*expressions: dict[str, Any]) -> Changes:
    terms = {"nodeSelectorTerms": [{"matchExpressions": list(expressions)}]}
    return {"scheduling": {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}}


def apart_from(*expressions: dict[str, Any]) -> Changes:
    term = {"labelSelector": {"matchExpressions": list(expressions)}, "topologyKey": "kubernetes.io/hostname"}
    return {"scheduling": {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}}


RULES: list[tuple[str, Changes, Changes]] = [
    # (message, what breaks the rule, what keeps it)
    (LAYERS, {f"{YOLO}.nlayers": 20}, {f"{YOLO}.nlayers": 34}),
    (LAYERS, {f"{YOLO}.nlayers": None}, {**TINY, f"{YOLO}.arch": "squeezenet"}),
    (TWO_SCALES, {**TINY, f"{YOLO}.smallGridXyExtend": 0.2}, TINY),
    (TWO_SCALES, {**TINY, **BIG, **MID, **SMALL}, {**TINY, **BIG, **MID}),
    (ALL_SCALES, {**BIG, **MID}, {**BIG, **MID, **SMALL}),
    (ALL_SCALES, BIG, {}),
    (RATES, schedule("softStartCosineAnnealingSchedule", COSINE, minLearningRate=1e-3), {}),
    (
        RATES,
        schedule("softStartAnnealingSchedule", ANNEALING, minLearningRate=1e-2),
        schedule("softStartAnnealingSchedule", ANNEALING),
    ),
    (
        "softStart must be below annealing",
        schedule("softStartAnnealingSchedule", ANNEALING, annealing=0.1),
        schedule("softStartAnnealingSchedule", ANNEALING, annealing=0.11),
    ),
    (ONE_SCHEDULE, {SCHEDULES: {}}, {}),
    (ONE_SCHEDULE, {f"{SCHEDULES}.softStartAnnealingSchedule": ANNEALING}, schedule("softStartAnnealingSchedule", ANNEALING)),
    (
        "weight is needed with L1 and L2",
        {f"{TRAINING}.regularizer.weight": None},
        {f"{TRAINING}.regularizer": {"type": "NO_REG"}},
    ),
    ("set exactly one of adam, sgd, rmsprop", {f"{TRAINING}.optimizer": {}}, {f"{TRAINING}.optimizer": {"sgd": {}}}),
    ("set exactly one of adam, sgd, rmsprop", {f"{TRAINING}.optimizer.sgd": {}}, {f"{TRAINING}.optimizer": {"rmsprop": {}}}),
    (
        "TAO crashes while it checks rmsprop, as it looks for a beta2 in it: take adam or sgd",
        {**TAO_5, f"{TRAINING}.optimizer": {"rmsprop": {}}},
        {f"{TRAINING}.optimizer": {"rmsprop": {}}},
    ),
    (
        "set at most one of pretrainModelPath, prunedModelPath",
        {f"{TRAINING}.pretrainModelPath": "a", f"{TRAINING}.prunedModelPath": "b"},
        {f"{TRAINING}.prunedModelPath": "b"},
    ),
    (INTERVAL, {f"{TRAINING}.checkpointInterval": 26}, {f"{TRAINING}.checkpointInterval": 25}),
    (INTERVAL, {"retrain.checkpointInterval": 7}, {"retrain.checkpointInterval": 6}),
    (
        INTERVAL,
        {"inference.rounds": {"fineTune": {"numEpochs": 4, "checkpointInterval": 5}}},
        {"inference.rounds": {"fineTune": {"numEpochs": 4, "checkpointInterval": 4}}},
    ),
    (
        "minConfidence must not be below the threshold (rounds.threshold, else inference.threshold)",
        {**ROUNDS, "inference.threshold": 0.3, "inference.rounds.minConfidence": 0.2},
        {**ROUNDS, "inference.threshold": 0.3, "inference.rounds.threshold": 0.1, "inference.rounds.minConfidence": 0.2},
    ),
    (
        "minConfidencePerClass names a class that dataset.classes does not map to",
        {**ROUNDS, "inference.rounds.minConfidencePerClass": {"4": 0.7}},
        {**ROUNDS, "inference.rounds.minConfidencePerClass": {"license_plate": 0.7}},
    ),
    (GATES, {"gates.retrain": {"minMap": 0.5}, "retrain": None}, {"gates.retrain": {"minMap": 0.5}}),
    (GATES, {**TAO_5, "gates.export": {"minMap": 0.5}}, {"gates.export": {"minMap": 0.5}}),
    (GATES, {"gates.rounds": {"minMap": 0.5}}, {**ROUNDS, "gates.rounds": {"minMap": 0.5}}),
    (
        GATES,
        {"gates.export": {"maxMapDrop": {"of": "prune", "by": 0.1}}, "prune": None, "retrain": None},
        {"gates.export": {"maxMapDrop": {"of": "train", "by": 0.1}}, "prune": None, "retrain": None},
    ),
    (
        "maxMapDrop.of must name an earlier stage: train, prune, retrain, rounds, export",
        {"gates.prune": {"maxMapDrop": {"of": "retrain", "by": 0.1}}},
        {"gates.retrain": {"maxMapDrop": {"of": "prune", "by": 0.1}}},
    ),
    ("set minMap, minAp or maxMapDrop", {"gates.train": {}}, {"gates.train": {"maxMapDrop": None, "minMap": 0}}),
    (
        "minAp names a class that dataset.classes does not map to",
        {"gates.train": {"minAp": {"4": 0.7}}},
        {"gates.train": {"minAp": {"license_plate": 0.7}}},
    ),
    (SAVED.format("train"), {"train.checkpoint": "7"}, {"train.checkpoint": "10"}),
    (SAVED.format("train"), {"train.checkpoint": "90"}, {"train.checkpoint": "last"}),
    (
        SAVED.format("train"),
        {**TAO_3, f"{TRAINING}.numEpochs": 77, "train.checkpoint": "77"},
        {**TAO_5, f"{TRAINING}.numEpochs": 77, "train.checkpoint": "77"},
    ),
    (
        SAVED.format("retrain"),
        {"retrain.checkpointInterval": 2, "retrain.numEpochs": 6, "retrain.checkpoint": "3"},
        {"retrain.checkpointInterval": 2, "retrain.numEpochs": 6, "retrain.checkpoint": "4"},
    ),
    ("outputChannel must be 1 or 3", {f"{AUGMENTATION}.outputChannel": 2}, {f"{AUGMENTATION}.outputChannel": 1}),
    ("outputDepth must be 8 or 16", {f"{AUGMENTATION}.outputDepth": 12}, {f"{AUGMENTATION}.outputDepth": 8}),
    ("outputDepth 16 is for gray images: set outputChannel to 1", {**PNG, f"{AUGMENTATION}.outputDepth": 16}, {**PNG, **DEEP}),
    ("images of 16 bits are png: set dataset.imageExtension to png", DEEP, {**PNG, **DEEP}),
    ("images of 16 bits are png: set dataset.imageExtension to png", {**DEEP, "dataset.imageExtension": "jpg"}, {}),
    (MEANS, {f"{AUGMENTATION}.imageMean": {"r": 1, "g": 1}}, {f"{AUGMENTATION}.imageMean": {"r": 1, "g": 1, "b": 1}}),
    (
        MEANS,
        {f"{AUGMENTATION}.outputChannel": 1, f"{AUGMENTATION}.imageMean": {"r": 1, "g": 1, "b": 1}},
        {f"{AUGMENTATION}.outputChannel": 1, f"{AUGMENTATION}.imageMean": {"l": 1}},
    ),
    (
        "tao-3.21.11 encrypts its models: encryptionKeySecretRef must name the Secret with the key",
        {**TAO_3, "toolkit": {"profile": "tao-3.21.11"}},
        TAO_3,
    ),
    ("set exactly one of claimName, volumeClaimTemplate", {"workspace": {}}, CLAIM),
    ("set exactly one of claimName, volumeClaimTemplate", {"workspace.claimName": "data"}, {}),
    (SUB_PATH, {**CLAIM, "workspace.subPath": "/a"}, {**CLAIM, "workspace.subPath": "a/b"}),
    (SUB_PATH, {**CLAIM, "workspace.subPath": "a/../../b"}, {**CLAIM, "workspace.subPath": "a/..b"}),
    ("subPath goes with claimName: a claim made for one experiment is used from its root", {"workspace.subPath": "a"}, CLAIM),
    ("darknet labels name classes by id: the keys must be whole numbers", {"dataset.classes": {"car": "car"}}, {}),
    (WORDS, {"dataset.format": "kitti", "dataset.classes": {"a b": "car"}}, {"dataset.format": "kitti", **ONE_CLASS}),
    (WORDS, {"dataset.format": "kitti", "dataset.classes": {"": "car"}}, {}),
    (WORDS, {"dataset.format": "kitti", "dataset.classes": {"a" * 64: "car"}}, {"dataset.format": "kitti", **ONE_CLASS}),
    (
        "subPath is the directory on dataset.claimName, which is not set",
        {"dataset.claimName": None, "dataset.subPath": "a"},
        {"dataset.subPath": "a"},
    ),
    (CHOICE, {"prune.select": {}}, {"prune.select": {"maxParameterRatio": 0.5, "maxMapDrop": 0.1}}),
    (CHOICE, {"prune.select.threshold": 0.5}, {"prune.select": {"threshold": 0.5}}),
    ("thresholds must differ from each other", {"prune.thresholds": [0.5, 0.3, 0.5]}, {"prune.thresholds": [0.5, 0.3]}),
    ("select.threshold must be one of thresholds", {"prune.select": {"threshold": 0.4}}, {"prune.select": {"threshold": 0.3}}),
    (
        "no anchors: set anchors.auto, or the three anchor shapes in experimentSpec.yolov4Config",
        {"anchors": None},
        {"anchors": None, **BIG, **MID, **SMALL},
    ),
    ("cspdarknet_tiny has two scales: count must be even, for example 6", {**TINY, "anchors.auto.count": 9}, TINY),
    ("retrain works on the chosen pruned variant: set prune", {"prune": None}, {"prune": None, "retrain": None}),
    ("inference needs dataset.unlabelled", {"dataset.unlabelled": None}, {"dataset.unlabelled": None, "inference": None}),
    (
        "openConfig is the open toolkit's alone: leave it out with a TAO profile",
        {"toolkit.profile": "tao-5.0"},
        TAO_5,
    ),
    (FORMATS, {**TAO_3, "export.format": "onnx"}, TAO_3),
    (FORMATS, {"export.format": "etlt"}, {"export": None}),
    (FORMATS, {**BY_IMAGE, "export.format": "onnx"}, BY_IMAGE),
    (PRECISIONS, {"export.dataType": "fp16"}, {**TAO_5, "export.dataType": "fp16"}),
    ("only tao-3.21.11 and tao-5.0 build TensorRT engines", {"export.engine": {}}, {**TAO_5, "export.engine": {}}),
    (
        "only tao-3.21.11 and tao-5.0 read a calibration tensorfile: name images",
        {"export.calibration": {"tensorfile": "a"}},
        {**TAO_5, "export.calibration": {"tensorfile": "a"}},
    ),
    (AMP, {"train.useAmp": True}, {**TAO_5, "train.useAmp": True}),
    (AMP, {"retrain.useAmp": True}, {"retrain.useAmp": False}),
    (
        "calibration is for int8: leave it out with another dataType",
        {"export.dataType": "fp32", "export.calibration": {}},
        {"export.calibration": {}},
    ),
    (
        "set at most one of images, tensorfile",
        {**TAO_5, "export.calibration": {"images": "a", "tensorfile": "b"}},
        {**TAO_5, "export.calibration": {"tensorfile": "b"}},
    ),
    (SIZES, {**TAO_5, "export.engine": {"optBatchSize": 4, "maxBatchSize": 2}}, {**TAO_5, "export.engine": {"maxBatchSize": 2}}),
    (SIZES, {**TAO_5, "export.engine": {"minBatchSize": 2}}, {**TAO_5, "export.engine": {"optBatchSize": 2, "maxBatchSize": 2}}),
    (
        "set profile (tao-3.21.11, tao-5.0, open), or an image whose tag tells it",
        {"toolkit": {}},
        {"toolkit": {"image": "registry.example/yolo-operator/open-toolkit:dev"}},
    ),
    (
        "the image is not one whose tag tells the dialect that it speaks: set profile to one of tao-3.21.11, tao-5.0, open",
        {"toolkit": {"image": "registry.example/trainer:1"}},
        {"toolkit": {"image": "registry.example/trainer:1", "profile": "open"}},
    ),
    ("the open toolkit has arch resnet with nlayers 10, 18, 34", {f"{YOLO}.arch": "squeezenet"}, {f"{YOLO}.nlayers": 10}),
    ("the open toolkit has arch resnet with nlayers 10, 18, 34", {f"{YOLO}.nlayers": 50}, {**TAO_5, f"{YOLO}.nlayers": 50}),
    ("trainingConfig.enableQat says otherwise: take it out, or qat", {**QAT, "qat": "Off"}, {**QAT, "qat": "FromTrain"}),
    (
        "trainingConfig.enableQat says otherwise: take it out, or qat",
        {**QAT, "qat": "FromRetrain"},
        {f"{TRAINING}.enableQat": False, "qat": "FromRetrain"},
    ),
    ("retrain.enableQat says otherwise: take it out, or qat", {"qat": "Off"}, {"qat": "Off", "retrain.enableQat": False}),
    ("FromRetrain needs retrain", {"qat": "FromRetrain", "retrain": None}, {"qat": "FromTrain", "retrain": None}),
    ("set exactly one of path, ngc, url", {"pretrained": {}}, {"pretrained": {"path": "a.hdf5"}}),
    ("set exactly one of path, ngc, url", {"pretrained": {"path": "a.hdf5", **FETCHED}}, {"pretrained": FETCHED}),
    (
        "url needs the file's sha256: what it leads to may be another file tomorrow",
        {"pretrained": {"url": FETCHED["url"]}},
        {"pretrained": {"ngc": {"model": "nvidia/tao/a:b"}}},
    ),
    (
        "sha256, proxy and caBundle are about a file that is fetched: leave them out with path",
        {"pretrained": {"path": "a.hdf5", "sha256": "0" * 64}},
        {"pretrained": FETCHED},
    ),
    (SUB_PATH, {"pretrained": {**FETCHED, "cache": {"subPath": "/a"}}}, {"pretrained": {**FETCHED, "cache": {"subPath": "a"}}}),
    (
        "trainingConfig names another model to start from: take that out, or pretrained",
        {"pretrained": FETCHED, f"{TRAINING}.pretrainModelPath": "a.hdf5"},
        {f"{TRAINING}.pretrainModelPath": "a.hdf5"},
    ),
    (
        "more than one GPU is for train, retrain and fineTune only: the toolkit refuses it anywhere else",
        {"stages.evaluate": {"resources": {"gpus": 2}}},
        {"stages.train": {"resources": {"gpus": 2}}, "stages.evaluate": {"resources": {"gpus": 1}}},
    ),
    (
        "queuePriorityClass is Kueue's: set queueName, or use scheduling.priorityClassName",
        {"queuePriorityClass": "high"},
        {"queueName": "gpus", "queuePriorityClass": "high", "suspend": True},
    ),
    (NEEDS_GPU, {**TAO_5, "resources.gpus": 0}, {"resources.gpus": 0, "stages": {"evaluate": {"resources": {"gpus": 0}}}}),
    (
        NEEDS_GPU,
        {**TAO_5, "stages": {"evaluate": {"resources": {"gpus": 0}}}},
        {**TAO_5, "stages": {"prepare": {"resources": {"gpus": 0}}, "evaluate": {"resources": {"gpus": 1}}}},
    ),
    (
        "dra says which GPUs and how many (count): leave gpus and gpuResourceName out",
        {"resources": {"dra": {"deviceClassName": "gpu.nvidia.com"}, "gpus": 1}},
        {"resources": {"dra": {"deviceClassName": "gpu.nvidia.com", "count": 2}}},
    ),
    (
        "In, NotIn, Gt and Lt need values, Exists and DoesNotExist have none",
        on_nodes({"key": "gpu", "operator": "Exists", "values": ["a"]}),
        on_nodes({"key": "gpu", "operator": "Gt", "values": ["4"]}, {"key": "gpu", "operator": "Exists"}),
    ),
    (
        "In and NotIn need values, Exists and DoesNotExist have none",
        apart_from({"key": "app", "operator": "In"}),
        apart_from({"key": "app", "operator": "In", "values": ["a"]}, {"key": "app", "operator": "DoesNotExist"}),
    ),
    (
        "a claim that you made is never deleted: retention Delete goes with volumeClaimTemplate",
        {**CLAIM, "workspace.retention": "Delete"},
        {"workspace.retention": "Delete"},
    ),
    (MOUNT_PATH, {"workspace.mountPath": "/tmp/work"}, {"workspace.mountPath": "/tmpfiles"}),
    (MOUNT_PATH, {"workspace.mountPath": "//"}, {"workspace.mountPath": "/opt/yolo"}),
]


@pytest.mark.parametrize(("message", "breaks", "keeps"), RULES)
def test_rule(message: str, breaks: Changes, keeps: Changes, patched: Patch) -> None:
    parse_spec(patched(keeps))
    with pytest.raises(ValidationError) as error:
        parse_spec(patched(breaks))
    assert any(found["msg"].endswith(message) for found in error.value.errors())
    # What a person writes keeps the same rules: the resource's schema is made from it.
    WrittenSpec.model_validate(patched(keeps))
    with pytest.raises(ValidationError) as error:
        WrittenSpec.model_validate(patched(breaks))
    assert any(found["msg"].endswith(message) for found in error.value.errors())


FROM = {"experimentSpecFrom": {"configMapKeyRef": {"name": "config"}}}
ONE_SPEC = "set exactly one of experimentSpec, experimentSpecFrom"
WHERE_DATA = "dataset says where images and labels are: only a text (experimentSpecFrom) can say it in its place"


@pytest.mark.parametrize(
    ("message", "breaks", "keeps"),
    [
        (ONE_SPEC, FROM, {**FROM, "experimentSpec": None}),
        (ONE_SPEC, {"experimentSpec": None}, {}),
        (WHERE_DATA, {"dataset": None}, {**FROM, "experimentSpec": None, "dataset": None}),
    ],
)
def test_rule_of_what_is_written(message: str, breaks: Changes, keeps: Changes, patched: Patch) -> None:
    assert isinstance(parse_spec(patched(keeps)), WrittenSpec if FROM.items() <= keeps.items() else Spec)
    WrittenSpec.model_validate(patched(keeps))
    with pytest.raises(ValidationError) as error:
        WrittenSpec.model_validate(patched(breaks))
    assert any(found["msg"].endswith(message) for found in error.value.errors())


def test_rules_wait_for_what_a_text_says(patched: Patch) -> None:
    reference = {**FROM, "experimentSpec": None, "anchors": None}
    parse_spec(patched(reference))  # whether the text has anchors is not known
    with pytest.raises(ValidationError, match="retrain works on"):
        parse_spec(patched({**reference, "prune": None}))
    with pytest.raises(ValidationError, match="inference needs"):
        parse_spec(patched({**reference, "dataset.unlabelled": None}))


@pytest.mark.parametrize("character", [" ", "'", "$", ";", "ä", "\n", "{", "*"])
@pytest.mark.parametrize("field", ["dataset.train.images", f"{TRAINING}.pretrainModelPath", "dataset.classes.0"])
def test_what_a_shell_does_not_bear_is_named(field: str, character: str, patched: Patch) -> None:
    with pytest.raises(ValidationError) as error:
        parse_spec(patched({field: f"a{character}b{character}"}))
    (found,) = error.value.errors()
    assert f"the character '{character}' does not survive TAO's unquoted shell command" in found["msg"]
    assert ".".join(map(str, found["loc"])) == field


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        (f"{TRAINING}.optimizer.adam.epsilon", 0, "greater than 0"),
        (f"{YOLO}.lossLocWeight", 1e39, "less than or equal to 1000000000000000000"),
        (f"{YOLO}.lossLocWeight", 0, "greater than 0"),
        (f"{AUGMENTATION}.mosaicMinRatio", 0.5, "less than 0.5"),
        (f"{AUGMENTATION}.outputWidth", 100, "multiple of 32"),
        ("experimentSpec.nmsConfig.topK", 0, "greater than or equal to 1"),
        ("experimentSpec.nmsConfig.confidenceThreshold", 0, "greater than 0"),
        (f"{TRAINING}.earlyStopping", {"monitor": "val_loss", "minDelta": 0, "patience": 1}, "should be 'loss'"),
        (f"{TRAINING}.visualizer", {"wandbConfig": {"key": "secret"}}, "not permitted"),
    ],
)
def test_values_that_tao_breaks_on(field: str, value: Any, words: str, patched: Patch) -> None:
    with pytest.raises(ValidationError, match=words):
        parse_spec(patched({field: value}))


def test_only_taos_numbers_have_32_bits(patched: Patch) -> None:
    number = 0.236328125
    spec = parse_spec(patched({"prune.select.maxMapDrop": number, f"{AUGMENTATION}.hue": number}))
    assert spec.prune is not None
    assert spec.prune.select.max_map_drop == number
    assert spec.experiment_spec.augmentation_config.hue == 0.23632812  # the same float


def test_every_rule_is_tested() -> None:
    assert {rule.message for _, rule in _rules(Spec, set())} == {message for message, *_ in RULES}


def test_every_rule_reads_fields_that_its_model_has() -> None:
    for model, rule in _rules(Spec, set()):
        fields = {field.alias or name for name, field in model.model_fields.items()}
        assert any(f"self.{name}" in rule.cel or f"self.?{name}" in rule.cel for name in fields), rule
        assert not rule.field or rule.field.split(".")[1] in fields, rule
        assert "'" not in rule.message or '"' not in rule.message


def _rules(model: type[Model], seen: set[type[Model]]) -> Iterator[tuple[type[Model], Rule]]:
    """The rules of a model and of all that it is made of."""
    if model in seen:
        return
    seen.add(model)
    yield from ((model, rule) for rule in model.rules)
    for field in model.model_fields.values():
        for inner in _models(field.annotation):
            yield from _rules(inner, seen)


def _models(annotation: Any) -> Iterator[type[Model]]:
    if isinstance(annotation, type) and issubclass(annotation, Model):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _models(argument)
