"""The cluster by `kubernetes.aio`'s configuration, authentication and TLS, with bodies as plain dicts.

The typed models of the client cost a millisecond of CPU a call, and its untyped call still copies every body. Both buy nothing
here: what we send is built in one place, what we receive is projected at once. So requests go straight to an aiohttp session.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.request import getproxies

import aiohttp
import orjson
from kubernetes.aio import client as kube_client
from kubernetes.aio import config as kube_config
from kubernetes.aio.client.rest import RESTClientObject

from yolo_operator.kube.cluster import PODS, Change, Kind, Object, Page
from yolo_operator.kube.errors import ApiError, from_answer
from yolo_operator.kube.lines import lines_of

TIMEOUT_SECONDS = 30
SILENCE_SECONDS = 150
"""A watch that says nothing for so long is broken: the API server sends a bookmark every minute or so."""
POOL_SIZE = 32
_MERGE_PATCH = "application/merge-patch+json"

Observer = Callable[[str, str, int, float], None]
"""Told verb, resource, status code and seconds of every request."""


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
        self._config = config
        self._agent = user_agent
        self._observer = observer
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def pages(
        self, kind: Kind, namespace: str | None = None, *, selector: str = "", fields: str = "", limit: int = 500
    ) -> AsyncIterator[Page]:
        query = {"limit": str(limit), "labelSelector": selector, "fieldSelector": fields}
        query = {name: value for name, value in query.items() if value}
        while True:
            page = await self._request("list", kind, kind.path(namespace), query=query)
            meta = page.get("metadata") or {}
            yield Page(page.get("items") or [], int(meta.get("resourceVersion") or 0))
            if not meta.get("continue"):
                return
            query["continue"] = meta["continue"]

    async def changes(
        self, kind: Kind, namespace: str | None = None, *, selector: str = "", version: int, seconds: int
    ) -> AsyncIterator[Change]:
        query = {"watch": "1", "allowWatchBookmarks": "true", "resourceVersion": str(version), "timeoutSeconds": str(seconds)}
        if selector:
            query["labelSelector"] = selector
        status, path, began = 0, kind.path(namespace), time.monotonic()
        limits = aiohttp.ClientTimeout(sock_connect=TIMEOUT_SECONDS, sock_read=SILENCE_SECONDS)
        try:
            async with await self._open("GET", path, query=query, limits=limits) as response:
                status = response.status
                if status != 200:
                    raise from_answer(status, await response.read(), response.headers.get("Retry-After"))
                async for line in lines_of(response):
                    event: Object = orjson.loads(line)
                    if event["type"] == "ERROR":
                        raise _of_status(event["object"])
                    yield Change(event["type"], event["object"])
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise ApiError(0, type(error).__name__, f"watch {path}: {error}") from error
        finally:
            self._observe("watch", kind, status, began)

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

    async def delete(self, kind: Kind, namespace: str, name: str, *, uid: str | None = None, foreground: bool = False) -> bool:
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
            return False
        return True

    async def log_tail(self, namespace: str, pod: str, *, lines: int) -> str:
        raw = await self._send("log", PODS, PODS.path(namespace, pod, "log"), query={"tailLines": str(lines)})
        return raw.decode(errors="replace")

    async def _request(self, verb: str, kind: Kind, path: str, **how: Any) -> Object:
        answer: Object = orjson.loads(await self._send(verb, kind, path, **how))
        return answer

    async def _send(
        self,
        verb: str,
        kind: Kind,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: Object | None = None,
        content: str = "application/json",
    ) -> bytes:
        method, status, began = _METHODS[verb], 0, time.monotonic()
        try:
            async with await self._open(method, path, query=query, body=body, content=content, limits=_TIMEOUT) as response:
                data = await response.read()
            status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ApiError(0, type(error).__name__, f"{method} {path}: {error}") from error
        finally:
            self._observe(verb, kind, status, began)
        if not 200 <= status < 300:
            raise from_answer(status, data, response.headers.get("Retry-After"))
        return data

    async def _open(
        self,
        method: str,
        path: str,
        *,
        limits: aiohttp.ClientTimeout,
        query: dict[str, str] | None = None,
        body: Object | None = None,
        content: str = "application/json",
    ) -> aiohttp.ClientResponse:
        # Else the API server would pack every line of a watch, and both ends pay for it.
        headers = {"Accept": "application/json, */*", "Accept-Encoding": "identity", "User-Agent": self._agent}
        # Asked for each request: a service account's token is exchanged every hour.
        if token := await self._config.get_api_key_with_prefix("BearerToken"):
            headers["Authorization"] = token
        if body is not None:
            headers["Content-Type"] = content
        return await self._connected().request(
            method,
            self._config.host + path,
            params=query,
            data=None if body is None else orjson.dumps(body),
            headers=headers,
            timeout=limits,
            proxy=self._config.proxy or None,
            proxy_headers=self._config.proxy_headers,
            server_hostname=self._config.tls_server_name or None,
        )

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            rest = RESTClientObject(self._config)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._config.connection_pool_maxsize, ssl=rest.ssl_context),
                # Else aiohttp would look for a .netrc, in a thread, at every request.
                trust_env=bool(getproxies()),
                read_bufsize=_LONGEST_LINE,
            )
        return self._session

    def _observe(self, verb: str, kind: Kind, status: int, began: float) -> None:
        if self._observer is not None:
            self._observer(verb, kind.plural, status, time.monotonic() - began)


def _of_status(status: Object) -> ApiError:
    """The error that a watch tells: a Status object."""
    return ApiError(int(status.get("code") or 500), str(status.get("reason") or "Error"), str(status.get("message") or ""))


_METHODS = {"list": "GET", "get": "GET", "log": "GET", "create": "POST", "patch": "PATCH", "delete": "DELETE"}
_TIMEOUT = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
_LONGEST_LINE = 2**22
"""Bytes of one object on a watch; etcd takes 1.5 MiB."""
