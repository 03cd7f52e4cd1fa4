"""Who leads: the rule, electors against each other under clocks and networks of any kind, the fence."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_cluster import Fault, MemoryCluster, Request, finish
from yolo_operator.controller.lease import Elector, Fenced, LeaseLost, LeaseSettings, Seen, Step, decide, written
from yolo_operator.kube.cluster import CONFIG_MAPS, JOBS, LEASES, Object
from yolo_operator.kube.errors import ApiError

ME = LeaseSettings("yolo-system", "yolo-operator", "me", 15)
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def lease(holder: str, seconds: int | None = 15, version: str = "7", transitions: int = 3) -> Object:
    spec = {"holderIdentity": holder, "leaseDurationSeconds": seconds, "leaseTransitions": transitions}
    return {"metadata": {"name": "yolo-operator", "resourceVersion": version}, "spec": spec}


# --- the rule ---


@pytest.mark.parametrize(
    ("known", "seen", "step"),
    [
        (None, None, Step.CREATE),
        (lease("me"), None, Step.RENEW),
        (lease("me"), Seen("7", 0.0), Step.RENEW),
        (lease(""), Seen("7", 100.0), Step.TAKE),
        ({"metadata": {"resourceVersion": "7"}}, None, Step.TAKE),
        (lease("other"), None, Step.WAIT),
        (lease("other"), Seen("7", 100.0), Step.WAIT),
        (lease("other"), Seen("7", 85.1), Step.WAIT),
        (lease("other"), Seen("7", 85.0), Step.TAKE),
        # What the holder promised counts: it may run with other settings.
        (lease("other", 60), Seen("7", 85.0), Step.WAIT),
        (lease("other", 60), Seen("7", 40.0), Step.TAKE),
        (lease("other", None), Seen("7", 85.0), Step.TAKE),
    ],
)
def test_what_to_do_about_a_lease(known: Object | None, seen: Seen | None, step: Step) -> None:
    assert decide(known, seen, ME, 100.0) is step


def test_what_is_written() -> None:
    time = "2026-01-01T12:00:00.000000Z"
    made = written(Step.CREATE, None, ME, NOW)
    assert made["spec"] == {
        "holderIdentity": "me",
        "leaseDurationSeconds": 15,
        "renewTime": time,
        "acquireTime": time,
        "leaseTransitions": 0,
    }
    taken = written(Step.TAKE, lease("other"), ME, NOW)
    assert taken["metadata"] == {"resourceVersion": "7"}
    assert (taken["spec"]["leaseTransitions"], taken["spec"]["acquireTime"]) == (4, time)
    renewed = written(Step.RENEW, lease("me"), ME, NOW)
    assert renewed["metadata"] == {"resourceVersion": "7"}
    assert set(renewed["spec"]) == {"holderIdentity", "leaseDurationSeconds", "renewTime"}


# --- electors against each other ---


class Machine:
    """An elector with a clock of its own: any start, up to a tenth too fast or too slow."""

    def __init__(self, world: Contest, name: str, rng: random.Random) -> None:
        start, rate = rng.uniform(0, 1e6), rng.uniform(0.9, 1.1)
        self.elector = Elector(
            world.cluster,
            LeaseSettings("yolo-system", "yolo-operator", name, 15),
            monotonic=lambda: start + world.now * rate,
            wall=lambda: NOW + timedelta(seconds=start + world.now * rate),
        )

        self.busy = False

    def look(self) -> None:
        """One look; whatever the network does to it."""
        self.busy = True
        with contextlib.suppress(ApiError):
            finish(self.elector.look())
        self.busy = False


class Far(MemoryCluster):
    """A cluster whose answers travel too: what it did others see before the one who asked."""

    def __init__(self, travel: Callable[[], None]) -> None:
        super().__init__()
        self._travel = travel
        self.on_request = lambda request: travel()

    async def get(self, *place: Any) -> Object | None:
        found = await super().get(*place)
        self._travel()
        return found

    async def create(self, *what: Any) -> Object:
        made = await super().create(*what)
        self._travel()
        return made

    async def patch(self, *what: Any, subresource: str = "") -> Object:
        made = await super().patch(*what, subresource=subresource)
        self._travel()
        return made


class Contest:
    """Several of them, one Lease, and time that passes in the middle of requests too."""

    def __init__(self, rng: random.Random, size: int = 3) -> None:
        self.rng, self.now, self.born = rng, 0.0, 0
        self.cluster = Far(self.travel)
        self.slowness = 0.0
        self.machines: list[Machine] = []
        self.leaders: list[str] = []
        for _ in range(size):
            self.start()

    def start(self) -> None:
        self.born += 1
        self.machines.append(Machine(self, f"operator-{self.born}", self.rng))

    def travel(self) -> None:
        """A request or an answer is on its way; meanwhile others may look."""
        for _ in range(2):
            self.pass_time(self.rng.expovariate(1 / self.slowness) if self.slowness else 0.0)
            idle = [machine for machine in self.machines if not machine.busy]
            if self.slowness and idle and self.rng.random() < 0.5:
                self.rng.choice(idle).look()

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.check()

    def check(self) -> None:
        leaders = [machine.elector for machine in self.machines if machine.elector.leads]
        assert len(leaders) <= 1, "two lead at once"

    def leader(self) -> Machine | None:
        return next((machine for machine in self.machines if machine.elector.leads), None)

    def round(self) -> None:
        """Every machine looks once, in any order."""
        for machine in self.rng.sample(self.machines, len(self.machines)):
            machine.look()
            self.check()
        self.pass_time(self.rng.uniform(1.5, 2.5))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32))
def test_never_two_at_once(seed: int) -> None:
    """However slow requests are, whichever answers get lost, whoever pauses or dies."""
    rng = random.Random(seed)
    contest = Contest(rng)
    for _ in range(80):
        contest.slowness = rng.choice([0.0, 0.1, 2.0, 8.0])
        event = rng.random()
        if event < 0.1:
            fault = Fault(ApiError(0, "TimeoutError", "no answer"), after=rng.random() < 0.5)
            contest.cluster.faults[contest.cluster.writes + 1] = fault
        elif event < 0.15:
            contest.pass_time(rng.uniform(0, 40))
        elif event < 0.2:
            contest.machines.remove(rng.choice(contest.machines))
            contest.start()
        elif event < 0.25 and contest.cluster.peek(LEASES, "yolo-system", "yolo-operator"):
            contest.cluster.update(LEASES, "yolo-system", "yolo-operator", {"metadata": {"labels": {"a": str(rng.random())}}})
        rng.choice(contest.machines).look()
        contest.check()
        contest.pass_time(rng.uniform(0, 5))


@given(st.integers(0, 2**32))
def test_somebody_leads_soon_after_a_leader_dies(seed: int) -> None:
    contest = Contest(random.Random(seed))
    contest.round()
    contest.round()
    leader = contest.leader()
    assert leader is not None
    contest.machines.remove(leader)
    died = contest.now
    while contest.leader() is None:
        contest.round()
        assert contest.now - died < 25


@given(st.integers(0, 2**32))
def test_a_leader_that_is_well_stays(seed: int) -> None:
    contest = Contest(random.Random(seed))
    contest.round()
    first = contest.leader()
    for _ in range(40):
        contest.round()
        assert contest.leader() is first


async def test_what_is_given_back_is_taken_at_the_next_look() -> None:
    contest = Contest(random.Random(1), size=2)
    contest.round()
    leader = contest.leader()
    assert leader is not None
    await leader.elector.release()
    assert not leader.elector.leads
    (other,) = [machine for machine in contest.machines if machine is not leader]
    other.look()
    assert contest.leader() is other
    # Whoever does not hold it gives nothing back.
    await leader.elector.release()
    assert contest.leader() is other
    body = contest.cluster.peek(LEASES, "yolo-system", "yolo-operator")
    assert body is not None
    assert body["spec"]["holderIdentity"] == other.elector.holder


def test_a_leader_whose_lease_is_deleted_makes_it_anew() -> None:
    contest = Contest(random.Random(1), size=1)
    contest.round()
    contest.cluster.remove(LEASES, "yolo-system", "yolo-operator")
    contest.round()
    assert contest.leader() is not None


# --- the loops, in real time ---

BRIEF = LeaseSettings("yolo-system", "yolo-operator", "me", 1)


def elector(cluster: MemoryCluster) -> Elector:
    return Elector(cluster, BRIEF, monotonic=asyncio.get_running_loop().time, wall=lambda: datetime.now(UTC))


async def held(cluster: MemoryCluster) -> Elector:
    made = elector(cluster)
    await asyncio.wait_for(made.acquire(), 2)
    assert made.leads
    return made


async def test_acquiring_survives_an_api_server_that_is_away() -> None:
    cluster, requests = MemoryCluster(), 0

    def away(_: Request) -> None:
        nonlocal requests
        requests += 1
        if requests < 3:
            raise ApiError(0, "ClientConnectorError", "refused")

    cluster.on_request = away
    made = await held(cluster)
    assert made.holder == "me"


async def test_holding_renews() -> None:
    cluster = MemoryCluster()
    made = await held(cluster)
    holding = asyncio.create_task(made.hold())
    await asyncio.sleep(1.5)
    assert made.leads
    assert not holding.done()
    holding.cancel()


async def test_holding_ends_when_another_one_has_it() -> None:
    cluster = MemoryCluster()
    made = await held(cluster)
    cluster.update(LEASES, BRIEF.namespace, BRIEF.name, {"spec": {"holderIdentity": "other"}})
    with pytest.raises(LeaseLost, match="other holds the lease"):
        await asyncio.wait_for(made.hold(), 2)
    assert not made.leads


async def test_holding_ends_when_it_cannot_be_renewed() -> None:
    cluster = MemoryCluster()
    made = await held(cluster)

    def away(_: Request) -> None:
        raise ApiError(0, "ClientConnectorError", "refused")

    cluster.on_request = away
    with pytest.raises(LeaseLost, match="could not be renewed"):
        await asyncio.wait_for(made.hold(), 2)
    assert not made.leads


async def test_a_request_that_hangs_does_not_hold_the_lease() -> None:
    class Hanging(MemoryCluster):
        async def get(self, *_: Any) -> Object | None:
            await asyncio.Event().wait()
            return None

    cluster = MemoryCluster()
    made = await held(cluster)
    made._cluster = Hanging()
    began = asyncio.get_running_loop().time()
    with pytest.raises(LeaseLost, match="could not be renewed"):
        await asyncio.wait_for(made.hold(), 2)
    assert asyncio.get_running_loop().time() - began < 1


async def test_giving_back_is_given_up_when_nobody_answers() -> None:
    cluster = MemoryCluster()
    made = await held(cluster)

    def away(_: Request) -> None:
        raise ApiError(503, "ServiceUnavailable", "")

    cluster.on_request = away
    await made.release()
    assert not made.leads


# --- the fence ---

WRITES: dict[str, Callable[[Fenced], Any]] = {
    "create": lambda fenced: fenced.create(JOBS, "lab", {"metadata": {"name": "a"}}),
    "patch": lambda fenced: fenced.patch(CONFIG_MAPS, "lab", "here", {"data": {"a": "b"}}),
    "delete": lambda fenced: fenced.delete(CONFIG_MAPS, "lab", "here"),
}


@pytest.mark.parametrize("verb", WRITES)
async def test_nothing_is_written_without_the_lease(verb: str) -> None:
    cluster, leads = MemoryCluster(), False
    cluster.add(CONFIG_MAPS, "lab", {"metadata": {"name": "here"}})
    fenced = Fenced(cluster, lambda: leads)
    with pytest.raises(ApiError, match="nothing is written any more"):
        await WRITES[verb](fenced)
    assert cluster.writes == 0
    assert await fenced.get(CONFIG_MAPS, "lab", "here") is not None
    assert [len(page.items) async for page in fenced.pages(CONFIG_MAPS, "lab")] == [1]
    leads = True
    await WRITES[verb](fenced)
    assert cluster.writes == 1
