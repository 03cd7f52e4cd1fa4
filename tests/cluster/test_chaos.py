"""The reduced chaos run: the operator killed at every write of one pipeline, and mutated resources."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

import examples
from chaos import case, crash, mutate, mutations, stories
from chaos.case import Lab
from chaos.kubelet import Kubelet
from chaos.nursery import Nursery
from chaos.proxy import upstream

SEED, MUTATIONS = 2, 200
LEAST_WRITES = 15
"""Of four stages: a Job and its label each, and the statuses."""


@pytest_asyncio.fixture
async def lab(kubeconfig: Path, crd: Callable[[], None], tmp_path: Path) -> AsyncIterator[Lab]:
    """Proxies before the API server, and operators that start quickly."""
    crd()
    async with upstream(kubeconfig) as server, Nursery(tmp_path) as nursery:
        yield Lab(server, nursery)


@pytest.mark.timeout(600)
async def test_an_operator_killed_at_any_write_ends_where_an_undisturbed_one_does(lab: Lab) -> None:
    found = await crash.every_write(lab, stories.SMALL)
    assert found.writes >= LEAST_WRITES
    # Events that wait together become one, so that a run may have some writes less: then there was nothing to die at.
    assert len(found.deaths) >= 2 * (found.writes - 4)
    assert {death.mode for death in found.deaths} == {crash.BEFORE, crash.AFTER}
    assert found.divergent == []
    assert found.duplicate_jobs == 0


@pytest.mark.timeout(600)
async def test_mutated_experiments_are_refused_with_a_path_or_come_to_rest_with_a_reason(lab: Lab) -> None:
    chosen = [mutations.mutation(SEED, number) for number in range(MUTATIONS)]
    found = await mutate.try_all(lab, [*mutate.regressions(), *chosen])
    assert [str(verdict) for verdict in found.bad] == []
    assert found.counts[mutate.Result.REJECTED] > MUTATIONS / 4
    assert found.counts[mutate.Result.RECONCILED] > MUTATIONS / 8


async def test_two_operators_with_namespaces_of_their_own_share_the_work_without_meeting(lab: Lab) -> None:
    cases = [case.Case.of(lab, f"shard-{number}") for number in range(2)]
    async with Kubelet(lab.upstream), cases[0].proxy.serve(), cases[1].proxy.serve():
        for each in cases:
            await each.prepare()
            await each.operator()
        for each in cases:
            for number in range(3):
                name = f"plates-{number}"
                await each.submit(examples.small_spec(workspace={"claimName": "data", "subPath": name}), name)
        states = [await each.settled(90) for each in cases]
        for each in cases:
            await each.finish()
    assert [state.settled for state in states] == [True, True]
    for each, other in ((cases[0], cases[1]), (cases[1], cases[0])):
        about = " ".join(each.proxy.written)
        assert about.count("/jobs/plates-") > 0
        assert other.namespace not in about
    for state in states:
        assert set(state.jobs.values()) == {3}
    for each in cases:
        await each.remove()
