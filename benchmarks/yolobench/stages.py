"""kwok Stages: stage pods run for a while and end with the report that the runner would leave, those of the peers just end.

A pod carries stage, variant, digest and attempt as labels and annotations; that is all a report needs to be believed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from yolobench.plane import ROOT

Object = dict[str, Any]

CLASSES = ("bottom_left", "bottom_right", "license_plate", "top_left", "top_right")
_MAP = {"0.1": 0.9548, "0.3": 0.9526, "0.5": 0.9272, "0.7": 0.6990}
_RATIO = {"0.1": 0.361, "0.3": 0.158, "0.5": 0.104, "0.7": 0.068}
_COMPONENT = '.metadata.labels["app.kubernetes.io/component"]'
_STAGE_LABEL = '.metadata.labels["yolo-operator.dev/stage"]'
# Variables of the template in `_ending`.
_DIGEST, _STAGE, _VARIANT, _ATTEMPT = (f"{{{{ ${name} }}}}" for name in ("digest", "stage", "variant", "attempt"))


def write(path: Path, *, run_seconds: float, by_stage: Mapping[str, float] | None = None, failures: bool = False) -> Path:
    """The Stages as a file: kwok's own for pods that start, ours for pods that end.

    Args:
        path: where to.
        run_seconds: how long a container runs.
        by_stage: how long that of a stage runs instead, by the stage's name.
        failures: whether one in 16 evaluations fails at its first attempt.
    """
    own = (ROOT / "hack" / "kwok" / "pods.yaml").read_text()
    start, end, delete = own.split("\n---\n")
    others = by_stage or {}
    message = _messages()
    endings = [_ending("stage-ends", run_seconds, message, _of_stage("NotIn", *others) if others else [], failures=failures)]
    for stage, seconds in others.items():
        endings.append(_ending(f"{stage}-ends", seconds, message, _of_stage("In", stage), failures=failures))
    ours = [json.dumps(ending) for ending in endings]
    peers = end.replace(
        "    - key: '.metadata.ownerReferences.[].kind'\n      operator: 'In'\n      values:\n      - 'Job'\n",
        f"    - key: '{_COMPONENT}'\n      operator: 'NotIn'\n      values:\n      - 'stage'\n",
    ).replace("  next:\n", f"  delay:\n    durationMilliseconds: {round(run_seconds * 1000)}\n  next:\n", 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n---\n".join([start, peers, delete, *ours]) + "\n")
    return path


def _of_stage(operator: str, *stages: str) -> list[Object]:
    return [{"key": _STAGE_LABEL, "operator": operator, "values": list(stages)}]


def _ending(name: str, run_seconds: float, message: str, chosen: list[Object], *, failures: bool) -> Object:
    """The Stage that ends a stage's pod with a report, of the pods that are chosen."""
    fails = "{{ $fails := false }}"
    if failures:
        unlucky = '(hasPrefix "0" $digest) (eq $attempt "1")'
        fails = '{{ $fails := and (eq $stage "evaluate") ' + unlucky + " }}"
    template = "\n".join([
        "{{ $now := Now }}",
        "{{ $root := . }}",
        '{{ $digest := index .metadata.annotations "yolo-operator.dev/digest" }}',
        '{{ $attempt := index .metadata.annotations "yolo-operator.dev/attempt" }}',
        '{{ $stage := index .metadata.labels "yolo-operator.dev/stage" }}',
        '{{ $variant := index .metadata.labels "yolo-operator.dev/variant" }}',
        fails,
        "containerStatuses:",
        "{{ range $index, $item := .spec.containers }}",
        "{{ $origin := index $root.status.containerStatuses $index }}",
        "- image: {{ $item.image | Quote }}",
        "  name: {{ $item.name | Quote }}",
        "  ready: false",
        "  restartCount: 0",
        "  started: false",
        "  state:",
        "    terminated:",
        "      exitCode: {{ if $fails }}11{{ else }}0{{ end }}",
        "      finishedAt: {{ $now | Quote }}",
        "      reason: {{ if $fails }}Error{{ else }}Completed{{ end }}",
        "      startedAt: {{ $origin.state.running.startedAt | Quote }}",
        "      message: '" + message + "'",
        "{{ end }}",
        "phase: {{ if $fails }}Failed{{ else }}Succeeded{{ end }}",
    ])  # fmt: skip
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": "Pod"},
            "selector": {
                "matchExpressions": [
                    {"key": ".metadata.deletionTimestamp", "operator": "DoesNotExist"},
                    {"key": ".status.phase", "operator": "In", "values": ["Running"]},
                    {"key": _COMPONENT, "operator": "In", "values": ["stage"]},
                    *chosen,
                ]
            },
            "delay": {"durationMilliseconds": round(run_seconds * 1000)},
            "next": {"statusTemplate": template},
        },
    }


def _messages() -> str:
    """The report by stage, as a template; JSON within a YAML string in single quotes."""
    failed = _report("Failed", "ToolkitFailed", "CUDA error", {}, []).replace('"outcome"', '"class":"transient","outcome"')
    cases = ["{{ if $fails }}" + failed]
    for stage, metrics, artifacts in _results():
        cases.append('{{ else if eq $stage "' + stage + '" }}' + _report("Succeeded", "Completed", "done", metrics, artifacts))
    rest = _report("Succeeded", "Completed", "done", {"mAP": 0.9548, "AP": dict.fromkeys(CLASSES, 0.9548)}, [])
    return "".join([*cases, "{{ else }}", rest, "{{ end }}"])


def _results() -> list[tuple[str, Object, list[str]]]:
    history = [{"epoch": epoch, "loss": 5.0 / epoch, "mAP": 0.9} for epoch in range(5, 26, 5)]
    evaluated = {"mAP": 0.9548, "AP": dict.fromkeys(CLASSES, 0.9548)}
    trained = {"epoch": 25, "epochs": 25, "loss": 3.84, "validationLoss": 4.2, **evaluated}
    anchors = [[4.0 * number, 3.0 * number] for number in range(1, 10)]
    return [
        ("prepare", {"trainImages": 320, "validationImages": 64, "boxes": dict.fromkeys(CLASSES, 320)}, []),
        ("anchors", {"anchors": anchors}, []),
        ("train", {**trained, "history": history}, ["checkpoint"]),
        ("retrain", trained, ["checkpoint"]),
        ("prune", {"parameterRatio": "@RATIO@"}, ["model"]),
        ("evaluate-pruned", {"mAP": "@MAP@", "AP": dict.fromkeys(CLASSES, 0.9)}, []),
        ("export", {"quantisedActivations": 32}, ["model"]),
        ("inference", {"images": 24, "detections": 118}, ["labels", "images"]),
    ]


def _report(outcome: str, reason: str, message: str, metrics: Object, artifacts: list[str]) -> str:
    found = dict(metrics)
    history = found.pop("history", None)
    report: Object = {
        "version": 1, "stage": _STAGE, "variant": _VARIANT, "attempt": "@ATTEMPT@", "digest": _DIGEST,
        "outcome": outcome, "reason": reason, "message": message, "exitCode": 0, "seconds": 93.1, "reused": False,
        "startedAt": "{{ $origin.state.running.startedAt }}", "finishedAt": "{{ $now }}",
        "metrics": found, "fingerprint": _DIGEST, "warnings": [], "truncated": False,
        "artifacts": [
            {"name": name, "path": f"stages/{_STAGE}-{name}/{name}.pth", "bytes": 1_000_000, "sha256": _DIGEST}
            for name in artifacts
        ],
    }  # fmt: skip
    if history:
        report["history"] = history
    text = json.dumps(report, separators=(",", ":"))
    # Numbers lose the quotes of their place-holders.
    text = text.replace('"@ATTEMPT@"', _ATTEMPT)
    return text.replace('"@RATIO@"', _by_variant(_RATIO, 0.25)).replace('"@MAP@"', _by_variant(_MAP, 0.9))


def _by_variant(values: dict[str, float], otherwise: float) -> str:
    cases = "".join('{{ if eq $variant "' + name + '" }}' + str(value) + "{{ end }}" for name, value in values.items())
    none = "{{ if not (or " + " ".join(f'(eq $variant "{name}")' for name in values) + ") }}" + str(otherwise) + "{{ end }}"
    return cases + none
