"""TAO 5.0: models are plain `.hdf5`, exports are `.onnx`, every task can leave a status file."""

from __future__ import annotations

from dataclasses import dataclass

from yolo_operator.api.delivery import DataType
from yolo_operator.api.spec import Spec
from yolo_operator.api.toolkit import Profile
from yolo_operator.toolkit.dialects.base import TENSOR_FILE, Dialect, KeyUse, calibration, calibration_flags, spec_file
from yolo_operator.toolkit.invocation import DataPaths, Invocation


@dataclass(frozen=True, slots=True, kw_only=True)
class Tao50(Dialect):
    """Commands of TAO 5.0."""

    def export(self, spec: Spec, directory: str, model: str, data: DataPaths) -> Invocation:
        """An ONNX model for TensorRT; with int8 also its ranges.

        The model itself is the same for every precision: it is TensorRT that lowers it. The ranges of a quantisation-aware
        training come as JSON for TAO Deploy; those of any other model are measured only while an engine is built.
        """
        precision, output = self._exported(spec, directory, model)
        flags = ["-m", model, *self._key(spec), "-o", output, "-e", spec_file(directory)]
        files = [{"name": "model", "path": output}]
        if precision is DataType.INT8 and self.quantised(spec):
            ranges = f"{directory}/calibration.json"
            files.append({"name": "calibration", "path": ranges})
            flags += ["--cal_json_file", ranges]
        elif precision is DataType.INT8:
            cache, engine = f"{directory}/cal.bin", f"{directory}/model.engine"
            files.append({"name": "calibration", "path": cache})
            chosen, images = calibration(spec, data)
            flags += ["--data_type", "int8", "--cal_data_file", TENSOR_FILE, "--cal_image_dir", images]
            flags += ["--cal_cache_file", cache, *calibration_flags(chosen), "--engine_file", engine]
        return self._invocation("export", flags, directory, {"files": files})


TAO_5_0 = Tao50(
    profile=Profile.TAO_5_0,
    default_image="nvcr.io/nvidia/tao/tao-toolkit:5.0.0-tf1.15.5",
    checkpoint_suffix=".hdf5",
    # `prune` would append it to any other, and `export` would append .onnx to a path in which no "onnx" occurs.
    pruned_suffix=".hdf5",
    export_suffix=".onnx",
    default_gpus=1,
    needs_gpu=True,
    sees_cpu_limit=False,
    default_shared_memory="16Gi",
    run_as_user=None,
    # Telemetry waits for its server without end where egress is closed.
    environment={"TELEMETRY_OPT_OUT": "1"},
    key=KeyUse.OPTIONAL,
    qat_on_pruned=False,
    evaluates_export=False,
    status_tasks=frozenset({"kmeans", "train", "evaluate", "prune", "export", "inference"}),
)
