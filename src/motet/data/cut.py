"""Trials and windows cut out of one clock, and what was sampled on it, put into their bins.

Behaviour is resampled so (`per_bin`):

- Quantities (floats) are the mean of the samples in a bin. A bin without a sample, but between two that are neighbours
  and no further apart than three usual steps, is on the line between these at its centre. Others are unknown, NaN.
- Classes (whole numbers, booleans, text) are those of the last sample that is not after the centre of a bin; unknown
  before the first, and from a usual step after the last one on.
- A sample that is NaN is not there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motet import given
from motet.data.binning import SAME_TIME, average_samples
from motet.errors import InputError
from motet.memory import check_room

DEFAULT_WINDOW = (0.0, 0.8)  # seconds from the start of a trial that has no end
USUAL_BINS = 20  # of a window of a continuous recording
FEWEST_WINDOWS = 20  # by default, so that there is something to split
LARGEST_GAP = 3  # usual steps between neighbouring samples that a line bridges
_BYTES_PER_COUNT = 12  # float32, observed, and masks on the way
_BYTES_AT_ONCE = 1 << 26  # of samples that are read and averaged together


@dataclasses.dataclass(frozen=True, eq=False)
class Cut:
    """Where trials lie on the clock, and their bins.

    Attributes:
        edges: (trial, bin + 1) of as many bins as the longest trial has.
        n_bins: (trial,) how many bins each trial has; those after them are padding.
        bin_seconds: width of a bin.
    """

    edges: NDArray[np.float64]
    n_bins: NDArray[np.int64]
    bin_seconds: float

    def of(self, kept: NDArray[np.bool_]) -> Cut:
        """Some of the trials."""
        return dataclasses.replace(self, edges=self.edges[kept], n_bins=self.n_bins[kept])

    @property
    def is_inside(self) -> NDArray[np.bool_]:
        """(trial, bin): whether a bin belongs to the trial."""
        return np.arange(self.edges.shape[1] - 1) < self.n_bins[:, None]

    @property
    def start(self) -> NDArray[np.float64]:
        return self.edges[:, 0]

    @property
    def end(self) -> NDArray[np.float64]:
        return np.asarray(self.edges[np.arange(len(self.edges)), self.n_bins])

    def check_room(self, n_individuals: int) -> None:
        """Refuse more bins than there is memory for."""
        n_trials, n_bins = self.edges.shape[0], self.edges.shape[1] - 1
        what = f"{n_trials} trials of {n_bins} bins of {n_individuals} individuals"
        check_room(_BYTES_PER_COUNT * n_trials * n_bins * n_individuals, what=what, advice="choose wider bins")


def cut_trials(
    starts: NDArray[np.float64],
    ends: NDArray[np.float64] | None,
    window: tuple[float, float] | None,
    bin_seconds: float,
    trial_ids: Any = None,
) -> Cut:
    """Trials around their starts, or, without a window, from start to end; what is left of a bin is left out.

    Raises:
        InputError: if a trial holds no bin, or trials of different ids overlap.
    """
    if window is None and ends is None:
        window = DEFAULT_WINDOW
    if window is not None:
        low, high = window
        if not high > low:
            raise InputError(f"window is {window}; give seconds from the start of a trial, the later one last.")
        starts, ends = starts + low, starts + high
    assert ends is not None
    n_bins = np.floor((ends - starts) / bin_seconds + SAME_TIME).astype(np.int64)
    if (n_bins < 1).any():
        worst = int(n_bins.argmin())
        raise InputError(
            f"trial {worst} lasts {ends[worst] - starts[worst]:g} s, less than one bin of {bin_seconds:g} s; choose "
            "narrower bins or a window, or leave it out."
        )
    cut = Cut(starts[:, None] + np.arange(n_bins.max() + 1) * bin_seconds, n_bins, bin_seconds)
    _refuse_overlap(cut, trial_ids)
    return cut


def _refuse_overlap(cut: Cut, trial_ids: Any) -> None:
    """Refuse trials that share time, unless they share their id, so that no split parts them."""
    order = np.argsort(cut.start, kind="stable")
    start, end = cut.start[order], np.maximum.accumulate(cut.end[order])
    overlap = end[:-1] - start[1:]
    is_together = np.zeros(len(overlap), dtype=bool)
    if trial_ids is not None:
        ids = given.trial_names(trial_ids, what="trial_ids")
        if ids.shape == order.shape:
            is_together = ids[order][1:] == ids[order][:-1]
    is_bad = (overlap > 1e-3 * cut.bin_seconds) & ~is_together
    if is_bad.any():
        first = int(np.argmax(is_bad))
        raise InputError(
            f"{is_bad.sum()} of {len(order)} trials overlap the one before, as trial {order[first + 1]} does by "
            f"{overlap[first]:.3g} s: a test trial would hold what was learned from. Choose a window that ends before "
            "the next trial begins, or give trials that overlap the same trial_ids."
        )


def cut_windows(spans: NDArray[np.float64], window: float | None, bin_seconds: float) -> Cut:
    """Windows side by side in spans (span, 2) of a continuous recording; what is left of a window is left out."""
    lasting = np.floor((spans[:, 1] - spans[:, 0]) / bin_seconds + SAME_TIME).astype(np.int64)
    n_bins = window_bins(int(lasting.sum()), window, bin_seconds)
    n_windows = lasting // n_bins
    if not n_windows.any():
        raise InputError(
            f"the longest stretch lasts {(spans[:, 1] - spans[:, 0]).max():g} s, less than a window of {n_bins} bins "
            f"of {bin_seconds:g} s; choose a shorter window or narrower bins."
        )
    nth = np.arange(n_windows.sum()) - np.repeat(np.cumsum(n_windows) - n_windows, n_windows)
    first_bin = nth[:, None] * n_bins + np.arange(n_bins + 1)
    edges = np.repeat(spans[:, 0], n_windows)[:, None] + first_bin * bin_seconds
    return Cut(edges, np.full(len(edges), n_bins), bin_seconds)


def window_bins(n_bins: int, window: float | None, bin_seconds: float) -> int:
    """How many bins a window of some seconds has; by default 20, or fewer where there would be few windows."""
    if window is None:
        return min(USUAL_BINS, max(1, n_bins // FEWEST_WINDOWS))
    n = round(window / bin_seconds)
    if n < 1 or abs(n * bin_seconds - window) > 1e-3 * bin_seconds:
        raise InputError(f"window is {window:g} s and bins last {bin_seconds:g} s; give a whole number of bins.")
    return n


def per_bin(times: NDArray[np.float64], samples: NDArray[Any], cut: Cut) -> NDArray[Any]:
    """(trial, bin, …) what was sampled, in the bins of trials, as the module says; unknown in padding.

    Example:
        >>> cut = cut_windows(np.array([[0.0, 0.4]]), 0.4, 0.1)
        >>> per_bin(np.array([0.0, 0.05, 0.3]), np.array([1.0, 3.0, 7.0]), cut)
        array([[2. , 4.6, 6.2, 7. ]])
        >>> per_bin(np.array([0.0, 0.2, 0.4]), np.array(["wake", "nREM", "wake"]), cut)
        array([['wake', 'wake', 'nREM', 'nREM']], dtype='<U4')
    """
    padding = np.asarray(~cut.is_inside)
    centre = (cut.edges[:, :-1] + cut.edges[:, 1:]) / 2
    usual = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    if samples.dtype.kind != "f":
        last = np.searchsorted(times, centre, side="right") - 1
        is_unknown = (last < 0) | (centre > times[-1] + usual) | padding
        labels = samples[np.maximum(last, 0)]
        if samples.dtype.kind == "b" and is_unknown.any():
            labels = labels.astype(np.int64)  # booleans cannot be unknown
        if is_unknown.any():
            labels[is_unknown] = given.unknown(labels.dtype)
        return labels
    flat = samples.reshape(len(samples), -1)
    binned = average_samples(times, flat, cut.edges)
    is_known = ~np.isnan(flat).any(axis=1)
    is_empty = np.isnan(binned).all(axis=-1)
    if is_empty.any() and is_known.sum() > 1:
        known, values = times[is_known], flat[is_known]
        after = np.clip(np.searchsorted(known, centre[is_empty]), 1, len(known) - 1)
        step, ago = known[after] - known[after - 1], centre[is_empty] - known[after - 1]
        is_between = (ago >= 0) & (ago <= step) & (step <= LARGEST_GAP * usual)
        share = (ago / step)[:, None]
        line = (1 - share) * values[after - 1] + share * values[after]
        binned[is_empty] = np.where(is_between[:, None], line, np.nan)
    binned[padding] = np.nan
    return binned.reshape(*binned.shape[:2], *samples.shape[1:])


def seen_bins(seen: Sequence[NDArray[np.float64]], cut: Cut) -> NDArray[np.bool_]:
    """(trial, unit, bin): the bins that lie wholly in one of the intervals (interval, 2) of a unit."""
    observed = np.zeros((len(cut.edges), len(seen), cut.edges.shape[1] - 1), dtype=bool)
    tolerance = SAME_TIME * cut.bin_seconds
    begin, end = cut.edges[:, :-1] + tolerance, cut.edges[:, 1:] - tolerance
    for unit, intervals in enumerate(seen):  # units were seen in different numbers of intervals
        if len(intervals):
            order = intervals[np.argsort(intervals[:, 0])]
            last = np.searchsorted(order[:, 0], begin, side="right") - 1
            until = np.maximum.accumulate(order[:, 1])
            observed[:, unit] = (last >= 0) & (end <= until[np.maximum(last, 0)])
    return observed


def average_rows(
    read: Callable[[int, int], NDArray[np.float64]], n_before: NDArray[np.int64], n_columns: int
) -> NDArray[np.float64]:
    """(trial, bin, column) means of the rows of each bin, of which only those of trials are read, some at a time.

    Args:
        read: rows (row, column) from one number up to another; NaN is left out of means.
        n_before: (trial, bin + 1) how many rows are before each edge.
        n_columns: of the rows.
    """
    low, high = n_before[:, :-1].ravel(), n_before[:, 1:].ravel()
    means = np.full((len(low), n_columns), np.nan)
    order = np.argsort(low, kind="stable")
    order = order[high[order] > low[order]]
    most, at = max(1, _BYTES_AT_ONCE // (8 * n_columns)), 0
    while at < len(order):
        begin = low[order[at]]
        block = order[at : max(at + 1, int(np.searchsorted(high[order], begin + most, side="right")))]
        end = high[block].max()
        check_room(24 * int(end - begin) * n_columns, what=f"{end - begin} samples", advice="choose narrower bins")
        rows = read(int(begin), int(end))
        bounds = np.stack([low[block], high[block]], axis=-1) - begin
        is_known = ~np.isnan(rows)
        total, n_known = (
            np.add.reduceat(np.concatenate([part, np.zeros((1, n_columns))]), bounds.ravel(), axis=0)[::2]
            for part in (np.where(is_known, rows, 0.0), is_known.astype(np.float64))
        )
        means[block] = np.divide(total, n_known, out=np.full_like(total, np.nan), where=n_known > 0)
        at += len(block)
    return means.reshape(n_before.shape[0], n_before.shape[1] - 1, n_columns)
