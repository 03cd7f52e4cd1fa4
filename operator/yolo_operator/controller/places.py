"""Who has a place under the operator's limits, and who gets the next one: `pipeline.admission` over what the cache knows.

Nothing is remembered that the cluster does not say. What is in use are the experiments' phases and the Jobs; who waits stands in
the stages' records. The cache tells of every change (`changed`), so both are kept up to date one experiment at a time. Only two
things are the process's own: places given in the look that is going on, before their Jobs are in the cache, and who did not ask
for what its record says that it waits for, so that it keeps nobody else waiting.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from yolo_operator.api.status import Phase, StageState
from yolo_operator.controller.cache import ENDED, Cache, ExperimentRow, Key
from yolo_operator.kube.errors import ApiError
from yolo_operator.pipeline import times
from yolo_operator.pipeline.admission import Decision, Refusal, Rules, Want, decide
from yolo_operator.pipeline.limits import EXPERIMENTS, GPUS, Limits, dimension
from yolo_operator.pipeline.resources import effective_resources, gpus_of, run_resources
from yolo_operator.pipeline.stages import LIMIT_REACHED, WAITS, key_of
from yolo_operator.pipeline.values import CreateJob, Experiment, Gpus, JobView, StageKey

SECONDS = 120
"""Between two looks at an experiment that waits and that nothing has woken; more when very many wait."""
LOOKS_PER_SECOND = 2
"""On average, over all that wait."""


@dataclass(frozen=True, slots=True)
class _Account:
    """What one experiment uses and waits for."""

    used: Mapping[str, int] = field(default_factory=dict)
    wants: tuple[Want, ...] = ()


_NOTHING = _Account()


class _GpusKnown(NamedTuple):
    uid: str
    generation: int
    of: dict[StageKey, Gpus]


class Places:
    """The places under the limits.

    Args:
        cache: what is known; it tells of every change from now on.
        limits: what may run at once.
        clock: the current time.
        wake: has an experiment looked at soon.
    """

    def __init__(self, cache: Cache, limits: Limits, clock: Callable[[], datetime], wake: Callable[[Key], None]) -> None:
        self.rules = Rules(limits)
        self._cache, self._clock, self._wake = cache, clock, wake
        self._accounts: dict[Key, _Account] = {}
        self._usage: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._waiting: dict[Key, tuple[Want, ...]] = {}
        self._given: dict[Key, dict[str, Want]] = {}
        """By the names of the Jobs that a look is about to make."""
        self._silent: set[Key] = set()
        """Did not ask at their last look, or could not make what they were given."""
        self._asked: dict[Key, bool] = {}
        """The looks that go on."""
        self._gpus: dict[Key, _GpusKnown] = {}
        cache.changed = self.changed

    # --- what the reconciler asks ---

    @contextmanager
    def look(self, key: Key) -> Iterator[None]:
        """Around one look at an experiment."""
        self._asked[key] = False
        unsure = False
        try:
            yield
        except ApiError as error:
            self._asked[key] = False
            # The request may have come through: the place is given until the next look finds out.
            unsure = error.may_pass
            raise
        except BaseException:
            self._asked[key] = False
            raise
        finally:
            if not self._asked.pop(key) and key in self._waiting:
                self._silent.add(key)
            if not unsure:
                self._given.pop(key, None)
            self.changed(key)

    def holds(self, key: Key) -> bool:
        """Whether an experiment counts as one that runs, or is not counted at all."""
        row = self._cache.experiments.get(*key)
        if row is not None and self._is_exempt(row):
            return True
        return self._account(key).used.get(EXPERIMENTS, 0) > 0

    def ask(self, experiment: Experiment, created: str, actions: tuple[object, ...]) -> dict[str, Refusal]:
        """Which of the Jobs that a plan wants to make may not be made, by name. The others' places are taken from now on.

        `created`: when the experiment was.
        """
        key = Key(experiment.namespace, experiment.name)
        self._asked[key] = True
        self._silent.discard(key)
        creates = [action for action in actions if isinstance(action, CreateJob)]
        if not creates or self._exempt(experiment):
            return {}
        placed, now = self.holds(key), self._clock()
        since = {key_of(record): record.wait_time for record in experiment.status.stages or () if record.reason in WAITS}
        mine = {
            action.name: Want(
                namespace=experiment.namespace,
                experiment=experiment.name,
                stage=action.run.key,
                gpus=gpus_of(run_resources(experiment.spec, action.run)),
                placed=placed,
                priority=experiment.spec.priority,
                since=since.get(action.run.key) or times.to_text(now),
                created=created,
                order=order,
            )
            for order, action in enumerate(creates)
        }
        refused = self._refused(key, mine, now)
        self._given[key] = {name: want for name, want in mine.items() if name not in refused}
        self.changed(key)
        return refused

    def interval(self) -> float:
        """Seconds after which an experiment that waits is worth another look, should nothing wake it."""
        return max(SECONDS, len(self._waiting) / LOOKS_PER_SECOND)

    # --- what changes ---

    def changed(self, key: Key) -> None:
        """Something about an experiment is not as it was. Whoever has room now is woken."""
        before, after = self._account(key), self._measured(key)
        if before == after:
            return
        self._usage[key.namespace].subtract(before.used)
        self._usage[key.namespace].update(after.used)
        if after == _NOTHING:
            self._accounts.pop(key, None)
            self._gpus.pop(key, None)
            self._silent.discard(key)
        else:
            self._accounts[key] = after
        if after.wants:
            self._waiting[key] = after.wants
        else:
            self._waiting.pop(key, None)
        freed = any(number > after.used.get(name, 0) for name, number in before.used.items())
        if freed or set(before.wants) - set(after.wants):
            self._wake_next()

    # --- what is shown ---

    def usage(self) -> Mapping[str, Mapping[str, int]]:
        """What is in use, by namespace and dimension."""
        return self._usage

    def waiting(self) -> dict[str, int]:
        """Stages that wait, by namespace."""
        found: Counter[str] = Counter()
        for key, wants in self._waiting.items():
            found[key.namespace] += len(wants)
        return dict(found)

    # --- within ---

    def _refused(self, key: Key, mine: Mapping[str, Want], now: datetime) -> dict[str, Refusal]:
        namespace = key.namespace
        easy = all(want.placed and not want.gpus.number for want in mine.values())
        if easy or not (self.rules.cluster or self.rules.of(namespace)):
            return {}
        decision = self._decide(list(mine.values()), now, apart_from=key)
        for other in decision.keys - {key}:
            # It goes first, and so it should not have to be found by chance.
            self._wake(Key(*other))
        return {name: decision.refused[want] for name, want in mine.items() if want in decision.refused}

    def _decide(self, wants: list[Want], now: datetime, *, apart_from: Key | None = None) -> Decision:
        for key, waiting in self._waiting.items():
            if key != apart_from and key not in self._silent:
                wants += waiting
        return decide(wants, self._usage, self.rules, now)

    def _wake_next(self) -> None:
        if self._waiting:
            for key in self._decide([], self._clock()).keys:
                self._wake(Key(*key))

    def _account(self, key: Key) -> _Account:
        return self._accounts.get(key, _NOTHING)

    def _measured(self, key: Key) -> _Account:
        row, jobs = self._cache.experiments.get(*key), self._cache.jobs_of(key)
        given = self._given.get(key, {})
        live = {job.name: (job.stage, job.gpus) for job in jobs if not job.finished}
        live |= {name: (want.stage, want.gpus) for name, want in given.items()}
        if row is not None and ((not live and row.phase in ENDED) or self._is_exempt(row)):
            return _NOTHING
        used: Counter[str] = Counter()
        if live or (row is not None and _goes_on(row, jobs)):
            used[EXPERIMENTS] = 1
        for _, gpus in live.values():
            if gpus.number:
                used.update({GPUS: gpus.number, dimension(gpus.resource): gpus.number})
        started = {stage for stage, _ in live.values()}
        return _Account(dict(used), self._wants(row, started, placed=bool(used)) if row is not None else ())

    def _wants(self, row: ExperimentRow, started: set[StageKey], *, placed: bool) -> tuple[Want, ...]:
        if row.experiment is None:
            return ()
        records = enumerate(row.experiment.status.stages or ())
        return tuple(
            Want(
                namespace=row.key.namespace,
                experiment=row.key.name,
                stage=key_of(record),
                gpus=self._gpus_of(row, row.experiment, key_of(record)),
                placed=placed,
                priority=row.experiment.spec.priority,
                since=record.wait_time or row.created,
                created=row.created,
                order=order,
            )
            for order, record in records
            if record.reason == LIMIT_REACHED and record.state is StageState.PENDING and key_of(record) not in started
        )

    def _gpus_of(self, row: ExperimentRow, experiment: Experiment, stage: StageKey) -> Gpus:
        known = self._gpus.get(row.key)
        if known is None or (known.uid, known.generation) != (row.uid, row.generation):
            known = self._gpus[row.key] = _GpusKnown(row.uid, row.generation, {})
        if stage not in known.of:
            known.of[stage] = gpus_of(effective_resources(experiment.spec, stage))
        return known.of[stage]

    def _is_exempt(self, row: ExperimentRow) -> bool:
        # An ended experiment would have to be read for it.
        return self.rules.limits.kueue_decides and row.experiment is not None and self._exempt(row.experiment)

    def _exempt(self, experiment: Experiment) -> bool:
        return self.rules.limits.kueue_decides and experiment.spec.queue_name is not None


def _goes_on(row: ExperimentRow, jobs: list[JobView]) -> bool:
    """Whether it has started and not ended, though nothing of it runs just now."""
    if row.phase == Phase.RUNNING:
        return True
    # Its first Job has ended, and the one that was to write that down was stopped before it could.
    return row.phase in (Phase.PENDING, Phase.QUEUED) and any(_unrecorded(row, job) for job in jobs)


def _unrecorded(row: ExperimentRow, job: JobView) -> bool:
    """Whether a Job is a later attempt of what its stage's record is about; what another digest left behind is not."""
    if job.owner_uid != row.uid or job.final:
        return False
    records = {key_of(record): record for record in (row.experiment.status.stages if row.experiment else None) or ()}
    record = records.get(job.stage)
    return record is None or (record.digest in (None, job.digest) and record.attempt < job.attempt)
