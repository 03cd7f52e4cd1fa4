"""What a person should know of a stage before it has run: said at once, not when the GPU's hours are spent."""

from __future__ import annotations

from yolo_operator.api.spec import Spec
from yolo_operator.api.status import Warn
from yolo_operator.pipeline.values import StageKey
from yolo_operator.toolkit.dialects import dialect


def foreseen(spec: Spec, key: StageKey) -> list[Warn] | None:
    """The warnings that a stage's record carries from its first day; None when there are none."""
    if not dialect(spec.toolkit.profile).ignores_qat(spec, key.name):
        return None
    message = f"{spec.toolkit.profile} ignores enableQat on a pruned model"
    if key.name == "retrain":
        message += ": the result is not quantisation-aware. qat: FromTrain trains with it, prunes and retrains with it"
    else:
        message += ": the result is quantisation-aware only if prunedModelPath already is, and int8 is calibrated"
    return [Warn(reason="QatIgnored", message=message)]
