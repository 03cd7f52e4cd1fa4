"""HTTPS as this stage wants it: verified, never downgraded by a redirect, a key never carried to another place."""

from __future__ import annotations

import http.client
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any, cast
from urllib.parse import urlsplit

from yolo_operator.weights.errors import USER, Reason, WeightsError, failure_of_answer, failure_of_connection

CA_VARIABLE = "YOLO_CA_BUNDLE"
"""Names a file with certificates of authorities to trust as well (PEM)."""
TIMEOUT = 30.0
"""Seconds without a byte."""
LOST = (OSError, http.client.HTTPException)
"""What a connection that fails or breaks off raises (also `URLError` and time-outs)."""


@dataclass(slots=True)
class Answer:
    """An open answer; `body` must be closed."""

    status: int
    headers: http.client.HTTPMessage
    body: IO[bytes]


@dataclass(slots=True)
class Web:
    """A client that trusts the system's authorities, those of SSL_CERT_FILE, and the proxies of the environment."""

    _opener: urllib.request.OpenerDirector = field(init=False)

    def __post_init__(self) -> None:
        context = ssl.create_default_context()
        if bundle := os.environ.get(CA_VARIABLE):
            context.load_verify_locations(bundle)
        https = urllib.request.HTTPSHandler(context=context)
        self._opener = urllib.request.OpenerDirector()
        proxies = urllib.request.ProxyHandler()  # HTTPS_PROXY and NO_PROXY
        for handler in (
            proxies,
            https,
            _OnlyHttps(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
        ):
            self._opener.add_handler(handler)

    def get(self, url: str, headers: Mapping[str, str] | None = None, *, authorization: str | None = None) -> Answer:
        """An answer of 200 or 206, or the WeightsError that tells why there is none; 416 is an answer, too.

        `authorization` is sent to the URL's own host and to none that it redirects to.
        """
        require_https(url)
        request = urllib.request.Request(url, headers=dict(headers or {}))  # noqa: S310 - https alone
        request.add_header("User-Agent", "yolo-operator")
        if authorization is not None:
            request.add_unredirected_header("Authorization", authorization)
        try:
            answer = cast(Any, self._opener.open(request, timeout=TIMEOUT))
        except urllib.error.HTTPError as error:
            if error.code == 416:
                return Answer(416, cast("http.client.HTTPMessage", error.headers), cast("IO[bytes]", error))
            error.close()
            raise failure_of_answer(place_of(url), error.code, with_key=authorization is not None) from None
        except LOST as error:
            raise failure_of_connection(host_of(url), error) from error
        return Answer(answer.status, answer.headers, answer)


class _OnlyHttps(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme != "https":
            fp.close()
            here, there = place_of(req.full_url), place_of(newurl)
            raise WeightsError(Reason.INSECURE, f"{here} leads to {there}, which is not https: anybody could answer there", USER)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def require_https(url: str) -> None:
    """Refuse anything else."""
    if urlsplit(url).scheme != "https":
        raise WeightsError(Reason.INSECURE, f"{place_of(url)} is not https", USER)


def place_of(url: str) -> str:
    """The URL as it may be told: without a signature in its query, without a password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def host_of(url: str) -> str:
    """Host and port."""
    return urlsplit(url).netloc.rpartition("@")[2]
