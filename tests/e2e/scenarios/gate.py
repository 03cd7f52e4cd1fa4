"""A gate that a model does not meet ends the experiment with the numbers; opened, it goes on where it stopped."""

from __future__ import annotations

import json

from harness import Object, Scenario, condition, ended, small_experiment, stages

NAME = "gate"
LATER = ("prune 0.1", "evaluate-pruned 0.1", "retrain", "evaluate-retrained", "export", "evaluate-exported", "inference")


def run(scenario: Scenario) -> None:
    """The scenario."""
    scenario.fresh_namespace()
    scenario.make_dataset()
    experiment = small_experiment(NAME)
    experiment["spec"]["prune"] = {"thresholds": [0.1], "select": {"threshold": 0.1}}
    experiment["spec"]["gates"] = {"train": {"minMap": 0.999}}
    scenario.apply(experiment)
    closed = scenario.wait(NAME, ended, seconds=600)
    check_closed(scenario, closed)

    scenario.kubectl("patch", "yexp", NAME, "--type=merge", "-p", json.dumps({"spec": {"gates": {"train": {"minMap": 0.2}}}}))
    opened = scenario.wait(NAME, ended, seconds=600)
    scenario.check(condition(opened, "Complete"), f"with the gate at 0.2 it went on to the end ({opened['status']['message']})")
    old, new = stages(closed), stages(opened)
    kept = [name for name in ("prepare", "anchors", "train", "evaluate") if old[name]["finishTime"] == new[name]["finishTime"]]
    scenario.check(len(kept) == 4, "nothing before the gate ran again")


def check_closed(scenario: Scenario, experiment: Object) -> None:
    """The right end: the reason, the numbers, nothing behind the gate, everything before it kept."""
    status, found = experiment["status"], stages(experiment)
    failed = next(c for c in status["conditions"] if c["type"] == "Failed")
    measured = found["evaluate"]["metrics"]["mAP"]
    scenario.facts["closed"] = {"reason": failed["reason"], "message": failed["message"], "mAP": measured}
    scenario.check(status["phase"] == "Failed" and failed["reason"] == "GateClosed", f"Failed: {failed['reason']}")
    numbers = f"{measured:.4f}"[:6]
    scenario.check("0.999" in failed["message"] and numbers[:5] in failed["message"], f"with the numbers: {failed['message']}")
    scenario.check(all(found[name]["state"] == "Skipped" for name in LATER), "no later stage ran")
    jobs = scenario.stage_jobs()
    scenario.check(len(jobs) == 4, f"{len(jobs)} Jobs were made")
    scenario.check(scenario.is_told(NAME, "GateClosed"), "an Event says GateClosed")
    path = found["train"]["artifacts"][0]["path"]
    there = scenario.in_workspace(f"import os; print(os.path.getsize('/data/experiments/{NAME}/{path}'))")
    scenario.check(int(there) == found["train"]["artifacts"][0]["bytes"], f"the checkpoint is kept: {path}")
