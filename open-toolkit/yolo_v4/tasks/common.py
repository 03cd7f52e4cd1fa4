"""What several tasks need of an experiment spec."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from yolo_v4.data.labels import class_ids, class_names
from yolo_v4.data.letterbox import Mean
from yolo_v4.data.samples import Sample, load_samples
from yolo_v4.errors import InterruptedRunError, ToolkitError
from yolo_v4.reporting.status import FAILURE, STARTED, SUCCESS, StatusLog
from yolo_v4.spec.messages import DataSource, Experiment

_DEFAULT_MEAN = {"r": 123.68, "g": 116.779, "b": 103.939}


def image_mean(experiment: Experiment) -> Mean:
    """(r, g, b) that is subtracted from the pixels."""
    given = experiment.augmentation_config.image_mean
    red, green, blue = (float(given.get(channel, _DEFAULT_MEAN[channel])) for channel in "rgb")
    return red, green, blue


def spec_classes(experiment: Experiment) -> list[str]:
    """The experiment's classes; a class's index is its id."""
    return class_names(experiment.dataset_config.target_class_mapping)


def labelled_samples(experiment: Experiment, sources: Sequence[DataSource], what: str) -> list[Sample]:
    """The labelled images of some data sources."""
    return load_samples(sources, class_ids(experiment.dataset_config.target_class_mapping), what)


def mirrored_classes(experiment: Experiment) -> dict[int, int]:
    """Class ids that a horizontal mirror exchanges, both ways."""
    order = {name: index for index, name in enumerate(spec_classes(experiment))}
    pairs = [(order[pair.left.lower()], order[pair.right.lower()]) for pair in experiment.open_config.flip_pairs]
    return {**dict(pairs), **{right: left for left, right in pairs}}


def recorded(status: StatusLog, name: str, started: str, finished: str, work: Callable[[], None]) -> None:
    """Run ``work`` between a STARTED and a SUCCESS or FAILURE record."""
    status.write(STARTED, started)
    try:
        work()
    except InterruptedRunError:
        status.write(FAILURE, f"{name} was interrupted")
        raise
    except (ToolkitError, OSError, RuntimeError, MemoryError) as error:
        status.write(FAILURE, str(error))
        raise
    status.write(SUCCESS, finished)
