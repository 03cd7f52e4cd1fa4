"""TAO 5.0: models are plain `.hdf5`, exports are `.onnx`, every task can leave a status file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from yolo_operator.dialects.base import INT8, TAO_WORKERS, Dialect, KeyUse, engine_flags
from yolo_operator.dialects.invocation import DataPaths, Invocation

if TYPE_CHECKING:
    from yolo_operator.api.spec import Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Tao50(Dialect):
    """Commands of TAO 5.0."""

    def export(self, spec: Spec, directory: str, model: str, data: DataPaths) -> Invocation:
        """An ONNX model for TensorRT; with int8 also its ranges.

        The model itself is the same for every precision: it is TensorRT that lowers it. The ranges of a quantisation-aware
        training come as JSON for TAO Deploy; those of any other model are measured only while an engine is built.
        """
        export = self._exported(spec, directory, model)
        int8, quantised = export.precision == INT8, self.quantised(spec)
        engine = spec.export.engine if spec.export is not None else None
        if int8 and quantised:
            export.flags += ["--cal_json_file", export.file("calibration", f"{directory}/calibration.json")]
        if engine is not None or (int8 and not quantised):
            export.flags += ["--data_type", export.precision]
            if int8 and not quantised:
                export.calibrate(spec, data)
            if int8:
                name = "calibrationCache" if quantised else "calibration"
                export.flags += ["--cal_cache_file", export.file(name, f"{directory}/cal.bin")]
            if int8 and not quantised:
                export.batches(spec)
            built = f"{directory}/model.engine"
            export.flags += engine_flags(built if engine is None else export.file("engine", built), engine)
        return self._run_export(export, directory)


DIALECT = Tao50(
    profile="tao-5.0",
    title="NVIDIA TAO 5.0",
    order=2,
    default_image="nvcr.io/nvidia/tao/tao-toolkit:5.0.0-tf1.15.5",
    images=("tao-toolkit:5[.]0[.][0-9]+-tf1",),
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
    export_formats=("onnx",),
    data_types=("fp32", "fp16", "int8"),
    engine=True,
    tensorfile=True,
    mixed_precision=True,
    default_workers=TAO_WORKERS,
    qat_on_pruned=False,
    saves_last_epoch=True,
    evaluates_export=False,
    status_tasks=frozenset({"kmeans", "train", "evaluate", "prune", "export", "inference"}),
)
