"""From TAO's text to the resource's fields and back: nothing is lost in silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic.alias_generators import to_camel
from yolo_operator.api.base import Model
from yolo_operator.api.experiment_spec import ExperimentSpec
from yolo_operator.api.spec import WrittenSpec, parse_spec
from yolo_operator.toolkit import text
from yolo_operator.toolkit.importing import Finding, UnmappableError, import_text, read_anchors, resolve
from yolo_operator.toolkit.invocation import DataPaths
from yolo_operator.toolkit.proto.experiment_pb2 import Experiment
from yolo_operator.toolkit.spec_text import experiment_text

HERE = Path(__file__).parent
SEED = (HERE / "seed-config.txt").read_text(encoding="utf-8")
EXAMPLE = yaml.safe_load((HERE.parents[2] / "examples" / "license-plate-tao.yaml").read_text(encoding="utf-8"))["spec"]
WHOLE = {"toolkit": {"profile": "tao-5.0"}, "workspace": {"claimName": "plates", "mountPath": "/yolov4"}}
REFERENCE = {"configMapKeyRef": {"name": "config", "key": "config.txt"}}
SPEC: dict[str, Any] = {**WHOLE, "experimentSpecFrom": REFERENCE}
DATA = DataPaths(
    train_images="/yolov4/dataset/train/images",
    train_labels="/yolov4/dataset/train/labels",
    validation_images="/yolov4/dataset/valid/images",
    validation_labels="/yolov4/dataset/valid/labels",
)


def lost(source: str) -> dict[str, Finding]:
    """What the resource can't say of a text, by field."""
    return {finding.path: finding for finding in import_text(source).findings if finding.lost}


def changed(old: str, new: str) -> str:
    assert old in SEED
    return SEED.replace(old, new)


# --- the seed's file ---


def test_the_seeds_file_goes_over_whole() -> None:
    imported = import_text(SEED)
    assert imported.findings == ()
    assert imported.mount_path == "/yolov4"
    assert ExperimentSpec.model_validate(imported.experiment_spec) == ExperimentSpec.model_validate(EXAMPLE["experimentSpec"])
    example = {name: value for name, value in EXAMPLE["dataset"].items() if name != "unlabelled"}
    assert imported.dataset == {**example, "includeDifficultInTraining": False}


def test_the_seeds_file_comes_back_with_the_same_meaning() -> None:
    imported = import_text(SEED)
    spec = parse_spec({**WHOLE, "dataset": imported.dataset, "experimentSpec": imported.experiment_spec})
    assert text.parse(experiment_text(spec, DATA)).experiment == text.parse(SEED).experiment


def test_a_reference_runs_the_seeds_file_as_it_is() -> None:
    written = parse_spec(SPEC)
    assert isinstance(written, WrittenSpec)
    spec = resolve(written, SEED)
    assert not isinstance(spec, WrittenSpec)
    assert text.parse(experiment_text(spec, DATA)).experiment == text.parse(SEED).experiment


# --- what is said ---


@pytest.mark.parametrize(
    ("old", "new", "path", "words"),
    [
        ("pretrain_model_path:", "resume_model_path:", "training_config.resume_model_path", "the operator resumes"),
        ("num_epochs: 80", "num_epochs: 0", "training_config.num_epochs", "greater than or equal to 1, not 0"),
        ("  num_epochs: 80\n", "", "training_config.num_epochs", "is missing"),
        ("  loss_loc_weight: 5.0\n", "", "yolov4_config.loss_loc_weight", "TAO would take 0"),
        ("  confidence_threshold: 0.001\n", "", "nms_config.confidence_threshold", "TAO would take 0"),
        ("top_k: 200", "top_k: 0", "nms_config.top_k", "greater than or equal to 1"),
        ("freeze_blocks: 0", "freeze_blocks: 0.5", "yolov4_config.freeze_blocks[0]", "integer"),
        ('arch: "resnet"', 'arch: "transformer"', "yolov4_config.arch", "not 'transformer'"),
        ("nlayers: 18", "nlayers: 19", "yolov4_config", "nlayers must be one of"),
        ("output_width: 320", "output_width: 100", "augmentation_config.output_width", "multiple of 32"),
        ("soft_start: 0.3", "soft_start: nan", "training_config.learning_rate", ""),
        ("[(100.44, 22.34), ", "[__import__('os').getpid(), ", "yolov4_config.big_anchor_shape", "run it as Python"),
        ("/yolov4/dataset/train/labels", "/yolov4/a;rm/labels", "dataset_config.data_sources[0].label_directory_path", "';'"),
        ('value: "top_left"', 'value: "top left"', "dataset_config.target_class_mapping.0", "' '"),
        ("/yolov4/pretrained/resnet_18.hdf5", "/yolov4/$(id)", "training_config.pretrain_model_path", "'$'"),
        ("image_mean {\n    key: 'b'", "image_mean {\n    key: 'x'", "augmentation_config", "imageMean has the keys"),
    ],
)
def test_what_the_resource_cannot_say(old: str, new: str, path: str, words: str) -> None:
    source = changed(old, new)
    found = {name: finding for name, finding in lost(source).items() if name.startswith(path)}
    assert found, lost(source)
    finding = next(iter(found.values()))
    assert words in finding.message
    line = source[: source.index(new)].count("\n") if new else 0
    assert finding.place.line <= line + 2 or not new
    with pytest.raises(UnmappableError) as error:
        resolve(WrittenSpec.model_validate(SPEC), source)
    assert any(problem.startswith(f"{finding.place}: {finding.path}: ") for problem in error.value.problems)


def test_the_place_is_that_of_the_field() -> None:
    source = changed("checkpoint_interval: 10", "checkpoint_interval: 100")
    (finding,) = lost(source).values()
    assert finding.place.line == source[: source.index("training_config")].count("\n") + 1
    source = changed("loss_class_weights: 1.0", "loss_class_weights: -1")
    (finding,) = lost(source).values()
    assert finding.place == (source[: source.index("loss_class_weights")].count("\n") + 1, 3)


def test_tfrecords_and_folds() -> None:
    source = changed('label_directory_path: "/yolov4/dataset/train/labels"', 'tfrecords_path: "/yolov4/tfrecords/*"')
    source = source.replace("dataset_config {", "dataset_config {\n  validation_fold: 0")
    assert set(lost(source)) == {"dataset_config.data_sources[0]", "dataset_config.validation_fold"}
    own = {**SPEC, "dataset": EXAMPLE["dataset"]}
    assert resolve(WrittenSpec.model_validate(own), source).dataset.train.labels == "dataset/train/labels"


def test_a_second_source_is_not_forgotten() -> None:
    second = 'data_sources { label_directory_path: "/a" image_directory_path: "/b" }'
    source = changed("dataset_config {", f"dataset_config {{\n  {second}")
    assert list(lost(source)) == ["dataset_config.data_sources[1]"]


def test_a_secret_is_left_out_and_not_repeated() -> None:
    source = changed(
        "  enable_qat: false\n", "  visualizer { enabled: true wandb_config { enabled: true key: 's3cr3t' project: 'p' } }\n"
    )
    imported = import_text(source)
    (finding,) = (finding for finding in imported.findings if finding.lost)
    assert finding.path == "training_config.visualizer.wandb_config.key"
    assert "WANDB_API_KEY" in finding.message
    assert "s3cr3t" not in str(imported.findings) + str(imported.experiment_spec)
    wandb = imported.experiment_spec["trainingConfig"]["visualizer"]["wandbConfig"]
    assert wandb == {"enabled": True, "project": "p"}


def test_what_is_unused_is_said_and_no_loss() -> None:
    source = SEED.replace("dataset_config {", 'dataset_config {\n  type: "kitti"').replace(
        "validation_data_sources: {", 'validation_data_sources: {\n root_path: "/x"'
    )
    source = source.replace("n_workers: 16", "n_workers: 0")
    notes = import_text(source).findings
    assert [finding.path for finding in notes] == [
        "training_config.n_workers",
        "dataset_config.type",
        "dataset_config.validation_data_sources[0].root_path",
    ]
    assert not any(finding.lost for finding in notes)


def test_what_is_not_there_is_zero_and_not_the_resources_default() -> None:
    source = changed("  hue: 0.1\n", "").replace("random_seed: 42\n", "").replace("  big_grid_xy_extend: 0.05\n", "")
    imported = import_text(source)
    assert imported.findings == ()
    assert imported.experiment_spec["augmentationConfig"]["hue"] == 0
    assert imported.experiment_spec["randomSeed"] == 0
    assert imported.experiment_spec["yolov4Config"]["bigGridXyExtend"] == 0


def test_no_regularizer_is_none() -> None:
    source = changed("type: L1\n    weight: 3e-5", "type: NO_REG\n    weight: 0")
    assert import_text(source).experiment_spec["trainingConfig"]["regularizer"] == {"type": "NO_REG"}
    source = changed("regularizer {\n    type: L1\n    weight: 3e-5\n  }\n", "")
    assert import_text(source).experiment_spec["trainingConfig"]["regularizer"] == {"type": "NO_REG"}


@pytest.mark.parametrize(
    "both",
    [
        ('pretrain_model_path: "', 'pruned_model_path: "/a"\n  pretrain_model_path: "'),
        ("num_epochs: 80", "num_epochs: 80 num_epochs: 81"),
        ("adam {", "sgd {} adam {"),
        ("key: 'g'", "key: 'b'"),
    ],
)
def test_what_is_there_twice_is_an_error(both: tuple[str, str]) -> None:
    with pytest.raises(text.TextError, match="TAO would take the last"):
        import_text(changed(*both))


# --- paths ---


def test_paths_outside_of_the_workspace_are_said() -> None:
    imported = import_text(SEED, mount_path="/yolov4/dataset")
    assert imported.dataset["train"] == {"images": "train/images", "labels": "train/labels"}
    assert imported.experiment_spec["trainingConfig"]["pretrainModelPath"] == "/yolov4/pretrained/resnet_18.hdf5"
    (finding,) = imported.findings
    assert finding.path == "training_config.pretrain_model_path"
    assert "outside of the workspace (/yolov4/dataset)" in finding.message
    assert not finding.lost


def test_relative_paths_are_said() -> None:
    imported = import_text(changed("/yolov4/pretrained/", "pretrained/"))
    (finding,) = imported.findings
    assert "is relative" in finding.message
    assert imported.mount_path == "/yolov4/dataset"


# --- anchors ---


@pytest.mark.parametrize(
    ("literal", "pairs"),
    [
        ("[(1, 2.5)]", [(1, 2.5)]),
        (" [[1e2, 3], (4., .5),] ", [(100, 3), (4, 0.5)]),
        ("((7, 8), (9, 10))", [(7, 8), (9, 10)]),
        ("(7, 8), (9, 10)", [(7, 8), (9, 10)]),
    ],
)
def test_anchors_are_read_as_literals(literal: str, pairs: list[tuple[float, float]]) -> None:
    assert read_anchors(literal) == pairs


WRONG = ["", "[]", "7", "[(1, 2), 3]", "[(1,)]", "[(1, 'x')]", "[(1, -2)]", "[(1, 1e999)]", "[(1, True)]", "(" * 300]


@pytest.mark.parametrize("literal", [*WRONG, "[(1, 2)] + [(3, 4)]", "__import__('os').getpid()"])
def test_anything_else_is_no_anchors(literal: str) -> None:
    with pytest.raises(ValueError, match=r"is no list|has an anchor"):
        read_anchors(literal)


@given(st.text(max_size=60))
def test_no_literal_does_harm(literal: str) -> None:
    try:
        pairs = read_anchors(literal)
    except ValueError:
        return
    assert all(width > 0 and height > 0 for width, height in pairs)


# --- any text ---


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(SEED)), st.integers(0, 60), st.sampled_from(["", "0", "-1", "'x'", "{", "}", " ", "nan", "\n"]))
def test_a_damaged_text_is_imported_or_refused(start: int, length: int, patch: str) -> None:
    damaged = SEED[:start] + patch + SEED[start + length :]
    try:
        imported = import_text(damaged)
    except text.TextError:
        return
    if not any(finding.lost for finding in imported.findings):
        ExperimentSpec.model_validate(imported.experiment_spec)
        parse_spec({**WHOLE, "dataset": imported.dataset, "experimentSpec": imported.experiment_spec})


def test_every_field_of_tao_has_a_place() -> None:
    """All that the messages have is in the resource, but for what is said here."""
    elsewhere = {
        "dataset_config",  # spec.dataset
        "training_config.resume_model_path",  # the operator's
        "training_config.visualizer.wandb_config.key",  # a secret
    }
    assert set(_missing(ExperimentSpec, Experiment.DESCRIPTOR, "")) == elsewhere


def _missing(model: type[Model], message: Any, path: str) -> list[str]:
    found = []
    aliases = {info.alias or name: info for name, info in model.model_fields.items()}
    assert set(model.model_fields) <= set(message.fields_by_name), path
    for field in message.fields:
        info = aliases.get(field.json_name)
        if info is None:
            found.append(path + field.name)
            continue
        assert to_camel(field.name) == field.json_name
        kinds = [kind for kind in (info.annotation, *getattr(info.annotation, "__args__", ())) if isinstance(kind, type)]
        inner = next((kind for kind in kinds if issubclass(kind, Model)), None)
        if inner is not None:
            found += _missing(inner, field.message_type, f"{path}{field.name}.")
    return found
