"""Counting events and averaging samples in time bins. A bin is half-open: [start, end).

Times and edges that differ by rounding only are the same: by less than a millionth of the shortest bin, or by a few
steps of 64-bit numbers of that size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from motet import given
from motet.errors import InputError

SAME_TIME = 1e-6  # of a bin: times closer to an edge are on it
ROUNDING_STEPS = 4  # of 64-bit numbers
MOST_LATE = 0.01  # of the samples of a clock that may have gone back, or stood


def count_spikes(spike_times: Any, edges: ArrayLike) -> NDArray[np.int64]:
    """How many spikes fall in each bin, every spike once.

    Bins may be given for many trials at once, which may overlap.

    Args:
        spike_times: (spike,) times of one unit, in any order; or a list, dict or Series of such arrays, one per unit.
        edges: (…, bin + 1) edges of adjoining bins on the same clock; for instance (trial, bin + 1).

    Returns:
        (…, bin) counts for one unit, (unit, …, bin) for a list of units.

    Example:
        >>> count_spikes([0.0, 0.1, 0.1, 0.25, 0.3], edges=[0.0, 0.1, 0.2, 0.3])
        array([1, 2, 1])
        >>> count_spikes([[0.05], []], edges=[0.0, 0.1, 0.2])
        array([[1, 0],
               [0, 0]])
    """
    bin_edges = _checked_edges(edges)
    members = given.in_order(spike_times, what="spike times")
    is_one_unit = not any(hasattr(member, "__len__") and np.ndim(member) for member in members)
    units = [given.numbers(times, what="spike times") for times in ([members] if is_one_unit else members)]
    if any(times.ndim != 1 or np.isnan(times).any() for times in units):
        raise InputError("spike times are NaN or nested; give one flat list per unit, without NaN.")
    # Units hold different numbers of spikes, so each is searched by itself, for all trials at once.
    n_before = np.stack([np.searchsorted(np.sort(times), bin_edges, side="left") for times in units])
    counts = np.diff(n_before, axis=-1).astype(np.int64)
    return counts[0] if is_one_unit else counts


def count_in_trials(spike_times: Sequence[NDArray[np.float64]], edges: NDArray[np.float64]) -> NDArray[np.float32]:
    """`count_spikes` of many units in trials of equal bins, as fast as there are spikes, into one array of counts.

    Args:
        spike_times: (spike,) times of each unit, in any order.
        edges: (trial, bin + 1) edges of bins that are all equally wide; trials may overlap.

    Returns:
        (trial, unit, bin) counts.

    Example:
        >>> count_in_trials([np.array([0.05, 0.25, 0.3])], np.array([[0.0, 0.1, 0.2], [0.2, 0.3, 0.4]]))[:, 0]
        array([[1., 0.],
               [1., 1.]], dtype=float32)
    """
    n_trials, n_bins = edges.shape[0], edges.shape[1] - 1
    grid = _checked_edges(edges)
    if np.abs(grid[1:, 0] - grid[:-1, -1]).max(initial=0.0) <= SAME_TIME * (grid[0, 1] - grid[0, 0]):
        grid = np.append(grid[:, :-1], grid[-1, -1])[None]  # side by side, trials are as one
    first, end, begins = grid[:, 0].copy(), grid[:, -1].copy(), np.arange(len(grid)) * grid.shape[1]
    per_second, most, all_edges = (grid.shape[1] - 1) / (end - first), grid.shape[1] - 2, grid.ravel()
    counts = np.zeros((n_trials, len(spike_times), n_bins), dtype=np.float32)
    flat_counts, to_next_trial = counts.ravel(), (len(spike_times) - 1) * n_bins  # a view
    for unit, times in enumerate(spike_times):  # units hold different numbers of spikes
        in_order = times if (times[1:] >= times[:-1]).all() else np.sort(times)
        since, until = np.searchsorted(in_order, first), np.searchsorted(in_order, end)
        if len(grid) == 1:
            trial, inside = np.zeros(1, np.int64), in_order[since[0] : until[0]]
        else:
            n_inside = until - since
            trial = np.repeat(np.arange(len(grid)), n_inside)
            inside = in_order[np.arange(len(trial)) + np.repeat(until - np.cumsum(n_inside), n_inside)]
        place = np.minimum(((inside - first[trial]) * per_second[trial]).astype(np.int64), most)
        edge = begins[trial] + place  # rounding may have missed the bin by one
        place += inside >= all_edges[edge + 1]
        place -= inside < all_edges[edge]
        flat = trial * (most + 1) + place  # never decreases, so that a bin's spikes stand together
        first_of_bin = np.flatnonzero(np.diff(flat, prepend=-1))
        where = flat[first_of_bin]
        where += where // n_bins * to_next_trial + unit * n_bins
        flat_counts[where] = np.diff(first_of_bin, append=len(flat))
    return counts


def late_samples(times: NDArray[np.float64], *, what: str) -> NDArray[np.bool_]:
    """(sample,) which samples are of a clock that went back, or stood, until it is later than ever before.

    Raises:
        InputError: if these are more than 1 % of all; `what` is what the message calls the times.
    """
    is_late = np.append(False, times[1:] <= np.maximum.accumulate(times)[:-1])[: len(times)]
    if is_late.sum() > max(1, MOST_LATE * is_late.size):
        raise InputError(f"{what} do not increase at {is_late.sum()} of {is_late.size} samples; give them in order.")
    return is_late


def average_samples(times: ArrayLike, samples: ArrayLike, edges: ArrayLike) -> NDArray[np.float64]:
    """The mean of the samples taken in each bin; NaN where there is none.

    Args:
        times: (sample,) time of each sample, increasing.
        samples: (sample, feature); a NaN is left out of the mean.
        edges: (…, bin + 1) edges of adjoining bins on the same clock.

    Returns:
        (…, bin, feature) means.

    Example:
        >>> average_samples([0.0, 0.1, 0.2], [[1.0], [3.0], [9.0]], edges=[0.0, 0.2, 0.4, 0.6])
        array([[ 2.],
               [ 9.],
               [nan]])
    """
    bin_edges = _checked_edges(edges)
    times, samples = given.numbers(times, what="times"), given.numbers(samples, what="samples")
    if np.isinf(samples).any():
        raise InputError("samples are infinite in places; give NaN where they are unknown.")
    if samples.ndim != 2 or times.shape != samples.shape[:1] or not (np.diff(times) > 0).all():
        raise InputError(
            f"samples of shape {samples.shape} at times of shape {times.shape} do not go together; give "
            "increasing times (sample,) and samples (sample, feature)."
        )
    n_before = np.searchsorted(times, bin_edges, side="left")
    is_known = ~np.isnan(samples)
    total = _sum_between(np.where(is_known, samples, 0.0), n_before)
    n_samples = _sum_between(is_known.astype(np.float64), n_before)
    return np.divide(total, n_samples, out=np.full_like(total, np.nan), where=n_samples > 0)


def _sum_between(samples: NDArray[np.float64], positions: NDArray[np.intp]) -> NDArray[np.float64]:
    """(…, bin, feature): the sum of the samples from one position up to the next, each bin by itself."""
    bounds = np.stack([positions[..., :-1], positions[..., 1:]], axis=-1)
    padded = np.concatenate([samples, np.zeros((1, samples.shape[1]))])  # the end is a position too
    sums = np.add.reduceat(padded, bounds.ravel(), axis=0)[::2].reshape(*bounds.shape[:-1], -1)
    return np.where((bounds[..., 0] < bounds[..., 1])[..., None], sums, 0.0)


def _checked_edges(edges: ArrayLike) -> NDArray[np.float64]:
    """The edges, moved down by so little that a time which is on an edge but for rounding is not below it."""
    array = given.numbers(edges, what="edges")
    if array.ndim == 0 or array.shape[-1] < 2 or not np.isfinite(array).all() or (np.diff(array) <= 0).any():
        raise InputError("the edges of bins are not finite and increasing; give (…, bin + 1), two or more.")
    shortest = np.diff(array).min(axis=-1, keepdims=True)
    rounding = ROUNDING_STEPS * np.spacing(np.abs(array).max(axis=-1, keepdims=True))
    return array - np.minimum(np.maximum(SAME_TIME * shortest, rounding), shortest / 4)
