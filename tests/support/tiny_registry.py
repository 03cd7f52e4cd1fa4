"""A registry of the OCI distribution specification that keeps everything in memory: enough for pushes and for looking at them."""

from __future__ import annotations

import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class TinyRegistry:
    """Blobs and manifests that were pushed to `127.0.0.1:PORT`."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[tuple[str, str], bytes] = {}
        """By repository and tag."""
        self.uploads: dict[str, bytes] = {}
        registry = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def __getattr__(self, name: str) -> Any:
                if not name.startswith("do_"):
                    raise AttributeError(name)
                return lambda: registry.answer(self, name.removeprefix("do_"))

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> TinyRegistry:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler, verb: str) -> None:
        """One request."""
        body = _body(request)
        path, _, query = request.path.partition("?")
        status, headers, content = 404, {}, b"{}"
        if path == "/v2/":
            status = 200
        elif found := re.fullmatch(r"/v2/(.+)/blobs/uploads/(.*)", path):
            status, headers = self._upload(verb, found[1], found[2], query, body)
        elif found := re.fullmatch(r"/v2/.+/blobs/(sha256:[0-9a-f]{64})", path):
            if found[1] in self.blobs:
                status, content = 200, self.blobs[found[1]]
        elif found := re.fullmatch(r"/v2/(.+)/manifests/(.+)", path):
            if verb == "PUT":
                self.manifests[found[1], found[2]] = body
                status, headers, content = 201, {"Docker-Content-Digest": digest(body)}, b""
            elif (found[1], found[2]) in self.manifests:
                status, content = 200, self.manifests[found[1], found[2]]
        request.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            request.send_header(name, value)
        request.end_headers()
        if verb != "HEAD":
            request.wfile.write(content)

    def _upload(self, verb: str, name: str, upload: str, query: str, body: bytes) -> tuple[int, dict[str, str]]:
        upload = upload or f"upload-{len(self.uploads)}"
        self.uploads[upload] = self.uploads.get(upload, b"") + body
        headers = {"Location": f"/v2/{name}/blobs/uploads/{upload}", "Range": f"0-{max(0, len(self.uploads[upload]) - 1)}"}
        if verb != "PUT":
            return 202, headers
        blob = self.uploads.pop(upload)
        if f"digest={digest(blob)}" not in query.replace("%3A", ":"):
            return 400, headers
        self.blobs[digest(blob)] = blob
        return 201, headers


def digest(content: bytes) -> str:
    """As registries write it."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _body(request: BaseHTTPRequestHandler) -> bytes:
    if request.headers.get("Transfer-Encoding") != "chunked":
        return request.rfile.read(int(request.headers.get("Content-Length") or 0))
    parts = []
    while size := int(request.rfile.readline(), 16):
        parts.append(request.rfile.read(size))
        request.rfile.readline()
    request.rfile.readline()
    return b"".join(parts)
