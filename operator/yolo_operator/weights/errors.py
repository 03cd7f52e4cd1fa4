"""Why weights could not be fetched: a reason, who must act, a sentence."""

from __future__ import annotations

import http.client
import socket
import ssl
import urllib.error
from enum import StrEnum

from yolo_operator.runner.runner import StageError

USER, TRANSIENT = "user", "transient"

ELSEWHERE = "or put the file into the workspace and name it in spec.pretrained.path"


class Reason(StrEnum):
    """In the report, the condition and the Event."""

    UNREACHABLE = "WeightsUnreachable"
    NOT_FOUND = "WeightsNotFound"
    DENIED = "WeightsDenied"
    REFUSED = "WeightsRefused"
    INSECURE = "WeightsInsecure"
    CHANGED = "WeightsChecksumMismatch"
    KEY_MISSING = "KeyMissing"


class WeightsError(StageError):
    """Ends the stage; unlike those of the runner's own table its sentence is written where it is raised."""

    def __init__(self, reason: Reason, message: str, kind: str) -> None:
        Exception.__init__(self, reason.value, message)
        self.reason, self.message, self.kind = reason.value, message, kind


def failure_of_connection(host: str, error: BaseException) -> WeightsError:
    """No answer came from a host, or it broke off."""
    cause = error.reason if isinstance(error, urllib.error.URLError) and isinstance(error.reason, BaseException) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        what = cause.verify_message or str(cause)
        return WeightsError(
            Reason.INSECURE,
            f"The certificate of {host} is not to be trusted ({what}): where a proxy or a mirror has one of your own authority, "
            "name its certificates in spec.pretrained.caBundle",
            USER,
        )
    if isinstance(cause, socket.gaierror):
        why = f"there is no address for the host {host} ({cause.strerror or cause}): check its name and the cluster's DNS"
    elif isinstance(cause, TimeoutError):
        why = f"{host} does not answer: check the cluster's way out (network policies, spec.pretrained.proxy)"
    else:
        why = f"{host} cannot be reached ({_text(cause)}): check the cluster's way out (network policies, spec.pretrained.proxy)"
    return WeightsError(Reason.UNREACHABLE, f"The weights cannot be fetched: {why}, {ELSEWHERE}", TRANSIENT)


def failure_of_answer(place: str, status: int, *, with_key: bool) -> WeightsError:
    """The host answered with an error."""
    if status in (401, 403):
        key = (
            "the key in the Secret that spec.pretrained.ngc.apiKeySecretRef names has no right to it"
            if with_key
            else "it asks for a key (spec.pretrained.ngc.apiKeySecretRef) or a right that nobody has without one"
        )
        return WeightsError(Reason.DENIED, f"{place} denies access (HTTP {status}): {key}", USER)
    if status in (404, 410):
        return WeightsError(Reason.NOT_FOUND, f"There is nothing at {place} (HTTP {status}): correct spec.pretrained", USER)
    if status == 429 or status >= 500:
        return WeightsError(Reason.UNREACHABLE, f"{place} cannot answer now (HTTP {status})", TRANSIENT)
    return WeightsError(Reason.REFUSED, f"{place} refuses the request (HTTP {status}): correct spec.pretrained", USER)


def _text(error: BaseException) -> str:
    if isinstance(error, http.client.IncompleteRead):
        return "the connection broke off"
    return str(error) or type(error).__name__
