"""Objectives: what is asked of a model.

An objective says what is hidden from the input, how the encoding is read, the loss, the prediction and the score.
The model never sees a target, and the trainer never knows the task.
"""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from einops import einsum
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from motet import given
from motet.data.batch import Batch
from motet.data.dataset import PopulationDataset
from motet.data.recording import Level, Recording
from motet.errors import InputError
from motet.metrics import r2
from motet.models.eit import Encoding
from motet.models.readouts import Readout, ReadoutKind
from motet.settings import Count, Finite, Fraction, NonNegative, Positive, Range, Settings, Whole

TargetKind = Literal["class", "quantity"]


@dataclasses.dataclass(frozen=True)
class ObjectiveSettings(Settings, role="objective"):
    """How targets are read and what is hidden in training.

    Attributes:
        readout: "individual": weights for each individual id, as in the paper; "pooled": attention over
            individuals, for populations of any size.
        latent_width: of the population's state, between individuals and outputs.
        individual_weight: of the loss of the individual embedding beside that of the population embedding.
        label_smoothing: of classes.
        hidden_individuals: from how many to how many of the individuals are hidden from a training step, as fractions.
        noise: standard deviation of the normal noise added to training values, as the model reads them.
        window_bins: with a target per bin, longer trials are read in windows of this many bins, in training and in
            prediction; they overlap, so that every bin has bins around it. With a target per trial, trials are read
            whole.
    """

    readout: ReadoutKind = "individual"
    latent_width: Count = 16
    individual_weight: NonNegative = 0.5
    label_smoothing: Fraction = 0.0
    hidden_individuals: tuple[Fraction, Fraction] = (0.2, 0.6)
    noise: NonNegative = 1.0
    window_bins: Annotated[int, Range(least=8)] = 1000

    def check(self) -> None:
        least, most = self.hidden_individuals
        if least > most:
            raise InputError(f"objective.hidden_individuals is {least} to {most}; give the lower fraction first.")


@dataclasses.dataclass(frozen=True)
class Target(Settings, role="target"):
    """What training trials tell of a target.

    Attributes:
        name: in the recordings.
        level: "trial" or "bin".
        classes: sorted; empty for a quantity.
        mean: one per dimension of a quantity, shape `shape`, flattened.
        std: of a quantity, one number, so that dimensions keep their proportions.
        shape: of a quantity; () for a single number.
        weight: of its loss beside those of other targets.
    """

    name: str
    level: Level
    classes: tuple[Any, ...] = ()
    mean: tuple[Finite, ...] = ()
    std: Positive = 1.0
    shape: tuple[Whole, ...] = ()
    weight: Positive = 1.0

    def check(self) -> None:
        is_sorted = len({type(label) for label in self.classes}) < 2 and sorted(set(self.classes)) == [*self.classes]
        if not is_sorted or np.asarray(self.classes or 0).dtype.kind not in "biufU":
            raise InputError(f"classes of target {self.name!r} are {self.classes}; give labels of one type, sorted.")
        if self.mean and math.prod(self.shape) != len(self.mean):
            raise InputError(f"target {self.name!r} has shape {self.shape} and {len(self.mean)} dimensions.")

    @classmethod
    def fit(cls, train: PopulationDataset, name: str, *, kind: TargetKind | None = None, weight: float = 1.0) -> Target:
        """Read off training trials what is needed to classify or regress a target.

        Args:
            train: training trials.
            name: of the target.
            kind: "class" or "quantity"; by default floats are quantities, everything else classes.
            weight: of its loss.

        Raises:
            InputError: if the target is unknown, has one class only, or is never known.
        """
        train.target_values(name)
        having = [r for r in train.recordings if name in r.targets]
        level = having[0].target_levels[name]
        if level not in ("trial", "bin"):
            raise InputError(f"target {name!r} is per {level}; a decoder reads targets per trial or per bin.")
        known = np.concatenate([r.targets[name][known_rows(r, name)] for r in having])
        if len(known) == 0:
            raise InputError(
                f"target {name!r} is not known in any training trial that was observed; give trials where it is."
            )
        if (kind or ("quantity" if known.dtype.kind == "f" else "class")) == "quantity":
            if known.dtype.kind not in "biuf":
                raise InputError(f"target {name!r} holds {known.dtype} values; a regression needs numbers.")
            known = known.astype(np.float64)
            mean = known.mean(axis=0)
            std = 1.0 if (known == known[0]).all() else float(np.sqrt(((known - mean) ** 2).mean()))
            return cls(name, level, mean=tuple(mean.ravel().tolist()), std=std, shape=mean.shape, weight=weight)
        classes = np.unique(known)
        if known.ndim > 1 or len(classes) < 2:
            raise InputError(
                f"target {name!r} has {len(classes)} class{'es' if len(classes) != 1 else ''} in the training trials, "
                f"shape {known.shape}; give one label per trial or bin, of at least two classes."
            )
        return cls(name, level, classes=tuple(classes.tolist()), weight=weight)


class Objective(nn.Module, abc.ABC):
    """What every objective does."""

    @abc.abstractmethod
    def prepare(self, dataset: PopulationDataset) -> PopulationDataset:
        """The dataset with its targets as numbers that the loss understands."""

    @abc.abstractmethod
    def hide(self, batch: Batch, generator: torch.Generator) -> Batch:
        """What of a training batch the model may see."""

    @abc.abstractmethod
    def loss(self, encoding: Encoding, batch: Batch) -> Float[Tensor, ""]:
        """To be made small."""

    @abc.abstractmethod
    def predict(self, encoding: Encoding, batch: Batch) -> dict[str, Tensor]:
        """By target name: (trial, …) or (trial, time, …)."""

    @abc.abstractmethod
    def score(self, predictions: Sequence[dict[str, Tensor]], batches: Sequence[Batch]) -> float:
        """To be made large, over all batches of an evaluation."""


class Targeted(Objective):
    """An objective with one target."""

    target: Target


class _Supervised(Targeted):
    """A target read from both the individual and the population embedding."""

    def __init__(
        self, target: Target, *, n_outputs: int, width: int, ids: tuple[str, ...], settings: ObjectiveSettings
    ) -> None:
        super().__init__()
        self.target = target
        self.settings = settings
        n_outputs += target.level == "trial"  # one more: the weight of a bin's vote
        shape = {"width": width, "n_outputs": n_outputs, "latent_width": settings.latent_width}
        self.individual_readout = Readout(settings.readout, individual_ids=ids, **shape)
        self.population_readout = Readout(settings.readout, individual_ids=ids, **shape)

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
    def error(self, output: Tensor, batch: Batch) -> Float[Tensor, ""]: ...


class Classify(_Supervised):
    """One of several classes, per trial or per time bin; cross-entropy.

    Args:
        target: see `Target`.
        width: of an embedding.
        ids: individuals, for a readout by individual.
        settings: see `ObjectiveSettings`.
    """

    def __init__(self, target: Target, *, width: int, ids: tuple[str, ...], settings: ObjectiveSettings) -> None:
        super().__init__(target, n_outputs=len(target.classes), width=width, ids=ids, settings=settings)
        self.classes = np.asarray(target.classes)

    def prepare(self, dataset: PopulationDataset) -> PopulationDataset:
        """The dataset with each class as its position; -1 where it is unknown, or none of them."""

        def encoded(labels: NDArray[Any]) -> NDArray[np.int64]:
            if (labels.dtype.kind == "U") != (self.classes.dtype.kind == "U"):
                raise InputError(
                    f"target {self.target.name!r} is of type {labels.dtype}, and was of type {self.classes.dtype} in "
                    "training; give labels of the same kind."
                )
            position = np.searchsorted(self.classes, labels).clip(max=len(self.classes) - 1)
            return np.where(self.classes[position] == labels, position, -1)

        return _with_target(dataset, self.target, encoded)

    def error(self, output: Tensor, batch: Batch) -> Float[Tensor, ""]:
        target = batch.targets[self.target.name].masked_fill(~_is_observed(batch, self.target.level), -1)
        n_known = (target >= 0).sum().clamp(min=1)
        summed = F.cross_entropy(
            output.flatten(0, -2),
            target.flatten(),
            ignore_index=-1,
            label_smoothing=self.settings.label_smoothing,
            reduction="sum",
        )
        return summed / n_known

    def predict(self, encoding: Encoding, batch: Batch) -> dict[str, Tensor]:
        """Probabilities, (trial, class) or (trial, time, class); the mean of both heads' log-probabilities."""
        individual, population = self.read(encoding, batch)
        joint = individual.log_softmax(dim=-1) + population.log_softmax(dim=-1)
        return {self.target.name: (0.5 * joint).softmax(dim=-1)}

    def score(self, predictions: Sequence[dict[str, Tensor]], batches: Sequence[Batch]) -> float:
        """Accuracy over known labels."""
        n_right = n_known = 0
        for prediction, batch in zip(predictions, batches, strict=True):
            target = batch.targets[self.target.name]
            known = (target >= 0) & _is_observed(batch, self.target.level)
            n_right += int((prediction[self.target.name].argmax(dim=-1) == target)[known].sum())
            n_known += int(known.sum())
        return n_right / n_known if n_known else float("nan")


class Regress(_Supervised):
    """One or several quantities, per trial or per time bin; squared error in units of their training spread.

    Args:
        target: see `Target`.
        width: of an embedding.
        ids: individuals, for a readout by individual.
        settings: see `ObjectiveSettings`.
    """

    def __init__(self, target: Target, *, width: int, ids: tuple[str, ...], settings: ObjectiveSettings) -> None:
        super().__init__(target, n_outputs=len(target.mean), width=width, ids=ids, settings=settings)
        self.mean = np.asarray(target.mean).reshape(target.shape)

    def prepare(self, dataset: PopulationDataset) -> PopulationDataset:
        """The dataset with the target about its training mean, in units of its training spread."""
        return _with_target(dataset, self.target, lambda quantity: (quantity - self.mean) / self.target.std)

    def error(self, output: Tensor, batch: Batch) -> Float[Tensor, ""]:
        target, known = self._known(batch)
        difference = (output - target)[known]
        return difference.square().sum() / max(1, difference.numel())

    def predict(self, encoding: Encoding, batch: Batch) -> dict[str, Tensor]:
        """The quantity in its own units, float64; the mean of both heads."""
        individual, population = self.read(encoding, batch)
        mean = 0.5 * (individual + population).double()
        mean = mean.reshape(*mean.shape[:-1], *self.target.shape) * self.target.std
        return {self.target.name: mean + torch.as_tensor(self.mean, device=mean.device)}

    def score(self, predictions: Sequence[dict[str, Tensor]], batches: Sequence[Batch]) -> float:
        """R², weighted by the variance of the dimensions; NaN where the target does not vary."""
        pairs = [
            (prediction[self.target.name].numpy(force=True), *(part.numpy(force=True) for part in self._known(batch)))
            for prediction, batch in zip(predictions, batches, strict=True)
        ]
        known = [(((p - self.mean) / self.target.std).reshape(t.shape)[k], t[k]) for p, t, k in pairs]
        return r2_or_nan(*(np.concatenate(part) for part in zip(*known, strict=True)))

    def _known(self, batch: Batch) -> tuple[Tensor, Tensor]:
        given = batch.targets[self.target.name]
        target = given.reshape(*given.shape[: 2 - (self.target.level == "trial")], -1)
        known = target.isfinite().all(dim=-1)
        return target, known & _is_observed(batch, self.target.level)


class Joint(Objective):
    """Several objectives at once, each with the weight of its target; the first is the one that is scored.

    Args:
        objectives: first the one of interest, which also hides.
    """

    def __init__(self, objectives: Sequence[Targeted]) -> None:
        super().__init__()
        self.objectives = nn.ModuleList(objectives)

    @property
    def parts(self) -> list[Targeted]:
        return cast(list[Targeted], list(self.objectives))

    def prepare(self, dataset: PopulationDataset) -> PopulationDataset:
        for objective in self.parts:
            dataset = objective.prepare(dataset)
        return dataset

    def hide(self, batch: Batch, generator: torch.Generator) -> Batch:
        return self.parts[0].hide(batch, generator)

    def loss(self, encoding: Encoding, batch: Batch) -> Float[Tensor, ""]:
        return torch.stack([o.loss(encoding, batch) * o.target.weight for o in self.parts]).sum()

    def predict(self, encoding: Encoding, batch: Batch) -> dict[str, Tensor]:
        return {name: p for o in self.parts for name, p in o.predict(encoding, batch).items()}

    def score(self, predictions: Sequence[dict[str, Tensor]], batches: Sequence[Batch]) -> float:
        return self.parts[0].score(predictions, batches)


def r2_or_nan(prediction: NDArray[Any], target: NDArray[Any]) -> float:
    """R² over entries, all known; NaN where the target does not vary."""
    if len(target) < 2 or (target == target[0]).all():
        return float("nan")
    return r2(prediction=prediction, target=target, observed=np.ones(len(target), dtype=bool))


def _is_observed(batch: Batch, level: Level) -> Tensor:
    """(trial,) or (trial, time): whether any individual is."""
    return batch.bin_is_observed if level == "bin" else batch.bin_is_observed.any(dim=1)


def _vote(read: Float[Tensor, "trial time read"], batch: Batch) -> Float[Tensor, "trial output"]:
    """Outputs of a trial: those of its bins, weighted by the last of them."""
    observed = batch.bin_is_observed
    weight = read[..., -1].masked_fill(~(observed | ~observed.any(dim=1, keepdim=True)), -torch.inf).softmax(dim=1)
    return einsum(read[..., :-1], weight, "trial time output, trial time -> trial output")


def hidden(batch: Batch, settings: ObjectiveSettings, generator: torch.Generator) -> Batch:
    """A training batch with some individuals left out and noise on the values of the others.

    All trials of the batch lose the same individuals, so that the step is as much cheaper.
    """
    least, most = settings.hidden_individuals
    n_individuals = batch.values.shape[1]
    if most > 0:
        fraction = least + (most - least) * float(torch.rand((), generator=generator))
        n_kept = max(1, round((1 - fraction) * n_individuals))
        batch = batch.keep_individuals(torch.randperm(n_individuals, generator=generator)[:n_kept].sort().values)
    if settings.noise:
        noise = settings.noise * torch.randn(batch.values.shape, generator=generator)
        batch = batch.replace(values=(batch.values + noise) * batch.observed[..., None])
    return batch


def make_objective(
    targets: Sequence[Target], *, width: int, ids: tuple[str, ...], settings: ObjectiveSettings
) -> Joint:
    """The objective of some targets, the one of interest first."""
    shared: dict[str, Any] = {"width": width, "ids": ids, "settings": settings}
    return Joint([(Classify if target.classes else Regress)(target, **shared) for target in targets])


def known_rows(recording: Recording, target: str) -> NDArray[np.bool_]:
    """(trial,) or (trial, time): where a target per trial or per bin is known, and anything is observed.

    Nowhere, (trial,), if the recording has no such target.
    """
    if target not in recording.targets:
        return np.zeros(recording.n_trials, dtype=bool)
    is_per_bin = recording.target_levels[target] == "bin"
    observed = recording.bin_is_observed if is_per_bin else np.asarray(recording.bin_is_observed.any(axis=1))
    known = given.is_known(recording.targets[target])
    return np.asarray(observed & known.reshape(*observed.shape, -1).all(axis=-1))


def _with_target(
    dataset: PopulationDataset, target: Target, change: Callable[[NDArray[Any]], NDArray[Any]]
) -> PopulationDataset:
    """The dataset with a target changed; in recordings that lack it, unknown."""

    def changed(recording: Recording) -> Recording:
        if target.name in recording.targets:
            values = change(recording.targets[target.name])
        else:
            leading = (recording.n_trials,) if target.level == "trial" else (recording.n_trials, recording.n_bins)
            values = np.full(leading, -1) if target.classes else np.full((*leading, *target.shape), np.nan)
        return dataclasses.replace(
            recording,
            targets={**recording.targets, target.name: values},
            target_levels={**recording.target_levels, target.name: target.level},
        )

    return dataset.map(changed)
