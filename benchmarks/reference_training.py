"""Training of an `EITReference` as its authors released it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from motet.errors import InputError
from motet.models.randomness import draws_from
from motet.models.reference import EITReference, ReferenceLogits
from motet.settings import Count, Positive, check_arguments


def train_reference(
    model: EITReference,
    values: Float[Tensor, "window time individual *feature"],
    labels: Int[Tensor, " window"],
    *,
    n_epochs: Count,
    seed: int,
    batch_size: Count = 16,
    learning_rate: Positive = 1e-4,
    individual_weight: float = 0.5,
    max_seconds: float = math.inf,
    augment: Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]] | None = None,
    on_epoch: Callable[[int, float, EITReference], object] | None = None,
) -> list[float]:
    """Train an `EITReference` as released: cross-entropy(population) + ½·cross-entropy(individual), by Adam.

    Every bin carries the class of its window. The release trains for 400 epochs on windows of 2 bins. The model stays
    on its device and is left in evaluation mode; the global random state is left alone.

    Args:
        model: changed in place.
        values: what the model reads (see `EITReference`), one window per row.
        labels: the class of each window, from 0.
        n_epochs: passes over the windows.
        seed: of the order of windows, of dropout and of `augment`.
        batch_size: windows per step; the last batch of an epoch may be smaller.
        learning_rate: of Adam.
        individual_weight: of the cross-entropy of the individual head.
        max_seconds: of training, after which no epoch is begun.
        augment: from values and labels of a batch, and a generator, those to train on.
        on_epoch: called after each epoch with its number (from 1), the seconds of training so far (without these
            calls) and the model in evaluation mode; it cannot disturb the training's random numbers.

    Returns:
        The mean training loss of each epoch.

    Raises:
        InputError: if labels do not fit values or classes, or a number is not positive.

    Example:
        >>> values = torch.tensor([-5.0, 5.0]).repeat(8)[:, None, None].expand(16, 2, 3)
        >>> losses = train_reference(EITReference(3, 2), values, torch.arange(16) % 2, n_epochs=2, seed=0)
        >>> len(losses)
        2
    """
    numbers = {"n_epochs": n_epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    check_arguments(train_reference, numbers)
    if not max_seconds > 0:
        raise InputError(f"max_seconds is {max_seconds}; give a number above 0.")
    _check_labels(values, labels, n_classes=model.n_classes)
    device = model.neuron_embed.device
    values, labels = values.to(device), labels.to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    generator = torch.Generator().manual_seed(seed)
    seconds = 0.0
    losses: list[float] = []
    while len(losses) < n_epochs and seconds < max_seconds:
        start = time.perf_counter()
        model.train()
        total = torch.zeros((), device=device)
        order = torch.randperm(len(values), generator=generator)
        dropout = torch.Generator(device).manual_seed(int(torch.randint(2**62, (), generator=generator)))
        with draws_from(model, dropout):
            for chosen in torch.split(order.to(device), batch_size):
                optimizer.zero_grad()
                batch = values[chosen], labels[chosen]
                read, label = batch if augment is None else augment(*batch, generator)
                loss = _released_loss(model(read), label, individual_weight)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                total += loss.detach() * len(chosen)
        losses.append(total.item() / len(values))
        model.eval()
        seconds += time.perf_counter() - start
        if on_epoch is not None:
            on_epoch(len(losses), seconds, model)
    return losses


def _released_loss(
    logits: ReferenceLogits, labels: Int[Tensor, " window"], individual_weight: float
) -> Float[Tensor, ""]:
    per_bin = labels.repeat_interleave(logits.population.shape[1])
    population = cross_entropy(logits.population.flatten(0, 1), per_bin)
    return population + individual_weight * cross_entropy(logits.individual.flatten(0, 1), per_bin)


def _check_labels(values: Tensor, labels: Tensor, *, n_classes: int) -> None:
    if labels.shape != values.shape[:1] or labels.dtype != torch.int64 or len(labels) == 0:
        raise InputError(
            f"labels have shape {tuple(labels.shape)} and type {labels.dtype} for values of shape "
            f"{tuple(values.shape)}; give one int64 class per window."
        )
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest >= n_classes:
        raise InputError(f"labels go from {lowest} to {highest}; give classes from 0 to {n_classes - 1}.")
