"""``yolo_v4 prune``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from yolo_v4.errors import OutputError, UsageError
from yolo_v4.model.files import SUFFIX, Model, load_model, save_model
from yolo_v4.model.names import check_classes
from yolo_v4.model.network import count_parameters
from yolo_v4.pruning.select import Selection
from yolo_v4.pruning.surgery import describe, prune
from yolo_v4.reporting.status import RUNNING, StatusLog
from yolo_v4.spec import load_spec
from yolo_v4.tasks.common import recorded, spec_classes


def run(arguments: argparse.Namespace) -> None:
    """Write the pruned model, without the trainer's state, and print how much of the parameters is left."""
    if not arguments.pruning_threshold >= 0:
        raise UsageError("--pruning_threshold must not be negative")
    if arguments.pruning_granularity < 1 or arguments.min_num_filters < 1:
        raise UsageError("--pruning_granularity and --min_num_filters must be at least 1")
    if Path(arguments.output_file).suffix != SUFFIX:
        raise OutputError(f"--output_file must end in {SUFFIX}")
    status = StatusLog(arguments.results_dir)
    recorded(
        status,
        "Pruning",
        "Starting Yolo_V4 Pruning job",
        "Pruning finished successfully.",
        lambda: _prune(arguments, status),
    )


def _prune(arguments: argparse.Namespace, status: StatusLog) -> None:
    experiment = load_spec(arguments.experiment_spec_path)
    model = load_model(arguments.model)
    check_classes(model.classes, spec_classes(experiment), arguments.model)
    options = Selection(
        threshold=arguments.pruning_threshold,
        normalizer=arguments.normalizer,
        equalization=arguments.equalization_criterion,
        granularity=arguments.pruning_granularity,
        minimum=arguments.min_num_filters,
    )
    _say("Exploring graph for retainable indices")
    pruned = prune(model.network, options, arguments.excluded_layers)
    if arguments.verbose:
        for name, (before, after) in describe(model.network.graph, pruned.graph).items():
            _say(f"{name}: {before} -> {after} channels")
    _say("Pruning model and appending pruned nodes to new graph")
    ratio = count_parameters(pruned) / count_parameters(model.network)
    save_model(arguments.output_file, Model(pruned, model.head, model.classes))
    message = f"Pruning ratio (pruned model / original model): {ratio}"
    _say(message)
    kpi = {
        "pruning_ratio": ratio,
        "size": Path(arguments.output_file).stat().st_size / 2**20,
        "param_count": count_parameters(pruned) / 1e6,
    }
    status.write(RUNNING, message, kpi=kpi)


def _say(message: str) -> None:
    """TAO logs these lines to stderr."""
    print(f"[INFO] yolo_v4.pruning: {message}", file=sys.stderr, flush=True)
