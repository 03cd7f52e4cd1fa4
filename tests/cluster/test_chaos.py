"""The reduced chaos run: the operator killed at every write of one pipeline, and mutated resources."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from chaos import crash, mutate, mutations, stories
from chaos.case import Lab
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
    # The last writes may be one less in a run: then there was nothing to die at.
    assert len(found.deaths) >= 2 * (found.writes - 2)
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
