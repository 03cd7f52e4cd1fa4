#!/usr/bin/env python3
"""Runs one stage of an experiment inside a toolkit's container, and tells the truth about it.

    python3 runner.py INSTRUCTIONS.json

A toolkit may exit with 0 after an interruption, a wrong key or a loss that is not a number. So a stage succeeded only when the
exit code is 0 *and* its artifacts are there *and* the status file, if any, ends in SUCCESS *and* its numbers are finite.
Anything else becomes a reason, a class (who must act) and a sentence, in `report.json` and in the termination message.

This one file is mounted into images we do not build: it needs the standard library of Python 3.6 and nothing else.
docs/stage-contract.md is its specification.
"""

import codecs
import collections
import csv
import errno
import glob
import hashlib
import json
import math
import os
import re
import select
import shutil
import signal
import socketserver
import subprocess
import sys
import threading
import time
import traceback
from http.server import BaseHTTPRequestHandler
from typing import IO, Any, Callable, Deque, Dict, Iterable, List, NamedTuple, Optional, Tuple

USER, TRANSIENT, INFRASTRUCTURE = "user", "transient", "infrastructure"
TERMINATION_LIMIT = 4096  # bytes: the kubelet cuts longer messages, which would break the JSON
LINE_LIMIT = 65536  # characters: a toolkit that never ends its line must not fill the memory
HISTORY_LIMIT = 120


# Why a stage did not succeed: who must act, and the sentence for people with room for what was found.
REASONS: Dict[str, Tuple[str, str]] = {
    "Interrupted": (INFRASTRUCTURE, "Stopped by {}."),
    "GpuUnavailable": (INFRASTRUCTURE, "No GPU works in the container: check the driver and the nvidia.com/gpu limit ({})."),
    "WorkspaceInUse": (USER, "The workspace directory belongs to experiment {}: give each its own spec.workspace.subPath."),
    "WorkspaceNotWritable": (USER, "The workspace cannot be written: check the claim's access mode and the pod's fsGroup ({})."),
    "NoSpace": (USER, "The volume is full: enlarge the workspace's claim or remove old stages from it ({})."),
    "StorageFailed": (TRANSIENT, "The storage failed ({})."),
    "KeyMissing": (USER, "The toolkit's key {}: put it into the Secret that spec.toolkit.encryptionKeySecretRef names."),
    "WrongKey": (USER, "The model cannot be opened with this key: all stages need the key that it was saved with ({})."),
    "ExecutableMissing": (USER, "The image has no `{}` that can be run: check spec.toolkit.image."),
    "InputMissing": (USER, "An input is not there: put it back, or run the stage that makes it again ({})."),
    "InputChanged": (USER, "The input {} is not the one that was reported: run the stage that makes it again."),
    "DatasetUnusable": (USER, "The dataset cannot be used: {}"),
    "BadExperimentSpec": (USER, "The toolkit refused the experiment spec or its command line: correct what it names ({})."),
    "OutOfGpuMemory": (USER, "The GPU ran out of memory: lower batchSizePerGpu, batchSize or the input size ({})."),
    "OutOfMemory": (TRANSIENT, "The container ran out of memory: raise its limit or lower trainingConfig.nWorkers ({})."),
    "NonFiniteLoss": (USER, "The loss was not finite ({}): lower trainingConfig.learningRate, check labels and anchors."),
    "MetricMissing": (TRANSIENT, "The toolkit says that it succeeded but gave no finite {}."),
    "ArtifactMissing": (TRANSIENT, "The toolkit exited with 0 but left no {}."),
    "InterruptedWithoutSignal": (TRANSIENT, "The toolkit exited with 0 before it was finished ({})."),
    "ToolkitFailed": (TRANSIENT, "The toolkit failed: {}"),
    "RunnerError": (TRANSIENT, "The runner itself failed: {}"),
}


class StageError(Exception):
    """Ends a stage without success, for one of REASONS; `kind` overrules who must act."""

    def __init__(self, reason: str, found: str = "", kind: str = "") -> None:
        super().__init__(reason, found)
        self.reason, self.kind = reason.replace("OfGpu", "Of"), kind or REASONS[reason][0]
        self.message = REASONS[reason][1].format(found)


def main(argv: List[str]) -> int:
    """Run the toolkit stage that the instructions file describes; returns the container's exit code."""
    if len(argv) != 2:
        sys.stderr.write("usage: runner.py INSTRUCTIONS.json\n")
        return 2
    return execute(argv[1], run_toolkit_stage)


def execute(path: str, work: "Callable[[Stage], Dict[str, Any]]") -> int:
    """Do `work` under the contract: ownership, reuse of a finished report, signals, one report whatever happens.

    `work` returns the fields of a success's report (message, metrics, artifacts, …) and raises StageError otherwise.
    """
    try:
        stage = Stage(path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"The runner cannot read its instructions: {error!r}"
        sys.stderr.write(message + "\n")
        write_termination_log({"outcome": "Failed", "reason": "InstructionsUnreadable", "class": TRANSIENT, "message": message})
        return 11
    try:
        stage.start()
        claim_workspace(stage)
        return finish(stage, reusable_report(stage) or dict(work(stage), outcome="Succeeded", reason="Completed"))
    except StageError as error:
        failure = error
    except OSError as error:
        failure = storage_failure(error)
    except Exception as error:
        stage.say(traceback.format_exc())
        failure = StageError("RunnerError", repr(error))
    outcome = "Interrupted" if failure.reason == "Interrupted" else "Failed"
    return finish(stage, {"outcome": outcome, "reason": failure.reason, "message": failure.message, "class": failure.kind})


def run_toolkit_stage(stage: "Stage") -> Dict[str, Any]:
    """Prepare, run, judge. A training that goes on starts from its newest checkpoint."""
    verify_inputs(stage)
    clear_outputs(stage)
    stage.open_log()
    resume, status_file = stage.instructions.get("resume"), stage.instructions["expect"].get("statusFile", "")
    checkpoint = None
    if resume:
        found = complete_checkpoints(stage, keep_training_log(stage))
        if resume["epochs"] in found:
            stage.say("The training was finished before: judging what is there.")
            return judge(stage, [])
        if found:
            stage.known["resumedFromEpoch"], checkpoint = max(found), found[max(found)]
            stage.say(f"Going on from the checkpoint {checkpoint}")
        keep_training_log(stage, up_to=max(found, default=0))
    write_experiment_spec(stage, checkpoint)
    stage.check()
    offset, kills = file_size(status_file), memory_kills()
    code, interrupted = run_child(stage)
    stage.known["exitCode"] = code
    newest = max(complete_checkpoints(stage, keep_training_log(stage)), default=0) if resume else 0
    if interrupted:
        stage.known["metrics"] = stage.numbers
        raise StageError(
            "Interrupted",
            signal.Signals(stage.signal).name
            + (f" in epoch {stage.parser.epoch}" if stage.parser.epoch else "")
            + (f"; the next attempt goes on from the checkpoint of epoch {newest}" if newest else ""),
        )
    if code != 0:
        raise failure_of_exit(stage, code, memory_kills() > kills)
    return judge(stage, status_records(status_file, offset))


# ---- one attempt -----------------------------------------------------------------------------------------------------------


class Stage:
    """One attempt at a stage: its instructions, its log, the process it runs and the signal it got."""

    def __init__(self, path: str) -> None:
        with open(path, encoding="utf-8") as file:
            self.instructions: Dict[str, Any] = json.load(file)
        self.experiment_spec_file = os.path.join(os.path.dirname(path), "experiment-spec.txt")
        self.workspace, self.directory = self.instructions["workspace"], self.instructions["directory"]
        self.attempt, self.every = self.instructions.get("attempt", 1), float(self.instructions.get("progressSeconds", 3))
        self.started = time.time()
        self.parser = OutputParser()
        self.known: Dict[str, Any] = {}  # what the report says even of a failure
        self.numbers: Dict[str, Any] = {}  # the live ones
        self.warnings: List[Dict[str, str]] = []
        self.tail: Deque[str] = collections.deque(maxlen=200)
        self.log: Optional[IO[str]] = None
        self.child: "Optional[subprocess.Popen[bytes]]" = None
        self.key, self.signal, self.kill_at = "", 0, math.inf
        self._said, self._said_at, self._bar_at = "", -math.inf, -math.inf

    def start(self) -> None:
        """Listen to the kubelet, and learn the key before a single line is written."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        name = self.instructions.get("keyEnv")
        if name:
            self.key = os.environ.pop(name, "").strip()
            if not self.key or not self.key.isprintable():
                raise StageError("KeyMissing", "is not printable text" if self.key else "is empty")
        serve_metrics(self)

    def open_log(self) -> None:
        """One file an attempt; a pod that replaces another under the same Job goes on in the same file."""
        path = os.path.join(self.directory, "logs", f"attempt-{self.attempt}.log")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        again = os.path.exists(path)
        self.log = open(path, "a", encoding="utf-8", errors="replace")  # noqa: SIM115 (open as long as the process)
        if again:
            self.say(f"---- started again at {timestamp(time.time())} ----")

    def _on_signal(self, number: int, _frame: Any) -> None:
        self.signal = self.signal or number
        self.kill_at = min(self.kill_at, time.monotonic() + float(self.instructions.get("graceSeconds", 25)))
        if self.child is not None:
            send_signal(self.child, number)

    def check(self) -> None:
        """Go no further when the container was asked to stop."""
        if self.signal:
            raise StageError("Interrupted", signal.Signals(self.signal).name)

    def mask(self, text: str) -> str:
        return text.replace(self.key, "***") if self.key else text

    def warn(self, reason: str, message: str) -> None:
        self.warnings.append({"reason": reason, "message": self.mask(message)})
        self.say("warning: " + message)

    def say(self, text: str, to_log: bool = True, to_stdout: bool = True) -> None:
        """Write one line, masked, to the container's log and to the attempt's. A log that fails stops no training."""
        line = self.mask(text.rstrip("\n"))
        if self.key and len(text) >= LINE_LIMIT:  # perhaps cut off in the middle of the key
            line = line[: -len(self.key)]
        try:
            if to_stdout:
                sys.stdout.buffer.write((line + "\n").encode("utf-8", "replace"))
                sys.stdout.buffer.flush()
            if to_log and self.log is not None:
                self.log.write(line + "\n")
                self.log.flush()
        except (OSError, ValueError):
            pass

    def progress(self, numbers: Dict[str, Any], last: bool = False) -> None:
        """Tell the operator the numbers that are known, at most once every progressSeconds."""
        self.numbers = {name: value for name, value in numbers.items() if finite(value) is not None}
        line = json.dumps({"yoloProgress": self.numbers}, separators=(",", ":"))
        if self.numbers and line != self._said and (last or time.monotonic() - self._said_at >= self.every):
            self._said, self._said_at = line, time.monotonic()
            self.say(line, to_log=False)

    def show(self, lines: "Iterable[Line]") -> None:
        """The container's log gets what is worth reading; the attempt's log also a moving bar every now and then."""
        for line in lines:
            if line.bar != "moving":
                self.say(line.text)
            elif time.monotonic() - self._bar_at >= self.every:
                self._bar_at = time.monotonic()
                self.say(line.text, to_stdout=False)
            if not line.bar:
                self.tail.append(line.text)


def claim_workspace(stage: Stage) -> None:
    """One workspace directory belongs to one experiment: two of them would overwrite each other's artifacts."""
    path, named = os.path.join(stage.workspace, ".yolo-operator", "owner.json"), stage.instructions
    mine = {"namespace": named["namespace"], "name": named["experiment"], "uid": named.get("uid", "")}
    os.makedirs(os.path.dirname(path), exist_ok=True)
    write_atomically(path, json.dumps(mine).encode(), only_new=True)
    owner = read_json(path) or {}
    if owner and (owner.get("namespace"), owner.get("name")) != (mine["namespace"], mine["name"]):
        raise StageError("WorkspaceInUse", f"{owner.get('namespace')}/{owner.get('name')}")
    if owner != mine:
        write_atomically(path, json.dumps(mine).encode())


def reusable_report(stage: Stage) -> Optional[Dict[str, Any]]:
    """The report of an earlier success with the same digest, when its artifacts are still what they were."""
    report = read_json(os.path.join(stage.directory, "report.json")) or {}
    if (report.get("outcome"), report.get("digest")) != ("Succeeded", stage.instructions["digest"]):
        return None
    for artifact in report.get("artifacts", []):
        path = os.path.join(stage.workspace, artifact["path"])
        if not os.path.exists(path) or measure(path) != (artifact["bytes"], artifact["sha256"]):
            stage.say(f"The artifact {artifact['path']} is not what it was: running again.")
            return None
    stage.say("Finished before with the same inputs: nothing to run.")
    return dict(report, reused=True, attempt=stage.attempt)


# ---- before the run --------------------------------------------------------------------------------------------------------


def verify_inputs(stage: Stage) -> None:
    """A stage that would read something else than what was reported must not start."""
    for item in stage.instructions.get("inputs", []):
        stage.check()
        if not os.path.exists(item["path"]):
            raise StageError("InputMissing", item["path"])
        if item.get("sha256") and measure(item["path"]) != (item["bytes"], item["sha256"]):
            raise StageError("InputChanged", item["path"])


def clear_outputs(stage: Stage) -> None:
    """What an earlier attempt left half-written must neither stop the toolkit nor pass for a result."""
    expect, home = stage.instructions["expect"], os.path.realpath(stage.directory) + os.sep
    left = [item["path"] for item in expect.get("directories", [])]
    for item in expect.get("files", []):
        left += [item["path"], *item.get("alternatives", [])]
    for path in (path for path in left if os.path.realpath(path).startswith(home)):
        if os.path.isdir(path):
            shutil.rmtree(path)
        elif os.path.exists(path):
            os.unlink(path)
    for path in [stage.directory, *stage.instructions.get("makeDirectories", [])]:
        os.makedirs(path, exist_ok=True)


def complete_checkpoints(stage: Stage, rows: Dict[int, Dict[str, Any]]) -> Dict[int, str]:
    """Epoch → file, those up to the last epoch. A toolkit writes them in place, so the newest may be cut short: a row of the
    training log proves an epoch's file whole, and a file of that size passes as whole, too."""
    resume, sizes = stage.instructions["resume"], {}
    pattern = re.compile(r"(?!\.).*_epoch_(\d{1,9})" + re.escape(resume["suffix"]))
    for entry in sorted(os.listdir(resume["weights"])) if os.path.isdir(resume["weights"]) else []:
        match, path = pattern.fullmatch(entry), os.path.join(resume["weights"], entry)
        if match and file_size(path) and int(match.group(1)) <= resume["epochs"]:
            sizes[int(match.group(1))] = (file_size(path), path)
    enough = 0.95 * max([sizes[epoch][0] for epoch in sizes if epoch in rows], default=math.inf if rows else 0)
    return {epoch: path for epoch, (size, path) in sizes.items() if epoch in rows or size >= enough}


def keep_training_log(stage: Stage, up_to: float = math.inf) -> Dict[int, Dict[str, Any]]:
    """Keep the rows of the toolkit's csv, which it truncates when it resumes, and put the earlier ones back into it.

    Returns epoch → {loss, mAP, validationLoss, AP}: what is finite, and a loss that is not as nan.
    """
    kept = os.path.join(stage.directory, "training-log.csv")
    result = os.path.dirname(stage.instructions["resume"]["weights"].rstrip("/"))
    written = sorted(glob.glob(os.path.join(glob.escape(result), "*training_log*.csv")))[:1]
    header, rows = read_csv(kept)
    for path in written:
        newer_header, newer = read_csv(path)
        header = newer_header or header
        rows.update(newer)
    rows = {epoch: row for epoch, row in sorted(rows.items()) if epoch <= up_to}
    if rows or os.path.exists(kept):
        lines = [header] + [[row.get(name, "nan") for name in header] for row in rows.values()]
        for path in [kept, *written]:
            write_atomically(path, "".join(",".join(line) + "\r\n" for line in lines).encode())
    return {epoch: csv_numbers(row) for epoch, row in rows.items()}


def read_csv(path: str) -> Tuple[List[str], Dict[int, Dict[str, str]]]:
    """Header and epoch → row of a training log; a last line that is cut off does not count."""
    lines = [line for line in read_text(path).replace("\0", "").splitlines(True) if line.endswith("\n")]
    header, *table = list(csv.reader(lines)) or [[]]
    rows = [dict(zip(header, line)) for line in table if len(line) == len(header)]  # noqa: B905 (strict= is newer than 3.6)
    return header, {int(row["epoch"]): row for row in rows if re.fullmatch("[0-9]{1,9}", row.get("epoch", ""))}


def csv_numbers(row: Dict[str, str]) -> Dict[str, Any]:
    found = {
        "loss": finite(row.get("loss")),
        "mAP": finite(row.get("mAP")),
        "validationLoss": finite(row.get("validation_loss")),
        "AP": {name[3:]: finite(row[name]) for name in row if name.startswith("AP_") and finite(row[name]) is not None},
    }
    if row.get("loss", "").lower() in ("nan", "inf", "-inf"):
        found["loss"] = math.nan
    return {name: value for name, value in found.items() if value not in (None, {})}


def write_experiment_spec(stage: Stage, checkpoint: Optional[str]) -> None:
    path = stage.instructions.get("specPath")
    if path:
        with open(stage.experiment_spec_file, "rb") as file:
            text = file.read().decode("utf-8", "surrogateescape")
        text = resume_from(text, checkpoint) if checkpoint else text
        write_atomically(path, text.encode("utf-8", "surrogateescape"))


SPEC_TOKEN = re.compile(
    r"""(?P<skip>\s+|\#[^\n]*)|(?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')"""
    r"""|(?P<open>[{<])|(?P<close>[}>])|(?P<word>[^\s{}<>\[\]:;,#"']+)|(?P<other>.)""",
    re.DOTALL,
)
LOAD_MODEL = ("pretrain_model_path", "pruned_model_path", "resume_model_path")


def resume_from(text: str, checkpoint: str) -> str:
    """Make a training resume: of two members of protobuf's oneof the last one silently wins, so only ours may stay."""
    tokens = [token for token in SPEC_TOKEN.finditer(text) if token.lastgroup != "skip"]
    path: List[str] = []
    edits: List[Tuple[int, int, str]] = []
    name, block = "", -1
    for index, token in enumerate(tokens):
        if token.lastgroup == "open":
            path.append(name)
            block = token.end() if path == ["training_config"] else block
        elif token.lastgroup == "close":
            path = path[:-1]
        elif token.lastgroup == "word":
            name = token.group()
            if path == ["training_config"] and name in LOAD_MODEL:
                start, end = field_extent(text, tokens, index)
                edits.append((start, end, ""))
    field = '\n  resume_model_path: "{}"'.format(checkpoint.replace("\\", "\\\\").replace('"', '\\"'))
    if block < 0:
        return text + "\ntraining_config {" + field + "\n}\n"
    edits.append((block, block, field if text[block : block + 1].isspace() else field + "\n"))
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def field_extent(text: str, tokens: List[Any], index: int) -> Tuple[int, int]:
    """Where `name: "value"` begins and ends; the whole line when nothing else stands on it."""
    start, following = tokens[index].start(), index + 1
    while following < len(tokens) and (tokens[following].group() == ":" or tokens[following].lastgroup == "string"):
        following += 1  # adjacent strings are one value
    if following < len(tokens) and tokens[following].group() in (",", ";"):
        following += 1
    end = tokens[following - 1].end()
    line_start, line_end = text.rfind("\n", 0, start) + 1, text.find("\n", end) + 1 or len(text)
    alone = not text[line_start:start].strip() and not text[end:line_end].strip()
    return (line_start, line_end) if alone else (start, end)


# ---- the run ---------------------------------------------------------------------------------------------------------------


def run_child(stage: Stage) -> Tuple[int, bool]:
    """Run the toolkit to its end. Returns its exit code, and whether we were asked to stop before it ended."""
    child = start_child(stage)
    output = child.stdout.fileno() if child.stdout else -1
    code, interrupted, give_up_at = None, False, math.inf
    while code is None or (output >= 0 and time.monotonic() < give_up_at):
        if output < 0:
            time.sleep(0.05)
        elif select.select([output], [], [], 0.2)[0]:
            data = os.read(output, 1 << 16)
            output = output if data else -1
            stage.show(stage.parser.feed(data))
            stage.progress(stage.parser.numbers())
        if code is None:
            code = reap(child)
            if code is not None:  # a helper that lives on may hold the pipe open
                interrupted, give_up_at = bool(stage.signal), time.monotonic() + 5
        if time.monotonic() > stage.kill_at:
            stage.kill_at = math.inf
            send_signal(child, signal.SIGKILL)
    send_signal(child, signal.SIGKILL)
    stage.show(stage.parser.close())
    stage.progress(stage.parser.numbers(), last=True)
    return code, interrupted


def start_child(stage: Stage) -> "subprocess.Popen[bytes]":
    words = stage.instructions["argv"]
    if "{key}" in words and not stage.key:
        raise StageError("KeyMissing", "is needed")
    stage.say("running: " + " ".join(words))
    try:
        stage.child = child = subprocess.Popen(
            [stage.key if word == "{key}" else word for word in words],
            cwd=stage.directory,
            start_new_session=True,
            env=dict(os.environ, PYTHONUNBUFFERED="1"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except (FileNotFoundError, PermissionError):
        raise StageError("ExecutableMissing", words[0]) from None
    if stage.signal:  # it came between the last check and the start
        send_signal(child, stage.signal)
    return child


def reap(child: "subprocess.Popen[bytes]") -> Optional[int]:
    """The child's exit code once it has ended. Process 1 of a container inherits orphans: it reaps those, too."""
    everyone = -1 if os.getpid() == 1 else child.pid
    while child.returncode is None:
        pid, status = os.waitpid(everyone, os.WNOHANG)
        if pid == 0:
            return None
        if pid == child.pid:
            child.returncode = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    return child.returncode


def send_signal(child: "subprocess.Popen[bytes]", number: int) -> None:
    try:
        os.killpg(child.pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def memory_kills() -> int:
    """How many processes the kernel has killed in this container for want of memory (cgroup v2, v1)."""
    text = read_text("/sys/fs/cgroup/memory.events") or read_text("/sys/fs/cgroup/memory/memory.oom_control")
    found = re.search(r"^oom_kill (\d+)", text, re.MULTILINE)
    return int(found.group(1)) if found else 0


# ---- what the toolkit prints -----------------------------------------------------------------------------------------------


class Line(NamedTuple):
    text: str
    bar: str  # "" for a line; "moving" or "complete" for a progress bar


def rules(**patterns: str) -> List[Tuple[str, Any]]:
    number = r"([-+]?\d{1,30}(?:\.\d{1,30})?(?:[eE][-+]?\d{1,4})?|[-+]?nan|[-+]?inf)"
    return [
        (kind, re.compile(text.replace("NUMBER", number).replace("INT", r"(\d{1,9})"), re.ASCII))
        for kind, text in patterns.items()
    ]


class OutputParser:
    """Reads a toolkit's output as it comes, cut anywhere. What it does not understand it passes on and never guesses.

    Numbers are nan where the toolkit printed nan. `history` is epoch → {loss, mAP, validationLoss, AP}.
    """

    RULES = rules(
        bar=r"^\s*INT/INT \[[=>.]{1,100}\](?: - INTs .*?| - ETA: ((?:\d{1,4}:){0,2}\d{1,6})s?.*?|.*?)"
        # Keras prints four decimals, or d.dddde-dd: a digit behind them was left over from a longer bar on the line.
        r"(?: - loss: (-?\d\.\d{4}e[-+]\d\d(?!\d)|-?\d{1,30}\.\d{1,4}(?!\d*[e.])|nan|-?inf).*)?$",
        tqdm=r"\d{1,3}%\|[^|]*\|\s*INT/INT \[",
        epoch=r"^Epoch INT/INT$",
        saved=r"^Epoch INT: saving model to \S",
        early_stop=r"^Epoch INT: early stopping",
        invalid_loss=r"^Batch INT: Invalid loss",
        fence=r"^\*{10,}$",
        map=r"^\s+mAP\s+NUMBER$",
        ap=r"^(\S.{0,200}?) {0,14}AP {4}NUMBER$",  # a name of 14 characters or more has no space behind it
        validation_loss=r"^Validation loss: NUMBER$",
        ratio=r"Pruning ratio \(pruned model / original model\): NUMBER$",
        anchors=r"^Please use following anchor sizes",
        anchor=r"^\(NUMBER, NUMBER\)$",
        iteration=r"^Start optimization iteration: INT$",
    )

    def __init__(self) -> None:
        self.epoch: Optional[int] = None
        self.epochs: Optional[int] = None
        self.step: Optional[int] = None
        self.steps: Optional[int] = None
        self.loss: Optional[float] = None
        self.map = self.validation_loss = self.ratio = math.nan  # nan: not printed, or printed as nan
        self.eta: Optional[float] = None
        self.epoch_seconds: Optional[float] = None
        self.ap: Dict[str, float] = {}
        self.anchors: List[List[float]] = []
        self.saved: List[int] = []
        self.history: Dict[int, Dict[str, Any]] = {}
        self.completed, self.invalid_loss, self.early_stopped = 0, False, False
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest, self._previous_bar = "", ""
        self._table: Optional[Dict[str, float]] = None
        self._pending: Dict[str, Any] = {}

    def feed(self, data: bytes) -> List[Line]:
        """Take the next bytes; returns the lines that they complete."""
        lines: List[Line] = []
        # On a terminal a bar goes back by \b and \r: as segments of the stream its updates are whole.
        for end, part in re.findall("([\r\n]?)([^\r\n]*)", self._decoder.decode(data).replace("\b", "")):
            if end:
                lines += self._line(clean(self._rest))
                self._rest = ""
            self._rest = (self._rest + part)[:LINE_LIMIT]
        return lines

    def close(self) -> List[Line]:
        """The end of the stream: a line without an end is shown, but its numbers may be cut and do not count."""
        text, self._rest = clean(self._rest + self._decoder.decode(b"", True)), ""
        self._settle(self.epoch)
        return [Line(text, "")] if text else []

    def numbers(self) -> Dict[str, Any]:
        """The progress by the names of the contract; values may be None or nan."""
        eta = self.eta
        if self.epochs and self.epoch and self.steps:
            left = 1 - (self.step or 0) / self.steps
            an_epoch = self.epoch_seconds or (eta / left if eta is not None and left else None)
            eta = None if an_epoch is None else (an_epoch * left if eta is None else eta) + (self.epochs - self.epoch) * an_epoch
        return {
            "epoch": self.epoch,
            "epochs": self.epochs,
            "step": self.step,
            "steps": self.steps,
            "loss": self.loss,
            "mAP": self.map,
            "validationLoss": self.validation_loss,
            "etaSeconds": None if eta is None else round(eta),
        }

    def _line(self, text: str) -> List[Line]:
        bar, repeated = "", bool(text) and text == self._previous_bar  # tqdm prints its last bar twice
        for kind, pattern in self.RULES if text and not repeated else []:
            match = pattern.search(text)
            if match:
                bar = getattr(self, "_on_" + kind)(*match.groups()) or ""
                self._previous_bar = text if bar == "complete" else ""
                break
        return [Line(text, bar)] if text and not repeated else []

    def _settle(self, epoch: Optional[int]) -> None:
        """What a validation found belongs to the epoch that is saved next, else to the one that runs."""
        if epoch and self._pending:
            self.history.setdefault(epoch, {}).update(self._pending)
        self._pending = {}

    def _on_bar(self, step: str, steps: str, took: Optional[str], eta: Optional[str], loss: Optional[str]) -> str:
        if not 0 < int(steps) >= int(step):
            return ""
        self.step, self.steps, self.eta = int(step), int(steps), seconds(eta)
        self.loss = float(loss) if loss else self.loss
        if self.step < self.steps:
            return "moving"
        if self.epoch and took:
            self.completed, self.epoch_seconds = self.epoch, float(took)
            if loss:
                self.history.setdefault(self.epoch, {})["loss"] = self.loss
        return "complete"

    def _on_tqdm(self, step: str, steps: str) -> str:
        if self.epoch is None:  # in a training it counts the validation's batches
            self.step, self.steps = int(step), int(steps)
        return "moving" if int(step) < int(steps) else "complete"

    def _on_epoch(self, epoch: str, epochs: str) -> None:
        self._settle(self.epoch)
        self.epoch, self.epochs, self.step, self.eta = int(epoch), int(epochs), 0, None

    def _on_saved(self, epoch: str) -> None:
        self.epoch = int(epoch)
        self._settle(self.epoch)
        self.completed = max(self.completed, self.epoch)
        self.saved.append(self.epoch)

    def _on_early_stop(self, _epoch: str) -> None:
        self.early_stopped = True

    def _on_invalid_loss(self, _batch: str) -> None:
        self.invalid_loss = True

    def _on_fence(self) -> None:
        self._table = None if self._table else {}

    def _on_map(self, value: str) -> None:
        if self._table is not None and not float(value) > 1:
            self.map, self.ap = float(value), self._table
            self._pending.update(mAP=self.map, AP=self.ap)

    def _on_ap(self, name: str, value: str) -> None:
        if self._table is not None and not float(value) > 1:
            self._table[name] = float(value)

    def _on_validation_loss(self, value: str) -> None:
        self.validation_loss = self._pending["validationLoss"] = float(value)

    def _on_ratio(self, value: str) -> None:
        self.ratio = float(value)

    def _on_anchors(self) -> None:
        self.anchors = []

    def _on_anchor(self, width: str, height: str) -> None:
        self.anchors.append([float(width), float(height)])

    def _on_iteration(self, iteration: str) -> None:
        self.step = int(iteration)


def clean(text: str) -> str:
    """A line without a terminal's colours and control characters, and without white space at its end."""
    return re.sub("[\x00-\x08\x0b-\x1f\x7f]", "", re.sub("\x1b\\[[0-9;?]*[A-Za-z]", "", text)).rstrip()


def seconds(text: Optional[str]) -> Optional[float]:
    """`45`, `12:34` or `1:02:03` as seconds."""
    return None if text is None else sum(float(part) * 60**power for power, part in enumerate(reversed(text.split(":"))))


def status_records(path: str, offset: int) -> List[Dict[str, Any]]:
    """The records of this run: the toolkit appends to the file of earlier ones, and starts each with "Starting …"."""
    records: List[Dict[str, Any]] = []
    text = read_text(path, offset if offset <= file_size(path) else 0)
    for line in text.splitlines():
        try:
            record = json.loads(line)  # takes the bare NaN, too, that the toolkit may write
        except ValueError:
            continue
        if isinstance(record, dict):
            records = [] if str(record.get("message")).startswith("Starting") else records
            records.append(record)
    return records


# ---- the verdict -----------------------------------------------------------------------------------------------------------

# From the end of the output upwards, the first line that one of these explains is the cause.
DIAGNOSES = [
    (re.compile(pattern), reason)
    for reason, pattern in (
        ("GpuUnavailable", r"nvidia-smi|no CUDA-capable device|CUDA_ERROR_NO_DEVICE|CUDA_ERROR_ECC|uncorrectable ECC"),
        (
            "OutOfGpuMemory",
            r"Ran out of GPU memory|ResourceExhausted|OOM when allocating|CUDA(_ERROR_OUT_OF_MEMORY| out of memory)",
        ),
        ("OutOfMemory", r"MemoryError|Cannot allocate memory|std::bad_alloc"),
        ("NoSpace", r"No space left on device|Disk quota exceeded"),
        ("WorkspaceNotWritable", r"Read-only file system|PermissionError"),
        ("WrongKey", r"check the key|[Ww]rong key|file signature not found|Invalid model:"),
        ("InputMissing", r"FileNotFoundError.*\.(hdf5|tlt|etlt|onnx)\b"),
        (
            "DatasetUnusable",
            r"FileNotFoundError|NotADirectoryError|No files match pattern|ZeroDivisionError|cannot identify image"
            r"|Not enough number of images|invalid literal for int\(\) with base 10: '[\d.]+'",
        ),
        (
            "BadExperimentSpec",
            r"ParseError|AssertionError|unrecognized arguments|arguments are required|invalid choice"
            r"|pretrained model\.",
        ),
    )
]

EXIT_CODES = {2: "BadExperimentSpec", 65: "NonFiniteLoss", 71: "OutOfMemory", 74: "StorageFailed"}  # 64 and up: the open toolkit
HINTS = {"DatasetUnusable": "a path is missing, or no image (suffix in lower case) has a label of at least 9 columns ({})."}


def diagnose(stage: Stage, lines: Iterable[str]) -> Optional[StageError]:
    for line in reversed(list(lines)):
        for pattern, reason in DIAGNOSES:
            if pattern.search(line):
                # Input shapes are random: a training that has saved a checkpoint may well get further from there.
                later = reason == "OutOfGpuMemory" and stage.parser.saved
                return StageError(reason, HINTS.get(reason, "{}").format(line.strip()[:300]), TRANSIENT if later else "")
    return None


def failure_of_exit(stage: Stage, code: int, killed: bool) -> StageError:
    """What a toolkit that did not exit with 0 died of."""
    if killed or code == 128 + signal.SIGKILL:
        return StageError("OutOfMemory", "the kernel killed a process")
    found = diagnose(stage, stage.tail)
    if found or stage.parser.invalid_loss:
        return found or StageError("NonFiniteLoss", f"epoch {stage.parser.epoch}")
    lines = [line.strip() for line in stage.tail if not re.match(r"\W*$|Execution status|Telemetry", line)]
    last = " | ".join(lines[-3:])[-400:] or "it printed nothing"
    return StageError(EXIT_CODES.get(code, "ToolkitFailed"), f"exit code {code}: {last}", USER if code == 64 else "")


def judge(stage: Stage, records: List[Dict[str, Any]]) -> Dict[str, Any]:
    """The rule for a toolkit that says it is done: status, numbers and artifacts must agree."""
    last = records[-1] if records else {"status": "SUCCESS"}
    if last.get("status") != "SUCCESS":
        raise failure_of_status(stage, str(last.get("status")), str(last.get("message")))
    kpis = [record["kpi"] for record in records if isinstance(record.get("kpi"), dict)]
    kpi = {re.sub("[^a-z]+", "_", name.lower()): value for each in kpis for name, value in each.items()}
    fields = judge_training(stage) if stage.instructions.get("resume") else judge_outputs(stage, kpi)
    wanted = list(stage.instructions["expect"].get("metrics", []))
    for name in wanted + (["anchors"] if stage.instructions["task"] == "kmeans" else []):
        value = fields["metrics"].get(name)
        numbers = [number for pair in value for number in pair] if isinstance(value, list) else [value]
        if not numbers or any(finite(number) is None for number in numbers):
            raise StageError("MetricMissing", name)
    return fields


def failure_of_status(stage: Stage, status: str, message: str) -> StageError:
    """Why a run that exited with 0 says in its status file that it failed, or never says that it succeeded."""
    found = diagnose(stage, [*stage.tail, message])
    if found:
        return found
    if status == "FAILURE" and "interrupted" not in message:
        return StageError("ToolkitFailed", message[:400])
    # The export's loader turns a model that it cannot open into an interruption.
    wrong_key = stage.instructions["task"] == "export" and stage.key
    return StageError("WrongKey" if wrong_key else "InterruptedWithoutSignal", message[:400])


def judge_training(stage: Stage) -> Dict[str, Any]:
    """Success is a checkpoint on disk after the last epoch. The numbers are those of the checkpoint that becomes the artifact."""
    parser, epochs = stage.parser, stage.instructions["resume"]["epochs"]
    rows = {**parser.history, **keep_training_log(stage)}
    found = complete_checkpoints(stage, rows)
    done = max([parser.completed, *found, *rows])
    losses = [parser.loss, rows[max(rows)].get("loss") if rows else None]
    if parser.invalid_loss or any(loss is not None and not math.isfinite(loss) for loss in losses):
        raise StageError("NonFiniteLoss", f"epoch {parser.epoch or max(rows)}")
    if done < epochs and not parser.early_stopped:
        raise StageError("InterruptedWithoutSignal", f"after epoch {done} of {epochs}")
    wanted = str(stage.instructions.get("checkpoint", "best"))
    if not found or (wanted.isdigit() and int(wanted) not in found):
        what = f"checkpoint of epoch {wanted}" if found else "checkpoint"
        raise StageError(
            "ArtifactMissing",
            what + ": trainingConfig.checkpointInterval decides which epochs are saved",
            USER if found or parser.early_stopped else "",
        )
    by_map = {epoch: (finite(rows.get(epoch, {}).get("mAP"), -1.0), epoch) for epoch in found}
    chosen = int(wanted) if wanted.isdigit() else max(found) if wanted == "last" else max(by_map, key=lambda epoch: by_map[epoch])
    artifacts = [artifact(stage, "checkpoint", found[chosen])]
    if chosen != max(found):
        artifacts.append(artifact(stage, "last", found[max(found)]))
    numbers = dict(rows.get(chosen, {}))
    evaluated = [epoch for epoch in rows if epoch <= chosen and "mAP" in rows[epoch]]
    if "mAP" not in numbers and evaluated:
        stage.warn("EpochNotEvaluated", f"Epoch {chosen} was not evaluated: its mAP is that of epoch {max(evaluated)}.")
        numbers = {**rows[max(evaluated)], **numbers}
    history = [
        dict({name: row[name] for name in ("loss", "mAP", "validationLoss") if name in row}, epoch=epoch)
        for epoch, row in sorted(rows.items())
    ]
    mean = f", mAP {numbers['mAP']:.4f} at epoch {chosen}" if "mAP" in numbers else ""
    return {
        "message": f"{done} epochs{mean}",
        "metrics": dict(numbers, epoch=chosen, epochs=epochs),
        "artifacts": artifacts,
        "history": history[::-1][:: -(-len(history) // HISTORY_LIMIT) or 1][::-1],
    }


def judge_outputs(stage: Stage, kpi: Dict[str, Any]) -> Dict[str, Any]:
    """Success of any other task: each file and directory that it should have made is there, and holds something."""
    parser, expect, artifacts = stage.parser, stage.instructions["expect"], []
    metrics: Dict[str, Any] = {
        "images": None,
        "detections": None,
        "mAP": finite(parser.map, finite(kpi.get("map"))),
        "AP": parser.ap or None,
        "anchors": parser.anchors or None,
        "parameterRatio": finite(parser.ratio, finite(kpi.get("pruning_ratio"))),
        "quantisedActivations": finite(kpi.get("quantised_activations"), finite(kpi.get("quantized_activations"))),
    }
    for item in expect.get("files", []):
        there = [path for path in [item["path"], *item.get("alternatives", [])] if file_size(path)]
        if not there:
            raise output_missing(stage, item["path"])
        artifacts.append(artifact(stage, item["name"], there[0]))
    for item in expect.get("directories", []):
        suffix = item.get("suffix", "")
        names = [name for name in os.listdir(item["path"]) if name.endswith(suffix)] if os.path.isdir(item["path"]) else []
        if len(names) < item.get("atLeast", 1):
            raise output_missing(stage, os.path.join(item["path"], "*" + suffix))
        artifacts.append(artifact(stage, item["name"], item["path"]))
        if suffix == ".txt":  # labels: one file an image, one line a detection
            lines = (line for name in names for line in read_text(os.path.join(item["path"], name)).splitlines())
            metrics.update(images=len(names), detections=sum(1 for line in lines if line.strip()))
    said = [
        text.format(metrics[name])
        for name, text in (
            ("mAP", "mAP {:.4f}"),
            ("parameterRatio", "parameter ratio {:.3f}"),
            ("images", "{} images"),
            ("detections", "{} detections"),
        )
        if metrics[name] is not None
    ]
    said += [f"{len(parser.anchors)} anchors"] if parser.anchors else []
    said += ["{} ({} bytes)".format(os.path.basename(made["path"]), made["bytes"]) for made in artifacts]
    return {"message": ", ".join(said) or "done", "metrics": metrics, "artifacts": artifacts}


def output_missing(stage: Stage, path: str) -> StageError:
    found = diagnose(stage, stage.tail)
    if found is None and stage.instructions["task"] == "export" and stage.key:
        found = StageError("WrongKey", "the export wrote no model")
    return found or StageError("ArtifactMissing", path)


def artifact(stage: Stage, name: str, path: str) -> Dict[str, Any]:
    size, digest = measure(path)
    return {"name": name, "path": os.path.relpath(path, stage.workspace), "bytes": size, "sha256": digest}


def storage_failure(error: OSError) -> StageError:
    """An operation on files that failed outside the toolkit."""
    reason = {
        errno.ENOSPC: "NoSpace",
        errno.EDQUOT: "NoSpace",
        errno.EACCES: "WorkspaceNotWritable",
        errno.EPERM: "WorkspaceNotWritable",
        errno.EROFS: "WorkspaceNotWritable",
    }.get(error.errno or 0, "StorageFailed")
    return StageError(reason, str(error))


# ---- the report ------------------------------------------------------------------------------------------------------------


def finish(stage: Stage, fields: Dict[str, Any]) -> int:
    """Write the report, whole into the workspace and shortened for the kubelet; returns the container's exit code."""
    if stage.child is not None and stage.child.returncode is None:
        send_signal(stage.child, signal.SIGKILL)
    now = time.time()
    report = {name: stage.instructions.get(name) for name in ("version", "stage", "variant", "attempt", "digest")}
    report.update({name: fields[name] for name in ("outcome", "reason", "message", "class") if name in fields}, **stage.known)
    report.update(
        startedAt=timestamp(stage.started),
        finishedAt=timestamp(now),
        seconds=round(now - stage.started, 1),
        reused=False,
        warnings=stage.warnings,
        truncated=False,
    )
    report = plain(dict(report, **dict(fields, message=stage.mask(fields["message"]))))
    stage.say(f"{report['outcome']}: {report['reason']}: {report['message']}")
    # Someone else's directory gets no report of ours.
    if report["reason"] != "WorkspaceInUse":
        try:
            os.makedirs(stage.directory, exist_ok=True)
            write_atomically(os.path.join(stage.directory, "report.json"), json.dumps(report, indent=1).encode())
        except OSError as error:
            stage.say(f"warning: the report cannot be kept: {error}")
    write_termination_log(report)
    if report["outcome"] == "Succeeded":
        return 0
    return 143 if report["outcome"] == "Interrupted" else 10 if report.get("class") == USER else 11


def shorten(report: Dict[str, Any], limit: int = TERMINATION_LIMIT) -> bytes:
    """The report as compact JSON of at most `limit` bytes; what people need least goes first."""
    short, metrics = dict(report), dict(report.get("metrics") or {})
    if len(compact(short)) <= limit:
        return compact(short)
    short.update(truncated=True, metrics=metrics)
    for holder, name in ((short, "history"), (metrics, "boxes"), (short, "warnings"), (short, "errors")):
        if len(compact(short)) > limit:
            holder.pop(name, None)
    if len(compact(short)) > limit and "AP" in metrics:
        classes, room = sorted(metrics.pop("AP")), limit - len(compact(short)) - len(',"AP":{}')
        metrics["AP"] = {}
        for name in classes:
            room -= len(compact({name: report["metrics"]["AP"][name]}))
            if room < 0:
                break
            metrics["AP"][name] = report["metrics"]["AP"][name]
    for name in ("message", "metrics", "artifacts"):  # the last two only if they are beyond all measure
        if len(compact(short)) > limit:
            short[name] = str(short.get("message", ""))[:500] if name == "message" else None
    if len(compact(short)) > limit:
        few = ("stage", "variant", "digest", "outcome", "reason", "class", "message")
        short = dict({name: str(short.get(name))[:100] for name in few}, attempt=short.get("attempt"))
    return compact(short)


def compact(report: Dict[str, Any]) -> bytes:
    return json.dumps(plain(report), separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")


def plain(value: Any) -> Any:
    """Strict JSON's values: nothing that is None, nan or infinite."""
    if isinstance(value, dict):
        cleaned = {str(name): plain(item) for name, item in value.items()}
        return {name: item for name, item in cleaned.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_termination_log(report: Dict[str, Any]) -> None:
    try:  # the kubelet mounts this one file: it cannot be replaced by renaming
        with open(os.environ.get("YOLO_TERMINATION_LOG", "/dev/termination-log"), "wb") as file:
            file.write(shorten(report))
    except OSError as error:
        sys.stderr.write(f"warning: no termination message: {error}\n")


METRICS = {
    "epoch": "epoch",
    "epochs": "epochs",
    "step": "step",
    "loss": "loss",
    "mAP": "map",
    "validationLoss": "validation_loss",
    "etaSeconds": "eta_seconds",
}


def exposition(stage: Stage) -> str:
    """The live numbers in Prometheus' text format."""
    labels = ",".join(
        '{}="{}"'.format(name, str(stage.instructions.get(name, "")).replace("\\", "\\\\").replace('"', '\\"'))
        for name in ("experiment", "stage", "variant")
    )
    numbers = stage.numbers
    return "".join(
        "# TYPE yolo_stage_{0} gauge\nyolo_stage_{0}{{{1}}} {2}\n".format(METRICS[name], labels, numbers[name])
        for name in METRICS
        if name in numbers
    )


def serve_metrics(stage: Stage) -> None:
    class Handler(BaseHTTPRequestHandler):
        timeout = 5

        def do_GET(self) -> None:
            body = exposition(stage).encode()
            self.send_response(200 if self.path == "/metrics" else 404)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.end_headers()
            self.wfile.write(body if self.path == "/metrics" else b"")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = daemon_threads = True

    port = stage.instructions.get("metricsPort")
    if port:
        try:
            threading.Thread(target=Server(("", port), Handler).serve_forever, daemon=True).start()
        except (OSError, OverflowError) as error:
            stage.warn("MetricsUnavailable", f"Port {port} cannot be served: {error}")


# ---- files and numbers -----------------------------------------------------------------------------------------------------


def finite(value: Any, default: Any = None) -> Any:
    """`value` as a finite number, else `default`."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return default
    return default if not math.isfinite(number) else value if isinstance(value, (int, float)) else number


def timestamp(when: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(when))


def file_size(path: str) -> int:
    return os.path.getsize(path) if os.path.isfile(path) else 0


def measure(path: str) -> Tuple[int, str]:
    """Bytes and sha256 of a file; of a directory its files' bytes and the sha256 over their sorted names and sha256s."""
    digest, size = hashlib.sha256(), 0
    if os.path.isdir(path):
        for name in sorted(os.listdir(path)):
            if os.path.isfile(os.path.join(path, name)):
                one_size, one_digest = measure(os.path.join(path, name))
                size += one_size
                digest.update(f"{name}\0{one_digest}\n".encode("utf-8", "surrogateescape"))
        return size, digest.hexdigest()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()


def read_text(path: str, offset: int = 0) -> str:
    """A file's text, line ends as they are; nothing when there is no such file."""
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""


def read_json(path: str) -> Optional[Dict[str, Any]]:
    try:
        value = json.loads(read_text(path))
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def write_atomically(path: str, content: bytes, only_new: bool = False) -> None:
    """Whoever reads the file sees it whole or as it was; `only_new` leaves one alone that is there, even in a race."""
    temporary = f"{path}.{os.uname().nodename}-{os.getpid()}.tmp"  # a pod's name: in each container we are process 1
    with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    try:
        if only_new:
            os.link(temporary, path)
        else:
            os.replace(temporary, path)
    except OSError:  # it is there, or the file system has no hard links
        if not only_new:
            raise
        if not os.path.exists(path):
            os.replace(temporary, path)
    if os.path.exists(temporary):
        os.unlink(temporary)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
