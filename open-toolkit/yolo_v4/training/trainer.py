"""The training loop."""

from __future__ import annotations

import copy
import datetime
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from yolo_v4 import signals
from yolo_v4.data.letterbox import Mean
from yolo_v4.data.loader import Batch, BatchLoader
from yolo_v4.data.samples import Sample
from yolo_v4.errors import DivergedError, InterruptedRunError, ModelError
from yolo_v4.evaluation.evaluate import Evaluation, evaluate
from yolo_v4.model.device import prepare_images
from yolo_v4.model.files import Model, pack, write_packed
from yolo_v4.model.head import Decoder, corners_and_scores
from yolo_v4.reporting.bars import KerasBar
from yolo_v4.reporting.status import RUNNING, StatusLog, epoch_numbers
from yolo_v4.reporting.table import precision_table
from yolo_v4.reporting.training_log import EpochRow, TrainingLog
from yolo_v4.spec.messages import Experiment
from yolo_v4.training.ema import MovingAverage
from yolo_v4.training.loss import YoloLoss
from yolo_v4.training.optimise import Penalty, freeze, make_optimizer, set_training
from yolo_v4.training.schedule import make_schedule
from yolo_v4.training.setup import Start
from yolo_v4.training.stopping import EarlyStop


@dataclass(frozen=True)
class Output:
    """Where results go: ``<weights>/<stem>_epoch_NNN.pth``, the log and the status file."""

    weights: Path
    stem: str
    log: TrainingLog
    status: StatusLog

    def checkpoint(self, epoch: int) -> Path:
        """The checkpoint's path after so many epochs."""
        return self.weights / f"{self.stem}_epoch_{epoch:03d}.pth"


@dataclass(frozen=True)
class Precision:
    """Whether to compute in bfloat16, and where."""

    device: torch.device
    half: bool

    def autocast(self) -> torch.autocast:
        """Context of a forward pass."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.half)


class Trainer:
    """Trains a model epoch by epoch; after each: validation, checkpoint, log row, status record, in this order."""

    def __init__(
        self,
        experiment: Experiment,
        start: Start,
        loader: BatchLoader,
        validation: Sequence[Sample],
        mean: Mean,
        precision: Precision,
        output: Output,
    ) -> None:
        self._experiment = experiment
        self._config = experiment.training_config
        self._model: Model = start.model
        self._loader = loader
        self._validation = validation
        self._mean = mean
        self._precision = precision
        self._output = output
        self._epoch = start.epoch
        self._steps = len(loader)
        self._schedule = make_schedule(self._config.learning_rate)
        network = self._model.network.to(precision.device, memory_format=torch.channels_last)
        freeze(network, experiment.yolov4_config.freeze_blocks, norms=experiment.yolov4_config.freeze_bn)
        self._network = network
        self._optimizer = make_optimizer(self._config.optimizer, network.parameters(), self._schedule(0.0))
        self._penalty = Penalty(self._config.regularizer, network)
        weights = experiment.class_weighting_config.class_weighting
        self._loss = YoloLoss(
            experiment.yolov4_config,
            self._model.head,
            [float(weights.get(name, 1.0)) for name in self._model.classes],
            precision.device,
        )
        self._average = MovingAverage(network) if self._config.model_ema else None
        self._stop = EarlyStop(self._config.early_stopping)
        self._restore(start.training)
        # What an interruption writes: the state at the end of the last epoch, None when that is on disk already.
        self._unsaved: dict[str, Any] | None = None

    def run(self) -> None:
        """Train all epochs that are left.

        Raises:
            InterruptedRunError: a signal arrived; the last finished epoch has a checkpoint.
            DivergedError: the loss is no finite number.

        """
        with signals.deferred():
            try:
                while self._epoch < self._config.num_epochs and not self._stop.reached:
                    self._run_epoch()
                    signals.check()
            except InterruptedRunError:
                if self._unsaved is not None:
                    self._write(self._unsaved)
                raise

    def _run_epoch(self) -> None:
        began = time.monotonic()
        print(f"Epoch {self._epoch + 1}/{self._config.num_epochs}", flush=True)
        loss = self._train_epoch()
        self._stop.add(loss)
        epoch = self._epoch + 1
        last = epoch == self._config.num_epochs or self._stop.reached
        result, validation_loss = None, None
        if last or epoch % self._config.checkpoint_interval == 0:
            result, validation_loss = self._validate()
        if self._stop.reached:
            print(f"Epoch {epoch:05d}: early stopping")
        self._epoch = epoch
        state = self._state()
        if result is not None:
            self._write(state)
        else:
            self._unsaved = copy.deepcopy(state)
        self._report(loss, result, validation_loss, time.monotonic() - began)

    def _train_epoch(self) -> float:
        """One pass; returns the mean loss."""
        set_training(self._network)
        bar = KerasBar(self._steps)
        total = 0.0
        for step, batch in enumerate(self._loader.epoch(self._epoch)):
            signals.check()
            loss = self._train_step(batch, self._rate(step))
            if not math.isfinite(loss):
                print(f"Batch {step}: Invalid loss, terminating training", flush=True)
                raise DivergedError(f"the loss is {loss} at epoch {self._epoch + 1}, batch {step}")
            total += loss
            bar.update(step + 1, total / (step + 1))
        return total / self._steps

    def _train_step(self, batch: Batch, rate: float) -> float:
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        images = prepare_images(torch.from_numpy(batch.images).to(self._precision.device), self._mean)
        with self._precision.autocast():
            raws = self._network(images)
        loss: Tensor = self._loss(raws, batch.targets) + self._penalty()
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        if self._average is not None:
            self._average.update(self._network)
        return float(loss.detach())

    def _rate(self, step: int) -> float:
        return self._schedule((self._epoch * self._steps + step) / (self._config.num_epochs * self._steps))

    def _validate(self) -> tuple[Evaluation, float]:
        """Average precision and the loss without its penalty, over the validation images."""
        network = self._average.network if self._average is not None else self._network
        network.eval()
        decode = Decoder(self._model.head)
        losses: list[float] = []
        counts: list[int] = []

        @torch.no_grad()
        def predict(
            images: NDArray[np.uint8], targets: NDArray[np.float32]
        ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            raws = network(prepare_images(torch.from_numpy(images).to(self._precision.device), self._mean))
            losses.append(float(self._loss(raws, targets)))
            counts.append(len(images))
            corners, scores = corners_and_scores(decode(raws))
            return corners.cpu().numpy(), scores.cpu().numpy()

        result = evaluate(
            predict, self._validation, self._experiment, self._model.classes, self._mean, on_batch=signals.check
        )
        print("Start to calculate AP for each class")
        print(precision_table(result.precisions, result.mean))
        loss = float(np.average(losses, weights=counts))
        print(f"Validation loss: {loss}\n", flush=True)
        return result, loss

    def _report(self, loss: float, result: Evaluation | None, validation_loss: float | None, seconds: float) -> None:
        rate = self._optimizer.param_groups[0]["lr"]
        precisions = result.precisions if result else None
        mean = result.mean if result else None
        self._output.log.write(EpochRow(self._epoch, loss, rate, precisions, mean, validation_loss))
        graphical, kpi = epoch_numbers(
            loss=loss, learning_rate=rate, validation_loss=validation_loss, mean_precision=mean
        )
        left = (self._config.num_epochs - self._epoch) * seconds
        head = {
            "epoch": self._epoch,
            "max_epoch": self._config.num_epochs,
            "time_per_epoch": str(datetime.timedelta(seconds=seconds)),
            "eta": str(datetime.timedelta(seconds=left)),
        }
        self._output.status.write(RUNNING, "Training loop in progress", head=head, graphical=graphical, kpi=kpi)

    def _state(self) -> dict[str, Any]:
        """What a checkpoint holds: the average when there is one, and then the network itself for resuming."""
        training: dict[str, Any] = {"optimizer": self._optimizer.state_dict(), "stop": self._stop.state()}
        model = self._model
        if self._average is not None:
            training["network"] = self._network.state_dict()
            training["updates"] = self._average.updates
            model = Model(self._average.network, model.head, model.classes)
        return pack(model, epoch=self._epoch, training=training)

    def _write(self, state: dict[str, Any]) -> None:
        path = self._output.checkpoint(state["epoch"])
        write_packed(path, state)
        self._unsaved = None
        print(f"Epoch {state['epoch']:05d}: saving model to {path}", flush=True)

    def _restore(self, training: dict[str, Any]) -> None:
        """Take up a checkpoint's state; a pruned or pretrained model has none."""
        if "network" in training:
            self._network.load_state_dict(training["network"])
        if self._average is not None:
            self._average.updates = int(training.get("updates", 0))
        if "stop" in training:
            self._stop.restore(training["stop"])
        if "optimizer" in training:
            try:
                self._optimizer.load_state_dict(training["optimizer"])
            except (ValueError, KeyError) as error:
                raise ModelError(f"the checkpoint's optimizer does not fit the spec's: {error}") from error
