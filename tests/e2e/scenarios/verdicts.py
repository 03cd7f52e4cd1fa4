"""TAO, emulated: whole experiments on both generations, its lies each told by their reason, and a training that goes on."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from harness import CLAIM, Object, Scenario, condition, ended, small_experiment, stages

IMAGE = "yolo-operator/emulated-tao:test"

_EMULATE = """
import json, pathlib
for name, settings in json.loads({chosen!r}).items():
    folder = pathlib.Path('/data/experiments') / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'emulate.json').write_text(json.dumps(settings))
"""

_ANCHORS = {
    "bigAnchorShape": "[(100.44, 22.34), (157.33, 28.14), (112.64, 53.33)]",
    "midAnchorShape": "[(45.33, 13.79), (58.13, 15.17), (35.48, 27.19)]",
    "smallAnchorShape": "[(21.07, 8.14), (16.10, 17.86), (32.00, 11.17)]",
}


@dataclass(frozen=True)
class Lie:
    """How the toolkit ends, and what the operator must make of it."""

    emulate: dict[str, Any]
    reason: str
    stage: str = "train"
    changes: dict[str, Any] = field(default_factory=dict)
    """Of the experiment's spec."""


_EXPORT = {"format": "etlt"}
LIES = {
    "nan-loss": Lie({"failures": {"train": "nan-loss"}}, "NonFiniteLoss"),
    "interrupted": Lie({"failures": {"train": "interrupted-exit-0"}}, "InterruptedWithoutSignal"),
    "early-stop": Lie({"failures": {"train": "early-stop"}, "at": 1}, "ArtifactMissing"),
    "occlusion": Lie({"failures": {"train": "occlusion"}}, "DatasetUnusable"),
    "gpu-memory": Lie({"failures": {"train": "oom"}, "at": 1}, "OutOfMemory"),
    "other-image": Lie({"dialect": "5.0"}, "ProfileMismatch"),
    "wrong-key": Lie({"failures": {"export": "export-wrong-key"}}, "WrongKey", "export", {"export": _EXPORT}),
    "calibration": Lie(
        {}, "CalibrationUnusable", "export", {"export": {**_EXPORT, "dataType": "int8", "calibration": {"batches": 100}}}
    ),
}


def run(scenario: Scenario) -> None:
    """The scenario."""
    scenario.fresh_namespace(pod_security="baseline")
    scenario.make_dataset(train=24, validation=8, test=4)
    scenario.kubectl("create", "secret", "generic", "tao", "--from-literal=key=license-plate-yolov4")
    settings = {name: lie.emulate for name, lie in LIES.items()}
    settings |= {"tao-5": {"dialect": "5.0"}, "goes-on": {"failures": {"train": "host-oom"}, "at": 6, "once": True}}
    scenario.in_workspace(_EMULATE.format(chosen=json.dumps(settings)))
    scenario.apply(*(bare(name, **lie.changes) for name, lie in LIES.items()), bare("goes-on"), whole("tao-3"), whole("tao-5"))
    for name, lie in LIES.items():
        check_lie(scenario, name, lie)
    check_goes_on(scenario)
    for name in ("tao-3", "tao-5"):
        check_whole(scenario, name)


def whole(name: str) -> Object:
    """Every stage, on the generation that the name says."""
    experiment = small_experiment(name)
    spec = experiment["spec"]
    old = name == "tao-3"
    spec["toolkit"] = {
        "profile": "tao-3.21.11" if old else "tao-5.0",
        "image": IMAGE,
        "encryptionKeySecretRef": {"name": "tao", "key": "key"},
    }
    spec["experimentSpec"].pop("openConfig")
    spec["retrain"]["enableQat"] = False
    spec["export"] = {"format": "etlt", "dataType": "int8", "calibration": {"batches": 2}} if old else {"format": "onnx"}
    spec["resources"] = {"gpus": 1, "sharedMemory": "64Mi"}
    return experiment


def bare(name: str, **changes: Any) -> Object:
    """Preparation and training, with anchors of the spec's own."""
    experiment = whole("tao-3")
    spec = experiment["spec"]
    for section in ("anchors", "prune", "retrain", "export", "inference"):
        spec.pop(section)
    spec["experimentSpec"]["yolov4Config"].update(_ANCHORS)
    spec["workspace"] = {"claimName": CLAIM, "subPath": f"experiments/{name}"}
    spec.update({"retry": {"limit": 1, "backoffSeconds": 1}, **changes})
    experiment["metadata"]["name"] = name
    return experiment


def check_lie(scenario: Scenario, name: str, lie: Lie) -> None:
    """The experiment is Failed, and its stage, its condition and an Event say why."""
    experiment = scenario.wait(name, ended, seconds=600)
    failed = next(c for c in experiment["status"]["conditions"] if c["type"] == "Failed")
    stage = stages(experiment)[lie.stage]
    scenario.facts[name] = {"reason": stage.get("reason"), "message": stage.get("message"), "attempts": stage["attempt"]}
    scenario.check(condition(experiment, "Failed") and stage["state"] == "Failed", f"{name}: {lie.stage} failed")
    scenario.check(stage.get("reason") == lie.reason, f"{name}: {stage.get('reason')}: {stage.get('message')}")
    scenario.check(lie.reason in f"{failed['reason']} {failed['message']}", f"{name}: the condition: {failed['reason']}")
    scenario.check(scenario.is_told(name, lie.reason), f"{name}: an Event says {lie.reason}")
    attempts = (
        2 if lie.reason == "InterruptedWithoutSignal" else 1
    )  # what may pass is tried again, what the user must mend is not
    scenario.check(stage["attempt"] == attempts, f"{name}: {attempts} attempt(s)")


def check_goes_on(scenario: Scenario) -> None:
    """The kernel kills a training; the next attempt goes on from its checkpoint."""
    experiment = scenario.wait("goes-on", ended, seconds=600)
    train = stages(experiment)["train"]
    scenario.check(condition(experiment, "Complete"), f"goes-on: complete: {experiment['status'].get('message')}")
    scenario.check(
        train["attempt"] == 2 and train["attempts"][0]["reason"] == "OutOfMemory", "goes-on: first OutOfMemory, then well"
    )
    text = scenario.in_workspace(
        "import json, pathlib; (r,) = pathlib.Path('/data/experiments/goes-on/stages').glob('train-*/report.json');"
        "r = json.loads(r.read_text()); print(r.get('resumedFromEpoch'), [row['epoch'] for row in r['history']])"
    )
    scenario.check(
        text.strip() == "4 [1, 2, 3, 4, 5, 6, 7, 8]", f"goes-on: from which epoch, and the whole history: {text.strip()}"
    )


def check_whole(scenario: Scenario, name: str) -> None:
    """Every stage succeeded at the first attempt, and the exported model has the generation's suffix."""
    experiment = scenario.wait(name, ended, seconds=900)
    found = stages(experiment)
    scenario.facts[name] = {stage: {"state": s["state"], "message": s.get("message")} for stage, s in found.items()}
    scenario.check(condition(experiment, "Complete"), f"{name}: complete: {experiment['status'].get('message')}")
    scenario.check(all(s["state"] == "Succeeded" and s["attempt"] == 1 for s in found.values()), f"{name}: {', '.join(found)}")
    path = found["export"]["artifacts"][0]["path"]
    scenario.check(path.endswith(".etlt" if name == "tao-3" else ".onnx"), f"{name}: exported {path}")
