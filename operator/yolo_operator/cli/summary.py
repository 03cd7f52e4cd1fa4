"""An experiment's results as one plain dictionary: what `kubectl yolo summary` prints and `make demo` writes.

Pure, and forgiving: whatever the object lacks is null here, so that an experiment of any version or state has a summary.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

Object = dict[str, Any]
Summary = dict[str, Any]

_MAIN_ARTIFACTS = ("model", "checkpoint")


def summarise(experiment: Object) -> Summary:
    """The results of an experiment, from its object as the API server gives it.

    `seconds` are of the whole experiment, and of a stage from its container's start to its finish. `bytes` are those of a
    stage's main artifact. An unfinished experiment or stage has null seconds.
    """
    status = experiment.get("status") or {}
    stages = [_stage(stage) for stage in stage_list(experiment)]
    return {
        "experiment": experiment.get("metadata", {}).get("name"),
        "namespace": experiment.get("metadata", {}).get("namespace"),
        "phase": status.get("phase"),
        "seconds": seconds_between(status.get("startTime"), status.get("completionTime")),
        "stages": stages,
        "chosen": (status.get("chosen") or {}).get("variant"),
        "variants": [_variant(entry) for entry in status.get("variants") or []],
        "gates": [{name: entry.get(name) for name in ("name", "open", "message")} for entry in status.get("gates") or []],
        "rounds": [_round(entry) for entry in status.get("rounds") or []],
        "export": _export(experiment, stages),
    }


def variants(summary: Summary) -> list[Summary]:
    """One entry a pruning threshold, in ascending order: variant, parameterRatio, bytes, mAP (before retraining), chosen.

    Once the sweep is decided also pareto (no other one beats it), fits (prune.select), message (which bound it is beyond) and
    retrainedMAP; null before.
    """
    rows = []
    decided = {entry["name"]: entry for entry in summary["variants"]}
    for pruned in (stage for stage in summary["stages"] if stage["name"] == "prune"):
        variant = pruned["variant"]
        evaluated = find(summary["stages"], "evaluate-pruned", variant) or {}
        rows.append(
            {
                "variant": variant,
                "parameterRatio": pruned["parameterRatio"],
                "bytes": pruned["bytes"],
                "mAP": (evaluated.get("metrics") or {}).get("mAP"),
                "chosen": variant == summary["chosen"],
                **{name: (decided.get(variant) or {}).get(name) for name in ("pareto", "fits", "message", "retrainedMAP")},
            }
        )
    return sorted(rows, key=lambda row: (len(row["variant"]), row["variant"]))


def precision(summary: Summary) -> dict[str, dict[str, float]]:
    """Average precision by class, and mAP, after each kind of model that was evaluated: {"trained": {"mAP": …, "car": …}}.

    Of several retrained candidates the chosen one counts; every round of pseudo-labels that was kept has its own.
    """
    stages, chosen = summary["stages"], summary["chosen"] or ""
    kept = [str(entry["number"]) for entry in summary["rounds"] if entry["kept"]]
    wanted = {
        "trained": [("evaluate", ""), ("train", "")],
        "retrained": [("evaluate-retrained", ""), ("evaluate-retrained", chosen), ("retrain", ""), ("retrain", chosen)],
        **{f"round {number}": [("evaluate-round", number)] for number in kept},
        "exported": [("evaluate-exported", "")],
    }
    found = {}
    for label, candidates in wanted.items():
        all_metrics = [(find(stages, *candidate) or {}).get("metrics") or {} for candidate in candidates]
        metrics = next((one for one in all_metrics if one.get("mAP") is not None), None)
        if metrics is not None:
            found[label] = {"mAP": metrics["mAP"], **(metrics.get("AP") or {})}
    return found


def stage_list(experiment: Object) -> list[Object]:
    """`status.stages`, whatever state the object is in."""
    return list((experiment.get("status") or {}).get("stages") or [])


def find(stages: Iterable[Object], name: str, variant: str = "") -> Object | None:
    """The stage of that name and variant."""
    return next((stage for stage in stages if stage.get("name") == name and (stage.get("variant") or "") == variant), None)


def main_artifact(stage: Object) -> Object | None:
    """The artifact that a stage is run for: the model or the checkpoint, else its largest."""
    artifacts = stage.get("artifacts") or []
    named = [artifact for name in _MAIN_ARTIFACTS for artifact in artifacts if artifact.get("name") == name]
    return named[0] if named else max(artifacts, key=lambda artifact: artifact.get("bytes") or 0, default=None)


def parse_time(text: str | None) -> datetime | None:
    """A time as Kubernetes writes it; none for what is absent or not a time."""
    try:
        moment = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return moment if moment and moment.tzinfo else None


def seconds_between(start: str | None, finish: str | None) -> float | None:
    """Seconds from one time to the other; none while either is missing."""
    first, last = parse_time(start), parse_time(finish)
    return (last - first).total_seconds() if first and last else None


def _stage(stage: Object) -> Summary:
    metrics = stage.get("metrics") or {}
    return {
        "name": stage.get("name"),
        "variant": stage.get("variant") or "",
        "state": stage.get("state"),
        "seconds": seconds_between(stage.get("startTime"), stage.get("finishTime")),
        "attempts": stage.get("attempt", 0),
        "why": stage.get("why"),
        "metrics": {"mAP": metrics.get("mAP"), "AP": metrics.get("AP") or {}},
        "parameterRatio": metrics.get("parameterRatio"),
        "bytes": (main_artifact(stage) or {}).get("bytes"),
    }


def _variant(entry: Object) -> Summary:
    names = ("name", "parameterRatio", "mAP", "bytes", "pareto", "fits", "message", "retrainedMAP")
    return {name: entry.get(name) for name in names}


def _round(entry: Object) -> Summary:
    names = ("number", "labels", "dropped", "images", "mAPBefore", "mAPAfter", "kept", "message")
    return {name: entry.get(name) for name in names}


def _export(experiment: Object, stages: list[Summary]) -> Summary | None:
    wanted = (experiment.get("spec") or {}).get("export")
    exported = find(stages, "export")
    if not wanted or exported is None:
        return None
    evaluated = find(stages, "evaluate-exported") or {}
    artifacts = (find(stage_list(experiment), "export") or {}).get("artifacts") or []
    return {
        "format": wanted.get("format"),
        "dataType": wanted.get("dataType", "fp32"),
        "bytes": exported["bytes"],
        "mAP": (evaluated.get("metrics") or {}).get("mAP"),
        "files": [{"path": artifact.get("path"), "bytes": artifact.get("bytes")} for artifact in artifacts],
    }
