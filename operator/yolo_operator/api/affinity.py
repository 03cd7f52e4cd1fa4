"""Affinity and topology spread of a stage's pod: Kubernetes' own fields, bounded."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from yolo_operator.api.base import Model, ObjectName, Rule

LabelKey = Annotated[str, Field(pattern=r"^([a-z0-9.-]+/)?[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$", max_length=316)]
LabelValue = Annotated[str, Field(pattern=r"^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?$", max_length=63)]
Weight = Annotated[int, Field(ge=1, le=100)]

_VALUES = "In and NotIn need values, Exists and DoesNotExist have none"


class LabelOperator(StrEnum):
    """How a label is compared."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class NodeOperator(StrEnum):
    """How a node's label is compared; Gt and Lt take one whole number."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"
    GT = "Gt"
    LT = "Lt"


class NodeRequirement(Model):
    """A comparison with a node's label."""

    key: LabelKey
    operator: NodeOperator
    values: Annotated[list[LabelValue], Field(min_length=1, max_length=32)] | None = None

    rules: ClassVar = (
        Rule(
            cel="has(self.values) != (self.operator in ['Exists', 'DoesNotExist'])",
            message="In, NotIn, Gt and Lt need values, Exists and DoesNotExist have none",
            check=lambda r: (r.values is not None) != (r.operator in (NodeOperator.EXISTS, NodeOperator.DOES_NOT_EXIST)),
            field=".values",
        ),
    )


class NodeTerm(Model):
    """All of its comparisons hold."""

    match_expressions: Annotated[list[NodeRequirement], Field(min_length=1, max_length=8)]


class PreferredNodes(Model):
    """Nodes that are better by a weight."""

    weight: Weight
    preference: NodeTerm


class RequiredNodes(Model):
    """A node fits when one of the terms holds."""

    node_selector_terms: Annotated[list[NodeTerm], Field(min_length=1, max_length=8)]


class NodeAffinity(Model):
    """Which nodes."""

    required_during_scheduling_ignored_during_execution: RequiredNodes | None = None
    preferred_during_scheduling_ignored_during_execution: Annotated[list[PreferredNodes], Field(max_length=8)] | None = None


class LabelRequirement(Model):
    """A comparison with a pod's label."""

    key: LabelKey
    operator: LabelOperator
    values: Annotated[list[LabelValue], Field(min_length=1, max_length=32)] | None = None

    rules: ClassVar = (
        Rule(
            cel="has(self.values) == (self.operator in ['In', 'NotIn'])",
            message=_VALUES,
            check=lambda r: (r.values is not None) == (r.operator in (LabelOperator.IN, LabelOperator.NOT_IN)),
            field=".values",
        ),
    )


class LabelSelector(Model):
    """Pods by their labels."""

    match_labels: Annotated[dict[str, LabelValue], Field(max_length=8)] | None = None
    match_expressions: Annotated[list[LabelRequirement], Field(max_length=8)] | None = None


class PodTerm(Model):
    """Pods that count, and what being together means."""

    label_selector: LabelSelector
    topology_key: LabelKey
    """A node label: nodes with the same value are one place."""
    namespaces: Annotated[list[ObjectName], Field(max_length=8)] | None = None
    """Absent: the experiment's own."""


class PreferredPods(Model):
    """Places that are better by a weight."""

    weight: Weight
    pod_affinity_term: PodTerm


class PodAffinity(Model):
    """Near which pods, or apart from which."""

    required_during_scheduling_ignored_during_execution: Annotated[list[PodTerm], Field(max_length=4)] | None = None
    preferred_during_scheduling_ignored_during_execution: Annotated[list[PreferredPods], Field(max_length=4)] | None = None


class StageAffinity(Model):
    """As in a pod."""

    node_affinity: NodeAffinity | None = None


class Affinity(StageAffinity):
    """As in a pod."""

    pod_affinity: PodAffinity | None = None
    pod_anti_affinity: PodAffinity | None = None


class TopologySpread(Model):
    """As in a pod."""

    max_skew: Annotated[int, Field(ge=1, le=100)] = 1
    topology_key: LabelKey
    when_unsatisfiable: Annotated[str, Field(pattern="^(DoNotSchedule|ScheduleAnyway)$")] = "ScheduleAnyway"
    label_selector: LabelSelector | None = None
    """Absent: the pods of the same experiment."""
