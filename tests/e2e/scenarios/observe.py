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
from panel_pictures import page, picture
from panels import Prometheus, Query, free_port, queries, samples

OUT = ROOT / "build" / "e2e" / "observe"
NAMES = ("plates-1", "plates-2")
EDITOR = ROOT / "build" / "e2e" / "editor.kubeconfig"
REPORT_JOBS = "app.kubernetes.io/component=report,yolo-operator.dev/experiment"


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
        for number, name in enumerate(NAMES):
            experiment = small_experiment(name)
            # The same name label: the second is compared with the first, from which it takes over all that is the same.
            experiment["metadata"]["labels"] = {"app.kubernetes.io/name": "plates"}
            if number:
                experiment["spec"] |= {"from": {"experiment": NAMES[0]}, "inference": {"threshold": 0.25}}
            scenario.apply(experiment)
            scenario.check(condition(scenario.wait(name, ended, seconds=1800), "Complete"), f"{name} is complete")
        time.sleep(12)
        check_panels(scenario, prometheus, start)
        rules = prometheus.rules()
        scenario.check(len(rules) > 0 and all(rule["health"] == "ok" for rule in rules), f"all {len(rules)} alerts are evaluated")
        # What the cluster did before (a restart of the operator, say) may well raise the operator's own alerts.
        speaking = [rule for rule in rules for alert in rule["alerts"] if alert["labels"].get("namespace") == scenario.namespace]
        firing = {rule["name"] for rule in speaking}
        scenario.check(not firing, f"no alert speaks of these experiments ({firing or 'none'})")
    experiment = scenario.get("yexp", NAMES[0])
    become_editor(scenario)
    check_plugin(scenario, experiment)
    check_reports(scenario, experiment)
    check_commands(scenario)


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
    compared = json.loads(yolo(scenario, "compare", *NAMES, "-o", "json", "--plot", str(OUT / "compare.html")))
    differ = {row["name"] for row in compared["spec"]}
    scenario.check(differ == {"workspace.subPath", "from.experiment", "inference.threshold"}, f"compare: they differ in {differ}")
    left = scenario.get("pods", selector="app.kubernetes.io/component=workspace-reader")["items"]
    scenario.check(not [pod for pod in left if not pod["metadata"].get("deletionTimestamp")], "no reading pod is left")


def become_editor(scenario: Scenario) -> None:
    """From here on the plugin is somebody who has the role `edit` in this namespace and nothing else."""
    scenario.kubectl("create", "serviceaccount", "editor")
    scenario.kubectl("create", "rolebinding", "editor", "--clusterrole=edit", f"--serviceaccount={scenario.namespace}:editor")
    config = json.loads(scenario.kubectl("config", "view", "--raw", "--minify", "-o", "json"))
    config["users"] = [{"name": "editor", "user": {"token": scenario.kubectl("create", "token", "editor").strip()}}]
    config["contexts"][0]["context"] |= {"user": "editor", "namespace": scenario.namespace}
    EDITOR.write_text(json.dumps(config))
    EDITOR.chmod(0o600)
    denied = yolo(scenario, "list", "-A", code=1)
    scenario.check("cannot list resource" in denied, f"an editor of one namespace does not see others: {denied.strip()}")


def check_commands(scenario: Scenario) -> None:
    """Every command that talks to the cluster, with the rights of an editor."""
    name = NAMES[0]
    for command in ("list", "status", "summary", "watch"):
        for output in ("table", "json", "yaml"):
            yolo(scenario, command, *([] if command == "list" else [name]), "-o", output)
    yolo(scenario, "rerun", name, "--from", "inference", "-o", "json")
    running = scenario.wait(name, lambda found: stages(found)["inference"]["state"] == "Running", seconds=180)
    followed = yolo(scenario, "logs", name, "--stage", "inference", "--follow")
    whole = yolo(scenario, "logs", name, "--stage", "inference")
    said = [line for line in followed.splitlines() if line.startswith("running: ")]
    scenario.check(len(said) == 1 and said[0] in whole, "logs --follow: what inference said, to its end")
    why = stages(running)["inference"]["why"]
    scenario.check(
        why in yolo(scenario, "status", name) and why in yolo(scenario, "summary", name), f"both tables say why: {why}"
    )
    for command in ("suspend", "resume"):
        yolo(scenario, command, name)
    yolo(scenario, "retry", name, code=None)
    # There is nothing to cancel in what is complete.
    yolo(scenario, "rerun", name, "--from", "inference")
    scenario.wait(name, lambda found: found["status"]["phase"] == "Running", seconds=120)
    yolo(scenario, "cancel", name)
    yolo(scenario, "resume", name)
    scenario.check(condition(scenario.wait(name, ended, seconds=300), "Complete"), "it is complete again")


def check_reports(scenario: Scenario, experiment: Object) -> None:
    """Both pages, the command's and the one that the operator left in the workspace, say what the status says."""
    name, status = experiment["metadata"]["name"], experiment["status"]
    html, left = OUT / "report.html", OUT / "report-workspace.html"
    yolo(scenario, "report", name, "-o", str(html))
    scenario.kubectl("wait", "--for=condition=Complete", "job", "--timeout=120s", f"--selector={REPORT_JOBS}={name}")
    place = f"/data/experiments/{name}/stages/report.html"
    left.write_text(scenario.in_workspace(f"print(open({place!r}, encoding='utf-8').read(), end='')"))
    artifacts = [item["sha256"] for stage in status["stages"] for item in stage.get("artifacts", ())]
    images = [stage["image"] for stage in status["stages"]]
    precisions = [stages(experiment)[stage]["metrics"]["AP"] for stage in ("evaluate", "evaluate-retrained", "evaluate-exported")]
    numbers = [f"{value:.5f}" for classes in precisions for value in classes.values()]
    numbers += [f"{status['mAP']:.4f}", *(f"{row['mAP']:.5f}" for row in status["variants"])]
    numbers += [f"{row['parameterRatio']:.4f}" for row in status["variants"]]
    for file in (html, left):
        text = file.read_text()
        missing = [said for said in (*artifacts, *images, *numbers) if said not in text]
        curves = all(f"{stage}, epoch 1: " in text for stage in ("train", "retrain"))
        pictures = text.count("data:image/")
        what = f"{file.name}: {len(numbers)} numbers, {len(artifacts) + len(images)} digests, {pictures} pictures"
        scenario.check(not missing and curves and pictures > 0, f"{what} ({', '.join(missing[:3]) or 'all there'})")
    for dark in (False, True):
        scenario.facts["pictures"].append(str((picture(html, dark=dark) or html).relative_to(ROOT)))


def yolo(scenario: Scenario, *arguments: str, code: int | None = 0) -> str:
    """`kubectl yolo …` in the scenario's namespace as its editor; what it prints. `code` None: whatever it has to say."""
    command = [sys.executable, "-m", "yolo_operator.cli.main", arguments[0], "-n", scenario.namespace, *arguments[1:]]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "operator"), "KUBECONFIG": str(EDITOR)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)
    what = f"kubectl yolo {' '.join(arguments)}: {done.stderr.strip() or 'ok'}"
    scenario.check(code in (done.returncode, None) and "Forbidden" not in what and "Traceback" not in what, what)
    return done.stdout if code == 0 else done.stdout + done.stderr


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
