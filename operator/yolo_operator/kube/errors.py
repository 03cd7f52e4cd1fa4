"""What the API server can answer besides the object."""

from __future__ import annotations

import json


class ApiError(Exception):
    """The API server refused or could not be reached (`status` 0)."""

    def __init__(self, status: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{status} {reason}: {message}" if status else f"{reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after
        """Seconds that the server asks to wait."""

    @property
    def conflict(self) -> bool:
        """The object changed meanwhile, or one of its name exists."""
        return self.status == 409

    @property
    def may_pass(self) -> bool:
        """Nothing is wrong with the request: there was no answer, or the server could not or would not work just then."""
        return self.status in (0, 429) or self.status >= 500

    @property
    def not_found(self) -> bool:
        """There is no such object."""
        return self.status == 404


def from_answer(status: int, body: bytes, retry_after: str | None) -> ApiError:
    """The error in an answer that is no success; the body is a Status object, or anything a proxy wrote."""
    try:
        answer = json.loads(body)
        reason, message = str(answer.get("reason") or ""), str(answer.get("message") or "")
    except (ValueError, AttributeError):
        reason, message = "", body[:200].decode(errors="replace")
    wait = float(retry_after) if retry_after is not None and retry_after.isdecimal() else None
    return ApiError(status, reason or "Error", message, wait)
