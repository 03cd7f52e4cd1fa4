"""Arguments and exit codes."""

from __future__ import annotations

from pathlib import Path

import pytest
from yolo_v4.cli import main, parse
from yolo_v4.cpus import available_cpus, compute_threads
from yolo_v4.errors import ExitCode


def words(line: str) -> list[str]:
    return line.split()


def exit_code(*argv: str) -> int:
    with pytest.raises(SystemExit) as caught:
        parse(argv)
    return int(caught.value.code or 0)


def test_options_come_in_any_order_and_both_generations() -> None:
    arguments = parse(["train", "-k", "key", "-e", "spec", "--gpus", "1", "--gpu_index", "0", "-r", "out", "--use_amp"])
    assert (arguments.experiment_spec_file, arguments.results_dir) == ("spec", "out")
    prune = parse(words("prune -pth 0.7 -eq intersection -m a -o b -e c -n L2 -pg 4 -nf 8 -el conv1 pool1 --results_dir r"))
    assert prune.excluded_layers == ["conv1", "pool1"]
    old = parse(words("inference -i images -o drawn -e spec -m model -k key -l labels"))
    new = parse(words("inference -i images -e spec -m model -r results -t 0.5"))
    assert (old.out_image_path, old.out_label_path, new.results_dir) == ("drawn", "labels", "results")


@pytest.mark.parametrize(
    "argv",
    [
        "",
        "trian",
        "train",
        "--gpus 4 train -e a -r b",
        "train -e a -r b --unknown 1",
        "train --experiment a -r b",
        "evaluate -m a -e b --gpus 2",
        "prune -m a -o b -e c -r d",
        "prune -m a -o b -e c -eq sum",
        "export -m a -e b --data_type fp16",
    ],
)
def test_wrong_command_lines_exit_with_two(argv: str) -> None:
    assert exit_code(*words(argv)) == 2


def test_help_exits_with_zero() -> None:
    assert exit_code("--help") == 0
    assert exit_code("train", "--help") == 0


def test_a_bad_spec_is_the_users_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("numpy")
    folder = str(tmp_path / "none")
    assert main(["kmeans", "-l", folder, "-i", folder, "-x", "32", "-y", "32"]) == ExitCode.USER
    assert "DatasetError: cannot list" in capsys.readouterr().err


def test_one_thread_fewer_than_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert compute_threads() == max(1, available_cpus() - 1)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert compute_threads() == 3


def test_the_cgroups_quota_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    monkeypatch.setattr("yolo_v4.cpus._CGROUP_V2", tmp_path / "cpu.max")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(64))
    assert available_cpus() == 2
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert available_cpus() == 64
