"""/healthz, /readyz and /metrics.

Healthy: the event loop answers, the work queue moves, and the last full list is not long ago. Ready: the cache is full.
"""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

Check = Callable[[], str | None]
"""None when all is well, else what is wrong."""


def application(registry: CollectorRegistry, *, health: Check, ready: Check) -> web.Application:
    """The web application."""

    async def healthz(_: web.Request) -> web.Response:
        return _answer(health())

    async def readyz(_: web.Request) -> web.Response:
        return _answer(ready())

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    return app


def _answer(problem: str | None) -> web.Response:
    return web.Response(text="ok\n") if problem is None else web.Response(status=503, text=problem + "\n")


async def serve(app: web.Application, host: str, port: int) -> web.AppRunner:
    """Start listening; `cleanup` of the answer stops it."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner
