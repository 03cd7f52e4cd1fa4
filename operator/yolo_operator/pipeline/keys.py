"""The stages by name."""

from __future__ import annotations

from yolo_operator.pipeline.values import StageKey
from yolo_operator.toolkit import text

PREPARE = StageKey("prepare")
ANCHORS = StageKey("anchors")
WEIGHTS = StageKey("weights")
TRAIN = StageKey("train")
EVALUATE = StageKey("evaluate")
RETRAIN = StageKey("retrain")
EVALUATE_RETRAINED = StageKey("evaluate-retrained")
EXPORT = StageKey("export")
EVALUATE_EXPORTED = StageKey("evaluate-exported")
INFERENCE = StageKey("inference")
REPORT = StageKey("report")
"""No stage of the graph: the Job that writes the report into the workspace once the experiment has ended."""


def prune_key(threshold: float) -> StageKey:
    """The prune stage of one threshold."""
    return StageKey("prune", text.number(threshold))


def evaluate_pruned_key(threshold: float) -> StageKey:
    """The evaluation of one pruned variant."""
    return StageKey("evaluate-pruned", text.number(threshold))


def pseudo_label_key(number: int) -> StageKey:
    """Inference of a round, with the best model."""
    return StageKey("pseudo-label", str(number))


def merge_key(number: int) -> StageKey:
    """What becomes of a round's inference: labels for training."""
    return StageKey("merge", str(number))


def fine_tune_key(number: int) -> StageKey:
    """The training of a round."""
    return StageKey("fine-tune", str(number))


def evaluate_round_key(number: int) -> StageKey:
    """The evaluation of a round's model."""
    return StageKey("evaluate-round", str(number))
