"""spec.suspend is true for 30 s in the middle of the training: nothing runs, then it goes on from its last checkpoint."""

from __future__ import annotations

import json
import time

from harness import Object, Scenario, condition, ended, stages

from scenarios.evict import EPOCHS, INTERVAL, epoch_of, training_experiment

NAME = "suspend"
SUSPEND_AT = 7
"""Epoch during which it is suspended: behind the checkpoint of 4."""
SECONDS = 30

_EPOCHS = """
import json, pathlib, re
(stage,) = pathlib.Path('/data/experiments/suspend/stages').glob('train-*')
text = [log.read_text(errors='replace') for log in sorted(stage.glob('logs/attempt-*.log'))]
print(json.dumps([[int(n) for n in re.findall(r'^Epoch (\\d+)/\\d+\\s*$', log, re.M)] for log in text]))
"""


def run(scenario: Scenario) -> None:
    """The scenario."""
    scenario.fresh_namespace()
    scenario.make_dataset()
    scenario.apply(training_experiment(NAME))
    scenario.wait(NAME, lambda e: epoch_of(e, scenario) >= SUSPEND_AT, seconds=600)
    suspend(scenario, True)
    held = scenario.wait(NAME, lambda e: e["status"]["phase"] == "Suspended", seconds=90)
    scenario.check(condition(held, "Suspended") and not condition(held, "Stalled"), "the condition Suspended is true")
    scenario.check(stages(held)["train"]["state"] == "Suspended", "the training is Suspended")
    scenario.check(stages(held)["prepare"]["state"] == "Succeeded", "what was done stays done")
    check_nothing_runs(scenario)
    suspend(scenario, False)
    experiment = scenario.wait(NAME, ended, seconds=900)
    check_result(scenario, experiment)


def suspend(scenario: Scenario, value: bool) -> None:
    """As a person would."""
    scenario.kubectl("patch", "yexp", NAME, "--type=merge", "-p", json.dumps({"spec": {"suspend": value}}))
    scenario.check(True, f"spec.suspend is {str(value).lower()}")


def check_nothing_runs(scenario: Scenario) -> None:
    """Neither Job nor pod of the training, from the first to the last of these seconds."""
    end = time.monotonic() + SECONDS
    selector = "yolo-operator.dev/stage=train"
    while time.monotonic() < end:
        live = scenario.get("jobs,pods", selector=selector)["items"]
        if live:
            scenario.check(False, f"nothing of the training is left: {[o['metadata']['name'] for o in live]}")
        time.sleep(3)
    scenario.check(True, f"for {SECONDS} s there is neither Job nor pod of the training")


def check_result(scenario: Scenario, experiment: Object) -> None:
    """It went on, and nothing was counted as a failure."""
    train = stages(experiment)["train"]
    scenario.check(condition(experiment, "Complete"), f"the experiment is complete: {experiment['status'].get('message')}")
    scenario.check((train["attempt"], train["failures"]) == (2, 0), "the second attempt went on; no failure was counted")
    resumed = train.get("resumedFromEpoch")
    scenario.check(resumed is not None and resumed >= INTERVAL, f"it resumed from the checkpoint of epoch {resumed}")
    first, second = json.loads(scenario.in_workspace(_EPOCHS))
    scenario.facts["epochs"] = {"first": first, "second": second}
    scenario.check(second == list(range(resumed + 1, EPOCHS + 1)), f"the second attempt trained epochs {resumed + 1} to {EPOCHS}")
    total = len(first) + len(second)
    scenario.check(total <= EPOCHS + INTERVAL, f"{total} epochs were trained in all, at most {EPOCHS + INTERVAL}")
