"""A process is known by its pid, its start and the boot: a pid that was given out again is somebody else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest
from localcluster import processes
from localcluster.processes import Identity, alive, identify, parse_stat, stop

SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(SLEEPER) as process:
        yield process
        process.kill()


def known(process: subprocess.Popen[bytes]) -> Identity:
    identity = identify(process.pid)
    assert identity is not None
    return identity


def test_a_name_with_blanks_and_parentheses_is_read_right() -> None:
    fields = " ".join(str(number) for number in range(4, 53))
    assert parse_stat(f"42 (a) S (b) R {fields}") == ("R", 22)


def test_this_process_lives() -> None:
    assert alive(identify(os.getpid()))


def test_a_recycled_pid_is_somebody_else(child: subprocess.Popen[bytes]) -> None:
    identity = known(child)
    for other in (replace(identity, started=identity.started - 1), replace(identity, boot="another")):
        assert not alive(other)
        assert stop(other, grace_seconds=1)  # nothing to stop: it is gone
    assert child.poll() is None


def test_stop_ends_the_process_even_unreaped(child: subprocess.Popen[bytes]) -> None:
    identity = known(child)
    assert stop(identity, grace_seconds=5)
    assert not alive(identity)


def test_stop_kills_what_does_not_listen() -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert stop(known(process), grace_seconds=0.2)


def test_an_identity_survives_its_document() -> None:
    identity = Identity(1, 2, "boot")
    assert Identity.from_document(identity.document()) == identity
    assert Identity.from_document({"pid": 1}) is None
    assert Identity.from_document(None) is None


def test_waiting_ends_at_its_time() -> None:
    assert not processes.wait_until(lambda: False, 0.05)
    assert processes.wait_until(lambda: True, 0)
