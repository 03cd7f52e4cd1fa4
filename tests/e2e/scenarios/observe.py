"""Two small experiments under a real Prometheus: every panel has data, alerts are evaluated, the plugin reads what is left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness import OPERATOR_NAMESPACE, ROOT, Object, Scenario, condition, ended, small_experiment, stages

sys.path.append(str(ROOT / "tests" / "support"))
from panels import Prometheus, Query, free_port, page, picture, queries, samples

OUT = ROOT / "build" / "e2e" / "observe"
NAMES = ("plates-1", "plates-2")


def run(scenario: Scenario) -> None:
    """The scenario."""
    subprocess.run([ROOT / "hack" / "promtool", "--version"], check=True, capture_output=True, timeout=600)
    scenario.fresh_namespace()
    scenario.make_dataset()
    OUT.mkdir(parents=True, exist_ok=True)
    with (
        forwarded("deploy/yolo-operator", 8080) as port,
        Prometheus(OUT / "prometheus", {"yolo-operator": f"127.0.0.1:{port}"}, interval="2s") as prometheus,
    ):
        start = time.time()
        for name in NAMES:
            experiment = small_experiment(name)
            # The same name label: the second is compared with the first.
            experiment["metadata"]["labels"] = {"app.kubernetes.io/name": "plates"}
            scenario.apply(experiment)
            time.sleep(2)
        for name in NAMES:
            scenario.check(condition(scenario.wait(name, ended, seconds=900), "Complete"), f"{name} is complete")
        time.sleep(12)
        check_panels(scenario, prometheus, start)
        rules = prometheus.rules()
        scenario.check(len(rules) > 0 and all(rule["health"] == "ok" for rule in rules), f"all {len(rules)} alerts are evaluated")
        # What the cluster did before (a restart of the operator, say) may well raise the operator's own alerts.
        speaking = [rule for rule in rules for alert in rule["alerts"] if alert["labels"].get("namespace") == scenario.namespace]
        firing = {rule["name"] for rule in speaking}
        scenario.check(not firing, f"no alert speaks of these experiments ({firing or 'none'})")
    check_plugin(scenario, scenario.get("yexp", NAMES[0]))


def check_panels(scenario: Scenario, prometheus: Prometheus, start: float) -> None:
    """Ask every query, list it with its number of samples, draw it."""
    end = time.time()
    step = max(2.0, (end - start) / 300)
    asked = list(queries(namespace=scenario.namespace, rate_interval="20s"))
    answers = [(query, prometheus.range(query.expression, start, end, step)) for query in asked]
    scenario.facts["panels"] = [
        {"dashboard": query.dashboard, "panel": query.panel, "query": query.expression, "samples": samples(series)}
        for query, series in answers
    ]
    for dashboard in dict.fromkeys(query.dashboard for query in asked):
        by_panel: dict[str, list[tuple[Query, list[dict[str, Any]]]]] = {}
        for query, series in answers:
            if query.dashboard == dashboard and not query.panel.startswith(("annotation", "variable")):
                by_panel.setdefault(query.panel, []).append((query, series))
        html = OUT / f"{dashboard.lower().replace(' ', '-')}.html"
        html.write_text(page(dashboard, by_panel, start), encoding="utf-8")
        scenario.facts.setdefault("pictures", []).append(str((picture(html) or html).relative_to(ROOT)))
    empty = {query.panel for query, series in answers if not samples(series)}
    scenario.check(not empty, f"each of {len(answers)} queries returned samples ({sorted(empty) or 'all'})")


def check_plugin(scenario: Scenario, experiment: Object) -> None:
    """What the command line reads from the workspace of an experiment that has ended."""
    name = experiment["metadata"]["name"]
    log = yolo(scenario, "logs", name, "--stage", "train")
    scenario.check("running: yolo_v4 train" in log, "logs: all that the training said")
    target = OUT / "fetched"
    yolo(scenario, "fetch", name, "--artifact", "export:model", "-o", str(target))
    artifact = stages(experiment)["export"]["artifacts"][0]
    fetched = target / Path(artifact["path"]).name
    scenario.check(fetched.stat().st_size == artifact["bytes"], f"fetch: {fetched.name}, {artifact['bytes']} bytes, verified")
    html = OUT / "report.html"
    yolo(scenario, "report", name, "-o", str(html))
    text = html.read_text()
    number = f"{experiment['status']['mAP']:.4f}"
    scenario.check(
        number in text and "train, epoch 1: " in text and "data:image/" in text, f"report: mAP {number}, curves, pictures"
    )
    compared = json.loads(yolo(scenario, "compare", *NAMES, "-o", "json", "--plot", str(OUT / "compare.html")))
    scenario.check(
        {row["name"] for row in compared["spec"]} == {"workspace.subPath"}, "compare: they differ in the directory alone"
    )
    left = scenario.get("pods", selector="app.kubernetes.io/component=workspace-reader")["items"]
    scenario.check(not [pod for pod in left if not pod["metadata"].get("deletionTimestamp")], "no reading pod is left")


def yolo(scenario: Scenario, *arguments: str) -> str:
    """`kubectl yolo …` in the scenario's namespace; what it prints."""
    command = [sys.executable, "-m", "yolo_operator.cli.main", arguments[0], "-n", scenario.namespace, *arguments[1:]]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "operator")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    scenario.check(done.returncode == 0, f"kubectl yolo {' '.join(arguments)}: {done.stderr.strip() or 'ok'}")
    return done.stdout


@contextmanager
def forwarded(what: str, port: int) -> Iterator[int]:
    """A local port that leads to a port of the operator."""
    local = free_port()
    command = ["kubectl", "--namespace", OPERATOR_NAMESPACE, "port-forward", what, f"{local}:{port}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        if "Forwarding" not in said:
            raise subprocess.SubprocessError(f"port-forward: {said.strip()}")
        yield local
    finally:
        process.terminate()
        process.wait(timeout=10)
