"""The cluster by `kubernetes.aio`: its configuration, authentication and bounded connection pool, with bodies as plain dicts.

The typed models of the client cost a millisecond of CPU a call and buy nothing here: what we send is built in one place, what we
receive is projected at once.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
from kubernetes.aio import client as kube_client
from kubernetes.aio import config as kube_config

from yolo_operator.kube.cluster import PODS, Kind, Object, Page
from yolo_operator.kube.errors import ApiError, from_answer

TIMEOUT_SECONDS = 30
POOL_SIZE = 32
_MERGE_PATCH = "application/merge-patch+json"

Observer = Callable[[str, str, int], None]
"""Told verb, resource and status code of every request."""


async def configuration() -> kube_client.Configuration:
    """In-cluster when there is a service account, else the user's kubeconfig."""
    config = kube_client.Configuration()
    try:
        kube_config.load_incluster_config(client_configuration=config)
    except kube_config.ConfigException:
        await kube_config.load_kube_config(client_configuration=config, persist_config=False)
    config.connection_pool_maxsize = POOL_SIZE
    return config


class KubernetesCluster:
    """`Cluster` on a real API server."""

    def __init__(self, config: kube_client.Configuration, *, user_agent: str, observer: Observer | None = None) -> None:
        self._api = kube_client.ApiClient(config)
        self._api.user_agent = user_agent
        self._observer = observer

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    async def pages(
        self, kind: Kind, namespace: str | None = None, *, selector: str = "", limit: int = 500
    ) -> AsyncIterator[Page]:
        query = [("limit", str(limit))] + ([("labelSelector", selector)] if selector else [])
        token = ""
        while True:
            page = await self._request("list", kind, kind.path(namespace), query=query + ([("continue", token)] if token else []))
            meta = page.get("metadata") or {}
            yield Page(page.get("items") or [], int(meta.get("resourceVersion") or 0))
            token = meta.get("continue") or ""
            if not token:
                return

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        try:
            return await self._request("get", kind, kind.path(namespace, name))
        except ApiError as error:
            if error.not_found:
                return None
            raise

    async def create(self, kind: Kind, namespace: str | None, body: Object) -> Object:
        return await self._request("create", kind, kind.path(namespace), body=body)

    async def patch(self, kind: Kind, namespace: str, name: str, body: Object, *, subresource: str = "") -> Object:
        return await self._request("patch", kind, kind.path(namespace, name, subresource), body=body, content=_MERGE_PATCH)

    async def delete(self, kind: Kind, namespace: str, name: str, *, uid: str | None = None, foreground: bool = False) -> None:
        options: Object = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Foreground" if foreground else "Background",
        }
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        try:
            await self._request("delete", kind, kind.path(namespace, name), body=options)
        except ApiError as error:
            # A conflict says that the name now belongs to another object: the one that was meant is gone.
            if not (error.not_found or error.conflict):
                raise

    async def log_tail(self, namespace: str, pod: str, *, lines: int) -> str:
        raw = await self._send("log", PODS, PODS.path(namespace, pod, "log"), query=[("tailLines", str(lines))])
        return raw.decode(errors="replace")

    async def _request(self, verb: str, kind: Kind, path: str, **how: Any) -> Object:
        answer: Object = json.loads(await self._send(verb, kind, path, **how))
        return answer

    async def _send(
        self,
        verb: str,
        kind: Kind,
        path: str,
        *,
        query: list[tuple[str, str]] | None = None,
        body: Object | None = None,
        content: str = "application/json",
    ) -> bytes:
        headers = {"Accept": "application/json, */*", "Content-Type": content}
        method = _METHODS[verb]
        request = await self._api.param_serialize(
            method, path, query_params=query, header_params=headers, body=body, auth_settings=["BearerToken"]
        )
        status = 0
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                response = await self._api.call_api(*request, _request_timeout=TIMEOUT_SECONDS)
                data: bytes = await response.read()
            status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ApiError(0, type(error).__name__, f"{method} {path}: {error}") from error
        finally:
            if self._observer is not None:
                self._observer(verb, kind.plural, status)
        if not 200 <= status < 300:
            raise from_answer(status, data, response.headers.get("Retry-After"))
        return data


_METHODS = {"list": "GET", "get": "GET", "log": "GET", "create": "POST", "patch": "PATCH", "delete": "DELETE"}
