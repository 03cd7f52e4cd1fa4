"""``yolo_v4 train``: training, retraining of a pruned model, quantisation-aware training; the spec tells which."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from yolo_v4.cpus import available_cpus
from yolo_v4.data.augment import Augmenter
from yolo_v4.data.loader import BatchLoader
from yolo_v4.data.samples import Sample
from yolo_v4.files import atomic_path, make_directory
from yolo_v4.model.device import half_precision_helps, pick_device
from yolo_v4.model.network import count_parameters
from yolo_v4.reporting.status import RUNNING, STARTED, StatusLog
from yolo_v4.reporting.training_log import TrainingLog
from yolo_v4.spec import load_spec
from yolo_v4.spec.messages import Experiment
from yolo_v4.tasks.common import image_mean, labelled_samples, mirrored_classes, recorded, spec_classes
from yolo_v4.training.setup import Start, prepare
from yolo_v4.training.trainer import Output, Precision, Trainer

_DEFAULT_QUEUE = 20


def run(arguments: argparse.Namespace) -> None:
    """Train as the experiment spec says and leave everything in the results folder."""
    if arguments.gpus > 1:
        print(f"--gpus {arguments.gpus}: the open toolkit trains on one device", file=sys.stderr)
    results = make_directory(arguments.results_dir)
    status = StatusLog(results)
    recorded(
        status,
        "Training",
        "Starting Yolo_V4 Training job",
        "YOLO_V4 training finished successfully.",
        lambda: _train(load_spec(arguments.experiment_spec_file), results, status, half=arguments.use_amp),
    )


def _train(experiment: Experiment, results: Path, status: StatusLog, *, half: bool) -> None:
    torch.manual_seed(experiment.random_seed)
    classes = spec_classes(experiment)
    dataset = experiment.dataset_config
    training = labelled_samples(experiment, dataset.data_sources, "training")
    validation = labelled_samples(experiment, dataset.validation_data_sources, "validation")
    device = pick_device()
    precision = Precision(device, half or half_precision_helps(device))
    start = prepare(experiment, classes)
    mean = image_mean(experiment)
    _describe(start, precision, len(training), len(validation))
    with atomic_path(results / "model_output_labels.txt") as temporary:
        temporary.write_text("\n".join(classes), encoding="utf-8")
    stem = f"{experiment.yolov4_config.arch}{experiment.yolov4_config.nlayers}"
    output = Output(
        make_directory(results / "weights"),
        f"yolov4_{stem}",
        TrainingLog(results / f"yolov4_training_log_{stem}.csv", classes, start.epoch),
        status,
    )
    augmenter = Augmenter(experiment.augmentation_config, mean, mirrored_classes(experiment))
    loader = _loader(experiment, training, augmenter)
    trainer = Trainer(experiment, start, loader, validation, mean, precision, output)
    status.write(STARTED, "Starting Training Loop.")
    if start.epoch >= experiment.training_config.num_epochs:
        print(f"The checkpoint has {start.epoch} of {experiment.training_config.num_epochs} epochs: nothing to train.")
    trainer.run()
    status.write(RUNNING, "Training loop complete.")


def _loader(experiment: Experiment, training: list[Sample], augmenter: Augmenter) -> BatchLoader:
    config, augmentation = experiment.training_config, experiment.augmentation_config
    cpus = available_cpus()
    return BatchLoader(
        training,
        augmenter,
        size=(augmentation.output_width, augmentation.output_height),
        batch_size=config.batch_size_per_gpu,
        seed=experiment.random_seed,
        shape_period=augmentation.randomize_input_shape_period,
        include_difficult=experiment.dataset_config.include_difficult_in_training,
        workers=max(1, min(config.n_workers or cpus, cpus)),
        queue_size=config.max_queue_size or _DEFAULT_QUEUE,
    )


def _describe(start: Start, precision: Precision, training: int, validation: int) -> None:
    network = start.model.network
    print(
        f"Network: {len(network.graph.layers)} layers, {count_parameters(network)} parameters, "
        f"{'quantisation-aware, ' if start.model.quantised else ''}"
        f"{'bfloat16' if precision.half else 'float32'} on {precision.device.type}"
    )
    print(f"Training on {training} images, validating on {validation}.", flush=True)
