"""The one training loop: any model, any objective, on Lightning Fabric.

The random numbers of an epoch are a function of the seed and the epoch alone, and the whole state after an epoch is
one file. So training that was interrupted anywhere continues from its last checkpoint to the weights that it would have
had, bit for bit (on one CPU process).
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from motet.data.batch import Batch
from motet.data.dataset import PopulationDataset
from motet.errors import InputError
from motet.models.randomness import draws_from
from motet.training.history import Epoch
from motet.training.learner import Learner, Sealed
from motet.training.run import Run
from motet.training.settings import TrainingSettings
from motet.training.state import TrainingState, fingerprint


def train(
    learner: Learner,
    dataset: PopulationDataset,
    validation: PopulationDataset | None,
    settings: TrainingSettings,
    *,
    seed: int,
    run: Run | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> list[Epoch]:
    """Train in place; the learner ends with its best weights (its last, without validation).

    Args:
        learner: see `Learner`.
        dataset: the training trials, as the model reads them.
        validation: trials to choose the best epoch by.
        settings: see `TrainingSettings`.
        seed: of order, dropout and hiding.
        run: where the checkpoint, the history and TensorBoard events go; training continues from its checkpoint.
        on_epoch: called after every epoch.

    Returns:
        The history.

    Raises:
        InputError: if the run's checkpoint is of other settings or data, or another command works in its folder; if the
            loss is no longer finite.
    """
    settings = settings.chosen()
    learner.train()
    learner.check_room(dataset)
    state = TrainingState(learner, settings, len(dataset), fingerprint(learner, dataset, validation, settings, seed))
    with contextlib.ExitStack() as stack:
        fabric = _fabric(settings)
        if run is not None and fabric.is_global_zero:
            stack.enter_context(run.claimed())
        if run is not None and run.has_tensors("checkpoint"):
            state.read(run)
        log = stack.enter_context(_tensorboard(settings, run, state.epoch))
        state.to(fabric.device)
        module = cast(nn.Module, torch.compile(learner, dynamic=True)) if settings.compile else learner
        wrapped, optimizer = fabric.setup(module, state.optimizer)
        last_saved = time.monotonic()
        while not state.is_finished:
            started = time.monotonic()
            train_loss, rate = _one_epoch(fabric, wrapped, optimizer, state, dataset, seed)
            scores = math.nan, math.nan
            is_last = state.epoch + 1 == state.n_epochs
            is_judged = is_last or (state.epoch + 1) % learner.judged_every(state.n_epochs) == 0
            if validation is not None and is_judged:
                with state.averaged_weights():
                    scores = evaluate(learner, validation, settings.batch_trials or len(validation))
            row = Epoch(state.epoch + 1, train_loss, *scores, rate, time.monotonic() - started)
            state.end_epoch(row, is_validated=validation is not None)
            if not fabric.is_global_zero:
                continue
            if run is not None:
                if state.is_finished or time.monotonic() - last_saved >= settings.checkpoint_seconds:
                    state.write(run)
                    last_saved = time.monotonic()
                log(row)
            if on_epoch is not None:
                on_epoch(row)
        state.to(torch.device("cpu"))
        if run is not None and fabric.is_global_zero:
            run.write_history(state.history)
    state.load_best()
    learner.eval()
    return state.history


def _one_epoch(
    fabric: Fabric, wrapped: Any, optimizer: Any, state: TrainingState, dataset: PopulationDataset, seed: int
) -> tuple[float, float]:
    """One pass over the training trials; the mean loss and the last learning rate."""
    settings, epoch = state.settings, state.epoch
    assert settings.batch_trials is not None
    n_steps = settings.steps_per_epoch(len(dataset))
    epoch_seed = int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
    generator = torch.Generator().manual_seed(epoch_seed)
    order = torch.randperm(len(dataset), generator=generator).numpy()
    losses, rate = [], 0.0
    state.learner.train()
    dropout = torch.Generator(fabric.device).manual_seed(epoch_seed + fabric.global_rank)
    with draws_from(state.learner, dropout):
        for step in range(n_steps):
            trials = order[step * settings.batch_trials : (step + 1) * settings.batch_trials]
            mine = trials[fabric.global_rank :: fabric.world_size]
            if len(mine) == 0:  # every process must take every step
                mine = trials[:1]
            batch = state.learner.objective.hide(dataset.batch(mine), generator)
            rate = state.set_learning_rate(_schedule(settings, epoch * n_steps + step, state.n_epochs * n_steps))
            losses.append(_backward(fabric, wrapped, state.learner.parts(batch)))
            optimizer.step()
            optimizer.zero_grad()
            state.average()
    train_loss = float(cast(Tensor, fabric.all_reduce(torch.stack(losses).mean(), reduce_op="mean")))
    if not math.isfinite(train_loss):
        raise InputError(
            f"the loss is {train_loss} in epoch {epoch + 1}; lower training.learning_rate, or check the values for "
            "extremes."
        )
    return train_loss, rate


def _backward(fabric: Fabric, wrapped: Any, parts: list[Batch]) -> Tensor:
    """Gradients of a step, one part of its batch at a time; the mean loss, parts weighted by their trials."""
    n_trials = sum(map(len, parts))
    total = torch.zeros((), device=fabric.device)
    for number, part in enumerate(parts, start=1):
        with fabric.no_backward_sync(wrapped, enabled=number < len(parts)):
            loss = wrapped(Sealed(part.to(fabric.device))) * (len(part) / n_trials)
            fabric.backward(loss)
        total += loss.detach()
    return total


@torch.no_grad()
def evaluate(learner: Learner, dataset: PopulationDataset, batch_trials: int) -> tuple[float, float]:
    """Loss and score of a learner, without dropout; hidden is what is hidden in validation too."""
    losses, outputs, batches = [], [], []
    for loss, prediction, batch in learner.judged(dataset, batch_trials):
        losses.append(loss * len(batch))
        outputs.append(prediction)
        batches.append(batch)
    return sum(losses) / sum(map(len, batches)), learner.objective.score(outputs, batches)


def _schedule(settings: TrainingSettings, step: int, n_steps: int) -> float:
    """The share of the highest learning rate: it rises linearly, then falls as half a cosine."""
    n_warmup = settings.warmup_fraction * n_steps
    if step < n_warmup:
        return (step + 1) / (n_warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - n_warmup) / (n_steps - n_warmup)))


def _fabric(settings: TrainingSettings) -> Fabric:
    several = settings.devices * settings.n_nodes > 1
    try:
        fabric = Fabric(
            accelerator=settings.accelerator,
            devices=settings.devices,
            num_nodes=settings.n_nodes,
            precision=settings.precision,
            strategy="ddp" if several else "auto",
        )
        fabric.launch()
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"cannot train on accelerator={settings.accelerator!r} with devices={settings.devices}, "
            f"precision={settings.precision!r} ({error}); choose what this machine has, such as accelerator='cpu'."
        ) from error
    return fabric


@contextlib.contextmanager
def _tensorboard(settings: TrainingSettings, run: Run | None, epoch: int) -> Iterator[Callable[[Epoch], None]]:
    if not settings.tensorboard or run is None:
        yield lambda row: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError(
            "training.tensorboard needs TensorBoard; install it: pip install 'motet[tensorboard]'."
        ) from error

    with SummaryWriter(str(run.folder / "tensorboard"), purge_step=epoch + 1) as writer:

        def log(row: Epoch) -> None:
            for name, value in dataclasses.asdict(row).items():
                if name != "epoch" and math.isfinite(value):
                    writer.add_scalar(name, value, row.epoch)

        yield log
