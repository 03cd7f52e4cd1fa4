"""Experiments for benchmarks, and the chains that their Jobs form."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from yolo_operator.kube.client import KubernetesCluster
from yolo_operator.kube.cluster import CLAIMS, EXPERIMENTS, Kind
from yolo_operator.kube.errors import ApiError

Object = dict[str, Any]

NAMESPACE = "bench"
NAMESPACES = Kind("/api/v1", "namespaces")
CHAIN = ("prepare", "anchors", "train", "evaluate", "export", "evaluate-exported")
"""The six stages, one after the other."""
AT_ONCE = 32


def chain_spec(name: str) -> Object:
    """An experiment of six stages in a row on the open toolkit."""
    schedule = {"maxLearningRate": 5e-3, "minLearningRate": 1e-5, "softStart": 0.1}
    return {
        "toolkit": {"profile": "open", "image": "yolo-operator/open-toolkit:dev"},
        "workspace": {"claimName": "data", "subPath": f"experiments/{name}"},
        "dataset": {
            "format": "kitti",
            "train": {"images": "train/images", "labels": "train/labels"},
            "validation": {"images": "valid/images", "labels": "valid/labels"},
            "classes": {name: name for name in ("bottom_left", "bottom_right", "license_plate", "top_left", "top_right")},
        },
        "anchors": {"auto": {"count": 9}},
        "experimentSpec": {
            "yolov4Config": {"arch": "resnet", "nlayers": 18},
            "trainingConfig": {
                "batchSizePerGpu": 8,
                "numEpochs": 25,
                "checkpointInterval": 5,
                "learningRate": {"softStartCosineAnnealingSchedule": schedule},
                "regularizer": {"type": "L1", "weight": 1e-4},
                "optimizer": {"adam": {}},
            },
            "evalConfig": {"batchSize": 8},
            "augmentationConfig": {"outputWidth": 160, "outputHeight": 160},
        },
        "export": {"format": "onnx"},
    }


def whole_spec(name: str) -> Object:
    """All stages with four variants: 17 Jobs."""
    spec = chain_spec(name)
    spec["dataset"]["unlabelled"] = {"images": "test"}
    return spec | {
        "prune": {"thresholds": [0.1, 0.3, 0.5, 0.7], "select": {"maxMapDrop": 0.03}},
        "retrain": {"numEpochs": 6, "enableQat": True, "regularizer": {"type": "NO_REG"}},
        "export": {"format": "onnx", "dataType": "int8"},
        "inference": {},
    }


def body(name: str, spec: Object) -> Object:
    """The object."""
    return {
        "apiVersion": "yolo-operator.dev/v1alpha1",
        "kind": "YoloExperiment",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": spec,
    }


async def prepare(cluster: KubernetesCluster) -> None:
    """The namespace and the claim."""
    for kind, namespace, manifest in (
        (NAMESPACES, None, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
        (
            CLAIMS,
            NAMESPACE,
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {"name": "data"},
                "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Ti"}}},
            },
        ),
    ):
        try:
            await cluster.create(kind, namespace, manifest)
        except ApiError as error:
            if not error.conflict:
                raise


async def submit(cluster: KubernetesCluster, bodies: list[Object], *, kind: Kind = EXPERIMENTS, at_once: int = AT_ONCE) -> None:
    """Create them, a bounded number at a time."""
    gate = asyncio.Semaphore(at_once)

    async def create(one: Object) -> None:
        async with gate:
            await cluster.create(kind, NAMESPACE, one)

    await asyncio.gather(*(create(one) for one in bodies))


def chains_of(jobs: list[Object]) -> list[tuple[str, str]]:
    """Neighbours (before, after) among the Jobs of one experiment, by the order of CHAIN; of those that are chains."""
    by_experiment: dict[str, dict[str, str]] = {}
    for job in jobs:
        labels = job["metadata"]["labels"]
        stages = by_experiment.setdefault(labels["yolo-operator.dev/experiment"], {})
        stages[labels["yolo-operator.dev/stage"]] = job["metadata"]["name"]
    pairs: list[tuple[str, str]] = []
    for stages in by_experiment.values():
        if not stages.keys() <= set(CHAIN):
            continue
        names = [stages[stage] for stage in CHAIN if stage in stages]
        pairs += itertools.pairwise(names)
    return pairs
