"""The API server is away for two minutes, in which a training ends: the operator catches up by itself, nothing runs twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from harness import OPERATOR_NAMESPACE, Failure, Object, Scenario, condition, ended, stages

from scenarios.evict import epoch_of, training_experiment

NAME = "away"
SECONDS = 120.0
EPOCHS = 12
PATIENCE = 60.0
"""Seconds in which the operator has to see what happened, from the moment that kubectl gets its first answer."""


def run(scenario: Scenario) -> None:
    """The scenario."""
    scenario.fresh_namespace()
    scenario.make_dataset()
    experiment = training_experiment(NAME)
    experiment["spec"]["experimentSpec"]["trainingConfig"] |= {"numEpochs": EPOCHS, "checkpointInterval": EPOCHS}
    scenario.apply(experiment)
    scenario.wait(NAME, lambda e: epoch_of(e, scenario) >= 2, seconds=600)
    before, server = operator(), api_server()

    went = datetime.now(UTC)
    os.kill(server, signal.SIGSTOP)
    try:
        print(f"  [{time.strftime('%H:%M:%S')}] the API server stands still for {SECONDS:g} s", flush=True)
        time.sleep(SECONDS)
        answers = subprocess.run(["kubectl", "get", "--raw", "/readyz", "--request-timeout=3s"], check=False, capture_output=True)
        scenario.check(answers.returncode != 0, "nobody got an answer from it")
    finally:
        os.kill(server, signal.SIGCONT)
    came, start = datetime.now(UTC), time.monotonic()
    until_it_answers(scenario)
    answered = time.monotonic()
    scenario.facts["seconds until it answered again"] = round(answered - start, 1)

    scenario.wait(NAME, lambda e: stages(e)["train"]["state"] == "Succeeded", seconds=PATIENCE)
    scenario.facts["seconds to the record of what had ended"] = round(time.monotonic() - answered, 1)
    done = scenario.wait(NAME, ended, seconds=300)
    scenario.check(condition(done, "Complete"), f"the experiment is complete: {done['status'].get('message')}")
    check_it_ended_meanwhile(scenario, went, came)
    found = stages(done)
    jobs = scenario.stage_jobs()
    scenario.check(len(jobs) == len(found), f"{len(found)} stages had one Job each")
    scenario.check(
        all(record["attempt"] == 1 and not record.get("failures") for record in found.values()), "at the first attempt"
    )
    scenario.check(operator() == before, f"the operator is the same process as before: {before}")


def api_server() -> int:
    """The process that is the API server of the cluster in KUBECONFIG.

    Raises:
        Failure: when the cluster is not one of `hack/cluster` on this machine.
    """
    view = ["kubectl", "config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}"]
    address = urlsplit(subprocess.run(view, check=True, capture_output=True, text=True, timeout=60).stdout).hostname
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if words[0].endswith("kube-apiserver") and f"--advertise-address={address}" in words:
            return int(entry.name)
    raise Failure(f"no API server with the address {address} runs on this machine: this scenario needs a cluster of hack/cluster")


def operator() -> Object:
    """What tells whether its process is the same: container and restarts of the only pod."""
    command = [
        "kubectl",
        "--namespace",
        OPERATOR_NAMESPACE,
        "get",
        "pods",
        "-l",
        "app.kubernetes.io/name=yolo-operator",
        "-o",
        "json",
    ]
    (pod,) = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)["items"]
    (container,) = pod["status"]["containerStatuses"]
    return {"container": container["containerID"][-12:], "restarts": container["restartCount"]}


def until_it_answers(scenario: Scenario) -> None:
    """Wait for the first answer."""
    for _ in range(60):
        if scenario.kubectl("get", "--raw", "/readyz", check=False, timeout=30).strip() == "ok":
            return
        time.sleep(1)
    raise Failure("the API server does not come back")


def check_it_ended_meanwhile(scenario: Scenario, went: datetime, came: datetime) -> None:
    """The training's container ended while the API server was away."""
    (pod,) = scenario.get("pods", selector="yolo-operator.dev/stage=train")["items"]
    at = pod["status"]["containerStatuses"][0]["state"]["terminated"]["finishedAt"]
    finished = datetime.fromisoformat(at)
    seconds = (finished - went).total_seconds()
    scenario.check(went < finished < came, f"the training ended {seconds:.0f} s into the outage")
