"""Thresholds are edited after the end: only the new variants, and what their choice changes, run."""

from __future__ import annotations

import json

from harness import Object, Scenario, condition, ended, small_experiment, stages

NAME = "rethreshold"
BEFORE_PRUNING = ("prepare", "anchors", "train", "evaluate")


def run(scenario: Scenario) -> None:
    """The scenario."""
    scenario.fresh_namespace()
    scenario.make_dataset()
    first = small_experiment(NAME)
    first["spec"]["prune"] = {"thresholds": [0.1, 0.7], "select": {"threshold": 0.1}}
    scenario.apply(first)
    before = scenario.wait(NAME, ended, seconds=900)
    scenario.check(condition(before, "Complete"), "the first sweep is complete")
    jobs = scenario.stage_jobs()

    _edit(scenario, {"thresholds": [0.1, 0.3, 0.7], "select": {"threshold": 0.1}})
    after = scenario.wait(NAME, ended, seconds=300)
    scenario.check(condition(after, "Complete"), "a third threshold, same choice: complete again")
    new = scenario.stage_jobs() - jobs
    ran = sorted(_stage(name) for name in new)
    scenario.facts["ranForAnotherThreshold"] = ran
    scenario.check(ran == ["evaluate-pruned-0-3", "prune-0-3"], f"only the new variant ran: {ran}")
    _untouched(scenario, before, after, [name for name in stages(before) if name in stages(after)])

    jobs |= new
    _edit(scenario, {"thresholds": [0.1, 0.3, 0.7], "select": {"threshold": 0.3}})
    chosen = scenario.wait(NAME, ended, seconds=600)
    scenario.check(condition(chosen, "Complete"), "another choice: complete again")
    ran = sorted(_stage(name) for name in scenario.stage_jobs() - jobs)
    scenario.facts["ranForAnotherChoice"] = ran
    expected = ["evaluate-exported", "evaluate-retrained", "export", "inference", "retrain"]
    scenario.check(ran == expected, f"only what follows the choice ran: {ran}")
    scenario.check(chosen["status"]["chosen"]["variant"] == "0.3", "0.3 is chosen")
    _untouched(scenario, before, chosen, list(BEFORE_PRUNING))


def _edit(scenario: Scenario, prune: Object) -> None:
    """As `kubectl edit` would."""
    scenario.kubectl("patch", "yexp", NAME, "--type=merge", "-p", json.dumps({"spec": {"prune": prune}}))


def _stage(job: str) -> str:
    """`rethreshold-prune-0-3-1a2b3c4d-1` as `prune-0-3`."""
    return job.removeprefix(f"{NAME}-").rsplit("-", 2)[0]


def _untouched(scenario: Scenario, before: Object, after: Object, names: list[str]) -> None:
    old, new = stages(before), stages(after)
    same = all(old[name][part] == new[name][part] for name in names for part in ("digest", "attempt", "finishTime"))
    scenario.check(same, f"as they were: {', '.join(names)}")
