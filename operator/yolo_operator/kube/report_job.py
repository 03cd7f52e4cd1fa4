"""The Job that writes the report into the workspace when an experiment has ended (docs/architecture.md).

No stage: nothing waits for it, no status speaks of it, and the operator does not watch it. Kubernetes tries it a few times and
removes it after its time to live.
"""

from __future__ import annotations

import base64
import json
import zlib

from yolo_operator.api import resource
from yolo_operator.api.status import Status
from yolo_operator.kube.cluster import Object
from yolo_operator.kube.job import JobSettings, job_labels, queue_labels
from yolo_operator.kube.owner import owner_reference
from yolo_operator.kube.pod import pod_template
from yolo_operator.pipeline.keys import REPORT
from yolo_operator.pipeline.names import digest_of, place_of, short_name
from yolo_operator.pipeline.values import Experiment, StageRun

REPORT_FILE = "stages/report.html"
"""Relative to the workspace."""
COMPONENT = "report"
TRIES = 2
SECONDS = 900


def report_job(experiment: Experiment, status: Status, settings: JobSettings) -> Object:
    """The Job. Its name is made of the outcome: made twice, it is a conflict."""
    spec, labels = experiment.spec, job_labels(experiment, COMPONENT)
    template = pod_template(experiment, _run(experiment, status), 1, settings.operator_image, settings.runner_config_map)
    template["metadata"]["labels"] = labels
    tag = digest_of([experiment.uid, status.observed_generation, status.phase, status.completion_time])[:8]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": short_name(experiment.name, f"-report-{tag}"),
            "namespace": experiment.namespace,
            "labels": {**labels, **queue_labels(spec)},
            "ownerReferences": [owner_reference(experiment)],
        },
        "spec": {
            "backoffLimit": TRIES,
            "activeDeadlineSeconds": SECONDS,
            "ttlSecondsAfterFinished": spec.ttl_seconds_after_finished,
            "template": template,
        },
    }


def _run(experiment: Experiment, status: Status) -> StageRun:
    workspace = experiment.spec.workspace
    body = {
        "apiVersion": resource.API_VERSION,
        "kind": resource.KIND,
        "metadata": {"namespace": experiment.namespace, "name": experiment.name, "generation": experiment.generation},
        "spec": experiment.spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True),
        "status": status.dump(),
    }
    # An annotation may have 256 KiB; a status of many stages is long and repeats itself.
    packed = base64.b64encode(zlib.compress(json.dumps(body, separators=(",", ":")).encode(), 9)).decode()
    instructions = {
        "version": 1,
        "namespace": experiment.namespace,
        "experiment": experiment.name,
        "uid": experiment.uid,
        "workspace": workspace.mount_path,
        "report": REPORT_FILE,
        "object": packed,
    }
    return StageRun(REPORT, "", "", instructions, "", None, place=place_of(experiment.name, workspace))
