"""The kubelet's log endpoint, played: what the log of a training says now, the same for the pod of every training.

    python -m yolobench.logs ADDRESS CERTIFICATE KEY BEGAN SECONDS

BEGAN is when every training began (seconds since the epoch), SECONDS how long each takes. The port is free and told on stdout.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import sys
import time

from aiohttp import web

PATH = "/containerLogs/{namespace}/{pod}/{container}"
EPOCHS, STEPS = 25, 40
EVERY = 3.0
"""Seconds between two lines of progress, as the operator tells the runner."""
TRAINING = "-train-"
"""In the name of a pod that has a log; those of other stages have said nothing."""
_TAIL = 60


def line(elapsed: float, seconds: float) -> str:
    """Progress as the runner prints it, so many seconds into a training."""
    done = max(0.0, min(1.0, elapsed / seconds))
    epoch = min(EPOCHS, int(done * EPOCHS) + 1)
    step = min(STEPS, int((done * EPOCHS - epoch + 1) * STEPS))
    numbers = {
        "epoch": epoch,
        "epochs": EPOCHS,
        "step": step,
        "steps": STEPS,
        "loss": round(5.0 / (1.0 + 9.0 * done), 4),
        "mAP": round(0.95 * done, 4),
        "validationLoss": round(5.5 / (1.0 + 9.0 * done), 4),
        "learningRate": 0.005,
        "etaSeconds": round((1.0 - done) * seconds),
    }
    return json.dumps({"yoloProgress": numbers}, separators=(",", ":"))


def tail(elapsed: float, seconds: float, lines: int) -> str:
    """The last lines of the log: one every EVERY seconds since the training began."""
    last = int(elapsed // EVERY)
    return "".join(f"{line(number * EVERY, seconds)}\n" for number in range(max(0, last - lines + 1), last + 1))


def application(began: float, seconds: float) -> web.Application:
    """The endpoint."""

    async def log(request: web.Request) -> web.Response:
        if TRAINING not in request.match_info["pod"]:
            return web.Response(text="")
        return web.Response(text=tail(time.time() - began, seconds, int(request.query.get("tailLines", _TAIL))))

    made = web.Application()
    made.router.add_get(PATH, log)
    return made


async def main(address: str, certificate: str, key: str, began: float, seconds: float) -> None:
    """Serve until it is killed."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    runner = web.AppRunner(application(began, seconds), access_log=None)
    await runner.setup()
    listening = socket.create_server((address, 0))
    await web.SockSite(runner, listening, ssl_context=context).start()
    print(listening.getsockname()[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    told_address, told_certificate, told_key, told_began, told_seconds = sys.argv[1:]
    asyncio.run(main(told_address, told_certificate, told_key, float(told_began), float(told_seconds)))
