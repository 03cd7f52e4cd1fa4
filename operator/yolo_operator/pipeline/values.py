"""The values that decisions are made from and of: experiments, observed Jobs and Pods, actions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from yolo_operator.api.spec import Spec
from yolo_operator.api.status import Progress, StageStatus, Status


class StageKey(NamedTuple):
    """A stage of one variant; `variant` is empty where the stage has none."""

    name: str
    variant: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.variant}".rstrip()

    @property
    def group(self) -> str:
        """The field of `spec.stages` that is about it: all evaluations share one; the report runs as `prepare` does."""
        if self.name == "report":
            return "prepare"
        return "evaluate" if self.name.startswith("evaluate") else self.name.replace("-", "_")

    @property
    def own(self) -> bool:
        """Whether it is the operator's own: in its image, without a GPU."""
        return self.name in ("prepare", "weights", "merge", "report")

    @property
    def trains(self) -> bool:
        """Whether it runs a training: it may have several GPUs, and it resumes from checkpoints."""
        return self.name in ("train", "retrain", "fine-tune")

    @property
    def slug(self) -> str:
        """As part of object names and directories: `prune-0-5`."""
        return "-".join(part for part in (self.name, self.variant.replace(".", "-")) if part)


@dataclass(frozen=True, slots=True)
class Experiment:
    """A YoloExperiment that the API server accepted."""

    namespace: str
    name: str
    uid: str
    generation: int
    spec: Spec
    status: Status
    retry_token: str = ""
    """Of the retry annotation, as status remembers it: a new one lets failed stages run again."""
    rerun: Mapping[str, str] = field(default_factory=dict)
    """Tokens of the rerun annotation by stage."""
    cancel_token: str = ""
    """Value of the cancel annotation; not empty: nothing may run."""

    @property
    def stopped(self) -> bool:
        """Whether what runs is to be stopped."""
        return self.spec.suspend or bool(self.cancel_token)


class Gpus(NamedTuple):
    """GPUs of one stage."""

    resource: str = ""
    """The extended resource or, of a claim, the device class; empty with none."""
    number: int = 0

    def __str__(self) -> str:
        return f"{self.resource}={self.number}"


NO_GPUS = Gpus()


class JobState(StrEnum):
    """Where a Job stands."""

    ACTIVE = "Active"
    COMPLETE = "Complete"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True)
class JobView:
    """What the operator keeps of a Job."""

    namespace: str
    name: str
    uid: str
    owner_uid: str
    owner_name: str
    stage: StageKey
    digest: str
    attempt: int
    state: JobState
    resource_version: int = field(default=0, compare=False)
    """A new one alone is no news."""
    suspended: bool = False
    deleting: bool = False
    final: bool = False
    """Labelled as recorded."""
    place: str = ""
    """Short digest of the claim and directory that it works in."""
    gpus: Gpus = NO_GPUS
    """What its pod asks for."""
    reason: str = ""
    message: str = ""
    start_time: str | None = None
    finish_time: str | None = None

    created: str = ""

    @property
    def finished(self) -> bool:
        """No pod of it runs or will run."""
        return self.state is not JobState.ACTIVE


@dataclass(frozen=True, slots=True)
class PodView:
    """What the operator keeps of a stage's Pod."""

    namespace: str
    name: str
    uid: str
    job: str
    owner_name: str
    """The experiment."""
    phase: str
    created: str
    resource_version: int = field(default=0, compare=False)
    """A new one alone is no news."""
    node: str | None = None
    image: str = ""
    """The image that the container runs, with its digest; empty before it has started."""
    start_time: str | None = None
    """When the container started."""
    finish_time: str | None = None
    exit_code: int | None = None
    terminated_reason: str = ""
    termination_message: str = ""
    waiting_reason: str = ""
    waiting_message: str = ""
    unschedulable: str = ""
    """The scheduler's message while the pod fits nowhere."""
    disrupted: str = ""
    """Reason of a DisruptionTarget condition: eviction, preemption, node loss."""
    failed_reason: str = ""
    """The kubelet's own word, beside any container's end: Evicted, UnexpectedAdmissionError, OutOfcpu."""
    failed_message: str = ""
    deleting: bool = False

    @property
    def evicted(self) -> bool:
        """For what it did itself: the kubelet marks what it evicts for the node's sake as disrupted."""
        return self.failed_reason == "Evicted" and not self.disrupted

    @property
    def running(self) -> bool:
        """A container of it runs."""
        return self.start_time is not None and self.exit_code is None and self.phase == "Running"


class Held(NamedTuple):
    """Why a queue holds a Job, in the queue's own words."""

    reason: str
    message: str


class ClaimState(StrEnum):
    """Whether the workspace's claim is there."""

    UNKNOWN = "Unknown"
    PRESENT = "Present"
    MISSING = "Missing"


@dataclass(frozen=True, slots=True)
class Source:
    """The experiment that `spec.from` names: its stages, and where their artifacts lie."""

    name: str
    stages: tuple[StageStatus, ...]
    claim: str
    sub_path: str = ""


@dataclass(frozen=True, slots=True)
class Observed:
    """What is known of the cluster around one experiment."""

    jobs: tuple[JobView, ...] = ()
    pods: tuple[PodView, ...] = ()
    absent: frozenset[str] = frozenset()
    """Job names that a live GET has shown not to exist."""
    looked: frozenset[str] = frozenset()
    """Names of finished Jobs whose pods are as a live list shows them."""
    claim: ClaimState = ClaimState.UNKNOWN
    rival: str | None = None
    """An older experiment that has the same workspace directory."""
    progress: Mapping[str, Progress] = field(default_factory=dict)
    """Live progress by Job name."""
    held: Mapping[str, Held] = field(default_factory=dict)
    """What the queue says of suspended Jobs, by name."""
    source: Source | None = None
    """The experiment of `spec.from`; None when there is none."""
    refused: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Jobs that could not be made in this look: reason and message by name."""
    waits: Mapping[str, Held] = field(default_factory=dict)
    """Jobs for which there is no room yet, under the operator's limits or the namespace's quota: why, by name."""
    placed: bool = True
    """Whether the experiment has its place under the limits: it counts as one that runs."""


@dataclass(frozen=True, slots=True)
class Adoption:
    """Where another experiment's result of the same digest lies: the stage's Job takes it over and runs nothing."""

    experiment: str
    claim: str
    sub_path: str = ""


@dataclass(frozen=True, slots=True)
class StageRun:
    """Everything a stage's Job needs, beyond scheduling."""

    key: StageKey
    digest: str
    directory: str
    instructions: Mapping[str, Any]
    """As docs/stage-contract.md, without `attempt`."""
    experiment_spec: str
    image: str | None
    """None: the operator's own image (prepare, merge, taking over)."""
    parts: Mapping[str, str] = field(default_factory=dict)
    """Beginnings of the digests of what the digest is made of."""
    place: str = ""
    """Short digest of the claim and directory that it works in."""
    adopt: Adoption | None = None


@dataclass(frozen=True, slots=True)
class CreateJob:
    """Start an attempt of a stage."""

    name: str
    attempt: int
    run: StageRun


@dataclass(frozen=True, slots=True)
class DeleteJob:
    """Stop a Job; its pods get SIGTERM and their grace period."""

    name: str
    uid: str
    why: str


@dataclass(frozen=True, slots=True)
class MarkFinal:
    """Label a finished Job whose report is in status, so that it leaves the watch."""

    name: str


@dataclass(frozen=True, slots=True)
class EnsureClaim:
    """Make the workspace's claim from its template."""

    name: str


Action = CreateJob | DeleteJob | MarkFinal | EnsureClaim


class EventKind(StrEnum):
    """Types of Kubernetes Events."""

    NORMAL = "Normal"
    WARNING = "Warning"


@dataclass(frozen=True, slots=True)
class Notice:
    """An Event to record on the experiment."""

    kind: EventKind
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, what to write, and when to look again."""

    status: Status
    actions: tuple[Action, ...] = ()
    confirm: tuple[str, ...] = ()
    """Jobs that are not in the cache though they should be, or ended badly: look at the API server before deciding from that."""
    check_claim: bool = False
    """Whether the workspace's claim must be looked up before anything starts."""
    requeue_seconds: float | None = None
