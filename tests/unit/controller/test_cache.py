"""The cache: order by resourceVersion, graves, sweeps, rivals."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from world import World
from yolo_operator.api import resource
from yolo_operator.controller.cache import GRAVES, Cache, Directory, Key, Table
from yolo_operator.kube.cluster import EXPERIMENTS, Object
from yolo_operator.kube.views import experiment_of
from yolo_operator.pipeline.values import Experiment

from examples import NAME, NAMESPACE, experiment_body, small_spec, whole_spec

KEY = Key(NAMESPACE, "plates")


def body(version: int, uid: str = "e1", name: str = "plates", **spec: Any) -> Object:
    found = experiment_body(small_spec(**spec), name)
    found["metadata"] |= {"namespace": NAMESPACE, "uid": uid, "resourceVersion": str(version), "generation": 1}
    found["metadata"]["creationTimestamp"] = f"2026-01-01T00:00:{version % 60:02d}Z"
    return found


def job(version: int, uid: str = "j1", name: str = "plates-train-1", owner: str = "e1", **labels: str) -> Object:
    return {
        "metadata": {
            "namespace": NAMESPACE,
            "name": name,
            "uid": uid,
            "resourceVersion": str(version),
            "labels": {resource.LABEL_STAGE: "train", resource.LABEL_EXPERIMENT: "plates", **labels},
            "ownerReferences": [{"uid": owner, "name": "plates", "controller": True}],
        }
    }


def parsed(cache: Cache) -> Experiment:
    row = cache.experiments.get(*KEY)
    assert row is not None
    assert row.experiment is not None
    return row.experiment


def everywhere(place: str) -> bool:
    return True


def test_an_older_version_never_replaces_a_newer_one() -> None:
    cache = Cache()
    assert cache.put_experiment(body(5)) == KEY
    assert cache.put_experiment(body(5)) is None
    assert cache.put_experiment(body(4)) is None
    assert cache.put_experiment(body(6)) == KEY
    row = cache.experiments.get(*KEY)
    assert row is not None
    assert row.resource_version == 6


def test_an_old_list_does_not_raise_the_dead() -> None:
    cache = Cache()
    cache.put_job(job(5))
    assert cache.remove_job(job(7)) == KEY
    assert cache.put_job(job(6)) is None
    assert len(cache.jobs) == 0
    assert cache.remove_job(job(7)) is None


def test_what_was_out_of_sight_comes_back_when_the_server_shows_it() -> None:
    cache = Cache()
    cache.put_job(job(5))
    cache.remove_job(job(7))
    assert cache.put_job(job(7)) is None
    assert cache.put_job(job(7), live=True) == KEY


def test_a_late_deletion_spares_the_successor_of_the_name() -> None:
    cache = Cache()
    cache.put_experiment(body(5, "e1"))
    cache.put_experiment(body(9, "e2"))
    assert cache.remove_experiment(body(7, "e1")) == []
    row = cache.experiments.get(*KEY)
    assert row is not None
    assert row.uid == "e2"


def test_a_sweep_forgets_what_a_list_does_not_show_and_spares_what_is_newer() -> None:
    cache = Cache()
    cache.put_job(job(5, "old", "a"))
    cache.put_job(job(6, "listed", "b"))
    cache.put_job(job(11, "new", "c"))
    assert cache.sweep_jobs({"listed"}, 10, everywhere) == [KEY]
    assert {view.name for view in cache.jobs} == {"b", "c"}
    assert cache.put_job(job(10, "old", "a")) is None


def test_a_sweep_of_one_namespace_leaves_the_others() -> None:
    cache = Cache()
    cache.put_job(job(5))
    assert cache.sweep_jobs(set(), 10, lambda place: place == "elsewhere") == []
    assert len(cache.jobs) == 1


def test_jobs_of_an_earlier_experiment_of_the_name_are_not_observed() -> None:
    cache = Cache()
    cache.put_experiment(body(5, "e2"))
    cache.put_job(job(3, "j1", "a", owner="e1"))
    cache.put_job(job(6, "j2", "b", owner="e2"))
    row = cache.experiments.get(*KEY)
    assert row is not None
    assert [view.name for view in cache.observed(row).jobs] == ["b"]


def test_a_spec_is_parsed_once_a_generation() -> None:
    cache = Cache()
    cache.put_experiment(body(5))
    first = parsed(cache)
    cache.put_experiment({**body(6), "status": {"phase": "Running"}})
    second = parsed(cache)
    edited = body(7, maxParallel=2)
    edited["metadata"]["generation"] = 2
    cache.put_experiment(edited)
    third = parsed(cache)
    assert second.spec is first.spec
    assert second.status.phase == "Running"
    assert third.spec.max_parallel == 2


def test_a_spec_of_other_rules_is_kept_with_its_problem() -> None:
    cache = Cache()
    cache.put_experiment(body(5, maxParallel=0))
    row = cache.experiments.get(*KEY)
    assert row is not None
    assert row.experiment is None
    assert row.problem.startswith("spec.maxParallel: ")
    assert row.directory is None


def test_the_older_of_two_in_one_directory_is_the_rival() -> None:
    cache = Cache()
    cache.put_experiment(body(1, "e1", "a"))
    cache.put_experiment(body(2, "e2", "b"))
    cache.put_experiment(body(3, "e3", "c", workspace={"claimName": "data", "subPath": "c"}))
    rows = {name: cache.experiments.get(NAMESPACE, name) for name in "abc"}
    assert [cache.observed(row).rival for row in rows.values() if row] == [None, "a", None]
    assert cache.remove_experiment(body(9, "e1", "a")) == [Key(NAMESPACE, "a"), Key(NAMESPACE, "b")]
    row = cache.experiments.get(NAMESPACE, "b")
    assert row is not None
    assert cache.observed(row).rival is None


PLACES = ["", "a", "a/b", "a/b/c", "ab", "./a/", "stages/x", "stagesx"]
OVERLAPS = {
    ("", "stages/x"),
    ("a", "a/b"),
    ("a", "a/b/c"),
    ("a", "./a/"),
    ("a/b", "a/b/c"),
    ("a/b", "./a/"),
    ("a/b/c", "./a/"),
}


@pytest.mark.parametrize(("first", "second"), list(itertools.product(PLACES, repeat=2)))
def test_directories_overlap_when_one_lies_in_the_other(first: str, second: str) -> None:
    def at(path: str) -> dict[str, str]:
        return {"claimName": "data"} | ({"subPath": path} if path else {})

    cache = Cache()
    cache.put_experiment(body(1, "e1", "a", workspace=at(first)))
    cache.put_experiment(body(2, "e2", "b", workspace=at(second)))
    cache.put_experiment(body(3, "e3", "c", workspace=at(second) | {"claimName": "other"}))
    rows = [cache.experiments.get(NAMESPACE, name) for name in "abc"]
    overlap = first == second or (first, second) in OVERLAPS or (second, first) in OVERLAPS
    assert [cache.observed(row).rival for row in rows if row] == [None, "a" if overlap else None, None]
    # Whoever waited for the directory is told that it is free.
    assert (Key(NAMESPACE, "b") in cache.remove_experiment(body(9, "e1", "a"))) is overlap


def test_a_claim_from_a_template_is_its_experiments_alone() -> None:
    cache = Cache()
    cache.put_experiment(body(1, "e1", "a", workspace={"volumeClaimTemplate": {"storage": "1Gi"}}))
    cache.put_experiment(body(2, "e2", "b", workspace={"claimName": "a-workspace"}))
    cache.put_experiment(body(3, "e3", "c", workspace={"claimName": "c-workspace"}))
    rows = [cache.experiments.get(NAMESPACE, name) for name in "abc"]
    assert [cache.observed(row).rival for row in rows if row] == [None, "a", None]


def test_leaving_a_directory_frees_it() -> None:
    cache = Cache()
    cache.put_experiment(body(1, "e1", "a"))
    cache.put_experiment(body(2, "e2", "b"))
    cache.put_experiment(body(3, "e1", "a", workspace={"claimName": "data", "subPath": "elsewhere"}) | {})
    moved = cache.experiments.get(NAMESPACE, "a")
    row = cache.experiments.get(NAMESPACE, "b")
    assert row is not None
    assert moved is not None
    # One generation, one spec: an edit raises it.
    edited = body(4, "e1", "a", workspace={"claimName": "data", "subPath": "elsewhere"})
    edited["metadata"]["generation"] = 2
    cache.put_experiment(edited)
    assert cache.observed(row).rival is None


def test_graves_are_bounded() -> None:
    table: Table[Any] = Table()
    for number in range(GRAVES + 10):
        table.remove("n", str(number), str(number), number)
    assert len(table._graves) == GRAVES


events = st.lists(
    st.tuples(
        st.sampled_from(["put", "remove", "sweep", "live"]), st.integers(1, 30), st.sampled_from(["a", "b"]), st.integers(1, 3)
    ),
    max_size=40,
)


@given(events)
def test_the_index_never_disagrees_with_the_table(steps: list[tuple[str, int, str, int]]) -> None:
    cache = Cache()
    cache.put_experiment(body(1))
    row = cache.experiments.get(*KEY)
    assert row is not None
    for verb, version, name, uid in steps:
        known = cache.jobs.get(NAMESPACE, name)
        if verb in ("put", "live"):
            cache.put_job(job(version, f"{name}{uid}", name), live=verb == "live")
        elif verb == "remove":
            cache.remove_job(job(version, f"{name}{uid}", name))
        else:
            cache.sweep_jobs({f"{name}{uid}"}, version, everywhere)
        now = cache.jobs.get(NAMESPACE, name)
        if known and now and known.uid == now.uid:
            assert now.resource_version >= known.resource_version
        assert {view.name for view in cache.observed(row).jobs} == {view.name for view in cache.jobs}


def test_ghosts_go_with_the_next_full_list() -> None:
    world = World(small_spec()).rest()
    pods = world.operator.watches
    for pod in world.cluster.objects(next(kind for kind in pods if kind.plural == "pods")):
        world.cluster.remove(next(kind for kind in pods if kind.plural == "pods"), NAMESPACE, pod["metadata"]["name"])
    for watch in pods.values():
        world.operator.gap(watch)
    world.operator.deliver()
    assert len(world.operator.cache.pods) > 0
    world.operator.resync()
    assert len(world.operator.cache.pods) == 0


def test_an_experiment_that_has_ended_is_kept_as_text_and_reads_the_same() -> None:
    world = World(whole_spec()).rest()
    row = world.operator.cache.experiments.get(NAMESPACE, NAME)
    stored = world.cluster.peek(EXPERIMENTS, NAMESPACE, NAME)
    assert row is not None
    assert stored is not None
    assert isinstance(row.content, bytes)
    assert row.status == stored["status"]
    assert row.experiment == experiment_of(stored)
    assert (row.phase, row.m_ap) == ("Succeeded", stored["status"]["mAP"])
    assert row.directory == Directory(NAMESPACE, "data", ())


def test_an_ended_one_that_cannot_be_read_tells_why() -> None:
    cache = Cache()
    cache.put_experiment({**body(5, maxParallel=0), "status": {"phase": "Succeeded"}})
    row = cache.experiments.get(*KEY)
    assert row is not None
    assert row.experiment is None
    assert row.problem.startswith("spec.maxParallel: ")
