"""Three teams under limits, two GPUs: no limit broken at any moment, fair turns, priority, an operator killed, quotas raised.

The toolkit is the emulated TAO: what counts here is who runs when. What was sampled while it ran is compared once more with the
times that the Jobs carry.
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections import Counter
from datetime import datetime
from typing import Any, NamedTuple

from harness import OPERATOR_NAMESPACE, ROOT, Failure, Object, Scenario, condition, ended, job, kill_operator, stages

from scenarios.verdicts import bare

RELEASE = "yolo-operator"
RED, GREEN, BLUE = TEAMS = ("red", "green", "blue")
LIMITS: Object = {
    "cluster": {"maxGPUs": 2},
    "default": {"maxConcurrentExperiments": 2, "maxGPUs": 2, "maxPriority": 0},
    "namespaces": {"e2e-tenants-red": {"maxGPUs": 1}, "e2e-tenants-green": {"maxPriority": 100}},
}
GPUS = {RED: 1, GREEN: 2, BLUE: 2}
EXPERIMENTS = 2
"""At once, in each namespace."""
_MANAGED = "app.kubernetes.io/managed-by=yolo-operator,app.kubernetes.io/component=stage"
_EMULATE = """
import json, pathlib
folder = pathlib.Path('/data/experiments')
folder.mkdir(parents=True, exist_ok=True)
(folder / 'emulate.json').write_text(json.dumps({'delay': 0.3}))
"""


class Run(NamedTuple):
    """One stage that wanted a GPU, in seconds since the epoch."""

    team: str
    experiment: str
    stage: str
    priority: int
    waited_since: float
    made: float
    ended: float


def run(scenario: Scenario) -> None:
    """The scenario."""
    teams = {team: Scenario(f"tenants-{team}") for team in TEAMS}
    for team in teams.values():
        prepare(team)
    limit(LIMITS)
    try:
        watcher = Watcher(scenario, teams)
        with watcher:
            apply_all(teams)
            check_waiting(scenario, teams)
            teams[GREEN].apply(experiment("urgent", priority=10))
            teams[BLUE].apply(experiment("loud", priority=900))
            watcher.until(lambda: watcher.ended >= 3, "three experiments have ended", 500)
            scenario.check(kill_operator(), "the operator is killed")
            watcher.until(lambda: watcher.ended == watcher.total, "all have ended", 800)
        watcher.check()
        check_record(scenario, teams)
        check_quota(scenario, teams[BLUE])
    finally:
        limit({"cluster": {}, "default": {}, "namespaces": {}})


def prepare(team: Scenario) -> None:
    """A namespace with a dataset, the key, and a toolkit that takes its time."""
    team.fresh_namespace(pod_security="baseline")
    team.make_dataset(train=12, validation=4, test=2)
    team.kubectl("create", "secret", "generic", "tao", "--from-literal=key=tenants-of-one-cluster")
    team.in_workspace(_EMULATE)


def limit(limits: Object) -> None:
    """The operator's limits, by the chart; it starts anew with them."""
    command = ["helm", "upgrade", RELEASE, str(ROOT / "helm/yolo-operator"), "--namespace", OPERATOR_NAMESPACE, "--reuse-values"]
    command += ["--wait", "--timeout", "3m", "--force-conflicts", "--set-json", f"limits={json.dumps(limits)}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    if done.returncode:
        raise Failure(f"helm upgrade: {done.stderr.strip()}")


def experiment(name: str, **changes: Any) -> Object:
    """Preparation, a training of some ten seconds, its evaluation; the last two with a GPU each."""
    return bare(name, **changes)


def apply_all(teams: dict[str, Scenario]) -> None:
    """More than there are places for."""
    for team, numbers in ((RED, 4), (GREEN, 3), (BLUE, 3)):
        teams[team].apply(*(experiment(f"{team}-{number}") for number in range(1, numbers + 1)))


# --- while it runs ---


class Watcher:
    """Samples Jobs and pods of all teams until it is left, and remembers what it saw."""

    def __init__(self, scenario: Scenario, teams: dict[str, Scenario]) -> None:
        self.scenario, self.namespaces = scenario, {team.namespace: name for name, team in teams.items()}
        self.samples, self.ended, self.total = 0, 0, 0
        self.most_gpus: Counter[str] = Counter()
        self.most_experiments: Counter[str] = Counter()
        self.most_bound: Counter[str] = Counter()
        self.together = 0
        self.told: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=60)

    def until(self, holds: Any, what: str, seconds: float) -> None:
        """Wait for something that the samples show."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if holds():
                self.scenario.check(True, what)
                return
            time.sleep(0.5)
        raise Failure(f"not within {seconds:g} s: {what}; {self.ended} of {self.total} have ended")

    def _run(self) -> None:
        while not self._stop.wait(0.7):
            try:
                self._sample()
            except (subprocess.SubprocessError, ValueError) as error:
                print(f"  a sample was missed: {error}", flush=True)

    def _sample(self) -> None:
        gpus, owners, bound = Counter[str](), set(), Counter[str]()
        for one in of_all("jobs", _MANAGED):
            team = self.namespaces.get(one["metadata"]["namespace"])
            if team is not None and not finished(one):
                gpus[team] += gpus_of(one["spec"]["template"])
                owners.add((team, one["metadata"]["labels"]["yolo-operator.dev/experiment"]))
        for pod in of_all("pods", _MANAGED):
            team = self.namespaces.get(pod["metadata"]["namespace"])
            if team is not None and pod["status"].get("phase") in ("Pending", "Running"):
                bound[team] += gpus_of(pod)
        self.together = max(self.together, sum(gpus.values()))
        self.most_gpus |= gpus
        self.most_bound |= bound
        self.most_experiments |= Counter(team for team, _ in owners)
        found = [one for one in of_all("yexp", "") if one["metadata"]["namespace"] in self.namespaces]
        self.total, self.ended = len(found), sum(one.get("status", {}).get("phase") == "Succeeded" for one in found)
        for one in found:
            messages = [
                s.get("message") or "" for s in one.get("status", {}).get("stages", []) if s.get("reason") == "LimitReached"
            ]
            for message in messages:
                others = [name for name in self.namespaces if name != one["metadata"]["namespace"] and name in message]
                self.told.add(f"{message}{' NAMES ' + others[0] if others else ''}")
        self.samples += 1

    def check(self) -> None:
        """What the samples demand."""
        scenario = self.scenario
        scenario.facts["samples"] = {
            "number": self.samples, "most GPUs": dict(self.most_gpus), "most experiments": dict(self.most_experiments),
            "most GPUs of pods": dict(self.most_bound), "together": self.together, "messages": sorted(self.told),
        }  # fmt: skip
        scenario.check(self.samples >= 30, f"{self.samples} samples")
        for team in TEAMS:
            most = self.most_gpus[team], self.most_bound[team], self.most_experiments[team]
            within = max(most[:2]) <= GPUS[team] and most[2] <= EXPERIMENTS
            scenario.check(within, f"{team}: at most {most[0]} GPUs of Jobs, {most[1]} of pods, {most[2]} experiments at once")
        scenario.check(self.together == 2, f"all together at most {self.together} GPUs, and both were used")
        scenario.check(not any("NAMES" in message for message in self.told), "no team was told another one's name")


def of_all(kind: str, selector: str) -> list[Object]:
    """Objects of all namespaces."""
    command = ["kubectl", "get", kind, "--all-namespaces", "-o", "json", *(["-l", selector] if selector else [])]
    answer = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)
    return list(answer["items"])


def finished(body: Object) -> bool:
    """Whether the Job is Complete or Failed."""
    return any(
        c["type"] in ("Complete", "Failed") and c["status"] == "True" for c in body.get("status", {}).get("conditions", [])
    )


def gpus_of(pod: Object) -> int:
    """What a pod, or a template of one, asks for."""
    return sum(int(c.get("resources", {}).get("limits", {}).get("nvidia.com/gpu", 0)) for c in pod["spec"]["containers"])


def check_waiting(scenario: Scenario, teams: dict[str, Scenario]) -> None:
    """Whoever waits says for what, once; and metrics count it."""
    waiting = teams[RED].wait("red-4", lambda e: e.get("status", {}).get("phase") == "Queued", seconds=60)
    first = waiting["status"]["stages"][0]
    scenario.check((first["state"], first["reason"]) == ("Pending", "LimitReached"), f"red-4 is Queued: {first['message']}")
    expected = "waits for a place: the limit of namespace e2e-tenants-red is 2 experiments, 2 in use"
    scenario.check(first["message"] == expected, "the message says which limit and what is in use")
    scenario.check(not condition(waiting, "Stalled"), "nobody is called for it")
    teams[RED].is_told("red-4", "LimitReached")
    time.sleep(3)
    events = [e for e in teams[RED].get("events")["items"] if e["involvedObject"]["name"] == "red-4"]
    told = [e for e in events if e["reason"] == "LimitReached"]
    scenario.check(len(told) == 1, f"one Event: {told[0]['message'] if told else None}")
    path = f"/api/v1/namespaces/{OPERATOR_NAMESPACE}/services/{RELEASE}:8080/proxy/metrics"
    page = scenario.kubectl("get", "--raw", path)
    lines = {line.rpartition(" ")[0]: line.rpartition(" ")[2] for line in page.splitlines() if line.startswith("yolo_limit")}
    used = lines.get('yolo_limit_used{namespace="e2e-tenants-red",of="experiments"}')
    waits = lines.get('yolo_limit_waiting_stages{namespace="e2e-tenants-red"}')
    scenario.check(used == "2.0" and float(waits or 0) >= 2, f"metrics: {used} experiments in use, {waits} stages wait")


# --- what the record says ---


def check_record(scenario: Scenario, teams: dict[str, Scenario]) -> None:
    """All are complete; who went first, and that everything held at every moment between two samples, too."""
    runs, firsts = [], {}
    for name, team in teams.items():
        for one in team.get("yexp")["items"]:
            scenario.check(condition(one, "Complete"), f"{one['metadata']['name']} is complete")
            found, capped = stages(one), 100 if name == GREEN else 0
            priority = min(one["spec"].get("priority", 0), capped)
            firsts[one["metadata"]["name"]] = seconds(found["prepare"]["createTime"])
            for stage in ("train", "evaluate"):
                record = found[stage]
                if record["attempt"] != 1:
                    raise Failure(f"{one['metadata']['name']} {stage} needed {record['attempt']} attempts")
                made = seconds(record["createTime"])
                since = seconds(record["waitTime"]) if record.get("waitTime") else made
                runs.append(Run(name, one["metadata"]["name"], stage, priority, since, made, seconds(record["finishTime"])))
    check_moments(scenario, runs)
    scenario.check(firsts["urgent"] < firsts["green-3"], "urgent has overtaken green-3, which was there before it")
    scenario.check(firsts["loud"] >= firsts["blue-2"], "loud has overtaken nobody that had a place already")
    check_turns(scenario, runs)


def check_moments(scenario: Scenario, runs: list[Run]) -> None:
    """GPUs in use at the moment of every start."""
    most: Counter[str] = Counter()
    for one in runs:
        now = [other for other in runs if other.made <= one.made < other.ended]
        most |= Counter(other.team for other in now) | Counter({"all": len(now)})
    scenario.facts["most GPUs by the record"] = dict(most)
    scenario.check(most["all"] <= 2 and all(most[team] <= GPUS[team] for team in TEAMS), f"by the Jobs' own times: {dict(most)}")


def check_turns(scenario: Scenario, runs: list[Run]) -> None:
    """Nobody started while one waited that had a higher priority, or the same and a smaller share, and that would have fitted."""
    compared = 0
    for one in sorted(runs, key=lambda r: r.made):
        if sum(other.made == one.made for other in runs) > 1:
            continue  # Within one second the order is not in the record.
        used = Counter(other.team for other in runs if other.made < one.made < other.ended)
        for other in runs:
            if not (other.waited_since < one.made - 1 and other.made > one.made + 1):
                continue
            compared += 1
            share = {team: used[team] / GPUS[team] for team in TEAMS}
            ahead = (other.priority, -share[other.team]) > (one.priority, -share[one.team])
            fits = used[other.team] + 1 <= GPUS[other.team]
            if ahead and fits:
                raise Failure(f"{one} started before {other}, with {dict(used)} in use")
    scenario.facts["turns compared"] = compared
    scenario.check(compared >= 10, f"{compared} times somebody waited while another started: each time it was the other's turn")


def seconds(text: str) -> float:
    """A time of the API."""
    return datetime.fromisoformat(text).timestamp()


# --- ResourceQuota ---


def check_quota(scenario: Scenario, team: Scenario) -> None:
    """A quota without room for a Job, and one without room for a pod: each is named, and raised."""
    pause(team)
    count = len(team.get("jobs")["items"])
    quota(team, "objects", "count/jobs.batch", count + 1)
    team.apply(experiment("quota"))
    held = team.wait("quota", lambda e: stages(e).get("train", {}).get("reason") == "QuotaExceeded", seconds=240)
    message = stages(held)["train"]["message"]
    scenario.facts["quota of Jobs"] = message
    wanted = f"ResourceQuota objects has no room for count/jobs.batch: asks for 1, {count + 1} of {count + 1} in use"
    scenario.check(message == wanted, f"the Job: {message}")
    scenario.check(not condition(held, "Stalled") and held["status"]["phase"] == "Running", "it is Running and nobody is called")
    # The Job may be made now; its pod may not.
    quota(team, "places", "pods", 1)
    quota(team, "objects", "count/jobs.batch", 100)
    held = team.wait("quota", lambda e: pod_without_room(stages(e)["train"]), seconds=240)
    message = stages(held)["train"]["message"]
    scenario.facts["quota of pods"] = message
    scenario.check(message == "ResourceQuota places has no room for pods: asks for 1, 1 of 1 in use", f"the pod: {message}")
    told = [e for e in team.get("events")["items"] if e["reason"] == "QuotaExceeded" and e["involvedObject"]["name"] == "quota"]
    scenario.check({e["involvedObject"]["kind"] for e in told} == {"YoloExperiment"}, f"{len(told)} Events say so")
    quota(team, "places", "pods", 100)
    done = team.wait("quota", ended, seconds=400)
    scenario.check(condition(done, "Complete"), "with larger quotas it went on by itself")


def pod_without_room(stage: Object) -> bool:
    """Whether its Job is there, and a quota keeps the pod away."""
    return bool(stage.get("job")) and stage.get("reason") == "QuotaExceeded"


def quota(team: Scenario, name: str, resource: str, most: int) -> None:
    """Set it and wait until the API server counts by it."""
    team.apply({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": {"hard": {resource: str(most)}}})
    end = time.monotonic() + 60
    while (team.get("resourcequota", name).get("status", {}).get("hard") or {}).get(resource) != str(most):
        if time.monotonic() > end:
            raise Failure(f"the quota {name} is not counted after 60 s")
        time.sleep(0.3)


def pause(team: Scenario) -> None:
    """A pod that stays."""
    sleeper = job("pause", ["sleep", "600"])
    team.apply(sleeper)
    team.kubectl("wait", "--for=jsonpath={.status.ready}=1", "job/pause", "--timeout=180s", timeout=190)
