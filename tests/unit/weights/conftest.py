"""An HTTPS server with a certificate of its own authority, and a stage that fetches from it."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from yolo_operator.weights import download
from yolo_operator.weights.__main__ import main

ROOT = Path(__file__).parents[3]
CONTENT = bytes(range(256)) * 8192  # 2 MiB
SHA256 = hashlib.sha256(CONTENT).hexdigest()
_EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass(frozen=True)
class Authority:
    """Files of a certificate authority and of a server that it vouches for."""

    bundle: Path
    certificate: Path
    key: Path


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    home = tmp_path_factory.mktemp("authority")

    def openssl(*words: str | Path) -> None:
        subprocess.run(["openssl", *map(str, words)], cwd=home, check=True, capture_output=True)

    openssl("req", "-x509", *_EC, "-days", "2", "-subj", "/CN=test-authority", "-keyout", "ca.key", "-out", "ca.pem")
    openssl("req", "-new", *_EC, "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr")
    (home / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
    openssl("x509", "-req", "-in", "server.csr", *signed, "-out", "server.pem")
    return Authority(home / "ca.pem", home / "server.pem", home / "server.key")


@dataclass
class Request:
    path: str
    headers: dict[str, str]


@dataclass
class Origin:
    """What the server answers with, and what it was asked."""

    port: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    etags: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    cuts: list[int] = field(default_factory=list)
    """Bytes after which the next answers break off."""
    statuses: dict[str, int] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    accepted: dict[str, set[str]] = field(default_factory=dict)
    """Authorization headers by the beginning of the path; another one, or none, gets 401."""
    block_seconds: float = 0
    requests: list[Request] = field(default_factory=list)

    def url(self, path: str) -> str:
        return f"https://localhost:{self.port}{path}"

    def asked(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.path == path]


def _handler(origin: Origin) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            origin.requests.append(Request(self.path, dict(self.headers.items())))
            self.close_connection = True
            if self.path in origin.redirects:
                self._answer(302, b"", Location=origin.redirects[self.path])
                return
            wanted = [accepted for beginning, accepted in origin.accepted.items() if self.path.startswith(beginning)]
            if wanted and self.headers.get("Authorization", "") not in wanted[0]:
                self._answer(401, b"no")
                return
            if self.path in origin.statuses or self.path not in origin.files:
                self._answer(origin.statuses.get(self.path, 404), b"no")
                return
            self._file(origin.files[self.path], origin.etags.get(self.path, ""))

        def _file(self, content: bytes, etag: str) -> None:
            start, known = 0, {"ETag": etag} if etag else {}
            asked = self.headers.get("Range", "")
            if origin.ranges and asked and self.headers.get("If-Range", etag) == etag:
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
                if start >= len(content):
                    self._answer(416, b"", **{"Content-Range": f"bytes */{len(content)}"})
                    return
                whole = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
                self._answer(206, content[start:], **known, **whole)
            else:
                self._answer(200, content, **known)

        def _answer(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            cut = origin.cuts.pop(0) if origin.cuts and status in (200, 206) else len(body)
            for at in range(0, cut, 1 << 16):
                self.wfile.write(body[at : min(at + (1 << 16), cut)])
                time.sleep(origin.block_seconds)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


@pytest.fixture
def origin(authority: Authority) -> Iterator[Origin]:
    with served(authority) as found:
        yield found


class served:  # noqa: N801 - a context manager
    """A server, for as long as the block lasts."""

    def __init__(self, authority: Authority) -> None:
        self.origin = Origin(files={"/resnet_18.hdf5": CONTENT}, etags={"/resnet_18.hdf5": '"one"'})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self.origin))
        self.server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority.certificate, authority.key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.origin.port = self.server.server_address[1]

    def __enter__(self) -> Origin:
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self.origin

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


@dataclass
class Bench:
    """Runs the stage for one experiment."""

    root: Path
    cache: Path
    environment: dict[str, str]
    name: str = "plates"

    @property
    def workspace(self) -> Path:
        return self.root / self.name

    @property
    def directory(self) -> Path:
        return self.workspace / "stages" / "weights-1"

    def instructions(self, **weights: Any) -> Path:
        made = {
            "version": 1,
            "namespace": "default",
            "experiment": self.name,
            "uid": f"u-{self.name}",
            "stage": "weights",
            "variant": "",
            "attempt": 1,
            "digest": "d" * 64,
            "workspace": str(self.workspace),
            "directory": str(self.directory),
            "task": "weights",
            "progressSeconds": 0,
            "cache": str(self.cache),
            "weights": {"output": str(self.directory / "weights"), **weights},
        }
        path = self.root / f"{self.name}.json"
        self.workspace.mkdir(exist_ok=True)
        path.write_text(json.dumps(made))
        return path

    def run(self, **weights: Any) -> tuple[int, dict[str, Any]]:
        """Exit code and report."""
        code = main(["weights", str(self.instructions(**weights))])
        return code, self.report()

    def verdict(self, **weights: Any) -> tuple[int, str, str, str]:
        """Of a failure: exit code, reason, class, sentence."""
        code, report = self.run(**weights)
        assert report["outcome"] == "Failed", report
        return code, report["reason"], report["class"], report["message"]

    def start(self, **weights: Any) -> subprocess.Popen[bytes]:
        """The stage as a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "yolo_operator.weights", str(self.instructions(**weights))],
            env={**os.environ, **self.environment, "YOLO_TERMINATION_LOG": str(self.root / f"{self.name}.log")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.directory / "report.json").read_text())
        return found

    def log(self) -> str:
        return "".join(path.read_text() for path in sorted((self.directory / "logs").iterdir()))

    def other(self, name: str) -> Bench:
        """Another experiment with the same cache."""
        return Bench(self.root, self.cache, self.environment, name)


@pytest.fixture
def bench(tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    environment = {"YOLO_CA_BUNDLE": str(authority.bundle)}
    for name, value in {**environment, "YOLO_TERMINATION_LOG": str(tmp_path / "termination-log")}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    mask = os.umask(0o022)
    yield Bench(tmp_path, tmp_path / "cache", environment)
    os.umask(mask)
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def closed_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
