"""The bursts' and the trainings' figures, and the log that plays a training's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from yolo_operator.controller.progress import TAIL_LINES, latest


def request(verb: str, resource: str, name: str, at: float, *, code: int = 200, agent: str = "yolo-operator/1") -> Any:
    from yolobench import audit

    return audit.Request(at, at + 0.5, agent, verb, resource, name, code, True)


def test_a_line_of_the_log_is_what_the_operator_reads() -> None:
    from yolobench import logs

    found = latest(logs.tail(751.0, 1500.0, TAIL_LINES))
    assert found is not None
    assert (found.epoch, found.epochs, found.percent, found.eta_seconds) == (13, 25, 50, 750)


def test_the_log_begins_with_the_training_and_has_no_more_lines_than_are_asked_for() -> None:
    from yolobench import logs

    assert logs.tail(0.0, 100.0, 60).count("\n") == 1
    assert logs.tail(7.0, 100.0, 60).count("\n") == 3
    assert logs.tail(70.0, 100.0, 5).count("\n") == 5
    epochs = [json.loads(line)["yoloProgress"]["epoch"] for line in logs.tail(200.0, 100.0, 100).splitlines()]
    assert epochs == sorted(epochs)
    assert (epochs[0], epochs[-1]) == (1, 25)


def test_a_status_says_how_long_its_training_still_needs() -> None:
    from yolobench import running

    stages = [{"name": "prepare"}, {"name": "train", "progress": {"etaSeconds": 900}}]
    assert running.eta({"status": {"stages": stages}}) == 900
    assert running.eta({"status": {"stages": stages[:1]}}) is None
    assert running.eta({"status": {"stages": [{"name": "train"}]}}) is None
    assert running.eta({}) is None


def test_a_resyncs_lists_are_its_own() -> None:
    from yolobench import running

    requests = [request("list", "jobs", "", 100.0), request("list", "pods", "", 199.0), request("get", "pods/log", "a", 198.0)]
    assert [one.resource for one in running.lists_outside(requests, 200.0)] == ["jobs"]
    assert len(running.lists_outside(requests, 0.0)) == 2


def test_rates_and_gaps_between_writes_of_one_object() -> None:
    from yolobench import running

    writes = [request("patch", running.STATUS, name, at) for name, at in (("a", 1.0), ("b", 2.0), ("a", 4.0), ("b", 12.0))]
    writes += [request("patch", running.STATUS, "a", 5.0, code=409), request("get", "pods/log", "a", 9.0)]
    assert running.longest_gap(writes, running.STATUS) == pytest.approx(10.0)
    assert running.longest_gap([], running.STATUS) != running.longest_gap([], running.STATUS)
    assert running.per_second(writes, 10.0) == {f"patch {running.STATUS}": 0.5, "get pods/log": 0.1}


def test_an_experiment_waits_from_its_creates_answer_to_its_first_job() -> None:
    from yolobench import burst

    def job(name: str, experiment: str, stage: str) -> Any:
        labels = {"yolo-operator.dev/experiment": experiment, "yolo-operator.dev/stage": stage}
        return {"metadata": {"name": name, "labels": labels}}

    first = burst.firsts([job("a-1", "a", "prepare"), job("a-2", "a", "anchors"), job("b-1", "b", "prepare")])
    assert first == {"a": "a-1", "b": "b-1"}
    assert burst.first_jobs({"a": 1.0, "b": 2.0, "c": 3.0}, {"a-1": 1.5, "b-1": 2.25, "a-2": 9.0}, first) == [0.25, 0.5]


def test_a_stage_can_take_a_time_of_its_own(tmp_path: Path) -> None:
    from yolobench import stages

    written = stages.write(tmp_path / "stages.yaml", run_seconds=0, by_stage={"train": 60})
    by_name = {each["metadata"]["name"]: each["spec"] for each in yaml.safe_load_all(written.read_text())}
    assert by_name["train-ends"]["delay"]["durationMilliseconds"] == 60_000
    assert by_name["stage-ends"]["delay"]["durationMilliseconds"] == 0
    chosen = [by_name[name]["selector"]["matchExpressions"][-1] for name in ("stage-ends", "train-ends")]
    assert [(one["operator"], one["values"]) for one in chosen] == [("NotIn", ["train"]), ("In", ["train"])]


def test_both_loads_have_a_row_each() -> None:
    from yolobench import figures

    burst = {
        "experiments": 10, "jobs": 60, "again": 3, "submissionSeconds": 1.0, "firstJobP50": 0.5, "firstJobP99": 2.0,
        "makespan": 30.0, "cpuMsPerStep": 9.0, "rssMiB": 100.0, "writesPerStep": 3.0, "queueOldestSeconds": 0.2,
    }  # fmt: skip
    running = {
        "experiments": 10, "seconds": 180.0, "cpuShare": 0.05, "rssFirstMiB": 100.0, "rssLastMiB": 101.0, "logsPerSecond": 9.9,
        "logsBudget": 10.0, "statusWritesPerSecond": 9.5, "othersPerSecond": 0.25, "progressAgeP50": 50.0,
        "progressAgeMax": 104.0, "lists": 1,
    }  # fmt: skip
    assert "| 10, 60 Jobs, 3 of them second attempts | 1.0 s | 0.50 / 2.00 s |" in figures.burst_table(burst)
    assert "| 9.90 of 10 | 9.50 | 0.25 | 50 / 104 s |" in figures.running_table(running)
    found = figures.results({"running": running})
    assert found == {"runningLists": 1}
    assert not figures.reached(found)
