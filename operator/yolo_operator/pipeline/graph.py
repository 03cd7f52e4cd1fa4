"""The stages of an experiment and what each waits for.

The graph grows in parts. A part's stages are a function of the spec and of what was decided before it; its decision is a
function of the records up to its last stage. What is not decided yet stands as a stage that waits, and a stage that a decision
made unnecessary stays in the graph as such.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from yolo_operator.api.pods import Retry, StageOverride
from yolo_operator.api.spec import Spec
from yolo_operator.pipeline.decisions import Decisions, Records, after_retraining, after_sweep, retrained_keys
from yolo_operator.pipeline.keys import (
    ANCHORS,
    EVALUATE,
    EVALUATE_EXPORTED,
    EVALUATE_RETRAINED,
    EXPORT,
    INFERENCE,
    PREPARE,
    RETRAIN,
    TRAIN,
    WEIGHTS,
    evaluate_pruned_key,
    evaluate_round_key,
    fine_tune_key,
    merge_key,
    prune_key,
    pseudo_label_key,
)
from yolo_operator.pipeline.rounds import after_labelling, after_tuning, rounds_of
from yolo_operator.pipeline.values import StageKey
from yolo_operator.pipeline.weights import fetches
from yolo_operator.toolkit.dialects import dialect

__all__ = [
    "ANCHORS",
    "EVALUATE",
    "EVALUATE_EXPORTED",
    "EVALUATE_RETRAINED",
    "EXPORT",
    "INFERENCE",
    "PREPARE",
    "RETRAIN",
    "TRAIN",
    "WEIGHTS",
    "Node",
    "Part",
    "evaluate_pruned_key",
    "graph",
    "parts",
    "prune_key",
    "stage_override",
    "stage_retry",
]


@dataclass(frozen=True, slots=True)
class Node:
    """A stage and what it waits for."""

    key: StageKey
    needs: tuple[StageKey, ...] = ()
    """The stages whose results it reads or whose success it waits for."""
    awaits: str = ""
    """The decision that it waits for as well, in words."""
    unneeded: str = ""
    """Why a decision made it unnecessary: it is Skipped, and the experiment is complete without it."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some stages, and what is decided when their records are known."""

    nodes: Callable[[Spec, Decisions], tuple[Node, ...]]
    """In an order in which every stage stands after what it needs."""
    decide: Callable[[Spec, Records, Decisions], Decisions]


def parts(spec: Spec) -> tuple[Part, ...]:
    """The parts of the graph in order."""
    return (
        Part(_sweep, after_sweep),
        Part(_retraining, after_retraining),
        *_rounds(spec),
        Part(_delivery, lambda _, __, decisions: decisions),
    )


def graph(spec: Spec, decisions: Decisions | None = None) -> tuple[Node, ...]:
    """All stages, as far as they are known before anything ran."""
    nodes: list[Node] = []
    so_far = decisions or Decisions()
    for part in parts(spec):
        nodes += part.nodes(spec, so_far)
        so_far = part.decide(spec, {}, so_far)
    return tuple(nodes)


def _sweep(spec: Spec, decisions: Decisions) -> tuple[Node, ...]:  # noqa: ARG001
    nodes = [Node(PREPARE)]
    if spec.anchors is not None:
        nodes.append(Node(ANCHORS, (PREPARE,)))
    before = [ANCHORS if spec.anchors is not None else PREPARE]
    if fetches(spec):
        nodes.append(Node(WEIGHTS))
        before.append(WEIGHTS)
    nodes.append(Node(TRAIN, tuple(before)))
    nodes.append(Node(EVALUATE, (TRAIN,)))
    if spec.prune is not None:
        nodes += [Node(prune_key(threshold), (EVALUATE,)) for threshold in spec.prune.thresholds]
        nodes += [Node(evaluate_pruned_key(threshold), (prune_key(threshold),)) for threshold in spec.prune.thresholds]
    return tuple(nodes)


def _retraining(spec: Spec, decisions: Decisions) -> tuple[Node, ...]:
    if spec.retrain is None:
        return ()
    pairs = retrained_keys(spec, decisions)
    retrained = [Node(retrain, (EVALUATE,), awaits=decisions.awaits) for retrain, _ in pairs]
    return tuple(retrained + [Node(evaluated, (retrain,)) for retrain, evaluated in pairs])


def _rounds(spec: Spec) -> list[Part]:
    rounds = rounds_of(spec)
    found: list[Part] = []
    for number in range(1, rounds.count + 1 if rounds else 1):
        found.append(Part(_labelling(number), after_labelling(number)))
        found.append(Part(_tuning(number), after_tuning(number)))
    return found


def _labelling(number: int) -> Callable[[Spec, Decisions], tuple[Node, ...]]:
    label, merge = pseudo_label_key(number), merge_key(number)
    return lambda _, decisions: (
        Node(label, decisions.after, awaits=decisions.awaits, unneeded=decisions.stopped),
        Node(merge, (label,), unneeded=decisions.stopped),
    )


def _tuning(number: int) -> Callable[[Spec, Decisions], tuple[Node, ...]]:
    tune, evaluate = fine_tune_key(number), evaluate_round_key(number)
    return lambda _, decisions: (
        Node(tune, (merge_key(number),), awaits=decisions.awaits, unneeded=decisions.stopped),
        Node(evaluate, (tune,), unneeded=decisions.stopped),
    )


def _delivery(spec: Spec, decisions: Decisions) -> tuple[Node, ...]:
    nodes = []
    if spec.export is not None:
        nodes.append(Node(EXPORT, decisions.after, awaits=decisions.awaits))
        if dialect(spec.toolkit.profile).evaluates_export:
            nodes.append(Node(EVALUATE_EXPORTED, (EXPORT,)))
    if spec.inference is not None:
        nodes.append(Node(INFERENCE, decisions.after, awaits=decisions.awaits))
    return tuple(nodes)


def stage_override(spec: Spec, key: StageKey) -> StageOverride:
    """What the spec says of one stage."""
    override: StageOverride | None = getattr(spec.stages, key.group) if spec.stages else None
    return override or StageOverride()


def stage_retry(spec: Spec, key: StageKey) -> Retry:
    """How a stage is tried again: its own fields over the general ones."""
    own = stage_override(spec, key).retry
    return spec.retry.model_copy(update={name: getattr(own, name) for name in own.model_fields_set}) if own else spec.retry
