"""What is fetched is what was asked for, once, over https alone; what fails says why and who must act."""

from __future__ import annotations

import hashlib
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from .conftest import CONTENT, SHA256, Bench, Origin

FILE = "/resnet_18.hdf5"
HALF = len(CONTENT) // 2


def wanted(origin: Origin, path: str = FILE, sha256: str = SHA256) -> dict[str, str]:
    return {"url": origin.url(path), "sha256": sha256}


def test_a_file_becomes_the_artifact(bench: Bench, origin: Origin, capfd: pytest.CaptureFixture[str]) -> None:
    code, report = bench.run(**wanted(origin))
    assert (code, report["outcome"]) == (0, "Succeeded")
    (artifact,) = report["artifacts"]
    assert artifact == {
        "name": "weights",
        "path": "stages/weights-1/weights/resnet_18.hdf5",
        "bytes": len(CONTENT),
        "sha256": SHA256,
    }
    assert (bench.workspace / artifact["path"]).read_bytes() == CONTENT
    assert '{"yoloProgress":{"step":2,"steps":2}}' in capfd.readouterr().out


def test_another_experiment_finds_it_in_the_cache(bench: Bench, origin: Origin) -> None:
    bench.run(**wanted(origin))
    other = bench.other("lamps")
    code, report = other.run(**wanted(origin))
    assert code == 0
    assert "from the cache" in report["message"]
    assert (other.workspace / report["artifacts"][0]["path"]).read_bytes() == CONTENT
    assert len(origin.requests) == 1


def test_what_was_changed_in_the_cache_is_fetched_again(bench: Bench, origin: Origin) -> None:
    bench.run(**wanted(origin))
    (cached,) = bench.cache.rglob("*.hdf5")
    cached.unlink()  # the other experiment's link keeps what it has
    cached.write_bytes(b"something else")
    code, report = bench.other("lamps").run(**wanted(origin))
    assert code == 0
    assert [warning["reason"] for warning in report["warnings"]] == ["CacheDamaged"]
    assert cached.read_bytes() == CONTENT


def test_a_broken_connection_is_resumed(bench: Bench, origin: Origin) -> None:
    origin.cuts = [HALF, HALF // 2]
    code, report = bench.run(**wanted(origin))
    assert (code, report["artifacts"][0]["sha256"]) == (0, SHA256)
    ranges = [(request.headers.get("Range"), request.headers.get("If-Range")) for request in origin.requests]
    assert ranges == [(None, None), (f"bytes={HALF}-", '"one"'), (f"bytes={HALF + HALF // 2}-", '"one"')]


def test_the_next_attempt_goes_on_where_the_last_one_ended(bench: Bench, origin: Origin) -> None:
    origin.cuts = [HALF, *[0] * 8]
    code, reason, kind, message = bench.verdict(**wanted(origin))
    assert (code, reason, kind) == (11, "WeightsUnreachable", "transient")
    assert f"it ended at byte {HALF} of {len(CONTENT)}" in message
    assert not list(bench.cache.rglob("*.sha256"))
    origin.cuts.clear()
    origin.requests.clear()
    code, report = bench.run(**wanted(origin))
    assert (code, report["artifacts"][0]["sha256"]) == (0, SHA256)
    assert [request.headers.get("Range") for request in origin.requests] == [f"bytes={HALF}-"]
    assert not list(bench.cache.rglob("*.part*"))


def test_a_file_that_changed_meanwhile_is_fetched_from_its_beginning(bench: Bench, origin: Origin) -> None:
    origin.cuts = [HALF, *[0] * 8]
    bench.verdict(**wanted(origin))
    changed = CONTENT[::-1]
    origin.cuts.clear()
    origin.files[FILE], origin.etags[FILE] = changed, '"two"'
    code, report = bench.run(**wanted(origin, sha256=hashlib.sha256(changed).hexdigest()))
    assert code == 0
    assert Path(bench.workspace / report["artifacts"][0]["path"]).read_bytes() == changed


def test_a_server_without_ranges_begins_again(bench: Bench, origin: Origin) -> None:
    origin.ranges, origin.cuts = False, [HALF]
    code, report = bench.run(**wanted(origin))
    assert (code, report["artifacts"][0]["sha256"]) == (0, SHA256)


def test_a_part_that_was_complete_already(bench: Bench, origin: Origin) -> None:
    """The pod was killed between the last byte and the checksum."""
    origin.cuts = [HALF, *[0] * 8]
    bench.verdict(**wanted(origin))
    origin.cuts.clear()
    (part,) = bench.cache.rglob("*.part")
    part.write_bytes(CONTENT)
    code, report = bench.run(**wanted(origin))
    assert (code, report["artifacts"][0]["sha256"]) == (0, SHA256)


def test_a_part_that_is_longer_than_the_file(bench: Bench, origin: Origin) -> None:
    origin.cuts = [HALF, *[0] * 8]
    bench.verdict(**wanted(origin))
    origin.cuts.clear()
    (part,) = bench.cache.rglob("*.part")
    part.write_bytes(CONTENT + b"more")
    code, report = bench.run(**wanted(origin))
    assert (code, report["artifacts"][0]["sha256"]) == (0, SHA256)


def test_another_checksum_than_was_asked_for(bench: Bench, origin: Origin) -> None:
    code, reason, kind, message = bench.verdict(**wanted(origin, sha256="0" * 64))
    assert (code, reason, kind) == (10, "WeightsChecksumMismatch", "user")
    assert SHA256 in message
    assert "0" * 64 in message
    assert not [path for path in bench.cache.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert not list(bench.directory.rglob("*.hdf5"))


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (401, (10, "WeightsDenied", "user")),
        (403, (10, "WeightsDenied", "user")),
        (404, (10, "WeightsNotFound", "user")),
        (410, (10, "WeightsNotFound", "user")),
        (400, (10, "WeightsRefused", "user")),
        (429, (11, "WeightsUnreachable", "transient")),
        (503, (11, "WeightsUnreachable", "transient")),
    ],
)
def test_a_server_that_refuses(status: int, verdict: tuple[int, str, str], bench: Bench, origin: Origin) -> None:
    origin.statuses[FILE] = status
    code, reason, kind, message = bench.verdict(**wanted(origin))
    assert (code, reason, kind) == verdict
    assert f"HTTP {status}" in message
    assert f"localhost:{origin.port}{FILE}" in message


def test_a_host_that_does_not_exist(bench: Bench) -> None:
    code, reason, kind, message = bench.verdict(url="https://weights.invalid/a.hdf5", sha256=SHA256)
    assert (code, reason, kind) == (11, "WeightsUnreachable", "transient")
    assert "there is no address for the host weights.invalid" in message
    assert "put the file into the workspace and name it in spec.pretrained.path" in message


def test_a_host_that_does_not_answer(bench: Bench, closed_port: int) -> None:
    code, reason, kind, message = bench.verdict(url=f"https://localhost:{closed_port}/a.hdf5", sha256=SHA256)
    assert (code, reason, kind) == (11, "WeightsUnreachable", "transient")
    assert f"localhost:{closed_port} cannot be reached (" in message
    assert "network policies" in message


def test_a_certificate_of_nobody_we_know(bench: Bench, origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("YOLO_CA_BUNDLE")
    code, reason, kind, message = bench.verdict(**wanted(origin))
    assert (code, reason, kind) == (10, "WeightsInsecure", "user")
    assert "spec.pretrained.caBundle" in message
    assert not origin.requests


def test_an_authority_by_the_usual_variable(bench: Bench, origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", bench.environment["YOLO_CA_BUNDLE"])
    monkeypatch.delenv("YOLO_CA_BUNDLE")
    assert bench.run(**wanted(origin))[0] == 0


def test_no_redirect_leads_out_of_https(bench: Bench, origin: Origin) -> None:
    origin.redirects["/here.hdf5"] = "http://localhost:1/there.hdf5"
    code, reason, kind, message = bench.verdict(**wanted(origin, "/here.hdf5"))
    assert (code, reason, kind) == (10, "WeightsInsecure", "user")
    assert "leads to http://localhost:1/there.hdf5, which is not https" in message


def test_an_address_that_is_not_https(bench: Bench) -> None:
    assert bench.verdict(url="http://localhost:1/a.hdf5", sha256=SHA256)[:2] == (10, "WeightsInsecure")


def test_a_signature_in_a_redirect_is_told_to_nobody(bench: Bench, origin: Origin, capfd: pytest.CaptureFixture[str]) -> None:
    origin.redirects["/here.hdf5"] = origin.url("/signed.hdf5?X-Signature=hush")
    origin.files["/signed.hdf5?X-Signature=hush"] = CONTENT
    code, report = bench.run(**wanted(origin, "/here.hdf5"))
    assert code == 0
    everything = [capfd.readouterr().out, str(report), *(path.read_text() for path in bench.cache.rglob("*.json"))]
    assert "hush" not in "".join(everything)


def test_two_experiments_at_once_fetch_it_once(bench: Bench, origin: Origin) -> None:
    origin.block_seconds = 0.05
    processes = [bench.start(**wanted(origin)), bench.other("lamps").start(**wanted(origin))]
    outputs = [process.communicate(timeout=60)[0].decode() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert len(origin.requests) == 1
    assert sum("Another experiment is fetching the same file" in output for output in outputs) == 1
    assert all(each.report()["artifacts"][0]["sha256"] == SHA256 for each in (bench, bench.other("lamps")))


def test_what_is_stopped_keeps_what_it_has(bench: Bench, origin: Origin) -> None:
    origin.block_seconds = 0.1
    process = bench.start(**wanted(origin))
    deadline = time.monotonic() + 30
    while not any(part.stat().st_size for part in bench.cache.rglob("*.part")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 143
    assert bench.report()["outcome"] == "Interrupted"
    (part,) = bench.cache.rglob("*.part")
    had = part.stat().st_size
    assert 0 < had < len(CONTENT)
    origin.block_seconds = 0
    origin.requests.clear()
    assert bench.run(**wanted(origin))[0] == 0
    assert [request.headers["Range"] for request in origin.requests] == [f"bytes={had}-"]


def test_the_proxy_of_the_environment_is_used(bench: Bench, origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    proxy = socket.create_server(("127.0.0.1", 0))

    def relay() -> None:
        client, _ = proxy.accept()
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(4096)
        asked.append(head.split(b"\r\n")[0].decode())
        server = socket.create_connection(("127.0.0.1", origin.port))
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        for source, target in ((client, server), (server, client)):
            threading.Thread(target=_copy, args=(source, target), daemon=True).start()

    threading.Thread(target=relay, daemon=True).start()
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.getsockname()[1]}")
    assert bench.run(**wanted(origin))[0] == 0
    assert [line.rpartition(" ")[0] for line in asked] == [f"CONNECT localhost:{origin.port}"]
    proxy.close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass
