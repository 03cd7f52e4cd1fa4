"""``yolo_v4 export``: ONNX in float32, or in int8 from a QAT model or by calibration."""

from __future__ import annotations

import argparse
from pathlib import Path

from yolo_v4.errors import OutputError, UsageError, UserError
from yolo_v4.export.build import Exported, ExportOptions, build
from yolo_v4.export.calibrate import calibrate, calibration_images
from yolo_v4.export.side_files import write_calibration_cache, write_deepstream_config, write_scales
from yolo_v4.files import atomic_path
from yolo_v4.model.files import Model, load_model
from yolo_v4.model.names import check_classes
from yolo_v4.model.network import count_parameters
from yolo_v4.model.quantised import QuantisedNetwork
from yolo_v4.reporting.status import RUNNING, StatusLog
from yolo_v4.spec import load_spec
from yolo_v4.spec.messages import Experiment
from yolo_v4.tasks.common import image_mean, recorded, spec_classes

_OPSETS = range(13, 20)


def run(arguments: argparse.Namespace) -> None:
    """Write the ONNX file; it must not exist yet."""
    if arguments.target_opset not in _OPSETS:
        raise UsageError(f"--target_opset must be {_OPSETS[0]} to {_OPSETS[-1]}")
    if arguments.batches < 1 or arguments.batch_size < 1:
        raise UsageError("--batches and --batch_size must be at least 1")
    output = Path(arguments.output_file) if arguments.output_file else Path(arguments.model).with_suffix(".onnx")
    status = StatusLog(arguments.results_dir)
    recorded(
        status,
        "Export",
        "Starting Yolo_V4 Export job",
        "Export finished successfully.",
        lambda: _export(arguments, output, status),
    )


def _export(arguments: argparse.Namespace, output: Path, status: StatusLog) -> None:
    if output.exists():
        raise OutputError(f"{output} exists already")
    experiment = load_spec(arguments.experiment_spec)
    model = load_model(arguments.model)
    check_classes(model.classes, spec_classes(experiment), arguments.model)
    model.network.eval()
    int8 = arguments.data_type == "int8"
    mean = image_mean(experiment)
    size = (experiment.augmentation_config.output_width, experiment.augmentation_config.output_height)
    if int8 and (not model.quantised or arguments.force_ptq):
        model = _calibrated(arguments, model, experiment)
    batch = arguments.static_batch_size if arguments.static_batch_size > 0 else None
    exported = build(model, ExportOptions(size, mean, batch, arguments.target_opset), int8=int8)
    print(f"Saving exported model to {output}")
    with atomic_path(output) as temporary:
        temporary.write_bytes(exported.proto.SerializeToString())
    if isinstance(model.network, QuantisedNetwork):
        if arguments.cal_cache_file:
            write_calibration_cache(arguments.cal_cache_file, model.network)
        if arguments.cal_json_file:
            write_scales(arguments.cal_json_file, model.network)
    if arguments.gen_ds_config:
        write_deepstream_config(output.parent, model.classes, size, mean)
    _report(exported, model, output, status)


def _calibrated(arguments: argparse.Namespace, model: Model, experiment: Experiment) -> Model:
    if not arguments.cal_image_dir:
        raise UserError(f"{arguments.model} was not trained with QAT: --data_type int8 needs --cal_image_dir")
    images = calibration_images(arguments.cal_image_dir, arguments.batches * arguments.batch_size)
    print(f"Calibrating on {len(images)} images of {arguments.cal_image_dir}", flush=True)
    size = (experiment.augmentation_config.output_width, experiment.augmentation_config.output_height)
    network = calibrate(model.network, images, size, image_mean(experiment), arguments.batch_size)
    return Model(network, model.head, model.classes)


def _report(exported: Exported, model: Model, output: Path, status: StatusLog) -> None:
    print("Using input nodes: ['Input']")
    print("Using output nodes: ['boxes', 'scores']")
    print(
        f"Quantized: {exported.quantised_activations} activation tensors (QuantizeLinear and DequantizeLinear), "
        f"{exported.quantised_kernels} kernels (int8 and DequantizeLinear)",
        flush=True,
    )
    numbers = {"param_count": count_parameters(model.network) / 1e6, "size": output.stat().st_size / 2**20}
    kpi = {
        **numbers,
        "quantized_activations": exported.quantised_activations,
        "quantized_kernels": exported.quantised_kernels,
    }
    status.write(RUNNING, "Export complete.", head=numbers, kpi=kpi)
