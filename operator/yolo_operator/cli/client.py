"""What the command line reads from the cluster: experiments, their changes, and the live progress of running stages."""

from __future__ import annotations

import contextlib
import json
import queue
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kubernetes import client, config, watch
from urllib3.exceptions import HTTPError

from yolo_operator.api.resource import GROUP, KIND, PLURAL, VERSION
from yolo_operator.cli.summary import Object, stage_list
from yolo_operator.cli.words import StageKey, stage_key

_CONNECT_SECONDS, _READ_SECONDS = 5, 15
_WATCH_SECONDS = 120
_SILENT_SECONDS = 86400
"""A log that is followed may be silent for so long: TAO's stages are, for minutes."""
_LOG_LINES = 40
_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class ClusterError(Exception):
    """The cluster can't answer; the text is for a person."""


class NotThereError(ClusterError):
    """The object does not exist."""


class Cluster:
    """One cluster and one namespace of it, by kubeconfig or, in a pod, by its service account."""

    def __init__(self, *, kubeconfig: str | None = None, context: str | None = None, namespace: str | None = None) -> None:
        try:
            config.load_config(config_file=kubeconfig, context=context)
        except config.ConfigException as error:
            raise ClusterError(f"no cluster to talk to: {error} Set KUBECONFIG or --kubeconfig.") from error
        self.namespace = namespace or _context_namespace(kubeconfig, context) or "default"
        self._objects = client.CustomObjectsApi()
        self._core = client.CoreV1Api()
        self._pods: dict[str, tuple[str, str]] = {}

    def get(self, name: str) -> Object:
        """The experiment of that name."""
        with _explained(f'{KIND} "{name}" is not in namespace "{self.namespace}"'):
            found: Object = self._objects.get_namespaced_custom_object(
                GROUP, VERSION, self.namespace, PLURAL, name, _request_timeout=(_CONNECT_SECONDS, _READ_SECONDS)
            )
        return found

    def patch(self, name: str, body: Object) -> Object:
        """The experiment of that name after a merge patch; with metadata.resourceVersion only if nothing changed meanwhile."""
        with _explained(f'{KIND} "{name}" is not in namespace "{self.namespace}"'):
            stored: Object = self._objects.patch_namespaced_custom_object(
                GROUP, VERSION, self.namespace, PLURAL, name, body,
                _content_type="application/merge-patch+json", _request_timeout=(_CONNECT_SECONDS, _READ_SECONDS),
            )  # fmt: skip
        return stored

    def config_map(self, name: str) -> dict[str, str]:
        """The data of a ConfigMap."""
        with _explained(f'ConfigMap "{name}" is not in namespace "{self.namespace}"'):
            timeout = (_CONNECT_SECONDS, _READ_SECONDS)
            found = self._core.read_namespaced_config_map(name, self.namespace, _request_timeout=timeout)
        return dict(found.data or {})

    def list(self, *, all_namespaces: bool = False) -> list[Object]:
        """All experiments of the namespace, or of the cluster."""
        timeout = (_CONNECT_SECONDS, _READ_SECONDS)
        with _explained(f"the cluster does not know {KIND}: is the chart installed?"):
            if all_namespaces:
                found = self._objects.list_cluster_custom_object(GROUP, VERSION, PLURAL, _request_timeout=timeout)
            else:
                found = self._objects.list_namespaced_custom_object(
                    GROUP, VERSION, self.namespace, PLURAL, _request_timeout=timeout
                )
        return list(found["items"])

    def follow(self, name: str, every: float) -> Iterator[Object | None]:
        """The experiment now and at each change, none once it is deleted.

        After `every` seconds without a change the last reading comes again, so that the caller can redraw its clock.
        Trouble with the connection is waited out: a watch that ends starts anew.
        """
        latest: Object | None = self.get(name)
        yield latest
        changes: queue.SimpleQueue[Object | None] = queue.SimpleQueue()
        threading.Thread(target=self._watch, args=(name, changes), daemon=True).start()
        while latest is not None:
            with contextlib.suppress(queue.Empty):
                latest = changes.get(timeout=every)
            yield latest

    def _watch(self, name: str, changes: queue.SimpleQueue[Object | None]) -> None:
        selector = {"field_selector": f"metadata.name={name}", "timeout_seconds": _WATCH_SECONDS}
        where = (GROUP, VERSION, self.namespace, PLURAL)
        while True:
            try:
                for event in watch.Watch().stream(
                    self._objects.list_namespaced_custom_object,
                    *where,
                    **selector,
                    _request_timeout=(_CONNECT_SECONDS, _WATCH_SECONDS + _READ_SECONDS),
                ):
                    changes.put(None if event["type"] == "DELETED" else event["object"])
                if not self._exists(name):
                    changes.put(None)  # it went between two watches
            except (client.ApiException, HTTPError, OSError):
                time.sleep(1)

    def _exists(self, name: str) -> bool:
        try:
            self.get(name)
        except NotThereError:
            return False
        except ClusterError:
            return True
        return True

    def live_progress(self, experiment: Object) -> dict[StageKey, dict[str, Any]]:
        """The newest progress line of each running stage; a stage whose log can't be read just now is left out."""
        found = {}
        for stage in stage_list(experiment):
            if stage.get("state") == "Running" and stage.get("job"):
                try:
                    progress = last_progress(self._log_tail(stage["job"]))
                except (client.ApiException, HTTPError, OSError):
                    self._pods.pop(stage["job"], None)
                    continue
                if progress:
                    found[stage_key(stage)] = progress
        return found

    def log_stream(self, job: str) -> Iterator[bytes] | None:
        """What the running pod of a Job has said and says, until its container ends; none when no pod of it runs."""
        with _explained(f"the pod of {job} is gone"):
            found = self._running_pod(job)
            if found is None:
                return None
            answer = self._core.read_namespaced_pod_log(
                found[0], self.namespace, container=found[1], follow=True, _preload_content=False,
                _request_timeout=(_CONNECT_SECONDS, _SILENT_SECONDS),
            )  # fmt: skip
        return _pieces(answer)

    def _running_pod(self, job: str) -> tuple[str, str] | None:
        """Pod and container."""
        selector = f"batch.kubernetes.io/job-name={job}"
        pods = self._core.list_namespaced_pod(self.namespace, label_selector=selector, _request_timeout=(2, 4)).items
        running = [pod for pod in pods if pod.status.phase == "Running"]
        return (running[-1].metadata.name, running[-1].spec.containers[0].name) if running else None

    def _log_tail(self, job: str) -> str:
        if job not in self._pods:
            found = self._running_pod(job)
            if found is None:
                return ""
            self._pods[job] = found
        name, container = self._pods[job]
        tail: str = self._core.read_namespaced_pod_log(
            name, self.namespace, container=container, tail_lines=_LOG_LINES, _request_timeout=(2, 4)
        )
        return tail


def _pieces(answer: Any) -> Iterator[bytes]:
    with _explained("the log is gone"):
        yield from answer.stream(1 << 16)


class ChangedError(ClusterError):
    """Somebody else was faster."""


class _explained:  # noqa: N801 - reads as a word: `with _explained("…")`
    """Turns the client's exceptions into a `ClusterError` that says what to do."""

    def __init__(self, missing: str) -> None:
        self._missing = missing

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, client.ApiException):
            if error.status == 404:
                raise NotThereError(self._missing) from error
            if error.status == 409:
                raise ChangedError(_reason(error)) from error
            raise ClusterError(_reason(error)) from error
        if isinstance(error, HTTPError | OSError):
            raise ClusterError(f"the API server does not answer: {error}") from error


def _context_namespace(kubeconfig: str | None, context: str | None) -> str | None:
    """The namespace that the kubeconfig's context names; in a pod, its own."""
    try:
        contexts, active = config.list_kube_config_contexts(config_file=kubeconfig)
    except config.ConfigException:
        return _OWN_NAMESPACE.read_text(encoding="utf-8").strip() if _OWN_NAMESPACE.exists() else None
    named = next((entry for entry in contexts if entry["name"] == context), active)
    namespace: str | None = named["context"].get("namespace")
    return namespace


def _reason(error: Any) -> str:
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return f"the API server says {error.status} {error.reason}"


def last_progress(log: str) -> dict[str, Any] | None:
    """The last whole progress line of a stage's log (docs/stage-contract.md), or none."""
    for line in reversed(str(log).splitlines()):
        if line.startswith('{"yoloProgress"'):
            try:
                progress = json.loads(line)["yoloProgress"]
            except ValueError:
                continue  # cut off while it was written
            return progress if isinstance(progress, dict) else None
    return None
