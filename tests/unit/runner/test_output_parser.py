"""What the toolkit prints, read as it comes. The logs are real ones of a license-plate experiment on the 3.21.11 image."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

HERE = Path(__file__).parent


def read(runner: ModuleType, data: bytes | str, size: int = 0) -> Any:
    parser = runner.OutputParser()
    raw = data.encode() if isinstance(data, str) else data
    for start in range(0, len(raw), size or len(raw) or 1):
        parser.feed(raw[start : start + (size or len(raw))])
    parser.close()
    return parser


@pytest.fixture(params=[0, 1, 7, 4096])
def seed(request: pytest.FixtureRequest, runner: ModuleType) -> Any:
    """The seed's training, cut into pieces of several sizes."""
    return read(runner, (HERE / "seed-train.log").read_bytes(), request.param)


def test_every_epoch_of_the_seed_has_its_loss(seed: Any) -> None:
    expected = {
        1: 5318.8814,
        2: 1908.2650,
        3: 1205.8788,
        4: 781.5306,
        7: 150.7208,
        8: 118.1437,
        9: 87.1544,
        10: 84.2129,
        11: 72.5940,
        12: 72.2605,
        13: 70.1678,
        14: 62.9967,
        15: 60.0883,
        16: 67.2119,
        17: 60.7828,
        18: 63.6973,
        19: 59.6975,
        20: 58.8847,
        21: 59.3640,
        22: 56.7960,
        23: 50.8113,
        24: 53.4037,
        25: 55.0338,
        26: 50.0400,
        27: 51.8978,
        28: 46.6411,
        29: 47.7704,
        30: 53.4221,
    }
    corrupt = {5: 461.7960, 6: 238.5044}  # printed as 461.79600 and 238.50448: a digit is left from the bar before
    assert {epoch: row["loss"] for epoch, row in seed.history.items() if "loss" in row} == expected | corrupt


def test_every_evaluation_of_the_seed(seed: Any) -> None:
    found = {epoch: (row["mAP"], row["validationLoss"]) for epoch, row in seed.history.items() if "mAP" in row}
    assert found == {
        10: (0.7651, 41.868257820344645),
        20: (0.89909, 27.03866335112473),
        30: (0.9072, 19.06179749778819),
        80: (0.90779, 13.344748003729459),
    }
    assert seed.history[10]["AP"] == {
        "bottom_left": 0.69871,
        "bottom_right": 0.66928,
        "license_plate": 0.88446,
        "top_left": 0.83912,
        "top_right": 0.73392,
    }
    assert seed.history[80]["AP"]["top_left"] == 0.90773
    assert sorted(epoch for epoch, row in seed.history.items() if "mAP" in row) == [10, 20, 30, 80]
    assert {"saved", "epochEnd"} <= seed.events
    assert (seed.seen["epoch"], seed.seen["epochs"], max(seed.history)) == (80, 80, 80)


def test_the_seeds_anchors(runner: ModuleType) -> None:
    parser = read(runner, (HERE / "seed-kmeans.log").read_bytes())
    assert parser.seen.get("anchors") == [
        [21.07, 8.14],
        [16.10, 17.86],
        [32.00, 11.17],
        [45.33, 13.79],
        [58.13, 15.17],
        [35.48, 27.19],
        [100.44, 22.34],
        [157.33, 28.14],
        [112.64, 53.33],
    ]


def test_the_seeds_evaluation(runner: ModuleType) -> None:
    parser = read(runner, (HERE / "seed-evaluate.log").read_bytes())
    assert parser.seen.get("mAP") == 0.90779
    assert parser.seen.get("AP") == {
        "bottom_left": 0.90807,
        "bottom_right": 0.90862,
        "license_plate": 0.90787,
        "top_left": 0.90773,
        "top_right": 0.90664,
    }


@pytest.mark.parametrize(
    "line",
    [
        "2022-01-18 02:39:38,593 [INFO] __main__: Pruning ratio (pruned model / original model): 0.26947645427472383",
        "2023-07-26 02:39:38,593 [TAO Toolkit] [INFO] root 144: Pruning ratio (pruned model / original model): 0.26947645427472383",  # noqa: E501 - as TAO 5.0 prints it
    ],
)
def test_the_pruning_ratio_behind_either_prefix(runner: ModuleType, line: str) -> None:
    assert read(runner, line + "\n").seen["parameterRatio"] == 0.26947645427472383


def test_the_seeds_pruning_log(runner: ModuleType) -> None:
    assert read(runner, (HERE / "seed-prune.log").read_bytes()).seen["parameterRatio"] == 0.26947645427472383


TERMINAL = (
    "Epoch 3/80\n"
    + "".join(
        "\b" * 90 + "\r" + f"{step:4d}/1794 [=====>........................] - ETA: 9:03 - loss: {1000 + step / 7:.4f}"
        for step in range(1, 20)
    )
    + "\b" * 90
    + "\r1794/1794 [==============================] - 583s 325ms/step - loss: 999.1234          \n"
)
PIPE = (
    "Epoch 3/80\n"
    + "".join(
        f"\n{step:4d}/1794 [=====>........................] - ETA: 9:03 - loss: {1000 + step / 7:.4f}" for step in range(1, 20)
    )
    + "\n1794/1794 [==============================] - 583s 325ms/step - loss: 999.1234\n"
)


@pytest.mark.parametrize("text", [TERMINAL, PIPE])
def test_bars_of_a_terminal_and_of_a_pipe(runner: ModuleType, text: str) -> None:
    parser = runner.OutputParser()
    lines = parser.feed(text.encode())
    assert [bar for _, bar in lines].count("moving") == 19
    assert [text for text, bar in lines if bar == "complete"] == [
        "1794/1794 [==============================] - 583s 325ms/step - loss: 999.1234"
    ]
    assert parser.history[3] == {"loss": 999.1234}
    assert parser.seen.get("took") == 583


def test_eta_counts_the_epochs_to_come(runner: ModuleType) -> None:
    parser = runner.OutputParser()
    parser.feed(PIPE.encode())
    parser.feed(b"Epoch 4/80\n\n 897/1794 [=====>......] - ETA: 4:51 - loss: 3.1000\n")
    assert parser.numbers()["etaSeconds"] == 291 + 76 * 583
    first = read(runner, "Epoch 1/3\n 500/1000 [=====>......] - ETA: 1:00:00 - loss: 3.1000\n")
    assert first.numbers()["etaSeconds"] == 3600 + 2 * 7200


@pytest.mark.parametrize(
    ("printed", "loss"),
    [
        ("5318.8814", 5318.8814),
        ("461.79600", 461.7960),
        ("238.50448", 238.5044),
        ("9.8765e-04", 9.8765e-04),
        ("0.0010", 0.0010),
        ("nan", math.nan),
        ("nan8.8814", math.nan),
        ("inf", math.inf),
        ("9.8765e-0412", None),  # a longer bar left something behind: which digits are the number's cannot be told
        ("9.8765e-", None),
        ("x", None),
        ("1.2.3", None),
    ],
)
def test_losses_are_taken_as_printed_or_not_at_all(runner: ModuleType, printed: str, loss: float | None) -> None:
    row = read(runner, f"Epoch 1/2\n10/10 [===] - 5s 1ms/step - loss: {printed}\n").history.get(1, {})
    assert row.get("loss") == loss or (loss is not None and math.isnan(loss) and math.isnan(row["loss"]))


def test_a_number_at_the_cut_end_of_the_stream_does_not_count(runner: ModuleType) -> None:
    parser = read(runner, "Validation loss: 41.8682578\nValidation loss: 2")
    assert parser.seen.get("validationLoss") == 41.8682578
    parser = read(runner, "Epoch 1/2\n5/10 [=>..] - ETA: 3s - loss: 84.2129\n6/10 [==>.] - ETA: 2s - loss: 8")
    assert (parser.seen.get("step"), parser.seen.get("loss")) == (5, 84.2129)


def test_a_class_name_of_14_characters_has_no_separator(runner: ModuleType) -> None:
    rows = "electric_bicycleAP    0.66367\nMAPAP         AP    0.5\nwith a space  AP    nan\n              mAP   0.58184\n"
    parser = read(runner, "*" * 31 + "\n" + rows + "*" * 31 + "\n")
    assert (parser.seen.get("AP")["electric_bicycle"], parser.seen.get("AP")["MAPAP"]) == (0.66367, 0.5)
    assert math.isnan(parser.seen.get("AP")["with a space"])
    assert parser.seen.get("mAP") == 0.58184


def test_a_table_without_its_mean_is_not_taken(runner: ModuleType) -> None:
    assert read(runner, "*" * 31 + "\ncar           AP    0.5\n").seen == {}


def test_rows_outside_a_table_are_not_taken(runner: ModuleType) -> None:
    parser = read(runner, "car           AP    0.5\n              mAP   0.5\n")
    assert parser.seen == {}


def test_nan_map_is_not_a_number(runner: ModuleType) -> None:
    parser = read(runner, "*" * 31 + "\ncar           AP    nan\n              mAP   nan\n" + "*" * 31 + "\n")
    assert math.isnan(parser.seen.get("mAP"))


def test_validation_bars_do_not_hide_the_trainings_steps(runner: ModuleType) -> None:
    bar = "\rProducing predictions:  50%|█████     | 100/200 [00:28<00:28,  3.54it/s]"
    parser = read(runner, PIPE + bar + "\n")
    assert (parser.seen.get("step"), parser.seen.get("steps")) == (1794, 1794)
    parser = read(runner, bar + "\n")
    assert (parser.seen.get("step"), parser.seen.get("steps")) == (100, 200)


def test_the_last_validation_bar_is_shown_once(runner: ModuleType) -> None:
    parser = runner.OutputParser()
    bar = "Producing predictions: 100%|██████████| 200/200 [00:56<00:00,  3.54it/s]"
    lines = parser.feed(f"\r{bar}\r{bar}\n".encode())
    assert [text for text, _ in lines] == [bar]


def test_early_stopping_and_an_invalid_loss_are_events(runner: ModuleType) -> None:
    assert read(runner, "Epoch 00037: early stopping\n").events >= {"earlyStop"}
    assert read(runner, "Batch 12: Invalid loss, terminating training\n").events >= {"invalidLoss"}


def test_colours_and_control_characters_are_removed(runner: ModuleType) -> None:
    parser = runner.OutputParser()
    assert [text for text, _ in parser.feed(b"\x1b[31mEpoch 2/5\x1b[0m\x07\n")] == ["Epoch 2/5"]
    assert (parser.seen.get("epoch"), parser.seen.get("epochs")) == (2, 5)


def test_a_line_without_an_end_does_not_fill_the_memory(runner: ModuleType) -> None:
    parser = runner.OutputParser()
    for _ in range(40):
        parser.feed(b"x" * 10000)
    assert len(parser.close()[0][0]) == runner.LINE_LIMIT


@pytest.mark.parametrize(
    "text", ["x" + " " * 60000, " " * 60000, "9%|" * 20000, "1/2 [=] - ETA: " * 4000, "\x1b[0" * 20000, "(" * 60000]
)
def test_no_line_takes_long(runner: ModuleType, text: str) -> None:
    started = time.monotonic()
    read(runner, "*" * 31 + "\n" + text + "AP   \n")
    assert time.monotonic() - started < 5


TOOLKIT_BYTES = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.sampled_from([line.encode() for line in (HERE / "seed-train.log").read_text().splitlines(True)]),
        st.sampled_from(
            [
                b"\r",
                b"\n",
                b"\b" * 9,
                b"Epoch 9/80",
                b"*" * 31 + b"\n",
                b"(nan, 3.00)\n",
                "█".encode(),
                b"loss: nan",
                b"99999999999/1 [=] - ETA: 1:::",
                b"10/5 [==] - 3s - loss: 1.0000\n",
                b"0/0 [=] - loss: 1e999\n",
            ]
        ),
    ),
    max_size=30,
).map(b"".join)


def state(parser: Any) -> str:
    return repr([(name, value) for name, value in sorted(vars(parser).items())])


@given(data=TOOLKIT_BYTES, cuts=st.lists(st.integers(min_value=0, max_value=2000), max_size=12))
def test_any_bytes_cut_anywhere_give_the_same(runner: ModuleType, data: bytes, cuts: list[int]) -> None:
    whole, pieces = runner.OutputParser(), runner.OutputParser()
    expected = whole.feed(data) + whole.close()
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    lines = [line for start, end in pairwise(places) for line in pieces.feed(data[start:end])]
    assert lines + pieces.close() == expected
    assert state(pieces) == state(whole)
    whole.numbers()


def printed(data: bytes) -> set[float]:
    """Every number that begins somewhere in the bytes: a longer bar may have left digits behind one."""
    text = data.replace(b"\b", b"").decode("utf-8", "replace")
    tokens = set(re.findall(r"[-+]?[0-9]+(?:\.[0-9]+)?(?:e[-+]?[0-9]+)?", text, re.ASCII | re.IGNORECASE))
    return {float(token[:end]) for token in tokens for end in range(1, len(token) + 1) if token[end - 1].isdigit()}


def numbers_in(value: Any) -> Iterator[float]:
    match value:
        case dict():
            for name, inner in value.items():
                yield from numbers_in(inner) if name != "eta" else ()  # minutes and seconds, as seconds
        case list():
            for inner in value:
                yield from numbers_in(inner)
        case int() | float():
            yield value


@given(data=TOOLKIT_BYTES | st.binary(max_size=400))
def test_no_number_is_invented(runner: ModuleType, data: bytes) -> None:
    """Every finite number in the state stands in the bytes."""
    parser = read(runner, data)
    there = printed(data) | {0.0}  # an epoch begins at step 0
    found = [*numbers_in(parser.seen), *numbers_in(parser.history), *parser.history]
    assert [value for value in found if math.isfinite(value) and value not in there] == []


@given(data=TOOLKIT_BYTES)
def test_a_training_log_of_any_bytes_invents_no_number(
    runner: ModuleType, tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    folder = tmp_path_factory.mktemp("log")
    (folder / "result" / "weights").mkdir(parents=True)
    text = b"epoch,AP_car,loss,mAP\r\n1,0.5," + data.replace(b"\n", b"\r\n2,") + b",0.5\r\n"
    (folder / "result" / "yolov4_training_log_x.csv").write_bytes(text)
    resume = {"weights": str(folder / "result" / "weights"), "suffix": ".tlt", "epochs": 80}
    (folder / "instructions.json").write_text(json.dumps({"workspace": "/", "directory": str(folder), "resume": resume}))
    rows = runner.ToolkitStage(str(folder / "instructions.json")).training_log()
    assert [value for value in numbers_in(rows) if math.isfinite(value) and value not in printed(text)] == []
