"""The chart's life with the real Helm: the previous version, an upgrade and a rollback in the middle of a training, removal."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path

from harness import OPERATOR_NAMESPACE, ROOT, Failure, Object, Scenario, condition, ended, stages

from scenarios.evict import epoch_of, training_experiment

PREVIOUS = ROOT / "build" / "previous"
CURRENT = ROOT / "helm" / "yolo-operator"
PAGE = ROOT / "docs" / "upgrade.md"
ROOM = ROOT / "build" / "e2e" / "helm-lifecycle"
CRD = "yoloexperiments.yolo-operator.dev"
RELEASE = "yolo-operator"
QUIET = 15.0
"""Seconds after a change of the operator in which a needless Job would show: it lists and looks at everything when it starts."""

_SIZES = """
import json, pathlib
found = [[file for file in (place, *place.rglob('*')) if file.is_file()] for place in map(pathlib.Path, PATHS)]
print(json.dumps([sum(file.stat().st_size for file in files) for files in found]))
"""
_RELEASED = "app.kubernetes.io/name=yolo-operator"
_MANAGED = "app.kubernetes.io/managed-by=yolo-operator"


def run(scenario: Scenario) -> None:
    """The scenario."""
    if not (PREVIOUS / "chart").is_dir():
        missing = PREVIOUS / "missing"
        why = missing.read_text().strip() if missing.exists() else "build/previous is not there: hack/previous CLUSTER"
        scenario.facts["skipped"] = why
        print(f"  skipped: {why}", flush=True)
        return
    scenario.facts["previous"] = (PREVIOUS / "commit").read_text().strip()
    helm = Helm(scenario)
    helm.page("clean-up", CURRENT, "dev")
    try:
        story(scenario, helm)
    finally:
        helm.leave_as_found()


def story(scenario: Scenario, helm: Helm) -> None:
    """From the first installation to the last trace."""
    old_crd = before_the_upgrade(scenario, helm)
    done = snapshot(scenario, "done")
    training = a_running_training(scenario, "long", epochs=50)

    helm.page("upgrade", CURRENT, "dev")
    check_crd_was_widened(scenario, old_crd)
    check_untouched(scenario, "upgrade", training, {"done": done})
    helm.page("rollback", CURRENT, "dev")
    scenario.check(helm.image().endswith(":previous"), f"rolled back to {helm.image()}")
    scenario.check(crd() == old_crd, "and to its CRD")
    check_untouched(scenario, "rollback", training, {"done": done})
    experiment = scenario.wait("long", ended, seconds=900)
    check_ran_once(scenario, "long", experiment, training)

    finished = {name: snapshot(scenario, name) for name in ("done", "long")}
    helm.page("upgrade", CURRENT, "dev")
    check_nothing_new(scenario, "second upgrade", finished)
    meanwhile = a_running_training(scenario, "meanwhile", epochs=10)
    helm.page("uninstall", CURRENT, "dev")
    check_what_stays(scenario, finished)
    wait_for_job(scenario, meanwhile)
    helm.page("install", CURRENT, "dev")
    experiment = scenario.wait("meanwhile", ended, seconds=300)
    check_ran_once(scenario, "meanwhile", experiment, meanwhile)
    check_nothing_new(scenario, "installed again", finished)

    helm.page("clean-up", CURRENT, "dev")
    check_nothing_is_left(scenario)


class Helm:
    """The page's commands, run as they stand there."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._blocks = dict(re.findall(r"<!-- ([\w-]+) -->\n```sh\n(.*?)```", PAGE.read_text(), flags=re.DOTALL))
        self._seconds: dict[str, list[float]] = scenario.facts.setdefault("seconds", {})

    def page(self, name: str, chart: Path, tag: str) -> str:
        """Run a block of the page with a chart and an image; what it printed."""
        ROOM.mkdir(parents=True, exist_ok=True)
        (ROOM / "values.yaml").write_text(f"image: {{tag: {tag}}}\n")
        start = time.monotonic()
        text = self._blocks[name].replace("yolo-system", OPERATOR_NAMESPACE)
        done = subprocess.run(
            ["bash", "-euxo", "pipefail", "-c", text],
            cwd=ROOM, env={**os.environ, "CHART": str(chart)}, capture_output=True, text=True, timeout=900, check=False,
        )  # fmt: skip
        with (ROOM / "commands.log").open("a") as log:
            log.write(f"== {name}\n{done.stderr}{done.stdout}\n")
        if done.returncode:
            raise Failure(f"docs/upgrade.md, {name}: {done.stderr.strip()[-1500:]}")
        seconds = round(time.monotonic() - start, 1)
        self._seconds.setdefault(name, []).append(seconds)
        self._scenario.check(True, f"{name}, as the page says it, in {seconds:g} s")
        if "helm test" in text:
            self._scenario.check("Phase:          Succeeded" in done.stdout, "helm test succeeded")
        return done.stdout

    def image(self) -> str:
        """The operator's image."""
        deployment = json.loads(cluster("get", "deployment", RELEASE, "--namespace", OPERATOR_NAMESPACE, "-o", "json"))
        return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])

    def leave_as_found(self) -> None:
        """The chart of this checkout, as the other scenarios want it."""
        command = ["helm", "upgrade", "--install", RELEASE, str(CURRENT), "--namespace", OPERATOR_NAMESPACE]
        command += ["--create-namespace", "--set", "image.tag=dev", "--wait", "--timeout", "3m", "--force-conflicts"]
        subprocess.run(command, check=False, capture_output=True, timeout=240)


def before_the_upgrade(scenario: Scenario, helm: Helm) -> Object:
    """The previous version with a finished experiment; its CRD."""
    cluster("create", "namespace", OPERATOR_NAMESPACE)
    cluster("label", "namespace", OPERATOR_NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")
    helm.page("install", PREVIOUS / "chart", "previous")
    scenario.fresh_namespace()
    scenario.make_dataset()
    scenario.apply(training("done", epochs=2))
    experiment = scenario.wait("done", ended, seconds=300)
    scenario.check(condition(experiment, "Complete"), "under the previous version an experiment is complete")
    scenario.check(helm.image().endswith(":previous"), f"by {helm.image()}")
    return crd()


def training(name: str, epochs: int) -> Object:
    """Training and its evaluation, so long."""
    experiment = training_experiment(name)
    experiment["spec"]["experimentSpec"]["trainingConfig"] |= {"numEpochs": epochs, "checkpointInterval": min(10, epochs)}
    return experiment


def a_running_training(scenario: Scenario, name: str, epochs: int) -> dict[str, object]:
    """Start an experiment; the training's Job and pod as soon as its second epoch runs."""
    scenario.apply(training(name, epochs))
    scenario.wait(name, lambda experiment: epoch_of(experiment, scenario) >= 2, seconds=300)
    return live_training(scenario, name)


def live_training(scenario: Scenario, name: str) -> dict[str, object]:
    """What must not change of the training's only Job and pod."""
    selector = f"yolo-operator.dev/experiment={name},yolo-operator.dev/stage=train"
    (job,) = scenario.get("jobs", selector=selector)["items"]
    (pod,) = scenario.get("pods", selector=selector)["items"]
    (container,) = pod["status"]["containerStatuses"]
    return {
        "job": job["metadata"]["name"],
        "job's uid": job["metadata"]["uid"],
        "pod's uid": pod["metadata"]["uid"],
        "pod's start": pod["status"]["startTime"],
        "restarts": container["restartCount"],
        "container's start": container["state"].get("running", {}).get("startedAt"),
        "runner": [v["configMap"]["name"] for v in pod["spec"]["volumes"] if "configMap" in v],
    }


def snapshot(scenario: Scenario, name: str) -> dict[str, object]:
    """A finished experiment: its uid, its Jobs, and of each stage what tells that it did not run again."""
    experiment = scenario.get("yexp", name)
    jobs = scenario.get("jobs", selector=f"yolo-operator.dev/experiment={name}")["items"]
    kept = ("state", "attempt", "digest", "startTime", "finishTime", "artifacts", "metrics")
    return {
        "uid": experiment["metadata"]["uid"],
        "jobs": {job["metadata"]["name"]: job["metadata"]["uid"] for job in jobs},
        "stages": {key: {field: record.get(field) for field in kept} for key, record in stages(experiment).items()},
    }


def check_untouched(scenario: Scenario, step: str, training: dict[str, object], done: dict[str, dict[str, object]]) -> None:
    """The training goes on in the same pod, and nothing new was made."""
    now = live_training(scenario, "long")
    changed = {key: (training[key], now[key]) for key in training if training[key] != now[key]}
    scenario.check(not changed, f"{step}: the training goes on in the same Job, pod and container {changed or ''}")
    epoch = epoch_of(scenario.get("yexp", "long"), scenario)
    scenario.facts[f"epoch after {step}"] = epoch
    check_nothing_new(scenario, step, done)
    again = live_training(scenario, "long")
    scenario.check(again == training, f"{step}: {QUIET:g} s later, too")
    later = scenario.wait("long", lambda e: epoch_of(e, scenario) > epoch, seconds=60)
    scenario.check(stages(later)["train"]["state"] == "Running", f"{step}: it is past epoch {epoch}, and the operator follows it")


def check_nothing_new(scenario: Scenario, step: str, finished: dict[str, dict[str, object]]) -> None:
    """Finished experiments are as they were, for some time after the operator has looked at them."""
    time.sleep(QUIET)
    for name, before in finished.items():
        after = snapshot(scenario, name)
        scenario.check(after == before, f"{step}: {name} has the same {len(stages_of(before))} stages, attempts and Jobs")


def stages_of(taken: dict[str, object]) -> dict[str, object]:
    """The stages of a snapshot."""
    found = taken["stages"]
    assert isinstance(found, dict)
    return found


def check_ran_once(scenario: Scenario, name: str, experiment: Object, training: dict[str, object]) -> None:
    """Complete, one Job a stage, each at its first attempt, and the training's was the one that had begun."""
    scenario.check(condition(experiment, "Complete"), f"{name} is complete: {experiment['status'].get('message')}")
    found = stages(experiment)
    scenario.check(all(record["attempt"] == 1 for record in found.values()), f"{name}: every stage at its first attempt")
    jobs = scenario.get("jobs", selector=f"yolo-operator.dev/experiment={name},app.kubernetes.io/component=stage")["items"]
    scenario.check(len(jobs) == len(found), f"{name}: one Job a stage, {len(jobs)} in all")
    uids = [job["metadata"]["uid"] for job in jobs]
    scenario.check(training["job's uid"] in uids, f"{name}: the training's Job is the one that had begun")


def crd() -> Object:
    """The schema that the API server has."""
    body = json.loads(cluster("get", "customresourcedefinition", CRD, "-o", "json"))
    (version,) = body["spec"]["versions"]
    schema: Object = version["schema"]["openAPIV3Schema"]
    return schema


def check_crd_was_widened(scenario: Scenario, before: Object) -> None:
    """The CRD is the new chart's, and has every field that the old one had."""
    body = json.loads(cluster("get", "customresourcedefinition", CRD, "-o", "json"))
    version = body["metadata"]["labels"]["helm.sh/chart"].removeprefix("yolo-operator-")
    chart = re.search(r"^version: (\S+)", (CURRENT / "Chart.yaml").read_text(), flags=re.MULTILINE)
    scenario.check(chart is not None and version == chart[1], f"the CRD is that of chart {version}")
    old, new = fields(before), fields(crd())
    scenario.facts["fields of the CRD"] = {"before": len(old), "after": len(new), "added": sorted(new - old)[:40]}
    scenario.check(old <= new, f"no field went ({len(new - old)} came): {sorted(old - new)}")


def fields(schema: Object, path: str = "") -> set[str]:
    """Paths of all fields of a schema."""
    found: set[str] = set()
    for name, part in schema.get("properties", {}).items():
        found |= {f"{path}.{name}"} | fields(part, f"{path}.{name}")
    for inner in ("items", "additionalProperties"):
        if isinstance(schema.get(inner), dict):
            found |= fields(schema[inner], f"{path}[]")
    return found


def check_what_stays(scenario: Scenario, finished: dict[str, dict[str, object]]) -> None:
    """Without the operator: CRD, experiments with their status, Jobs, claim and artifacts."""
    pods = ("pods", "--selector", _RELEASED, "--namespace", OPERATOR_NAMESPACE)
    cluster("wait", "--for=delete", *pods, "--timeout=60s")
    left = json.loads(cluster("get", "all,serviceaccounts,roles", "-n", OPERATOR_NAMESPACE, "-l", _RELEASED, "-o", "json"))
    scenario.check(not left["items"], "uninstalled: nothing of the operator is left in its namespace")
    check_nothing_new(scenario, "uninstalled", finished)
    for name, taken in finished.items():
        artifacts = [artifact for record in stages_of(taken).values() for artifact in record["artifacts"] or ()]
        paths = [f"/data/experiments/{name}/{artifact['path']}" for artifact in artifacts]
        sizes = json.loads(scenario.in_workspace(_SIZES.replace("PATHS", repr(paths))))
        same = sizes == [artifact["bytes"] for artifact in artifacts]
        scenario.check(same and bool(sizes), f"uninstalled: {len(sizes)} artifacts of {name} are on the claim, of their size")


def wait_for_job(scenario: Scenario, training: dict[str, object]) -> None:
    """A stage ends without an operator."""
    job = f"job/{training['job']}"
    scenario.kubectl("wait", "--for=condition=Complete", job, "--timeout=300s", timeout=310)
    state = stages(scenario.get("yexp", "meanwhile"))["train"]["state"]
    scenario.check(state == "Running", f"a training ended while there was no operator (its record says {state} still)")


def check_nothing_is_left(scenario: Scenario) -> None:
    """Of every kind that can be listed, nothing in the cluster carries our labels or our group."""
    kinds = cluster("api-resources", "--verbs=list", "-o", "name").split()
    scenario.check(not [kind for kind in kinds if "yolo-operator.dev" in kind], "cleaned up: the resource is gone")
    left = []
    for selector in (_RELEASED, _MANAGED, "helm.sh/chart,app.kubernetes.io/instance=yolo-operator"):
        left += cluster("get", ",".join(kinds), "--all-namespaces", "-l", selector, "-o", "name", "--ignore-not-found").split()
    named = cluster("get", "clusterroles,clusterrolebindings", "-o", "name").split()
    left += [name for name in named if "yolo" in name]
    scenario.check(not left, f"cleaned up: no object of {len(kinds)} kinds is left {left or ''}")
    scenario.check(bool(scenario.get("pvc", "data")), "cleaned up: the user's own claim stays")


def cluster(*words: str) -> str:
    """What kubectl says about something outside the scenario's namespace."""
    done = subprocess.run(["kubectl", *words], capture_output=True, text=True, timeout=180, check=False)
    if done.returncode:
        raise Failure(f"kubectl {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout
