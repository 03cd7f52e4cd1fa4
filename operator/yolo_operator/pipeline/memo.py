"""Stages' work, remembered.

A look at an experiment asks for the work of every stage that has its inputs, and next to nothing changed since the last look:
rendering the experiment spec and the digests over it would be most of what planning costs. `stage_run` is a function of values,
so what it gave for the same values serves on. Whoever forgets everything gets the same answers, later.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

from yolo_operator.api.spec import Spec
from yolo_operator.api.status import StageStatus
from yolo_operator.pipeline.values import Experiment, StageKey, StageRun
from yolo_operator.pipeline.work import Results, stage_run

MOST = 8192
"""Runs that are kept: some 8 kB each, so 64 MB when 1,000 experiments run at once. Beyond, the one not asked for longest goes."""

_Name = tuple[str, str]
_Values = tuple[Any, ...]


@dataclass(slots=True)
class RunMemo:
    """The last answers of `stage_run`, by everything that they depend on."""

    most: int = MOST
    _known: OrderedDict[_Values, tuple[Spec, StageRun]] = field(default_factory=OrderedDict)
    """With its spec, which so stays alive: no other one can come to have its id."""
    _of: defaultdict[_Name, set[_Values]] = field(default_factory=lambda: defaultdict(set))
    """What is known of an experiment."""

    def __len__(self) -> int:
        return len(self._known)

    def stage_run(
        self, experiment: Experiment, key: StageKey, results: Results, *, spoiled: Mapping[str, int] | None = None
    ) -> StageRun:
        """What `work.stage_run` gives for the same values. Nobody may change it."""
        values = _values(experiment, key, results, spoiled or {})
        found = self._known.get(values)
        if found is not None:
            self._known.move_to_end(values)
            return found[1]
        run = stage_run(experiment, key, results, spoiled=spoiled)
        self._known[values] = (experiment.spec, run)
        self._of[_name(values)].add(values)
        while len(self._known) > self.most:
            self._drop(next(iter(self._known)))
        return run

    def forget(self, namespace: str, name: str) -> None:
        """The experiment has ended or is gone: nobody asks for its stages any more."""
        for values in tuple(self._of.get((namespace, name), ())):
            self._drop(values)

    def _drop(self, values: _Values) -> None:
        del self._known[values]
        kin = self._of[_name(values)]
        kin.discard(values)
        if not kin:
            del self._of[_name(values)]


RUNS = RunMemo()
"""The process's own."""


def _values(experiment: Experiment, key: StageKey, results: Results, spoiled: Mapping[str, int]) -> _Values:
    """What a stage's work depends on.

    A spec counts as the object that it is: comparing whole specs would cost what is to be saved, and the cache parses one only
    when its generation changes.
    """
    return (
        id(experiment.spec),
        (experiment.namespace, experiment.name, experiment.uid),
        key,
        tuple(experiment.rerun.items()),
        tuple(spoiled.items()),
        results.chosen,
        results.best,
        tuple((stage, *_result(record)) for stage, record in results.stages.items()),
    )


def _name(values: _Values) -> _Name:
    """Whose they are: namespace and name."""
    namespace, name, _ = values[1]
    return namespace, name


def _result(record: StageStatus) -> tuple[Hashable, ...]:
    """What later stages take from a success, and which success it is."""
    anchors = record.metrics.anchors if record.metrics else None
    return (
        record.digest,
        record.finish_time,
        record.attempt,
        record.directory,
        record.fingerprint,
        record.unlabelled_fingerprint,
        tuple((file.name, file.path, file.bytes, file.sha256) for file in record.artifacts or ()),
        tuple(map(tuple, anchors)) if anchors else None,
    )
