"""Job controller, kubelet and the program in the container, as far as a stage meets them.

Jobs of a `MemoryCluster` move on `tick`: every Job makes at most one step a tick. What its container does is scripted by (stage,
variant) and the ordinal of the Job; the rest succeeds with numbers that depend on nothing but the instructions. Given a random
generator, Jobs stall now and then.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from memory_cluster import MemoryCluster
from yolo_operator.api import resource
from yolo_operator.kube.cluster import EXPERIMENTS, JOBS, PODS, Object

NODE = "node-1"
LABELS = 40
"""That a round accepts."""
JOB_NAME = "batch.kubernetes.io/job-name"


class Outcome(StrEnum):
    """What becomes of one Job."""

    SUCCESS = "success"
    USER = "a report of the user's fault"
    TRANSIENT = "a report of a failure that may pass"
    INFRASTRUCTURE = "a report of the infrastructure's fault"
    OUT_OF_MEMORY = "killed for memory, no report"
    GARBLED = "a message that is no report"
    DISRUPTED = "its pod is evicted, the replacement succeeds"
    POD_LOST = "its pod vanishes with its node"
    NO_REPORT = "complete, but without a report"
    JOB_DELETED = "somebody deletes the Job"

    @property
    def counted(self) -> bool:
        """Whether it counts against retry.limit."""
        return self in (Outcome.TRANSIENT, Outcome.OUT_OF_MEMORY, Outcome.GARBLED)

    @property
    def succeeds(self) -> bool:
        """Whether the Job ends with its result."""
        return self in (Outcome.SUCCESS, Outcome.DISRUPTED)

    @property
    def seen_through(self) -> bool:
        """Whether a container that finds its result in the workspace gets to say so before this happens."""
        return self in (Outcome.USER, Outcome.TRANSIENT, Outcome.INFRASTRUCTURE, Outcome.OUT_OF_MEMORY, Outcome.GARBLED)


Script = Mapping[tuple[str, str], Sequence[Outcome]]


def default_map(stage: str, variant: str) -> float:
    """mAP that a stage's model has: pruning costs more the more it takes, and two rounds gain something."""
    if stage in ("fine-tune", "evaluate-round"):
        return round(0.91 + 0.01 * min(int(variant), 2), 6)
    pruned = 0.05 * float(variant) if variant else 0.0
    return round(0.9 - pruned + (0.01 if stage.endswith("retrained") else 0.0), 6)


def default_ratio(threshold: str) -> float:
    """Part of the parameters that is left."""
    return round(1.0 - float(threshold), 6)


def image_id(pod: Object) -> str:
    """As a node's runtime says it once the image is there."""
    image = pod["spec"]["containers"][0]["image"]
    return f"{image.partition(':')[0]}@sha256:{hashlib.sha256(image.encode()).hexdigest()}"


class JobSimulator:
    """Moves the Jobs of a cluster."""

    def __init__(
        self,
        cluster: MemoryCluster,
        script: Script | None = None,
        *,
        rng: random.Random | None = None,
        map_of: Callable[[str, str], float] = default_map,
        ratio_of: Callable[[str], float] = default_ratio,
        labels_of: Callable[[int], int] = lambda _: LABELS,
    ) -> None:
        self.cluster = cluster
        self.script = script or {}
        self.rng = rng
        self.map_of, self.ratio_of, self.labels_of = map_of, ratio_of, labels_of
        self.secret_missing = False
        """Containers wait for their Secret."""
        self.holds_jobs = False
        """Kueue suspends new Jobs and admits none."""
        self.dataset_version = 1
        self.jobs_of: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        """uids of the Jobs that were seen, by stage and variant, in order."""
        self.problems: list[str] = []
        """What must never be: two at once, inputs that are not there."""
        self.workspace: dict[str, str] = {}
        """sha256 of files by absolute path."""
        self.results: dict[str, dict[str, Any]] = {}
        """Reports of successes by the stage's directory."""
        self.vandalised: set[str] = set()
        """Files that somebody else removed or changed: a stage may find that."""
        self.nothing_to_adopt = False
        self._outcomes: dict[str, Outcome] = {}
        self._pods = 0

    def tick(self) -> bool:
        """Let every Job and Pod make a step; whether anything changed."""
        before = self._version()
        self.cluster.collect_garbage()
        for pod in self.cluster.objects(PODS):
            if pod["metadata"].get("deletionTimestamp") and not self._stalls():
                self._remove_pod(pod)
        for job in self.cluster.objects(JOBS, selector=f"{resource.LABEL_COMPONENT}=stage"):
            if not self._stalls():
                self._step(job)
        return self._version() != before

    def outcome(self, job: Object) -> Outcome:
        """What is to become of a Job."""
        uid = job["metadata"]["uid"]
        if uid not in self._outcomes:
            key = stage_of(job)
            ordinal = len(self.jobs_of[key])
            self.jobs_of[key].append(uid)
            script = self.script.get(key, ())
            self._outcomes[uid] = script[ordinal] if ordinal < len(script) else Outcome.SUCCESS
        return self._outcomes[uid]

    def _version(self) -> int:
        return self.cluster._version

    def _stalls(self) -> bool:
        return self.rng is not None and self.rng.random() < 0.25

    # --- the Job controller ---

    def _step(self, job: Object) -> None:
        if is_finished(job):
            return
        outcome = self.outcome(job)
        deleting = job["metadata"].get("deletionTimestamp") is not None
        if self.holds_jobs and not job["spec"].get("suspend") and not self.pods_of(job) and not deleting:
            self._hold(job)
            return
        if job["spec"].get("suspend"):
            if not self.holds_jobs:
                self._admit(job)
            return
        pods = self.pods_of(job)
        newest = max(pods, key=lambda pod: int(pod["metadata"]["name"].rsplit("-", 1)[1]), default=None)
        replaced = newest is not None and is_disrupted(newest) and newest["status"]["phase"] == "Failed"
        if newest is None and (job.get("status") or {}).get("startTime"):
            if not deleting:
                self._end_job(job, failed="BackoffLimitExceeded")
        elif newest is None or replaced:
            if not deleting:
                self._new_pod(job)
        elif newest["status"]["phase"] in ("Succeeded", "Failed"):
            self._judge(job, newest)
        elif not newest["metadata"].get("deletionTimestamp"):
            self._move_pod(job, newest, outcome)

    def _hold(self, job: Object) -> None:
        self._patch_job(job, {"spec": {"suspend": True}}, {"conditions": [self._condition("Suspended", "JobSuspended")]})

    def _admit(self, job: Object) -> None:
        resumed = {**self._condition("Suspended", "JobResumed"), "status": "False"}
        self._patch_job(job, {"spec": {"suspend": False}}, {"conditions": [resumed]})

    def _judge(self, job: Object, pod: Object) -> None:
        if pod["status"]["phase"] == "Succeeded":
            self._end_job(job, failed=None)
            return
        terminated = pod["status"]["containerStatuses"][0]["state"]["terminated"]
        self._end_job(job, failed="PodFailurePolicy" if terminated["exitCode"] == 10 else "BackoffLimitExceeded")

    def _end_job(self, job: Object, *, failed: str | None) -> None:
        if failed:
            kinds, reason, rest = ("FailureTarget", "Failed"), failed, {}
        else:
            kinds, reason, rest = ("SuccessCriteriaMet", "Complete"), "CompletionsReached", {"completionTime": self._now}
        self._patch_job(job, {}, {"active": None, "conditions": [self._condition(kind, reason) for kind in kinds], **rest})

    def _patch_job(self, job: Object, body: Object, status: Object) -> None:
        namespace, name = job["metadata"]["namespace"], job["metadata"]["name"]
        if body:
            self.cluster.update(JOBS, namespace, name, body)
        self.cluster.update(JOBS, namespace, name, {"status": status}, subresource="status")

    def _condition(self, kind: str, reason: str) -> Object:
        return {"type": kind, "status": "True", "reason": reason, "message": "", "lastTransitionTime": self._now}

    def _new_pod(self, job: Object) -> None:
        self._check_alone(job)
        self._pods += 1
        meta, template = job["metadata"], job["spec"]["template"]
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": f"{meta['name']}-{self._pods}",
                "labels": {**template["metadata"]["labels"], JOB_NAME: meta["name"]},
                "annotations": template["metadata"]["annotations"],
                "ownerReferences": [
                    {"apiVersion": "batch/v1", "kind": "Job", "name": meta["name"], "uid": meta["uid"], "controller": True}
                ],
            },
            "spec": {**template["spec"], "nodeName": NODE},
        }
        self.cluster.add(PODS, meta["namespace"], pod)
        self._patch_pod(pod, meta["namespace"], {"phase": "Pending"})
        self._patch_job(job, {}, {"startTime": (job.get("status") or {}).get("startTime") or self._now, "active": 1})

    def _check_alone(self, job: Object) -> None:
        for other in self.cluster.objects(JOBS, job["metadata"]["namespace"]):
            same = stage_of(other) == stage_of(job) and owner_of(other) == owner_of(job)
            if same and other["metadata"]["uid"] != job["metadata"]["uid"] and not is_finished(other):
                self.problems.append(f"{other['metadata']['name']} lives beside {job['metadata']['name']}")

    # --- the kubelet ---

    def pods_of(self, job: Object) -> list[Object]:
        """The pods of a Job."""
        uid = job["metadata"]["uid"]
        pods = self.cluster.objects(PODS, job["metadata"]["namespace"])
        return [pod for pod in pods if owner_of(pod) == uid]

    def _move_pod(self, job: Object, pod: Object, outcome: Outcome) -> None:
        if pod["status"]["phase"] == "Pending":
            self._start(pod)
        elif outcome is Outcome.POD_LOST:
            self.cluster.remove(PODS, pod["metadata"]["namespace"], pod["metadata"]["name"])
        elif outcome is Outcome.JOB_DELETED:
            self.cluster.mark_deleted(JOBS, job["metadata"]["namespace"], job["metadata"]["name"], foreground=True)
        elif outcome is Outcome.DISRUPTED and len(self.pods_of(job)) == 1:
            condition = self._condition("DisruptionTarget", "EvictionByEvictionAPI")
            self._terminate(pod, 143, self._interrupted(pod), conditions=[condition])
        else:
            self._end_container(job, pod, outcome)

    def _start(self, pod: Object) -> None:
        namespace = pod["metadata"]["namespace"]
        wants_key = any(variable.get("valueFrom") for variable in pod["spec"]["containers"][0].get("env", ()))
        if self.secret_missing and wants_key:
            waiting = {"reason": "CreateContainerConfigError", "message": 'secret "tao" not found'}
            self._patch_pod(pod, namespace, {"containerStatuses": [{"name": "stage", "state": {"waiting": waiting}}]})
            return
        state = {"running": {"startedAt": self._now}}
        container = {"name": "stage", "imageID": image_id(pod), "state": state}
        self._patch_pod(pod, namespace, {"phase": "Running", "containerStatuses": [container]})

    def _end_container(self, job: Object, pod: Object, outcome: Outcome) -> None:
        instructions = json.loads(pod["metadata"]["annotations"][resource.ANNOTATION_INSTRUCTIONS])
        known = self.results.get(instructions["directory"])
        if known is not None and outcome.seen_through:
            outcome = Outcome.SUCCESS
        if outcome is Outcome.OUT_OF_MEMORY:
            self._terminate(pod, 137, "", reason="OOMKilled")
        elif outcome is Outcome.GARBLED:
            self._terminate(pod, 1, "Traceback (most recent call last):\n  \x1b[31mboom", reason="Error")
        else:
            code, report = self._run(instructions, outcome, known)
            self._terminate(pod, code, "" if outcome is Outcome.NO_REPORT else json.dumps(report))

    def _terminate(
        self, pod: Object, code: int, message: str, *, reason: str = "", conditions: list[Object] | None = None
    ) -> None:
        running = pod["status"]["containerStatuses"][0]["state"]["running"]
        terminated = {
            "exitCode": code,
            "reason": reason or ("Error" if code else "Completed"),
            "message": message,
            "startedAt": running["startedAt"],
            "finishedAt": self._now,
        }
        status = {
            "phase": "Failed" if code else "Succeeded",
            "containerStatuses": [{"name": "stage", "imageID": image_id(pod), "state": {"terminated": terminated}}],
        }
        self._patch_pod(pod, pod["metadata"]["namespace"], status | ({"conditions": conditions} if conditions else {}))

    def _remove_pod(self, pod: Object) -> None:
        meta = pod["metadata"]
        if pod["status"]["phase"] == "Running":
            # A toolkit that does not hear the signal is killed and reports nothing.
            heard = self.rng is None or self.rng.random() < 0.5
            self._terminate(pod, 143 if heard else 137, self._interrupted(pod) if heard else "")
            return
        job = self.cluster.peek(JOBS, meta["namespace"], meta["labels"][JOB_NAME])
        if self.rng is not None and job and owner_of(pod) == job["metadata"]["uid"] and self.rng.random() < 0.5:
            # The real controller, too, may still count the pod of a Job that is being deleted.
            terminated = pod["status"].get("containerStatuses", [{}])[0].get("state", {}).get("terminated")
            if terminated and not is_finished(job):
                self._judge(job, pod)
        self.cluster.remove(PODS, meta["namespace"], meta["name"])

    def _interrupted(self, pod: Object) -> str:
        instructions = json.loads(pod["metadata"]["annotations"][resource.ANNOTATION_INSTRUCTIONS])
        return json.dumps(report_of(instructions, "Interrupted", "Interrupted", "infrastructure"))

    def _patch_pod(self, pod: Object, namespace: str, status: Object) -> None:
        self.cluster.update(PODS, namespace, pod["metadata"]["name"], {"status": status}, subresource="status")

    # --- the program in the container ---

    def _run(self, instructions: dict[str, Any], outcome: Outcome, known: dict[str, Any] | None) -> tuple[int, dict[str, Any]]:
        if adopt := instructions.get("adopt"):
            return self._adopt(instructions, adopt)
        for wanted in instructions.get("inputs", ()):
            there = self.workspace.get(wanted["path"])
            if "sha256" in wanted and there != wanted["sha256"]:
                if wanted["path"] not in self.vandalised:
                    self.problems.append(f"{instructions['stage']} started without {wanted['path']}")
                reason = "InputMissing" if there is None else "InputChanged"
                return 10, {**report_of(instructions, "Failed", reason, "user", wanted["path"]), "input": wanted["path"]}
        if outcome is Outcome.USER:
            return 10, report_of(instructions, "Failed", "BadInput", "user", "a label file is empty")
        if outcome is Outcome.TRANSIENT:
            return 11, report_of(instructions, "Failed", "ToolkitFailed", "transient", "CUDA error")
        if outcome is Outcome.INFRASTRUCTURE:
            return 11, report_of(instructions, "Failed", "WorkspaceUnavailable", "infrastructure", "stale file handle")
        if known is not None and self._intact(instructions, known):
            return 0, {**known, "attempt": instructions["attempt"], "reused": True}
        report = self.success(instructions)
        self.results[instructions["directory"]] = report
        for artifact in report["artifacts"]:
            self.workspace[f"{instructions['workspace']}/{artifact['path']}"] = artifact["sha256"]
        return 0, report

    def _intact(self, instructions: dict[str, Any], report: dict[str, Any]) -> bool:
        paths = {f"{instructions['workspace']}/{artifact['path']}": artifact["sha256"] for artifact in report["artifacts"]}
        return all(self.workspace.get(path) == sha for path, sha in paths.items())

    def _adopt(self, instructions: dict[str, Any], adopt: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """All workspaces are one here: what another experiment has is where it would be for this one."""
        assert adopt == {"workspace": "/from", "only": True}
        known = self.results.get(instructions["directory"])
        if known is None or not self._intact(instructions, known) or self.nothing_to_adopt:
            return 11, report_of(instructions, "Failed", "NothingToAdopt", "infrastructure")
        return 0, {**known, "attempt": instructions["attempt"], "reused": True}

    def vandalise(self, path: str, *, change: bool) -> None:
        """A file of the workspace vanishes, or is another one."""
        self.vandalised.add(path)
        if change:
            self.workspace[path] = "changed"
        else:
            self.workspace.pop(path, None)

    def success(self, instructions: dict[str, Any]) -> dict[str, Any]:
        """The report of a stage that did its work."""
        stage, variant = instructions["stage"], instructions["variant"]
        report = report_of(instructions, "Succeeded", "Completed", None, f"{stage} is done")
        m_ap = self.map_of(stage, variant)
        metrics: dict[str, Any] = {}
        match instructions["task"]:
            case "prepare":
                source = instructions["prepare"]
                output = source["output"]
                metrics = {"trainImages": 320, "validationImages": 64, "boxes": dict.fromkeys(source["classes"].values(), 320)}
                content = {name: value for name, value in source.items() if name != "output"}
                unlabelled = content.pop("unlabelled", None)
                labelled = json.dumps([content, self.dataset_version], sort_keys=True)
                report["fingerprint"] = sha256(labelled)
                if unlabelled is not None:
                    report["unlabelledFingerprint"] = sha256(json.dumps(unlabelled))
                if source["format"] == "darknet":
                    names = {"trainLabels": f"{output}/train/labels", "validationLabels": f"{output}/validation/labels"}
                    report["artifacts"] = [
                        {**_artifact(instructions, name, path, 4096), "sha256": sha256(labelled + name)}
                        for name, path in names.items()
                    ]
            case "weights":
                wanted = instructions["weights"]
                name = wanted["url"].rpartition("/")[2] if "url" in wanted else wanted["ngc"].get("file", "weights.hdf5")
                report["artifacts"] = [_artifact(instructions, "weights", f"{wanted['output']}/{name}", 50_000)]
            case "kmeans":
                count = int(instructions["argv"][instructions["argv"].index("-n") + 1])
                metrics = {"anchors": [[4.0 * number, 3.0 * number] for number in range(1, count + 1)]}
            case "train":
                epochs = instructions["resume"]["epochs"]
                metrics = {"epoch": epochs, "epochs": epochs, "loss": 1.9, "validationLoss": 2.1, "mAP": m_ap}
                weights = instructions["expect"]["checkpoints"]
                path = f"{weights['directory']}/yolov4_resnet18_epoch_{epochs:03d}{weights['suffix']}"
                report["artifacts"] = [_artifact(instructions, "checkpoint", path, 100_000)]
            case "evaluate":
                metrics = {"mAP": m_ap, "AP": {"top_left": m_ap, "license_plate": m_ap}}
            case "prune":
                ratio = self.ratio_of(variant)
                metrics = {"parameterRatio": ratio}
                path = instructions["expect"]["files"][0]["path"]
                report["artifacts"] = [_artifact(instructions, "model", path, int(100_000 * ratio))]
            case "export":
                path = instructions["expect"]["files"][0]["path"]
                report["artifacts"] = [_artifact(instructions, "model", path, 25_000)]
            case "inference":
                metrics = {"images": 24, "detections": 118}
                directories = instructions["expect"]["directories"]
                report["artifacts"] = [_artifact(instructions, made["name"], made["path"], 2048) for made in directories]
            case "merge":
                labels = self.labels_of(instructions["merge"]["round"])
                metrics = {"images": labels // 4, "labels": labels, "droppedLabels": 118 - labels}
                paths = {"labels": instructions["merge"]["output"], "provenance": instructions["merge"]["provenance"]}
                report["artifacts"] = [_artifact(instructions, name, path, labels) for name, path in paths.items()]
        return {**report, "metrics": metrics}

    @property
    def _now(self) -> str:
        return self.cluster.clock.text


def report_of(
    instructions: dict[str, Any], outcome: str, reason: str, failure: str | None, message: str = "it ended"
) -> dict[str, Any]:
    """A report's frame."""
    named = {name: instructions[name] for name in ("version", "stage", "variant", "attempt", "digest")}
    return {
        **named,
        "outcome": outcome,
        "reason": reason,
        "message": message,
        **({"class": failure} if failure else {}),
        "reused": False,
        "metrics": {},
        "artifacts": [],
    }


def _artifact(instructions: dict[str, Any], name: str, path: str, size: int) -> dict[str, Any]:
    relative = path.removeprefix(instructions["workspace"] + "/")
    return {"name": name, "path": relative, "bytes": size, "sha256": sha256(instructions["digest"] + name)}


def sha256(text: str) -> str:
    """Hex digest of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def stage_of(body: Object) -> tuple[str, str]:
    """Stage and variant of a Job or Pod."""
    labels = body["metadata"]["labels"]
    return labels.get(resource.LABEL_STAGE, ""), labels.get(resource.LABEL_VARIANT, "")


def owner_of(body: Object) -> str:
    """uid of the owner."""
    references = body["metadata"].get("ownerReferences") or [{}]
    return str(references[0].get("uid", ""))


def is_finished(job: Object) -> bool:
    """Whether the Job is Complete or Failed."""
    conditions = (job.get("status") or {}).get("conditions") or ()
    return any(condition["type"] in ("Complete", "Failed") and condition["status"] == "True" for condition in conditions)


def is_disrupted(pod: Object) -> bool:
    """Whether the pod was evicted."""
    return any(condition["type"] == "DisruptionTarget" for condition in pod["status"].get("conditions") or ())


def status_of(cluster: MemoryCluster, namespace: str, name: str) -> dict[str, Any]:
    """status of an experiment."""
    body = cluster.peek(EXPERIMENTS, namespace, name)
    assert body is not None
    return body.get("status") or {}
