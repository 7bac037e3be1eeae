"""The EIT as its authors released it, as a rival, and its training.

What differs from the release is said in `ReferenceRival`.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss

from motet.data.dataset import PopulationDataset
from motet.data.preprocess import varies
from motet.data.recording import Recording
from motet.errors import InputError
from motet.models.randomness import draws_from
from motet.models.reference import EITReference, ReferenceLogits
from motet.rivals.method import Question, Rival, TargetQuestion, only_recording
from motet.rivals.networks import FittedNetwork
from motet.settings import Count, Positive, check_arguments
from motet.training.objectives import Target, known_rows

WINDOW_BINS = 2  # as released
BATCH_WINDOWS = 16  # as released
N_STEPS = 500  # the release makes some 20,000
LEARNING_RATE = 1e-3  # ten times the released one, to get there in fewer steps


@dataclasses.dataclass(frozen=True)
class ReferenceRival(Rival):
    """The released EIT, on windows of two bins of one population: bins t − 1 and t say what is asked of bin t.

    It reads rates in Hz about their training mean, as released; what is not observed, or before the trial, reads as
    that mean. What is asked of a trial is the mean over its windows, which do not overlap; the release counts a window
    as a trial. So that a fit takes minutes, it makes 500 steps, larger than the released ones by ten. Quantities are
    learned by their squared error.

    Attributes:
        name: the row of a table.
        seed: of weights, the order of windows and dropout.
    """

    name: str = "eit-reference"
    seed: int = 0
    is_thorough = True

    def answers(self, question: Question) -> bool:
        return isinstance(question, TargetQuestion) and question.level in ("trial", "bin")

    def learn(self, train: PopulationDataset, question: TargetQuestion) -> FittedNetwork:
        recording = only_recording(train, self.name)
        goal = question.read(recording)
        target = Target.fit(train, question.target, kind=question.kind)
        is_read = np.asarray(varies([recording]).any(axis=1))
        if not is_read.any():
            raise InputError(f"no individual of recording {recording.name!r} varies; give some with activity.")
        seen = recording.observed.sum(axis=(0, 2))[:, None]
        means = recording.values.sum(axis=(0, 2), dtype=np.float64, where=recording.observed[..., None])
        reading = _RateWindows(question, recording.individual_ids, is_read, means / np.maximum(seen, 1))
        trial, bins = reading.places(recording)
        place = (trial, bins) if question.level == "bin" else (trial,)
        known = np.flatnonzero(known_rows(recording, question.target)[place])
        chosen = known[np.linspace(0, len(known) - 1, min(len(known), N_STEPS * BATCH_WINDOWS)).astype(int)]
        goals = goal[tuple(axis[chosen] for axis in place)]
        if target.classes:
            labels = torch.from_numpy(target.codes(goals))
        else:
            labels = torch.from_numpy(target.standardised(goals).reshape(len(goals), -1)).float()
        n_outputs = len(target.classes) or len(target.mean)
        model = EITReference(int(is_read.sum()), n_outputs, n_features=recording.n_features, seed=self.seed)
        train_reference(
            model,
            reading.windows(recording, trial[chosen], bins[chosen]),
            labels,
            n_epochs=max(1, round(N_STEPS * BATCH_WINDOWS / len(chosen))),
            learning_rate=LEARNING_RATE,
            batch_size=BATCH_WINDOWS,
            seed=self.seed,
        )
        return FittedNetwork(self, model, reading, target)


REFERENCES = (ReferenceRival(),)


@dataclasses.dataclass(frozen=True, eq=False)
class _RateWindows:
    """How windows of rates are read from a recording.

    Attributes:
        question: that is asked.
        individual_ids: of the training recording.
        is_read: (individual,) those who vary in training.
        mean: (individual, feature) of values, in training.
    """

    question: TargetQuestion
    individual_ids: tuple[str, ...]
    is_read: NDArray[np.bool_]
    mean: NDArray[np.float64]

    def places(self, recording: Recording) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(window,) trial, and the last bin: each observed one, or for a target per trial each second one."""
        bins = recording.bin_is_observed
        if self.question.level == "trial":
            is_second = np.arange(recording.n_bins) % WINDOW_BINS == WINDOW_BINS - 1
            bins = bins & (is_second | (recording.trial_lengths < WINDOW_BINS)[:, None])
        trial, time = np.nonzero(bins)
        return trial, time

    def windows(
        self, recording: Recording, trial: NDArray[np.int64], bins: NDArray[np.int64]
    ) -> Float[Tensor, "window time individual *feature"]:
        """Rates in Hz about their training mean; zero where not observed, and before the trial."""
        if recording.individual_ids != self.individual_ids or recording.n_features != self.mean.shape[1]:
            raise InputError(
                f"recording {recording.name!r} has {recording.n_individuals} individuals with {recording.n_features} "
                f"features, not the {len(self.individual_ids)} of the training recording in their order; the released "
                "EIT knows each by its place, use recording.select(individuals=…)."
            )
        time = bins[:, None] + np.arange(1 - WINDOW_BINS, 1)
        place = (trial[:, None], slice(None), np.maximum(time, 0))
        is_there = recording.observed[place] & (time >= 0)[..., None]
        values = (recording.values[place] - self.mean) / recording.bin_seconds
        rates = np.where(is_there[..., None], values, 0)[:, :, self.is_read].astype(np.float32)
        return torch.from_numpy(rates[..., 0] if recording.n_features == 1 else rates)

    @torch.no_grad()
    def found(self, model: EITReference, recording: Recording) -> NDArray[np.float64]:
        """What the model says of a recording, (trial, output) or (trial, time, output); NaN where nobody is observed.

        Of classes the logarithms of their probabilities, of a trial the mean over its windows.
        """
        trial, bins = self.places(recording)
        found = np.zeros((*recording.bin_is_observed.shape, model.n_classes))
        for rows in np.array_split(np.arange(len(trial)), -(-len(trial) // BATCH_WINDOWS) or 1):
            outputs = model(self.windows(recording, trial[rows], bins[rows])).population
            outputs = outputs.log_softmax(dim=-1) if self.question.kind == "class" else outputs
            of_windows = outputs[:, -1] if self.question.level == "bin" else outputs.mean(dim=1)
            found[trial[rows], bins[rows]] = of_windows.double().numpy()
        is_there: NDArray[np.bool_] = recording.bin_is_observed
        if self.question.level == "trial":
            n_windows = np.bincount(trial, minlength=recording.n_trials)
            found, is_there = found.sum(axis=1) / np.maximum(n_windows, 1)[:, None], n_windows > 0
        found[~is_there] = np.nan
        return found


def train_reference(
    model: EITReference,
    values: Float[Tensor, "window time individual *feature"],
    labels: Int[Tensor, " window"] | Float[Tensor, "window output"],
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

    Of quantities, which the release does not decode, the squared error takes the place of the cross-entropy. Every bin
    carries the class of its window. The release trains for 400 epochs on windows of 2 bins. The model stays on its
    device and is left in evaluation mode; the global random state is left alone.

    Args:
        model: changed in place.
        values: what the model reads (see `EITReference`), one window per row.
        labels: the class of each window, from 0; or its quantities, as many as the model has classes.
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
    logits: ReferenceLogits, labels: Int[Tensor, " window"] | Float[Tensor, "window output"], individual_weight: float
) -> Float[Tensor, ""]:
    per_bin = labels.repeat_interleave(logits.population.shape[1], dim=0)
    loss = mse_loss if labels.is_floating_point() else cross_entropy
    population = loss(logits.population.flatten(0, 1), per_bin)
    return population + individual_weight * loss(logits.individual.flatten(0, 1), per_bin)


def _check_labels(values: Tensor, labels: Tensor, *, n_classes: int) -> None:
    if labels.ndim == 2 and labels.is_floating_point() and labels.shape == (len(values), n_classes):
        return
    if labels.shape != values.shape[:1] or labels.dtype != torch.int64 or len(labels) == 0:
        raise InputError(
            f"labels have shape {tuple(labels.shape)} and type {labels.dtype} for values of shape "
            f"{tuple(values.shape)}; give one int64 class per window."
        )
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest >= n_classes:
        raise InputError(f"labels go from {lowest} to {highest}; give classes from 0 to {n_classes - 1}.")
