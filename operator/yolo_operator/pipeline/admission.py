"""Who may start next, when not everybody may: a function of who waits, what is in use, and the limits.

The order is: priority; then the namespace that uses the smallest share of what it may use of what the stage asks for; then,
within a namespace, its own priorities; then who has waited longest. Whoever fits starts, also past one that does not, until that
one has waited long enough: from then on room is kept for it. So nothing lies idle for long, and nobody waits for ever.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from math import inf

from yolo_operator.pipeline import times
from yolo_operator.pipeline.limits import EXPERIMENTS, GPUS, Bounds, Limits, dimension
from yolo_operator.pipeline.values import NO_GPUS, Gpus, StageKey

Usage = Mapping[str, Mapping[str, int]]
"""What is in use, by namespace and dimension."""


@dataclass(frozen=True, slots=True)
class Want:
    """A stage that has all it needs but a place."""

    namespace: str
    experiment: str
    stage: StageKey
    gpus: Gpus = NO_GPUS
    placed: bool = False
    """Whether its experiment has its place already: it has started and not ended."""
    priority: int = 0
    since: str = ""
    """When it began to wait."""
    created: str = ""
    """When its experiment was made."""
    order: int = 0
    """Among the experiment's stages."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a stage may not start now: a bound that it would break, or a turn that is not its own."""

    dimension: str
    namespace: str
    """Whose bound it is; empty: that of all together."""
    wanted: int
    bound: int
    used: int
    """By its own namespace."""
    others: int = 0
    """By all other namespaces: only a number, for tenants do not see each other."""
    kept: bool = False
    """There is room, and it is kept for a stage that waited longer than its patience."""

    @property
    def never(self) -> bool:
        """Whether it would not fit either if nothing ran. A bound of experiments is closed for a while, not too small."""
        return self.wanted > self.bound and self.dimension != EXPERIMENTS

    @property
    def message(self) -> str:
        """For whoever waits."""
        whose = f"namespace {self.namespace}" if self.namespace else "all namespaces together"
        limit = f"the limit of {whose} is {_count(self.bound, self.dimension)}"
        if self.never:
            asked = _count(self.wanted, self.dimension)
            return f"asks for {asked}, but {limit}: ask for less, or whoever runs the operator for a higher limit"
        use = f"{self.used} in use" + ("" if self.namespace else f" by this namespace, {self.others} by others")
        if self.kept:
            return f"waits for its turn: {limit}, {use}; the rest is kept for a stage that has waited longer"
        what = "a place" if self.dimension == EXPERIMENTS else _count(self.wanted, self.dimension)
        return f"waits for {what}: {limit}, {use}"


def _count(number: int, name: str) -> str:
    """`1 experiment`, `4 GPUs nvidia.com/gpu`."""
    word, _, resource = name.partition(" ")
    return " ".join(filter(None, (str(number), word.rstrip("s") if number == 1 else word, resource)))


@dataclass(slots=True)
class Rules:
    """Limits as they are asked over and over."""

    limits: Limits
    cluster: Bounds = field(init=False)
    _of: dict[str, Bounds] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.cluster = self.limits.cluster.bounds()

    def of(self, namespace: str) -> Bounds:
        """A namespace's own bounds."""
        if namespace not in self._of:
            self._of[namespace] = self.limits.of(namespace).bounds()
        return self._of[namespace]

    def share(self, namespace: str, used: Mapping[str, int], wanted: Iterable[str]) -> float:
        """The largest of its shares in what is wanted: of its own bound, or of the common one where it has none."""
        own = self.of(namespace)
        bounds = {name: own.get(name, self.cluster.get(name)) for name in wanted}
        return max((used.get(name, 0) / most if most else inf for name, most in bounds.items() if most is not None), default=0.0)

    def priority(self, namespace: str, wanted: int) -> int:
        """What counts of a priority against other namespaces."""
        most = self.limits.of(namespace).max_priority
        return wanted if most is None else min(wanted, most)

    def bounds_gpus(self, namespace: str) -> bool:
        """Whether any bound of GPUs concerns the namespace."""
        return any(name != EXPERIMENTS for name in (*self.cluster, *self.of(namespace)))


@dataclass(frozen=True)
class Decision:
    """Who may start, in this order, and why the others may not."""

    admitted: tuple[Want, ...]
    refused: Mapping[Want, Refusal]

    @cached_property
    def keys(self) -> frozenset[tuple[str, str]]:
        """Namespace and name of the experiments that may start something."""
        return frozenset((want.namespace, want.experiment) for want in self.admitted)


def needs(want: Want, *, placed: bool) -> dict[str, int]:
    """What it would take, by dimension."""
    found = {} if placed else {EXPERIMENTS: 1}
    if want.gpus.number:
        found |= {GPUS: want.gpus.number, dimension(want.gpus.resource): want.gpus.number}
    return found


def decide(wants: Iterable[Want], usage: Usage, rules: Rules, now: datetime) -> Decision:
    """Who may start now.

    Args:
        wants: every stage that waits, of all experiments.
        usage: what experiments that have their place, and stages that have a Job, use.
        rules: the limits.
        now: the current time.
    """
    round_ = _Round(usage, rules, times.to_text(now - timedelta(seconds=rules.limits.patience_seconds)))
    lanes: dict[str, list[Want]] = defaultdict(list)
    for want in wants:
        lanes[want.namespace].append(want)
    for lane in lanes.values():
        # From its end: the first comes last.
        lane.sort(key=lambda want: (-want.priority, want.since, want.created, want.experiment, want.order), reverse=True)
    turns = [(*round_.rank(lane[-1]), namespace) for namespace, lane in lanes.items()]
    heapq.heapify(turns)
    while turns:
        namespace = turns[0][-1]
        lane = lanes[namespace]
        round_.try_to_admit(lane.pop())
        # No other namespace's rank depends on what this one got.
        if lane:
            heapq.heapreplace(turns, (*round_.rank(lane[-1]), namespace))
        else:
            heapq.heappop(turns)
    return Decision(tuple(round_.admitted), round_.refused)


_NOTHING: Mapping[str, int] = {}


class _Round:
    """One decision under way."""

    def __init__(self, usage: Usage, rules: Rules, patient_since: str) -> None:
        self.rules, self.patient_since = rules, patient_since
        self.used = {namespace: Counter(used) for namespace, used in usage.items()}
        self.total: Counter[str] = Counter()
        for used in self.used.values():
            self.total.update(used)
        self.admitted: list[Want] = []
        self.refused: dict[Want, Refusal] = {}
        self._placed: set[tuple[str, str]] = set()
        self._kept: set[tuple[str, str]] = set()
        """Namespace (empty: all) and dimension in which room is kept for who waited too long."""

    def rank(self, want: Want) -> tuple[int, float, str, str]:
        share = self.rules.share(want.namespace, self._used_by(want.namespace), needs(want, placed=want.placed))
        return -self.rules.priority(want.namespace, want.priority), share, want.since, want.created

    def _used_by(self, namespace: str) -> Mapping[str, int]:
        return self.used.get(namespace) or _NOTHING

    def try_to_admit(self, want: Want) -> None:
        place = want.namespace, want.experiment
        needed = needs(want, placed=want.placed or place in self._placed)
        refusal = self._refusal(want, needed)
        if refusal is None:
            self.admitted.append(want)
            self._placed.add(place)
            self.used.setdefault(want.namespace, Counter()).update(needed)
            self.total.update(needed)
            return
        self.refused[want] = refusal
        if want.since <= self.patient_since and not refusal.never:
            self._kept.add((refusal.namespace, refusal.dimension))

    def _refusal(self, want: Want, needed: Mapping[str, int]) -> Refusal | None:
        own, kept = self._used_by(want.namespace), None
        scopes = ((want.namespace, self.rules.of(want.namespace), own), ("", self.rules.cluster, self.total))
        for namespace, bounds, used in scopes:
            for name, wanted in needed.items():
                bound = bounds.get(name)
                if bound is None:
                    continue
                mine, total = own.get(name, 0), used.get(name, 0)
                if total + wanted > bound:
                    return Refusal(name, namespace, wanted, bound, mine, total - mine)
                if kept is None and (namespace, name) in self._kept:
                    kept = Refusal(name, namespace, wanted, bound, mine, total - mine, kept=True)
        return kept
