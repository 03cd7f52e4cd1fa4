"""The open toolkit: the same commands without a GPU and without a key, and a status file for every task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from yolo_operator.dialects.base import INT8, Dialect, KeyUse
from yolo_operator.dialects.invocation import DataPaths, Invocation

if TYPE_CHECKING:
    from yolo_operator.api.spec import Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenToolkit(Dialect):
    """Commands of the open toolkit."""

    def export(self, spec: Spec, directory: str, model: str, data: DataPaths) -> Invocation:
        """An ONNX model that ONNX Runtime runs; int8 is in the model itself."""
        export = self._exported(spec, directory, model)
        export.flags += ["--data_type", export.precision]
        if export.precision == INT8 and not self.quantised(spec):
            export.calibrate(spec, data, tensors=False)
            export.batches(spec)
        return self._run_export(export, directory)


DIALECT = OpenToolkit(
    profile="open",
    title="the open toolkit",
    order=3,
    default_image="yolo-operator/open-toolkit:dev",
    images=("(^|/)open-toolkit([:@]|$)",),
    checkpoint_suffix=".pth",
    pruned_suffix=".pth",
    export_suffix=".onnx",
    default_gpus=0,
    needs_gpu=False,
    cpu_stages=frozenset({"anchors", "prune", "export"}),
    sees_cpu_limit=True,
    default_shared_memory="512Mi",
    run_as_user=65532,
    key=KeyUse.NONE,
    export_formats=("onnx",),
    data_types=("fp32", "int8"),
    engine=False,
    tensorfile=False,
    mixed_precision=False,
    architectures={"resnet": (10, 18, 34)},
    open_config=True,
    rmsprop=True,
    qat_on_pruned=True,
    saves_last_epoch=True,
    evaluates_export=True,
    status_tasks=frozenset({"kmeans", "train", "evaluate", "prune", "export", "inference"}),
)
