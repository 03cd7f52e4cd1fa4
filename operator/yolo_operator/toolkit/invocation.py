"""What a stage runs, as values: see `yolo_operator.dialects.invocation`."""

from yolo_operator.dialects.invocation import DATASET_MOUNT, KEY_TOKEN, SPEC_FILE, DataPaths, Invocation

__all__ = ["DATASET_MOUNT", "KEY_TOKEN", "SPEC_FILE", "DataPaths", "Invocation"]
