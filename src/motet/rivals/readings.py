"""How classical rivals read a recording: rows of √counts, with every statistic from the training recording."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
from einops import rearrange
from numpy.typing import NDArray

from motet.data.preprocess import varies
from motet.data.recording import Recording
from motet.errors import InputError

MOST_KERNEL_ROWS = 5000  # memory of kernel rivals grows with their square


def check_kernel_rows(n_rows: int) -> None:
    """An `InputError` if a kernel of so many training rows does not fit in memory."""
    if n_rows > MOST_KERNEL_ROWS:
        raise InputError(f"it would learn from {n_rows:,} rows, and its memory suffices for {MOST_KERNEL_ROWS:,}.")


@dataclasses.dataclass(frozen=True, eq=False)
class Reading:
    """How rows of inputs are read from a recording; all it knows comes from the training recording.

    Attributes:
        level: whether a row is a trial or a bin.
        lags: the bins of a row per bin, without those that no training trial is long enough to fill.
        reads_time: whether the bin's position is the last input.
        pools_bins: whether a row per trial holds √(total counts).
        individual_ids: of the training recording.
        n_bins: of the longest training trial.
        mean: (individual × feature,) mean √count over the observed training bins.
        is_kept: (individual × feature,) True for those which are read.
    """

    level: Literal["trial", "bin"]
    lags: tuple[int, ...]
    reads_time: bool
    pools_bins: bool
    individual_ids: tuple[str, ...]
    n_bins: int
    mean: NDArray[np.float64]
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
    ) -> Reading:
        """Learned from a training recording; those who are silent there, who never vary, are read only if so wished.

        Raises:
            InputError: if values are negative or no individual varies.
        """
        roots, seen = _square_roots(train)
        is_kept = varies([train]).ravel()
        if not is_kept.any():
            raise InputError(f"no individual of recording {train.name!r} varies; give some with activity.")
        n_bins = int(train.trial_lengths.max())
        return cls(
            level=level,
            lags=tuple(lag for lag in lags if abs(lag) < n_bins),
            reads_time=reads_time,
            pools_bins=pools_bins,
            individual_ids=train.individual_ids,
            n_bins=n_bins,
            mean=(roots * seen).sum((0, 1)) / np.maximum(seen.sum((0, 1)), 1),
            is_kept=is_kept | keeps_silent,
        )

    def roots(self, recording: Recording) -> NDArray[np.float64]:
        """(trial, time, input) √counts: zero in bins without anybody, the training mean for one that is missing."""
        roots, seen = _square_roots(recording)
        if recording.individual_ids != self.individual_ids or roots.shape[2] != len(self.mean):
            raise InputError(
                f"recording {recording.name!r} has {recording.n_individuals} individuals with "
                f"{recording.n_features} features, not the {len(self.individual_ids)} of the training "
                "recording in their order; a rival knows each by its id, use "
                "recording.select(individuals=…)."
            )
        bins = recording.bin_is_observed
        return np.where(bins[..., None], np.where(seen, roots, self.mean), 0.0)[..., self.is_kept]

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
                return np.sqrt((roots**2).sum(axis=1)), np.ones(len(roots), dtype=bool)
            return rearrange(roots, "trial time input -> trial (time input)"), np.ones(len(roots), dtype=bool)
        inputs = _lagged(roots, self.lags)
        if self.reads_time:
            time = np.broadcast_to(np.arange(recording.n_bins)[:, None], (*bins.shape, 1))
            inputs = np.concatenate([inputs, time], axis=2)
        return inputs[bins], bins


def _square_roots(recording: Recording) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """√counts and which are observed, both (trial, time, individual × feature)."""
    if (recording.values < 0).any():
        raise InputError(f"recording {recording.name!r} has negative values; decoders of counts read none.")
    roots = np.sqrt(recording.values.astype(np.float64))
    seen = np.broadcast_to(recording.observed[..., None], roots.shape)
    axes = "trial individual time feature -> trial time (individual feature)"
    return rearrange(roots, axes), rearrange(seen, axes)


def _lagged(roots: NDArray[np.float64], lags: tuple[int, ...]) -> NDArray[np.float64]:
    """(trial, time, lag × input): the bins t − lag, zeros beyond either end of the trial."""
    margin, n_bins = max(map(abs, lags)), roots.shape[1]
    padded = np.pad(roots, ((0, 0), (margin, margin), (0, 0)))
    return np.concatenate([padded[:, margin - lag : margin - lag + n_bins] for lag in lags], axis=2)
