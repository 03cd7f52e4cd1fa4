"""A small client of the Kubernetes API for the tool's own few needs: JSON requests, and a list-then-watch."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .console import ClusterError, say

Document = dict[str, Any]
MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
_WATCH_SECONDS = 240


class ApiError(ClusterError):
    """The API server answered with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"the API server says {status}: {message}")
        self.status = status


class Api:
    """Requests as one user. Every request has a connection of its own: they are few, and none can be stale."""

    def __init__(self, server: str, authority: Path, certificate: Path, key: Path) -> None:
        self._address = urlsplit(server)
        self._context = ssl.create_default_context(cafile=str(authority))
        self._context.load_cert_chain(certificate, key)

    def _connect(self, timeout: float) -> http.client.HTTPSConnection:
        host, port = self._address.hostname or "", self._address.port or 443
        return http.client.HTTPSConnection(host, port, timeout=timeout, context=self._context)

    def request(
        self, method: str, path: str, body: object = None, *, content_type: str = "application/json", timeout: float = 10
    ) -> Document:
        """Send a request; give the answer's document. Errors: `ApiError`, `OSError` when there is no connection."""
        connection = self._connect(timeout)
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, path, payload, {"Content-Type": content_type, "Accept": "application/json"})
            response = connection.getresponse()
            raw = response.read()
        except http.client.HTTPException as error:
            raise ConnectionError(str(error)) from error
        finally:
            connection.close()
        document: Document = {}
        if raw.startswith(b"{"):
            document = json.loads(raw)
        if response.status >= 400:
            raise ApiError(response.status, str(document.get("message") or raw[:200].decode(errors="replace")))
        return document

    def apply(self, path: str, document: Document) -> None:
        """Server-side apply one object at its own path."""
        query = "?fieldManager=local-cluster&force=true"
        self.request("PATCH", path + query, document, content_type="application/apply-patch+yaml")

    def ready(self) -> bool:
        """Tell whether the API server calls itself ready."""
        try:
            self.request("GET", "/readyz", timeout=3)
        except (OSError, ClusterError):
            return False
        return True

    def follow(self, path: str, selector: str = "") -> Iterator[Document]:
        """Yield every object there is and then each one that is added or changed, for ever.

        Any trouble starts over from the list after a moment: the caller's work must be safe to repeat. That is the whole
        answer to an API server that restarts, an expired resourceVersion and a half-read line.
        """
        while True:
            try:
                listed = self.request("GET", f"{path}?{selector}")
                yield from listed.get("items", [])
                yield from self._watch(path, selector, str(listed["metadata"]["resourceVersion"]))
            except (OSError, ClusterError, ValueError, KeyError, http.client.HTTPException) as error:
                say(f"watching {path}: {error}")
                time.sleep(1)

    def _watch(self, path: str, selector: str, version: str) -> Iterator[Document]:
        connection = self._connect(_WATCH_SECONDS + 30)
        query = f"watch=1&resourceVersion={version}&timeoutSeconds={_WATCH_SECONDS}&allowWatchBookmarks=false&{selector}"
        try:
            connection.request("GET", f"{path}?{query}", headers={"Accept": "application/json"})
            response = connection.getresponse()
            if response.status != 200:
                raise ApiError(response.status, response.read(200).decode(errors="replace"))
            while line := response.readline():
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return
                if event["type"] != "DELETED":
                    yield event["object"]
        finally:
            connection.close()
