"""The runner as an immutable ConfigMap, one a namespace and runner version, named by its content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib import resources

from yolo_operator.api import resource
from yolo_operator.kube.cluster import CONFIG_MAPS, Cluster, Object
from yolo_operator.kube.errors import ApiError

COMPONENT = "runner"
SELECTOR = f"{resource.LABEL_MANAGED_BY}={resource.MANAGED_BY},{resource.LABEL_COMPONENT}={COMPONENT}"


def runner_files() -> dict[str, str]:
    """Name → text of what a toolkit's container is given."""
    folder = resources.files("yolo_operator.runner")
    return {name: folder.joinpath(name).read_text(encoding="utf-8") for name in ("runner.py", "toolkits.json")}


def runner_manifest(files: Mapping[str, str]) -> Object:
    """The ConfigMap for these files."""
    content = "".join(f"{name}\0{text}\0" for name, text in sorted(files.items()))
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": f"yolo-runner-{hashlib.sha256(content.encode()).hexdigest()[:10]}",
            "labels": {resource.LABEL_MANAGED_BY: resource.MANAGED_BY, resource.LABEL_COMPONENT: COMPONENT},
        },
        "immutable": True,
        "data": dict(files),
    }


async def ensure_runner(cluster: Cluster, namespace: str, manifest: Object) -> None:
    """Make sure the namespace has it.

    Raises:
        ApiError: other than that it exists already.
    """
    try:
        await cluster.create(CONFIG_MAPS, namespace, manifest)
    except ApiError as error:
        if not error.conflict:
            raise


async def remove_unused(cluster: Cluster, namespace: str, *, keep: str | None) -> list[str]:
    """Delete the namespace's runners, but for the one to keep.

    To be called only when no stage of the namespace runs that could still need another one.
    """
    removed = []
    async for page in cluster.pages(CONFIG_MAPS, namespace, selector=SELECTOR):
        for body in page.items:
            meta = body["metadata"]
            if meta["name"] != keep:
                await cluster.delete(CONFIG_MAPS, namespace, meta["name"], uid=meta["uid"])
                removed.append(meta["name"])
    return removed
