"""What nodes and kubelets do to stages: killed, out of memory, drained, a kubelet that is away, no space, no image, no volume,
a clock that jumps."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import skewed
from harness import Failure, Object, Scenario, claim, condition, ended, processes_of, stages

from scenarios.evict import epoch_of, evict, training_experiment, training_pod

AWAY_SECONDS = 150
"""For which the kubelet stands still: the node is NotReady after some 50 s, and its pods are not yet replaced."""
TOLERATED_SECONDS = 15
"""For which a pod of the experiment `node-lost` stays on a node that is not Ready."""
ANOTHER_NODE = "another-node"
SMALL_VOLUME = "24m"
FORWARD = 400 * 86_400
"""Seconds by which clocks are set forward: beyond any period that anything waits for."""
LONGEST_BACK = 3 * 3_600
RETRY_SECONDS = 90
"""Within which a retry that is due in 2 s has its pod, on a machine with much to do."""


def run(scenario: Scenario) -> None:
    """The scenario. Every fault is tried, and each is told with what it came to, before any is complained about."""
    scenario.fresh_namespace()
    scenario.make_dataset(train=40, validation=10, test=4)
    scenario.facts["faults"] = []
    for fault in FAULTS:
        began = time.monotonic()
        try:
            verdict, right = fault(scenario)
        except (Failure, subprocess.SubprocessError) as failure:
            verdict, right = f"not as it should be: {failure}", False
        name = fault.__name__.replace("_", " ")
        found = {"name": name, "verdict": verdict, "right": right, "seconds": round(time.monotonic() - began, 1)}
        scenario.facts["faults"].append(found)
        print(f"  {'ok  ' if right else 'FAIL'}  {name}: {verdict}", flush=True)
    told = {event["reason"] for event in scenario.get("events")["items"]}
    scenario.check("NoPod" not in told, "no Job whose pod was lost is said to be forbidden one")
    wrong = [fault["name"] for fault in scenario.facts["faults"] if not fault["right"]]
    scenario.check(not wrong, f"the verdict and the next step are right each time{': not ' if wrong else ''}{', '.join(wrong)}")


def quick(name: str, epochs: int = 6) -> Object:
    """A short training and its evaluation."""
    experiment = training_experiment(name)
    experiment["spec"]["experimentSpec"]["trainingConfig"] |= {"numEpochs": epochs, "checkpointInterval": 2}
    experiment["spec"]["retry"] = {"limit": 2, "backoffSeconds": 2}
    return experiment


def train(experiment: Object) -> dict[str, Any]:
    """The record of the training."""
    return stages(experiment).get("train", {})


def trains(scenario: Scenario, epoch: int = 1) -> Callable[[Object], bool]:
    """Whether the training is in this epoch, at least."""
    return lambda experiment: epoch_of(experiment, scenario) >= epoch


def finish(scenario: Scenario, name: str) -> Object:
    """The experiment at its end."""
    return scenario.wait(name, ended, seconds=420)


def killed(scenario: Scenario) -> tuple[str, bool]:
    """SIGKILL to all processes of the training's container: no report. Counts once, goes on from its checkpoint."""
    scenario.apply(quick("killed", 12))
    scenario.wait("killed", trains(scenario, 4), seconds=240)
    kill(training_pod(scenario, "killed"))
    record = train(finish(scenario, "killed"))
    first = record["attempts"][0]
    good = record["state"] == "Succeeded" and record["attempt"] == 2 and record["failures"] == 1
    resumed = record.get("resumedFromEpoch")
    return f"{first['reason']}, attempt {record['attempt']} resumed from epoch {resumed}", good and bool(resumed)


def kill(pod: Object) -> None:
    """SIGKILL to everything in its container."""
    for process in processes_of(container_of(pod)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def container_of(pod: Object) -> str:
    """The id of its one container."""
    (container,) = [status["containerID"].rpartition("/")[2] for status in pod["status"]["containerStatuses"]]
    return str(container)


def out_of_memory(scenario: Scenario) -> tuple[str, bool]:
    """The container has less memory than the training needs: named, tried again up to the limit, then over."""
    experiment = quick("out-of-memory")
    experiment["spec"]["retry"] = {"limit": 1, "backoffSeconds": 2}
    experiment["spec"]["stages"] = {"train": {"resources": {"limits": {"memory": "120Mi"}, "requests": {"memory": "60Mi"}}}}
    scenario.apply(experiment)
    record = train(finish(scenario, "out-of-memory"))
    good = record["state"] == "Failed" and record["reason"] == "OutOfMemory" and record["attempt"] == 2
    return f"{record['state']} {record['reason']} after attempt {record['attempt']}", good


def no_image(scenario: Scenario) -> tuple[str, bool]:
    """An image that no registry has: said, and waited for; another image goes on at once."""
    experiment = quick("no-image", 2)
    image = experiment["spec"]["toolkit"]["image"]
    experiment["spec"]["toolkit"]["image"] = "registry.invalid/open-toolkit:none"
    experiment["spec"]["anchors"] = {"auto": {"count": 9}}
    scenario.apply(experiment)
    told = scenario.wait("no-image", lambda e: "mage" in str(waiting(e)), seconds=120)
    said = waiting(told)
    scenario.kubectl("patch", "yexp", "no-image", "--type=merge", "-p", f'{{"spec": {{"toolkit": {{"image": "{image}"}}}}}}')
    after = finish(scenario, "no-image")
    return f"{said}; then {after['status']['phase']}", condition(after, "Complete") and not condition(told, "Failed")


def no_volume(scenario: Scenario) -> tuple[str, bool]:
    """A claim that nothing binds: said, and waited for."""
    pending = claim("unbound")
    pending["spec"]["storageClassName"] = "nobody"
    experiment = quick("no-volume", 2)
    experiment["spec"]["workspace"] = {"claimName": "unbound"}
    scenario.apply(pending, experiment)
    told = scenario.wait("no-volume", lambda e: "PersistentVolumeClaim" in str(waiting(e)), seconds=120)
    scenario.kubectl("delete", "yexp", "no-volume")
    return str(waiting(told))[:160], not condition(told, "Failed")


def no_space(scenario: Scenario) -> tuple[str, bool]:
    """A workspace that fills up: the user's business, said with the reason, and not tried again."""
    with small_volume(scenario):
        experiment = quick("no-space")
        experiment["spec"]["workspace"] = {"claimName": "small"}
        scenario.apply(experiment)
        after = finish(scenario, "no-space")
        scenario.kubectl("delete", "yexp", "no-space")
    failed = [record for record in stages(after).values() if record["state"] == "Failed"]
    good = len(failed) == 1 and failed[0]["reason"] == "NoSpace" and failed[0]["attempt"] == 1
    return ", ".join(f"{one['name']} {one['reason']}: {one['message'][:90]}" for one in failed), good


def evicted(scenario: Scenario) -> tuple[str, bool]:
    """By the eviction API: interrupted, counts for nothing, resumes."""
    scenario.apply(quick("evicted", 12))
    scenario.wait("evicted", trains(scenario, 4), seconds=240)
    evict(scenario, training_pod(scenario, "evicted")["metadata"]["name"])
    return resumed_for_nothing(finish(scenario, "evicted"))


def evicted_by_kubelet(scenario: Scenario) -> tuple[str, bool]:
    """The kubelet evicts a pod that has more on the node's disk than its limit: named, and counted, as it may do it again.

    It looks at volumes now and then: the training lasts long enough to be looked at.
    """
    name = "evicted-by-kubelet"
    experiment = quick(name, 100)
    experiment["spec"]["stages"] = {"train": {"resources": {"limits": {"ephemeral-storage": "300Mi"}}}}
    scenario.apply(experiment)
    scenario.wait(name, trains(scenario, 4), seconds=240)
    pod = training_pod(scenario, name)
    process = next(processes_of(container_of(pod)))
    with Path(f"/proc/{process}/root/tmp/large").open("wb") as file:
        for _ in range(400):
            file.write(os.urandom(2**20))
    until(lambda: status_of(scenario, pod).get("reason") == "Evicted", 120, "the kubelet evicts the pod")
    after = finish(scenario, name)
    record = train(after)
    reasons, resumed = [attempt["reason"] for attempt in record.get("attempts") or ()], record.get("resumedFromEpoch")
    return f"attempts that failed: {', '.join(reasons)}; then {record['state']}, resumed from epoch {resumed}", (
        condition(after, "Complete") and reasons == ["Evicted"] and record["failures"] == 1 and bool(resumed)
    )


def status_of(scenario: Scenario, pod: Object) -> Object:
    """Of a pod, or nothing when it is gone."""
    text = scenario.kubectl("get", "pod", pod["metadata"]["name"], "-o", "json", "--ignore-not-found")
    return dict(json.loads(text)["status"]) if text else {}


def resumed_for_nothing(after: Object) -> tuple[str, bool]:
    """The verdict on a training that was interrupted by the infrastructure once."""
    record = train(after)
    resumed, failures = record.get("resumedFromEpoch"), record["failures"]
    return f"{record['state']}, resumed from epoch {resumed}, {failures} failures", (
        condition(after, "Complete") and failures == 0 and bool(resumed)
    )


def drained(scenario: Scenario) -> tuple[str, bool]:
    """The only node is drained: interrupted, counts for nothing, waits for a node, and resumes when there is one."""
    scenario.apply(quick("drained", 12))
    scenario.wait("drained", trains(scenario, 4), seconds=240)
    (node,) = scenario.get("nodes")["items"]
    name = node["metadata"]["name"]
    selector = "yolo-operator.dev/experiment=drained"
    try:
        scenario.kubectl(
            "drain",
            name,
            "--ignore-daemonsets",
            "--force",
            "--delete-emptydir-data",
            f"--pod-selector={selector}",
            "--timeout=90s",
            timeout=100,
        )
        told = scenario.wait("drained", lambda e: "nschedulable" in str(waiting(e)), seconds=90)
    finally:
        scenario.kubectl("uncordon", name)
    record = train(finish(scenario, "drained"))
    good = record["state"] == "Succeeded" and record["failures"] == 0 and bool(record.get("resumedFromEpoch"))
    return f"{str(waiting(told))[:80]}; then resumed from epoch {record.get('resumedFromEpoch')}, 0 failures", good


def kubelet_away(scenario: Scenario) -> tuple[str, bool]:
    """The kubelet hears and says nothing for a while: the training is not given up, and its end is seen afterwards."""
    scenario.apply(quick("kubelet-away", 10))
    scenario.wait("kubelet-away", trains(scenario), seconds=240)
    process = kubelet()
    os.kill(process, signal.SIGSTOP)
    try:
        time.sleep(AWAY_SECONDS)
        (node,) = scenario.get("nodes")["items"]
        ready = [one["status"] for one in node["status"]["conditions"] if one["type"] == "Ready"]
        meanwhile = train(scenario.get("yexp", "kubelet-away"))["state"]
    finally:
        os.kill(process, signal.SIGCONT)
    record = train(finish(scenario, "kubelet-away"))
    good = ready == ["Unknown"] and meanwhile == "Running" and record["state"] == "Succeeded" and record["attempt"] == 1
    return f"node Ready={ready[0]}, training {meanwhile}, then {record['state']} in attempt {record['attempt']}", good


def node_lost(scenario: Scenario) -> tuple[str, bool]:
    """The node is away for longer than its pod bears: deleted, but nothing takes its place until the kubelet says so."""
    experiment = quick("node-lost", 160)
    keys = ("not-ready", "unreachable")
    tolerations = [
        {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATED_SECONDS}
        for key in keys
    ]
    experiment["spec"]["scheduling"] = {"tolerations": tolerations}
    scenario.apply(experiment)
    scenario.wait("node-lost", trains(scenario, 4), seconds=240)
    pod, process = training_pod(scenario, "node-lost")["metadata"]["name"], kubelet()
    with another_node(scenario):
        os.kill(process, signal.SIGSTOP)
        try:
            until(lambda: "deletionTimestamp" in scenario.get("pod", pod)["metadata"], 240, f"{pod} is deleted")
            time.sleep(20)  # for whoever would be hasty
            selector = "yolo-operator.dev/experiment=node-lost,yolo-operator.dev/stage=train"
            alone = [one["metadata"]["name"] for one in scenario.get("pods", selector=selector)["items"]] == [pod]
            meanwhile = train(scenario.get("yexp", "node-lost"))["state"]
        finally:
            os.kill(process, signal.SIGCONT)
    record = train(finish(scenario, "node-lost"))
    resumed, failures = record.get("resumedFromEpoch"), record["failures"]
    good = alone and record["state"] == "Succeeded" and failures == 0 and bool(resumed)
    return f"deleted, {meanwhile}, no second pod; then resumed from epoch {resumed}, {failures} failures", good


@contextlib.contextmanager
def another_node(scenario: Scenario) -> Iterator[None]:
    """A node, in name only, that is ready and takes no pods: while none is ready, Kubernetes blames itself and deletes none."""
    over = threading.Event()

    def beat() -> None:
        while True:
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            ready = {"type": "Ready", "status": "True", "reason": "Played", "lastHeartbeatTime": now}
            status = json.dumps({"status": {"conditions": [ready]}})
            scenario.kubectl("patch", "node", ANOTHER_NODE, "--subresource=status", "-p", status, check=False)
            if over.wait(10):
                return

    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": ANOTHER_NODE}, "spec": {"unschedulable": True}}
    heart = threading.Thread(target=beat)
    try:
        scenario.apply(node)
        heart.start()
        yield
    finally:
        over.set()
        if heart.ident is not None:
            heart.join()
        scenario.kubectl("delete", "node", ANOTHER_NODE, "--ignore-not-found")


def until(holds: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for something that is not the experiment's.

    Raises:
        Failure: when it does not come.
    """
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise Failure(f"not within {seconds:g} s: {what}")
        time.sleep(1)


def clock_jump(scenario: Scenario) -> tuple[str, bool]:
    """The clocks of training and operator are set back, the training is killed, then the operator's is set forward.

    Counts as what it is, is tried again at once and goes on from its checkpoint; no time is below zero.
    """
    back = -backwards(scenario)
    with skewed.stages_of(scenario, "clock-jump"), skewed.operator():
        time.sleep(5)  # the policy is seen by all of the API server
        scenario.apply(quick("clock-jump", 12))
        scenario.wait("clock-jump", trains(scenario, 4), seconds=240)
        pod, operator = training_pod(scenario, "clock-jump"), skewed.operator_pod()
        for one in (pod, operator):
            skewed.set_clock(one, back)
        seen = [round(skewed.clock_of(one) / 60) for one in (pod, operator)]
        kill(pod)
        began = time.monotonic()
        scenario.wait("clock-jump", lambda e: trains(scenario)(e) and train(e)["attempt"] == 2, seconds=RETRY_SECONDS)
        waited = time.monotonic() - began
        skewed.set_clock(operator, FORWARD)
        after = finish(scenario, "clock-jump")
        same = skewed.operator_pod()["metadata"]["uid"] == operator["metadata"]["uid"]
    record, wrong = train(after), [round(back / 60)] * 2
    first = record["attempts"][0]
    good = condition(after, "Complete") and record["attempt"] == 2 and record["failures"] == 1 and same and seen == wrong
    resumed, phase = record.get("resumedFromEpoch"), after["status"]["phase"]
    told = f"{seen[0]} min: {first['reason']}, attempt 2 after {waited:.0f} s from epoch {resumed}; then +400 d: {phase}"
    return told, good and bool(resumed) and first["reason"] == "ContainerFailed"


def backwards(scenario: Scenario) -> float:
    """Seconds by which a clock can be set back: before the cluster was made, its certificates are not valid yet."""
    made = datetime.fromisoformat(scenario.get("namespace", "kube-system")["metadata"]["creationTimestamp"])
    age = (datetime.now(UTC) - made).total_seconds()
    scenario.check(age > 240, f"the cluster is {age:.0f} s old: there is room to set a clock back")
    return min(LONGEST_BACK, age - 60)


def waiting(experiment: Object) -> str:
    """What status says of the stage that does not start."""
    status = experiment.get("status", {})
    told = [
        f"{s.get('reason', '')} {s.get('message', '')}" for s in status.get("stages", []) if s["state"] in ("Starting", "Pending")
    ]
    return " ".join([status.get("message") or "", *told[:1]]).strip()


def kubelet() -> int:
    """The kubelet's process on this machine, of the cluster that the kubeconfig names."""
    home = Path(os.environ["KUBECONFIG"]).parent
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if Path(os.fsdecode(words[0])).name == "kubelet" and any(f"{home}/".encode() in word for word in words):
                    return int(entry.name)
    raise Failure("there is no kubelet of this cluster on this machine: the scenario needs the embedded flavour")


@contextlib.contextmanager
def small_volume(scenario: Scenario) -> Iterator[None]:
    """A claim `small` on a tmpfs of a few MiB, in the namespaces of the node: `umount` reads /proc, too."""
    process, path = kubelet(), "/var/lib/kubelet/small-volume"
    enter = ["nsenter", f"--target={process}", "--mount", "--pid", "--"]
    for command in (["mkdir", "-p", path], ["mount", "-t", "tmpfs", "-o", f"size={SMALL_VOLUME},mode=777", "small", path]):
        subprocess.run([*enter, *command], check=True, timeout=30)
    name = f"small-{scenario.namespace}"
    spec = {
        "accessModes": ["ReadWriteMany"],
        "capacity": {"storage": "2Gi"},
        "hostPath": {"path": path},
        "storageClassName": "small",
    }
    bound = claim("small")
    bound["spec"] |= {"storageClassName": "small", "volumeName": name}
    try:
        scenario.apply({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec}, bound)
        yield
    finally:
        scenario.kubectl("delete", "pvc/small", f"pv/{name}", "--wait=false", "--ignore-not-found", check=False)
        subprocess.run([*enter, "umount", "--lazy", path], check=False, timeout=30)


FAULTS = (
    killed,
    out_of_memory,
    no_image,
    no_volume,
    no_space,
    evicted,
    evicted_by_kubelet,
    drained,
    kubelet_away,
    node_lost,
    clock_jump,
)
