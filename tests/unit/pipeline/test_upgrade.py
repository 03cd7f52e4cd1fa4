"""What an upgrade must not change, and what a downgrade must survive."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import memory_cluster
import pytest
from world import World

from examples import NAME, NAMESPACE, small_spec, tao_spec, whole_spec

DIGESTS = {
    "open": (whole_spec(), "e94163367f487db1d645162ff209b2fe483d53a381ebac84e3b53e70f6fa966b"),
    "tao-3.21.11": (tao_spec(), "9a5cf462d8cd6a06887ae62700b40295ebac475f9f6f91956c02ba4d7108a112"),
}
"""For each spec the SHA-256 over the digests of all its stages. Another value means that every experiment of that kind runs again
after an upgrade, in every cluster: only with a release whose changelog says so under *Runs again*.
"""


@pytest.mark.parametrize("name", DIGESTS)
def test_digests_are_those_of_the_versions_before(name: str) -> None:
    spec, expected = DIGESTS[name]
    digests = [[r["name"], r.get("variant", ""), r["digest"]] for r in World(spec).rest().status()["stages"]]
    assert hashlib.sha256(json.dumps(digests).encode()).hexdigest() == expected, digests


@pytest.mark.parametrize("state", ["Running", "Succeeded"])
def test_a_record_that_a_newer_version_wrote_is_made_anew_and_nothing_runs_twice(
    state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(small_spec())
    if state == "Running":
        world.until(lambda: world.states().get("train") == "Running")
    else:
        world.rest()
    records: list[dict[str, Any]] = world.status()["stages"]
    newer = [{**r, "state": "Hibernating", "bed": "soft"} if r["name"] == "train" else r for r in records]
    with monkeypatch.context() as patch:
        patch.setattr(memory_cluster, "_check_status", lambda kind, body: None)
        world.cluster.update(memory_cluster.EXPERIMENTS, NAMESPACE, NAME, {"status": {"stages": newer}}, subresource="status")
    world.restart()
    world.rest()
    assert world.status()["phase"] == "Succeeded"
    assert world.stage("train")["state"] == "Succeeded"
    assert [r["attempt"] for r in world.status()["stages"]] == [1] * len(records)
    created = [job["metadata"]["name"] for job in world.created_jobs()]
    assert len(created) == len(set(created)) == len(records)
