"""The loop between queue and reconciler."""

from __future__ import annotations

import logging
import time

from yolo_operator.controller.cache import Key
from yolo_operator.controller.metrics import OperatorMetrics
from yolo_operator.controller.queue import LONGEST_DELAY, ShutDown, WorkQueue
from yolo_operator.controller.reconcile import NameTaken, Reconciler
from yolo_operator.kube.errors import ApiError

AWAY_DELAY = 15.0
"""Longest delay in seconds while the API server does not answer at all: no key is to blame, and all wait for its return."""

FOLLOW_SECONDS = 1.0
"""From a status that was written to the look at what follows from it, at the earliest."""

logger = logging.getLogger(__name__)


async def work(queue: WorkQueue[Key], reconciler: Reconciler, metrics: OperatorMetrics) -> None:
    """Take keys until the queue closes. An error concerns its key alone, which comes again after its own delay."""
    while True:
        try:
            key = await queue.get()
        except ShutDown:
            return
        start, result = time.perf_counter(), "ok"
        try:
            await _look(queue, reconciler, key)
        except ApiError as error:
            result = "conflict" if error.conflict else "api-error"
            longest = AWAY_DELAY if error.status == 0 else LONGEST_DELAY
            delay = queue.retry(key, error.retry_after or 0.0, at_most=longest)
            level = logging.DEBUG if error.conflict else logging.WARNING
            logger.log(level, "%s: again in %.1f s: %s", key, delay, error)
        except NameTaken as error:
            result = "name-taken"
            logger.warning("%s: again in %.1f s: %s", key, queue.retry(key, 5.0), error)
        except Exception:
            result = "bug"
            logger.exception("%s: an error of the operator itself; again in %.1f s", key, queue.retry(key, 1.0))
        finally:
            queue.done(key)
            metrics.reconciled(result, time.perf_counter() - start)


async def _look(queue: WorkQueue[Key], reconciler: Reconciler, key: Key) -> None:
    version = _version(reconciler, key)
    again = await reconciler.reconcile(key)
    queue.forget(key)
    if again is not None:
        queue.add_after(key, again)
    if _version(reconciler, key) != version:
        # The status that was just written may ask for more: finished Jobs are let go after their report is in it. Nobody waits
        # for that, and what comes meanwhile makes one look of the two.
        queue.add_after(key, FOLLOW_SECONDS, idle=True)


def _version(reconciler: Reconciler, key: Key) -> int | None:
    row = reconciler.cache.experiments.get(*key)
    return row.resource_version if row else None
