"""From the audit log to the figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml


def entry(verb: str, resource: str, name: str, at: float, *, agent: str = "yolo-operator/1", **more: Any) -> str:
    stamp = f"2026-01-01T00:00:{at:09.6f}Z"
    about = {"resource": resource, "namespace": "bench", "name": name, **more.pop("about", {})}
    body = {
        "verb": verb, "userAgent": agent, "stage": "ResponseComplete", "objectRef": about,
        "requestReceivedTimestamp": stamp, "stageTimestamp": stamp, "responseStatus": {"code": more.pop("code", 200)},
    }  # fmt: skip
    return json.dumps(body | more)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Two Jobs of one chain, with a refused create, the Job controller's status writes and somebody else's requests."""
    lines = [
        entry("create", "jobs", "a", 1.0, code=201),
        entry("create", "jobs", "b", 2.0, code=409),
        entry("update", "jobs", "a", 3.0, agent="kube-controller-manager", about={"subresource": "status"}),
        entry("create", "jobs", "b", 3.25, code=201),
        entry("patch", "yoloexperiments", "x", 3.5, about={"subresource": "status"}),
        entry("get", "yoloexperiments", "x", 3.6),
        entry("create", "jobs", "other", 3.7, agent="somebody"),
        entry("update", "jobs", "b", 5.0, agent="kube-controller-manager", about={"subresource": "status"}),
        '{"verb": "create", "objec',
    ]
    path = tmp_path / "audit.log"
    path.write_text("\n".join(lines))
    return path


def test_requests_and_hand_overs_come_from_the_audit_log(log: Path) -> None:
    from yolobench import audit

    found = audit.read(log, agent="yolo-operator", unit="jobs", namespace="bench")
    assert found.requests == {("create", "jobs"): 3, ("patch", "yoloexperiments/status"): 1, ("get", "yoloexperiments"): 1}
    assert found.writes == 4
    assert found.last - found.first == pytest.approx(4.0)
    assert audit.handovers(found, [("a", "b"), ("b", "c")]) == [pytest.approx(0.25)]


def test_a_chain_is_at_its_end_when_its_status_says_so(log: Path) -> None:
    from yolobench import audit

    told = entry("patch", "yoloexperiments", "x", 6.5, about={"subresource": "status"})
    refused = entry("patch", "yoloexperiments", "x", 7.5, code=409, about={"subresource": "status"})
    others = entry("patch", "yoloexperiments", "x", 8.5, agent="somebody", about={"subresource": "status"})
    log.write_text("\n".join([*log.read_text().splitlines()[:-1], told, refused, others]))
    found = audit.read(log, agent="yolo-operator", unit="jobs", whole="yoloexperiments/status", namespace="bench")
    assert found.last - found.first == pytest.approx(5.5)


def test_a_quantile_of_nothing_is_no_number() -> None:
    from yolobench import audit

    assert audit.quantile([], 0.5) != audit.quantile([], 0.5)
    assert [audit.quantile([1.0, 2.0, 3.0, 4.0], part) for part in (0.0, 0.5, 0.99, 1.0)] == [1.0, 3.0, 4.0, 4.0]


def test_a_missed_figure_is_said_and_counts() -> None:
    from yolobench import figures

    ours = {"makespan": 130.0, "cpu_seconds": 6.0, "chains": 10, "steps": 6, "writes": 200}
    floor = {"makespan": 100.0, "cpu_seconds": 1.0, "chains": 10, "steps": 6, "writes": 60}
    found = figures.results({"chains": {"ours": ours, "floor": floor}})
    assert found == {"makespanOverFloor": pytest.approx(1.3), "writesPerStage": pytest.approx(200 / 60)}
    assert not figures.reached(found)
    assert "**missed**" in figures.table(found)
    assert figures.reached({"makespanOverFloor": 1.19})


def test_growth_is_the_cost_of_each_further_experiment() -> None:
    from yolobench import figures

    few = {"restartSeconds": 2, "restartWrites": 0, "readyMiB": 80.0, "rssMiB": 90.0, "cpuMsPerStage": 5.0}
    many = few | {"restartSeconds": 9, "readyMiB": 180.0, "rssMiB": 200.0, "cpuMsPerStage": 5.5}
    found = figures.results({"growth": {"300": few, "5000": many}})
    assert found["kibPerExperiment"] == pytest.approx(1024 * 100 / 4700)
    assert found["cpuGrowth"] == pytest.approx(1.1)
    assert (found["rssMiBAt5000"], found["restartSeconds"], found["restartWrites"]) == (200.0, 9, 0)


def test_the_docs_keep_what_stands_around_the_results(tmp_path: Path) -> None:
    from yolobench import figures

    page = tmp_path / "performance.md"
    page.write_text(f"# Performance\n\n{figures.START}\nold\n{figures.END}\n\nafter\n")
    figures.write_docs(page, {}, {"makespanOverFloor": 1.1})
    text = page.read_text()
    assert text.startswith("# Performance\n")
    assert text.endswith("\n\nafter\n")
    assert "old" not in text
    page.write_text("# nothing\n")
    with pytest.raises(ValueError, match="no place for the results"):
        figures.write_docs(page, {}, {})


def test_stages_are_valid_and_take_the_time_that_is_asked_for(tmp_path: Path) -> None:
    from yolobench import stages

    documents = list(yaml.safe_load_all(stages.write(tmp_path / "stages.yaml", run_seconds=1.5, failures=True).read_text()))
    by_name = {document["metadata"]["name"]: document["spec"] for document in documents}
    assert set(by_name) == {"pod-ready", "pod-complete", "pod-delete", "stage-ends"}
    assert all(by_name[name]["delay"]["durationMilliseconds"] == 1500 for name in ("pod-complete", "stage-ends"))
    assert "exitCode: {{ if $fails }}11" in by_name["stage-ends"]["next"]["statusTemplate"]
