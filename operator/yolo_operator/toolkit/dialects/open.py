"""The open toolkit: the same commands without a GPU and without a key, and a status file for every task."""

from __future__ import annotations

from dataclasses import dataclass

from yolo_operator.api.delivery import DataType
from yolo_operator.api.spec import Spec
from yolo_operator.api.toolkit import Profile
from yolo_operator.toolkit.dialects.base import Dialect, KeyUse, calibration, calibration_flags, spec_file
from yolo_operator.toolkit.invocation import DataPaths, Invocation


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenToolkit(Dialect):
    """Commands of the open toolkit."""

    def export(self, spec: Spec, directory: str, model: str, data: DataPaths) -> Invocation:
        """An ONNX model that ONNX Runtime runs; int8 is in the model itself."""
        precision, output = self._exported(spec, directory, model)
        flags = ["-m", model, "-o", output, "-e", spec_file(directory), "--data_type", precision.value]
        if precision is DataType.INT8 and not self.quantised(spec):
            chosen, images = calibration(spec, data)
            flags += ["--cal_image_dir", images, *calibration_flags(chosen)]
        return self._invocation("export", flags, directory, {"files": [{"name": "model", "path": output}]})


OPEN = OpenToolkit(
    profile=Profile.OPEN,
    default_image="yolo-operator/open-toolkit:dev",
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
    qat_on_pruned=True,
    evaluates_export=True,
    status_tasks=frozenset({"kmeans", "train", "evaluate", "prune", "export", "inference"}),
)
