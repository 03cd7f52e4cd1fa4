"""A Job without a pod: said when it is worth a word, and asked about only while it has none."""

from __future__ import annotations

from world import World
from yolo_operator.api.resource import LABEL_STAGE
from yolo_operator.kube.cluster import PODS

from examples import NAMESPACE, small_spec


def without_pods(world: World) -> None:
    """Nothing moves that is the Job controller's or the kubelet's."""
    world.simulator.tick = lambda: False  # type: ignore[method-assign]


def test_a_job_that_gets_no_pod_is_told_of_after_a_while() -> None:
    """What the Job controller is forbidden (quota, admission) shows nowhere but in its Events."""
    world = World(small_spec())
    without_pods(world)
    world.until(lambda: world.states().get("prepare") == "Starting")
    world.round()
    assert "reason" not in world.stage("prepare")
    world.clock.advance(31)
    world.round()
    assert world.stage("prepare")["reason"] == "NoPod"
    assert f"kubectl describe job {world.stage('prepare')['job']}" in world.stage("prepare")["message"]
    world.restart()
    world.work()
    assert world.stage("prepare")["reason"] == "NoPod", "another process goes on saying so"
    assert "NoPod" not in world.reasons(), "but does not tell it again"
    del world.simulator.tick  # type: ignore[attr-defined]
    assert world.rest().status()["phase"] == "Succeeded"


def test_a_job_that_has_lost_its_pod_has_a_while_to_get_another() -> None:
    """The Job controller lets some seconds pass after an eviction, and the Job may be hours old then."""
    world = World(small_spec())
    world.until(lambda: world.states().get("train") == "Running")
    without_pods(world)
    world.clock.advance(3600)
    for pod in world.cluster.objects(PODS, NAMESPACE):
        world.cluster.remove(PODS, NAMESPACE, pod["metadata"]["name"])
    world.round()
    assert world.states()["train"] == "Starting"
    assert "reason" not in world.stage("train")
    assert "NoPod" not in world.reasons()
    world.clock.advance(31)
    world.round()
    assert world.stage("train")["reason"] == "NoPod"


def test_a_job_that_its_queue_held_for_long_has_a_while_to_get_its_pod() -> None:
    world = World(small_spec(queueName="gpus"))
    world.simulator.holds_jobs = True
    world.until(lambda: world.states().get("prepare") == "Queued")
    world.clock.advance(3600)
    world.simulator.holds_jobs = False
    world.simulator._new_pod = lambda job: None  # type: ignore[method-assign]
    world.until(lambda: world.states()["prepare"] == "Starting")
    assert "reason" not in world.stage("prepare")
    world.until(lambda: "reason" in world.stage("prepare"))
    assert world.stage("prepare")["reason"] == "NoPod"


def test_a_pod_that_is_long_in_the_making_is_not_asked_about() -> None:
    """An image of many gigabytes: the watch tells when it is there."""
    world = World(small_spec())
    world.simulator._start = lambda pod: None  # type: ignore[method-assign]
    world.until(lambda: "node" in world.stage("prepare") if world.status() else False)
    for _ in range(3):
        world.work()
        world.clock.advance(60)
        world.operator.deliver()
        world.operator.resync()
        world.work()
        assert world.stage("prepare")["state"] == "Starting"
        assert not world.operator.queue.due


def test_a_pod_that_is_to_go_and_does_not_is_told_of() -> None:
    """Its node is away: Kubernetes makes no second pod, and nothing moves until somebody does something."""
    world = World(small_spec())
    world.until(lambda: world.states().get("train") == "Running")
    without_pods(world)
    (pod,) = [p for p in world.cluster.objects(PODS, NAMESPACE) if p["metadata"]["labels"][LABEL_STAGE] == "train"]
    ended = pod["status"]
    running = {"name": "stage", "state": {"running": {"startedAt": world.clock.text}}}
    name = pod["metadata"]["name"]
    world.cluster.update(
        PODS, NAMESPACE, name, {"status": {"phase": "Running", "containerStatuses": [running]}}, subresource="status"
    )
    world.cluster.mark_deleted(PODS, NAMESPACE, name)
    world.until(lambda: "should the node not answer" in world.stage("train").get("message", ""), rounds=20)
    assert world.states()["train"] == "Running"
    world.cluster.update(PODS, NAMESPACE, name, {"status": ended}, subresource="status")
    del world.simulator.tick  # type: ignore[attr-defined]
    assert world.rest().status()["phase"] == "Succeeded"
