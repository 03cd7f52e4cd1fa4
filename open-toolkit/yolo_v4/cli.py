"""The command line: ``yolo_v4 <task> [options]``, with the option names of TAO 3.21.11 and of TAO 5."""

from __future__ import annotations

import argparse
import importlib
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from yolo_v4 import __version__, signals
from yolo_v4.cpus import set_thread_environment
from yolo_v4.errors import ExitCode, ToolkitError

TASKS = ("kmeans", "train", "evaluate", "prune", "export", "inference")
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


def run() -> None:
    """The console script."""
    sys.exit(main(sys.argv[1:]))


def main(argv: Sequence[str]) -> int:
    """Run one task; returns the exit code."""
    arguments = parse(argv)
    set_thread_environment()
    try:
        signals.install()
        task = importlib.import_module(f"yolo_v4.tasks.{arguments.task}")
        task.run(arguments)
    except ToolkitError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.code
    except OSError as error:
        print(f"I/O error: {error}", file=sys.stderr)
        return ExitCode.IO
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError) or any(text in str(error).lower() for text in _OUT_OF_MEMORY):
            print(f"Ran out of memory, please lower the batch size: {error}", file=sys.stderr)
            return ExitCode.MEMORY
        traceback.print_exc()
        return ExitCode.INTERNAL
    except Exception:  # the last line of defence: a fault of ours must not look like the user's
        traceback.print_exc()
        return ExitCode.INTERNAL
    return ExitCode.OK


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line; exits with 2 when it is wrong, as argparse does."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.gpus > 1 and arguments.task != "train":
        parser.error(f"--gpus may be more than 1 for train only, not for {arguments.task}")
    return arguments


class _Parser(argparse.ArgumentParser):
    """Long options must be whole: an abbreviation that works today is ambiguous tomorrow."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="yolo_v4", description="The open toolkit: YOLOv4 with the command line of NVIDIA TAO.")
    parser.add_argument("--version", action="version", version=__version__)
    tasks = parser.add_subparsers(dest="task", required=True, metavar="{" + ",".join(TASKS) + "}")
    for add in (_add_kmeans, _add_train, _add_evaluate, _add_prune, _add_export, _add_inference):
        _add_common(add(tasks))
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("options of every task")
    group.add_argument("-k", "--key", default="", help="accepted and ignored: models are not encrypted")
    group.add_argument("--gpus", type=int, default=1, help="accepted; one device is used")
    group.add_argument("--gpu_index", type=int, nargs="+", default=None, help="accepted and ignored")
    group.add_argument("--num_processes", "-np", type=int, default=-1, help="accepted and ignored")
    group.add_argument("--use_amp", action="store_true", help="train in bfloat16 even where that is not faster")
    group.add_argument("-v", "--verbose", action="store_true", help="print more")


def _add_results(parser: argparse.ArgumentParser, *short: str, required: bool = False) -> None:
    parser.add_argument(*short, "--results_dir", required=required, default=None, help="folder of status.json")


def _add_kmeans(tasks: argparse._SubParsersAction[_Parser]) -> argparse.ArgumentParser:
    parser = tasks.add_parser("kmeans", help="choose anchor shapes")
    parser.add_argument("-l", "--label_folders", nargs="+", required=True)
    parser.add_argument("-i", "--image_folders", nargs="+", required=True)
    parser.add_argument("-x", "--size_x", type=int, required=True, help="network width in pixels")
    parser.add_argument("-y", "--size_y", type=int, required=True, help="network height in pixels")
    parser.add_argument("-n", "--num_clusters", type=int, default=9)
    parser.add_argument("--max_steps", type=int, default=10000)
    parser.add_argument("--min_x", type=int, default=0, help="drop boxes not wider than this, in network pixels")
    parser.add_argument("--min_y", type=int, default=0, help="drop boxes not higher than this, in network pixels")
    parser.add_argument("--seed", type=int, default=42, help="the open toolkit's own: TAO does not seed")
    _add_results(parser, "-r")
    return parser


def _add_train(tasks: argparse._SubParsersAction[_Parser]) -> argparse.ArgumentParser:
    parser = tasks.add_parser("train", help="train, retrain or resume, as the spec says")
    parser.add_argument("-e", "--experiment_spec_file", required=True)
    _add_results(parser, "-r", required=True)
    return parser


def _add_evaluate(tasks: argparse._SubParsersAction[_Parser]) -> argparse.ArgumentParser:
    parser = tasks.add_parser("evaluate", help="average precision on the validation images")
    parser.add_argument("-m", "--model_path", required=True, help=".pth or .onnx")
    parser.add_argument("-e", "--experiment_spec", required=True)
    for short, name in (("-i", "--image_dir"), ("-l", "--label_dir"), ("-b", "--batch_size")):
        parser.add_argument(short, name, default=None, help=argparse.SUPPRESS)
    _add_results(parser, "-r")
    return parser


def _add_prune(tasks: argparse._SubParsersAction[_Parser]) -> argparse.ArgumentParser:
    parser = tasks.add_parser("prune", help="remove channels with small kernels")
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("-o", "--output_file", required=True)
    parser.add_argument("-e", "--experiment_spec_path", required=True)
    parser.add_argument("-n", "--normalizer", choices=("max", "L2"), default="max")
    parser.add_argument(
        "-eq",
        "--equalization_criterion",
        choices=("union", "intersection", "arithmetic_mean", "geometric_mean"),
        default="union",
    )
    parser.add_argument("-pg", "--pruning_granularity", type=int, default=8)
    parser.add_argument("-pth", "--pruning_threshold", type=float, default=0.1)
    parser.add_argument("-nf", "--min_num_filters", type=int, default=16)
    parser.add_argument("-el", "--excluded_layers", nargs="*", default=[])
    _add_results(parser)
    return parser


def _add_export(tasks: argparse._SubParsersAction[_Parser]) -> argparse.ArgumentParser:
    parser = tasks.add_parser("export", help="write an ONNX model")
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("-e", "--experiment_spec", required=True)
    parser.add_argument(
        "-o", "--output_file", default=None, help="must not exist; default: the model's name with .onnx"
    )
    parser.add_argument("--data_type", choices=("fp32", "int8"), default="fp32")
    parser.add_argument("--cal_image_dir", default="", help="images to calibrate a model that was not trained with QAT")
    parser.add_argument("--cal_cache_file", default="", help="write the calibration cache here")
    parser.add_argument("--cal_json_file", default="", help="write the tensors' scales here")
    parser.add_argument("--cal_data_file", default="", help=argparse.SUPPRESS)
    parser.add_argument("--batches", type=int, default=10, help="calibration batches")
    parser.add_argument("--batch_size", type=int, default=16, help="images a calibration batch")
    parser.add_argument("--static_batch_size", type=int, default=-1, help="default: any batch size")
    parser.add_argument("--target_opset", type=int, default=17, help="13 to 19")
    parser.add_argument("--gen_ds_config", action="store_true", help="write labels.txt and nvinfer_config.txt too")
    parser.add_argument("--force_ptq", action="store_true", help="calibrate a QAT model anew")
    _add_results(parser, "-r")
    return parser


def _add_inference(tasks: argparse._SubParsersAction[_Parser]) -> argparse.ArgumentParser:
    parser = tasks.add_parser("inference", help="annotate images and write pseudo-labels")
    parser.add_argument("-m", "--model_path", required=True, help=".pth or .onnx")
    parser.add_argument("-i", "--image_dir", required=True, help="an image or a folder of images")
    parser.add_argument("-e", "--experiment_spec", required=True)
    parser.add_argument("-t", "--threshold", "--draw_conf_thres", type=float, default=0.3)
    parser.add_argument("-b", "--batch_size", default=None, help=argparse.SUPPRESS)
    parser.add_argument("-o", "--out_image_path", default=None, help="folder of annotated images")
    parser.add_argument("-l", "--out_label_path", default=None, help="folder of KITTI labels")
    _add_results(parser, "-r")
    return parser
