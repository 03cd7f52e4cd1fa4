"""One look at one experiment: snapshot, plan, actions, at most one status patch, Events.

Actions come before the status: a crash between the two leaves a Job whose name the next plan knows, never a status without a Job.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from zlib import crc32

from yolo_operator.api.pods import DeviceClaim
from yolo_operator.api.status import Phase, Progress, StageState, Status
from yolo_operator.controller.cache import Cache, ExperimentRow, Key
from yolo_operator.controller.places import Places
from yolo_operator.controller.podless import PodlessJobs
from yolo_operator.controller.queued import QueueReasons
from yolo_operator.controller.recorder import Recorder
from yolo_operator.controller.sources import MISSING_SECONDS, SourceError, Sources
from yolo_operator.controller.tidier import Tidier
from yolo_operator.kube import job as kube_job
from yolo_operator.kube.claim import claim_manifest
from yolo_operator.kube.cluster import CLAIMS, DEVICE_TEMPLATES, EXPERIMENTS, JOBS, PODS, Cluster, Kind, Object
from yolo_operator.kube.device_claim import template_manifest
from yolo_operator.kube.errors import ApiError
from yolo_operator.kube.merge import merge_patch
from yolo_operator.kube.quota import exceeded
from yolo_operator.kube.report_job import report_job
from yolo_operator.kube.runner_map import ensure_runner
from yolo_operator.kube.views import controlled_by
from yolo_operator.pipeline import memo, times
from yolo_operator.pipeline.names import workspace_claim
from yolo_operator.pipeline.plan import at_rest, plan
from yolo_operator.pipeline.stages import LIMIT_REACHED, LIMIT_TOO_LOW, QUOTA_EXCEEDED, QUOTA_TOO_LOW
from yolo_operator.pipeline.summary import just_ended, notices, only_goes_on, refused
from yolo_operator.pipeline.values import (
    Action,
    ClaimState,
    CreateJob,
    DeleteJob,
    EnsureClaim,
    EventKind,
    Experiment,
    Held,
    MarkFinal,
    Notice,
    Observed,
    Plan,
)

logger = logging.getLogger(__name__)

LOOKS = 4
"""Times a plan may ask for a live look (claim, missing Jobs) within one reconcile."""
QUOTA_SECONDS = 20
"""Between two tries to make a Job for which a ResourceQuota has no room."""
LAG_SECONDS, LONGEST_LAG = 15.0, 60.0
"""So far behind are statuses while others press, on average: few of them, and however many; each by half less to half more."""
LATE_A_SECOND = 4
"""So many statuses that are behind are written a second: each costs the API server half of a Job, which somebody waits for."""
CLAIM_SEEN_SECONDS = 30
"""For so long a claim that was there is taken to be still there: hundreds of experiments of a burst share one."""
CLAIMS_SEEN = 256
RUNNER_SECONDS = 600
"""For so long a namespace's runner ConfigMap is taken to be still there."""
_NO_DEVICE_CLAIMS = {
    403: "the operator may not make a ResourceClaimTemplate: install the chart with rbac.dra=true",
    404: "the cluster does not serve resource.k8s.io/v1: dynamic resource allocation needs Kubernetes 1.34",
}


def lag_seconds(owed: int, part: float) -> float:
    """How far behind a status may be while that many are.

    `part` is its own place among them, 0 to 1: those of a burst, which fall behind together, must not come due together.
    """
    return min(LONGEST_LAG, max(LAG_SECONDS, owed / LATE_A_SECOND)) * (0.5 + part)


def part_of(key: Key) -> float:
    """The same for the same experiment, evenly spread over many."""
    return crc32(str(key).encode()) / 2**32


class NameTaken(Exception):  # noqa: N818 - it names what is wrong
    """A Job of the name exists and belongs to somebody else."""


@dataclass(slots=True)
class Reconciler:
    """Brings experiments forward, one look at a time."""

    cluster: Cluster
    cache: Cache
    recorder: Recorder
    tidier: Tidier
    clock: Callable[[], datetime]
    operator_image: str
    runner: Object
    """The runner ConfigMap's manifest."""
    reports: bool = False
    """Whether an experiment's end lets a Job write the report into its workspace."""
    progress: dict[str, Progress] = field(default_factory=dict)
    """Live progress by `namespace/job`."""
    places: Places | None = None
    """Under the operator's limits; None without any."""
    pressed: Callable[[Key], bool] = lambda _: False
    """Whether other experiments wait while this one is looked at."""
    later: Callable[[Key, float], None] = lambda _, __: None
    """Asks for another look when they do not, or after so many seconds."""
    _owed: dict[Key, datetime] = field(default_factory=dict)
    """Experiments whose status is behind, and since when."""
    _runner_seen: dict[str, datetime] = field(default_factory=dict)
    _claims_seen: dict[tuple[str, str], datetime] = field(default_factory=dict)
    _queue_reasons: QueueReasons = field(init=False)
    _podless: PodlessJobs = field(init=False)
    _sources: Sources = field(init=False)

    def __post_init__(self) -> None:
        self._queue_reasons = QueueReasons(self.cluster, self.clock)
        self._podless = PodlessJobs(self.cluster, self.clock)
        self._sources = Sources(self.cluster, self.clock)

    async def reconcile(self, key: Key) -> float | None:
        """Look at an experiment; seconds until it wants to be looked at again, if by itself.

        Raises:
            ApiError: when the API server refused or could not be reached; a conflict means that the cache was behind.
            NameTaken: when a Job's name is in use.
        """
        if self.places is None:
            return await self._look(key)
        with self.places.look(key):
            return await self._look(key)

    async def _look(self, key: Key) -> float | None:
        row = self.cache.experiments.get(*key)
        if row is None:
            # Perhaps its namespace went, too; one that is made anew under the name has no runner.
            self._runner_seen.pop(key.namespace, None)
            self._owed.pop(key, None)
            memo.RUNS.forget(*key)
            return None
        if row.experiment is None:
            await self._patch_status(row, refused(row.status, row.generation, "InvalidSpec", row.problem, self.clock()))
            return None
        if self._sources.interval(row.experiment) is None and await self._rests(row, row.experiment):
            return None
        try:
            experiment = await self._sources.whole(row.experiment)
        except SourceError as error:
            await self._report_rejection(row, error.reason, str(error), accepted=False)
            return MISSING_SECONDS
        decision, observed = await self._decide(row, experiment)
        if self.places is not None:
            decision, observed = self._with_places(self.places, row, experiment, decision, observed)
        decision, refusal = await self._act(row, experiment, decision, observed)
        if self.reports and just_ended(experiment.status, decision.status):
            await self._write_report(experiment, decision.status)
        if decision.status.phase and decision.status.phase.final:
            memo.RUNS.forget(*key)
        if refusal is None and self._puts_off(key, experiment.status, decision.status):
            return self._next_look(row.experiment, decision, observed)
        if await self._patch_status(row, decision.status.dump()):
            self.recorder.record(experiment, notices(experiment.status, decision.status))
        if refusal is not None:
            raise refusal
        return self._next_look(row.experiment, decision, observed)

    async def _act(
        self, row: ExperimentRow, experiment: Experiment, decision: Plan, observed: Observed
    ) -> tuple[Plan, ApiError | NameTaken | None]:
        """Do what is planned. What was judged is recorded all the same; only attempts that could not be made are taken back.

        Returns the plan without these, and the last refusal that is worth a retry with back-off.
        """
        refusals, waits = dict(observed.refused), dict(observed.waits)
        refusal: ApiError | NameTaken | None = None
        for action in decision.actions:
            try:
                await self._execute(experiment, action)
            except (ApiError, NameTaken) as error:
                told = _refusal(error)
                if told is None:
                    raise
                if not isinstance(action, CreateJob):
                    await self._report_rejection(row, *told)
                    raise
                if told[0] == QUOTA_EXCEEDED:
                    waits[action.name] = Held(*told)
                else:
                    refusals[action.name], refusal = told, error
        if (refusals, waits) != (observed.refused, observed.waits):
            decision = plan(experiment, replace(observed, refused=refusals, waits=waits), self.clock())
        return decision, refusal

    def _with_places(
        self, places: Places, row: ExperimentRow, experiment: Experiment, decision: Plan, observed: Observed
    ) -> tuple[Plan, Observed]:
        """The plan as far as the operator's limits let it start what it wants to."""
        refusals = places.ask(experiment, row.created, decision.actions)
        if not refusals and observed.placed == places.holds(row.key):
            return decision, observed
        observed = replace(
            observed,
            waits={name: Held(LIMIT_REACHED, refusal.message) for name, refusal in refusals.items() if not refusal.never},
            refused={name: (LIMIT_TOO_LOW, refusal.message) for name, refusal in refusals.items() if refusal.never},
            placed=places.holds(row.key),
        )
        return plan(experiment, observed, self.clock()), observed

    def _puts_off(self, key: Key, before: Status, after: Status) -> bool:
        """Whether the status is written later, because other experiments wait for their next Job.

        It says nothing that the Jobs do not say: the next plan would come to the same without it, as after a crash.
        """
        if before == after or not (self.pressed(key) and only_goes_on(before, after)):
            self._owed.pop(key, None)
            return False
        now = self.clock()
        since, lag = self._owed.setdefault(key, now), lag_seconds(len(self._owed), part_of(key))
        if times.passed(since, now, lag):
            del self._owed[key]
            return False
        self.later(key, lag - (now - since).total_seconds())
        return True

    def _next_look(self, experiment: Experiment, decision: Plan, observed: Observed) -> float | None:
        """Seconds: when the plan wants it, now and then while something waits, and where a text may have changed."""
        records = decision.status.stages or ()
        reasons = {record.reason for record in records if record.state is StageState.PENDING}
        wanted = [
            decision.requeue_seconds,
            self.places.interval() if self.places is not None and LIMIT_REACHED in reasons else None,
            QUOTA_SECONDS if QUOTA_EXCEEDED in reasons else None,
            self._queue_reasons.interval() if any(record.state is StageState.QUEUED for record in records) else None,
            self._podless.interval(observed),
            self._sources.interval(experiment),
        ]
        return min((seconds for seconds in wanted if seconds is not None), default=None)

    async def _rests(self, row: ExperimentRow, experiment: Experiment) -> bool:
        """Whether there is nothing to plan; a status that was not understood in all its parts is written anew."""
        if row.phase != Phase.SUCCEEDED:
            return False
        ends = at_rest(experiment, self.cache.observed(row))
        if ends is None or merge_patch(row.status, experiment.status.dump()):
            return False
        for action in ends:
            await self._execute(experiment, action)
        return True

    async def _decide(self, row: ExperimentRow, experiment: Experiment) -> tuple[Plan, Observed]:
        """A plan that rests on nothing that a live look could disprove, and what it was made from."""
        absent: set[str] = set()
        looked: set[str] = set()
        claim = ClaimState.UNKNOWN
        seen = self._observed(row)
        held = await self._podless.of(seen, ask=not self.pressed(row.key))
        if experiment.spec.queue_name:
            held |= await self._queue_reasons.of(seen.jobs)
            seen = self._observed(row)
        for _ in range(LOOKS):
            observed = replace(seen, absent=frozenset(absent), looked=frozenset(looked), claim=claim, held=held)
            decision = plan(experiment, observed, self.clock())
            if decision.check_claim:
                claim = await self._claim_state(experiment)
            elif decision.confirm:
                for name in decision.confirm:
                    (looked if await self._look_at(row, name) else absent).add(name)
            else:
                break
            seen = self._observed(row)
        return decision, observed

    async def _look_at(self, row: ExperimentRow, name: str) -> bool:
        """A live look at a Job and its pods; whether it exists."""
        body = await self.cluster.get(JOBS, row.key.namespace, name)
        if body is None or not controlled_by(body, row.uid):
            return False
        self.cache.put_job(body, live=True)
        pages = self.cluster.pages(PODS, row.key.namespace, selector=f"batch.kubernetes.io/job-name={name}")
        self.cache.put_pods_of(row.key, name, [pod async for page in pages for pod in page.items])
        return True

    def _observed(self, row: ExperimentRow) -> Observed:
        observed = self.cache.observed(row)
        names = {job.name: f"{row.key.namespace}/{job.name}" for job in observed.jobs}
        live = {name: self.progress[place] for name, place in names.items() if place in self.progress}
        placed = self.places is None or self.places.holds(row.key)
        return replace(observed, progress=live, placed=placed)

    async def _claim_state(self, experiment: Experiment) -> ClaimState:
        place, now = (experiment.namespace, workspace_claim(experiment.name, experiment.spec.workspace)), self.clock()
        seen = self._claims_seen.get(place)
        if seen is not None and not times.passed(seen, now, CLAIM_SEEN_SECONDS):
            return ClaimState.PRESENT
        if len(self._claims_seen) >= CLAIMS_SEEN:
            self._claims_seen.clear()
        if await self.cluster.get(CLAIMS, *place) is None:
            return ClaimState.MISSING
        self._claims_seen[place] = now
        return ClaimState.PRESENT

    async def _execute(self, experiment: Experiment, action: Action) -> None:
        match action:
            case CreateJob():
                await self._create_job(experiment, action)
            case DeleteJob():
                logger.info("%s/%s: deleting Job %s: %s", experiment.namespace, experiment.name, action.name, action.why)
                # Foreground: the Job stays visible until its pods are gone, so that no two attempts write side by side.
                if not await self.cluster.delete(JOBS, experiment.namespace, action.name, uid=action.uid, foreground=True):
                    # Its end was not heard of: it would hold its place until the next complete list.
                    self.cache.forget_job(experiment.namespace, action.name, action.uid)
                    raise ApiError(409, "Conflict", f"Job {action.name} was gone already")
            case MarkFinal():
                self.tidier.add(experiment.namespace, action.name, kube_job.final_patch(experiment.spec))
            case EnsureClaim():
                await self._create(CLAIMS, experiment, claim_manifest(experiment, action.name))

    async def _create_job(self, experiment: Experiment, action: CreateJob) -> None:
        await self._ensure_runner(experiment.namespace)
        if (claim := kube_job.device_claim_of(experiment, action)) is not None:
            await self._ensure_device_template(experiment, claim)
        body = await self._create(JOBS, experiment, kube_job.job_manifest(experiment, action, self._job_settings()))
        self.cache.put_job(body, live=True)
        logger.info("%s/%s: stage %s runs as Job %s", experiment.namespace, experiment.name, action.run.key, action.name)

    async def _write_report(self, experiment: Experiment, status: Status) -> None:
        """Let a Job write it. Nothing waits for the report, so the experiment's end does not fail for it either."""
        try:
            await self.cluster.create(JOBS, experiment.namespace, report_job(experiment, status, self._job_settings()))
        except ApiError as error:
            if not error.conflict:
                message = f"no report in the workspace: {error.message}; kubectl yolo report writes one elsewhere"
                self.recorder.record(experiment, [Notice(EventKind.WARNING, "ReportNotWritten", message[:1024])])
                logger.warning("%s/%s: %s", experiment.namespace, experiment.name, message)

    def _job_settings(self) -> kube_job.JobSettings:
        return kube_job.JobSettings(self.operator_image, str(self.runner["metadata"]["name"]))

    async def _create(self, kind: Kind, experiment: Experiment, manifest: Object) -> Object:
        """Create it, or take over what an interrupted reconcile has created."""
        name = manifest["metadata"]["name"]
        try:
            return await self.cluster.create(kind, experiment.namespace, manifest)
        except ApiError as error:
            if not error.conflict:
                raise
        body = await self.cluster.get(kind, experiment.namespace, name)
        if body is None or (kind is JOBS and not controlled_by(body, experiment.uid)):
            raise NameTaken(
                f"{kind.plural} {experiment.namespace}/{name} exists and belongs to another object: delete or rename that one"
            )
        return body

    async def _ensure_runner(self, namespace: str) -> None:
        now = self.clock()
        seen = self._runner_seen.get(namespace)
        if seen is None or times.passed(seen, now, RUNNER_SECONDS):
            await ensure_runner(self.cluster, namespace, self.runner)
            self._runner_seen[namespace] = now

    async def _ensure_device_template(self, experiment: Experiment, claim: DeviceClaim) -> None:
        """The template that the pod refers to. Its name tells owner and content: one that exists is the right one."""
        try:
            await self.cluster.create(DEVICE_TEMPLATES, experiment.namespace, template_manifest(experiment, claim))
        except ApiError as error:
            if error.status in _NO_DEVICE_CLAIMS:
                sentence = f"resources.dra: {_NO_DEVICE_CLAIMS[error.status]}"
                raise ApiError(422, "NoDeviceClaims", sentence) from error
            if not error.conflict:
                raise

    async def _patch_status(self, row: ExperimentRow, after: Object) -> bool:
        """One merge patch under the version that the decision was made from; whether anything was written."""
        change = merge_patch(row.status, after)
        if not change:
            return False
        # The version makes it a conflict when anything changed meanwhile: then this decision is worth nothing.
        body = {"metadata": {"resourceVersion": str(row.resource_version)}, "status": change}
        stored = await self.cluster.patch(EXPERIMENTS, *row.key, body, subresource="status")
        self.cache.put_experiment(stored)
        return True

    async def _report_rejection(self, row: ExperimentRow, reason: str, message: str, *, accepted: bool = True) -> None:
        """There is nothing to plan from, or the cluster does not take what the plan wants: policy, a name in use."""
        status = refused(row.status, row.generation, reason, message, self.clock(), accepted=accepted)
        if await self._patch_status(row, status) and row.experiment is not None:
            self.recorder.record(row.experiment, [Notice(EventKind.WARNING, reason, message[:1024])])


def _refusal(error: ApiError | NameTaken) -> tuple[str, str] | None:
    """Reason and message of an error that says that the cluster does not take an object; None for any other error."""
    if isinstance(error, NameTaken):
        return "NameTaken", str(error)
    if error.status == 403 and (quota := exceeded(error.message)) is not None:
        return QUOTA_TOO_LOW if quota.never else QUOTA_EXCEEDED, quota.message
    return ("Rejected", f"the API server refused: {error.message}") if error.status in (400, 403, 422) else None
