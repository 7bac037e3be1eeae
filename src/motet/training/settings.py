"""How a model is trained."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from motet.settings import Count, Fraction, NonNegative, Positive, Settings

FEWEST_STEPS, FEW_TARGETS = 300, 128
SHOWN = 4800  # trials to a decoder, where targets are few
LEAST_STEPS, MOST_EMBEDDINGS = 100, 5e6


@dataclasses.dataclass(frozen=True)
class TrainingSettings(Settings, role="training"):
    """How a model is trained.

    Attributes:
        max_steps: how long to train, rounded to whole epochs, at least one; the learning rate falls to zero at the end.
            By default 300. For decoders as many as show 4800 trials, more where more than 128 targets are known, as the
            fourth root of them, and fewer where that would take long: five million embeddings of an individual at a
            time, about half a minute.
        batch_trials: trials per step; by default 32, and for decoders 8: many small steps learn more than few large.
        epoch_steps: an epoch is a pass over the training trials, or this many steps if that is less. After each,
            progress is shown, validated and saved.
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

    Example:
        >>> import motet
        >>> motet.EITClassifier(training=TrainingSettings(max_steps=100, accelerator="auto")).training.max_steps
        100
    """

    max_steps: Count | None = None
    batch_trials: Count | None = None
    epoch_steps: Count = 200
    learning_rate: Positive = 3e-3
    table_learning_rate: Positive = 3e-2
    weight_decay: NonNegative = 0.1
    warmup_fraction: Fraction = 0.1
    gradient_clip: Positive = 1.0
    averaging: Fraction = 0.98
    validation: Fraction = 0.0
    patience: Count = 50
    checkpoint_seconds: float = 2.0
    accelerator: Literal["cpu", "gpu", "auto"] = "cpu"
    devices: Count = 1
    n_nodes: Count = 1
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    compile: bool = False
    tensorboard: bool = False

    def chosen(self, n_known: int = 0, n_embeddings: float = 0.0) -> TrainingSettings:
        """With what was left open.

        Args:
            n_known: targets to learn from.
            n_embeddings: of one trial, over all individuals, times and members, in a step.

        Example:
            >>> TrainingSettings(batch_trials=16).chosen(2048, 500.0).max_steps
            600
        """
        batch_trials = self.batch_trials or 32
        wished = SHOWN / batch_trials * max(1.0, n_known / FEW_TARGETS) ** 0.25 if n_known else FEWEST_STEPS
        affordable = max(LEAST_STEPS, MOST_EMBEDDINGS / max(1.0, n_embeddings * batch_trials))
        max_steps = self.max_steps or round(min(wished, affordable))
        return dataclasses.replace(self, max_steps=max_steps, batch_trials=batch_trials)

    def steps_per_epoch(self, n_trials: int) -> int:
        return min(math.ceil(n_trials / (self.batch_trials or 32)), self.epoch_steps)

    def n_epochs(self, n_trials: int) -> int:
        """How many epochs are nearest to `max_steps`."""
        return max(1, round((self.max_steps or FEWEST_STEPS) / self.steps_per_epoch(n_trials)))
