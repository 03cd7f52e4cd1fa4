"""Every way in which the toolkit ends, as it is known of TAO: replayed through the real runner, with what must come of it.

The rows are named by the words in which TAO's behaviour is described: its exit codes, its typical failures, and the lies that it
tells on its way to an exit code of 0.
"""

from __future__ import annotations

import hashlib
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Bench, Outcome

EXIT_CODES = (
    "success",
    "any non-zero child: exit code 255, the cause is lost",
    "bad/unknown flags, missing required flag, unknown subcommand",
    "wrapper assertions, no subcommand, nvidia-smi missing",
    "SIGINT, or a SystemExit inside a task: FAILURE, exit code 0",
    "export of a .tlt with the wrong key: exit code 0",
    "NaN/Inf loss: SUCCESS, exit code 0",
    "early stopping: no checkpoint unless that epoch is on the interval",
    "resume at/after num_epochs: nothing new written",
    "SIGTERM: no checkpoint on termination, no status record",
)
FAILURES = (
    "unreadable / bad spec",
    "image or label directory missing",
    "directory exists but no usable pair",
    "empty validation set",
    "tfrecords glob matches nothing, or too much",
    "pretrained backbone mismatch",
    "wrong key, train/evaluate/prune/inference",
    "TF OOM",
    "host OOM",
    "export target exists",
    "int8 calibration with too few images, or on random tensors",
    "non-empty results_dir",
)
LIES = (
    "missing artifact",
    ".tlt.hdf5 renaming",
    "occlusion 0.0",
    "GPU probe failure",
    "telemetry stall",
    "no finite mAP",
    "a key that is none",
)

Prepare = Callable[["Bench", dict[str, Any]], None]


@dataclass(frozen=True)
class Case:
    row: str
    task: str
    emulate: str
    dialect: str
    verdict: tuple[int, str, str, str]
    """The container's exit code, outcome, reason, class."""
    toolkit: int | None
    """The toolkit's own exit code; None: it did not run, or was killed."""
    says: str = ""
    """In the sentence for people."""
    prepare: Prepare | None = None
    environment: dict[str, str] = field(default_factory=dict)
    act: str = ""
    """A signal to send once the toolkit hangs."""

    def __str__(self) -> str:
        return f"{self.row.split(':')[0]}-{self.task}-{self.emulate or 'well'}-{self.dialect}"


OK = (0, "Succeeded", "Completed", "")
INTERRUPTED = (143, "Interrupted", "Interrupted", "infrastructure")
OLD, NEW = "3.21", "5.0"


def user(reason: str) -> tuple[int, str, str, str]:
    return (10, "Failed", reason, "user")


def transient(reason: str) -> tuple[int, str, str, str]:
    return (11, "Failed", reason, "transient")


def images(count: int) -> Prepare:
    """An int8 export that is to measure its ranges on 8 images, and as many as there are."""

    def prepare(bench: Bench, instructions: dict[str, Any]) -> None:
        folder = bench.root / "calibration"
        for number in range(count):
            folder.mkdir(exist_ok=True)
            (folder / f"{number}.jpg").write_bytes(b"x")
            (folder / f"{number}.JPG").write_bytes(b"x")  # not one that the toolkit reads
        instructions["argv"] += ["--cal_image_dir", str(folder), "--batches", "2", "--batch_size", "4"]
        wanted = {"path": str(folder), "suffixes": [".jpg", ".jpeg", ".png"], "atLeast": 8}
        instructions["expect"]["calibration"] = [wanted]

    return prepare


def unchecked_images(bench: Bench, instructions: dict[str, Any]) -> None:
    """As an operator that does not ask the runner to count them."""
    images(3)(bench, instructions)
    del instructions["expect"]["calibration"]


def half_written_export(bench: Bench, instructions: dict[str, Any]) -> None:
    bench.directory.mkdir(parents=True)
    (bench.directory / "model.etlt").write_text("half")


def older_run(bench: Bench, instructions: dict[str, Any]) -> None:
    """A results directory with a success in its status file, rows to the last epoch but one, and a last checkpoint cut short."""
    weights = bench.result / "weights"
    weights.mkdir(parents=True)
    bench.model().rename(weights / "yolov4_resnet18_epoch_002.tlt")
    (weights / "yolov4_resnet18_epoch_004.tlt").write_bytes(b"x" * 40)
    (bench.result / "status.json").write_text('{"status": "SUCCESS", "message": "YOLO_V4 training finished successfully."}\n')
    rows = (
        "epoch,AP_car,loss,lr,mAP,validation_loss\r\n1,nan,9.5,0.1,nan,nan\r\n2,0.9,8.5,0.1,0.9,7.5\r\n3,nan,8.0,0.1,nan,nan\r\n"
    )
    (bench.result / "yolov4_training_log_resnet18.csv").write_text(rows, newline="")


def older_run_of_another_file(bench: Bench, instructions: dict[str, Any]) -> None:
    older_run(bench, instructions)
    (bench.result / "weights" / "yolov4_resnet18_epoch_002.tlt").unlink()


def without_directory(bench: Bench, instructions: dict[str, Any]) -> None:
    instructions["argv"] += ["--odd-flag"]


def subcommand(name: str) -> Prepare:
    def prepare(bench: Bench, instructions: dict[str, Any]) -> None:
        instructions["argv"][1] = name

    return prepare


def wrong_model(bench: Bench, instructions: dict[str, Any]) -> None:
    bench.model("another key")


def profile_of_another_image(bench: Bench, instructions: dict[str, Any]) -> None:
    """The instructions know no other name."""
    for item in instructions["expect"].get("files", []):
        item.pop("alternatives", None)


def resumes_at_the_end(bench: Bench, instructions: dict[str, Any]) -> None:
    mount = bench.root / "etc"
    mount.mkdir(parents=True, exist_ok=True)
    text = 'training_config {\n  num_epochs: 4\n  resume_model_path: "%s"\n}\n'
    model = bench.model().rename(bench.workspace / "other_epoch_004.tlt")
    (mount / "experiment-spec.txt").write_text(text % model)


def stalls(bench: Bench, instructions: dict[str, Any]) -> None:
    instructions["stallSeconds"] = 6


R = dict(enumerate(EXIT_CODES))
F = dict(enumerate(FAILURES))
CASES = [
    *(Case(R[0], "train", "", dialect, OK, 0) for dialect in (OLD, NEW)),
    *(Case(R[0], task, "", OLD, OK, 0) for task in ("kmeans", "evaluate", "prune", "export", "inference")),
    Case(R[1], "train", "crash", NEW, transient("ToolkitFailed"), 255, "exit code 255: "),
    Case(R[1], "evaluate", "crash", OLD, transient("ToolkitFailed"), 255, "something odd happened"),
    Case(R[2], "train", "", OLD, user("BadExperimentSpec"), 2, "unrecognized arguments: --odd-flag", without_directory),
    Case(R[2], "train", "", NEW, user("BadExperimentSpec"), 2, "invalid choice: 'teach'", subcommand("teach")),
    Case(R[3], "evaluate", "wrapper-assertion", OLD, user("BadExperimentSpec"), 1, "Number of GPUs"),
    Case(R[3], "train", "gpu-missing", NEW, (11, "Failed", "GpuUnavailable", "infrastructure"), 1, "check the driver"),
    Case(R[4], "train", "interrupted-exit-0", OLD, transient("InterruptedWithoutSignal"), 0, "after epoch 1 of 4"),
    Case(R[4], "train", "interrupted-exit-0", NEW, transient("InterruptedWithoutSignal"), 0, "was interrupted"),
    Case(R[4], "prune", "interrupted-exit-0", NEW, transient("InterruptedWithoutSignal"), 0, "was interrupted"),
    Case(R[5], "export", "export-wrong-key", NEW, user("WrongKey"), 0, "all stages need the key"),
    Case(R[5], "export", "", OLD, user("WrongKey"), 0, "all stages need the key", wrong_model),
    Case(R[6], "train", "nan-loss", OLD, user("NonFiniteLoss"), 0, "(epoch 2): lower trainingConfig.learningRate"),
    Case(R[6], "train", "nan-loss", NEW, user("NonFiniteLoss"), 0, "(epoch 2)"),
    Case(R[6], "train", "quiet-nan-loss", OLD, user("NonFiniteLoss"), 0),
    Case(R[7], "train", "early-stop", OLD, OK, 0, "checkpoint of epoch 2"),
    Case(R[7], "train", "early-stop", OLD, user("ArtifactMissing"), 0, "checkpointInterval", environment={"EMULATE_AT": "1"}),
    Case(R[8], "train", "resume-past-end", NEW, user("NothingTrained"), 0, "after epoch 0 of 4"),
    Case(R[8], "train", "", OLD, user("NothingTrained"), 0, "Raise numEpochs", resumes_at_the_end),
    Case(
        R[9], "train", "hang", OLD, (143, "Interrupted", "Interrupted", "infrastructure"), 143, "SIGTERM in epoch 2", act="TERM"
    ),
    Case(R[9], "train", "hang-on-term", NEW, (143, "Interrupted", "Interrupted", "infrastructure"), 137, "epoch 2", act="TERM"),
    Case(F[0], "train", "spec-missing", OLD, user("BadExperimentSpec"), 255, "config.txt"),
    Case(F[0], "train", "spec-error", OLD, user("BadExperimentSpec"), 255, 'has no field named "batchsize"'),
    Case(F[0], "evaluate", "spec-assertion", NEW, user("BadExperimentSpec"), 255, "multiples of 32"),
    Case(F[1], "train", "missing-dataset", NEW, user("DatasetUnusable"), 255, "a path is missing"),
    Case(F[1], "kmeans", "missing-dataset", OLD, user("DatasetUnusable"), 255, "/dataset/train/labels"),
    Case(F[2], "train", "empty-dataset", OLD, user("DatasetUnusable"), 255, "no image (suffix in lower case) has a label"),
    Case(F[3], "train", "empty-validation", OLD, user("DatasetUnusable"), 255, "the validation set is empty"),
    Case(F[3], "train", "empty-validation", NEW, user("DatasetUnusable"), 255, "the validation set is empty"),
    Case(F[4], "train", "tfrecords-none", OLD, user("DatasetUnusable"), 255, "matches no file"),
    Case(F[4], "train", "tfrecords-loose", OLD, user("DatasetUnusable"), 255, "a file that is none"),
    Case(F[5], "train", "pretrained-mismatch", OLD, user("PretrainedMismatch"), 255, "arch and nlayers"),
    *(
        Case(F[6], task, "", OLD, user("WrongKey"), 255, "all stages need the key", wrong_model)
        for task in ("evaluate", "prune", "inference")
    ),
    Case(F[6], "train", "wrong-key", OLD, user("WrongKey"), 255, "file signature not found"),
    Case(F[7], "train", "oom", OLD, user("OutOfMemory"), 255, "lower batchSizePerGpu"),
    Case(F[7], "train", "oom", NEW, transient("OutOfMemory"), 255, "lower batchSizePerGpu", environment={"EMULATE_AT": "3"}),
    Case(F[7], "evaluate", "oom", NEW, user("OutOfMemory"), 255),
    Case(F[8], "train", "host-oom", OLD, transient("OutOfMemory"), 137, "raise its limit"),
    Case(F[8], "train", "child-killed", NEW, transient("OutOfMemory"), 255, "raise its limit"),
    Case(F[9], "export", "", OLD, OK, 0, "model.etlt", half_written_export),
    Case(F[10], "export", "", OLD, OK, 0, "model.etlt", images(8)),
    Case(F[10], "export", "", OLD, user("CalibrationUnusable"), None, "has 3 of 8 images (.jpg .jpeg .png)", images(3)),
    Case(F[10], "export", "", NEW, user("CalibrationUnusable"), None, "has 0 of 8 images", images(0)),
    Case(F[10], "export", "", OLD, user("CalibrationUnusable"), 255, "Not enough number of images", unchecked_images),
    Case(
        F[11],
        "train",
        "interrupted-exit-0",
        OLD,
        transient("InterruptedWithoutSignal"),
        0,
        "after epoch 2 of 4",
        older_run,
        {"EMULATE_AT": "3"},
    ),
    Case(
        F[11],
        "train",
        "interrupted-exit-0",
        NEW,
        transient("InterruptedWithoutSignal"),
        0,
        "interrupted",
        older_run_of_another_file,
    ),
    Case(LIES[0], "train", "artifact-missing", OLD, transient("ArtifactMissing"), 0, "left no checkpoint"),
    Case(LIES[0], "prune", "artifact-missing", NEW, transient("ArtifactMissing"), 0),
    Case(LIES[0], "prune", "empty-artifact", OLD, transient("ArtifactMissing"), 0),
    Case(LIES[0], "inference", "artifact-missing", NEW, transient("ArtifactMissing"), 0),
    Case(LIES[1], "prune", "", NEW, OK, 0, "pruned.tlt.hdf5"),
    Case(LIES[1], "prune", "", NEW, user("ProfileMismatch"), 0, "pruned.tlt.hdf5", profile_of_another_image),
    Case(LIES[1], "prune", "prune-crash", NEW, user("ProfileMismatch"), 255, "pruned.tlt"),
    Case(LIES[1], "train", "", "3.21 asked of 5.0", user("ProfileMismatch"), 0, "_epoch_004.hdf5"),
    Case(LIES[2], "train", "occlusion", OLD, user("DatasetUnusable"), 255, "write 0"),
    Case(LIES[3], "kmeans", "gpu-probe", OLD, (11, "Failed", "GpuUnavailable", "infrastructure"), 1, "nvidia-smi"),
    Case(LIES[4], "evaluate", "telemetry-stall", NEW, transient("Stalled"), 143, "Sending telemetry data", stalls),
    Case(LIES[4], "train", "hang", OLD, transient("Stalled"), 143, "6 s", stalls),
    Case(LIES[5], "train", "no-map", OLD, transient("MetricMissing"), 0, "no finite mAP"),
    Case(LIES[5], "evaluate", "nan-map", NEW, transient("MetricMissing"), 0, "no finite mAP"),
    Case(LIES[5], "kmeans", "nan-anchors", OLD, transient("MetricMissing"), 0, "no finite anchors"),
    Case(LIES[6], "train", "", OLD, user("KeyMissing"), None, "encryptionKeySecretRef", environment={"YOLO_TOOLKIT_KEY": " "}),
]


def test_every_row_has_a_case() -> None:
    assert {case.row for case in CASES} == {*EXIT_CODES, *FAILURES, *LIES}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_verdict(bench: Bench, case: Case) -> None:
    outcome = replay(bench, case)
    report = outcome.report
    told = outcome.code, report["outcome"], report["reason"], report.get("class", "")
    assert told == case.verdict, report["message"]
    assert case.says in report["message"]
    assert report.get("exitCode") == case.toolkit
    assert {name: report.get(name) for name in ("outcome", "reason", "class", "message")} == {
        name: outcome.message.get(name) for name in ("outcome", "reason", "class", "message")
    }
    assert ("artifacts" in report) == (report["outcome"] == "Succeeded")


def replay(bench: Bench, case: Case) -> Outcome:
    suffix = ".hdf5" if case.dialect == NEW else ".tlt"
    instructions = bench.train(suffix=suffix) if case.task == "train" else bench.other(case.task, case.dialect)
    (bench.root / "images").mkdir(exist_ok=True)
    (bench.root / "images" / "a.jpg").write_bytes(b"x")
    if case.prepare:
        case.prepare(bench, instructions)
    dialect = case.dialect.split()[-1]
    process = bench.start(instructions, EMULATE=case.emulate, **{"EMULATE_DIALECT": dialect, **case.environment})
    if case.act:
        log, deadline = bench.directory / "logs" / "attempt-1.log", time.monotonic() + 20
        while "Epoch 2/4" not in (log.read_text() if log.exists() else "") and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.Signals[f"SIG{case.act}"])
    return bench.wait(process)


def test_the_status_files_bare_nan_and_half_a_line(bench: Bench) -> None:
    """What the toolkit appends to a file of older runs, with a token that strict JSON does not know."""
    bench.result.mkdir(parents=True)
    (bench.result / "status.json").write_text('{"status": "FAILURE", "message": "of an older run"}\n')
    lines = [
        '{"status": "STARTED", "message": "Starting Yolo_V4 evaluate job"}',
        '{"status": "FAILURE", "message": "of an inner start"}',
        '{"status": "STARTED", "message": "Starting evaluation"}',
        '{"status": "RUNNING", "message": "Evaluation metrics generated.", "kpi": {"mAP": NaN}}',
        '{"status": "SUCCESS", "message": "done", "kpi": {"mAP": 0.5}}',
        '{"status": "FAIL',
    ]
    script = f"open({str(bench.result / 'status.json')!r}, 'a').write({chr(10).join(lines)!r})"
    outcome = bench.run(bench.other("evaluate", NEW, argv=[bench.python, "-c", script]))
    assert (outcome.code, outcome.report["metrics"]) == (0, {"mAP": 0.5})


def test_a_failed_input_is_named_in_the_report(bench: Bench) -> None:
    path = str(Path(bench.workspace) / "gone.tlt")
    outcome = bench.run(bench.other("evaluate", inputs=[{"path": path, "bytes": 1, "sha256": "0" * 64}]))
    assert (outcome.report["reason"], outcome.report["input"], outcome.message["input"]) == ("InputMissing", path, path)


def test_too_little_space_is_found_before_the_training(bench: Bench) -> None:
    outcome = bench.run(bench.train(minFreeBytes=10**18))
    assert (outcome.code, outcome.report["reason"], outcome.report["class"]) == (10, "NoSpace", "user")
    assert "exitCode" not in outcome.report
    assert bench.run(bench.train(minFreeBytes=1)).code == 0


def test_only_the_artifacts_checkpoints_are_kept(bench: Bench) -> None:
    outcome = bench.run(bench.train(keepCheckpoints="artifacts", checkpoint="2"))
    assert sorted(path.name[-7:-4] for path in (bench.result / "weights").iterdir()) == ["002", "004"]
    assert [item["name"] for item in outcome.report["artifacts"]] == ["checkpoint", "last"]
    (bench.directory / "report.json").unlink()
    again = bench.run(bench.train(keepCheckpoints="artifacts", checkpoint="4"))
    assert [path.name[-7:-4] for path in (bench.result / "weights").iterdir()] == ["004"]
    assert again.report["metrics"]["mAP"] == 0.865


@pytest.mark.parametrize(("dialect", "suffix"), [("3.21", ".tlt"), ("5.0", ".hdf5"), ("open", ".pth")])
def test_a_training_goes_on_on_every_dialect(benches: Bench, dialect: str, suffix: str) -> None:
    environment = {"EMULATE_DIALECT": dialect}
    killed = benches.run(benches.train(suffix=suffix), "host-oom", EMULATE_AT="3", **environment)
    assert (killed.report["reason"], killed.report["exitCode"]) == ("OutOfMemory", 137)
    resumed = benches.run(benches.train(suffix=suffix, attempt=2), **environment)
    assert (resumed.code, resumed.report["resumedFromEpoch"]) == (0, 2)
    assert f'epoch_002{suffix}"' in (benches.directory / "config.txt").read_text()
    assert [row["epoch"] for row in resumed.report["history"]] == [1, 2, 3, 4]


def test_the_key_in_a_file_of_an_export_is_masked(bench: Bench) -> None:
    """DeepStream's settings have it in clear; the report's digest is of the file as it stays."""
    instructions = bench.other("export")
    instructions["expect"]["files"][0]["maskKey"] = True
    script = f"import sys; open({str(bench.directory / 'model.etlt')!r}, 'w').write('tlt-model-key=' + sys.argv[1])"
    instructions["argv"] = [bench.python, "-c", script, "{key}"]
    outcome = bench.run(instructions)
    assert (bench.directory / "model.etlt").read_text() == "tlt-model-key=***"
    (artifact,) = outcome.report["artifacts"]
    assert artifact["sha256"] == hashlib.sha256(b"tlt-model-key=***").hexdigest()


def test_a_full_volume_in_torchs_words(bench: Bench) -> None:
    said = "RuntimeError: [enforce fail at inline_container.cc:626] . unexpected pos 384 vs 342"
    outcome = bench.run(bench.train(argv=[bench.python, "-c", f"import sys; print({said!r}, file=sys.stderr); sys.exit(70)"]))
    assert (outcome.code, outcome.report["reason"], outcome.report["class"]) == (10, "NoSpace", "user")
    assert "enlarge the workspace" in outcome.report["message"]
