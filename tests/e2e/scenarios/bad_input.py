"""Wrong input: each time a clear message, and nothing half done."""

from __future__ import annotations

import json
from collections.abc import Callable

from harness import CLAIM, Object, Scenario, condition, ended, small_experiment, stages

_BREAK = """
import pathlib, shutil
root = pathlib.Path('/data')
good = root / 'dataset'
def copy(name):
    target = root / name
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(good, target)
    return target, sorted((target / 'train' / 'labels').glob('*.txt'))
folder, labels = copy('four-columns')
labels[3].write_text('0 0.5 0.5 0.1\\n')
folder, labels = copy('no-label')
labels[5].unlink()
folder, labels = copy('unmapped')
labels[2].write_text('9 0.5 0.5 0.1 0.1\\n')
print(labels[3].name, labels[5].stem, labels[2].name)
"""


def run(scenario: Scenario) -> None:
    """The scenario."""
    scenario.fresh_namespace(pod_security="baseline")
    check_refused(scenario)
    scenario.make_dataset(train=12, validation=4, test=2)
    four, missing, unmapped = scenario.in_workspace(_BREAK).split()
    check_dataset(scenario, "no-directory", "nowhere", ["nowhere", "DatasetUnusable"])
    check_dataset(scenario, "four-columns", "four-columns", [f"{four}:1", "4 columns"])
    check_dataset(scenario, "no-label", "no-label", [missing])
    check_dataset(scenario, "unmapped", "unmapped", [unmapped, "9"])
    check_secret(scenario)
    check_rival(scenario)


def check_refused(scenario: Scenario) -> None:
    """What the API server refuses at apply."""

    def unknown_field(spec: Object) -> None:
        spec["experimentSpec"]["trainingConfig"]["batchSize"] = 8

    def threshold(spec: Object) -> None:
        spec["prune"]["thresholds"] = [0.1, 1.0]

    def learning_rates(spec: Object) -> None:
        schedule = spec["experimentSpec"]["trainingConfig"]["learningRate"]["softStartCosineAnnealingSchedule"]
        schedule["minLearningRate"] = 1.0

    cases: list[tuple[Callable[[Object], None], list[str]]] = [
        (unknown_field, ["batchSize", "unknown field"]),
        (threshold, ["spec.prune.thresholds[1]", "less than 1"]),
        (learning_rates, ["minLearningRate must be below maxLearningRate"]),
    ]
    for breaks, words in cases:
        experiment = small_experiment("refused")
        breaks(experiment["spec"])
        said = scenario.kubectl("apply", "-f", "-", stdin=json.dumps(experiment), check=False)
        scenario.facts[breaks.__name__] = said.strip()
        scenario.check(all(word in said for word in words), f"{breaks.__name__}: {said.strip().splitlines()[-1][:160]}")
    scenario.check(not scenario.get("yexp")["items"], "nothing was created")


def check_dataset(scenario: Scenario, name: str, directory: str, words: list[str]) -> None:
    """What `prepare` finds in the data: the experiment fails once, naming the place, and no other stage runs."""
    experiment = small_experiment(name)
    experiment["spec"]["dataset"].pop("subPath")
    for part, folder in (("train", "train"), ("validation", "valid")):
        experiment["spec"]["dataset"][part] = {"images": f"{directory}/{folder}/images", "labels": f"{directory}/{folder}/labels"}
    experiment["spec"]["dataset"]["unlabelled"] = {"images": "dataset/test"}
    scenario.apply(experiment)
    status = scenario.wait(name, ended, seconds=120)["status"]
    message, failed = status["message"], next(c for c in status["conditions"] if c["type"] == "Failed")
    scenario.facts[name] = message
    text = f"{failed['reason']} {message}"
    scenario.check(
        status["phase"] == "Failed" and all(word in text for word in words), f"{name}: {failed['reason']}: {message[:200]}"
    )
    ran = [s["name"] for s in status["stages"] if s["attempt"]]
    scenario.check(ran == ["prepare"] and status["stages"][0]["attempt"] == 1, f"{name}: only prepare ran, once")
    scenario.kubectl("delete", "yexp", name)


def check_secret(scenario: Scenario) -> None:
    """A missing Secret is named with the field that names it; when it comes, the experiment goes on by itself."""
    experiment = small_experiment("secret")
    experiment["spec"]["toolkit"]["encryptionKeySecretRef"] = {"name": "tao", "key": "key"}
    scenario.apply(experiment)
    held = scenario.wait("secret", lambda e: condition(e, "Stalled"), seconds=120)
    message = held["status"]["message"]
    scenario.facts["secret"] = message
    scenario.check("spec.toolkit.encryptionKeySecretRef" in message and "tao" in message, f"missing Secret: {message}")
    accepted = next(c for c in held["status"]["conditions"] if c["type"] == "Accepted")
    scenario.check(accepted["status"] == "False" and accepted["reason"] == "SecretNotFound", "Accepted is False: SecretNotFound")
    scenario.kubectl("create", "secret", "generic", "tao", "--from-literal=key=license-plate-yolov4")
    scenario.wait("secret", lambda e: stages(e)["prepare"]["state"] == "Succeeded", seconds=180)
    scenario.check(True, "the stage went on by itself when the Secret came")
    scenario.kubectl("delete", "yexp", "secret")


def check_rival(scenario: Scenario) -> None:
    """Two experiments that want the same directory: the older one has it."""
    first, second = small_experiment("first"), small_experiment("second")
    for experiment in (first, second):
        experiment["spec"]["workspace"] = {"claimName": CLAIM, "subPath": "experiments/shared"}
        scenario.apply(experiment)
        scenario.wait(experiment["metadata"]["name"], lambda e: bool(e.get("status", {}).get("phase")), seconds=60)
    message = scenario.wait("second", lambda e: condition(e, "Stalled"), seconds=60)["status"]["message"]
    scenario.facts["rival"] = message
    scenario.check("first" in message and "subPath" in message, f"same directory: {message}")
    scenario.check(
        not scenario.get("jobs", selector="yolo-operator.dev/experiment=second")["items"], "the second one started nothing"
    )
    scenario.kubectl("delete", "yexp", "first", "second")
