"""What toolkits print, as patterns: the runner reads them as `toolkits.json` (see runner_data.py).

A named group is a number's name in docs/stage-contract.md. The lines are those of TAO 3.21.11 and 5.0; the open toolkit prints
them, too.
"""

from __future__ import annotations

_NUMBER = r"[-+]?\d{1,30}(?:\.\d{1,30})?(?:[eE][-+]?\d{1,4})?|[-+]?nan|[-+]?inf"
_STEPS = r"(?P<step>\d{1,9})/(?P<steps>\d{1,9})"
# Keras prints four decimals, or d.dddde-dd: a digit behind them was left over from a longer bar on the line.
_LOSS = r"-?\d\.\d{4}e[-+]\d\d(?!\d)|-?\d{1,30}\.\d{1,4}(?!\d*[e.])|nan|-?inf"


def _number(name: str) -> str:
    return f"(?P<{name}>{_NUMBER})"


LINES: tuple[tuple[str, str], ...] = (
    (
        "bar",
        rf"^\s*{_STEPS} \[[=>.]{{1,100}}\]"
        r"(?: - (?P<took>\d{1,9})s .*?| - ETA: (?P<eta>(?:\d{1,4}:){0,2}\d{1,6})s?.*?|.*?)"
        rf"(?: - loss: (?P<loss>{_LOSS}).*)?$",
    ),
    ("count", rf"\d{{1,3}}%\|[^|]*\|\s*{_STEPS} \["),
    ("epoch", r"^Epoch (?P<epoch>\d{1,9})/(?P<epochs>\d{1,9})$"),
    ("saved", r"^Epoch (?P<epoch>\d{1,9}): saving model to \S"),
    ("earlyStop", r"^Epoch \d{1,9}: early stopping"),
    ("invalidLoss", r"^Batch \d{1,9}: Invalid loss"),
    ("fence", r"^\*{10,}$"),
    ("mean", rf"^\s+mAP\s+{_number('mAP')}$"),
    # A name of 14 characters or more has no space behind it.
    ("class", rf"^(?P<name>\S.{{0,200}}?) {{0,14}}AP {{4}}{_number('AP')}$"),
    ("validationLoss", rf"^Validation loss: {_number('validationLoss')}$"),
    ("ratio", rf"Pruning ratio \(pruned model / original model\): {_number('parameterRatio')}$"),
    ("anchors", r"^Please use following anchor sizes"),
    ("anchor", rf"^\({_number('width')}, {_number('height')}\)$"),
    ("iteration", r"^Start optimization iteration: (?P<step>\d{1,9})$"),
)
"""Kind → pattern of a line, in the order in which they are tried; regular expressions of Python 3.6, ASCII only."""

LIVE_METRICS: dict[str, str] = {
    "epoch": "epoch",
    "epochs": "epochs",
    "step": "step",
    "steps": "steps",
    "loss": "loss",
    "mAP": "map",
    "validationLoss": "validation_loss",
    "learningRate": "learning_rate",
    "etaSeconds": "eta_seconds",
    "resumedFromEpoch": "resumed_from_epoch",
}
"""Live number → its name for Prometheus behind `yolo_stage_`."""

TRAINING_LOG: dict[str, str] = {"loss": "loss", "mAP": "mAP", "validationLoss": "validation_loss", "learningRate": "lr"}
"""Number → its column in the csv that a training writes; classes have a column `AP_<class>` each."""

STATUS_NUMBERS: dict[str, str] = {
    "mAP": "map",
    "parameterRatio": "pruning_ratio",
    "quantisedActivations": "quantized_activations",
}
"""Number → its name among the `kpi` of a status file, in lower case, for what the output does not say."""

SENTENCES: tuple[tuple[str, str], ...] = (
    ("epoch", "checkpoint of epoch {}"),
    ("mAP", "mAP {:.4f}"),
    ("parameterRatio", "parameter ratio {:.3f}"),
    ("images", "{} images"),
    ("detections", "{} detections"),
    ("anchors", "{} anchors"),
)
"""What a success says of its numbers; of a list, how many there are."""
