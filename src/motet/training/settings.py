"""How a model is trained."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from motet.errors import InputError
from motet.settings import check_choices


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
    """How a model is trained.

    Attributes:
        max_steps: how long to train, rounded to whole epochs, at least one; the learning rate falls to zero at the end.
        batch_trials: trials per step.
        epoch_steps: an epoch is a pass over the training trials, or this many steps if that is less. After each,
            progress is told, validated and saved.
        learning_rate: of AdamW, at its highest.
        table_learning_rate: of what belongs to single individuals, at its highest (see `TableAdam`).
        weight_decay: of AdamW, on matrices (not on biases, norms, scales or individuals' own weights).
        warmup_fraction: of the steps, over which the learning rate rises.
        gradient_clip: largest norm of the gradient.
        averaging: decay per step of the running mean of the weights, which is what is evaluated and kept; 0 for none.
        validation: fraction of the training trials held out, to stop early and keep the best epoch. With 0, all trials
            train and the last weights are kept: where trials are few, they are worth more than a good moment to stop.
        patience: epochs without a better validation loss after which training stops.
        checkpoint_seconds: least time between two checkpoints.
        accelerator: "cpu", "gpu" or "auto".
        devices: processes (or GPUs) per machine.
        n_nodes: machines.
        precision: "32-true", or mixed precision.
        compile: whether to compile the model with torch.compile.
        tensorboard: whether to write TensorBoard events too (needs motet[tensorboard]).
    """

    max_steps: int = 300
    batch_trials: int = 32
    epoch_steps: int = 200
    learning_rate: float = 3e-3
    table_learning_rate: float = 3e-2
    weight_decay: float = 0.1
    warmup_fraction: float = 0.1
    gradient_clip: float = 1.0
    averaging: float = 0.98
    validation: float = 0.0
    patience: int = 50
    checkpoint_seconds: float = 2.0
    accelerator: Literal["cpu", "gpu", "auto"] = "cpu"
    devices: int = 1
    n_nodes: int = 1
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    compile: bool = False
    tensorboard: bool = False

    def __post_init__(self) -> None:
        check_choices(self)
        least = {"max_steps": 1, "batch_trials": 1, "epoch_steps": 1, "patience": 1, "devices": 1, "n_nodes": 1}
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                raise InputError(f"training.{name} is {getattr(self, name)}; give at least {lowest}.")
        if (
            not min(self.learning_rate, self.table_learning_rate) > 0
            or not self.gradient_clip > 0
            or self.weight_decay < 0
        ):
            raise InputError("learning rates and gradient_clip must be above 0, weight_decay not below.")
        for name in ("averaging", "validation", "warmup_fraction"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"training.{name} is {getattr(self, name)}; give a number from 0 to below 1.")

    def steps_per_epoch(self, n_trials: int) -> int:
        return min(math.ceil(n_trials / self.batch_trials), self.epoch_steps)

    def n_epochs(self, n_trials: int) -> int:
        """How many epochs are nearest to `max_steps`."""
        return max(1, round(self.max_steps / self.steps_per_epoch(n_trials)))
