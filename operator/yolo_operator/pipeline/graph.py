"""The stages of an experiment and what each waits for."""

from __future__ import annotations

from dataclasses import dataclass

from yolo_operator.api.pods import StageOverride
from yolo_operator.api.spec import Spec
from yolo_operator.pipeline.values import StageKey
from yolo_operator.toolkit import text
from yolo_operator.toolkit.dialects import dialect

PREPARE = StageKey("prepare")
ANCHORS = StageKey("anchors")
TRAIN = StageKey("train")
EVALUATE = StageKey("evaluate")
RETRAIN = StageKey("retrain")
EVALUATE_RETRAINED = StageKey("evaluate-retrained")
EXPORT = StageKey("export")
EVALUATE_EXPORTED = StageKey("evaluate-exported")
INFERENCE = StageKey("inference")


def prune_key(threshold: float) -> StageKey:
    """The prune stage of one threshold."""
    return StageKey("prune", text.number(threshold))


def evaluate_pruned_key(threshold: float) -> StageKey:
    """The evaluation of one pruned variant."""
    return StageKey("evaluate-pruned", text.number(threshold))


@dataclass(frozen=True, slots=True)
class Node:
    """A stage and the stages whose results it reads or whose success it waits for."""

    key: StageKey
    needs: tuple[StageKey, ...] = ()
    needs_choice: bool = False
    """Waits for the choice among the variants."""


def graph(spec: Spec) -> tuple[Node, ...]:
    """All stages in an order in which every stage stands after what it needs."""
    nodes = [Node(PREPARE)]
    if spec.anchors is not None:
        nodes.append(Node(ANCHORS, (PREPARE,)))
    nodes.append(Node(TRAIN, (ANCHORS if spec.anchors is not None else PREPARE,)))
    nodes.append(Node(EVALUATE, (TRAIN,)))
    last, choice = EVALUATE, False
    if spec.prune is not None:
        nodes += [Node(prune_key(threshold), (EVALUATE,)) for threshold in spec.prune.thresholds]
        nodes += [Node(evaluate_pruned_key(threshold), (prune_key(threshold),)) for threshold in spec.prune.thresholds]
        choice = True
    if spec.retrain is not None:
        nodes.append(Node(RETRAIN, (EVALUATE,), needs_choice=True))
        nodes.append(Node(EVALUATE_RETRAINED, (RETRAIN,)))
        last, choice = EVALUATE_RETRAINED, False
    if spec.export is not None:
        nodes.append(Node(EXPORT, (last,), needs_choice=choice))
        if dialect(spec.toolkit.profile).evaluates_export:
            nodes.append(Node(EVALUATE_EXPORTED, (EXPORT,)))
    if spec.inference is not None:
        nodes.append(Node(INFERENCE, (last,), needs_choice=choice))
    return tuple(nodes)


def stage_override(spec: Spec, key: StageKey) -> StageOverride:
    """What the spec says of one stage."""
    override: StageOverride | None = getattr(spec.stages, key.group) if spec.stages else None
    return override or StageOverride()
