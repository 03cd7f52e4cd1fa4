"""The running operator: kopf's watches, cache, work queue, reconcile loop, Events, metrics. Thin: decisions are in `pipeline`."""
