"""Metrics of experiments and their stages: read from the cache at each scrape, so that deleted ones leave no series."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from math import isfinite

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from yolo_operator.api.spec import Spec
from yolo_operator.api.status import ConditionType, Phase, Progress, StageState, StageStatus
from yolo_operator.controller import families
from yolo_operator.controller.cache import ENDED, Cache, ExperimentRow
from yolo_operator.controller.families import Family
from yolo_operator.controller.progress import LiveProgress
from yolo_operator.pipeline import times
from yolo_operator.pipeline.resources import effective_resources
from yolo_operator.pipeline.stages import WAITS
from yolo_operator.pipeline.values import StageKey

LIMIT = 200
"""Experiments that have series of their own, unless the settings say otherwise: some 180 series each."""
CLASSES = 80
"""Classes of a stage that have series, first names first: as many as COCO has."""
TOLD_LATE = 10
"""Seconds. GPU time of a running stage is told up to so long ago: its end is learnt late, and a counter must not go back."""
_CONDITIONS = frozenset(kind.value for kind in ConditionType)

Numbers = dict[Family, float | int | None]


class ExperimentCollector(Collector):
    """Experiments and stages as they are now.

    Args:
        cache: where they are.
        progress: live progress by `namespace/job`.
        clock: for what is still going on.
        classes: whether classes have series.
        limit: experiments with series of their own; unfinished ones come first, then the newest.
    """

    def __init__(
        self,
        cache: Cache,
        progress: Mapping[str, Progress],
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        classes: bool = True,
        limit: int = LIMIT,
    ) -> None:
        self._cache, self._progress, self._clock = cache, progress, clock
        self._classes, self._limit = classes, limit
        self._gpus: dict[str, tuple[int, dict[str, int]]] = {}

    def collect(self) -> Iterator[Metric]:
        """All families."""
        rows = sorted(self._cache.experiments, key=_worth, reverse=True)
        shown, now = rows[: self._limit], self._clock()
        self._gpus = {row.uid: self._gpus[row.uid] for row in shown if row.uid in self._gpus}
        found = _Families()
        for (namespace, phase), number in sorted(Tally((row.key.namespace, row.phase) for row in rows).items()):
            found.add(families.EXPERIMENTS, (namespace, phase), number)
        found.add(families.OMITTED, (), len(rows) - len(shown))
        previous = _previous(rows)
        for row in shown:
            _experiment(found, row, previous.get(row.uid))
            for record in _stages(row):
                self._stage(found, row, record, now)
        yield from found.all.values()

    def _stage(self, found: _Families, row: ExperimentRow, record: StageStatus, now: datetime) -> None:
        labels = (row.key.namespace, row.key.name, record.name, record.variant)
        live = self._progress.get(f"{row.key.namespace}/{record.job}") if record.job else None
        numbers = {**_times(record, now), **_results(record, live)}
        if record.start_time or record.attempts:
            numbers[families.GPU_SECONDS] = self._gpu_seconds(row, record, now)
        for family, value in numbers.items():
            found.add(family, labels, value)
        found.add(families.STATE, (*labels, record.state.value), 1)
        if record.state is not StageState.SUCCEEDED:
            return
        for artifact in record.artifacts or ():
            found.add(families.ARTIFACT_BYTES, (*labels, artifact.name), artifact.bytes)
        precisions = (record.metrics.ap if record.metrics else None) or {}
        for name in sorted(precisions)[:CLASSES] if self._classes else ():
            found.add(families.AVERAGE_PRECISION, (*labels, name), precisions[name])

    def _gpu_seconds(self, row: ExperimentRow, record: StageStatus, now: datetime) -> float:
        """The running or last attempt, and those before it, as far as their times are recorded."""
        past = record.attempts or ()
        times_of: dict[int, tuple[str | None, str | None]] = {
            attempt.number: (attempt.start_time, attempt.finish_time) for attempt in past if attempt.finish_time
        }
        if record.state is StageState.RUNNING or record.finish_time:
            times_of[record.attempt] = record.start_time, record.finish_time
        told = now - timedelta(seconds=TOLD_LATE)
        seconds = sum(max(0.0, _elapsed(began, ended, told) or 0.0) for began, ended in times_of.values())
        return seconds * self._gpus_of(row, record)

    def _gpus_of(self, row: ExperimentRow, record: StageStatus) -> int:
        generation, known = self._gpus.get(row.uid, (row.generation, {}))
        if generation != row.generation:
            known = {}
        key = f"{record.name} {record.variant}"
        if key not in known and row.experiment is not None:
            known[key] = _gpu_count(row.experiment.spec, StageKey(record.name, record.variant))
            self._gpus[row.uid] = row.generation, known
        return known.get(key, 0)


class _Families:
    """The families of one scrape, in the order of their declaration."""

    def __init__(self) -> None:
        declared = (*families.OF_EXPERIMENTS, *families.OF_STAGES, families.OMITTED)
        self.all: dict[Family, GaugeMetricFamily | CounterMetricFamily] = {family: family.snapshot() for family in declared}

    def add(self, family: Family, labels: tuple[str, ...], value: float | int | None) -> None:
        if value is not None and isfinite(value):
            self.all[family].add_metric(labels, float(value))


def _worth(row: ExperimentRow) -> tuple[bool, str, str, str]:
    return row.phase not in ENDED, row.created, row.key.namespace, row.key.name


def _stages(row: ExperimentRow) -> list[StageStatus]:
    return list(row.experiment.status.stages or ()) if row.experiment else []


def _previous(rows: list[ExperimentRow]) -> dict[str, float]:
    """mAP of the experiment before, by uid, for those that carry the name label."""
    found: dict[str, float] = {}
    last: dict[tuple[str, str], float] = {}
    for row in sorted((row for row in rows if row.name_label), key=lambda row: (row.created, row.key)):
        series = row.key.namespace, row.name_label
        if series in last:
            found[row.uid] = last[series]
        if row.phase == Phase.SUCCEEDED.value and row.m_ap is not None:
            last[series] = row.m_ap
    return found


def _experiment(found: _Families, row: ExperimentRow, previous: float | None) -> None:
    labels, status = (row.key.namespace, row.key.name), row.status
    found.add(families.PHASE, (*labels, row.phase), 1)
    for condition in status.get("conditions") or ():
        if condition.get("type") in _CONDITIONS:
            found.add(families.CONDITION, (*labels, condition["type"]), condition.get("status") == "True")
    profile = row.experiment.spec.toolkit.profile if row.experiment else ""
    found.add(families.INFO, (*labels, row.name_label, str(profile), status.get("claimName") or ""), 1)
    for state, number in sorted(Tally(record.state.value for record in _stages(row)).items()):
        found.add(families.EXPERIMENT_STAGES, (*labels, state), number)
    if variant := (status.get("chosen") or {}).get("variant"):
        found.add(families.CHOSEN, (*labels, variant), 1)
    numbers: Numbers = {
        families.CREATED: _seconds(row.created),
        families.STARTED: _seconds(status.get("startTime")),
        families.COMPLETED: _seconds(status.get("completionTime")),
        families.EXPERIMENT_MAP: status.get("mAP"),
        families.PREVIOUS_MAP: previous,
        families.EXPERIMENT_RATIO: status.get("pruned"),
    }
    for family, value in numbers.items():
        found.add(family, labels, value)


def _times(record: StageStatus, now: datetime) -> Numbers:
    found: Numbers = {
        families.ATTEMPTS: record.attempt,
        families.FAILURES: record.failures,
        families.STAGE_START: _seconds(record.start_time),
        families.STAGE_FINISH: _seconds(record.finish_time),
    }
    ended = record.state in (StageState.SUCCEEDED, StageState.FAILED)
    if ended or record.state is StageState.RUNNING:
        found[families.DURATION] = _elapsed(record.start_time, record.finish_time, now)
    if record.state in (StageState.QUEUED, StageState.STARTING):
        found[families.QUEUE_WAIT] = _elapsed(record.create_time, None, now)
    elif record.reason in WAITS and record.job is None:
        found[families.QUEUE_WAIT] = _elapsed(record.wait_time, None, now)
    elif record.start_time:
        found[families.QUEUE_WAIT] = _elapsed(record.wait_time or record.create_time, record.start_time, now)
    return found


def _results(record: StageStatus, live: Progress | None) -> Numbers:
    """The recorded result's numbers, or the live ones while it runs."""
    if record.state is StageState.SUCCEEDED and record.metrics is not None:
        metrics = record.metrics
        return {
            families.EPOCH: metrics.epoch,
            families.EPOCHS: metrics.epochs,
            families.LOSS: metrics.loss,
            families.VALIDATION_LOSS: metrics.validation_loss,
            families.MAP: metrics.m_ap,
            families.RATIO: metrics.parameter_ratio,
        }
    progress = live or record.progress
    if progress is None:
        return {}
    found: Numbers = {
        families.EPOCH: progress.epoch,
        families.EPOCHS: progress.epochs,
        families.LOSS: progress.loss,
        families.MAP: progress.m_ap,
        families.ETA: progress.eta_seconds,
        families.PROGRESS: progress.percent / 100 if progress.percent is not None else None,
    }
    if isinstance(progress, LiveProgress):
        found |= {families.VALIDATION_LOSS: progress.validation_loss, families.LEARNING_RATE: progress.learning_rate}
    return found


def _gpu_count(spec: Spec, key: StageKey) -> int:
    try:
        return effective_resources(spec, key).devices or 0
    except (ValueError, LookupError):
        # A stage in status that this version's graph does not know.
        return 0


def _seconds(text: str | None) -> float | None:
    try:
        return times.from_text(text).timestamp() if text else None
    except ValueError:
        return None


def _elapsed(start: str | None, end: str | None, now: datetime) -> float | None:
    began, ended = _seconds(start), _seconds(end)
    return max(0.0, (now.timestamp() if ended is None else ended) - began) if began is not None else None
