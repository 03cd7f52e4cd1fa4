"""`status` of a YoloExperiment: what the operator writes. Every list is bounded."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, ValidationError

from yolo_operator.api.base import OpenModel
from yolo_operator.api.rounds import MOST_ROUNDS

Text = Annotated[str, Field(max_length=1024)]
Name = Annotated[str, Field(max_length=253)]
Time = Annotated[str, Field(json_schema_extra={"format": "date-time"}, max_length=32)]


class Phase(StrEnum):
    """For people; machines read the conditions."""

    PENDING = "Pending"
    QUEUED = "Queued"
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"

    @property
    def final(self) -> bool:
        """The experiment is at its end, as long as nobody asks for more."""
        return self in (Phase.SUCCEEDED, Phase.FAILED)


class StageState(StrEnum):
    """State of one stage (of one variant)."""

    PENDING = "Pending"
    """Waits for its inputs, for a place (maxParallel, the operator's limits), or for its next attempt."""
    QUEUED = "Queued"
    """Its Job is there and held by Kueue."""
    STARTING = "Starting"
    """Its Job is there; no container has started yet."""
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    SKIPPED = "Skipped"
    """Will not run: an earlier stage ended the experiment, or the choice went to another variant."""

    @property
    def final(self) -> bool:
        """Whether nothing more happens to it while its inputs stand."""
        return self in (StageState.SUCCEEDED, StageState.FAILED, StageState.SKIPPED)

    @property
    def active(self) -> bool:
        """Whether it holds a Job."""
        return self in (StageState.QUEUED, StageState.STARTING, StageState.RUNNING)


class ConditionType(StrEnum):
    """Condition types; kstatus reads Reconciling and Stalled."""

    ACCEPTED = "Accepted"
    RECONCILING = "Reconciling"
    SUSPENDED = "Suspended"
    COMPLETE = "Complete"
    FAILED = "Failed"
    STALLED = "Stalled"


class Condition(OpenModel):
    """As in the Kubernetes API conventions."""

    type: Annotated[str, Field(max_length=64)]
    status: Annotated[str, Field(pattern="^(True|False|Unknown)$")]
    reason: Annotated[str, Field(max_length=128)]
    message: Text = ""
    last_transition_time: Time
    observed_generation: int | None = None


class Artifact(OpenModel):
    """A file (or a directory) a stage made."""

    name: Annotated[str, Field(max_length=64)]
    path: Annotated[str, Field(max_length=512)]
    """Relative to the workspace."""
    bytes: int
    sha256: Annotated[str, Field(max_length=64)]


class Metrics(OpenModel):
    """A stage's numbers; only those that it has."""

    epoch: int | None = None
    epochs: int | None = None
    loss: float | None = None
    validation_loss: float | None = None
    m_ap: Annotated[float | None, Field(alias="mAP")] = None
    """Mean average precision, 0 to 1."""
    ap: Annotated[dict[str, float] | None, Field(alias="AP", max_length=256)] = None
    """Average precision by class."""
    parameter_ratio: float | None = None
    """Parameters of the pruned model over those of the trained one."""
    anchors: Annotated[list[Annotated[list[float], Field(max_length=2)]] | None, Field(max_length=27)] = None
    """[width, height] in network pixels, ascending by area."""
    train_images: int | None = None
    validation_images: int | None = None
    unlabelled_images: int | None = None
    boxes: Annotated[dict[str, int] | None, Field(max_length=256)] = None
    quantised_activations: int | None = None
    images: int | None = None
    detections: int | None = None
    labels: int | None = None
    """Pseudo-labels that join the training set (merge), and those that do not, as a whole and by class and reason."""
    dropped_labels: int | None = None
    labels_by_class: Annotated[dict[str, int] | None, Field(max_length=256)] = None
    dropped_by_class: Annotated[dict[str, int] | None, Field(max_length=256)] = None
    dropped_by_reason: Annotated[dict[str, int] | None, Field(max_length=16)] = None


class Progress(OpenModel):
    """Where a running stage stands; written now and then, live numbers are metrics."""

    percent: int | None = None
    epoch: int | None = None
    epochs: int | None = None
    loss: float | None = None
    m_ap: Annotated[float | None, Field(alias="mAP")] = None
    eta_seconds: int | None = None
    resumed_from_epoch: int | None = None
    time: Time | None = None
    """When this was read."""


class Attempt(OpenModel):
    """One try of a stage that did not succeed."""

    number: int
    reason: Annotated[str, Field(max_length=128)]
    message: Text = ""
    class_: Annotated[str, Field(alias="class", max_length=32)]
    """user, transient or infrastructure."""
    node: Name | None = None
    log: Annotated[str, Field(max_length=512)] | None = None
    """All that the attempt said, relative to the workspace."""
    start_time: Time | None = None
    """When its container started."""
    finish_time: Time | None = None


class Warn(OpenModel):
    """Something a person should know that did not fail the stage."""

    reason: Annotated[str, Field(max_length=128)]
    message: Text = ""


class StageStatus(OpenModel):
    """One stage, of one variant where it has variants."""

    name: Annotated[str, Field(max_length=32)]
    variant: Annotated[str, Field(max_length=32)] = ""
    """The pruning threshold, for example "0.5"; empty otherwise."""
    state: StageState
    digest: Annotated[str, Field(max_length=64)] | None = None
    """Input digest: image, command, rendered experiment spec, and its inputs' digests."""
    parts: Annotated[dict[str, Annotated[str, Field(max_length=16)]] | None, Field(max_length=12)] = None
    """The beginnings of the digests of what the digest is made of: what differs tells why a stage runs again."""
    why: Annotated[str, Field(max_length=256)] | None = None
    """Why it ran, or did not have to: new, inputs changed, reused."""
    directory: Annotated[str, Field(max_length=512)] | None = None
    """The stage's own directory, relative to the workspace."""
    attempt: int = 0
    """Number of the attempt that runs or ran last."""
    failures: int = 0
    """Attempts that count against retry.limit."""
    remakes: int | None = None
    """How often it ran again because a later stage missed one of its artifacts."""
    spoiled: int | None = None
    """Directories of this digest that were given up because a file in them was not the recorded one any more."""
    not_adopted: bool | None = None
    """The experiment in spec.from had nothing to take over after all; it runs here."""
    job: Name | None = None
    node: Name | None = None
    image: Annotated[str, Field(max_length=512)] | None = None
    """The image that its container ran, as the node's runtime names it: with its digest."""
    reason: Annotated[str, Field(max_length=128)] | None = None
    message: Text | None = None
    wait_time: Time | None = None
    """When it began to wait for a place under the operator's limits, if it had to."""
    create_time: Time | None = None
    """When its Job was made."""
    start_time: Time | None = None
    """When its container started."""
    finish_time: Time | None = None
    retry_time: Time | None = None
    """Not before this is it tried again."""
    resumed_from_epoch: int | None = None
    """The checkpoint that its last attempt went on from."""
    reused: bool | None = None
    """The workspace already held this very result."""
    progress: Progress | None = None
    metrics: Metrics | None = None
    artifacts: Annotated[list[Artifact] | None, Field(max_length=8)] = None
    fingerprint: Annotated[str, Field(max_length=64)] | None = None
    """Digest of the labelled images, their labels and the classes (prepare)."""
    unlabelled_fingerprint: Annotated[str, Field(max_length=64)] | None = None
    """Digest of the unlabelled images (prepare)."""
    warnings: Annotated[list[Warn] | None, Field(max_length=8)] = None
    attempts: Annotated[list[Attempt] | None, Field(max_length=10)] = None
    """The last attempts that did not succeed."""


class Chosen(OpenModel):
    """The variant that goes on."""

    variant: Annotated[str, Field(max_length=32)]
    parameter_ratio: float | None = None
    m_ap: Annotated[float | None, Field(alias="mAP")] = None
    bytes: int | None = None
    message: Text = ""
    """Why it was chosen."""


class RoundStatus(OpenModel):
    """One pseudo-label round."""

    number: int
    kept: bool | None = None
    """Whether its model goes on; absent while that is open."""
    message: Text = ""
    images: int | None = None
    """Unlabelled images that joined the training set."""
    labels: int | None = None
    """Labels on them."""
    dropped: int | None = None
    """Detections that became no label."""
    labels_by_class: Annotated[dict[str, int] | None, Field(max_length=256)] = None
    dropped_by_class: Annotated[dict[str, int] | None, Field(max_length=256)] = None
    dropped_by_reason: Annotated[dict[str, int] | None, Field(max_length=16)] = None
    map_before: Annotated[float | None, Field(alias="mAPBefore")] = None
    """mAP of the model that it began from."""
    map_after: Annotated[float | None, Field(alias="mAPAfter")] = None
    """mAP of its own model."""


class VariantStatus(OpenModel):
    """One variant of the sweep."""

    name: Annotated[str, Field(max_length=32)]
    parameter_ratio: float
    m_ap: Annotated[float, Field(alias="mAP")]
    """Before retraining."""
    bytes: int
    pareto: bool
    """No other variant is at most as large and at least as good."""
    fits: bool
    """Whether it is within prune.select."""
    message: Annotated[str, Field(max_length=256)] = ""
    """Which bound it is beyond."""
    retrained_map: Annotated[float | None, Field(alias="retrainedMAP")] = None


class GateStatus(OpenModel):
    """What a gate found."""

    name: Annotated[str, Field(max_length=16)]
    open: bool
    message: Text = ""
    """The numbers."""


class Status(OpenModel):
    """What the operator knows of the experiment."""

    observed_generation: int | None = None
    phase: Phase | None = None
    stage: Annotated[str, Field(max_length=253)] | None = None
    """The stages that run now, or the one that ended the experiment."""
    progress: Annotated[str, Field(max_length=64)] | None = None
    """Finished stages of all, and the running one's percentage."""
    m_ap: Annotated[float | None, Field(alias="mAP")] = None
    """mAP of the newest model that was evaluated: exported, the one that goes on (retrained, pruned), or trained."""
    pruned: float | None = None
    """Parameter ratio of the chosen variant."""
    message: Text | None = None
    start_time: Time | None = None
    completion_time: Time | None = None
    claim_name: Name | None = None
    """The claim that holds the workspace."""
    sub_path: Annotated[str, Field(max_length=256)] | None = None
    """The directory on the claim. Results are those of this place: on another one every stage is looked at anew."""
    retry: Annotated[str, Field(max_length=128)] | None = None
    """The retry annotation that was acted on."""
    chosen: Chosen | None = None
    rounds: Annotated[list[RoundStatus] | None, Field(max_length=MOST_ROUNDS)] = None
    variants: Annotated[list[VariantStatus] | None, Field(max_length=16)] = None
    """The sweep, once every variant is evaluated."""
    gates: Annotated[list[GateStatus] | None, Field(max_length=8)] = None
    """The gates that were reached."""
    stages: Annotated[list[StageStatus] | None, Field(max_length=128)] = None
    conditions: Annotated[list[Condition] | None, Field(max_length=16)] = None


def read_status(stored: Mapping[str, Any]) -> Status:
    """A stored status, less what this version cannot read, which a newer one wrote before a downgrade. Never an error.

    Of a list the entry alone is left out, anything else as a whole field: a stage whose record is missing is looked at anew.
    """
    kept = dict(stored)
    while True:
        try:
            return Status.model_validate(kept)
        except ValidationError as error:
            less = _without(kept, {found["loc"][:2] for found in error.errors()})
            kept = less if less != kept else {}


def _without(stored: Mapping[str, Any], places: set[tuple[int | str, ...]]) -> dict[str, Any]:
    """A copy without the fields, or the entries of lists, at these places."""
    kept = dict(stored)
    for name in {place[0] for place in places if place}:
        value = kept.pop(str(name), None)
        entries = {place[1] for place in places if place[0] == name and len(place) > 1}
        if isinstance(value, list) and all(isinstance(entry, int) for entry in entries) and entries:
            kept[str(name)] = [item for index, item in enumerate(value) if index not in entries]
    return kept
