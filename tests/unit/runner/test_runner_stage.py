"""Whole stages: the runner as a subprocess over the emulated toolkit, on this Python and on the oldest toolkit's."""

from __future__ import annotations

import ast
import errno
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Bench, Outcome

KEY = "license-plate-yolov4"
RUNNER = Path(__file__).parents[3] / "operator" / "yolo_operator" / "runner" / "runner.py"


def verdict(outcome: Outcome) -> tuple[int, str, str, str]:
    """Exit code, outcome, reason, class: what the operator acts on, the same in both reports."""
    for name in ("outcome", "reason", "class", "digest", "message"):
        assert outcome.report.get(name) == outcome.message.get(name)
    return outcome.code, outcome.report["outcome"], outcome.report["reason"], outcome.report.get("class", "")


def test_the_runner_needs_python_36_and_its_standard_library() -> None:
    tree = ast.parse(RUNNER.read_text(), feature_version=(3, 6))
    imported = {alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {(node.module or "").split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported <= sys.stdlib_module_names
    vermin = Path(sys.executable).with_name("vermin")
    if not vermin.exists():
        pytest.skip("vermin is not installed")
    found = subprocess.run([vermin, "-t=3.6-", "--no-tips", RUNNER], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


# ---- success ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dialect", "suffix"), [("3.21", ".tlt"), ("5.0", ".hdf5")])
def test_a_training_succeeds(benches: Bench, dialect: str, suffix: str) -> None:
    outcome = benches.run(benches.train(suffix=suffix), EMULATE_DIALECT=dialect)
    assert verdict(outcome) == (0, "Succeeded", "Completed", "")
    name = f"yolov4_resnet18_epoch_004{suffix}"
    content = (benches.result / "weights" / name).read_bytes()
    assert outcome.report["artifacts"] == [
        {
            "name": "checkpoint",
            "path": f"stages/stage-1/result/weights/{name}",
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
    ]
    assert outcome.report["metrics"] == {
        "epoch": 4,
        "epochs": 4,
        "loss": 312.5,
        "validationLoss": 10.0,
        "learningRate": 0.0004,
        "mAP": 0.865,
        "AP": {"bottom_left": 0.875, "license_plate": 0.865, "very_long_class_name": 0.855},
    }
    assert [row["epoch"] for row in outcome.report["history"]] == [1, 2, 3, 4]
    assert outcome.report["exitCode"] == 0
    assert outcome.progress[-1] == {
        "epoch": 4,
        "epochs": 4,
        "step": 3,
        "steps": 3,
        "loss": 312.5,
        "mAP": 0.865,
        "validationLoss": 10.0,
        "learningRate": 0.0004,
        "etaSeconds": 0,
    }
    assert KEY not in outcome.everything
    assert "running: yolo_v4 train" in outcome.stdout
    assert (benches.directory / "config.txt").read_text().startswith("random_seed: 42")


@pytest.mark.parametrize("row", ["epoch,loss\\n1,9.5", "epoch,loss,lr\\n1,9.5,nan"])
def test_a_learning_rate_that_no_log_has_is_not_told(bench: Bench, row: str) -> None:
    bench.result.mkdir(parents=True)
    log = bench.result / "yolov4_training_log_resnet18.csv"
    words = f"print('Epoch 1/4'); open({str(log)!r}, 'w').write('{row}\\n'); print('Epoch 2/4')"
    outcome = bench.run(bench.train() | {"argv": [bench.python, "-c", words]})
    assert outcome.progress
    assert not any("learningRate" in line for line in outcome.progress)


def test_bars_are_shown_when_they_are_complete(benches: Bench) -> None:
    outcome = benches.run(benches.train() | {"progressSeconds": 3600}, EMULATE_STEPS="400", EMULATE_TTY="1")
    assert outcome.stdout.count("ms/step") == 4
    assert "ETA" not in outcome.stdout
    log = (benches.directory / "logs" / "attempt-1.log").read_text()
    assert log.count("ms/step") == 4
    assert log.count(" - ETA: ") == 1
    assert "saving model to" in log


@pytest.mark.parametrize(("checkpoint", "epochs"), [("best", [2, 4]), ("last", [4]), ("2", [2, 4])])
def test_the_chosen_checkpoint_becomes_the_artifact(bench: Bench, checkpoint: str, epochs: list[int]) -> None:
    bench.result.mkdir(parents=True)
    weights = bench.result / "weights"
    weights.mkdir()
    for epoch in (2, 4):
        (weights / f"yolov4_resnet18_epoch_{epoch:03d}.tlt").write_bytes(b"x" * 100)
    header = "epoch,AP_car,loss,lr,mAP,validation_loss\r\n"
    rows = "1,nan,9.5,0.1,nan,nan\r\n2,0.9,8.5,0.1,0.9,7.5\r\n3,nan,8.0,0.1,nan,nan\r\n4,0.8,7.0,0.1,0.8,7.4\r\n"
    (bench.result / "yolov4_training_log_resnet18.csv").write_text(header + rows, newline="")
    outcome = bench.run(bench.train(checkpoint=checkpoint), emulate="crash")  # it is finished: the toolkit is not run
    assert verdict(outcome) == (0, "Succeeded", "Completed", "")
    assert [item["path"][-7:-4] for item in outcome.report["artifacts"]] == [f"{epoch:03d}" for epoch in epochs]
    assert outcome.report["metrics"]["epoch"] == epochs[0]
    assert outcome.report["metrics"]["AP"]["car"] == {2: 0.9, 4: 0.8}[epochs[0]]
    assert "exitCode" not in outcome.report


def test_a_checkpoint_that_was_not_saved_cannot_be_chosen(bench: Bench) -> None:
    outcome = bench.run(bench.train(checkpoint="3"))
    assert verdict(outcome) == (10, "Failed", "ArtifactMissing", "user")
    assert "checkpoint of epoch 3: trainingConfig.checkpointInterval" in outcome.report["message"]


def test_early_stopping_is_a_success(bench: Bench) -> None:
    outcome = bench.run(bench.train(), "early-stop")
    assert verdict(outcome) == (0, "Succeeded", "Completed", "")
    assert outcome.report["metrics"]["epoch"] == 2


def test_anchors(benches: Bench) -> None:
    outcome = benches.run(benches.other("kmeans"))
    assert verdict(outcome) == (0, "Succeeded", "Completed", "")
    assert outcome.report["metrics"] == {"anchors": [[10.0 * n, 5.0 * n] for n in range(1, 10)]}
    assert outcome.report["message"] == "9 anchors"


@pytest.mark.parametrize("dialect", ["3.21", "5.0"])
def test_an_evaluation(benches: Bench, dialect: str) -> None:
    outcome = benches.run(benches.other("evaluate", dialect), EMULATE_DIALECT=dialect)
    assert verdict(outcome) == (0, "Succeeded", "Completed", "")
    assert outcome.report["metrics"]["mAP"] == 0.89
    assert outcome.report["message"] == "mAP 0.8900"


@pytest.mark.parametrize(("dialect", "name"), [("3.21", "pruned.tlt"), ("5.0", "pruned.tlt.hdf5")])
def test_a_pruned_model_under_either_name(benches: Bench, dialect: str, name: str) -> None:
    outcome = benches.run(benches.other("prune", dialect), EMULATE_DIALECT=dialect)
    assert verdict(outcome) == (0, "Succeeded", "Completed", "")
    assert outcome.report["artifacts"][0]["path"] == f"stages/stage-1/{name}"
    assert outcome.report["metrics"]["parameterRatio"] == pytest.approx(0.272)


def test_an_export_tells_its_quantised_activations(bench: Bench) -> None:
    outcome = bench.run(bench.other("export", "5.0"), EMULATE_DIALECT="5.0")
    assert verdict(outcome) == (0, "Succeeded", "Completed", "")
    assert outcome.report["metrics"]["quantisedActivations"] == 27


def test_an_export_again_is_not_stopped_by_its_half_written_file(bench: Bench) -> None:
    bench.directory.mkdir(parents=True)
    (bench.directory / "model.etlt").write_text("half")
    assert verdict(bench.run(bench.other("export"))) == (0, "Succeeded", "Completed", "")


@pytest.mark.parametrize("dialect", ["3.21", "5.0"])
def test_an_inference_counts_its_detections(benches: Bench, dialect: str) -> None:
    (benches.root / "images").mkdir()
    for name in ("a.jpg", "b.png", "c.JPG"):
        (benches.root / "images" / name).write_bytes(b"x")
    outcome = benches.run(benches.other("inference", dialect), EMULATE_DIALECT=dialect)
    assert verdict(outcome) == (0, "Succeeded", "Completed", "")
    assert (outcome.report["metrics"]["images"], outcome.report["metrics"]["detections"]) == (3, 6)
    (labels,) = outcome.report["artifacts"]
    folder = benches.workspace / labels["path"]
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        digest.update(f"{path.name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    assert labels["sha256"] == digest.hexdigest()
    assert labels["bytes"] == sum(path.stat().st_size for path in folder.iterdir())


# ---- failures --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("emulate", "dialect", "code", "reason", "kind", "says"),
    [
        ("nan-loss", "3.21", 10, "NonFiniteLoss", "user", "(epoch 2): lower trainingConfig.learningRate"),
        ("nan-loss", "5.0", 10, "NonFiniteLoss", "user", "(epoch 2)"),
        ("quiet-nan-loss", "3.21", 10, "NonFiniteLoss", "user", "(epoch 2)"),
        ("interrupted-exit-0", "3.21", 11, "InterruptedWithoutSignal", "transient", "after epoch 1 of 4"),
        ("interrupted-exit-0", "5.0", 11, "InterruptedWithoutSignal", "transient", "was interrupted"),
        ("artifact-missing", "3.21", 11, "ArtifactMissing", "transient", "left no checkpoint"),
        ("empty-artifact", "5.0", 11, "ArtifactMissing", "transient", "left no checkpoint"),
        ("resume-past-end", "5.0", 10, "NothingTrained", "user", "after epoch 0 of 4"),
        ("oom", "3.21", 10, "OutOfMemory", "user", "lower batchSizePerGpu"),
        ("host-oom", "3.21", 11, "OutOfMemory", "transient", "raise its limit"),
        ("gpu-probe", "5.0", 11, "GpuUnavailable", "infrastructure", "nvidia-smi"),
        ("gpu-missing", "5.0", 11, "GpuUnavailable", "infrastructure", "check the driver"),
        ("spec-error", "3.21", 10, "BadExperimentSpec", "user", 'has no field named "batchsize"'),
        ("spec-assertion", "5.0", 10, "BadExperimentSpec", "user", "multiples of 32"),
        ("wrong-key", "3.21", 10, "WrongKey", "user", "file signature not found"),
        ("empty-dataset", "3.21", 10, "DatasetUnusable", "user", "no image (suffix in lower case) has a label"),
        ("missing-dataset", "5.0", 10, "DatasetUnusable", "user", "/dataset/train/labels"),
        ("no-space", "5.0", 10, "NoSpace", "user", "enlarge the workspace's claim"),
        ("crash", "5.0", 11, "ToolkitFailed", "transient", "exit code 255: "),
        ("user-error", "5.0", 10, "ToolkitFailed", "user", "exit code 64: "),
        ("no-map", "3.21", 11, "MetricMissing", "transient", "no finite mAP"),
        ("nan-map", "5.0", 11, "MetricMissing", "transient", "no finite mAP"),
    ],
)
def test_a_training_that_fails(bench: Bench, emulate: str, dialect: str, code: int, reason: str, kind: str, says: str) -> None:
    outcome = bench.run(bench.train(suffix=".tlt" if dialect == "3.21" else ".hdf5"), emulate, EMULATE_DIALECT=dialect)
    assert verdict(outcome) == (code, "Failed", reason, kind)
    assert says in outcome.report["message"]
    assert "artifacts" not in outcome.report
    assert KEY not in outcome.everything


def test_running_out_of_gpu_memory_late_is_tried_again(bench: Bench) -> None:
    outcome = bench.run(bench.train(), "oom", EMULATE_AT="3")
    assert verdict(outcome) == (11, "Failed", "OutOfMemory", "transient")


@pytest.mark.parametrize(
    ("task", "emulate", "dialect", "code", "reason", "kind"),
    [
        ("export", "export-wrong-key", "3.21", 10, "WrongKey", "user"),
        ("export", "export-wrong-key", "5.0", 10, "WrongKey", "user"),
        ("prune", "artifact-missing", "5.0", 11, "ArtifactMissing", "transient"),
        ("prune", "empty-artifact", "3.21", 11, "ArtifactMissing", "transient"),
        ("prune", "interrupted-exit-0", "5.0", 11, "InterruptedWithoutSignal", "transient"),
        ("evaluate", "no-map", "3.21", 11, "MetricMissing", "transient"),
        ("evaluate", "oom", "5.0", 10, "OutOfMemory", "user"),
        ("kmeans", "nan-anchors", "3.21", 11, "MetricMissing", "transient"),
        ("kmeans", "gpu-probe", "3.21", 11, "GpuUnavailable", "infrastructure"),
        ("inference", "artifact-missing", "5.0", 11, "ArtifactMissing", "transient"),
    ],
)
def test_another_stage_that_fails(bench: Bench, task: str, emulate: str, dialect: str, code: int, reason: str, kind: str) -> None:
    (bench.root / "images").mkdir()
    (bench.root / "images" / "a.jpg").write_bytes(b"x")
    outcome = bench.run(bench.other(task, dialect), emulate, EMULATE_DIALECT=dialect)
    assert verdict(outcome) == (code, "Failed", reason, kind)


@pytest.mark.parametrize("task", ["evaluate", "prune", "export", "inference"])
def test_a_model_of_another_key(benches: Bench, task: str) -> None:
    (benches.root / "images").mkdir()
    outcome = benches.run(benches.other(task, model=benches.model("another key")))
    assert verdict(outcome) == (10, "Failed", "WrongKey", "user")
    assert "all stages need the key" in outcome.report["message"]


def test_unknown_flags_are_the_users(bench: Bench) -> None:
    outcome = bench.run(bench.instructions("train", "--odd-flag"))
    assert verdict(outcome) == (10, "Failed", "BadExperimentSpec", "user")


def test_an_old_success_in_the_status_file_is_not_this_runs(bench: Bench) -> None:
    bench.result.mkdir(parents=True)
    (bench.result / "status.json").write_text(
        '{"status": "STARTED", "message": "Starting Yolo_V4 train job"}\n'
        '{"status": "SUCCESS", "message": "done", "kpi": {"x": NaN}}\n'
    )
    outcome = bench.run(bench.other("prune", "5.0"), "interrupted-exit-0", EMULATE_DIALECT="5.0")
    assert outcome.report["reason"] == "InterruptedWithoutSignal"


def test_an_old_failure_in_the_status_file_is_not_this_runs(bench: Bench) -> None:
    bench.result.mkdir(parents=True)
    (bench.result / "status.json").write_text('{"status": "FAILURE", "message": "Prune was interrupted"}\n')
    assert verdict(bench.run(bench.other("prune"))) == (0, "Succeeded", "Completed", "")  # this run writes no status


def test_an_invalid_loss_is_believed_without_its_number(bench: Bench) -> None:
    lines = "Epoch 1/4\\n\\n3/3 [===] - 3s - loss: 7.0000\\nEpoch 2/4\\nBatch 12: Invalid loss, terminating training"
    outcome = bench.run(bench.train(argv=[bench.python, "-c", f"print('{lines}')"]))
    assert verdict(outcome) == (10, "Failed", "NonFiniteLoss", "user")


def test_no_executable(bench: Bench) -> None:
    outcome = bench.run(bench.instructions("train", argv=["no-such-toolkit", "-k", "{key}"]))
    assert verdict(outcome) == (10, "Failed", "ExecutableMissing", "user")
    assert "`no-such-toolkit`" in outcome.report["message"]


@pytest.mark.parametrize("key", ["", "  \n", "two\nlines", "two words", "a$HOME", "it's", "a;b", "cl\u00e9"])
def test_a_key_that_is_none(bench: Bench, key: str) -> None:
    outcome = bench.run(bench.train(), YOLO_TOOLKIT_KEY=key)
    assert verdict(outcome) == (10, "Failed", "KeyMissing", "user")
    assert "spec.toolkit.encryptionKeySecretRef" in outcome.report["message"]


def test_a_wrong_key_is_not_told(bench: Bench) -> None:
    outcome = bench.run(bench.train(), YOLO_TOOLKIT_KEY="topsecret$")
    assert "_./+=:,@%-" in outcome.report["message"]
    assert "topsecret" not in json.dumps(outcome.report)


def test_a_key_in_base64_is_one(bench: Bench) -> None:
    assert verdict(bench.run(bench.train(), YOLO_TOOLKIT_KEY="bmctYXBp/Zw+Zw=="))[1:3] == ("Succeeded", "Completed")


def test_a_command_with_a_key_but_no_secret(bench: Bench) -> None:
    assert verdict(bench.run(bench.train(keyEnv=None))) == (10, "Failed", "KeyMissing", "user")


def test_inputs_are_verified(bench: Bench) -> None:
    model = bench.model()
    good = {"path": str(model), "bytes": model.stat().st_size, "sha256": hashlib.sha256(model.read_bytes()).hexdigest()}
    assert bench.run(bench.other("evaluate", inputs=[good])).code == 0
    (bench.directory / "report.json").unlink()
    outcome = bench.run(bench.other("evaluate", inputs=[good | {"sha256": "0" * 64}]))
    assert verdict(outcome) == (10, "Failed", "InputChanged", "user")
    outcome = bench.run(bench.other("evaluate", inputs=[good | {"path": str(model) + ".gone"}]))
    assert verdict(outcome) == (10, "Failed", "InputMissing", "user")
    assert "model.tlt.gone" in outcome.report["message"]


def test_a_workspace_that_is_no_directory(bench: Bench) -> None:
    (bench.root / "file").write_text("")
    outcome = bench.run(bench.train(workspace=str(bench.root / "file"), directory=str(bench.root / "file" / "stage")))
    assert outcome.code == 11
    assert outcome.message["reason"] == "StorageFailed"


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EROFS, "WorkspaceNotWritable"),
        (errno.EACCES, "WorkspaceNotWritable"),
        (errno.ENOSPC, "NoSpace"),
        (errno.EDQUOT, "NoSpace"),
        (errno.EIO, "StorageFailed"),
    ],
)
def test_storage_that_fails(runner: ModuleType, bench: Bench, number: int, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (bench.root / "instructions.json").write_text(json.dumps(bench.train(keyEnv=None)))
    monkeypatch.setenv("YOLO_TERMINATION_LOG", str(bench.termination_log))
    monkeypatch.setattr(runner.signal, "signal", lambda *_: None)

    def work(stage: Any) -> dict[str, Any]:
        raise OSError(number, os.strerror(number), "/workspace/stages")

    code = runner.execute(str(bench.root / "instructions.json"), work)
    report = json.loads(bench.termination_log.read_text())
    assert (code, report["reason"]) == (11 if reason == "StorageFailed" else 10, reason)
    assert "/workspace/stages" in report["message"]


def test_a_clock_that_is_set_back_makes_no_time_negative(
    runner: ModuleType, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    (bench.root / "instructions.json").write_text(json.dumps(bench.train(keyEnv=None)))
    monkeypatch.setenv("YOLO_TERMINATION_LOG", str(bench.termination_log))
    monkeypatch.setattr(runner.signal, "signal", lambda *_: None)
    true = runner.time.time

    def work(stage: Any) -> dict[str, Any]:
        monkeypatch.setattr(runner.time, "time", lambda: true() - 10_000)
        raise OSError(errno.EIO, "no")

    runner.execute(str(bench.root / "instructions.json"), work)
    assert 0 <= json.loads(bench.termination_log.read_text())["seconds"] < 60


def test_instructions_that_cannot_be_read(bench: Bench) -> None:
    process = bench.start(bench.train())
    bench.wait(process)
    (bench.root / "etc" / "instructions.json").write_text("{")
    ended = subprocess.run([bench.python, RUNNER, bench.root / "etc" / "instructions.json"], capture_output=True, check=False)
    assert ended.returncode == 1  # transient; without a report the log's end, which says why, is the termination message
    assert b"JSONDecodeError" in ended.stderr


# ---- reuse, resumption, signals ----------------------------------------------------------------------------------------------


def test_a_finished_stage_is_reported_again(bench: Bench) -> None:
    first = bench.run(bench.train())
    again = bench.run(bench.train(attempt=2), "crash")
    assert verdict(again) == (0, "Succeeded", "Completed", "")
    assert again.report == first.report | {"reused": True, "attempt": 2}
    assert bench.run(bench.train(digest="e" * 64)).report["reused"] is False


def test_a_finished_stage_whose_artifact_changed_runs_again(bench: Bench) -> None:
    bench.run(bench.other("prune"))
    (bench.directory / "pruned.tlt").write_text("x")
    assert bench.run(bench.other("prune")).report["reused"] is False


@pytest.mark.parametrize(("dialect", "suffix"), [("3.21", ".tlt"), ("5.0", ".hdf5")])
def test_sigterm_then_the_next_attempt_resumes(benches: Bench, dialect: str, suffix: str) -> None:
    process = benches.start(benches.train(suffix=suffix), EMULATE="hang", EMULATE_AT="3", EMULATE_DIALECT=dialect)
    wait_for(benches, "saving model")
    process.send_signal(signal.SIGTERM)
    outcome = benches.wait(process)
    assert verdict(outcome) == (143, "Interrupted", "Interrupted", "infrastructure")
    assert outcome.report["exitCode"] == 143
    assert "from the checkpoint of epoch 2" in outcome.report["message"]

    resumed = benches.run(benches.train(suffix=suffix, attempt=2), EMULATE_DIALECT=dialect)
    assert verdict(resumed) == (0, "Succeeded", "Completed", "")
    assert resumed.report["resumedFromEpoch"] == 2
    assert {line.get("resumedFromEpoch") for line in resumed.progress} == {2}  # seen while it runs
    assert not any("resumedFromEpoch" in line for line in outcome.progress)
    spec = (benches.directory / "config.txt").read_text()
    assert f'resume_model_path: "{benches.result}/weights/yolov4_resnet18_epoch_002{suffix}"' in spec
    assert "pretrain_model_path" not in spec
    assert [row["epoch"] for row in resumed.report["history"]] == [1, 2, 3, 4]  # the earlier rows of the log are kept
    rows = next(benches.result.glob("*.csv")).read_bytes()
    assert [line.split(b",")[0] for line in rows.split(b"\r\n")] == [b"epoch", b"1", b"2", b"3", b"4", b""]
    assert (benches.directory / "logs" / "attempt-2.log").exists()


def test_a_toolkit_that_ignores_sigterm_is_killed_after_the_grace(bench: Bench) -> None:
    process = bench.start(bench.train(graceSeconds=0.5), EMULATE="hang-on-term", EMULATE_AT="3")
    wait_for(bench, "saving model")
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    outcome = bench.wait(process)
    assert verdict(outcome) == (143, "Interrupted", "Interrupted", "infrastructure")
    assert outcome.report["exitCode"] == 137
    assert 0.5 <= time.monotonic() - started < 10


def test_a_checkpoint_cut_short_is_not_resumed_from(bench: Bench) -> None:
    outcome = bench.run(bench.train(), "truncated-checkpoint", EMULATE_AT="4")
    assert outcome.report["reason"] == "OutOfMemory"  # killed by signal 9
    again = bench.run(bench.train(attempt=2))
    assert verdict(again) == (0, "Succeeded", "Completed", "")
    assert again.report["resumedFromEpoch"] == 2


def test_the_same_attempt_again_appends_to_its_log(bench: Bench) -> None:
    bench.run(bench.train(), "crash")
    bench.run(bench.train())
    log = (bench.directory / "logs" / "attempt-1.log").read_text()
    assert log.index("something odd") < log.index("---- started again at ") < log.index("Epoch 1/4")


def test_a_process_left_behind_does_not_hold_the_stage(benches: Bench) -> None:
    started = time.monotonic()
    outcome = benches.run(benches.train(), "orphan")
    assert verdict(outcome) == (0, "Succeeded", "Completed", "")
    assert time.monotonic() - started < 50  # it would for 60


@pytest.mark.skipif(
    subprocess.run(["unshare", "-pf", "true"], capture_output=True, check=False).returncode != 0,
    reason="needs the right to make a PID namespace",
)
def test_as_process_1_it_forwards_sigterm_and_reaps_orphans(benches: Bench) -> None:
    script = (
        "import os, time\n"
        "for _ in range(3):\n"
        "    if os.fork() == 0:\n"
        "        if os.fork() == 0:\n"
        "            time.sleep(0.2)\n"  # by then its parent is gone: it is process 1's
        "        os._exit(0)\n"
        "    os.wait()\n"
        "time.sleep(1)\n"
        "states = [open(f'/proc/{pid}/stat').read().rsplit(')')[-1].split()[0] for pid in os.listdir('/proc') if pid.isdigit()]\n"
        "print('zombies', states.count('Z'), 'of', len(states), flush=True)\n"
        "time.sleep(60)\n"
    )
    instructions = benches.instructions("train", argv=["python3", "-c", script])
    process = benches.start(instructions, under=["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"])
    wait_for(benches, "zombies 0 of 2")
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True).stdout.split()
    os.kill(int(children[0]), signal.SIGTERM)
    assert verdict(benches.wait(process))[:3] == (143, "Interrupted", "Interrupted")


# ---- the key, and what is served ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("emulate", ["echo-key", "long-line", "echo-key,crash", "echo-key,spec-error"])
@pytest.mark.parametrize("key", [KEY, "a/b+c=d:e,f@%-x", "c2NobMO8c3NlbA=="])
def test_the_key_appears_nowhere(bench: Bench, emulate: str, key: str) -> None:
    outcome = bench.run(bench.train(), emulate, YOLO_TOOLKIT_KEY=key, PYTHONIOENCODING="utf-8", LC_ALL="C.UTF-8")
    assert key not in outcome.everything
    assert key not in json.dumps(outcome.report, ensure_ascii=False)
    for length in range(len(key) // 2, len(key)):
        assert key[:length] + "\n" not in outcome.everything  # nor a part of it where a line was cut
    assert "***" in outcome.stdout


def test_the_toolkit_finds_no_key_in_its_environment(bench: Bench) -> None:
    command = [bench.python, "-c", "import os; print(os.environ)"]
    outcome = bench.run(bench.instructions("train", argv=command))
    assert "YOLO_TOOLKIT_KEY" not in outcome.stdout
    assert KEY not in outcome.everything


def test_live_numbers_for_prometheus(benches: Bench) -> None:
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    process = benches.start(benches.train(metricsPort=port, variant='a"b'), EMULATE="hang", EMULATE_AT="3")
    wait_for(benches, "saving model")
    time.sleep(0.3)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    process.send_signal(signal.SIGINT)
    assert benches.wait(process).code == 143
    labels = '{experiment="plates",stage="train",variant="a\\"b"}'
    assert f"yolo_stage_epochs{labels} 4\n" in text
    assert f"yolo_stage_map{labels} 0.74\n" in text
    assert f"yolo_stage_learning_rate{labels} 0.0002\n" in text  # from the log's newest row: that of the epoch before
    assert "# TYPE yolo_stage_validation_loss gauge\n" in text


def test_a_port_in_use_is_a_warning(bench: Bench) -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        outcome = bench.run(bench.train(metricsPort=taken.getsockname()[1]))
    assert verdict(outcome) == (0, "Succeeded", "Completed", "")
    assert outcome.report["warnings"][0]["reason"] == "MetricsUnavailable"


def wait_for(bench: Bench, text: str) -> None:
    """Until the toolkit has said so."""
    log = bench.directory / "logs" / "attempt-1.log"
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if log.exists() and text in log.read_text():
            return
        time.sleep(0.05)
    pytest.fail(f"the toolkit never said {text!r}")
