"""What the filters share: decoders that go through a trial bin by bin, and believe what they believed before.

They restart after bins in which nothing is observed.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from motet.data.dataset import PopulationDataset
from motet.errors import InputError
from motet.rivals.method import Answer, Question, Rival, TargetQuestion, only_recording
from motet.rivals.readings import Reading, in_order
from motet.rivals.tuning import N_FOLDS, Options, inner_folds, tune

Array = NDArray[np.float64]
Bins = NDArray[np.bool_]

MOST_JUDGED = 5_000  # bins on which options are compared


@dataclasses.dataclass(frozen=True, eq=False)
class Series:
    """What a filter learns from.

    Attributes:
        roots: (trial, time, input) √counts.
        goal: (trial, time, output) the quantity.
        bins: (trial, time) where it is known, and may be learned from.
    """

    roots: Array
    goal: Array
    bins: Bins


@runtime_checkable
class Filter(Protocol):
    """A filter that has learned."""

    @property
    def n_parameters(self) -> int: ...

    def estimates(self, roots: Array, bins: Bins) -> Array:
        """(trial, time, output) from √counts, in these bins; each from its own and those before it."""


@dataclasses.dataclass(frozen=True)
class FilterRival(Rival):
    """A filter for a quantity per bin. Its options are tuned on inner folds of the training trials.

    Attributes:
        name: the row of a table.
        is_thorough: see `Rival`.
        options: the values to try.
        counts_only: whether values that may be negative are refused.
    """

    name: str
    is_thorough: bool = True
    options: ClassVar[Mapping[str, Sequence[Any]]]
    counts_only: ClassVar[bool] = False

    @abc.abstractmethod
    def fitted(self, series: Series, chosen: Options) -> Filter:
        """The filter with these options."""

    def answers(self, question: Question) -> bool:
        return isinstance(question, TargetQuestion) and (question.kind, question.level) == ("quantity", "bin")

    def learn(self, train: PopulationDataset, question: TargetQuestion) -> FittedFilter:
        recording = in_order(only_recording(train, self.name))
        goal = question.read(recording)
        reading = Reading.of(recording, "bin", lags=(0,), counts_only=self.counts_only)
        flat = goal.reshape(*goal.shape[:2], -1).astype(np.float64)
        known = recording.bin_is_observed & np.isfinite(flat).all(axis=2)
        if not known.any():
            raise InputError(f"target {question.target!r} of {recording.name!r} is unknown in every bin; give some.")
        series = Series(reading.roots(recording), np.where(known[..., None], flat, 0.0), known)
        labels = None if question.class_target is None else recording.target(question.class_target)
        folds = inner_folds(recording, labels)
        parts = [(known & (folds != fold), _first(known & (folds == fold))) for fold in np.unique(folds[known])]

        def loss(chosen: Options) -> float:
            error = 0.0
            for taught, judged in parts:
                if taught.any():
                    found = self.fitted(dataclasses.replace(series, bins=taught), chosen).estimates(
                        series.roots, judged
                    )
                    error += float(((found - series.goal)[judged] ** 2).sum())
            return error

        chosen = tune(self.options, loss)
        return FittedFilter(self, self.fitted(series, chosen), reading, goal.shape[2:], {"chosen": chosen})


@dataclasses.dataclass(frozen=True, eq=False)
class FittedFilter:
    """A filter rival that has seen a training recording; `shape` is that of a prediction for a bin."""

    rival: FilterRival
    filter: Filter
    reading: Reading
    shape: tuple[int, ...]
    about: Mapping[str, Any]

    @property
    def n_parameters(self) -> int:
        return self.filter.n_parameters

    def predict(self, test: PopulationDataset) -> Answer:
        """The "prediction" of the quantity per bin (trial, time, …), NaN where no individual is observed."""
        recording = only_recording(test, self.rival.name)
        bins = recording.bin_is_observed
        found = np.where(bins[..., None], self.filter.estimates(self.reading.roots(recording), bins), np.nan)
        return {"prediction": found.reshape(*bins.shape, *self.shape)}


def steps(bins: Bins) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Trials and times of the first bin of every run of bins, then of the second of those that have one, and so on.

    The longest runs come first, so that those of a step are the first of those of the step before.

    Example:
        >>> for trial, time in steps(np.array([[True, False, True], [True, True, False]])):
        ...     print(trial, time)
        [1 0 0] [0 0 2]
        [1] [1]
    """
    edges = np.diff(np.pad(bins.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    (trial, start), (_, stop) = np.nonzero(edges == 1), np.nonzero(edges == -1)
    order = np.argsort(start - stop, kind="stable")
    trial, start, length = trial[order], start[order], (stop - start)[order]
    for step in range(int(length.max(initial=0))):
        n_runs = int(np.count_nonzero(length > step))
        yield trial[:n_runs], start[:n_runs] + step


def position_in_run(bins: Bins) -> NDArray[np.int64]:
    """(trial, time) bins before each in its run; -1 outside of runs.

    Example:
        >>> position_in_run(np.array([[True, True, False, True]]))
        array([[ 0,  1, -1,  0]])
    """
    time = np.arange(bins.shape[1])
    gap = np.maximum.accumulate(np.where(bins, -1, time), axis=1)
    return np.where(bins, time - gap - 1, -1)


def _first(bins: Bins) -> Bins:
    """The first of these bins, as many as a fold is judged by."""
    return bins & (np.cumsum(bins).reshape(bins.shape) <= MOST_JUDGED // N_FOLDS)
