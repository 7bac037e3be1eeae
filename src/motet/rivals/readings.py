"""How classical rivals read a recording: rows of √counts, with every statistic from the training recording."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor, nn

from motet import given
from motet.data.preprocess import varies
from motet.data.recording import Recording
from motet.errors import InputError
from motet.models.layers import is_known_to_be_all
from motet.rivals.method import TargetQuestion
from motet.rivals.tuning import inner_folds

MAY_BE_NEGATIVE = "values may be negative"
"""Metadata of a part of a recording that has negative values elsewhere, so that all parts are read alike."""


@dataclasses.dataclass(frozen=True, eq=False)
class Reading:
    """How rows of inputs are read from a recording; all it knows comes from the training recording.

    Counts and rates are read as their roots, which evens out the Poisson variance. Where a training value is negative
    they are neither: then each individual's feature is centred and scaled to unit variance.

    Attributes:
        level: whether a row is a trial or a bin.
        lags: the bins of a row per bin, without those that no training trial is long enough to fill.
        reads_time: whether the bin's position is the last input.
        pools_bins: whether a row per trial holds √(total counts).
        individual_ids: of the training recording.
        n_bins: of the longest training trial.
        is_rooted: whether roots are read.
        mean: (individual × feature,) mean √count, or value, over the observed training bins.
        spread: (individual × feature,) what centred values are divided by; 1 for roots.
        is_kept: (individual × feature,) True for those which are read.
    """

    level: Literal["trial", "bin"]
    lags: tuple[int, ...]
    reads_time: bool
    pools_bins: bool
    individual_ids: tuple[str, ...]
    n_bins: int
    is_rooted: bool
    mean: NDArray[np.float64]
    spread: NDArray[np.float64]
    is_kept: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        train: Recording,
        level: Literal["trial", "bin"],
        *,
        lags: tuple[int, ...],
        reads_time: bool = False,
        pools_bins: bool = False,
        keeps_silent: bool = False,
        counts_only: bool = False,
    ) -> Reading:
        """Learned from a training recording; those who are silent there, who never vary, are read only if so wished.

        Raises:
            InputError: if no individual varies; if values are negative, where counts are a must.
        """
        values, seen = _values(train)
        is_rooted = bool((values[seen] >= 0).all()) and not train.metadata.get(MAY_BE_NEGATIVE)
        if counts_only and not is_rooted:
            raise InputError(f"recording {train.name!r} has negative values; give counts or rates.")
        is_kept = varies([train]).ravel()
        if not is_kept.any():
            raise InputError(f"no individual of recording {train.name!r} varies; give some with activity.")
        read = np.sqrt(np.where(seen, values, 0)) if is_rooted else np.where(seen, values, 0)
        n_seen = np.maximum(seen.sum((0, 1)), 1)
        mean, spread = read.sum((0, 1)) / n_seen, np.ones(len(is_kept))
        if not is_rooted:
            variance = (((read - mean) * seen) ** 2).sum((0, 1)) / n_seen
            spread = np.where(is_kept, np.sqrt(variance), 1.0)
        n_bins = int(train.trial_lengths.max())
        return cls(
            level=level,
            lags=tuple(lag for lag in lags if abs(lag) < n_bins),
            reads_time=reads_time,
            pools_bins=pools_bins,
            individual_ids=train.individual_ids,
            n_bins=n_bins,
            is_rooted=is_rooted,
            mean=mean,
            spread=spread,
            is_kept=is_kept | keeps_silent,
        )

    def roots(self, recording: Recording) -> NDArray[np.float64]:
        """(trial, time, input) √counts: zero in bins without anybody, the training mean for one that is missing.

        Of values that are no counts: how many deviations they are from the mean, and zero in both cases.
        """
        values, seen = _values(recording)
        if recording.individual_ids != self.individual_ids or values.shape[2] != len(self.mean):
            raise InputError(
                f"recording {recording.name!r} has {recording.n_individuals} individuals with "
                f"{recording.n_features} features, not the {len(self.individual_ids)} of the training "
                "recording in their order; a rival knows each by its id, use "
                "recording.select(individuals=…)."
            )
        if self.is_rooted and (values[seen] < 0).any():
            raise InputError(
                f"recording {recording.name!r} has negative values, and the training recording has none; give alike "
                "values."
            )
        numbers, observed = torch.from_numpy(recording.values.astype(np.float64)), torch.tensor(recording.observed)
        return Roots(self)(numbers, observed).numpy()

    def so_far(self, roots: NDArray[np.float64]) -> NDArray[np.float64]:
        """(…, time, input) √(counts up to each bin), from √counts; of values that are no counts, their sums."""
        return np.sqrt(np.cumsum(roots**2, axis=-2)) if self.is_rooted else np.cumsum(roots, axis=-2)

    @property
    def n_inputs(self) -> int:
        """Of one bin."""
        return int(self.is_kept.sum())

    def inputs(self, recording: Recording) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """(row, input), and which trials (trial,) or bins (trial, time) the rows are."""
        roots, bins = self.roots(recording), recording.bin_is_observed
        if self.level == "trial":
            if (recording.trial_lengths != self.n_bins).any() or not bins[:, : self.n_bins].all():
                raise InputError(
                    f"a target per trial is read from windows of {self.n_bins} observed bins, but trials of "
                    f"recording {recording.name!r} last {recording.trial_lengths.min()} to "
                    f"{recording.trial_lengths.max()}; cut training and test with recording.windows(length)."
                )
            roots = roots[:, : self.n_bins]
            if self.pools_bins:
                return self.so_far(roots)[:, -1], np.ones(len(roots), dtype=bool)
            return rearrange(roots, "trial time input -> trial (time input)"), np.ones(len(roots), dtype=bool)
        return lagged_rows(torch.from_numpy(roots), self.lags, reads_time=self.reads_time).numpy()[bins], bins


class Roots(nn.Module):
    """What `Reading.roots` reads of bins: roots of counts, or centred and scaled values."""

    mean: Tensor
    spread: Tensor
    kept: Tensor

    def __init__(self, reading: Reading) -> None:
        super().__init__()
        self.is_rooted, self.n_inputs = reading.is_rooted, reading.n_inputs
        self.register_buffer("mean", torch.tensor(reading.mean, dtype=torch.float64))
        self.register_buffer("spread", torch.tensor(reading.spread, dtype=torch.float64))
        self.register_buffer("kept", torch.from_numpy(np.flatnonzero(reading.is_kept)))
        self.is_all_kept = bool(reading.is_kept.all())

    def forward(
        self,
        values: Float[Tensor, "trial individual time feature"],
        observed: Bool[Tensor, "trial individual time"],
    ) -> Float[Tensor, "trial time input"]:
        if is_known_to_be_all(observed):
            return self.of_known(values)
        seen = observed.transpose(1, 2)
        if values.shape[3] > 1:
            seen = seen.repeat_interleave(values.shape[3], dim=2)
        x = self._read(values)
        return self._kept(
            torch.where(seen, x, self.mean) * seen.any(2, keepdim=True) if self.is_rooted else torch.where(seen, x, 0.0)
        )

    def of_known(self, values: Float[Tensor, "trial individual time feature"]) -> Float[Tensor, "trial time input"]:
        """The same where everybody is observed."""
        return self._kept(self._read(values))

    def _read(self, values: Tensor) -> Tensor:
        x = values.transpose(1, 2).flatten(2)
        return x.sqrt() if self.is_rooted else (x - self.mean) / self.spread

    def _kept(self, x: Tensor) -> Tensor:
        return x if self.is_all_kept else x.index_select(2, self.kept)

    def total(self, bins: Float[Tensor, "trial time input"]) -> Float[Tensor, "trial input"]:
        """Root of the total of some bins."""
        return bins.square().sum(1).sqrt() if self.is_rooted else bins.sum(1)

    def so_far(self, bins: Float[Tensor, "trial time input"]) -> Float[Tensor, "trial time input"]:
        """Roots of the totals up to each bin."""
        return bins.square().cumsum(1).sqrt() if self.is_rooted else bins.cumsum(1)


def lagged_rows(
    roots: Float[Tensor, "trial time input"], lags: Sequence[int], *, reads_time: bool
) -> Float[Tensor, "trial time row"]:
    """The bins t − lag side by side, zeros beyond either end of the trial, and t last if it is read."""
    margin, n_bins = max(map(abs, lags)), roots.shape[1]
    padded = F.pad(roots, (0, 0, margin, margin))
    parts = [padded.narrow(1, margin - lag, n_bins) for lag in lags]
    if reads_time:
        time = torch.arange(n_bins, dtype=roots.dtype, device=roots.device)
        parts.append(time[None, :, None].expand(roots.shape[0], -1, -1))
    return torch.cat(parts, -1)


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """What a decoder learns from.

    Attributes:
        reading: how inputs are read.
        inputs: (row, input).
        answers: (row,) known classes, or (row, output) known quantities.
        folds: (row,) the inner fold of each, by which options are tuned.
    """

    reading: Reading
    inputs: NDArray[np.float64]
    answers: NDArray[Any]
    folds: NDArray[np.int64]

    @classmethod
    def of(cls, train: Recording, question: TargetQuestion, reading: Reading) -> Rows:
        """The rows whose target is known, by trial and bin."""
        train, goal = in_order(train), question.read(in_order(train))
        inputs, places = reading.inputs(train)
        folds = inner_folds(train, _labels(train, question))
        folds, answers = (folds[:, 0] if reading.level == "trial" else folds)[places], goal[places]
        flat = answers.reshape(len(answers), -1)
        known = given.is_known(flat).all(axis=1)
        if not known.any():
            raise InputError(
                f"target {question.target!r} of recording {train.name!r} is unknown throughout; give some."
            )
        return cls(reading, inputs[known], (answers if question.kind == "class" else flat)[known], folds[known])

    def select(self, rows: NDArray[Any]) -> Rows:
        return dataclasses.replace(self, inputs=self.inputs[rows], answers=self.answers[rows], folds=self.folds[rows])

    def thinned(self, most: int) -> Rows:
        """At most so many of the rows, evenly."""
        n_rows = len(self.inputs)
        return self if n_rows <= most else self.select(np.linspace(0, n_rows - 1, most).astype(np.int64))


def in_order(recording: Recording) -> Recording:
    """Its trials by id, and windows of one trial by their start: no rival depends on the order they are given in."""
    return recording.select(trials=np.lexsort((recording.trial_start_seconds, recording.trial_ids)))


def _labels(train: Recording, question: TargetQuestion) -> NDArray[Any] | None:
    """(trial,) the classes by which inner folds are balanced, if trials have any."""
    if question.kind == "class" and question.level == "trial":
        return question.read(train)
    return None if question.class_target is None else train.target(question.class_target)


def _values(recording: Recording) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Values and which are observed, both (trial, time, individual × feature)."""
    values = recording.values.astype(np.float64)
    seen = np.broadcast_to(recording.observed[..., None], values.shape)
    axes = "trial individual time feature -> trial time (individual feature)"
    return rearrange(values, axes), rearrange(seen, axes)
