"""A pseudo-label round on a small training set: its labels, where they come from, and the model that goes on."""

from __future__ import annotations

import json
from typing import Any

from harness import Object, Scenario, condition, ended, small_experiment, stages

NAME = "rounds"
MIN_CONFIDENCE = 0.6
SURE_PLATES = 0.7
MAX_PER_CLASS = 40

_DIGEST = """
import hashlib, pathlib
total = hashlib.sha256()
for path in sorted(pathlib.Path('/data/dataset').rglob('*')):
    total.update(f'{path} {path.stat().st_mtime_ns}'.encode() + (path.read_bytes() if path.is_file() else b''))
print(total.hexdigest())
"""

_ROUND = """
import hashlib, json, pathlib
root = pathlib.Path('/data/experiments/rounds/stages')
(merge,), (tune,) = root.glob('merge-1-*'), root.glob('fine-tune-1-*')
labels = {p.stem: p.read_text().splitlines() for p in (merge / 'labels').iterdir()}
print(json.dumps({
    'labels': labels,
    'provenance': [json.loads(line) for line in (merge / 'provenance.jsonl').read_text().splitlines()],
    'sources': (tune / 'config.txt').read_text().count('\\n  data_sources {'),
    'images': sorted(p.name for p in pathlib.Path('/data/dataset/test').iterdir()),
    'log': (tune / 'logs' / 'attempt-1.log').read_text(),
}))
"""


def experiment() -> Object:
    """A pruned model, retrained with QAT for too few epochs on too few images, and one round."""
    body = small_experiment(NAME)
    spec = body["spec"]
    spec["prune"] = {"thresholds": [0.1], "select": {"threshold": 0.1}}
    spec["inference"]["rounds"] = {
        "count": 1,
        "threshold": 0.2,
        "minConfidence": MIN_CONFIDENCE,
        "minConfidencePerClass": {"license_plate": SURE_PLATES},
        "maxPerClass": MAX_PER_CLASS,
        "uncertain": "DropLabel",
        "minPerImage": 2,
        "minGain": 0.0,
        "fineTune": {"numEpochs": 5, "checkpointInterval": 1},
    }
    return body


def run(scenario: Scenario) -> None:
    """The scenario."""
    scenario.fresh_namespace()
    scenario.make_dataset(train=80, validation=40, test=100)
    before = scenario.in_workspace(_DIGEST)
    scenario.apply(experiment())
    result = scenario.wait(NAME, ended, seconds=1800)
    check_decision(scenario, result)
    check_labels(scenario, result, json.loads(scenario.in_workspace(_ROUND)))
    scenario.check(scenario.in_workspace(_DIGEST) == before, "no file of the user's dataset was touched")


def check_decision(scenario: Scenario, result: Object) -> None:
    """The round gained or kept mAP, and what leaves the experiment is the best model."""
    found, status = stages(result), result["status"]
    (only,) = status["rounds"]
    scenario.facts["round"] = only
    scenario.facts["mAP"] = {name: s["metrics"]["mAP"] for name, s in found.items() if name.startswith("evaluate")}
    scenario.check(condition(result, "Complete"), f"the experiment is complete ({status.get('message')})")
    names = ["pseudo-label 1", "merge 1", "fine-tune 1", "evaluate-round 1"]
    scenario.check(all(found[name]["state"] == "Succeeded" for name in names), "every stage of the round succeeded")
    earlier, later = only["mAPBefore"], only["mAPAfter"]
    scenario.check(
        abs(earlier - found["evaluate-retrained"]["metrics"]["mAP"]) < 1e-4, f"it began from the retrained model: {earlier}"
    )
    scenario.check(later >= earlier and only["kept"] is True, f"the round keeps or raises mAP: {only['message']}")
    quantised = found["export"]["metrics"].get("quantisedActivations", 0)
    scenario.check(quantised > 0, f"the fine-tuned model is quantisation-aware still: {quantised} activations")
    exported = found["evaluate-exported"]["metrics"]["mAP"]
    scenario.check(abs(exported - later) < 0.03, f"its export is the model that went on: {exported}")
    scenario.check(scenario.is_told(NAME, "RoundKept"), "an Event tells of the decision")


def check_labels(scenario: Scenario, result: Object, left: dict[str, Any]) -> None:
    """The labels are within their bounds, and each one says where it comes from."""
    found = stages(result)
    origins = left["provenance"]
    kept = [one for one in origins if one["kept"]]
    lines = [line.split() for labels in left["labels"].values() for line in labels]
    counts = {name: sum(line[0] == name for line in lines) for name in sorted({line[0] for line in lines})}
    reasons = sorted({one.get("dropped", "") for one in origins} - {""})
    scenario.facts["labels"] = {"kept": len(kept), "dropped": len(origins) - len(kept), "byClass": counts, "reasons": reasons}
    metrics = found["merge 1"]["metrics"]
    scenario.check(len(lines) == len(kept) == metrics["labels"] > 0, f"{len(lines)} labels, as many as the status says")
    scenario.check(metrics["droppedLabels"] == len(origins) - len(kept), f"{metrics['droppedLabels']} dropped: {reasons}")
    scenario.check(len(origins) == found["pseudo-label 1"]["metrics"]["detections"], "every detection is accounted for")
    scenario.check({len(line) for line in lines} == {15}, "labels have KITTI's 15 columns")
    scenario.check(max(counts.values()) <= MAX_PER_CLASS, f"no class is above its cap: {counts}")
    least = {"license_plate": SURE_PLATES}
    scenario.check(
        all(one["confidence"] >= least.get(one["class"], MIN_CONFIDENCE) for one in kept), "no label is below its confidence"
    )
    model = found["retrain"]["artifacts"][0]["sha256"]
    scenario.check({(one["round"], one["model"]) for one in kept} == {(1, model)}, "each label names its round and its model")
    scenario.check({one["image"] for one in kept} <= set(left["images"]), "and an image of the unlabelled set")
    scenario.check(left["sources"] == 2, "the fine-tuning has the labels as a second source")
    trained = 80 + len(left["labels"])
    scenario.check(f"Training on {trained} images" in left["log"], f"it trained on {trained} images")
