"""One file over HTTPS, resumed where an earlier try was cut off."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from yolo_operator.runner.runner import Stage, write_atomically
from yolo_operator.weights.errors import TRANSIENT, Reason, WeightsError, failure_of_connection
from yolo_operator.weights.web import LOST, Answer, Web, host_of, place_of

BLOCK = 1 << 18
TRIES = 5
"""Broken connections in a row that brought nothing new, before the attempt ends."""
PAUSE_SECONDS = 1.0


@dataclass(slots=True)
class Download:
    """A file that is being fetched into `part`, for which `<part>.json` remembers what it is a part of."""

    stage: Stage
    web: Web
    url: str
    authorization: str | None
    part: Path
    sha256: str | None = None
    """What is expected: then the parts of two tries fit together or are found out. Else the server must say that they do."""
    pause: Callable[[float], None] = field(default=time.sleep)
    _total: int | None = None

    def run(self) -> str:
        """Fetch it; returns its sha256 (64 hex digits).

        Raises:
            WeightsError: when the server refuses, cannot be reached, or breaks off again and again.
        """
        self.stage.say(f"Fetching {place_of(self.url)}")
        failures = 0
        while True:
            before = self._size()
            try:
                self._fetch()
            except WeightsError as error:
                grown = self._size() > before
                failures = 1 if grown else failures + 1
                if error.kind != TRANSIENT or failures >= TRIES:
                    raise
                self.stage.say(f"{error.message}; going on at byte {self._size()}")
                self._pause(PAUSE_SECONDS * 2 ** (failures - 1))
            else:
                break
        digest = hashlib.sha256()
        with self.part.open("rb") as file:
            for block in iter(lambda: file.read(BLOCK), b""):
                digest.update(block)
        return digest.hexdigest()

    def forget(self) -> None:
        """Remove what has been fetched."""
        self.part.unlink(missing_ok=True)
        self._memo.unlink(missing_ok=True)

    @property
    def _memo(self) -> Path:
        return self.part.with_name(f"{self.part.name}.json")

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _pause(self, seconds: float) -> None:
        self.stage.check()
        self.pause(seconds)
        self.stage.check()

    def _fetch(self) -> None:
        """One request, for all that is missing."""
        validator = self._validator()
        start = self._size() if validator is not None else 0
        headers = {"Range": f"bytes={start}-", **({"If-Range": validator} if validator else {})} if start else {}
        answer = self.web.get(self.url, headers, authorization=self.authorization)
        with answer.body as body:
            if answer.status == 416:
                self._complete_or_start_anew(answer, start)
                return
            start = self._check_range(answer, start)
            length = answer.headers.get("Content-Length")
            self._total = start + int(length) if length and length.isdigit() else None
            self._remember(answer.headers)
            self._copy(body, start)
        if self._total is not None and self._size() != self._total:
            raise self._broken(f"it ended at byte {self._size()} of {self._total}")

    def _validator(self) -> str | None:
        """What the server has to confirm before a part is gone on with; '' where the checksum will tell; None: start anew."""
        try:
            memo = json.loads(self._memo.read_text())
        except (FileNotFoundError, ValueError):
            return None
        if not self._size() or memo.get("url") != place_of(self.url):
            return None
        validator = memo.get("validator")
        return validator if isinstance(validator, str) and validator else ("" if self.sha256 else None)

    def _remember(self, headers: http.client.HTTPMessage) -> None:
        etag = headers.get("ETag") or ""
        # A weak one vouches for the meaning, not for the bytes.
        validator = headers.get("Last-Modified") or "" if not etag or etag.startswith("W/") else etag
        write_atomically(str(self._memo), json.dumps({"url": place_of(self.url), "validator": validator}).encode())

    def _check_range(self, answer: Answer, start: int) -> int:
        """Where the answer's bytes belong."""
        if answer.status != 206:
            return 0  # the whole file: the server knows no ranges, or it is another file by now
        match = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range") or "")
        if match is None or int(match[1]) != start:
            self.forget()
            raise self._broken("it sent another part than was asked for")
        self.stage.say(f"Going on at byte {start}")
        return start

    def _complete_or_start_anew(self, answer: Answer, start: int) -> None:
        """There is nothing behind what we have: it was complete, or it is of another file."""
        if answer.headers.get("Content-Range") != f"bytes */{start}":
            self.forget()
            raise self._broken("what was fetched of it before is not a part of it any more")

    def _copy(self, body: IO[bytes], start: int) -> None:
        with self.part.open("r+b" if start else "wb") as file:
            file.seek(start)
            file.truncate()
            at = start
            while True:
                self.stage.check()
                try:
                    block = body.read(BLOCK)
                except LOST as error:
                    raise failure_of_connection(host_of(self.url), error) from error
                if not block:
                    break
                file.write(block)
                at += len(block)
                self.stage.progress(self._numbers(at))
        self.stage.progress(self._numbers(at), last=True)

    def _numbers(self, at: int) -> dict[str, float | int | None]:
        """In MiB, as steps: what the operator shows of any stage."""
        return {"step": at >> 20, "steps": self._total >> 20 if self._total else None}

    def _broken(self, what: str) -> WeightsError:
        return WeightsError(Reason.UNREACHABLE, f"{place_of(self.url)} broke off: {what}", TRANSIENT)
