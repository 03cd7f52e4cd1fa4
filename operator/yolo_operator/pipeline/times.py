"""RFC 3339 times as the Kubernetes API writes them: UTC, whole seconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def to_text(moment: datetime) -> str:
    """`2026-01-31T12:00:00Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def from_text(text: str) -> datetime:
    """The moment; fractions of a second are kept."""
    return datetime.fromisoformat(text)


def seconds_between(start: str, end: str) -> float:
    """Seconds from start to end."""
    return (from_text(end) - from_text(start)).total_seconds()


def passed(since: datetime, now: datetime, seconds: float) -> bool:
    """Whether so long has passed since then, or the clock was set back: too early is better than hours late."""
    return not 0 <= (now - since).total_seconds() < seconds


def after(moment: datetime, seconds: float) -> str:
    """The time so many seconds later, rounded up: never earlier than asked for."""
    later = moment + timedelta(seconds=seconds)
    return to_text(later if later.microsecond == 0 else later + timedelta(seconds=1))
