"""`spec` of a YoloExperiment: what a person writes."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar

from pydantic import Field

from yolo_operator.api import experiment_spec_rules, gate_rules, profile_rules
from yolo_operator.api.base import Model, ObjectName, Rule, exactly_one
from yolo_operator.api.dataset import Dataset
from yolo_operator.api.delivery import Export, Inference
from yolo_operator.api.experiment_spec import ExperimentSpec, ExperimentSpecSource
from yolo_operator.api.gates import Gates
from yolo_operator.api.pods import Resources, Retry, Scheduling, SecurityContext, StageOverrides
from yolo_operator.api.pretrained import Pretrained
from yolo_operator.api.pruning import Prune
from yolo_operator.api.rounds import Rounds
from yolo_operator.api.toolkit import Toolkit
from yolo_operator.api.training import Anchors, Qat, Retrain, Train
from yolo_operator.api.workspace import From, Workspace


def _known_classes(dataset: Dataset, rounds: Rounds) -> bool:
    return set(rounds.min_confidence_per_class or ()) <= set(dataset.classes.values())


class Spec(Model):
    """One YOLOv4 experiment, whole."""

    toolkit: Toolkit
    workspace: Workspace
    from_: Annotated[From | None, Field(alias="from")] = None
    """Absent: everything is run here."""
    dataset: Dataset
    experiment_spec: ExperimentSpec
    anchors: Anchors | None = None
    """Absent: the experiment spec's own anchors."""
    pretrained: Pretrained | None = None
    """Weights to start from. Absent: `trainingConfig.pretrainModelPath`, or random numbers."""
    train: Train = Train()
    qat: Qat | None = None
    """Quantisation-aware training: FromTrain (train with it, prune, retrain with it), FromRetrain (in the retraining only, which
    TAO ignores) or Off. Absent: as `trainingConfig.enableQat` and `retrain.enableQat` say."""
    prune: Prune | None = None
    """Absent: no pruning."""
    retrain: Retrain | None = None
    """Absent: no retraining."""
    export: Export | None = None
    """Absent: no export."""
    inference: Inference | None = None
    """Absent: no inference."""
    gates: Gates | None = None
    """Absent: no bounds."""
    resources: Resources = Resources()
    scheduling: Scheduling = Scheduling()
    security_context: SecurityContext | None = None
    retry: Retry = Retry()
    stages: StageOverrides | None = None
    max_parallel: Annotated[int, Field(ge=1, le=64)] = 4
    """Jobs of this experiment at the same time."""
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    """Who goes first when the operator's limits let not everybody start. Against other namespaces it counts up to the limit's
    maxPriority. It orders what waits and stops nothing; the scheduler's own order is scheduling.priorityClassName."""
    suspend: bool = False
    """Stops what runs (checkpoints are kept) and starts nothing until it is false again."""
    queue_name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", max_length=63)] | None = None
    """A Kueue LocalQueue. Kueue then decides when a stage's Job runs; while it waits the stage is Queued."""
    queue_priority_class: ObjectName | None = None
    """A Kueue WorkloadPriorityClass: who goes first, and who is preempted."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=2_147_483_647)] = 604_800
    """How long a finished Job is kept, with its pods and their logs: a week unless said otherwise. It is never removed before its
    report is in status, and the logs stay in the workspace."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel="has(self.anchors) || has(self.experimentSpec.yolov4Config.bigAnchorShape)",
            message="no anchors: set anchors.auto, or the three anchor shapes in experimentSpec.yolov4Config",
            check=lambda s: s.anchors is not None or s.experiment_spec.yolov4_config.big_anchor_shape is not None,
        ),
        Rule(
            cel="!has(self.anchors) || self.experimentSpec.yolov4Config.arch != 'cspdarknet_tiny'"
            " || self.anchors.auto.count % 2 == 0",
            message="cspdarknet_tiny has two scales: count must be even, for example 6",
            check=lambda s: (
                s.anchors is None or s.experiment_spec.yolov4_config.arch != "cspdarknet_tiny" or s.anchors.auto.count % 2 == 0
            ),
            field=".anchors.auto.count",
        ),
        *gate_rules.RULES,
        Rule(
            cel="!has(self.retrain) || has(self.prune)",
            message="retrain works on the chosen pruned variant: set prune",
            check=lambda s: s.retrain is None or s.prune is not None,
            field=".retrain",
        ),
        Rule(
            cel="!has(self.inference) || has(self.dataset.unlabelled)",
            message="inference needs dataset.unlabelled",
            check=lambda s: s.inference is None or s.dataset.unlabelled is not None,
            field=".inference",
        ),
        Rule(
            cel="!has(self.inference) || !has(self.inference.rounds) || !has(self.inference.rounds.minConfidencePerClass)"
            " || self.inference.rounds.minConfidencePerClass.all(c,"
            " self.dataset.classes.exists(k, self.dataset.classes[k] == c))",
            message="minConfidencePerClass names a class that dataset.classes does not map to",
            check=lambda s: s.inference is None or s.inference.rounds is None or _known_classes(s.dataset, s.inference.rounds),
            field=".inference.rounds.minConfidencePerClass",
        ),
        Rule(
            cel="!has(self.qat) || self.qat == 'FromTrain' || !self.experimentSpec.trainingConfig.enableQat",
            message="trainingConfig.enableQat says otherwise: take it out, or qat",
            check=lambda s: s.qat in (None, Qat.FROM_TRAIN) or not s.experiment_spec.training_config.enable_qat,
            field=".qat",
        ),
        Rule(
            cel="!has(self.qat) || self.qat != 'Off' || !has(self.retrain) || !self.retrain.enableQat",
            message="retrain.enableQat says otherwise: take it out, or qat",
            check=lambda s: s.qat is not Qat.OFF or s.retrain is None or not s.retrain.enable_qat,
            field=".qat",
        ),
        Rule(
            cel="!has(self.qat) || self.qat != 'FromRetrain' || has(self.retrain)",
            message="FromRetrain needs retrain",
            check=lambda s: s.qat is not Qat.FROM_RETRAIN or s.retrain is not None,
            field=".qat",
        ),
        Rule(
            cel="!has(self.pretrained) || !(has(self.experimentSpec.trainingConfig.pretrainModelPath)"
            " || has(self.experimentSpec.trainingConfig.prunedModelPath))",
            message="trainingConfig names another model to start from: take that out, or pretrained",
            check=lambda s: (
                s.pretrained is None
                or (
                    s.experiment_spec.training_config.pretrain_model_path is None
                    and s.experiment_spec.training_config.pruned_model_path is None
                )
            ),
            field=".pretrained",
        ),
        *profile_rules.RULES,
        *experiment_spec_rules.RULES,
        Rule(
            cel="!has(self.queuePriorityClass) || has(self.queueName)",
            message="queuePriorityClass is Kueue's: set queueName, or use scheduling.priorityClassName",
            check=lambda s: s.queue_priority_class is None or s.queue_name is not None,
            field=".queuePriorityClass",
        ),
    )

    @property
    def trains_with_qat(self) -> bool:
        """Whether the first training is quantisation-aware."""
        return self.experiment_spec.training_config.enable_qat if self.qat is None else self.qat is Qat.FROM_TRAIN

    @property
    def retrains_with_qat(self) -> bool:
        """Whether the retraining is asked to be."""
        if self.retrain is None:
            return False
        return self.retrain.enable_qat if self.qat is None else self.qat is not Qat.OFF


_ELSEWHERE = {"experimentSpec": "experiment_spec", "dataset": "dataset"}


def _once_known(rule: Rule) -> Rule:
    """The rule, holding while a field that it reads stands elsewhere: it is checked again when the text is read."""
    fields = {field: name for field, name in _ELSEWHERE.items() if re.search(rf"self\.\??{field}\b", rule.cel)}
    if not fields:
        return rule
    return rule._replace(
        cel=f"{' || '.join(f'!has(self.{field})' for field in fields)} || ({rule.cel})",
        check=lambda spec: any(getattr(spec, name) is None for name in fields.values()) or rule.check(spec),
    )


class WrittenSpec(Spec):
    """One YOLOv4 experiment."""

    # As a person writes it: experiment spec and data may stand elsewhere, in a text that has to be read first. Before that it is
    # a Spec only as far as the rest goes; `toolkit.importing.resolve` makes a whole one of it.
    dataset: Dataset | None = None  # type: ignore[assignment]
    """With experimentSpecFrom it may be left out: then it is what the text's dataset_config says."""
    experiment_spec: ExperimentSpec | None = None  # type: ignore[assignment]
    """Exactly one of it and experimentSpecFrom."""
    experiment_spec_from: ExperimentSpecSource | None = None
    """TAO's experiment spec as its own text (config.txt), which is run as it is."""

    rules: ClassVar[tuple[Rule, ...]] = (
        exactly_one("experiment_spec", "experiment_spec_from"),
        Rule(
            cel="has(self.dataset) || has(self.experimentSpecFrom)",
            message="dataset says where images and labels are: only a text (experimentSpecFrom) can say it in its place",
            check=lambda s: s.dataset is not None or s.experiment_spec_from is not None,
        ),
        *(_once_known(rule) for rule in Spec.rules),
    )


def parse_spec(raw: dict[str, Any]) -> Spec:
    """The spec as a model; a `WrittenSpec` where it refers to a text. Fields have the API server's names, and no others.

    Raises:
        pydantic.ValidationError: with the path of each wrong field.
    """
    model = WrittenSpec if raw.get("experimentSpecFrom") is not None else Spec
    return model.model_validate(raw, by_alias=True, by_name=False)
