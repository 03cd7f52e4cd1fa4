"""Operator processes at the price of a fork: the program is imported once, each process is a child of the one that did.

A fresh interpreter needs more than a second of CPU before its first request, which hundreds of starts cannot afford. What
runs in the child is `yolo_operator.controller.main.main`, whole, with an environment and a log of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chaos import ROOT

KUBECONFIG = "kubeconfig"
_POLL_SECONDS = 0.05
_IMPORT_SECONDS = 60
_END_SECONDS = 30


@dataclass
class Operator:
    """One operator process."""

    pid: int
    port: int
    log_path: Path
    started: float = field(default_factory=time.monotonic)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    status: int | None = None
    """Exit status; minus the number of the signal that ended it; None while it runs."""
    cpu_seconds: float = 0.0
    """Once it has ended."""

    def log(self) -> str:
        """What it has said."""
        # One that was killed before it wrote a line has none.
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """No time to tidy up."""
        self.signal(signal.SIGKILL)

    async def stop(self) -> int:
        """Ask it to end, and wait for it; its exit status."""
        self.signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.ended.wait(), _END_SECONDS)
        except TimeoutError:
            self.kill()
            await self.ended.wait()
        return self.status or 0


class Nursery:
    """Starts operators, and knows how each ended."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._operators: dict[int, Operator] = {}
        self._answers: asyncio.Queue[int] = asyncio.Queue()
        self._gate = asyncio.Lock()
        self._count = 0

    async def __aenter__(self) -> Nursery:
        self._folder.mkdir(parents=True, exist_ok=True)
        paths = f"{ROOT}{os.pathsep}{ROOT / 'operator'}"
        # The client reads KUBECONFIG when it is imported, so it is the same for all: a name in each child's own folder.
        environment = {**os.environ, "PYTHONPATH": paths, "KUBECONFIG": KUBECONFIG}
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "chaos.nursery", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=environment
        )
        self._reader = asyncio.create_task(self._read())
        await asyncio.wait_for(self._answers.get(), _IMPORT_SECONDS)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()
        await self._reader

    async def start(self, environment: dict[str, str], kubeconfig: str, name: str = "operator") -> Operator:
        """Start an operator with these settings beside the nursery's own environment; the text is its kubeconfig."""
        async with self._gate:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = int(free.getsockname()[1])
            self._count += 1
            folder = self._folder / f"{name}-{self._count}"
            folder.mkdir()
            (folder / KUBECONFIG).write_text(kubeconfig)
            path = folder / "log"
            settings = {"YOLO_OPERATOR_IMAGE": "yolo-operator:test", "YOLO_OPERATOR_LISTEN": f"127.0.0.1:{port}"}
            wish = {"environment": settings | environment, "folder": str(folder)}
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(wish).encode() + b"\n")
            await self._process.stdin.drain()
            pid = await self._answers.get()
            operator = self._operators[pid] = Operator(pid, port, path)
            return operator

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            told: dict[str, Any] = json.loads(line)
            if "ended" not in told:
                self._answers.put_nowait(told.get("started", 0))
                # Whoever asked is told before the next line, which may be about its end.
                await asyncio.sleep(0)
                continue
            await self._gate_passed(told["ended"])
            operator = self._operators.pop(told["ended"])
            operator.status, operator.cpu_seconds = told["status"], told["cpu"]
            operator.ended.set()

    async def _gate_passed(self, pid: int) -> None:
        """An operator may end before whoever started it has been told its number."""
        if pid not in self._operators:
            async with self._gate:
                return


def _serve() -> None:
    """The process that forks. It has one thread and no event loop: nothing that a child must not inherit."""
    from yolo_operator.controller import main as program

    children: set[int] = set()
    print(json.dumps({"ready": True}), flush=True)
    rest = b""
    while True:
        if select.select([0], [], [], _POLL_SECONDS)[0]:
            data = os.read(0, 65536)
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                pid = _fork(json.loads(line), program.main)
                children.add(pid)
                print(json.dumps({"started": pid}), flush=True)
        while children:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
            if not pid:
                break
            children.discard(pid)
            used = usage.ru_utime + usage.ru_stime
            print(json.dumps({"ended": pid, "status": os.waitstatus_to_exitcode(status), "cpu": round(used, 3)}), flush=True)
    for pid in children:
        os.kill(pid, signal.SIGKILL)


def _fork(wish: dict[str, Any], main: Any) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.chdir(wish["folder"])
        log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        null = os.open(os.devnull, os.O_RDONLY)
        for number, source in ((0, null), (1, log), (2, log)):
            os.dup2(source, number)
        os.environ.update(wish["environment"])
        sys.argv = ["yolo-operator", "run"]
        # For the soak: the number of its tasks, into its log.
        signal.signal(signal.SIGUSR1, lambda *_: print(f"\ntasks {len(asyncio.all_tasks())}", file=sys.stderr, flush=True))
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
            if isinstance(ended.code, str):
                print(ended.code, file=sys.stderr)
        sys.stderr.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    _serve()
