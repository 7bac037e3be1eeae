"""Preprocessing: what a model reads instead of raw values, with statistics from training trials only."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from motet.data.dataset import PopulationDataset
from motet.data.recording import Recording
from motet.data.trials import extent
from motet.errors import InputError
from motet.settings import Settings

Statistic = Literal["individual", "shared", "none"]
READS_ANYONE = (
    "train on trials of them too, or read any individuals: model.identity='none', objective.readout='pooled', and "
    "preprocess.centre and preprocess.scale 'shared' or 'none'"
)
ROUNDING_STEPS = 2  # of floating-point numbers: what differs by no more is constant


@dataclasses.dataclass(frozen=True)
class PreprocessSettings(Settings, role="preprocess"):
    """How values are prepared: transformed, centred and scaled.

    Scaling each individual to unit variance is common, and costs accuracy on spike counts: after the square root every
    neuron has the same Poisson noise, and those that vary more carry more. So the default scale of counts and rates,
    which are never negative in training, is shared; other values may be in any unit, and each individual has its own.

    Attributes:
        transform: "sqrt" steadies the variance of Poisson counts; "log" is log(1 + x); both need values ≥ 0. "auto" is
            "sqrt" of counts and rates, and "none" otherwise.
        centre: subtract each "individual"'s training mean, the "shared" mean over all, or "none".
        scale: divide by each "individual"'s training standard deviation, the "shared" one (root mean square over
            individuals), or "none". "auto" is "shared" of counts and rates, and "individual" otherwise.

    Individuals that never vary in training (see `varies`) are silent. They are left out, and reported, unless neither
    statistic is by individual: then unseen individuals can be read, and none is left out.

    Example:
        >>> import motet
        >>> motet.EITClassifier(preprocess=PreprocessSettings("sqrt", centre="shared")).preprocess.centre
        'shared'
    """

    transform: Literal["auto", "none", "sqrt", "log"] = "auto"
    centre: Statistic = "individual"
    scale: Literal["auto", "individual", "shared", "none"] = "auto"

    def resolved(self, train: PopulationDataset) -> PreprocessSettings:
        """With "auto" as training trials decide it."""
        if "auto" not in (self.transform, self.scale):
            return self
        are_rates = all(recording.values.min() >= 0 for recording in train.recordings)
        transform = ("sqrt" if are_rates else "none") if self.transform == "auto" else self.transform
        scale = ("shared" if are_rates else "individual") if self.scale == "auto" else self.scale
        return dataclasses.replace(self, transform=transform, scale=scale)


@dataclasses.dataclass(frozen=True, eq=False)
class Preprocess:
    """A fitted preprocessing: a map from dataset to dataset.

    Attributes:
        individual_ids: those kept; empty where no statistic is by individual.
        silent_ids: those seen in training, but silent there.
        mean: (individual or 1, feature), as `std`.

    Example:
        >>> from motet.data.recording import Recording
        >>> train = PopulationDataset(Recording.from_trials([[[0, 4, 16], [1, 1, 1]]], individual_ids=["a", "silent"]))
        >>> prepare = Preprocess.fit(train, PreprocessSettings("sqrt"))
        >>> prepare.individual_ids, prepare.silent_ids, prepare(train).recordings[0].individual_ids
        (('a',), ('silent',), ('a',))
    """

    settings: PreprocessSettings
    individual_ids: tuple[str, ...]
    silent_ids: tuple[str, ...]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]

    @classmethod
    def fit(cls, train: PopulationDataset, settings: PreprocessSettings | None = None) -> Preprocess:
        """Learn the statistics from training trials, over observed bins.

        Raises:
            InputError: if values are negative under sqrt or log, or every individual is silent.
        """
        settings = (settings or PreprocessSettings()).resolved(train)
        ids = np.asarray(train.individual_ids, dtype=object)
        n_observed, mean, variance = _moments(train, settings)
        is_active = varies(train.recordings).any(axis=1)
        if not is_active.any():
            raise InputError(
                f"all {len(ids)} individuals are silent, constant or missing in the training trials; "
                "there is nothing to learn from: give recordings with activity."
            )
        kept, silent = (), ()
        if "individual" in (settings.centre, settings.scale):
            kept, silent = tuple(ids[is_active]), tuple(ids[~is_active])
            n_observed, mean, variance = n_observed[is_active], mean[is_active], variance[is_active]
        share = n_observed / n_observed.sum(axis=0)
        shared_mean = (share * mean).sum(axis=0, keepdims=True)
        about = mean if settings.centre == "individual" else shared_mean
        shared_variance = (share * (variance + (mean - about) ** 2)).sum(axis=0, keepdims=True)
        shared_square = (share * (variance + mean**2)).sum(axis=0, keepdims=True)
        assert settings.scale != "auto"
        means = {"individual": mean, "shared": shared_mean, "none": np.zeros_like(shared_mean)}
        variances = {"individual": variance, "shared": shared_variance, "none": np.ones_like(shared_mean)}
        squares = {"individual": variance + mean**2, "shared": shared_square, "none": np.ones_like(shared_mean)}
        std, size = np.sqrt(variances[settings.scale]), np.sqrt(squares[settings.scale])
        is_rounding = std <= ROUNDING_STEPS * np.finfo(np.float64).eps * size  # a constant feature
        return cls(settings, kept, silent, means[settings.centre], np.where(is_rounding, 1.0, std))

    def __call__(self, dataset: PopulationDataset) -> PopulationDataset:
        """The dataset as a model reads it; individuals silent in training are gone."""
        return dataset.map(self._prepare)

    def undone(self, values: Tensor) -> Tensor:
        """Values of one feature as they were before; only where no statistic is by individual.

        Example:
            >>> from motet.data.recording import Recording
            >>> dataset = PopulationDataset(Recording.from_trials([[[0.0, 1.0, 5.0]]]))
            >>> prepare = Preprocess.fit(dataset, PreprocessSettings(centre="shared"))
            >>> prepare.undone(prepare(dataset).batch().values).round().flatten().tolist()
            [0.0, 1.0, 5.0]
        """
        x = values * float(self.std.item()) + float(self.mean.item())
        match self.settings.transform:
            case "sqrt":
                return x.square()
            case "log":
                return x.expm1()
        return x

    def _prepare(self, recording: Recording) -> Recording:
        mean, std = self.mean, self.std
        if self.individual_ids:
            recording, rows = self._find(recording)
            mean, std = (statistic[rows] if len(statistic) > 1 else statistic for statistic in (mean, std))
        values = (_transformed(recording, self.settings) - mean[:, None]) / std[:, None]
        with np.errstate(over="ignore"):
            prepared = np.where(recording.observed[..., None], values, 0).astype(np.float32)
        return dataclasses.replace(recording, values=prepared)

    def _find(self, recording: Recording) -> tuple[Recording, list[int]]:
        """The recording without its silent individuals, and the rows of the others."""
        row = {individual: position for position, individual in enumerate(self.individual_ids)}
        is_known = np.asarray([individual in row for individual in recording.individual_ids])
        is_silent = np.isin(recording.individual_ids, self.silent_ids)
        is_stranger = ~is_known & ~is_silent & recording.observed.any(axis=(0, 2))
        if is_stranger.any() or not is_known.any():
            first = int(np.flatnonzero(is_stranger if is_stranger.any() else ~is_known)[0])
            raise InputError(
                f"the model never saw individual {recording.individual_ids[first]!r} of recording "
                f"{recording.name!r}; it knows {len(row)}, the first {self.individual_ids[0]!r}: give recordings of "
                f"these, {READS_ANYONE}."
            )
        recording = recording.select(individuals=is_known)
        return recording, [row[individual] for individual in recording.individual_ids]


def varies(recordings: Sequence[Recording]) -> NDArray[np.bool_]:
    """Whether each individual's feature differs between observed bins, by more than rounding: (individual, feature).

    Individuals are in order of appearance; one that never varies is silent.

    Example:
        >>> recording = Recording.from_trials([[[0, 0, 0], [3e-9, 4e-9, 3e-9], [0.1, 0.1, 0.1]]])
        >>> varies([recording])[:, 0].tolist()
        [False, True, False]
    """
    all_rows = _rows(recordings)
    n_individuals = 1 + max(map(max, all_rows))
    least, most = np.full((2, n_individuals, recordings[0].n_features), [[[np.inf]], [[-np.inf]]])
    step = 0.0
    for recording, rows in zip(recordings, all_rows, strict=True):
        is_seen = np.asarray(recording.observed.any(axis=(0, 2)))[:, None]
        low, high = extent(recording.values, recording.observed)
        least[rows] = np.where(is_seen, np.minimum(least[rows], low), least[rows])
        most[rows] = np.where(is_seen, np.maximum(most[rows], high), most[rows])
        step = max(step, float(np.finfo(recording.values.dtype).eps))
    return most - least > ROUNDING_STEPS * step * np.maximum(np.abs(least), np.abs(most))


def _rows(recordings: Sequence[Recording]) -> list[list[int]]:
    """The rows of the individuals of each recording, in order of first appearance."""
    row: dict[str, int] = {}
    return [[row.setdefault(one, len(row)) for one in recording.individual_ids] for recording in recordings]


def _moments(
    train: PopulationDataset, settings: PreprocessSettings
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Observed bins, mean and variance of every individual, (individual, feature) each."""
    rows = _rows(train.recordings)
    count, total, squares = np.zeros((3, len(train.individual_ids), train.n_features))
    for recording, own in zip(train.recordings, rows, strict=True):
        observed = recording.observed[..., None]
        count[own] += observed.sum(axis=(0, 2))
        total[own] += (_transformed(recording, settings) * observed).sum(axis=(0, 2))
    mean = total / np.maximum(count, 1)
    for recording, own in zip(train.recordings, rows, strict=True):
        deviation = (_transformed(recording, settings) - mean[own][:, None]) * recording.observed[..., None]
        squares[own] += np.square(deviation, out=deviation).sum(axis=(0, 2))
    return count, mean, squares / np.maximum(count, 1)


def _transformed(recording: Recording, settings: PreprocessSettings) -> NDArray[np.float64]:
    values = recording.values.astype(np.float64)
    if settings.transform == "none":
        return values
    if recording.values.min() < 0:
        raise InputError(
            f"recording {recording.name!r} has negative values (least {recording.values.min():g}), and "
            f"transform={settings.transform!r} is for counts or rates; use transform='none'."
        )
    return np.sqrt(values) if settings.transform == "sqrt" else np.log1p(values)
