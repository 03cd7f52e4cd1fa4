"""A pod for a minute, with an experiment's workspace read-only in it: how the command line reads files of stages that have ended.

It asks for no more than an *edit*-like role gives: pods, and exec into them. It is deleted when the command ends, ends by itself
after an hour, and belongs to the experiment.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Protocol, Self

from kubernetes import client
from kubernetes.stream import stream
from urllib3.exceptions import HTTPError
from websocket import ABNF, WebSocketException

from yolo_operator.api.resource import API_VERSION, KIND, LABEL_COMPONENT, LABEL_EXPERIMENT, LABEL_MANAGED_BY
from yolo_operator.cli.client import ClusterError, NotThereError
from yolo_operator.cli.summary import Object, stage_list
from yolo_operator.dialects import DIALECTS, Dialect, guess

CONTAINER = "read"
MOUNT = "/workspace"
_LIFE_SECONDS = 3600
_READY_SECONDS = 300
_TIMEOUT = (5, 30)
_STDOUT, _STDERR, _RESULT = b"\x01", b"\x02", b"\x03"
"""Channels of an exec's frames."""
_HOPELESS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError", "CreateContainerError")


class Commands(Protocol):
    """Something that runs commands beside the workspace."""

    def run(self, argv: list[str]) -> Iterator[bytes]:
        """What the command prints, piece by piece; `ClusterError` when it fails."""
        ...


def manifest(experiment: Object, name: str, image: str | None = None) -> Object:
    """The pod. Its image is the toolkit's, which the node has already; any with Python 3 does.

    Raises:
        ClusterError: when the experiment has no workspace yet.
    """
    metadata, spec, status = experiment["metadata"], experiment.get("spec") or {}, experiment.get("status") or {}
    workspace, toolkit = spec.get("workspace") or {}, spec.get("toolkit") or {}
    claim = status.get("claimName") or workspace.get("claimName")
    if not claim:
        raise ClusterError(f"{metadata['name']} has no workspace yet: nothing of it has run")
    mount = {"name": "workspace", "mountPath": MOUNT, "readOnly": True}
    if workspace.get("subPath"):
        mount["subPath"] = workspace["subPath"]
    container = {
        "name": CONTAINER,
        "image": image or toolkit.get("image") or _default_image(spec),
        "imagePullPolicy": toolkit.get("imagePullPolicy") or "IfNotPresent",
        "command": ["sleep", str(_LIFE_SECONDS)],
        "volumeMounts": [mount],
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
    }
    owner = {"apiVersion": API_VERSION, "kind": KIND, "name": metadata["name"], "uid": metadata.get("uid")}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": {
                LABEL_MANAGED_BY: "kubectl-yolo",
                LABEL_COMPONENT: "workspace-reader",
                LABEL_EXPERIMENT: metadata["name"],
            },
            "ownerReferences": [{**owner, "controller": False, "blockOwnerDeletion": False}] if owner["uid"] else [],
        },
        "spec": {
            "restartPolicy": "Never",
            "activeDeadlineSeconds": _LIFE_SECONDS,
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": _security(spec),
            "containers": [container],
            "volumes": [{"name": "workspace", "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}],
            **_placement(experiment),
            **({"imagePullSecrets": toolkit["imagePullSecrets"]} if toolkit.get("imagePullSecrets") else {}),
        },
    }


def _dialect(spec: Object) -> Dialect | None:
    """What is known of the toolkit: by its profile, else by its image."""
    toolkit = spec.get("toolkit") or {}
    return DIALECTS.get(toolkit.get("profile") or guess(toolkit.get("image")) or "")


def _default_image(spec: Object) -> str:
    known = _dialect(spec)
    if known is None:
        profile = (spec.get("toolkit") or {}).get("profile")
        raise ClusterError(f"toolkit profile {profile!r} is none that this version knows: name an image with --image")
    return known.default_image


def _security(spec: Object) -> Object:
    """The user that wrote the files, where it is known: it may read them."""
    chosen, known = spec.get("securityContext") or {}, _dialect(spec)
    user = chosen.get("runAsUser", known.run_as_user if known else None)
    security: Object = {"seccompProfile": {"type": "RuntimeDefault"}}
    if user is not None:
        security |= {"runAsUser": user, "runAsGroup": chosen.get("runAsGroup", user), "runAsNonRoot": user != 0}
    return security


def _placement(experiment: Object) -> Object:
    """Rather where a stage ran last: the image is there, and a claim that only one node may mount is mounted there."""
    found: Object = {}
    tolerations = ((experiment.get("spec") or {}).get("scheduling") or {}).get("tolerations")
    if tolerations:
        found["tolerations"] = tolerations
    nodes = [stage["node"] for stage in stage_list(experiment) if stage.get("node")]
    if nodes:
        term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [nodes[-1]]}]}
        prefer = [{"weight": 100, "preference": term}]
        found["affinity"] = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": prefer}}
    return found


class WorkspacePod:
    """`with WorkspacePod(namespace, experiment) as pod:` – there when the block begins, gone when it ends."""

    def __init__(self, namespace: str, experiment: Object, image: str | None = None) -> None:
        self._namespace = namespace
        self.name = f"{experiment['metadata']['name'][:44].rstrip('-.')}-read-{secrets.token_hex(4)}"
        self._manifest = manifest(experiment, self.name, image)
        self._core = client.CoreV1Api()

    def __enter__(self) -> Self:
        try:
            self._core.create_namespaced_pod(self._namespace, self._manifest, _request_timeout=_TIMEOUT)
        except client.ApiException as error:
            raise ClusterError(f"can't start a pod to read the workspace: {_words(error)}") from error
        except (HTTPError, OSError) as error:
            raise ClusterError(f"the API server does not answer: {error}") from error
        try:
            self._wait()
        except BaseException:
            self._delete()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._delete()

    def run(self, argv: list[str]) -> Iterator[bytes]:
        """What the command prints on standard output."""
        said, result = bytearray(), {"message": "the connection was closed before the command ended"}
        try:
            # A client of its own: `stream` replaces the request function of the one that it is given.
            socket = stream(
                client.CoreV1Api(client.ApiClient()).connect_get_namespaced_pod_exec,
                self.name, self._namespace, container=CONTAINER, command=argv,
                stdin=False, stdout=True, stderr=True, tty=False, _preload_content=False, binary=True,
            )  # fmt: skip
            # Frame by frame: the client's own buffers copy all that came before with every frame, and keep it.
            while True:
                code, frame = socket.sock.recv_data_frame(control_frame=True)
                if code == ABNF.OPCODE_CLOSE:
                    break
                channel, data = frame.data[:1], frame.data[1:]
                if code in (ABNF.OPCODE_PING, ABNF.OPCODE_PONG) or not data:
                    continue
                if channel == _STDOUT:
                    yield data
                elif channel == _STDERR:
                    said += data
                elif channel == _RESULT:
                    result = json.loads(data)
        except (client.ApiException, WebSocketException, HTTPError, OSError) as error:
            raise ClusterError(f"reading the workspace broke off: {error}") from error
        if result.get("status") != "Success":
            words = bytes(said).decode(errors="replace").strip().splitlines()
            raise _failure(words[-1] if words else str(result.get("message")))

    def _wait(self) -> None:
        end, why = time.monotonic() + _READY_SECONDS, "it is not scheduled"
        while time.monotonic() < end:
            try:
                pod = self._core.read_namespaced_pod(self.name, self._namespace, _request_timeout=_TIMEOUT)
            except client.ApiException as error:
                raise ClusterError(f"pod {self.name}, to read the workspace, is gone: {_words(error)}") from error
            why = _why_not(pod) or why
            if pod.status.phase == "Running":
                return
            if pod.status.phase in ("Failed", "Succeeded") or why.split(":")[0] in _HOPELESS:
                break
            time.sleep(0.3)
        raise ClusterError(f"pod {self.name}, to read the workspace, does not start: {why}")

    def _delete(self) -> None:
        with contextlib.suppress(client.ApiException, HTTPError, OSError):
            self._core.delete_namespaced_pod(self.name, self._namespace, grace_period_seconds=0, _request_timeout=_TIMEOUT)


def _failure(words: str) -> ClusterError:
    return NotThereError(words) if "No such file" in words or "NotADirectory" in words else ClusterError(words)


def _why_not(pod: Any) -> str:
    for condition in pod.status.conditions or ():
        if condition.type == "PodScheduled" and condition.status == "False" and condition.message:
            return str(condition.message)
    for container in pod.status.container_statuses or ():
        waiting = container.state.waiting if container.state else None
        if waiting is not None and waiting.reason:
            return f"{waiting.reason}: {waiting.message or 'a moment'}"
    return str(pod.status.message or "")


def _words(error: Any) -> str:
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return f"{error.status} {error.reason}"
