"""Binding and validating experiment specs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from yolo_v4.errors import SpecError
from yolo_v4.spec import load_spec, parse_anchors, parse_spec
from yolo_v4.spec.messages import AveragePrecisionMode, RegularizationType


def test_a_whole_spec(spec_text: str) -> None:
    spec = parse_spec(spec_text)
    assert spec.random_seed == 7
    assert spec.training_config.regularizer.type is RegularizationType.L1
    assert spec.training_config.learning_rate.soft_start_cosine_annealing_schedule.max_learning_rate == 2e-3
    assert spec.dataset_config.target_class_mapping == {"0": "Left", "right": "right"}
    assert spec.open_config.width_multiplier == 0.25


def test_the_last_member_of_a_oneof_wins(spec_text: str) -> None:
    text = spec_text + (
        'training_config { pretrain_model_path: "a" resume_model_path: "b" } training_config { pruned_model_path: "c" }'
    )
    config = parse_spec(text).training_config
    assert (config.pretrain_model_path, config.resume_model_path, config.pruned_model_path) == ("", "", "c")


def test_the_last_message_of_a_oneof_wins(spec_text: str) -> None:
    spec = parse_spec(spec_text + "training_config { optimizer { sgd { momentum: 0.9 } } }")
    assert spec.training_config.optimizer.adam is None
    assert spec.training_config.optimizer.sgd.momentum == 0.9


def test_the_last_scalar_wins_and_messages_merge(spec_text: str) -> None:
    spec = parse_spec(spec_text + "eval_config { batch_size: 2 batch_size: 3 }")
    assert spec.eval_config.batch_size == 3
    assert spec.eval_config.matching_iou_threshold == 0.5


def test_the_last_value_of_a_map_key_wins(spec_text: str) -> None:
    entries = 'target_class_mapping { key: "1" value: "right" } target_class_mapping { key: "1" value: "left" }'
    spec = parse_spec(spec_text + "dataset_config { " + entries + " }")
    assert spec.dataset_config.target_class_mapping["1"] == "left"


def test_enums_by_number(spec_text: str) -> None:
    spec = parse_spec(spec_text + "eval_config { average_precision_mode: 1 }")
    assert spec.eval_config.average_precision_mode is AveragePrecisionMode.INTEGRATE


@pytest.mark.parametrize(
    ("addition", "message"),
    [
        ("trainin_config { }", 'no field named "trainin_config"'),
        ("training_config { epochs: 3 }", '"TrainingConfig" has no field named "epochs"'),
        ("random_seed: -1", "out of range"),
        ("random_seed: 3.5", "Couldn't parse integer"),
        ("random_seed: 1e2", "Couldn't parse integer"),
        ("random_seed: 4294967296", "out of range"),
        ("training_config { enable_qat: yes }", 'Expected "true" or "false"'),
        ("training_config { regularizer { type: l1 } }", "has no value 'l1'"),
        ("yolov4_config { arch: resnet }", "Expected a quoted string"),
        ("yolov4_config: 3", 'Expected "{"'),
        ("random_seed { }", "Expected a scalar value"),
        ("random_seed: [1, 2]", "is not repeated"),
    ],
)
def test_what_does_not_parse(spec_text: str, addition: str, message: str) -> None:
    with pytest.raises(SpecError, match=re.escape(message)):
        parse_spec(spec_text + addition)


@pytest.mark.parametrize(
    ("addition", "field"),
    [
        ("yolov4_config { box_matching_iou: 0 }", "box_matching_iou"),
        ("yolov4_config { matching_neutral_box_iou: 0.25 }", "matching_neutral_box_iou"),
        ("yolov4_config { loss_loc_weight: 0 }", "loss_loc_weight"),
        ("yolov4_config { label_smoothing: 0.4 }", "label_smoothing"),
        ("yolov4_config { big_grid_xy_extend: 0.4 }", "big_grid_xy_extend"),
        ('yolov4_config { arch: "darknet" nlayers: 53 }', "resnet"),
        ('yolov4_config { small_anchor_shape: "" }', "small_anchor_shape"),
        ("training_config { num_epochs: 0 }", "num_epochs"),
        ("training_config { regularizer { weight: 0 } }", "regularizer.weight"),
        ("training_config { optimizer { rmsprop { rho: 0.9 } } }", "rmsprop.epsilon"),
        ('training_config { early_stopping { monitor: "val" patience: 1 } }', "early_stopping.monitor"),
        (
            "training_config { learning_rate { soft_start_annealing_schedule { min_learning_rate: 1 max_learning_rate: 0.1 } } }",
            "learning_rate",
        ),
        ("eval_config { matching_iou_threshold: 1.5 }", "matching_iou_threshold"),
        ("nms_config { confidence_threshold: 0 }", "confidence_threshold"),
        ("nms_config { top_k: 0 }", "top_k"),
        ("augmentation_config { output_width: 100 }", "output_width"),
        ("augmentation_config { saturation: 0.5 }", "saturation"),
        ("augmentation_config { saturation: nan }", "saturation"),
        ("augmentation_config { mosaic_min_ratio: 0.5 }", "mosaic_min_ratio"),
        ('augmentation_config { image_mean { key: "x" value: 1 } }', "image_mean"),
        ('dataset_config { data_sources { tfrecords_path: "x" } }', "tfrecords"),
        ('open_config { flip_pairs { left: "left" right: "up" } }', "flip_pairs"),
        ("open_config { width_multiplier: 1.5 }", "width_multiplier"),
    ],
)
def test_what_does_not_validate(spec_text: str, addition: str, field: str) -> None:
    with pytest.raises(SpecError, match=field):
        parse_spec(spec_text + addition)


def test_all_faults_are_told_at_once(spec_text: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(spec_text + "training_config { num_epochs: 0 } nms_config { top_k: 0 }")
    assert "num_epochs" in str(caught.value)
    assert "top_k" in str(caught.value)


def test_foreign_options_are_accepted_unread(spec_text: str) -> None:
    parse_spec(spec_text + "training_config { visualizer { wandb_config { anything { at: ['all'] } } } }")


def test_anchors_are_read_not_run() -> None:
    assert parse_anchors(" [(1, 2.5), [3,4]] ", "x") == [(1.0, 2.5), (3.0, 4.0)]
    for text in ("__import__('os').getpid()", "[(1, 2)] + [(3, 4)]", "[(1,)]", "[]", "7", "[(1, -2)]", "[(1, 'x')]", "[("):
        with pytest.raises(SpecError, match="x:"):
            parse_anchors(text, "x")


def test_errors_of_a_file_name_it(tmp_path: Path) -> None:
    path = tmp_path / "config.txt"
    with pytest.raises(SpecError, match=r"config\.txt"):
        load_spec(path)
    path.write_text("a: 1")
    with pytest.raises(SpecError, match=r"config\.txt: 1:1 :"):
        load_spec(path)
