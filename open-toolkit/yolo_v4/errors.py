"""Failures with a meaning, each with the exit code that tells it apart."""

from __future__ import annotations

import enum


class ExitCode(enum.IntEnum):
    """What the process says when it ends; the table is in the README."""

    OK = 0
    USAGE = 2
    USER = 64
    """The experiment spec, the dataset, or a model file is at fault: running again gives the same."""
    DIVERGED = 65
    """The loss became NaN or infinite."""
    INTERNAL = 70
    """A fault of the toolkit itself; a traceback is printed."""
    MEMORY = 71
    """The machine or the device ran out of memory."""
    OUTPUT = 73
    """The output exists already or its place cannot be written to."""
    IO = 74
    """Reading or writing failed: disk full, stale mount."""
    INTERRUPTED = 130
    TERMINATED = 143


class ToolkitError(Exception):
    """A failure that the user is told in one sentence, without a traceback."""

    code = ExitCode.INTERNAL


class UserError(ToolkitError):
    """Something that the user must correct before another run can succeed."""

    code = ExitCode.USER


class SpecError(UserError):
    """The experiment spec does not parse or is invalid."""


class DatasetError(UserError):
    """Images or labels are missing, unreadable or empty."""


class ModelError(UserError):
    """A model file is missing, of another kind, or does not fit the experiment spec."""


class UsageError(ToolkitError):
    """The command line is wrong in a way that argparse cannot see."""

    code = ExitCode.USAGE


class DivergedError(ToolkitError):
    """The loss is no longer a finite number."""

    code = ExitCode.DIVERGED


class OutputError(ToolkitError):
    """The output file exists already, or its folder cannot be made."""

    code = ExitCode.OUTPUT


class InterruptedRunError(ToolkitError):
    """SIGINT or SIGTERM arrived; whatever could be kept has been kept."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"interrupted by signal {signum}")
        self.signum = signum
        self.code = ExitCode(128 + signum)
