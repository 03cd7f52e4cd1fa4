"""The experiment spec as text: complete, exact, and the same for the same experiment."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yolo_operator.api.crd import structural
from yolo_operator.api.experiment_spec import LAYERS, Arch, ExperimentSpec
from yolo_operator.api.single import single
from yolo_operator.api.spec import Spec, parse_spec
from yolo_operator.dialects import DIALECTS
from yolo_operator.dialects.base import TAO_WORKERS
from yolo_operator.toolkit import text
from yolo_operator.toolkit.importing import import_text
from yolo_operator.toolkit.invocation import DataPaths
from yolo_operator.toolkit.proto.experiment_pb2 import Experiment
from yolo_operator.toolkit.spec_text import (
    class_mapping,
    experiment_text,
    format_anchors,
    message_of,
    parse_anchors,
    split_anchors,
)

Build = Callable[..., Spec]
NINE = [[21.07, 8.14], [16.1, 17.86], [32, 11.17], [45.33, 13.79], [58.13, 15.17], [35.48, 27.19]]
NINE += [[100.44, 22.34], [157.33, 28.14], [112.64, 53.33]]


def section(written: str, name: str) -> Any:
    """A section of the text, as protobuf reads it."""
    experiment = text.parse(written).experiment
    assert experiment.HasField(name)  # type: ignore[arg-type]
    return getattr(experiment, name)


# --- anchors ---


def test_anchors_are_shared_out_by_area() -> None:
    expected = {
        "small_anchor_shape": "[(21.07, 8.14), (16.10, 17.86), (32.00, 11.17)]",
        "mid_anchor_shape": "[(45.33, 13.79), (58.13, 15.17), (35.48, 27.19)]",
        "big_anchor_shape": "[(100.44, 22.34), (157.33, 28.14), (112.64, 53.33)]",
    }
    assert split_anchors(NINE, Arch.RESNET) == expected
    assert split_anchors(NINE[::-1], Arch.RESNET) == expected


def test_two_scales_share_in_halves(cpu: Build, data: DataPaths) -> None:
    shapes = split_anchors(NINE[:6], Arch.CSPDARKNET_TINY)
    assert list(shapes) == ["mid_anchor_shape", "big_anchor_shape"]
    assert shapes["mid_anchor_shape"] == "[(21.07, 8.14), (16.10, 17.86), (32.00, 11.17)]"


@pytest.mark.parametrize("anchors", [[], NINE[:1], NINE[:8], [[1, 2], [3, 4], [0, 5]], [[1, 2], [3, 4], [float("nan"), 5]]])
def test_anchors_that_cannot_be_used_are_an_error(anchors: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="anchors"):
        split_anchors(anchors, Arch.RESNET)


def test_computed_anchors_replace_the_specs_own(tao: Build, data: DataPaths) -> None:
    written = experiment_text(tao(), data, anchors=[[n, n] for n in range(1, 10)])
    assert section(written, "yolov4_config").big_anchor_shape == "[(7.00, 7.00), (8.00, 8.00), (9.00, 9.00)]"


def test_no_anchors_at_all_are_an_error(cpu: Build, data: DataPaths) -> None:
    with pytest.raises(ValueError, match="no anchors"):
        experiment_text(cpu(), data)


def test_a_literal_is_read_and_never_evaluated() -> None:
    assert parse_anchors(" [ (21.07,8), (1 , 2.5) , ]") == [(21.07, 8.0), (1.0, 2.5)]
    for literal in ("__import__('os')", "[(1, 2)] + []", "[(1, 2), 3]", "(1, 2)", "[(1e3, 2)]", "[]"):
        with pytest.raises(ValueError, match="not a list"):
            parse_anchors(literal)


@given(st.lists(st.tuples(*[st.floats(1e-3, 1e6)] * 2), min_size=1, max_size=9))
def test_anchors_keep_their_numbers(anchors: list[tuple[float, float]]) -> None:
    assert parse_anchors(format_anchors(anchors)) == anchors


# --- what follows from the rest of the resource ---


def test_data_sources(tao: Build, data: DataPaths) -> None:
    config = section(experiment_text(tao(), data), "dataset_config")
    assert text.render(config).splitlines()[:4] == [
        "data_sources {",
        '  label_directory_path: "/yolov4/dataset/train/labels"',
        '  image_directory_path: "/yolov4/dataset/train/images"',
        "}",
    ]
    assert "include_difficult_in_training: false\n" in text.render(config)


def test_difficult_objects_and_the_images_extension(tao: Build, data: DataPaths) -> None:
    spec = tao(dataset__includeDifficultInTraining=True, dataset__imageExtension="png")
    config = section(experiment_text(spec, data), "dataset_config")
    assert (config.include_difficult_in_training, config.image_extension) == (True, "png")


def test_kitti_classes_are_the_users_mapping(tao: Build) -> None:
    assert class_mapping(tao().dataset) == {
        "0": "top_left",
        "1": "top_right",
        "2": "bottom_right",
        "3": "bottom_left",
        "license_plate": "license_plate",
    }


def test_darknet_classes_are_mapped_by_prepare_already(cpu: Build) -> None:
    spec = cpu(dataset__classes={"0": "left", "1": "right", "2": "left"}, experimentSpec__openConfig__flipPairs=None)
    assert class_mapping(spec.dataset) == {"left": "left", "right": "right"}


def test_the_text_does_not_depend_on_the_order_of_maps(tao: Build, data: DataPaths) -> None:
    spec = tao()
    turned = tao(
        dataset__classes=dict(reversed(spec.dataset.classes.items())),
        experimentSpec__augmentationConfig__imageMean={"r": 123.7, "g": 116.8, "b": 103.9},
    )
    assert experiment_text(turned, data) == experiment_text(spec, data)


@pytest.mark.parametrize(("path", "absolute"), [("a/b.hdf5", "/yolov4/a/b.hdf5"), ("/models/b.hdf5", "/models/b.hdf5")])
def test_relative_paths_count_from_the_workspace(path: str, absolute: str, tao: Build, data: DataPaths) -> None:
    training = section(experiment_text(tao(experimentSpec__trainingConfig__pretrainModelPath=path), data), "training_config")
    assert training.pretrain_model_path == absolute


def test_loader_workers_are_never_tao_s_own_default(tao: Build, cpu: Build, data: DataPaths) -> None:
    def workers(spec: Spec) -> int | None:
        training = section(experiment_text(spec, data, anchors=NINE), "training_config")
        return training.n_workers if training.HasField("n_workers") else None

    assert workers(tao()) == 16
    assert workers(tao(experimentSpec__trainingConfig__nWorkers=None)) == TAO_WORKERS
    assert workers(cpu(experimentSpec__trainingConfig__nWorkers=None)) is None


def test_the_open_toolkits_own_section(tao: Build, cpu: Build, data: DataPaths) -> None:
    assert text.render(section(experiment_text(cpu(), data, anchors=NINE), "open_config")) == (
        "width_multiplier: 0.25\n"
        'flip_pairs {\n  left: "top_left"\n  right: "top_right"\n}\n'
        'flip_pairs {\n  left: "bottom_left"\n  right: "bottom_right"\n}\n'
    )
    assert "open_config" not in experiment_text(tao(), data)


def test_a_small_number_stays_readable(tao: Build, data: DataPaths) -> None:
    written = experiment_text(tao(), data)
    assert "min_learning_rate: 1e-7\n" in written
    assert "weight: 3e-5\n" in written


# --- retraining ---


def retrained(spec: Spec, data: DataPaths) -> Any:
    return section(experiment_text(spec, data, anchors=NINE, pruned_model="stages/prune/x.tlt"), "training_config")


def test_retraining_starts_from_the_pruned_model_alone(tao: Build, data: DataPaths) -> None:
    training = retrained(tao(), data)
    assert training.WhichOneof("load_model") == "pruned_model_path"
    assert training.pruned_model_path == "/yolov4/stages/prune/x.tlt"


def test_what_retrain_says_replaces_what_training_config_says(cpu: Build, data: DataPaths) -> None:
    training = retrained(cpu(retrain__batchSizePerGpu=4, retrain__checkpointInterval=2), data)
    assert (training.batch_size_per_gpu, training.num_epochs, training.checkpoint_interval) == (4, 6, 2)
    assert training.enable_qat is True
    assert text.render(training.regularizer) == "type: NO_REG\n"
    assert "max_learning_rate: 0.002\n" in text.render(training)


def test_what_retrain_leaves_out_is_as_in_training_config(cpu: Build, data: DataPaths) -> None:
    training = retrained(cpu(retrain={"numEpochs": 3}), data)
    first = section(experiment_text(cpu(), data, anchors=NINE), "training_config")
    for name in ("batch_size_per_gpu", "learning_rate", "regularizer", "optimizer", "n_workers"):
        assert getattr(training, name) == getattr(first, name)
    assert training.enable_qat is False


@pytest.mark.parametrize(("epochs", "interval"), [(3, 3), (5, 5), (40, 5)])
def test_a_short_retraining_still_writes_a_checkpoint(epochs: int, interval: int, cpu: Build, data: DataPaths) -> None:
    assert retrained(cpu(retrain={"numEpochs": epochs}), data).checkpoint_interval == interval


def test_a_pruned_model_needs_retrain(tao: Build, data: DataPaths) -> None:
    with pytest.raises(ValueError, match=r"spec\.retrain"):
        experiment_text(tao(retrain=None), data, pruned_model="x.tlt")


# --- any experiment spec ---

Json = Any


def of_schema(schema: Mapping[str, Json]) -> st.SearchStrategy[Json]:
    """JSON that a structural schema allows; optional fields come and go."""
    match schema:
        case {"enum": members}:
            return st.sampled_from(members)
        case {"type": "object", "properties": properties}:
            required = set(schema.get("required", ()))
            fields = {name: of_schema(child) for name, child in properties.items()}
            mandatory = {name: fields[name] for name in fields if name in required}
            return st.fixed_dictionaries(mandatory, optional={name: fields[name] for name in fields if name not in required})
        case {"type": "object"}:
            return st.dictionaries(st.text(max_size=5), of_schema(schema["additionalProperties"]), max_size=3)
        case {"type": "array"}:
            return st.lists(of_schema(schema["items"]), min_size=schema.get("minItems", 0), max_size=3)
        case {"type": "boolean"}:
            return st.booleans()
        case {"type": "integer"}:
            step = schema.get("multipleOf", 1)
            low, high = schema.get("minimum", 0), schema.get("maximum", 1000)
            return st.integers(-(-low // step), high // step).map(lambda n: n * step)
        case {"type": "number"}:
            low, high = schema.get("minimum", -1e30), schema.get("maximum", 1e30)
            open_low, open_high = schema.get("exclusiveMinimum", False), schema.get("exclusiveMaximum", False)
            # Of 32 bits; rounding must not leave the range.
            return (
                st.floats(low, high, exclude_min=open_low, exclude_max=open_high)
                .map(single)
                .filter(lambda n: low <= n <= high and not (open_low and n == low) and not (open_high and n == high))
            )
        case {"type": "string", "x-kubernetes-validations": [{"rule": rule}]}:
            allowed = rule.removeprefix("!self.matches('[^").removesuffix("]')")
            return st.from_regex(f"[{allowed}]{{1,{min(40, schema['maxLength'])}}}", fullmatch=True)
        case {"type": "string", "maxLength": longest} if "pattern" not in schema:
            return st.text(st.characters(codec="utf-8"), min_size=schema.get("minLength", 0), max_size=min(longest, 12))
        case {"type": "string"}:
            return st.from_regex(schema["pattern"], fullmatch=True).filter(lambda value: len(value) <= schema["maxLength"])
    raise AssertionError(f"no strategy for {schema}")


def _schema() -> dict[str, Json]:
    schema = structural(ExperimentSpec)
    network = schema["properties"]["yolov4Config"]["properties"]
    for name in ("big", "mid", "small"):
        network[f"{name}AnchorShape"] = {"enum": ["[(1.5, 2), (3,4.125)]", "[ (9, 8) ]"]}
    return schema


RAW_EXPERIMENT_SPECS = of_schema(_schema())


@st.composite
def experiment_specs(draw: st.DrawFn) -> ExperimentSpec:
    """Any valid experiment spec: the schema's values, made to fit each other."""
    raw = draw(RAW_EXPERIMENT_SPECS)
    network, training, augmentation = raw["yolov4Config"], raw["trainingConfig"], raw["augmentationConfig"]
    network |= {f"{name}AnchorShape": "[(10.25, 13)]" for name in ("big", "mid", "small") if f"{name}AnchorShape" not in network}
    if network["arch"] == Arch.CSPDARKNET_TINY:
        del network["smallAnchorShape"]
        network["smallGridXyExtend"] = 0
    elif network["arch"] in LAYERS:
        network["nlayers"] = draw(st.sampled_from(LAYERS[Arch(network["arch"])]))
    low, high = sorted(draw(st.lists(st.floats(2**-40, 1, width=32), min_size=2, max_size=2, unique=True)))
    schedule = {"minLearningRate": low, "maxLearningRate": high, "softStart": 0.25}
    training["learningRate"] = draw(
        st.sampled_from(
            [{"softStartCosineAnnealingSchedule": schedule}, {"softStartAnnealingSchedule": {**schedule, "annealing": 0.75}}]
        )
    )
    training["optimizer"] = draw(st.sampled_from([{"adam": {"epsilon": low}}, {"sgd": {"momentum": high}}]))
    training["regularizer"].setdefault("weight", 0.5)
    training["checkpointInterval"] = draw(st.integers(1, training["numEpochs"]))
    training.pop(draw(st.sampled_from(["pretrainModelPath", "prunedModelPath"])), None)
    augmentation["outputChannel"] = draw(st.sampled_from([1, 3]))
    augmentation.pop("outputDepth", None)
    if "imageMean" in augmentation:
        augmentation["imageMean"] = dict.fromkeys("rgb" if augmentation["outputChannel"] == 3 else "l", draw(st.floats(0, 255)))
    return ExperimentSpec.model_validate(raw)


RAW = {
    "toolkit": {"profile": "tao-5.0"},
    "workspace": {"claimName": "w"},
    "dataset": {
        "format": "kitti",
        "train": {"images": "a", "labels": "b"},
        "validation": {"images": "c", "labels": "d"},
        "classes": {"x": "y"},
    },
    "experimentSpec": {
        "yolov4Config": {"arch": "googlenet"},
        "trainingConfig": {
            "batchSizePerGpu": 1,
            "numEpochs": 1,
            "checkpointInterval": 1,
            "regularizer": {"type": "NO_REG"},
            "learningRate": {"softStartCosineAnnealingSchedule": {"minLearningRate": 1, "maxLearningRate": 2, "softStart": 0}},
            "optimizer": {"sgd": {}},
        },
        "evalConfig": {"batchSize": 1},
        "augmentationConfig": {"outputWidth": 32, "outputHeight": 32},
    },
    "anchors": {"auto": {}},
}


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(experiment_specs())
def test_any_experiment_spec_is_the_message_that_protobufs_json_makes_of_it(experiment: ExperimentSpec) -> None:
    expected = json_format.ParseDict(experiment.model_dump(mode="json", exclude_none=True), Experiment())
    assert message_of(experiment) == expected
    assert text.render(message_of(experiment)) == text.render(expected)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(experiment_specs(), st.sampled_from(list(DIALECTS)))
def test_any_experiment_spec_reads_back(experiment: ExperimentSpec, profile: str) -> None:
    spec = parse_spec(RAW)
    toolkit = spec.toolkit.model_copy(update={"profile": profile})
    spec = spec.model_copy(update={"experiment_spec": experiment, "toolkit": toolkit})
    written = experiment_text(spec, DataPaths("/a", "/b", "/c", "/d"))
    expected = experiment.model_dump(exclude_none=True)
    training = expected["training_config"]
    for name in ("pretrain_model_path", "pruned_model_path"):
        if name in training and not training[name].startswith("/"):
            training[name] = f"/workspace/{training[name]}"
    if profile != "open":
        training.setdefault("n_workers", TAO_WORKERS)
        expected.pop("open_config", None)
    for name, literal in expected["yolov4_config"].items():
        if name.endswith("_anchor_shape"):
            expected["yolov4_config"][name] = format_anchors(parse_anchors(literal))
    found = json_format.MessageToDict(text.parse(written).experiment, preserving_proto_field_name=True)
    data = found.pop("dataset_config")
    assert data["data_sources"] == [{"label_directory_path": "/b", "image_directory_path": "/a"}]
    assert _filled(found) == _filled(json.loads(json.dumps(expected)))
    assert text.render(text.parse(written).experiment) == written
    imported = import_text(written, mount_path="/workspace")
    assert not [finding for finding in imported.findings if finding.lost]
    as_yaml = yaml.safe_load(yaml.safe_dump(imported.experiment_spec))
    again = {"experiment_spec": ExperimentSpec.model_validate(as_yaml)}
    assert experiment_text(spec.model_copy(update=again), DataPaths("/a", "/b", "/c", "/d")) == written


def _filled(value: Any) -> Any:
    """Without empty lists and maps, which a message doesn't tell from absent ones."""
    if isinstance(value, dict):
        return {name: _filled(inner) for name, inner in value.items() if inner not in ([], {}) or name.endswith("_config")}
    return [_filled(inner) for inner in value] if isinstance(value, list) else value
