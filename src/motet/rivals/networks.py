"""Networks as rivals: an MLP, a GRU, a TCN and the Neural Data Transformer, trained with care and in bounded time.

All read √counts (values as they are where some are negative), each individual about its training mean and all over one
training spread; what is missing reads as the training mean. A part of the training trials chooses among a few settings
and says when to stop; then the network is trained anew on all of them, for as many passes over the trials.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor, nn

from motet.data.dataset import PopulationDataset
from motet.data.preprocess import Preprocess, PreprocessSettings
from motet.data.recording import Recording
from motet.data.windows import Windows
from motet.errors import InputError
from motet.models.randomness import WeightsFrom, draws_from
from motet.rivals.method import Answer, Question, Rival, TargetQuestion, only_recording
from motet.rivals.sequences import GRU, MLP, NDT, TCN, Sequence, poisson_loss
from motet.training.objectives import Target, known_rows

N_WINDOW = 128  # bins; longer trials are cut into windows that overlap
VALIDATION = 0.2  # of the training trials
MOST_VALIDATED = 1000  # windows
MOST_STEPS, N_LOOKS, PATIENCE = 600, 30, 6  # of training; looks at the validation part; how many may gain nothing
PRETRAINING_STEPS, MASKED = 300, 0.25  # of the NDT, and the share of bins that are hidden in it
BATCH_BINS, BATCH_WINDOWS = 2048, (8, 32)  # of a batch, which has no fewer and no more windows
WARMUP_STEPS, WEIGHT_DECAY, MOST_GRADIENT = 20, 0.01, 1.0
AVERAGED = 0.98  # of the running mean of weights, how much is kept at each step


class Options(NamedTuple):
    """How a network is made and trained.

    Attributes:
        n_components: principal components of the inputs that it reads; None for the inputs themselves. Adam divides
            the gradient of each weight by its size, and so undoes the scale of individuals that say little; few
            components do not let it.
        width: of hidden layers.
        dropout: of hidden states.
        input_dropout: of inputs.
        learning_rate: after warming up.
    """

    n_components: int | None
    width: int
    dropout: float
    input_dropout: float
    learning_rate: float


# Chosen on parts of the training trials of the first folds of the reach recordings.
OPTIONS = (
    Options(16, 64, 0.3, 0.2, 3e-3),
    Options(16, 64, 0.3, 0.4, 3e-3),
    Options(40, 64, 0.3, 0.3, 3e-3),
    Options(None, 128, 0.4, 0.4, 3e-3),
)
NDT_OPTIONS = (Options(40, 64, 0.2, 0.2, 2e-3), Options(None, 64, 0.2, 0.2, 1e-3))


@dataclasses.dataclass(frozen=True)
class Network(Rival):
    """A network that reads the bins of trials, for a target of any kind, per trial or per bin.

    Quantities per bin are read from the bins up to then; all else from the whole trial (or window). What is asked of a
    trial is the mean over its bins. Trials may have any length; those of more than 128 bins are cut into windows that
    overlap. Individuals that are missing read as their training mean, and trials or bins whose target is unknown are
    left out.

    Attributes:
        name: the row of a table.
        body: the network.
        options: that are tried on a part of the training trials.
        seed: of everything random.
    """

    name: str
    body: type[Sequence]
    options: tuple[Options, ...] = OPTIONS
    seed: int = 0
    is_thorough = True

    def answers(self, question: Question) -> bool:
        return isinstance(question, TargetQuestion) and question.level in ("trial", "bin")

    def learn(self, train: PopulationDataset, question: TargetQuestion) -> FittedNetwork:
        question.read(only_recording(train, self.name))
        reading = NetworkReading.fit(train, question)
        windows = reading.windows(train).dataset
        examples = reading.examples(windows)
        trains, held_out = map(reading.examples, _parts(windows, question, self.seed))
        judged = {options: self._judged(trains, held_out, reading, options) for options in self.options}
        options = min(judged, key=lambda one: judged[one][0])
        loss, n_passes = judged[options]
        n_steps = max(1, round(n_passes * len(examples) / examples.n_batch))
        network = next(itertools.islice(self._training(examples, reading, options), n_steps - 1, None))
        chosen = {**options._asdict(), "n_steps": n_steps}
        about = {"chosen": chosen, "validation_loss": loss}
        return FittedNetwork(self, network, reading, reading.target, about)

    def _judged(
        self, train: Examples, held_out: Examples, reading: NetworkReading, options: Options
    ) -> tuple[float, float]:
        """The least loss on what is held out, and after how many passes over the training windows that was."""
        held_out = held_out.at(torch.arange(min(len(held_out), MOST_VALIDATED)))
        least, best, wait = float("inf"), 1, max(1, MOST_STEPS // N_LOOKS)
        for step, averaged in enumerate(itertools.islice(self._training(train, reading, options), MOST_STEPS), 1):
            if step % wait:
                continue
            if (loss := reading.mean_loss(averaged, held_out)) < least:
                least, best = loss, step
            elif step >= best + PATIENCE * wait:
                break
        return least, best * train.n_batch / len(train)

    def _training(self, examples: Examples, reading: NetworkReading, options: Options) -> Iterator[Sequence]:
        """After every step of training, the network with its weights averaged over the last ones."""
        with WeightsFrom(torch.Generator().manual_seed(self.seed)):
            network = self.body(
                examples.components(options.n_components),
                reading.n_outputs,
                width=options.width,
                dropout=options.dropout,
                input_dropout=options.input_dropout,
                is_causal=reading.is_causal,
            )
        rate = options.learning_rate
        if isinstance(network, NDT):
            ndt = network
            with torch.no_grad():
                ndt.to_rates.bias.copy_(reading.log_means(examples))
            steps = _steps(ndt, examples, lambda batch, g: reading.masked_loss(ndt, batch, g), rate, self.seed)
            next(itertools.islice(steps, PRETRAINING_STEPS - 1, None))
        known = examples.at(examples.is_known.reshape(len(examples), -1).any(dim=1).nonzero()[:, 0])
        return _steps(network, known, lambda batch, _: reading.losses(network, batch).mean(), rate, self.seed + 1)


NETWORKS = (Network("mlp", MLP), Network("gru", GRU), Network("tcn", TCN), Network("ndt", NDT, NDT_OPTIONS))


@dataclasses.dataclass(frozen=True, eq=False)
class FittedNetwork:
    """A network that has seen a training recording.

    Attributes:
        rival: the recipe.
        network: with what it has learned.
        reading: its `found` is what the network says of a recording: (trial, …, output), NaN where nobody is observed.
        target: that is predicted.
        about: see `Fitted`.
    """

    rival: Rival
    network: nn.Module
    reading: Any
    target: Target
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def n_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.network.parameters())

    def predict(self, test: PopulationDataset) -> Answer:
        """The "prediction" of a target per trial (trial, …) or per bin (trial, time, …).

        Where no individual is observed, a quantity is NaN and a class is the padding of `Recording`: zero, False or
        the empty string.

        Raises:
            InputError: if the recording has individuals or features that training had not.
        """
        found = self.reading.found(self.network, only_recording(test, self.rival.name))
        if not self.target.classes:
            quantity = found.reshape(*found.shape[:-1], *self.target.shape)
            return {"prediction": quantity * self.target.std + self.target.centre}
        classes, is_missing = np.asarray(self.target.classes), np.isnan(found).any(axis=-1)
        labels = classes[np.where(is_missing[..., None], 0, found).argmax(axis=-1)]
        return {"prediction": np.where(is_missing, classes.dtype.type(), labels)}


@dataclasses.dataclass(frozen=True, eq=False)
class NetworkReading:
    """How networks read recordings, and what they are asked; all it knows comes from the training recording.

    Attributes:
        question: that is asked.
        target: its classes, or its mean and spread.
        preprocess: of values; those who are silent in training are not read.
        n_features: of an individual.
        n_window: bins of a window.
    """

    question: TargetQuestion
    target: Target
    preprocess: Preprocess
    n_features: int
    n_window: int

    @classmethod
    def fit(cls, train: PopulationDataset, question: TargetQuestion) -> NetworkReading:
        """Learned from training trials; if there is only one, its windows are short enough to choose on some."""
        (recording,) = train.recordings
        is_positive = (recording.values >= 0).all(where=recording.observed[..., None])
        n_bins, is_one = int(recording.trial_lengths.max()), len(np.unique(recording.trial_ids)) == 1
        return cls(
            question,
            Target.fit(train, question.target, kind=question.kind),
            Preprocess.fit(train, PreprocessSettings("sqrt" if is_positive else "none")),
            recording.n_features,
            max(1, min(N_WINDOW, n_bins // 10)) if is_one else N_WINDOW,
        )

    @property
    def is_causal(self) -> bool:
        """Whether a bin is read with earlier bins alone."""
        return self.question.kind == "quantity" and self.question.level == "bin"

    @property
    def n_outputs(self) -> int:
        return len(self.target.classes) or len(self.target.mean)

    def windows(self, dataset: PopulationDataset) -> Windows:
        """The trials as networks read them; long ones are cut."""
        (recording,) = dataset.recordings
        if recording.n_features != self.n_features:
            raise InputError(
                f"recording {recording.name!r} has {recording.n_features} features per individual, and that of "
                f"training {self.n_features}; give the same."
            )
        return Windows.cut(self.preprocess(dataset), self.n_window)

    def examples(self, windows: PopulationDataset) -> Examples:
        """Windows as tensors; individuals are in the order of training, and those who are missing are not seen."""
        (recording,) = windows.recordings
        row = {individual: place for place, individual in enumerate(self.preprocess.individual_ids)}
        rows = [row[individual] for individual in recording.individual_ids]
        values = np.zeros((recording.n_trials, recording.n_bins, len(row), self.n_features), dtype=np.float32)
        seen = np.zeros(values.shape, dtype=bool)
        values[:, :, rows] = recording.values.transpose(0, 2, 1, 3)
        seen[:, :, rows] = recording.observed.transpose(0, 2, 1)[..., None]
        known = known_rows(recording, self.question.target)
        goal: NDArray[Any]
        if self.target.classes:
            goal = np.zeros(known.shape, dtype=np.int64)
        else:
            goal = np.zeros((*known.shape, self.n_outputs), dtype=np.float32)
        if known.any():
            goals = recording.target(self.question.target)[known]
            codes = self.target.codes if self.target.classes else self.target.standardised
            goal[known] = codes(goals).reshape(goal[known].shape)
        return Examples(
            torch.from_numpy(np.where(seen, values, 0)).flatten(2),
            torch.from_numpy(seen).flatten(2),
            torch.from_numpy(recording.bin_is_observed),
            torch.from_numpy(goal),
            torch.from_numpy(known),
        )

    # ------------------------------------------------------------------ what is learned

    def outputs(self, network: Sequence, batch: Examples) -> Float[Tensor, "window *time output"]:
        """What a network says of bins, or of trials: the mean over the bins that are there."""
        found = network(batch.values, batch.bins)
        if self.question.level == "bin":
            return found
        bins = batch.bins[..., None]
        return (found * bins).sum(dim=1) / bins.sum(dim=1).clamp(min=1)

    def losses(self, network: Sequence, batch: Examples) -> Float[Tensor, " known"]:
        """The cross-entropy, or the squared error, wherever the target is known."""
        found, goal = self.outputs(network, batch)[batch.is_known], batch.goal[batch.is_known]
        if self.target.classes:
            return F.cross_entropy(found, goal, reduction="none")
        return (found - goal).square().mean(dim=1)

    @torch.no_grad()
    def mean_loss(self, network: Sequence, examples: Examples) -> float:
        """Over all that is known; infinite if nothing is."""
        losses = torch.cat([self.losses(network, batch) for batch in examples.batches()])
        return float(losses.mean()) if len(losses) else float("inf")

    def masked_loss(self, network: NDT, batch: Examples, generator: torch.Generator) -> Float[Tensor, ""]:
        """How badly an NDT fills in bins that are hidden: the Poisson loss, or squares where values are no counts."""
        hidden = batch.bins & (torch.rand(batch.bins.shape, generator=generator) < MASKED)
        found = network.rates(batch.values * ~hidden[..., None], batch.bins)
        counts = self._counts(batch.values)
        losses = (found - batch.values).square() if counts is None else poisson_loss(found, counts)
        judged = hidden[..., None] & batch.seen
        return (losses * judged).sum() / judged.sum().clamp(min=1)

    def log_means(self, examples: Examples) -> Float[Tensor, " input"]:
        """(input,) what an NDT expects before it has learned: the logarithm of the mean count, or the mean value."""
        counts, n_seen = self._counts(examples.values), examples.seen.sum(dim=(0, 1)).clamp(min=1)
        values = examples.values if counts is None else counts
        means = (values * examples.seen).sum(dim=(0, 1)) / n_seen
        return means if counts is None else means.clamp(min=1e-6).log()

    def _counts(self, values: Float[Tensor, "window time input"]) -> Float[Tensor, "window time input"] | None:
        """Values as they were before they were prepared; None if some were negative."""
        if self.preprocess.settings.transform == "none":
            return None
        mean, std = (torch.from_numpy(part.astype(np.float32)) for part in (self.preprocess.mean, self.preprocess.std))
        return (values * std.expand_as(mean).flatten() + mean.flatten()).square()

    # ------------------------------------------------------------------ what is answered

    def answers(self, network: Sequence, batch: Examples) -> Float[Tensor, "window *time output"]:
        """Probabilities of classes, or a standardised quantity; NaN where nobody is observed."""
        found = self.outputs(network, batch)
        there = batch.bins if self.question.level == "bin" else batch.bins.any(dim=1)
        return (found.softmax(dim=-1) if self.target.classes else found).masked_fill(~there[..., None], torch.nan)

    @torch.no_grad()
    def found(self, network: Sequence, recording: Recording) -> NDArray[np.float64]:
        """The answers of whole trials, (trial, output) or (trial, time, output)."""
        windows = self.windows(PopulationDataset(recording))
        batches = self.examples(windows.dataset).batches()
        found = torch.cat([self.answers(network, batch) for batch in batches]).double().numpy()
        return windows.join(found, axis=1 if self.question.level == "bin" else None)


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
    """Windows as tensors.

    Attributes:
        values: (window, time, input), 0 where not observed.
        seen: the same: whether observed.
        bins: (window, time) whether anybody is.
        goal: (window, …) or (window, time, …), codes of classes or standardised quantities.
        is_known: (window,) or (window, time).
    """

    values: Float[Tensor, "window time input"]
    seen: Bool[Tensor, "window time input"]
    bins: Bool[Tensor, "window time"]
    goal: Tensor
    is_known: Tensor

    def __len__(self) -> int:
        return len(self.values)

    @property
    def n_batch(self) -> int:
        """Windows of a batch."""
        least, most = BATCH_WINDOWS
        return min(len(self), most, max(least, BATCH_BINS // self.bins.shape[1]))

    def at(self, chosen: Tensor) -> Examples:
        """Some of the windows."""
        return Examples(*(getattr(self, field.name)[chosen] for field in dataclasses.fields(self)))

    def batches(self, generator: torch.Generator | None = None) -> Iterator[Examples]:
        """All windows once, in order or in a random one."""
        order = torch.arange(len(self)) if generator is None else torch.randperm(len(self), generator=generator)
        return map(self.at, torch.split(order, self.n_batch))

    def components(self, n_components: int | None) -> Float[Tensor, "input component"]:
        """The principal components of the inputs, or each input."""
        values = self.values[self.bins].double()
        if n_components is None:
            return torch.eye(values.shape[1])
        _, axes = torch.linalg.eigh(values.T @ values)
        return axes[:, -n_components:].float()


def _parts(windows: PopulationDataset, question: TargetQuestion, seed: int) -> tuple[PopulationDataset, ...]:
    """Of training windows those that train and those that choose: other trials, or the end of the only trial."""
    (recording,) = windows.recordings
    if len(np.unique(recording.trial_ids)) == 1:
        return windows.split(by="time", test=VALIDATION, seed=seed)
    is_class = question.kind == "class" and question.level == "trial"
    stratify = question.target if is_class else question.class_target
    if stratify is not None and windows.count_rarest(stratify) < 2:
        stratify = None
    return windows.split(by="trial", test=VALIDATION, stratify=stratify, seed=seed)


def _steps(
    network: Sequence,
    examples: Examples,
    loss: Callable[[Examples, torch.Generator], Tensor],
    learning_rate: float,
    seed: int,
) -> Iterator[Sequence]:
    """Train without end; after every step there is the network whose weights are averaged over the last ones."""
    averaged = copy.deepcopy(network).eval()
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=WEIGHT_DECAY)
    generator = torch.Generator().manual_seed(seed)
    batches = itertools.chain.from_iterable(examples.batches(generator) for _ in itertools.count())
    with draws_from(network, generator):
        for step, batch in enumerate(batches, start=1):
            network.train()
            optimizer.param_groups[0]["lr"] = learning_rate * min(1.0, step / WARMUP_STEPS)
            optimizer.zero_grad()
            loss(batch, generator).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), MOST_GRADIENT)
            optimizer.step()
            with torch.no_grad():
                share = 1 - min(AVERAGED, step / (step + 9))
                torch._foreach_lerp_([*averaged.parameters()], [*network.parameters()], share)
            yield averaged
