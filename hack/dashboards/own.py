"""Dashboard *Operator*: the four golden signals (latency, traffic, errors, saturation) of the operator itself."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard

from .parts import board, curves, number, query

_RATE = "$__rate_interval"


def own() -> dashboard.Dashboard:
    """The dashboard."""
    result = board("YOLO operator", "yolo-operator", "The operator itself: latency, traffic, errors, saturation")
    for panel in (*_now(), *_latency(), *_traffic(), *_errors(), *_saturation()):
        result.with_panel(panel)
    return result


def _now() -> list[object]:
    errors = f'sum(rate(yolo_operator_reconcile_errors_total{{reason!="conflict"}}[{_RATE}]))'
    looks = f"sum(rate(yolo_operator_reconcile_duration_seconds_count[{_RATE}]))"
    return [
        number(
            "Last full list", "s", "time() - max(yolo_operator_last_resync_timestamp_seconds)",
            description="Age of the last list of all objects; every ten minutes.",
        ),
        number("Keys that wait", "short", "max(workqueue_depth)", description="Length of the work queue."),
        number("Oldest key", "s", "max(yolo_operator_workqueue_oldest_seconds)", description="Waited or worked on for longest."),
        number(
            "Error ratio", "percentunit", f"{errors} / clamp_min({looks}, 1e-9)",
            description="Looks that end with an error, without conflicts.",
        ),
        number("Objects in the cache", "short", "sum(max by (kind) (yolo_operator_cache_objects))", description="All kinds."),
        number(
            "Between two looks at a log", "s", "max(yolo_operator_progress_interval_seconds)",
            description="Grows with the number of running stages, so that all together stay within a request budget.",
        ),
    ]  # fmt: skip


def _latency() -> list[object]:
    def quantiles(metric: str) -> list[object]:
        return [
            query(f"histogram_quantile({q}, sum by (le) (rate({metric}_bucket[{_RATE}])))", f"p{int(100 * q)}", ref)
            for ref, q in (("A", 0.5), ("B", 0.9), ("C", 0.99))
        ]

    return [
        curves(
            "Time of one look", "s", *quantiles("yolo_operator_reconcile_duration_seconds"),
            description="From snapshot to status patch.", width=8,
        ),
        curves(
            "Wait in the work queue", "s", *quantiles("workqueue_queue_duration_seconds"), description="Before a look.", width=8
        ),
        curves(
            "Work on a key", "s", *quantiles("workqueue_work_duration_seconds"), description="As the queue measures it.", width=8
        ),
    ]  # fmt: skip


def _traffic() -> list[object]:
    return [
        curves(
            "Looks at experiments", "ops",
            query(f"sum by (result) (rate(yolo_operator_reconcile_duration_seconds_count[{_RATE}]))", "{{result}}"),
            description="By result.", width=8,
        ),
        curves(
            "Requests to the API server", "reqps",
            query(f"sum by (verb, resource) (rate(yolo_operator_kube_requests_total[{_RATE}]))", "{{verb}} {{resource}}"),
            description="Without the watches, which are kopf's.", width=8,
        ),
        curves(
            "Events of the watches", "ops",
            query(f"sum by (kind, type) (rate(yolo_operator_watch_events_total[{_RATE}]))", "{{kind}} {{type}}"),
            description="Each change of an object that is watched.", width=8,
        ),
    ]  # fmt: skip


def _errors() -> list[object]:
    return [
        curves(
            "Errors of looks", "ops",
            query(f"sum by (reason) (rate(yolo_operator_reconcile_errors_total[{_RATE}]))", "{{reason}}"),
            description="Conflicts are part of normal work.", width=8,
        ),
        curves(
            "Answers of the API server", "reqps",
            query(f"sum by (code) (rate(yolo_operator_kube_requests_total[{_RATE}]))", "{{code}}"),
            description="By code; 0: no answer.", width=8,
        ),
        curves(
            "Watches that list anew, objects gone without a word", "short",
            query("sum by (kind) (increase(yolo_operator_watch_restarts_total[1h]))", "restarts {{kind}}"),
            query("sum by (kind) (increase(yolo_operator_resync_ghosts_total[1h]))", "ghosts {{kind}}", "B"),
            description="Within an hour.", width=8,
        ),
    ]  # fmt: skip


def _saturation() -> list[object]:
    return [
        curves(
            "Work queue", "short", query("max(workqueue_depth)", "waiting"),
            query("max(workqueue_unfinished_work_seconds)", "unfinished work, s", "B"),
            query(f"sum(rate(workqueue_retries_total[{_RATE}]))", "retries a second", "C"),
            description="Depth, unfinished work, retries.", width=8,
        ),
        curves(
            "CPU", "short",
            query(f"sum(rate(process_cpu_seconds_total[{_RATE}]) and on (job, instance) workqueue_depth)", "cores"),
            description="Cores of the operator's process.", width=8,
        ),
        curves(
            "Memory", "bytes", query("max(process_resident_memory_bytes and on (job, instance) workqueue_depth)", "resident"),
            description="Resident memory of the operator's process.", width=8,
        ),
    ]  # fmt: skip
