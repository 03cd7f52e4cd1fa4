"""Two replicas: the leader dies, later the next is told to go, both within a stage. Another goes on, and nothing runs twice."""

from __future__ import annotations

import json
import subprocess
import time

from harness import OPERATOR_NAMESPACE, ROOT, Failure, Object, Scenario, ended, small_experiment

from scenarios.pipeline import check_result

RELEASE, LONGEST = "yolo-operator", 60.0


def run(scenario: Scenario) -> None:
    """The scenario."""
    replicas(2)
    try:
        scenario.fresh_namespace()
        scenario.make_dataset()
        scenario.apply(small_experiment())
        times: dict[str, float] = {}

        def lose_the_leader(experiment: Object) -> None:
            stage = str(experiment.get("status", {}).get("stage"))
            ways = {"train": ["--grace-period=0", "--force"], "retrain": []}
            if stage in ways and stage not in times:
                times[stage] = handed_over(ways[stage])
                print(f"  during {stage}: {holder()} leads after {times[stage]:.1f} s", flush=True)

        experiment = scenario.wait("small", ended, seconds=1200, tick=lose_the_leader)
        scenario.facts["seconds_to_the_next_leader"] = times
        scenario.check(set(times) == {"train", "retrain"}, "the leader was killed during train and told to go during retrain")
        for stage, seconds in times.items():
            scenario.check(seconds <= LONGEST, f"during {stage} another one led after {seconds:.1f} s")
        check_result(scenario, experiment)
        jobs = scenario.get("jobs", selector="app.kubernetes.io/component=stage")["items"]
        labels = [job["metadata"]["labels"] for job in jobs]
        stages = [(label["yolo-operator.dev/stage"], label.get("yolo-operator.dev/variant")) for label in labels]
        scenario.check(len(stages) == len(set(stages)), f"{len(stages)} stages had one Job each")
    finally:
        replicas(1)


def replicas(number: int) -> None:
    """So many, ready, and nothing else of the release changed."""
    command = ["helm", "upgrade", RELEASE, str(ROOT / "helm/yolo-operator"), "--namespace", OPERATOR_NAMESPACE]
    command += ["--reuse-values", "--set", f"replicas={number}", "--wait", "--timeout", "3m", "--force-conflicts"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    if done.returncode:
        raise Failure(f"helm upgrade: {done.stderr.strip()}")


def holder() -> str:
    """The pod that leads; empty between two."""
    command = ["kubectl", "--namespace", OPERATOR_NAMESPACE, "get", "lease", RELEASE, "-o", "json"]
    lease = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=30).stdout)
    return str(lease["spec"].get("holderIdentity") or "").rpartition("_")[0]


def handed_over(how: list[str]) -> float:
    """Delete the leader's pod; seconds until another one leads."""
    leader, start = holder(), time.monotonic()
    command = ["kubectl", "--namespace", OPERATOR_NAMESPACE, "delete", "pod", leader, "--wait=false", *how]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    while holder() in ("", leader):
        if time.monotonic() - start > 2 * LONGEST:
            raise Failure(f"nobody leads {2 * LONGEST:.0f} s after {leader} went")
        time.sleep(0.2)
    return time.monotonic() - start
