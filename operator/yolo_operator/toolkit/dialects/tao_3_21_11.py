"""TAO 3.21.11: every model is encrypted, exports are `.etlt`, inference names its outputs."""

from __future__ import annotations

from dataclasses import dataclass

from yolo_operator.api.delivery import DataType
from yolo_operator.api.spec import Spec
from yolo_operator.api.toolkit import Profile
from yolo_operator.toolkit.dialects.base import (
    COMMAND,
    TENSOR_FILE,
    Dialect,
    KeyUse,
    calibration,
    calibration_flags,
    expect_inferred,
    spec_file,
    threshold_flags,
)
from yolo_operator.toolkit.invocation import DataPaths, Invocation


@dataclass(frozen=True, slots=True, kw_only=True)
class Tao32111(Dialect):
    """Commands of TAO 3.21.11."""

    def export(self, spec: Spec, directory: str, model: str, data: DataPaths) -> Invocation:
        """An encrypted ONNX model; with int8 also TensorRT's calibration cache."""
        precision, output = self._exported(spec, directory, model)
        flags = ["-m", model, *self._key(spec), "-o", output, "-e", spec_file(directory), "--data_type", precision.value]
        files = [{"name": "model", "path": output}]
        if precision is DataType.INT8:
            cache = f"{directory}/cal.bin"
            files.append({"name": "calibration", "path": cache})
            if self.quantised(spec):
                flags += ["--cal_cache_file", cache]
            else:
                chosen, images = calibration(spec, data)
                flags += ["--cal_data_file", TENSOR_FILE, "--cal_image_dir", images, "--cal_cache_file", cache]
                flags += calibration_flags(chosen)
        return self._invocation("export", flags, directory, {"files": files})

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


TAO_3_21_11 = Tao32111(
    profile=Profile.TAO_3_21_11,
    default_image="nvcr.io/nvidia/tao/tao-toolkit-tf:v3.21.11-tf1.15.4-py3",
    checkpoint_suffix=".tlt",
    pruned_suffix=".tlt",
    export_suffix=".etlt",
    default_gpus=1,
    needs_gpu=True,
    sees_cpu_limit=False,
    default_shared_memory="16Gi",
    run_as_user=None,
    key=KeyUse.REQUIRED,
    qat_on_pruned=False,
    evaluates_export=False,
    status_tasks=frozenset(),  # it may leave one for training, but how that ends is nowhere documented
)
