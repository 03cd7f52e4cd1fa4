"""TAO 3.21.11: every model is encrypted, exports are `.etlt`, inference names its outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from yolo_operator.dialects.base import (
    COMMAND,
    INT8,
    TAO_WORKERS,
    Dialect,
    KeyUse,
    engine_flags,
    expect_inferred,
    spec_file,
    threshold_flags,
)
from yolo_operator.dialects.invocation import DataPaths, Invocation

if TYPE_CHECKING:
    from yolo_operator.api.spec import Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Tao32111(Dialect):
    """Commands of TAO 3.21.11."""

    def export(self, spec: Spec, directory: str, model: str, data: DataPaths) -> Invocation:
        """An encrypted ONNX model; with int8 also TensorRT's calibration cache."""
        export = self._exported(spec, directory, model)
        export.flags += ["--data_type", export.precision]
        if export.precision == INT8:
            if not self.quantised(spec):
                export.calibrate(spec, data)
            export.flags += ["--cal_cache_file", export.file("calibration", f"{directory}/cal.bin")]
            if not self.quantised(spec):
                export.batches(spec)
        if spec.export is not None and spec.export.engine is not None:
            export.flags += engine_flags(export.file("engine", f"{directory}/model.engine"), spec.export.engine)
        return self._run_export(export, directory)

    def inference(self, spec: Spec, directory: str, model: str, images: str) -> Invocation:
        """As the base's, with a flag for each output directory."""
        annotated, labels = f"{directory}/images_annotated", f"{directory}/labels"
        flags = ["-i", images, "-o", annotated, "-e", spec_file(directory), "-m", model, *self._key(spec), "-l", labels]
        return Invocation(
            task="inference",
            argv=(COMMAND, "inference", *flags, *threshold_flags(spec)),
            directories=(annotated, labels),
            expect=expect_inferred(directory),
        )


DIALECT = Tao32111(
    profile="tao-3.21.11",
    title="NVIDIA TAO 3.21.11",
    order=1,
    default_image="nvcr.io/nvidia/tao/tao-toolkit-tf:v3.21.11-tf1.15.4-py3",
    images=("tao-toolkit-tf:v3[.]21[.]11([.-]|$)",),
    checkpoint_suffix=".tlt",
    pruned_suffix=".tlt",
    export_suffix=".etlt",
    default_gpus=1,
    needs_gpu=True,
    sees_cpu_limit=False,
    default_shared_memory="16Gi",
    run_as_user=None,
    key=KeyUse.REQUIRED,
    export_formats=("etlt",),
    data_types=("fp32", "fp16", "int8"),
    engine=True,
    tensorfile=True,
    mixed_precision=True,
    default_workers=TAO_WORKERS,
    qat_on_pruned=False,
    saves_last_epoch=False,
    evaluates_export=False,
    status_tasks=frozenset(),  # it may leave one for training, but how that ends is nowhere documented
)
