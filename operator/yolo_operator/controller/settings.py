"""Settings, from the environment that the chart writes."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from yolo_operator.controller.lease import LeaseSettings
from yolo_operator.pipeline.limits import Limits

SHORTEST_LEASE = 6
"""Seconds. A shorter one is lost to a slow answer."""
START_SECONDS = 20.0
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


class SettingsError(Exception):
    """A setting is missing or wrong; the message names it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How the operator runs."""

    image: str
    """The operator's own image, for the prepare stage."""
    namespaces: tuple[str, ...] = ()
    """Namespaces to serve; empty: all."""
    host: str = "0.0.0.0"  # noqa: S104 - a pod's only interface to kubelet and Prometheus
    port: int = 8080
    workers: int = 24
    """Experiments that are looked at side by side."""
    resync_seconds: float = 600
    progress_seconds: float = 5
    """Shortest time between two looks at a running stage's log."""
    progress_requests_per_second: float = 10
    """Budget of such looks for all stages together."""
    metrics_classes: bool = True
    """Whether classes have series of their own."""
    metrics_experiments: int = 200
    """Experiments that have series of their own."""
    reports: bool = True
    """Whether a Job writes an ended experiment's report into its workspace."""
    lease: LeaseSettings | None = None
    """The Lease that tells who leads; absent: the only replica."""
    limits: Limits | None = None
    """What may run at once, by namespace; absent: whatever the cluster bears."""
    log_level: str = "INFO"
    log_format: str = "text"

    @property
    def start_seconds(self) -> float:
        """For so long a request of the start may go unanswered: with a Lease for ever, as an outage ended the last leader."""
        return START_SECONDS if self.lease is None else float("inf")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read YOLO_OPERATOR_*.

        Raises:
            SettingsError: naming the variable.
        """
        image = environment.get("YOLO_OPERATOR_IMAGE", "")
        if not image:
            raise SettingsError("YOLO_OPERATOR_IMAGE is not set: it names the operator's own image, which runs the prepare stage")
        host, _, port = environment.get("YOLO_OPERATOR_LISTEN", "0.0.0.0:8080").rpartition(":")
        if not port.isdecimal():
            raise SettingsError("YOLO_OPERATOR_LISTEN must be HOST:PORT, for example 0.0.0.0:8080")
        log_format = environment.get("YOLO_OPERATOR_LOG_FORMAT", "text")
        if log_format not in ("text", "json"):
            raise SettingsError(f"YOLO_OPERATOR_LOG_FORMAT is {log_format!r}: it must be text or json")
        log_level = environment.get("YOLO_OPERATOR_LOG_LEVEL", "INFO").upper()
        if log_level not in LOG_LEVELS:
            raise SettingsError(f"YOLO_OPERATOR_LOG_LEVEL is {log_level!r}: it must be one of {', '.join(LOG_LEVELS)}")
        return cls(
            image=image,
            namespaces=tuple(name.strip() for name in environment.get("YOLO_OPERATOR_NAMESPACES", "").split(",") if name.strip()),
            host=host,
            port=int(port),
            workers=_number(environment, "YOLO_OPERATOR_WORKERS", 24),
            resync_seconds=_number(environment, "YOLO_OPERATOR_RESYNC_SECONDS", 600),
            progress_seconds=_number(environment, "YOLO_OPERATOR_PROGRESS_SECONDS", 5),
            metrics_classes=_switch(environment, "YOLO_OPERATOR_METRICS_CLASSES", default=True),
            metrics_experiments=_number(environment, "YOLO_OPERATOR_METRICS_EXPERIMENTS", 200),
            reports=_switch(environment, "YOLO_OPERATOR_REPORTS", default=True),
            lease=_lease(environment),
            limits=_limits(environment.get("YOLO_OPERATOR_LIMITS", "")),
            log_level=log_level,
            log_format=log_format,
        )


def _switch(environment: Mapping[str, str], name: str, *, default: bool) -> bool:
    text = environment.get(name) or str(default).lower()
    if text not in ("true", "false"):
        raise SettingsError(f"{name} is {text!r}: it must be true or false")
    return text == "true"


def _limits(path: str) -> Limits | None:
    """The limits in a file of JSON; None: there are none."""
    if not path:
        return None
    try:
        limits = Limits.model_validate_json(Path(path).read_bytes(), by_alias=True, by_name=False)
    except OSError as error:
        raise SettingsError(f"YOLO_OPERATOR_LIMITS: {path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        wrong = (f"{'.'.join(str(part) for part in one['loc']) or 'the file'}: {one['msg']}" for one in error.errors())
        raise SettingsError(f"YOLO_OPERATOR_LIMITS: {path}: {'; '.join(wrong)}") from error
    return limits if limits.any else None


def _lease(environment: Mapping[str, str]) -> LeaseSettings | None:
    text = environment.get("YOLO_OPERATOR_LEASE", "")
    if not text:
        return None
    namespace, _, name = text.partition("/")
    if not namespace or not name or "/" in name:
        raise SettingsError(f"YOLO_OPERATOR_LEASE is {text!r}: it must be NAMESPACE/NAME")
    seconds = _number(environment, "YOLO_OPERATOR_LEASE_SECONDS", 15)
    if seconds < SHORTEST_LEASE:
        raise SettingsError(f"YOLO_OPERATOR_LEASE_SECONDS is {seconds}: it must be at least {SHORTEST_LEASE}")
    # A container that starts again in the same pod is another holder: it waits like everybody else.
    return LeaseSettings(namespace, name, f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}", seconds)


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, str(default))
    if not text.isdecimal() or int(text) < 1:
        raise SettingsError(f"{name} is {text!r}: it must be a whole number above 0")
    return int(text)
