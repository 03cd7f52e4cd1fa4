"""Early stopping on the training loss."""

from __future__ import annotations

from typing import Any

from yolo_v4.spec.messages import EarlyStopping


class EarlyStop:
    """Reached when the loss has not fallen by ``min_delta`` below its best for ``patience`` epochs."""

    def __init__(self, config: EarlyStopping | None) -> None:
        self._config = config
        self._best = float("inf")
        self._waited = 0

    def add(self, loss: float) -> None:
        """Take in an epoch's loss."""
        if self._config is None:
            return
        if loss < self._best - self._config.min_delta:
            self._best, self._waited = loss, 0
        else:
            self._waited += 1

    @property
    def reached(self) -> bool:
        """Whether to stop now."""
        return self._config is not None and self._waited >= self._config.patience

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"best": self._best, "waited": self._waited}

    def restore(self, state: dict[str, Any]) -> None:
        """From a checkpoint."""
        self._best, self._waited = float(state["best"]), int(state["waited"])
