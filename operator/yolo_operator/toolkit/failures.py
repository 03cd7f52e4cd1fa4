"""Why a stage does not succeed: reasons, who must act, and the toolkits' own words for them.

The runner reads these tables as `toolkits.json` (see runner_data.py): in a toolkit's container there is nothing but that file and
the standard library. docs/stage-contract.md lists the reasons.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FailureClass(StrEnum):
    """Who has to act on a failure."""

    USER = "user"
    """Never retried: the input must change."""
    TRANSIENT = "transient"
    """Retried up to retry.limit."""
    INFRASTRUCTURE = "infrastructure"
    """Retried without counting."""


USER, TRANSIENT, INFRASTRUCTURE = FailureClass

REASONS: dict[str, tuple[FailureClass, str]] = {
    "Interrupted": (INFRASTRUCTURE, "Stopped by {}."),
    "GpuUnavailable": (INFRASTRUCTURE, "No GPU works in the container: check the driver and the nvidia.com/gpu limit ({})."),
    "NothingToAdopt": (INFRASTRUCTURE, "No finished result to take over: {}."),
    "WorkspaceInUse": (USER, "The workspace directory belongs to experiment {}: give each its own spec.workspace.subPath."),
    "WorkspaceNotWritable": (USER, "The workspace cannot be written: check the claim's access mode and the pod's fsGroup ({})."),
    "NoSpace": (USER, "The volume is full: enlarge the workspace's claim or remove old stages from it ({})."),
    "StorageFailed": (TRANSIENT, "The storage failed ({})."),
    "KeyMissing": (USER, "The toolkit's key {}: put it into the Secret that spec.toolkit.encryptionKeySecretRef names."),
    "WrongKey": (USER, "The model cannot be opened with this key: all stages need the key that it was saved with ({})."),
    "ExecutableMissing": (USER, "The image has no `{}` that can be run: check spec.toolkit.image."),
    "ProfileMismatch": (USER, "The image writes as another toolkit than spec.toolkit.profile says: {}."),
    "InputMissing": (USER, "An input is not there: put it back, or run the stage that makes it again ({})."),
    "InputChanged": (USER, "The input {} is not the one that was reported: run the stage that makes it again."),
    "DatasetUnusable": (USER, "The dataset cannot be used: {}"),
    "CalibrationUnusable": (USER, "The int8 ranges would be measured on noise: {}."),
    "BadExperimentSpec": (USER, "The toolkit refused the experiment spec or its command line: correct what it names ({})."),
    "PretrainedMismatch": (
        USER,
        "The pretrained weights are not of this network: correct yolov4Config.arch and nlayers or pretrainModelPath ({}).",
    ),
    "OutOfMemory": (TRANSIENT, "Memory ran out: {}."),
    "NonFiniteLoss": (USER, "The loss was not finite ({}): lower trainingConfig.learningRate, check labels and anchors."),
    "NothingTrained": (
        USER,
        "The toolkit said that it succeeded and trained nothing: it resumed at or after the last epoch, {}. Raise numEpochs, or "
        "start from another model.",
    ),
    "MetricMissing": (TRANSIENT, "The toolkit says that it succeeded but gave no finite {}."),
    "ArtifactMissing": (TRANSIENT, "The toolkit exited with 0 but left {}."),
    "InterruptedWithoutSignal": (TRANSIENT, "The toolkit exited with 0 before it was finished ({})."),
    "Stalled": (TRANSIENT, "The toolkit gave no sign of life for {}, and was stopped."),
    "ToolkitFailed": (TRANSIENT, "The toolkit failed: {}"),
    "RunnerError": (TRANSIENT, "The runner itself failed: {}"),
}
"""Reason → class, and the sentence for people with room for what was found."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A line of a toolkit's output that tells the cause of its end."""

    reason: str
    pattern: str
    """Searched in one line; a regular expression of Python 3.6."""
    hint: str = "{}"
    """What to tell people; the line goes where the braces are."""
    class_: FailureClass | None = None
    """None: the reason's own."""
    when: str = ""
    """Holds only if a line of this kind (outputs.py) was printed; a task: only in that, with a key; `epochEnd`."""


_GPU_MEMORY = r"Ran out of GPU memory|ResourceExhausted|OOM when allocating|CUDA(_ERROR_OUT_OF_MEMORY| out of memory)"
_HOST_HINT = "the container's; raise its limit or lower trainingConfig.nWorkers ({})"
_GPU_HINT = "the GPU's; lower batchSizePerGpu, batchSize or the input size ({})"

# A toolkit's output is read from its end upwards; the first line that one of these explains is the cause.
DIAGNOSES = (
    # What the runner itself finds out, in the form of a line.
    Diagnosis("OutOfMemory", r"^Killed by the kernel", _HOST_HINT),
    Diagnosis("ProfileMismatch", r"^no (\S*/)*(?P<name>\S+) but (.* )?(?P=name)\.(hdf5|onnx|etlt)\b", "it left {}"),
    Diagnosis("ProfileMismatch", r"^no checkpoint \S+ but .*_epoch_\d+\.(tlt|hdf5|pth)\b", "it left {}"),
    Diagnosis("ProfileMismatch", r"FileNotFoundError.*\.tlt'", "prune appended another suffix ({})", when="prune"),
    Diagnosis("WrongKey", r"^no \S+\.(etlt|onnx) but|was interrupted", when="export"),
    Diagnosis("ArtifactMissing", r"^no checkpoint of epoch", class_=USER),
    Diagnosis("ArtifactMissing", r"^no checkpoint", class_=USER, when="earlyStop"),
    Diagnosis("InterruptedWithoutSignal", r"was interrupted|^(STARTED|RUNNING|SKIPPED): "),
    Diagnosis("ToolkitFailed", r"^FAILURE: "),
    # What toolkits print.
    Diagnosis(
        "GpuUnavailable",
        r"nvidia-smi|no CUDA-capable device|CUDA_ERROR_NO_DEVICE|CUDA_ERROR_ECC|uncorrectable ECC"
        r"|CUDA driver version is insufficient",
    ),
    # Input shapes are random: a training that has saved a checkpoint may well get further from there.
    Diagnosis("OutOfMemory", _GPU_MEMORY, _GPU_HINT, TRANSIENT, when="saved"),
    Diagnosis("OutOfMemory", _GPU_MEMORY, _GPU_HINT, USER),
    Diagnosis(
        "OutOfMemory",
        r"MemoryError|Cannot allocate memory|std::bad_alloc|^Killed$|exited on signal 9\b",
        _HOST_HINT,
    ),
    Diagnosis("OutOfMemory", r"Bus error", "the shared one; raise resources.sharedMemory ({})", USER),
    Diagnosis("NoSpace", r"No space left on device|Disk quota exceeded"),
    # torch.save says no more than that fewer bytes came to lie on the volume than it wrote.
    Diagnosis("NoSpace", r"PytorchStreamWriter failed writing file|inline_container\.cc:\d+\] \. unexpected pos"),
    Diagnosis("WorkspaceNotWritable", r"Read-only file system|PermissionError"),
    Diagnosis("WrongKey", r"check the key|[Ww]rong key|file signature not found|Invalid model:"),
    Diagnosis("PretrainedMismatch", r"(not found|incorrect shape) in pretrained model"),
    Diagnosis("InputMissing", r"FileNotFoundError.*\.(hdf5|tlt|etlt|onnx|pth)\b|Unable to open file.*errno = 2\b"),
    Diagnosis("BadExperimentSpec", r"(FileNotFoundError|IsADirectoryError).*/(config|spec)[^/]*'"),
    Diagnosis(
        "CalibrationUnusable",
        r"Not enough number of images",
        "export.calibration asks for more images than there are ({})",
    ),
    Diagnosis(
        "DatasetUnusable",
        r"invalid literal for int\(\) with base 10: '\d+\.\d*'",
        "occlusion, the third column of a label, must be a whole number: write 0 ({}).",
    ),
    Diagnosis(
        "DatasetUnusable",
        r"ZeroDivisionError",
        "the validation set is empty: no image (suffix in lower case) has a label of at least 9 columns ({}).",
        when="epochEnd",
    ),
    Diagnosis("DatasetUnusable", r"ZeroDivisionError", "no image (suffix in lower case) has a label of at least 9 columns ({})."),
    Diagnosis("DatasetUnusable", r"No files match pattern", "the pattern of a tfrecordsPath matches no file ({})."),
    Diagnosis(
        "DatasetUnusable",
        r"DataLossError|corrupted record",
        "a tfrecordsPath also matches a file that is none, as a loose `/*` does ({}).",
    ),
    Diagnosis("DatasetUnusable", r"cannot identify image", "an image cannot be read ({})."),
    Diagnosis("DatasetUnusable", r"FileNotFoundError|NotADirectoryError", "a path is missing ({})."),
    Diagnosis(
        "BadExperimentSpec",
        r"ParseError|AssertionError|unrecognized arguments|arguments are required|invalid choice"
        r"|Cannot parse the checkpoint path",
    ),
)

EXIT_CODES: dict[int, tuple[str, FailureClass | None]] = {
    0: ("ArtifactMissing", None),
    2: ("BadExperimentSpec", None),
    # From here on the open toolkit's.
    64: ("ToolkitFailed", USER),
    65: ("NonFiniteLoss", None),
    71: ("OutOfMemory", None),
    74: ("StorageFailed", None),
}
"""What an exit code means when no line tells more; None: the reason's own class."""

STORAGE: dict[int, str] = {
    28: "NoSpace",  # ENOSPC
    122: "NoSpace",  # EDQUOT
    13: "WorkspaceNotWritable",  # EACCES
    1: "WorkspaceNotWritable",  # EPERM
    30: "WorkspaceNotWritable",  # EROFS
}
"""Linux's number for why a file operation failed → reason; any other is `StorageFailed`."""
