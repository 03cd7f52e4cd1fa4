"""The first process of a cluster's own PID namespace: starts the components, starts them again, and reaps what is left.

A PID namespace makes taking a cluster down exact: when this process ends, the kernel kills everything that was ever started
under it (components, containerd's shims, containers), and the mount namespace goes with the last of them.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .api import Api
from .choose import Flavour
from .component import Component
from .console import say
from .layout import Home
from .network import has_address
from .processes import wait_until
from .record import Record
from .shell import run, service_environment

_TICK_SECONDS = 0.1
_CALM_TICK_SECONDS = 2.0
_LONGEST_BACKOFF = 10.0
_STABLE_SECONDS = 60.0
_STOP_SECONDS = 6.0
_CABLE_SECONDS = 20.0
STATUS_FILE = "components.json"
WISHES_FILE = "wishes.json"


@dataclass
class Child:
    """A component and how it fares."""

    wish: Component
    process: subprocess.Popen[bytes] | None = None
    since: float = 0.0
    restarts: int = 0
    next_start: float = 0.0
    backoff: float = 0.5
    ready: bool = False
    was_ready: bool = False
    exit_code: int | None = None

    def document(self) -> dict[str, object]:
        """Give what `status` shows."""
        return {
            "running": self.process is not None,
            "ready": self.ready,
            "restarts": self.restarts,
            "since": round(self.since, 1),
            "exitCode": self.exit_code,
        }


class Supervisor:
    """Keeps a list of components running until it is told to stop."""

    def __init__(self, home: Home, wishes: list[Component], api: Api) -> None:
        self._home = home
        self._children = {wish.name: Child(wish) for wish in wishes}
        self._api = api
        self._stopping = False
        self._shown = ""

    def serve(self) -> None:
        """Run until SIGTERM, then stop the components, the last started first."""
        wakeup = _wake_on_signals(self._ask_to_stop)
        while not self._stopping:
            self._reap()
            self._start_due()
            self._probe()
            self._show()
            calm = all(child.ready for child in self._children.values())
            if select.select([wakeup], [], [], _CALM_TICK_SECONDS if calm else _TICK_SECONDS)[0]:
                os.read(wakeup, 4096)
        self._stop_all()

    def _ask_to_stop(self) -> None:
        self._stopping = True

    def _reap(self) -> None:
        """Collect every process that ended: ours, and those that lost their parent, which the kernel hands to us."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for child in self._children.values():
                if child.process is not None and child.process.pid == pid:
                    self._note_end(child, os.waitstatus_to_exitcode(status))

    def _note_end(self, child: Child, code: int) -> None:
        assert child.process is not None
        child.process.returncode = code  # subprocess must not look for it again
        now = time.time()
        if now - child.since > _STABLE_SECONDS:
            child.backoff = 0.5
        child.process, child.ready, child.exit_code = None, False, code
        child.restarts += 1
        child.next_start = now + child.backoff
        child.backoff = min(child.backoff * 2, _LONGEST_BACKOFF)
        say(f"{child.wish.name} ended with {code}; next start in {child.next_start - now:.1f} s")

    def _start_due(self) -> None:
        for child in self._children.values():
            waits = any(not self._children[name].was_ready for name in child.wish.after)
            if child.process is None and not waits and time.time() >= child.next_start:
                self._start(child)

    def _start(self, child: Child) -> None:
        with (self._home.logs / f"{child.wish.name}.log").open("ab") as log:
            child.process = subprocess.Popen(
                child.wish.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**service_environment(), **child.wish.environment},
                cwd="/",
                start_new_session=True,
            )
        child.since = time.time()

    def _probe(self) -> None:
        for child in self._children.values():
            if child.process is not None and not child.ready:
                child.ready = answers(child.wish.probe, self._api)
                child.was_ready = child.was_ready or child.ready

    def _show(self) -> None:
        """Write the status file when it changed."""
        document = {name: child.document() for name, child in self._children.items()}
        if repr(document) != self._shown:
            self._shown = repr(document)
            self._home.write(STATUS_FILE, document)

    def _stop_all(self) -> None:
        """Stop in the reverse order, all the time it takes but `_STOP_SECONDS` together; the kernel kills the rest."""
        deadline = time.monotonic() + _STOP_SECONDS
        for child in reversed(self._children.values()):
            if child.process is None:
                continue
            child.process.terminate()
            while child.process is not None and time.monotonic() < deadline:
                time.sleep(0.02)
                self._reap()


def answers(probe: str, api: Api) -> bool:
    """Tell whether a probe (see `Component`) says ready."""
    kind, _, target = probe.partition(":")
    if kind == "readyz":
        return api.ready()
    if kind not in ("socket", "tcp"):
        return True
    family = socket.AF_UNIX if kind == "socket" else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(1)
        try:
            client.connect(target if kind == "socket" else ("127.0.0.1", int(target)))
        except OSError:
            return False
    return True


def _wake_on_signals(on_term: Callable[[], None]) -> int:
    """Let signals end a `select`: give the descriptor to select on."""
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: on_term())
    return reader


def prepare_mounts(home: Home, *, node: bool) -> None:
    """Give this mount namespace a /run, /var/log … of its own.

    Some paths are fixed in the kubelet, containerd and the CNI; bound to the cluster's home here, they never meet the
    machine's own or another cluster's.
    """
    run(["mount", "--make-rshared", "/"])  # volumes with mount propagation need a shared root, as on any node
    run(["mount", "-t", "tmpfs", "-o", "mode=755", "run", "/run"])
    if not node:
        return
    for path in ("/var/lib/kubelet", "/var/lib/cni", "/var/log"):
        own = home.data / Path(path).name
        own.mkdir(parents=True, exist_ok=True)
        Path(path).mkdir(parents=True, exist_ok=True)
        run(["mount", "--bind", own, path])
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def main() -> None:
    """Be a cluster's first process."""
    parser = argparse.ArgumentParser(prog="supervisor")
    parser.add_argument("--name", required=True)
    home = Home.of(parser.parse_args().name)
    if os.getpid() != 1:
        sys.exit("the supervisor is only ever the first process of a namespace of its own")
    record = Record.load(home)
    if not wait_until(lambda: has_address(record.link.node), _CABLE_SECONDS):
        sys.exit("nobody laid the cable to this network namespace")
    prepare_mounts(home, node=record.flavour is Flavour.EMBEDDED)
    wishes = home.read(WISHES_FILE) or {}
    Supervisor(home, [Component.from_document(wish) for wish in wishes["components"]], record.api(home)).serve()


if __name__ == "__main__":
    main()
