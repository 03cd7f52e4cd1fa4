"""An experiment starts from another one's finished stages: nothing of them runs again, and both stand on their own afterwards."""

from __future__ import annotations

import json

from harness import Object, Scenario, condition, ended, small_experiment, stages

SHARED = ("prepare", "anchors", "train", "evaluate")


def run(scenario: Scenario) -> None:
    """The scenario."""
    scenario.fresh_namespace()
    scenario.make_dataset()
    base = _without_pruning("base")
    scenario.apply(base)
    first = scenario.wait("base", ended, seconds=600)
    scenario.check(condition(first, "Complete"), "the base experiment is complete")

    branch = small_experiment("branch")
    branch["spec"]["prune"] = {"thresholds": [0.1], "select": {"threshold": 0.1}}
    for name in ("retrain", "export", "inference"):
        branch["spec"].pop(name)
    branch["spec"]["from"] = {"experiment": "base"}
    scenario.apply(branch)
    second = scenario.wait("branch", ended, seconds=300)
    check_shared(scenario, first, second)

    # Deleting the base takes nothing from the branch: the artifacts are its own.
    scenario.kubectl("delete", "yexp", "base", "--timeout=60s")
    scenario.in_workspace("import shutil; shutil.rmtree('/data/experiments/base')")
    scenario.kubectl("patch", "yexp", "branch", "--type=merge", "-p", json.dumps(
        {"spec": {"from": None, "prune": {"thresholds": [0.1, 0.5], "select": {"threshold": 0.5}}}}
    ))  # fmt: skip
    third = scenario.wait("branch", ended, seconds=300)
    scenario.check(condition(third, "Complete"), f"without the base it goes on ({third['status']['message']})")

    # Another training has another digest: it is trained, not taken.
    other = _without_pruning("other")
    other["spec"]["from"] = {"experiment": "branch"}
    other["spec"]["experimentSpec"]["trainingConfig"]["numEpochs"] = 2
    other["spec"]["experimentSpec"]["trainingConfig"]["checkpointInterval"] = 1
    scenario.apply(other)
    last = stages(scenario.wait("other", ended, seconds=600))
    scenario.check(not last["train"].get("reused"), "a changed training was trained")
    scenario.check(bool(last["prepare"].get("reused")) and bool(last["anchors"].get("reused")), "what stayed the same was taken")


def check_shared(scenario: Scenario, first: Object, second: Object) -> None:
    """The same results, copied, by Jobs that asked for no GPU."""
    scenario.check(condition(second, "Complete"), f"the branch is complete ({second['status']['message']})")
    old, new = stages(first), stages(second)
    scenario.check(all(new[name].get("reused") for name in SHARED), f"taken over: {', '.join(SHARED)}")
    scenario.check(all(old[name]["digest"] == new[name]["digest"] for name in SHARED), "by equal digests")
    sums = {name: [artifact["sha256"] for artifact in new[name].get("artifacts", [])] for name in SHARED}
    scenario.check(
        all(sums[name] == [artifact["sha256"] for artifact in old[name].get("artifacts", [])] for name in SHARED),
        "the artifacts are the same files",
    )
    scenario.check(not new["prune 0.1"].get("reused"), "pruning ran")
    jobs = scenario.get("jobs", selector="yolo-operator.dev/experiment=branch,yolo-operator.dev/stage=train")["items"]
    limits = [job["spec"]["template"]["spec"]["containers"][0]["resources"].get("limits", {}) for job in jobs]
    scenario.check(len(jobs) == 1 and "nvidia.com/gpu" not in limits[0], "no GPU was asked for to copy a checkpoint")
    scenario.facts["why"] = {name: new[name].get("why") for name in new}


def _without_pruning(name: str) -> Object:
    experiment = small_experiment(name)
    for part in ("prune", "retrain", "export", "inference"):
        experiment["spec"].pop(part)
    return experiment
