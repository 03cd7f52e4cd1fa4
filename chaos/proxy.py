"""A reverse proxy between an operator and the API server that can misbehave in every way a network and a server can.

It numbers the mutating calls; what happens to each is a `Disturbance`'s business. The operator speaks plain HTTP to it and
needs no credentials; towards the API server it is the admin of the kubeconfig.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import ssl
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web

WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
AWAY_SECONDS = 60.0
"""For so long the harness waits for a server that it has taken away itself."""
LONGEST_LINE = 2**22
"""Of a watch: an object is at most 1.5 MiB."""
_REVIEWS = "selfsubjectaccessreviews"
"""A POST that stores nothing."""
_HOP = {"host", "connection", "accept-encoding", "content-length", "transfer-encoding", "keep-alive"}


class Reset(Exception):  # noqa: N818 - what happens, not an error
    """The connection breaks without an answer."""


@dataclass(frozen=True)
class Answer:
    """What the proxy answers in the API server's place."""

    status: int
    reason: str = ""
    message: str = "injected"
    retry_after: int | None = None

    def response(self) -> web.Response:
        """As HTTP."""
        body = {"kind": "Status", "apiVersion": "v1", "status": "Failure"}
        text = json.dumps(body | {"reason": self.reason, "message": self.message, "code": self.status})
        headers = {"Retry-After": str(self.retry_after)} if self.retry_after is not None else {}
        return web.Response(status=self.status, text=text, content_type="application/json", headers=headers)


@dataclass
class Call:
    """One request of the operator."""

    method: str
    path: str
    query: dict[str, str]
    body: bytes
    headers: Mapping[str, str]
    number: int = 0
    """Of a mutating call, from 1; 0 for any other."""

    @property
    def watch(self) -> bool:
        """Whether the answer is a stream."""
        return self.query.get("watch") in ("true", "1", "True")

    @property
    def write(self) -> bool:
        """Whether it stores something."""
        return self.number > 0

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class Disturbance:
    """Lets everything pass. What differs is overridden."""

    lag_seconds: float = 0.0
    """How much later a watch's lines arrive."""

    def query(self, call: Call) -> dict[str, str]:
        """The query that the server gets."""
        return call.query

    async def before(self, call: Call) -> Answer | None:
        """Before it is passed on: wait, raise `Reset`, or answer in the server's place."""
        return None

    async def after(self, call: Call) -> Answer | None:
        """The server has answered, the operator does not know yet: the same choices."""
        return None

    async def line(self, call: Call, line: bytes) -> list[bytes]:
        """What of a watch's line goes on; raise `Reset` to end the watch."""
        return [line]


@dataclass
class Upstream:
    """The real API server, as its admin."""

    server: str
    session: aiohttp.ClientSession

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        content: str = "application/json",
    ) -> tuple[int, dict[str, Any]]:
        """One request of the harness; the status code and the object. What only reads is repeated while the server is away."""
        data = None if body is None else json.dumps(body)
        end = asyncio.get_running_loop().time() + AWAY_SECONDS
        while True:
            again = method == "GET" and asyncio.get_running_loop().time() < end
            try:
                async with self.session.request(
                    method, self.server + path, params=query, data=data, headers={"Content-Type": content}
                ) as answer:
                    if (answer.status < 500 and answer.status != 429) or not again:
                        return answer.status, json.loads(await answer.read() or b"{}")
            except aiohttp.ClientError:
                if not again:
                    raise
            await asyncio.sleep(0.5)


@asynccontextmanager
async def upstream(kubeconfig: Path) -> AsyncIterator[Upstream]:
    """By a kubeconfig with certificates, inline or as files."""
    config = yaml.safe_load(kubeconfig.read_text())
    (cluster,), (user,) = ([entry["cluster"] for entry in config["clusters"]], [entry["user"] for entry in config["users"]])
    with tempfile.TemporaryDirectory() as folder:

        def pem(source: dict[str, Any], name: str) -> str:
            if name in source:
                return str(source[name])
            path = Path(folder) / name
            path.write_bytes(base64.b64decode(source[f"{name}-data"]))
            return str(path)

        context = ssl.create_default_context(cafile=pem(cluster, "certificate-authority"))
        headers = {}
        if "token" in user:
            headers["Authorization"] = f"Bearer {user['token']}"
        else:
            context.load_cert_chain(pem(user, "client-certificate"), pem(user, "client-key"))
        connector = aiohttp.TCPConnector(limit=0, ssl=context)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=30)
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, headers=headers, read_bufsize=LONGEST_LINE
        ) as session:
            yield Upstream(cluster["server"], session)


@dataclass
class Proxy:
    """One operator's way to the API server."""

    upstream: Upstream
    disturbance: Disturbance = field(default_factory=Disturbance)
    writes: int = 0
    """Mutating calls so far."""
    requests: Counter[str] = field(default_factory=Counter)
    """By verb and resource: `PATCH jobs`, `WATCH pods`."""
    written: Counter[str] = field(default_factory=Counter)
    """Mutating calls by what they are about."""
    answers: Counter[int] = field(default_factory=Counter)
    """By status code; 0 for a connection that was broken."""
    url: str = ""
    _loose: set[asyncio.Task[Any]] = field(default_factory=set)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[Proxy]:
        """Listen on a port of the loopback."""
        application = web.Application(client_max_size=2**24)
        application.router.add_route("*", "/{tail:.*}", self._handle)
        runner = web.AppRunner(application, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}"
        try:
            yield self
        finally:
            await runner.cleanup()
            for task in list(self._loose):
                task.cancel()

    def kubeconfig(self) -> str:
        """The proxy as the cluster, nobody in particular as the user."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "proxy", "cluster": {"server": self.url}}],
            "users": [{"name": "operator", "user": {}}],
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "operator"}}],
            "current-context": "proxy",
        }
        return yaml.safe_dump(config)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        call = Call(request.method, request.path, dict(request.query), await request.read(), request.headers)
        if call.method in WRITES and not call.path.endswith(_REVIEWS):
            self.writes += 1
            call.number = self.writes
        self._count(call)
        try:
            answer = await self.disturbance.before(call)
            if answer is not None:
                self.answers[answer.status] += 1
                return answer.response()
            return await (self._stream(request, call) if call.watch else self._pass(call))
        except (Reset, aiohttp.ClientError, ConnectionError):
            self.answers[0] += 1
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=502)

    async def _pass(self, call: Call) -> web.Response:
        # What the operator has sent arrives, even when it dies before the answer.
        task = asyncio.create_task(self._forward(call))
        self._loose.add(task)
        task.add_done_callback(self._loose.discard)
        status, data, headers = await asyncio.shield(task)
        answer = await self.disturbance.after(call)
        if answer is not None:
            self.answers[answer.status] += 1
            return answer.response()
        self.answers[status] += 1
        return web.Response(status=status, body=data, headers=headers)

    async def _forward(self, call: Call) -> tuple[int, bytes, dict[str, str]]:
        async with self.upstream.session.request(
            call.method,
            self.upstream.server + call.path,
            params=call.query,
            data=call.body or None,
            headers={name: value for name, value in call.headers.items() if name.lower() not in _HOP},
        ) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() in ("content-type", "retry-after")}
            return answer.status, await answer.read(), kept

    async def _stream(self, request: web.Request, call: Call) -> web.StreamResponse:
        async with self.upstream.session.request(
            call.method,
            self.upstream.server + call.path,
            params=self.disturbance.query(call),
            headers={name: value for name, value in call.headers.items() if name.lower() not in _HOP},
        ) as answer:
            response = web.StreamResponse(status=answer.status, headers={"Content-Type": "application/json"})
            await response.prepare(request)
            self.answers[answer.status] += 1
            async for line in _late(answer.content, self.disturbance.lag_seconds):
                for each in await self.disturbance.line(call, line):
                    await response.write(each)
            with contextlib.suppress(ConnectionError):
                await response.write_eof()
            return response

    def _count(self, call: Call) -> None:
        verb = "WATCH" if call.watch else call.method
        self.requests[f"{verb} {_resource(call.path)}"] += 1
        if call.write:
            self.written[f"{call.method} {_about(call)}"] += 1


async def _late(lines: aiohttp.StreamReader, seconds: float) -> AsyncIterator[bytes]:
    """The lines of a stream, each so much later than it came."""
    if not seconds:
        async for line in lines:
            yield line
        return
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def read() -> None:
        async for line in lines:
            queue.put_nowait((loop.time(), line))
        queue.put_nowait((loop.time(), b""))

    reader = asyncio.create_task(read())
    try:
        while True:
            came, line = await queue.get()
            if not line:
                return
            await asyncio.sleep(max(0.0, came + seconds - loop.time()))
            yield line
    finally:
        reader.cancel()


def _resource(path: str) -> str:
    """The resource of a path: jobs, yoloexperiments/status, pods/log."""
    parts = path.strip("/").split("/")
    parts = parts[2:] if parts[0] == "api" else parts[3:]
    if parts[:1] == ["namespaces"] and len(parts) > 2:
        parts = parts[2:]
    return "/".join([*parts[:1], *parts[2:3]])


def _about(call: Call) -> str:
    """The path, with the name of what a POST makes."""
    if call.method != "POST":
        return call.path
    try:
        return f"{call.path}/{json.loads(call.body)['metadata']['name']}"
    except (ValueError, KeyError, TypeError):
        return call.path
