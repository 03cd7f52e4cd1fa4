"""A small experiment through every stage, really trained."""

from __future__ import annotations

import json

from harness import Object, Scenario, condition, ended, small_experiment, stages

STAGES = [
    "prepare", "anchors", "train", "evaluate", "prune 0.1", "prune 0.7", "evaluate-pruned 0.1", "evaluate-pruned 0.7",
    "retrain", "evaluate-retrained", "export", "evaluate-exported", "inference",
]  # fmt: skip

_DIGEST = """
import hashlib, pathlib
total = hashlib.sha256()
for path in sorted(pathlib.Path('/data/dataset').rglob('*')):
    total.update(str(path).encode() + (path.read_bytes() if path.is_file() else b''))
print(total.hexdigest())
"""

_LABELS = """
import json, pathlib
(folder,) = pathlib.Path('/data/experiments/small/stages').glob('inference-*')
labels = sorted(folder.glob('**/labels/*.txt'))
columns = sorted({len(line.split()) for path in labels for line in path.read_text().splitlines()})
pictures = sorted(p.name for p in folder.glob('**/images_annotated/*'))
print(json.dumps({'labels': len(labels), 'columns': columns, 'pictures': len(pictures)}))
"""


def run(scenario: Scenario) -> None:
    """The scenario."""
    scenario.fresh_namespace()
    scenario.make_dataset()
    before = scenario.in_workspace(_DIGEST)
    scenario.apply(small_experiment())
    experiment = scenario.wait("small", ended, seconds=900)
    check_result(scenario, experiment)
    scenario.check(scenario.in_workspace(_DIGEST) == before, "the user's dataset is untouched")
    found = json.loads(scenario.in_workspace(_LABELS))
    scenario.facts["inference"] = found
    scenario.check(
        found["labels"] == 6 and found["pictures"] == 6, "inference left a label file and a picture for each of 6 images"
    )
    scenario.check(found["columns"] in ([], [16]), "pseudo-labels have 16 columns")
    scenario.kubectl("wait", "--for=condition=Complete", "yexp/small", "--timeout=5s")
    check_deletion(scenario)


def check_result(scenario: Scenario, experiment: Object) -> None:
    """Every stage succeeded once, with the numbers that it must have."""
    found = stages(experiment)
    status = experiment["status"]
    scenario.facts["stages"] = {
        name: {"state": s["state"], "attempt": s["attempt"], "metrics": s.get("metrics", {}), "message": s.get("message")}
        for name, s in found.items()
    }
    scenario.check(condition(experiment, "Complete"), f"condition Complete is true ({status.get('message')})")
    scenario.check(list(found) == STAGES, "the stages are those of the spec, in order")
    scenario.check(all(s["state"] == "Succeeded" for s in found.values()), "every stage succeeded")
    scenario.check(all(s["attempt"] == 1 for s in found.values()), "at the first attempt")
    jobs = scenario.stage_jobs()
    scenario.check(len(jobs) == len(STAGES), f"one Job a stage, {len(jobs)} in all")
    ratios = {name: found[name]["metrics"]["parameterRatio"] for name in ("prune 0.1", "prune 0.7")}
    scenario.check(ratios["prune 0.7"] < ratios["prune 0.1"] <= 1, f"a larger threshold prunes more: {ratios}")
    maps = {name: found[name]["metrics"]["mAP"] for name in STAGES if name.startswith("evaluate")}
    scenario.facts["mAP"] = maps
    scenario.check(all(0 <= value <= 1 for value in maps.values()), f"every evaluation has an mAP: {maps}")
    scenario.check(maps["evaluate"] > 0.3, f"it learned something: mAP {maps['evaluate']}")
    quantised = found["export"]["metrics"].get("quantisedActivations", 0)
    scenario.check(quantised > 0, f"the int8 model has quantised activations: {quantised}")
    scenario.check(bool(status["chosen"]["variant"]), f"a variant was chosen: {status['chosen']}")
    for name in ("train", "prune 0.1", "retrain", "export"):
        artifact = found[name]["artifacts"][0]
        scenario.check(artifact["bytes"] > 0 and len(artifact["sha256"]) == 64, f"{name} recorded {artifact['path']}")


def check_deletion(scenario: Scenario) -> None:
    """Deleting the experiment takes its Jobs with it and leaves the data."""
    scenario.kubectl("delete", "yexp", "small", "--timeout=60s")
    scenario.kubectl(
        "wait", "--for=delete", "job", "-l", "app.kubernetes.io/managed-by=yolo-operator", "--timeout=60s", check=False
    )
    left = scenario.get("jobs", selector="app.kubernetes.io/managed-by=yolo-operator")["items"]
    scenario.check(not left, "the Jobs went with the experiment")
    kept = scenario.in_workspace("import os; print(sorted(os.listdir('/data/experiments/small')))")
    scenario.check("stages" in kept, "the workspace stayed")
