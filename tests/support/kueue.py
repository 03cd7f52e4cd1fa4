"""Kueue, as far as a stage's Job meets it, on a real API server.

This is no Kueue: there are no quotas, and nothing but the test decides. What is emulated: its webhook (a Job with a queue's label
is created suspended), by a MutatingAdmissionPolicy of the API server, so that no moment passes in which the Job controller could
start it; its admission (`suspend` is lifted, node labels of the flavour are put into the template) and eviction (`suspend` is set
again, the template is restored); and the Workload's conditions, with the words that Kueue has for them. What suspending does to
pods is the work of the real Job controller.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from playground import Playground
from yolo_operator.kube.cluster import JOBS, Kind, Object
from yolo_operator.kube.errors import ApiError
from yolo_operator.kube.kueue import GROUP, LABEL_JOB_UID, WORKLOADS

DEFINITIONS = Kind("/apis/apiextensions.k8s.io/v1", "customresourcedefinitions")
POLICIES = Kind("/apis/admissionregistration.k8s.io/v1", "mutatingadmissionpolicies")
BINDINGS = Kind("/apis/admissionregistration.k8s.io/v1", "mutatingadmissionpolicybindings")
WORKLOAD = WORKLOADS[0]
FLAVOUR = {"example.com/gpu-model": "a100"}

NO_QUOTA = "couldn't assign flavors to pod set main: insufficient unused quota for nvidia.com/gpu in flavor a100, 1 more needed"
PREEMPTED = "Preempted to accommodate a workload (UID: 7f1f, JobUID: 83aa) due to prioritization in the ClusterQueue"


@dataclass
class Kueue:
    """Kueue in one namespace."""

    ground: Playground

    async def install(self) -> None:
        """The Workload's definition and the webhook's stand-in; back when both work."""
        await self._create(DEFINITIONS, _definition())
        for kind, body in ((POLICIES, self._policy()), (BINDINGS, self._binding())):
            await self._create(kind, body)
        await self.ground.until(self._works, "the policy suspends queued Jobs")

    async def remove(self) -> None:
        """Take the stand-in away."""
        for kind in (BINDINGS, POLICIES):
            await self.ground.cluster.delete(kind, "", self._name)

    async def hold(self, job: Object, message: str = NO_QUOTA) -> None:
        """Say in the Job's Workload what it waits for."""
        meta = job["metadata"]
        body = {
            "apiVersion": f"{GROUP}/v1beta2",
            "kind": "Workload",
            "metadata": {"name": f"job-{meta['name']}"[:63].rstrip("-"), "labels": {LABEL_JOB_UID: meta["uid"]}},
            "spec": {"queueName": "gpus"},
        }
        await self._create(WORKLOAD, body, self.ground.namespace)
        await self._say(job, [_condition("QuotaReserved", "False", "Pending", message)])

    async def admit(self, job: Object) -> None:
        """Its turn has come."""
        flavour = {"spec": {"template": {"spec": {"nodeSelector": FLAVOUR}}}}
        await self._patch(job, flavour)
        await self._patch(job, {"spec": {"suspend": False}})
        reserved = _condition("QuotaReserved", "True", "QuotaReserved", "Quota reserved in ClusterQueue gpus")
        await self._say(job, [reserved, _condition("Admitted", "True", "Admitted", "The workload is admitted")])

    async def evict(self, job: Object) -> None:
        """It gives way to another."""
        await self._say(
            job,
            [
                _condition("Evicted", "True", "Preempted", PREEMPTED),
                _condition("QuotaReserved", "False", "Pending", PREEMPTED),
                _condition("Admitted", "False", "NoReservation", "The workload has no reservation"),
            ],
        )
        await self._patch(job, {"spec": {"suspend": True}})

    async def _say(self, job: Object, conditions: list[Object]) -> None:
        name = f"job-{job['metadata']['name']}"[:63].rstrip("-")
        body = {"status": {"conditions": conditions}}
        await self.ground.cluster.patch(WORKLOAD, self.ground.namespace, name, body, subresource="status")

    async def _patch(self, job: Object, body: Object) -> None:
        await self.ground.cluster.patch(JOBS, self.ground.namespace, job["metadata"]["name"], body)

    async def _create(self, kind: Kind, body: Object, namespace: str | None = None) -> None:
        end = time.monotonic() + 20
        while True:
            try:
                await self.ground.cluster.create(kind, namespace, body)
            except ApiError as error:
                if error.conflict:
                    return
                # A definition is served a moment after it was accepted.
                if not error.not_found or time.monotonic() > end:
                    raise
            else:
                return

    async def _works(self) -> bool:
        container = {"name": "probe", "image": "probe"}
        body = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "probe", "labels": {f"{GROUP}/queue-name": "probe"}},
            "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
        }
        stored = await self.ground.cluster.create(JOBS, self.ground.namespace, body)
        await self.ground.cluster.delete(JOBS, self.ground.namespace, "probe")
        return bool(stored["spec"].get("suspend"))

    @property
    def _name(self) -> str:
        return f"kueue-{self.ground.namespace}"

    def _policy(self) -> Object:
        queued = f"has(object.metadata.labels) && '{GROUP}/queue-name' in object.metadata.labels"
        jobs = {"apiGroups": ["batch"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["jobs"]}
        here = {"matchLabels": {"kubernetes.io/metadata.name": self.ground.namespace}}
        suspend = {"expression": "Object{spec: Object.spec{suspend: true}}"}
        return {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingAdmissionPolicy",
            "metadata": {"name": self._name},
            "spec": {
                "failurePolicy": "Fail",
                "reinvocationPolicy": "Never",
                "matchConstraints": {"namespaceSelector": here, "resourceRules": [jobs]},
                "matchConditions": [{"name": "queued", "expression": queued}],
                "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": suspend}],
            },
        }

    def _binding(self) -> Object:
        return {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingAdmissionPolicyBinding",
            "metadata": {"name": self._name},
            "spec": {"policyName": self._name},
        }


def _condition(kind: str, status: str, reason: str, message: str) -> Object:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": now}


def _definition() -> Object:
    anything: dict[str, Any] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1beta2", "served": True, "storage": True, "subresources": {"status": {}}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"workloads.{GROUP}",
            # The group is the Kubernetes project's: the API server wants to know who approved a definition in it.
            "annotations": {"api-approved.kubernetes.io": "unapproved, a stand-in for tests"},
        },
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"kind": "Workload", "listKind": "WorkloadList", "plural": "workloads", "singular": "workload"},
            "versions": [{**version, "schema": {"openAPIV3Schema": anything}}],
        },
    }
