"""What an objective is: what is hidden from the input, how the encoding is read, the loss, the prediction, the score.

The model never sees a target, and the trainer never knows the task.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, cast

import numpy as np
import torch
from einops import einsum
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn

from motet.data.batch import Batch
from motet.data.dataset import PopulationDataset
from motet.data.recording import Level, Recording
from motet.errors import InputError
from motet.models.eit import Encoding
from motet.models.readouts import Readout, ReadoutKind
from motet.settings import Count, Fraction, NonNegative, Range, Settings
from motet.training.objectives.target import Target

TRIAL_WEIGHT = "weight of the trial"
"""The target per trial by which its loss is multiplied."""

PART = "part of the trial"
"""The target per trial that says which member of a committee never learns from it."""

FEW_TARGETS = 10.0  # known for each individual, up to which training hides and blurs most
MOST_HIDDEN, MOST_NOISE = (0.2, 0.6), 1.0

Coded = Mapping[str, tuple[Level, NDArray[Any]]]
"""Targets by name, as numbers that a loss understands."""


@dataclasses.dataclass(frozen=True)
class ObjectiveSettings(Settings, role="objective"):
    """How targets are read and what is hidden in training.

    Attributes:
        name: of the objective in the registry; "auto" classifies classes and regresses quantities.
        readout: "individual": weights for each individual id, as in the paper; "pooled": attention over
            individuals, for populations of any size.
        latent_width: of the population's state, between individuals and outputs.
        courses: kinds of movement that a quantity per bin is made of, as a mixture (see `Courses`); 0 for none.
        individual_weight: of the loss of the individual embedding beside that of the population embedding.
        label_smoothing: of classes.
        hidden_individuals: from how many to how many of the individuals are hidden from a training step, as fractions.
            By default .2 to .6, and less where more than ten targets are known for each individual: as the inverse root
            of their number.
        noise: standard deviation of the normal noise added to training values, as the model reads them. By default 1,
            and less as above.
        window_bins: with a target per bin, longer trials are read in windows of this many bins, in training and in
            prediction; they overlap, so that every bin has bins around it. With a target per trial, trials are read
            whole.

    Example:
        >>> import motet
        >>> objective = ObjectiveSettings(readout="pooled", noise=0.5)
        >>> motet.EITClassifier(objective=objective).get_params()["objective__readout"]
        'pooled'
    """

    name: str = "auto"
    readout: ReadoutKind = "individual"
    latent_width: Count = 16
    courses: Annotated[int, Range(least=0, most=1000)] = 24
    individual_weight: NonNegative = 0.5
    label_smoothing: Fraction = 0.0
    hidden_individuals: tuple[Fraction, Fraction] | None = None
    noise: NonNegative | None = None
    window_bins: Annotated[int, Range(least=8)] = 1000

    def check(self) -> None:
        least, most = self.hidden_individuals or (0, 0)
        if least > most:
            raise InputError(f"objective.hidden_individuals is {least} to {most}; give the lower fraction first.")

    def chosen(self, targets_per_individual: float = 0.0) -> ObjectiveSettings:
        """With what was left open, for so many known targets.

        Example:
            >>> ObjectiveSettings().chosen(40.0).noise
            0.5
        """
        if self.hidden_individuals is not None and self.noise is not None:
            return self
        size = (FEW_TARGETS / max(FEW_TARGETS, targets_per_individual)) ** 0.5
        least, most = MOST_HIDDEN
        hidden = (least * size, most * size) if self.hidden_individuals is None else self.hidden_individuals
        return dataclasses.replace(
            self, hidden_individuals=hidden, noise=MOST_NOISE * size if self.noise is None else self.noise
        )


class Objective(nn.Module, abc.ABC):
    """What is asked of a model.

    Attributes:
        reads: what it is an objective of: a "class", a "quantity", or what only its own estimator asks for.
        name: of what it predicts.
        score_name: what its score is.
        weight: of its loss beside those of others.
    """

    reads: ClassVar[str]
    name: str
    score_name: str = "score"
    weight: float = 1.0

    def prepare(self, dataset: PopulationDataset) -> PopulationDataset:
        """The dataset with its targets, and no others, as numbers that the loss understands."""

        def prepared(recording: Recording) -> Recording:
            coded = self.targets(recording)
            return dataclasses.replace(
                self.values(recording),
                targets={name: target for name, (_, target) in coded.items()},
                target_levels={name: level for name, (level, _) in coded.items()},
            )

        return dataset.map(prepared)

    def values(self, recording: Recording) -> Recording:
        """The recording with the values that the model reads."""
        return recording

    @abc.abstractmethod
    def targets(self, recording: Recording) -> Coded:
        """What the loss reads; unknown where the recording does not say."""

    def hide(self, batch: Batch, generator: torch.Generator) -> Batch:
        """What of a training batch the model may see."""
        return batch

    def validated(self, batch: Batch) -> list[Batch]:
        """What the model may see of a validation batch, always the same; several if it is asked several things."""
        return [batch]

    @abc.abstractmethod
    def loss(self, encoding: Encoding, batch: Batch) -> Float[Tensor, ""]:
        """Minimised."""

    @abc.abstractmethod
    def predict(self, encoding: Encoding, batch: Batch) -> dict[str, Tensor]:
        """By name: (trial, …)."""

    @abc.abstractmethod
    def score(self, predictions: Sequence[dict[str, Tensor]], batches: Sequence[Batch]) -> float:
        """Of all batches of an evaluation; higher is better."""

    def scores(self, predictions: Sequence[dict[str, Tensor]], batches: Sequence[Batch]) -> dict[str, float]:
        """By what they are: the score, of several objectives those of all."""
        return {self.score_name: self.score(predictions, batches)}


class Joint(Objective):
    """Several objectives at once, each with its weight.

    Args:
        objectives: first the one of interest, which says what the model reads, hides and is scored.
    """

    reads = "several"

    def __init__(self, objectives: Sequence[Objective]) -> None:
        super().__init__()
        self.objectives = nn.ModuleList(objectives)
        self.name = self.parts[0].name

    @property
    def parts(self) -> list[Objective]:
        return cast(list[Objective], list(self.objectives))

    def values(self, recording: Recording) -> Recording:
        return self.parts[0].values(recording)

    def targets(self, recording: Recording) -> Coded:
        return {name: coded for part in self.parts for name, coded in part.targets(recording).items()}

    def hide(self, batch: Batch, generator: torch.Generator) -> Batch:
        return self.parts[0].hide(batch, generator)

    def loss(self, encoding: Encoding, batch: Batch) -> Float[Tensor, ""]:
        return torch.stack([part.loss(encoding, batch) * part.weight for part in self.parts]).sum()

    def predict(self, encoding: Encoding, batch: Batch) -> dict[str, Tensor]:
        return {name: p for part in self.parts for name, p in part.predict(encoding, batch).items()}

    def score(self, predictions: Sequence[dict[str, Tensor]], batches: Sequence[Batch]) -> float:
        return self.parts[0].score(predictions, batches)


class Supervised(Objective):
    """A target per trial or per bin, read from both the individual and the population embedding.

    Args:
        target: see `Target`.
        n_outputs: numbers that are read.
        width: of an embedding.
        ids: individuals, for a readout by individual.
        settings: see `ObjectiveSettings`.
    """

    def __init__(
        self, target: Target, *, n_outputs: int, width: int, ids: tuple[str, ...], settings: ObjectiveSettings
    ) -> None:
        super().__init__()
        self.target = target
        self.name, self.weight = target.name, target.weight
        self.settings = settings
        n_outputs += target.level == "trial"  # one more: the weight of a bin's vote
        shape = {"width": width, "n_outputs": n_outputs, "latent_width": settings.latent_width}
        shape["n_courses"] = 0 if target.classes or target.level == "trial" else settings.courses
        self.individual_readout = Readout(settings.readout, individual_ids=ids, **shape)
        self.population_readout = Readout(settings.readout, individual_ids=ids, **shape)

    def targets(self, recording: Recording) -> Coded:
        t = self.target
        coded: dict[str, tuple[Level, NDArray[Any]]] = {}
        if t.name in recording.targets:
            coded[t.name] = t.level, self.coded(recording.targets[t.name])
        else:
            leading = (recording.n_trials,) if t.level == "trial" else (recording.n_trials, recording.n_bins)
            coded[t.name] = t.level, np.full(leading, -1) if t.classes else np.full((*leading, *t.shape), np.nan)
        for name in {TRIAL_WEIGHT, PART} & recording.targets.keys():
            coded[name] = "trial", recording.targets[name]
        return coded

    def hide(self, batch: Batch, generator: torch.Generator) -> Batch:
        return hidden(batch, self.settings, generator)

    def read(self, encoding: Encoding, batch: Batch) -> tuple[Tensor, Tensor]:
        """Outputs of the individual and of the population embedding, (trial, output) or (trial, time, output)."""
        individual = self.individual_readout(encoding.individual, encoding.observed, batch)
        population = self.population_readout(encoding.population, encoding.observed, batch)
        if self.target.level == "bin":
            return individual, population
        return _vote(individual, batch), _vote(population, batch)

    def loss(self, encoding: Encoding, batch: Batch) -> Float[Tensor, ""]:
        individual, population = self.read(encoding, batch)
        return self.error(population, batch) + self.settings.individual_weight * self.error(individual, batch)

    @abc.abstractmethod
    def coded(self, target: NDArray[Any]) -> NDArray[Any]:
        """The target as numbers that `error` understands."""

    @abc.abstractmethod
    def error(self, output: Tensor, batch: Batch) -> Float[Tensor, ""]:
        """Of the outputs of one embedding."""

    def is_observed(self, batch: Batch) -> Tensor:
        """(trial,) or (trial, time): whether any individual is."""
        return batch.bin_is_observed if self.target.level == "bin" else batch.bin_is_observed.any(dim=1)

    def row_weight(self, batch: Batch) -> Tensor | None:
        """(trial,) or (trial, time): how much each counts; None if all count the same."""
        weight = batch.targets.get(TRIAL_WEIGHT)
        return (
            weight
            if weight is None or self.target.level == "trial"
            else weight[:, None].expand(batch.bin_is_observed.shape)
        )


def hidden(batch: Batch, settings: ObjectiveSettings, generator: torch.Generator) -> Batch:
    """A training batch with some individuals left out and noise on the values of the others.

    All trials of the batch lose the same individuals, so that the step is as much cheaper.
    """
    settings = settings.chosen()
    least, most = settings.hidden_individuals or MOST_HIDDEN
    n_individuals = batch.values.shape[1]
    if most > 0:
        fraction = least + (most - least) * float(torch.rand((), generator=generator))
        n_kept = max(1, round((1 - fraction) * n_individuals))
        batch = batch.keep_individuals(torch.randperm(n_individuals, generator=generator)[:n_kept].sort().values)
    if settings.noise:
        noise = settings.noise * torch.randn(batch.values.shape, generator=generator)
        batch = batch.replace(values=(batch.values + noise) * batch.observed[..., None])
    return batch


def individual_means(
    x: Float[Tensor, "trial individual time width"],
    observed: Bool[Tensor, "trial individual time"],
    group: Int[Tensor, " trial"],
    n_groups: int,
) -> tuple[Float[Tensor, "group individual width"], Float[Tensor, "group individual"]]:
    """Means over the observed bins of all trials of a group, 0 where there are none, and over how many bins."""
    seen = observed.to(x.dtype)
    sums, counts = (x * seen[..., None]).sum(2), seen.sum(2)  # of another precision than x, where that is mixed
    total = sums.new_zeros(n_groups, *sums.shape[1:]).index_add(0, group, sums)
    n = counts.new_zeros(n_groups, *counts.shape[1:]).index_add(0, group, counts)
    return total / n.clamp(min=1)[..., None], n


def _vote(read: Float[Tensor, "trial time read"], batch: Batch) -> Float[Tensor, "trial output"]:
    """Outputs of a trial: those of its bins, weighted by the last of them."""
    observed = batch.bin_is_observed
    weight = read[..., -1].masked_fill(~(observed | ~observed.any(dim=1, keepdim=True)), -torch.inf).softmax(dim=1)
    return einsum(read[..., :-1], weight, "trial time output, trial time -> trial output")
