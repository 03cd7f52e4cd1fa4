"""An experiment in Git, followed by the real Argo CD: health at every step, no drift, edits, a gate, a removal."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable

from gitops import ArgoCd, Repository, argo_cd
from harness import CLAIM, GENERATOR, ROOT, Failure, Object, Scenario, claim, job, small_experiment, stages

NAME = "plates"
OUT = ROOT / "build" / "e2e" / "argocd"
GENERATIONS = "{.metadata.generation} {.status.observedGeneration}"
WAVE = "argocd.argoproj.io/sync-wave"


def run(scenario: Scenario) -> None:
    """The scenario."""
    scenario.fresh_namespace()
    repository = Repository.fresh(OUT / "repository")
    with argo_cd(OUT) as argo:
        argo.application(scenario.name, repository, scenario.namespace)
        try:
            story(scenario, argo, repository)
        finally:
            argo.remove(scenario.name)


def story(scenario: Scenario, argo: ArgoCd, repository: Repository) -> None:
    """From the first commit to the last."""
    experiment = _experiment()
    repository.commit("A dataset and an experiment", dataset=_dataset(), experiment=[experiment])
    seen = _until(scenario, argo, "the first run", lambda health, _: health == "Healthy", seconds=420)
    training = [text for health, text in seen if health == "Progressing" and "train" in text]
    scenario.check(bool(training), f"while it trained: Progressing: {training[-1] if training else seen}")
    scenario.check(any("%" in text for text in training), "with the percentage")
    order = _creation_order(scenario)
    scenario.check(
        order["dataset-ended"] <= order["experiment"], "the experiment came in its wave, after the dataset's Job had ended"
    )

    jobs = scenario.stage_jobs()
    experiment["spec"]["prune"] = {"thresholds": [0.1, 0.5], "select": {"threshold": 0.1}}
    repository.commit("Another threshold", experiment=[experiment])
    _until(scenario, argo, "another threshold", _healthy_with(scenario, "evaluate-pruned 0.5"), seconds=240)
    ran = sorted(name.removeprefix(f"{NAME}-").rsplit("-", 2)[0] for name in scenario.stage_jobs() - jobs)
    scenario.check(ran == ["evaluate-pruned-0-5", "prune-0-5"], f"only pruning ran: {ran}")

    experiment["spec"]["gates"] = {"train": {"minMap": 0.999}}
    repository.commit("A gate that nothing passes", experiment=[experiment])
    seen = _until(scenario, argo, "a closed gate", lambda health, _: health == "Degraded", seconds=120)
    scenario.check("GateClosed" in seen[-1][1], f"Degraded with the reason: {seen[-1][1]}")

    del experiment["spec"]["gates"]
    experiment["spec"] |= {"suspend": True, "prune": {"thresholds": [0.1, 0.5, 0.7], "select": {"threshold": 0.1}}}
    repository.commit("Suspended, with a third threshold", experiment=[experiment])
    _until(scenario, argo, "suspended", lambda health, _: health == "Suspended", seconds=120)
    experiment["spec"]["suspend"] = False
    repository.commit("Going on", experiment=[experiment])
    _until(scenario, argo, "going on", _healthy_with(scenario, "evaluate-pruned 0.7"), seconds=240)

    repository.commit("The experiment is taken out", experiment=None)
    argo.refresh(scenario.name)
    scenario.kubectl("wait", "--for=delete", f"yexp/{NAME}", "--timeout=120s", timeout=130)
    scenario.kubectl(
        "wait", "--for=delete", "job", "-l", "app.kubernetes.io/managed-by=yolo-operator", "--timeout=60s", check=False
    )
    scenario.check(not scenario.stage_jobs(), "taken out of Git, the experiment and its Jobs are gone")
    kept = scenario.in_workspace(f"import os; print(os.listdir('/data/experiments/{NAME}'))")
    scenario.check("stages" in kept, "its artifacts are kept")


def _experiment() -> Object:
    """Training and one pruned variant, in the wave after the dataset."""
    experiment = copy.deepcopy(small_experiment(NAME))
    for part in ("retrain", "export", "inference"):
        experiment["spec"].pop(part)
    experiment["spec"]["prune"] = {"thresholds": [0.1], "select": {"threshold": 0.1}}
    experiment["metadata"]["annotations"] = {WAVE: "1"}
    return experiment


def _dataset() -> list[Object]:
    """The claim, the generator, and the Job that draws the images: wave 0."""
    arguments = ["--output", "/data/dataset", "--size", "160x120", "--seed", "7"]
    arguments += ["--train", "120", "--validation", "30", "--test", "6"]
    source = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "generator"},
        "data": {"generate.py": GENERATOR.read_text()},
    }
    command = ["python3", "/generator/generate.py", *arguments]
    return [claim(CLAIM), source, job("dataset", command, volumes={"generator": {"configMap": {"name": "generator"}}})]


def _until(
    scenario: Scenario, argo: ArgoCd, step: str, holds: Callable[[str, str], bool], *, seconds: float
) -> list[tuple[str, str]]:
    """Wait until its health is such and Git and cluster agree; each different health on the way, with its message."""
    argo.refresh(scenario.name)
    end, seen, commit = time.monotonic() + seconds, [], ""
    while time.monotonic() < end:
        status = argo.read(scenario.name).get("status", {})
        commit = status.get("sync", {}).get("status", "")
        health, text = _health(status)
        if (health, text) != (seen[-1] if seen else None) and health:
            seen.append((health, text))
            print(f"  [{time.strftime('%H:%M:%S')}] {commit}, {health}: {text}", flush=True)
        fresh = scenario.kubectl("get", "yexp", NAME, "-o", f"jsonpath={GENERATIONS}", check=False)
        agreed = len(set(fresh.split())) == 1
        if commit == "Synced" and agreed and holds(health, text):
            scenario.facts[step] = [f"{health}: {text}" for health, text in seen]
            scenario.check(True, f"{step}: Synced, {health}: {text}")
            return seen
        time.sleep(2)
    raise Failure(f"{step}: not within {seconds:g} s; {commit}; seen {seen}")


def _health(status: Object) -> tuple[str, str]:
    """The experiment's own health as Argo CD judges it."""
    for resource in status.get("resources", []):
        if resource.get("kind") == "YoloExperiment":
            health = resource.get("health") or {}
            return health.get("status", ""), health.get("message", "")
    return "", ""


def _healthy_with(scenario: Scenario, stage: str) -> Callable[[str, str], bool]:
    """Healthy, and the stage is among those that succeeded."""

    def holds(health: str, _: str) -> bool:
        found = stages(scenario.get("yexp", NAME))
        return health == "Healthy" and found.get(stage, {}).get("state") == "Succeeded"

    return holds


def _creation_order(scenario: Scenario) -> dict[str, str]:
    ended = scenario.get("job", "dataset")["status"]["completionTime"]
    return {"dataset-ended": ended, "experiment": scenario.get("yexp", NAME)["metadata"]["creationTimestamp"]}
