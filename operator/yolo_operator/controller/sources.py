"""Experiment specs that stand in a ConfigMap, as TAO's own text.

ConfigMaps are not watched: one GET a look, and none while the last is fresh. So an edit is seen within a minute, and what a
decision is made from stays a whole spec.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from yolo_operator.api.experiment_spec import ConfigMapKeyRef
from yolo_operator.api.spec import Spec, WrittenSpec
from yolo_operator.kube.cluster import CONFIG_MAPS, Cluster
from yolo_operator.pipeline import times
from yolo_operator.pipeline.values import Experiment
from yolo_operator.toolkit.importing import UnmappableError, resolve
from yolo_operator.toolkit.text import TextError

FRESH_SECONDS = 10
"""For so long a text is taken to be as it was read."""
LOOK_SECONDS = 60
"""Between looks at a text, while nothing else asks for one."""
MISSING_SECONDS = 15
"""Between looks at one that is not there, or that is wrong."""
KEPT = 1000
"""Specs made of a text that are remembered."""
_FIELD = "spec.experimentSpecFrom.configMapKeyRef"


class SourceError(Exception):
    """Why an experiment has no experiment spec; the text names the field, and the line and column of a text that is wrong."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class _Read:
    """A text, and what became of it."""

    time: datetime
    text: str


@dataclass(slots=True)
class Sources:
    """Makes whole specs of those that refer to a ConfigMap."""

    cluster: Cluster
    clock: Callable[[], datetime]
    _texts: dict[tuple[str, str, str], _Read] = field(default_factory=dict)
    _specs: OrderedDict[str, tuple[int, str, Spec]] = field(default_factory=OrderedDict)
    """By the experiment's uid: generation and text that it was made from. Reading a text costs milliseconds."""

    async def whole(self, experiment: Experiment) -> Experiment:
        """The experiment with its experiment spec.

        Raises:
            SourceError: when the text is missing or wrong.
            ApiError: when the API server could not be asked.
        """
        written = experiment.spec
        if not isinstance(written, WrittenSpec) or written.experiment_spec_from is None:
            return experiment
        reference = written.experiment_spec_from.config_map_key_ref
        text = await self._text(experiment.namespace, reference)
        known = self._specs.get(experiment.uid)
        if known is None or known[:2] != (experiment.generation, text):
            known = self._specs[experiment.uid] = (experiment.generation, text, _resolved(written, reference, text))
            while len(self._specs) > KEPT:
                self._specs.popitem(last=False)
        return replace(experiment, spec=known[2])

    def interval(self, experiment: Experiment) -> float | None:
        """Seconds until its text wants to be looked at again; None when it has none."""
        return LOOK_SECONDS if isinstance(experiment.spec, WrittenSpec) else None

    async def _text(self, namespace: str, reference: ConfigMapKeyRef) -> str:
        place, now = (namespace, reference.name, reference.key), self.clock()
        read = self._texts.get(place)
        if read is None or times.passed(read.time, now, FRESH_SECONDS):
            self._forget(now)
            body = await self.cluster.get(CONFIG_MAPS, namespace, reference.name)
            if body is None:
                raise SourceError(
                    "ExperimentSpecNotFound", f"{_FIELD}.name: there is no ConfigMap {reference.name} in {namespace}"
                )
            text = (body.get("data") or {}).get(reference.key)
            if text is None:
                message = f"{_FIELD}.key: ConfigMap {reference.name} has no key {reference.key}"
                raise SourceError("ExperimentSpecNotFound", message)
            read = self._texts[place] = _Read(now, text)
        return read.text

    def _forget(self, now: datetime) -> None:
        """What has not been asked for in a while."""
        self._texts = {place: read for place, read in self._texts.items() if not times.passed(read.time, now, FRESH_SECONDS)}


def _resolved(written: WrittenSpec, reference: ConfigMapKeyRef, text: str) -> Spec:
    where = f"{_FIELD}: {reference.name}/{reference.key}"
    try:
        return resolve(written, text)
    except TextError as error:
        raise SourceError("InvalidExperimentSpec", f"{where}:{error}") from None
    except UnmappableError as error:
        raise SourceError("InvalidExperimentSpec", "; ".join(f"{where}:{problem}" for problem in error.problems)) from None
