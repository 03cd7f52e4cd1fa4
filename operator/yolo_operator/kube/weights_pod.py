"""What the pod of the stage `weights` has more than others: the cache, NGC's key, the way out of the cluster."""

from __future__ import annotations

from yolo_operator.api.pretrained import Pretrained
from yolo_operator.api.spec import Spec
from yolo_operator.kube.cluster import Object
from yolo_operator.pipeline.names import workspace_claim
from yolo_operator.pipeline.values import Experiment
from yolo_operator.pipeline.weights import CACHE_MOUNT

NGC_KEY_VARIABLE = "NGC_API_KEY"
CA_VARIABLE = "YOLO_CA_BUNDLE"
CA_MOUNT = "/opt/yolo-operator/ca"
CA_FILE = "bundle.pem"


def environment(spec: Spec) -> list[Object]:
    """Variables; the key comes from its Secret and stands in no object."""
    wanted, found = _wanted(spec), list[Object]()
    if wanted.proxy is not None:
        found.append({"name": "HTTPS_PROXY", "value": wanted.proxy.https})
        if wanted.proxy.no_proxy is not None:
            found.append({"name": "NO_PROXY", "value": wanted.proxy.no_proxy})
    if wanted.ca_bundle is not None:
        found.append({"name": CA_VARIABLE, "value": f"{CA_MOUNT}/{CA_FILE}"})
    if wanted.ngc is not None and (reference := wanted.ngc.api_key_secret_ref) is not None:
        found.append({"name": NGC_KEY_VARIABLE, "valueFrom": {"secretKeyRef": reference.dump()}})
    return found


def volumes(experiment: Experiment) -> list[Object]:
    """A cache on a claim of its own, and certificates."""
    wanted, found = _wanted(experiment.spec), list[Object]()
    if wanted.cache.claim_name is not None and not _cache_in_workspace(experiment):
        found.append({"name": "weights-cache", "persistentVolumeClaim": {"claimName": wanted.cache.claim_name}})
    if wanted.ca_bundle is not None:
        items = [{"key": wanted.ca_bundle.key, "path": CA_FILE}]
        found.append({"name": "ca", "configMap": {"name": wanted.ca_bundle.name, "items": items}})
    return found


def mounts(experiment: Experiment) -> list[Object]:
    """Where they are seen."""
    wanted, found = _wanted(experiment.spec), list[Object]()
    if wanted.cache.claim_name is not None:
        name = "workspace" if _cache_in_workspace(experiment) else "weights-cache"
        cache: Object = {"name": name, "mountPath": CACHE_MOUNT}
        if wanted.cache.sub_path is not None:
            cache["subPath"] = wanted.cache.sub_path
        found.append(cache)
    if wanted.ca_bundle is not None:
        found.append({"name": "ca", "mountPath": CA_MOUNT, "readOnly": True})
    return found


def _cache_in_workspace(experiment: Experiment) -> bool:
    """Whether both lie on one claim: a pod must not mention a claim twice."""
    return _wanted(experiment.spec).cache.claim_name == workspace_claim(experiment.name, experiment.spec.workspace)


def _wanted(spec: Spec) -> Pretrained:
    assert spec.pretrained is not None  # noqa: S101 - the graph has no `weights` without it
    return spec.pretrained
