"""The training's pod is evicted in the middle: it goes on from its last checkpoint and ends as good as an undisturbed one."""

from __future__ import annotations

import json
from typing import Any

from harness import Object, Scenario, condition, ended, small_experiment, stages

EPOCHS, INTERVAL = 20, 4
EVICT_AT = 11
"""Epoch during which the pod is evicted: behind the checkpoints of 4 and 8, before that of 12."""
TOLERANCE = 0.02
"""mAP that an interrupted training may lie beside an undisturbed one."""

_EPOCHS = """
import json, pathlib, re, sys
found = {}
for name in NAMES:
    (stage,) = pathlib.Path('/data/experiments', name, 'stages').glob('train-*')
    logs = sorted(stage.glob('logs/attempt-*.log'))
    started = [int(m) for log in logs for m in re.findall(r'^Epoch (\\d+)/\\d+\\s*$', log.read_text(errors='replace'), re.M)]
    found[name] = {'logs': [log.name for log in logs], 'epochs': started}
print(json.dumps(found))
"""


def run(scenario: Scenario) -> None:
    """The scenario."""
    scenario.fresh_namespace()
    scenario.make_dataset()
    scenario.apply(training_experiment("calm"))
    calm = scenario.wait("calm", ended, seconds=900)
    scenario.check(condition(calm, "Complete"), "the undisturbed experiment is complete")
    scenario.apply(training_experiment("evicted"))
    scenario.wait("evicted", lambda e: epoch_of(e, scenario) >= EVICT_AT, seconds=600)
    pod = training_pod(scenario, "evicted")
    evict(scenario, pod["metadata"]["name"])
    experiment = scenario.wait("evicted", ended, seconds=900)
    train = stages(experiment)["train"]
    scenario.check(
        condition(experiment, "Complete"), f"the evicted experiment is complete: {experiment['status'].get('message')}"
    )
    scenario.check(train["failures"] == 0, "the eviction counts for nothing")
    resumed = train.get("resumedFromEpoch")
    # A toolkit that hears the signal may have saved a later epoch than that of the last interval.
    scenario.check(resumed is not None and resumed >= 8, f"the training resumed from the checkpoint of epoch {resumed}")
    check_same_quality(scenario, calm, experiment)
    check_epochs(scenario, "calm", "evicted")


def training_experiment(name: str) -> Object:
    """Training and its evaluation alone, long enough to be interrupted."""
    experiment = small_experiment(name)
    for field in ("prune", "retrain", "export", "inference"):
        experiment["spec"].pop(field)
    experiment["spec"]["experimentSpec"]["trainingConfig"] |= {"numEpochs": EPOCHS, "checkpointInterval": INTERVAL}
    return experiment


def epoch_of(experiment: Object, scenario: Scenario) -> int:
    """The epoch that the training is in, from its pod's own log: status tells it only now and then."""
    if stages(experiment).get("train", {}).get("state") != "Running":
        return 0
    name = experiment["metadata"]["name"]
    selector = f"yolo-operator.dev/experiment={name},yolo-operator.dev/stage=train"
    log = scenario.kubectl("logs", "-l", selector, "--tail=60", check=False)
    lines = [line for line in log.splitlines() if line.startswith('{"yoloProgress"')]
    try:
        return int(json.loads(lines[-1])["yoloProgress"].get("epoch") or 0) if lines else 0
    except ValueError:
        return 0


def training_pod(scenario: Scenario, name: str) -> Object:
    """The pod that trains now."""
    selector = f"yolo-operator.dev/experiment={name},yolo-operator.dev/stage=train"
    running = [pod for pod in scenario.get("pods", selector=selector)["items"] if pod["status"]["phase"] == "Running"]
    scenario.check(len(running) == 1, f"one pod of {name} trains")
    return dict(running[0])


def evict(scenario: Scenario, pod: str) -> None:
    """As `kubectl drain` does, by the eviction API."""
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": scenario.namespace}}
    path = f"/api/v1/namespaces/{scenario.namespace}/pods/{pod}/eviction"
    scenario.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(body))
    scenario.check(True, f"evicted {pod}")


def check_same_quality(scenario: Scenario, calm: Object, disturbed: Object) -> None:
    """The evaluations agree."""
    maps = [stages(experiment)["evaluate"]["metrics"]["mAP"] for experiment in (calm, disturbed)]
    scenario.facts["mAP"] = dict(zip(("undisturbed", "disturbed"), maps, strict=True))
    scenario.check(min(maps) > 0.3, f"both learned something: {maps}")
    scenario.check(abs(maps[0] - maps[1]) <= TOLERANCE, f"mAP {maps[1]} lies within {TOLERANCE} of {maps[0]}")


def check_epochs(scenario: Scenario, calm: str, disturbed: str) -> None:
    """Epochs that were begun, counted from the attempts' logs in the workspace."""
    found: dict[str, Any] = json.loads(scenario.in_workspace(_EPOCHS.replace("NAMES", repr([calm, disturbed]))))
    scenario.facts["epochs"] = found
    once, again = found[calm]["epochs"], found[disturbed]["epochs"]
    scenario.check(once == list(range(1, EPOCHS + 1)), f"undisturbed: epochs 1 to {EPOCHS}, once each")
    scenario.check(sorted(set(again)) == list(range(1, EPOCHS + 1)), "disturbed: no epoch was left out")
    scenario.check(len(again) > EPOCHS, f"disturbed: some were trained again: {len(again)} in all")
    most = EPOCHS + INTERVAL
    scenario.check(len(again) <= most, f"disturbed: {len(again)} epochs were trained in all, at most {most}")
