"""A queue takes the GPU away in the middle of the training and gives it back: no failure, the same attempt, the last checkpoint.

The queue is played by what Kueue does to a Job, flipping `suspend`; what that does to the pod is the work of the real Job
controller and kubelet.
"""

from __future__ import annotations

import json
import time

from harness import Object, Scenario, condition, ended, stages

from scenarios.evict import EPOCHS, INTERVAL, epoch_of, training_experiment

NAME = "preempt"
PREEMPT_AT = 7
"""Epoch during which the queue suspends the Job: behind the checkpoint of 4."""

_EPOCHS = """
import json, pathlib, re
(stage,) = pathlib.Path('/data/experiments/preempt/stages').glob('train-*')
(log,) = stage.glob('logs/attempt-*.log')
print(json.dumps([int(n) for n in re.findall(r'^Epoch (\\d+)/\\d+\\s*$', log.read_text(errors='replace'), re.M)]))
"""


def run(scenario: Scenario) -> None:
    """The scenario."""
    scenario.fresh_namespace()
    scenario.make_dataset()
    experiment = training_experiment(NAME)
    experiment["spec"]["queueName"] = "gpus"
    scenario.apply(experiment)
    running = scenario.wait(NAME, lambda e: epoch_of(e, scenario) >= PREEMPT_AT, seconds=600)
    job = stages(running)["train"]["job"]
    labels = scenario.get("job", job)["metadata"]["labels"]
    scenario.check(labels.get("kueue.x-k8s.io/queue-name") == "gpus", "the training's Job carries the queue's name")
    flip(scenario, job, True)
    held = scenario.wait(NAME, lambda e: e["status"]["phase"] == "Queued" and not pods(scenario), seconds=90)
    train = stages(held)["train"]
    scenario.check((train["state"], train["reason"]) == ("Queued", "Preempted"), f"Queued, Preempted: {train['message']}")
    scenario.check(not condition(held, "Stalled") and not condition(held, "Failed"), "nobody is called for it")
    time.sleep(10)
    generation = scenario.get("job", job)["metadata"]["generation"]
    flip(scenario, job, False)
    check_result(scenario, scenario.wait(NAME, ended, seconds=900), job)
    scenario.facts["jobGeneration"] = generation
    scenario.check(generation == 2, "nobody but the queue wrote to the Job while it was held")


def flip(scenario: Scenario, job: str, value: bool) -> None:
    """As Kueue does."""
    scenario.kubectl("patch", "job", job, "--type=merge", "-p", json.dumps({"spec": {"suspend": value}}))
    scenario.check(True, f"the queue {'suspends' if value else 'admits'} {job}")


def pods(scenario: Scenario) -> list[Object]:
    """Pods of the training."""
    return list(scenario.get("pods", selector="yolo-operator.dev/stage=train")["items"])


def check_result(scenario: Scenario, experiment: Object, job: str) -> None:
    """It went on as the same attempt."""
    train = stages(experiment)["train"]
    scenario.check(condition(experiment, "Complete"), f"the experiment is complete: {experiment['status'].get('message')}")
    scenario.check((train["attempt"], train["failures"]) == (1, 0), "the same attempt, and no failure")
    scenario.check(
        bool(scenario.get("job", job)["metadata"]["labels"].get("yolo-operator.dev/final")), f"{job} ended as recorded"
    )
    resumed = train.get("resumedFromEpoch")
    scenario.check(resumed is not None and resumed >= INTERVAL, f"it resumed from the checkpoint of epoch {resumed}")
    epochs = json.loads(scenario.in_workspace(_EPOCHS))
    scenario.facts["epochs"] = epochs
    scenario.check(sorted(set(epochs)) == list(range(1, EPOCHS + 1)), "no epoch was left out")
    scenario.check(len(epochs) <= EPOCHS + INTERVAL, f"{len(epochs)} epochs were trained in all, at most {EPOCHS + INTERVAL}")
