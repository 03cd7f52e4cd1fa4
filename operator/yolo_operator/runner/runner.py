#!/usr/bin/env python3
"""`python3 runner.py INSTRUCTIONS.json` runs one stage of an experiment in a toolkit's container, and tells the truth about it.

A toolkit may exit with 0 after an interruption, a wrong key or a loss that is not a number. So a stage succeeded only when its
exit code is 0 *and* its artifacts are there *and* its status file, if any, ends in SUCCESS *and* its numbers are finite. Anything
else becomes a reason, a class and a sentence: docs/stage-contract.md is the specification. This file and its `toolkits.json` go
into images we do not build: they need the standard library of Python 3.6 and nothing else.
"""

import hashlib
import json
import math
import os
import re
import select
import shutil
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from subprocess import DEVNULL, PIPE, STDOUT, Popen
from typing import IO, Any, Callable, Dict, List, Optional, Set, Tuple

TIMESTAMP = "%Y-%m-%dT%H:%M:%SZ"
LINE_LIMIT = 65536  # bytes: a toolkit that never ends its line must not fill the memory
CONTROL = re.compile("\x1b\\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")  # a terminal's colours and the like
TOOLKITS: Dict[str, Any] = json.loads(Path(__file__).with_name("toolkits.json").read_text(encoding="utf-8"))
Rows = Dict[int, Dict[str, Any]]  # epoch → {loss, mAP, validationLoss, learningRate, AP}: what is finite; a loss may be nan


class StageError(Exception):
    """Ends a stage without success, for a reason of toolkits.json; `kind` overrules who must act."""

    def __init__(self, reason: str, found: str = "", kind: str = "") -> None:
        known = TOOLKITS["reasons"][reason]
        self.reason, self.kind, self.message = reason, kind or known["class"], known["sentence"].format(found)


def execute(path: str, work: Callable[[Any], Dict[str, Any]], kind: "Optional[Callable[[str], Stage]]" = None) -> int:
    """Do `work`, which gives the fields of a success's report or raises StageError, under the contract; returns the exit code."""
    stage = (kind or Stage)(path)
    try:
        stage.start()
        return stage.finish(stage.finished_before(stage.workspace) or dict(work(stage), outcome="Succeeded", reason="Completed"))
    except StageError as error:
        failure = error
    except OSError as error:  # an operation on files, outside the toolkit
        failure = StageError(TOOLKITS["storage"].get(str(error.errno), "StorageFailed"), str(error))
    except Exception as error:
        stage.say(traceback.format_exc())
        failure = StageError("RunnerError", repr(error))
    outcome = "Interrupted" if failure.reason == "Interrupted" else "Failed"
    return stage.finish({"outcome": outcome, "reason": failure.reason, "message": failure.message, "class": failure.kind})


class Stage:
    """One attempt at a stage, whatever does the work: its instructions, its logs, what it reads, and its report."""

    def __init__(self, path: str) -> None:
        self.instructions: Dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
        self.experiment_spec_file = os.path.join(os.path.dirname(path), "experiment-spec.txt")
        self.workspace, self.directory = self.instructions["workspace"], self.instructions["directory"]
        self.attempt, self.every = self.instructions.get("attempt", 1), float(self.instructions.get("progressSeconds", 3))
        self.expect: Dict[str, Any] = self.instructions.get("expect", {})
        self.numbers: Dict[str, Any] = {}  # the live ones
        self.warnings: List[Dict[str, str]] = []
        self.known: Dict[str, Any] = {"reused": False, "warnings": self.warnings, "truncated": False}  # even of a failure
        self.logs: List[IO[str]] = [open(1, "w", encoding="utf-8", errors="replace", closefd=False)]
        self.child: "Optional[Popen[bytes]]" = None
        self.key, self.signal, self.kill_at = "", 0, math.inf
        self.started, self.began, self._said, self._said_at = time.time(), time.monotonic(), "", -math.inf

    def start(self) -> None:
        """Listen to the kubelet, and learn the key before a single line is written."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.forward)
        if self.instructions.get("keyEnv"):
            self.key = os.environ.pop(self.instructions["keyEnv"], "").strip()
            if not re.fullmatch(r"[\w./+=:,@%-]+", self.key, re.ASCII):  # what TAO's inner shell takes without quotes
                raise StageError("KeyMissing", "may only have A-Z, a-z, 0-9 and _./+=:,@%-" if self.key else "is empty")
        if self.instructions.get("metricsPort"):
            self.serve(self.instructions["metricsPort"])

    def serve(self, port: int) -> None:
        """The live numbers in Prometheus' text format, whatever is asked for."""
        labels = ",".join(f"{name}={json.dumps(self.instructions[name])}" for name in ("experiment", "stage", "variant"))

        def handle(request: StreamRequestHandler) -> None:
            while request.rfile.readline(LINE_LIMIT).strip():
                pass
            request.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n\r\n")
            for name, value in self.numbers.items():
                metric = "yolo_stage_" + TOOLKITS["liveMetrics"].get(name, name)
                request.wfile.write(f"# TYPE {metric} gauge\n{metric}{{{labels}}} {value}\n".encode())

        ThreadingTCPServer.allow_reuse_address = ThreadingTCPServer.daemon_threads = True
        try:
            server = ThreadingTCPServer(("", port), type("Metrics", (StreamRequestHandler,), {"handle": handle, "timeout": 5}))
            threading.Thread(target=server.serve_forever, daemon=True).start()
        except (OSError, OverflowError) as error:
            self.warn("MetricsUnavailable", f"Port {port} cannot be served: {error}")

    def forward(self, number: int, _frame: Any = None) -> None:
        """Hand a signal on to the toolkit and all that it has started, which is killed graceSeconds later."""
        self.signal = self.signal or number
        self.kill_at = min(self.kill_at, time.monotonic() + float(self.instructions.get("graceSeconds", 25)))
        with suppress(ProcessLookupError, PermissionError):
            if self.child is not None:
                os.killpg(self.child.pid, number)

    def check(self) -> None:
        """Go no further when the container was asked to stop."""
        if self.signal:
            raise StageError("Interrupted", signal.Signals(self.signal).name)

    def open_log(self) -> None:
        """One file an attempt; a pod that replaces another under the same Job goes on in the same file."""
        path = os.path.join(self.directory, "logs", f"attempt-{self.attempt}.log")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self.logs.append(open(path, "a", encoding="utf-8", errors="replace"))
        if file_size(path):
            self.say(f"---- started again at {time.strftime(TIMESTAMP, time.gmtime())} ----")

    def mask(self, text: str) -> str:
        return text.replace(self.key, "***") if self.key else text

    def say(self, text: str, only: Optional[IO[str]] = None) -> None:
        """Write one line, masked, to the container's log and to the attempt's. A log that fails stops no training."""
        line = self.mask(text.rstrip("\n"))
        if self.key and len(text.encode("utf-8", "replace")) >= LINE_LIMIT:  # perhaps cut off in the middle of the key
            line = line[: -len(self.key)]
        for log in [only] if only else self.logs:
            with suppress(OSError, ValueError):
                log.write(line + "\n")
                log.flush()

    def warn(self, reason: str, message: str) -> None:
        self.warnings.append({"reason": reason, "message": self.mask(message)})
        self.say("warning: " + message)

    def progress(self, numbers: Dict[str, Any], last: bool = False) -> None:
        """Tell the operator the numbers that are known, at most once every progressSeconds."""
        self.numbers = {name: value for name, value in numbers.items() if finite(value) is not None}
        line = json.dumps({"yoloProgress": self.numbers}, separators=(",", ":"))
        if self.numbers and line != self._said and (last or time.monotonic() - self._said_at >= self.every):
            self._said, self._said_at = line, time.monotonic()
            self.say(line, only=self.logs[0])

    def finished_before(self, workspace: str) -> Optional[Dict[str, Any]]:
        """The report of an earlier success with the same digest in a workspace, if its artifacts are what they were."""
        path = os.path.join(workspace, os.path.relpath(self.directory, self.workspace), "report.json")
        report = parse_json(read_text(path))
        if (report.get("outcome"), report.get("digest")) != ("Succeeded", self.instructions["digest"]):
            return None
        whole = all(intact(os.path.join(workspace, item["path"]), item) for item in report.get("artifacts", []))
        self.say(f"Finished before with the same inputs{'' if whole else ', but its artifacts are not what was reported'}.")
        return dict(report, reused=True, attempt=self.attempt) if whole else None

    def verify_inputs(self) -> None:
        """A stage that would read something else than what was reported must not start."""
        for item in self.instructions.get("inputs", []):
            self.check()
            if not intact(item["path"], item):
                self.known["input"] = item["path"]
                raise StageError("InputChanged" if os.path.exists(item["path"]) else "InputMissing", item["path"])

    def artifact(self, name: str, path: str) -> Dict[str, Any]:
        size, digest = measure(path)
        return {"name": name, "path": os.path.relpath(path, self.workspace), "bytes": size, "sha256": digest}

    def finish(self, fields: Dict[str, Any]) -> int:
        """Write the report, whole into the workspace and shortened for the kubelet; returns the container's exit code."""
        self.forward(signal.SIGKILL)
        started, seconds = time.strftime(TIMESTAMP, time.gmtime(self.started)), round(time.monotonic() - self.began, 1)
        report = {name: self.instructions.get(name) for name in ("version", "stage", "variant", "attempt", "digest")}
        report.update({name: fields.get(name) for name in ("outcome", "reason", "message", "class")}, **self.known)
        report.update(startedAt=started, finishedAt=time.strftime(TIMESTAMP, time.gmtime()), seconds=seconds)
        report = plain(dict(report, **dict(fields, message=self.mask(fields["message"]))))
        self.say(f"{report['outcome']}: {report['reason']}: {report['message']}")
        with suppress(OSError):
            if report["reason"] != "WorkspaceInUse":  # someone else's directory gets no report of ours
                os.makedirs(self.directory, exist_ok=True)
                write_atomically(os.path.join(self.directory, "report.json"), json.dumps(report, indent=1).encode())
        with suppress(OSError), open(os.environ.get("YOLO_TERMINATION_LOG", "/dev/termination-log"), "wb") as file:
            file.write(shorten(report))  # the kubelet mounts this one file: it cannot be replaced by renaming
        return {"Succeeded": 0, "Interrupted": 143}.get(report["outcome"], 10 if report.get("class") == "user" else 11)


class ToolkitStage(Stage):
    """One run of a toolkit: what it needs before, the process, and the verdict on what it left."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.resume: Dict[str, Any] = self.instructions.get("resume") or {"weights": "", "suffix": "", "epochs": 0}
        self.outputs: List[Dict[str, Any]] = self.expect.get("files", []) + self.expect.get("directories", [])
        self.parser = OutputParser()
        self.tail: List[str] = []  # its last lines
        self.stopped, self._bar_at, self._epoch = "", -math.inf, 0  # the reason for which it was stopped before its end

    def work(self) -> Dict[str, Any]:
        """Prepare, run, judge. A training that goes on starts from its newest checkpoint."""
        self.verify_inputs()
        self.make_ready()
        self.open_log()
        self.parser.events.update([self.instructions["task"]] if self.instructions.get("keyEnv") else [])
        found = self.checkpoints(self.training_log())
        newest = max(found, default=0)
        if newest and newest == self.resume["epochs"]:
            self.say("The training was finished before: judging what is there.")
            return self.judge([])
        for path in [path for epoch, path in self.checkpoints().items() if epoch > newest]:
            os.unlink(path)  # cut short: it must not pass for one of this run's
        self.training_log(up_to=newest)
        self.known.update({"resumedFromEpoch": newest} if newest else {})
        self.write_experiment_spec(found.get(newest, ""))
        self.check()
        offset, kills = file_size(self.expect.get("statusFile", "")), memory_kills()
        self.known["exitCode"] = code = self.run()
        for path in [item["path"] for item in self.outputs if item.get("maskKey") and file_size(item["path"])]:
            write_atomically(path, self.mask(read_text(path)).encode())  # the toolkit wrote it in clear, even if it failed then
        if self.stopped:
            self.known["metrics"] = self.numbers
            raise self.where_it_stood()
        if code != 0:
            raise self.explain(code, "Killed by the kernel" if memory_kills() > kills or code == 128 + signal.SIGKILL else "")
        return self.judge(self.status_records(offset))

    def make_ready(self) -> None:
        """A toolkit must not start if it cannot end well, nor be stopped by, or get credit for, what an earlier attempt left."""
        for item in self.expect.get("calibration", []):  # without them the toolkit measures int8 ranges on random numbers
            there, kinds = names_in(item["path"], tuple(item["suffixes"])), " ".join(item["suffixes"])
            if len(there) < item["atLeast"]:
                raise StageError("CalibrationUnusable", f"{item['path']} has {len(there)} of {item['atLeast']} images ({kinds})")
        free, least = shutil.disk_usage(self.workspace).free, self.instructions.get("minFreeBytes", 0)
        if free < least:
            raise StageError("NoSpace", f"{free} bytes are free, the stage may need {least}")
        for path in [path for item in self.outputs for path in [item["path"], *item.get("alternatives", [])]]:
            if os.path.exists(path) and os.path.realpath(path).startswith(os.path.realpath(self.directory) + os.sep):
                (shutil.rmtree if os.path.isdir(path) else os.unlink)(path)
        for path in [self.directory, *self.instructions.get("makeDirectories", [])]:
            os.makedirs(path, exist_ok=True)

    def checkpoints(self, rows: Optional[Rows] = None) -> Dict[int, str]:
        """Epoch → file. With the training log's rows only complete ones: those of which a row tells, and those as big as one."""
        folder, pattern = self.resume["weights"], re.compile(r"[^.].*_epoch_(\d{1,9})" + re.escape(self.resume["suffix"]) + r"\Z")
        found = {int(pattern.sub(r"\1", name)): os.path.join(folder, name) for name in names_in(folder) if pattern.match(name)}
        sizes = {epoch: file_size(path) for epoch, path in found.items() if epoch <= self.resume["epochs"]}
        if rows is not None:
            enough = 0.95 * max([sizes[epoch] for epoch in sizes if epoch in rows], default=math.inf if rows else 0)
            sizes = {epoch: size for epoch, size in sizes.items() if size and (epoch in rows or size >= enough)}
        return {epoch: found[epoch] for epoch in sizes}

    def training_log(self, up_to: float = math.inf, keep: bool = True) -> Rows:
        """The rows of the toolkit's csv. It truncates the file when it resumes: they are kept in a copy, and put back into it."""
        result, rows = os.path.dirname(self.resume["weights"].rstrip("/")), {}
        written = [os.path.join(result, name) for name in names_in(result, ".csv") if "training_log" in name][:1]
        files = [os.path.join(self.directory, "training-log.csv"), *written]
        lines = [line.rstrip("\r").split(",") for path in files for line in read_text(path).split("\n")[:-1]]  # whole ones
        cells = {int(line[0].replace("epoch", "0")): line for line in lines if re.fullmatch("epoch|[0-9]{1,9}", line[0])}
        header = cells.get(0, [])
        kept = {epoch: cells[epoch] for epoch in sorted(cells) if epoch <= up_to and len(cells[epoch]) == len(header)}
        for path in files if header and keep else []:
            write_atomically(path, "".join(",".join(line) + "\r\n" for line in kept.values()).encode())
        for epoch in filter(None, kept):
            texts = dict(zip(header, kept[epoch]))  # noqa: B905 (strict= is newer than 3.6)
            row: Dict[str, Any] = {name: finite(texts.get(column)) for name, column in TOOLKITS["csv"].items()}
            row["AP"] = {name[3:]: finite(texts[name]) for name in texts if name[:3] == "AP_" and finite(texts[name]) is not None}
            row["loss"] = math.nan if re.match("(?i)-?(nan|inf)", texts.get("loss", "")) else row["loss"]
            rows[epoch] = {name: value for name, value in row.items() if value not in (None, {})}
        return rows

    def write_experiment_spec(self, checkpoint: str) -> None:
        """It has a field a line: to resume is to replace lines. Of protobuf's oneof only ours may stay: the last one wins."""
        if self.instructions.get("specPath"):
            lines = Path(self.experiment_spec_file).read_bytes().decode("utf-8", "surrogateescape").split("\n")
            if checkpoint:
                self.say(f"Going on from the checkpoint {checkpoint}")
                lines = [line for line in lines if not re.match("  (pretrain|pruned|resume)_model_path:", line)]
                lines.insert(lines.index("training_config {") + 1, f'  resume_model_path: "{checkpoint}"')
            write_atomically(self.instructions["specPath"], "\n".join(lines).encode("utf-8", "surrogateescape"))

    def run(self) -> int:
        """Run the toolkit to its end; returns its exit code."""
        words, environment = self.instructions["argv"], dict(os.environ, PYTHONUNBUFFERED="1")
        if "{key}" in words and not self.instructions.get("keyEnv"):
            raise StageError("KeyMissing", "is needed")
        self.say("running: " + " ".join(words))
        words = [self.key if word == "{key}" else word for word in words]
        try:
            child = Popen(words, 0, None, DEVNULL, PIPE, STDOUT, cwd=self.directory, env=environment, start_new_session=True)
        except (FileNotFoundError, PermissionError):
            raise StageError("ExecutableMissing", words[0]) from None
        self.child, patience = child, float(self.instructions.get("stallSeconds") or math.inf)
        if self.signal:  # it came between the last check and the start
            self.forward(self.signal)
        output, code, give_up_at, alive_at = [child.stdout] if child.stdout else [], None, math.inf, time.monotonic()
        while code is None or (output and time.monotonic() < give_up_at):
            for pipe in select.select(output, [], [], 0.1)[0]:
                data, alive_at = os.read(pipe.fileno(), LINE_LIMIT), time.monotonic()
                output = output if data else []
                self.show(self.parser.feed(data))
            if code is None and not self.stopped and time.monotonic() - alive_at > patience:
                self.stopped = "Stalled"
                self.forward(signal.SIGTERM)
            ended, status = os.waitpid(-1, os.WNOHANG) if code is None else (0, 0)  # of any: process 1 inherits orphans
            if ended == child.pid:  # a helper that lives on may hold the pipe open
                child.returncode = code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
                self.stopped, give_up_at = self.stopped or ("Interrupted" if self.signal else ""), time.monotonic() + 5
            if time.monotonic() > self.kill_at:
                self.forward(signal.SIGKILL)
        self.show(self.parser.close(), last=True)
        return code

    def show(self, lines: List[Tuple[str, str]], last: bool = False) -> None:
        """The container's log gets what is worth reading; the attempt's log also a moving bar every now and then."""
        for text, bar in lines:
            if bar != "moving":
                self.say(text)
            elif time.monotonic() - self._bar_at >= self.every:
                self._bar_at = time.monotonic()
                self.say(text, only=self.logs[-1])
        self.tail = (self.tail + [text for text, bar in lines if not bar])[-200:]
        if last or self.parser.seen.get("epoch", 0) != self._epoch:  # no toolkit prints it; a row is written when its epoch ends
            self._epoch, rows = self.parser.seen.get("epoch", 0), self.training_log(keep=False)
            self.parser.seen["learningRate"] = rows[max(rows)].get("learningRate") if rows else None
        self.progress(dict(self.parser.numbers(), resumedFromEpoch=self.known.get("resumedFromEpoch")), last)

    def where_it_stood(self) -> StageError:
        """The verdict on a toolkit that was stopped before its end."""
        newest, waited = max(self.checkpoints(self.training_log()), default=0), self.instructions.get("stallSeconds")
        stood = f"{waited} s (its last line: {self.tail[-1:]})" if self.stopped == "Stalled" else signal.Signals(self.signal).name
        stood += f" in epoch {self.parser.seen['epoch']}" if "epoch" in self.parser.seen else ""
        stood += f"; the next attempt goes on from the checkpoint of epoch {newest}" if newest else ""
        return StageError(self.stopped, stood)

    def explain(self, code: int, said: str) -> StageError:
        """Why it did not succeed: of its output from the end upwards, the first line that toolkits.json explains."""
        for line in [said if code else "", *self.tail[::-1], said]:
            for known in TOOLKITS["diagnoses"]:
                if re.search(known["pattern"], line) and (not known["when"] or known["when"] in self.parser.events):
                    return StageError(known["reason"], known["hint"].format(line.strip()[:400]), known["class"])
        lines = [line.strip() for line in self.tail if not re.match(r"\W*$|Execution status|Telemetry", line)]
        known = TOOLKITS["exitCodes"].get(str(code), {"reason": "ToolkitFailed", "class": ""})
        last = " | ".join(lines[-3:])[-400:] or "it printed nothing"
        return StageError(known["reason"], said if code == 0 else f"exit code {code}: {last}", known["class"])

    def status_records(self, offset: int) -> List[Dict[str, Any]]:
        """The records of this run: the toolkit appends to the file of earlier ones, and starts each with "Starting …"."""
        path = self.expect.get("statusFile", "")
        records = list(filter(None, map(parse_json, read_text(path, offset if offset <= file_size(path) else 0).splitlines())))
        starts = [place for place, record in enumerate(records) if str(record.get("message")).startswith("Starting")]
        return records[max(starts, default=0) :]

    def judge(self, records: List[Dict[str, Any]]) -> Dict[str, Any]:
        """The rule for a toolkit that says it is done: status, artifacts and numbers must agree. Returns the report's fields."""
        status, seen = records[-1] if records else {"status": "SUCCESS"}, self.parser.seen
        if status.get("status") != "SUCCESS":
            raise self.explain(0, "{}: {}".format(status.get("status"), status.get("message")))
        kpis = [record["kpi"] for record in records if isinstance(record.get("kpi"), dict)]
        kpi = {re.sub("[^a-z]+", "_", name.lower()): value for each in kpis for name, value in each.items()}
        metrics = {name: finite(seen.get(name), finite(kpi.get(other))) for name, other in TOOLKITS["kpis"].items()}
        metrics.update(AP=seen.get("AP"), anchors=seen.get("anchors"))
        metrics, outputs, history = self.judge_training(bool(records)) if self.resume["epochs"] else (metrics, self.outputs, [])
        artifacts = [self.artifact(item["name"], self.find_output(item)) for item in outputs]
        for item in [item for item in outputs if item.get("suffix") == ".txt"]:  # labels: a file an image, a line a detection
            texts = [read_text(os.path.join(item["path"], name)) for name in names_in(item["path"], ".txt")]
            metrics.update(images=len(texts), detections=len(re.findall(r"(?m)^.*\S", "\n".join(texts))))
        for name in self.expect.get("metrics", []):
            numbers = sum(metrics[name], []) if isinstance(metrics.get(name), list) else [metrics.get(name)]
            if not numbers or any(finite(each) is None for each in numbers):
                raise StageError("MetricMissing", name)
        if self.instructions.get("keepCheckpoints") == "artifacts":
            for path in set(self.checkpoints().values()) - {item["path"] for item in outputs}:
                os.unlink(path)
        known = {name: len(value) if isinstance(value, list) else value for name, value in metrics.items()}
        said = [text.format(known[name]) for name, text in TOOLKITS["sentences"] if known.get(name) is not None]
        said += ["{} ({} bytes)".format(os.path.basename(made["path"]), made["bytes"]) for made in artifacts]
        return {"message": ", ".join(said) or "done", "metrics": metrics, "artifacts": artifacts, "history": history}

    def judge_training(self, said_success: bool) -> Tuple[Dict[str, Any], List[Dict[str, str]], List[Dict[str, Any]]]:
        """Success is a checkpoint after the last epoch. Returns its numbers, the outputs, and every epoch's numbers."""
        parser, epochs, wanted = self.parser, self.resume["epochs"], str(self.instructions.get("checkpoint", "best"))
        rows = {**parser.history, **self.training_log()}
        found = self.checkpoints(rows)
        done = max([*found, *rows], default=0)
        losses = [parser.seen.get("loss"), rows[max(rows)].get("loss") if rows else None]
        if "invalidLoss" in parser.events or any(loss is not None and not math.isfinite(loss) for loss in losses):
            raise StageError("NonFiniteLoss", f"epoch {parser.seen.get('epoch') or max(rows)}")
        if done < epochs and "earlyStop" not in parser.events:
            resumes = "resumedFromEpoch" not in self.known and "resume_model_path:" in read_text(self.instructions["specPath"])
            nothing = (said_success or resumes) and "epoch" not in parser.events
            raise StageError("NothingTrained" if nothing else "InterruptedWithoutSignal", f"after epoch {done} of {epochs}")
        if not found or (wanted.isdigit() and int(wanted) not in found):
            suffix, weights = self.resume["suffix"], self.resume["weights"]
            there = " ".join([name for name in names_in(weights) if not name.endswith(suffix)][-3:]) or "nothing"
            missing = f"no checkpoint of epoch {wanted}" if found else f"no checkpoint *{suffix} but {there}"
            raise self.explain(0, missing + ": trainingConfig.checkpointInterval decides which epochs are saved")
        last, best = max(found), max((finite(rows.get(epoch, {}).get("mAP"), -1.0), epoch) for epoch in found)[1]
        chosen = int(wanted) if wanted.isdigit() else last if wanted == "last" else best
        outputs = [{"name": "checkpoint", "path": found[chosen]}, {"name": "last", "path": found[last]}][: 1 + (chosen != last)]
        evaluated = max([epoch for epoch in rows if epoch <= chosen and "mAP" in rows[epoch]], default=chosen)
        if evaluated != chosen:
            self.warn("EpochNotEvaluated", f"Epoch {chosen} was not evaluated: its mAP is that of epoch {evaluated}.")
        metrics = {**rows.get(evaluated, {}), **rows.get(chosen, {}), "epoch": chosen, "epochs": epochs}
        return metrics, outputs, [{"epoch": epoch, **row} for epoch, row in sorted(rows.items())]

    def find_output(self, item: Dict[str, Any]) -> str:
        """Where an output lies that holds something: a file, or a directory with enough files."""
        for path in [item["path"], *item.get("alternatives", [])]:
            if file_size(path) or len(names_in(path, item.get("suffix", ""))) >= item.get("atLeast", 1):
                return str(path)
        raise self.explain(0, f"no {item['path']} but " + (" ".join(names_in(os.path.dirname(item["path"]))) or "nothing"))


class OutputParser:
    """Reads a toolkit's output, cut anywhere, by toolkits.json; gives lines as (text, of a bar "moving" or "complete", else "").

    `seen` has the newest numbers by their names in the contract, nan where the toolkit printed nan; `events` the kinds of lines.
    """

    def __init__(self) -> None:
        self.seen: Dict[str, Any] = {}
        self.history: Rows = {}
        self.events: Set[str] = set()
        self._rest, self._last_bar = b"", ""
        self._table: Optional[Dict[str, float]] = None  # of the classes, while it is being printed
        self._evaluation: Dict[str, Any] = {}

    def feed(self, data: bytes) -> List[Tuple[str, str]]:
        r"""Take the next bytes; returns the lines that they complete. Between \b and \r lie a terminal's updates of a bar."""
        *ended, rest = re.split(b"[\r\n]", self._rest + data.replace(b"\b", b""))
        self._rest = rest[:LINE_LIMIT]
        return [line for raw in ended for line in self._line(raw)]

    def close(self) -> List[Tuple[str, str]]:
        """The end of the stream: a line without an end is shown, but its numbers may be cut and do not count."""
        lines, self._rest = self._line(self._rest, whole=False), b""
        self._settle()
        return lines

    def numbers(self) -> Dict[str, Any]:
        """The progress by the names of the contract; values may be None or nan."""
        epoch, epochs, steps, eta = (self.seen.get(name) for name in ("epoch", "epochs", "steps", "eta"))
        if epoch and epochs and steps:
            left = 1 - self.seen["step"] / steps
            an_epoch = self.seen.get("took") or (eta / left if eta is not None and left else None)
            eta = None if an_epoch is None else round((an_epoch * left if eta is None else eta) + (epochs - epoch) * an_epoch)
        return dict({name: self.seen.get(name) for name in TOOLKITS["liveMetrics"]}, etaSeconds=eta)

    def _line(self, raw: bytes, whole: bool = True) -> List[Tuple[str, str]]:
        text = CONTROL.sub("", raw[:LINE_LIMIT].decode("utf-8", "replace")).rstrip()
        if not text or (text == self._last_bar and whole):  # tqdm prints its last bar twice
            return []
        matches = ((rule["kind"], re.search(rule["pattern"], text, re.ASCII)) for rule in TOOLKITS["lines"] if whole)
        bar = next((self._take(kind, match.groupdict()) for kind, match in matches if match), "")
        self._last_bar = text if bar == "complete" else ""
        return [(text, bar)]

    def _take(self, kind: str, texts: Dict[str, Any]) -> str:
        """Note what a line says; returns the state of a progress bar."""
        name, found = texts.pop("name", ""), {name: number(text) for name, text in texts.items() if text is not None}
        self.events.add(kind)
        if kind in ("bar", "count"):
            training, moving = kind == "bar", found["step"] < found["steps"]
            if not 0 < found["steps"] >= found["step"]:
                return ""
            if training or "epoch" not in self.seen:  # in a training the other bar counts the validation's batches
                self.seen.update(dict({"eta": None}, **found))
            if training and not moving and "took" in found and self.seen.get("epoch"):
                self.history.setdefault(self.seen["epoch"], {}).update({"loss": found["loss"]} if "loss" in found else {})
                self.events.add("epochEnd")
            return "moving" if moving else "complete"
        if kind in ("class", "mean") and (self._table is None or any(value > 1 for value in found.values())):
            return ""
        if kind == "class" and self._table is not None:
            self._table[name] = found.pop("AP")
        elif kind == "mean":
            found["AP"] = self._table
        elif kind == "fence":
            self._table = None if self._table else {}
        elif kind == "epoch":
            self._settle()
            found.update(step=0, eta=None)
        elif kind in ("anchors", "anchor"):
            found = {"anchors": self.seen.get("anchors", []) + [list(found.values())] if found else []}
        self.seen.update(found)
        if kind in ("mean", "validationLoss"):
            self._evaluation.update(found)
        elif kind == "saved":
            self.history.setdefault(found["epoch"], {})
            self._settle()
        return ""

    def _settle(self) -> None:
        """What a validation found belongs to the epoch that is saved next, else to the one that runs."""
        if self.seen.get("epoch") and self._evaluation:
            self.history.setdefault(self.seen["epoch"], {}).update(self._evaluation)
        self._evaluation = {}


def number(text: str) -> Any:
    """`12`, `1.5e-07`, `nan`, or `1:02:03` in seconds."""
    *minutes, rest = text.split(":")
    return 60 * number(":".join(minutes)) + int(rest) if minutes else int(rest) if rest.isdigit() else float(rest)


def memory_kills() -> int:
    """How many processes the kernel has killed in this container for want of memory (cgroup v2, v1)."""
    text = read_text("/sys/fs/cgroup/memory.events") or read_text("/sys/fs/cgroup/memory/memory.oom_control")
    return sum(int(count) for count in re.findall(r"(?m)^oom_kill (\d+)", text))


def shorten(report: Dict[str, Any], limit: int = 4096) -> bytes:  # the kubelet cuts longer messages
    """The report as compact JSON of at most `limit` bytes; what people need least goes first, of classes the last names."""
    short = plain(report)
    for name in ("history", "boxes", "warnings", "errors", "AP", "message", "metrics", "artifacts"):
        holder = short.get("metrics", {}) if name in ("boxes", "AP") else short
        if len(compact(short)) > limit and name in holder:
            short["truncated"], whole = True, holder.pop(name)
            if name in ("AP", "message"):
                holder[name] = whole[:500] if name == "message" else dict(sorted(whole.items()))
            while name == "AP" and holder[name] and len(compact(short)) > limit:
                holder[name].popitem()
    return compact(short)


def compact(report: Dict[str, Any]) -> bytes:
    return json.dumps(report, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")


def plain(value: Any) -> Any:
    """Strict JSON's values: nothing that is None, nan or infinite."""
    cleaned = json.loads(json.dumps(value), parse_constant=lambda _: None)
    return json.loads(json.dumps(cleaned), object_hook=lambda each: {name: each[name] for name in each if each[name] is not None})


def finite(value: Any, default: Any = None) -> Any:
    """`value` as a finite number, else `default`."""
    with suppress(TypeError, ValueError, OverflowError):
        number = value if isinstance(value, (int, float)) else float(str(value).replace("_", "-"))  # a toolkit writes no 1_0
        return number if math.isfinite(number) else default
    return default


def file_size(path: str) -> int:
    return os.path.getsize(path) if os.path.isfile(path) else 0


def names_in(folder: str, suffix: Any = "") -> List[str]:
    """The sorted names in a directory that end so; none when it is not there."""
    return sorted(name for name in os.listdir(folder) if name.endswith(suffix)) if os.path.isdir(folder) else []


def measure(path: str) -> Tuple[int, str]:
    """Bytes and sha256 of a file; of a directory its files' bytes and the sha256 over their sorted names and sha256s."""
    digest = hashlib.sha256()
    if os.path.isdir(path):
        files = {name: measure(os.path.join(path, name)) for name in names_in(path) if os.path.isfile(os.path.join(path, name))}
        digest.update("".join(f"{name}\0{files[name][1]}\n" for name in files).encode("utf-8", "surrogateescape"))
        return sum(size for size, _ in files.values()), digest.hexdigest()
    with open(path, "rb") as content:
        for block in iter(lambda: content.read(1 << 20), b""):
            digest.update(block)
        return content.tell(), digest.hexdigest()


def intact(path: str, item: Dict[str, Any]) -> bool:
    """Whether a file or directory is there and, as far as that is known, what it was."""
    return os.path.exists(path) and (not item.get("sha256") or measure(path) == (item["bytes"], item["sha256"]))


def read_text(path: str, offset: int = 0) -> str:
    """A file's text, line ends as they are; nothing when there is no such file."""
    return Path(path).read_bytes()[offset:].decode("utf-8", "replace") if os.path.isfile(path) else ""


def parse_json(text: str) -> Dict[str, Any]:
    """The object that a text is, an empty one when it is none. A bare NaN passes: toolkits write it."""
    with suppress(ValueError):
        value = json.loads(text)
        return value if isinstance(value, dict) else {}
    return {}


def write_atomically(path: str, content: bytes) -> None:
    """Whoever reads the file sees it whole or as it was."""
    temporary = f"{path}.{os.uname().nodename}-{os.getpid()}.tmp"  # a pod's name: in each container we are process 1
    with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


if __name__ == "__main__":
    sys.exit(execute(sys.argv[1], ToolkitStage.work, ToolkitStage))
