"""Experiment specs as text: protobuf's grammar, our one way to print, what is refused and where."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yolo_operator.toolkit import text
from yolo_operator.toolkit.proto import experiment_pb2
from yolo_operator.toolkit.proto.experiment_pb2 import Experiment, WandBConfig
from yolo_operator.toolkit.text import LONGEST, Place, TextError, number, parse, render

SEED = (Path(__file__).parent / "seed-config.txt").read_text(encoding="utf-8")


def test_canonical_text() -> None:
    given_text = """
        # comments go
        training_config: <
          learning_rate { soft_start_cosine_annealing_schedule: { min_learning_rate: 0.0000001, soft_start: .3f } }
        >
        yolov4_config { arch: 'res' "net"; freeze_blocks: [0, 1] }
        eval_config { average_precision_mode: 1 }
        augmentation_config { image_mean { value: 0.1 key: "r" } image_mean { key: "b" value: 1e10 } output_width: 0x140 hue: 0 }
    """
    assert render(parse(given_text).experiment) == (
        'yolov4_config {\n  arch: "resnet"\n  freeze_blocks: 0.0\n  freeze_blocks: 1.0\n}\n'
        "training_config {\n  learning_rate {\n    soft_start_cosine_annealing_schedule {\n"
        "      min_learning_rate: 1e-7\n      soft_start: 0.3\n    }\n  }\n}\n"
        "eval_config {\n  average_precision_mode: INTEGRATE\n}\n"
        "augmentation_config {\n  hue: 0.0\n  output_width: 320\n"
        '  image_mean {\n    key: "b"\n    value: 10000000000.0\n  }\n'
        '  image_mean {\n    key: "r"\n    value: 0.1\n  }\n}\n'
    )


def test_only_numbers_are_shortened() -> None:
    experiment = Experiment()
    experiment.yolov4_config.arch = 'x: 1e-07\n  y: 1e-07 "é"'
    experiment.yolov4_config.label_smoothing = 2e-20
    written = render(experiment)
    assert written == 'yolov4_config {\n  arch: "x: 1e-07\\n  y: 1e-07 \\"é\\""\n  label_smoothing: 2e-20\n}\n'
    assert parse(written).experiment == experiment


def test_the_seeds_text_means_the_same_printed_canonically() -> None:
    experiment = parse(SEED).experiment
    written = render(experiment)
    assert parse(written).experiment == experiment
    assert render(parse(written).experiment) == written
    assert "\n  pretrain_model_path: " in written.partition("\ntraining_config {\n")[2]


@pytest.mark.parametrize(
    ("wrong", "line", "column", "words"),
    [
        ("random_seed: 1\nfoo: 2", 2, 1, 'Experiment has no field named "foo"'),
        ("eval_config {\n  batch_size: 3.5\n}", 2, 15, "Couldn't parse integer: 3.5"),
        ("random_seed: -1", 1, 14, "Value out of range: -1"),
        ("training_config { regularizer { type: L3 } }", 1, 39, 'RegularizationType" has no value named L3'),
        ("random_seed 3", 1, 13, 'Expected ":"'),
        ("nms_config {", 1, 12, 'Expected "}"'),
        ("yolov4_config { arch: 'resnet }", 1, 23, "String missing ending quote"),
        ("[a.b]: 3", 1, 4, "not"),
        ("random_seed: 1\nrandom_seed: 1", 2, 14, "random_seed is there twice"),
        ("nms_config {}\nnms_config {}", 2, 12, "nms_config is there twice"),
        (
            "training_config {\n  pretrain_model_path: 'a'\n  pruned_model_path: 'b'\n}",
            3,
            3,
            "pruned_model_path excludes pretrain_model_path, which is there already",
        ),
        (
            "training_config { optimizer {\n adam {}\n sgd {} } }",
            3,
            2,
            "sgd excludes adam, which is there already",
        ),
        (
            "augmentation_config {\n  image_mean { key: 'r' value: 1 }\n  image_mean { value: 2 key: 'r' }\n}",
            3,
            3,
            "r is there twice",
        ),
    ],
)
def test_what_is_wrong_and_where(wrong: str, line: int, column: int, words: str) -> None:
    with pytest.raises(TextError) as error:
        parse(wrong)
    assert words in error.value.message
    assert error.value.place == (line, column)
    assert str(error.value).startswith(f"{line}:{column}: ")


def test_a_text_beyond_all_measure_is_not_read() -> None:
    with pytest.raises(TextError, match="the limit is"):
        parse("#" * (LONGEST + 1))


def test_places() -> None:
    parsed = parse(
        "random_seed: 42\n"
        "dataset_config {\n"
        "  data_sources: { tfrecords_path: 'a' }\n"
        "  data_sources { label_directory_path: 'b' 'c' image_directory_path: 'd' }\n"
        "  target_class_mapping { value: 'x' key: 'car' }\n"
        "}\n"
        "open_config { flip_pairs [{ left: 'a' }, { right: 'b' }] }\n"
        "yolov4_config { freeze_blocks: [1, 2]\n freeze_blocks: 3 }\n"
    )
    assert {path: tuple(place) for path, place in parsed.places.items()} == {
        ("random_seed",): (1, 1),
        ("dataset_config",): (2, 1),
        ("dataset_config", "data_sources", 0): (3, 3),
        ("dataset_config", "data_sources", 0, "tfrecords_path"): (3, 19),
        ("dataset_config", "data_sources", 1): (4, 3),
        ("dataset_config", "data_sources", 1, "label_directory_path"): (4, 18),
        ("dataset_config", "data_sources", 1, "image_directory_path"): (4, 48),
        ("dataset_config", "target_class_mapping", "car"): (5, 3),
        ("open_config",): (7, 1),
        ("open_config", "flip_pairs", 0): (7, 27),
        ("open_config", "flip_pairs", 0, "left"): (7, 29),
        ("open_config", "flip_pairs", 1): (7, 42),
        ("open_config", "flip_pairs", 1, "right"): (7, 44),
        ("yolov4_config",): (8, 1),
        ("yolov4_config", "freeze_blocks", 0): (8, 33),
        ("yolov4_config", "freeze_blocks", 1): (8, 36),
        ("yolov4_config", "freeze_blocks", 2): (9, 2),
    }
    assert parsed.place("dataset_config", "data_sources", 0, "root_path") == Place(3, 3)
    assert parsed.place("nms_config", "top_k") == Place(1, 1)


# --- any text ---

_MESSAGES = experiment_pb2.DESCRIPTOR.message_types_by_name.values()
_WORDS = sorted({name for message in _MESSAGES for name in message.fields_by_name})
_OTHER = ["1", "-3", "1e-7", "0x", "'a'", '"\\377"', "nan", "inf", "true", "key", "value", *"{}[]<>:;,#\n \"'\\-."]
_TEXTS = st.one_of(
    st.text(max_size=80),
    st.lists(st.sampled_from([*_WORDS, *_OTHER]), max_size=40).map(" ".join),
    st.lists(st.sampled_from(SEED.split()), max_size=60).map("\n".join),
    st.builds(
        lambda start, length, patch: SEED[:start] + patch + SEED[start + length :],
        st.integers(0, len(SEED)),
        st.integers(0, 40),
        st.text(max_size=6),
    ),
)


@settings(max_examples=300, deadline=None)
@given(_TEXTS)
def test_any_text_is_read_or_refused_with_a_place(any_text: str) -> None:
    problem, parsed = None, None
    try:
        parsed = parse(any_text)
    except TextError as error:
        problem = error
    if problem is not None:
        assert 1 <= problem.place.line <= any_text.count("\n") + 1
        assert problem.place.column >= 1
        assert problem.message
    elif parsed is not None:
        written = render(parsed.experiment)
        assert render(parse(written).experiment) == written
        assert {path[0] for path in parsed.places} == {field.name for field, _ in parsed.experiment.ListFields()}


@pytest.mark.parametrize("deep", ["training_config { " * 5000, "[" * 5000, "yolov4_config { freeze_blocks: " + "[" * 5000])
def test_nesting_is_no_way_to_break_the_reader(deep: str) -> None:
    with pytest.raises(TextError):
        parse(deep)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_keeps_its_value(value: float) -> None:
    assert float(number(value)) == value


@pytest.mark.parametrize(
    ("value", "short"), [(80, "80"), (0.5, "0.5"), (1e-7, "1e-7"), (3e-5, "3e-5"), (1e20, "1e20"), (0.7, "0.7")]
)
def test_numbers_are_short(value: float, short: str) -> None:
    assert number(value) == short


# --- the generated module ---


def test_the_generated_module_is_what_the_proto_says(tmp_path: Path) -> None:
    """As `make generated-is-fresh`."""
    root = Path(text.__file__).parents[2]
    where = "yolo_operator/toolkit/proto"
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", str(root), f"{where}/experiment.proto"]
    subprocess.run([*command, f"--python_out={tmp_path}", f"--pyi_out={tmp_path}"], check=True, cwd=root)
    for name in ("experiment_pb2.py", "experiment_pb2.pyi"):
        assert (tmp_path / where / name).read_text() == (root / where / name).read_text()


def test_every_scalar_knows_whether_it_is_there() -> None:
    for message in experiment_pb2.DESCRIPTOR.message_types_by_name.values():
        for field in message.fields:
            assert field.is_repeated or field.has_presence, field.full_name


def test_enums_have_taos_members() -> None:
    assert WandBConfig.MODE.keys() == ["ONLINE", "OFFLINE", "DISABLED"]
