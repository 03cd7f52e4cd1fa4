"""Keeps `nvidia.com/gpu` on the node, as a GPU node has it: scheduler and kubelet account for it the same way.

It runs as a supervised component, because a kubelet that restarts may set resources to nought that no device plugin serves.
"""

from __future__ import annotations

import argparse

from .api import MERGE_PATCH, Api, Document
from .console import ClusterError, say
from .layout import Home
from .record import Record

RESOURCE = "nvidia.com/gpu"


def patch_for(node: Document, count: int) -> Document | None:
    """Give the status patch that a node needs, or None when its numbers are right."""
    status = node.get("status", {})
    wanted = str(count)
    parts = {part: {RESOURCE: wanted} for part in ("capacity", "allocatable") if status.get(part, {}).get(RESOURCE) != wanted}
    return {"status": parts} if parts else None


def keep(api: Api, name: str, count: int) -> None:
    """Watch a node for ever and put its numbers right."""
    for node in api.follow("/api/v1/nodes", f"fieldSelector=metadata.name%3D{name}"):
        patch = patch_for(node, count)
        if patch is None or "capacity" not in node.get("status", {}):
            continue
        try:
            api.request("PATCH", f"/api/v1/nodes/{name}/status", patch, content_type=MERGE_PATCH)
            say(f"{name}: {RESOURCE} is {count}")
        except (OSError, ClusterError) as error:  # the next heartbeat of the node brings us here again
            say(f"{name}: {error}")


def main() -> None:
    """Run for one cluster."""
    parser = argparse.ArgumentParser(prog="gpus")
    parser.add_argument("--name", required=True)
    home = Home.of(parser.parse_args().name)
    record = Record.load(home)
    keep(record.api(home), record.node_name, record.gpus)


if __name__ == "__main__":
    main()
