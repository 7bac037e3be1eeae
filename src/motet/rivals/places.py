"""The Bayesian place decoder: where would the counts be most likely, by the tuning maps of all individuals?

Source: Zhang et al. (1998), J. Neurophysiol. 79, 1017–1044: counts are independent and Poisson given the place; without
and with a prior that places of neighbouring bins are near.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist

from motet.errors import InputError
from motet.rivals.filters import Array, Bins, FilterRival, Series, position_in_run, steps
from motet.rivals.tuning import Options

N_CELLS = {1: 100, 2: 24}  # along each axis, by the number of axes
PRIOR_BINS = 0.5  # at its mean rate, that every individual is taken to have been seen in every cell

FARTHEST = 1e-4  # step, by its probability beside that of none; others are as improbable as any place
LEAST = 1e-100  # probability of any place beforehand
PIECE = 5000  # bins that are decoded at once


@dataclasses.dataclass(frozen=True)
class PlaceRival(FilterRival):
    """A Bayesian decoder of a quantity of one or two dimensions: the mean of the posterior over visited places.

    Its options: the bandwidth by which maps are smoothed, as a share of the range; how many bins up to now are read
    together; how much of their evidence is believed; the prior over places; and how far a step goes that is as likely
    as none, in units of the typical step between bins (None: places of neighbouring bins say nothing of each other).
    """

    options: ClassVar = {
        "bandwidth": (0.04, 0.01, 0.02, 0.08, 0.16),
        "bins": (1, 2, 4, 8),
        "trust": (1.0, 0.03, 0.1, 0.3),
        "prior": ("occupancy", "uniform"),
        "step": (None, 1.0, 2.0, 4.0),
    }
    counts_only: ClassVar[bool] = True

    def fitted(self, series: Series, chosen: Options) -> PlaceDecoder:
        places, counts = series.goal[series.bins], series.roots[series.bins] ** 2
        n_axes = places.shape[1]
        if n_axes not in N_CELLS:
            raise InputError(f"{self.name} decodes one or two dimensions, not {n_axes}; use another rival.")
        # 1. cells: a grid over the range
        low, high = places.min(axis=0), places.max(axis=0)
        size = np.where(high > low, high - low, 1.0) / N_CELLS[n_axes]
        shape = (N_CELLS[n_axes],) * n_axes
        at = np.clip(((places - low) / size).astype(np.int64), 0, N_CELLS[n_axes] - 1)
        cell = np.ravel_multi_index(tuple(at.T), shape)
        # 2. maps: smoothed counts over smoothed time
        is_in = csr_array((np.ones(len(cell)), (cell, np.arange(len(cell)))), shape=(int(np.prod(shape)), len(cell)))
        width = chosen["bandwidth"] * N_CELLS[n_axes]
        visits = np.asarray(is_in.sum(axis=1)).ravel()
        time = gaussian_filter(visits.reshape(shape), width, mode="constant").reshape(-1, 1)
        spikes = gaussian_filter((is_in @ counts).reshape(*shape, -1), (*(width,) * n_axes, 0), mode="constant")
        mean = counts.mean(axis=0)
        rates = (spikes.reshape(len(visits), -1) + PRIOR_BINS * mean) / (time + PRIOR_BINS)
        # 3. the places that were visited, how likely they are, and how far steps between bins go
        is_visited, is_active = visits > 0, mean > 0
        centres = (low + (np.stack(np.unravel_index(np.arange(len(visits)), shape), axis=1) + 0.5) * size)[is_visited]
        prior = time[is_visited, 0] if chosen["prior"] == "occupancy" else np.ones(len(centres))
        passing = None
        if chosen["step"] is not None:
            goes_on = position_in_run(series.bins) > 0
            moved = (np.diff(series.goal, axis=1, prepend=0)[goes_on] / size) if goes_on.any() else np.ones((1, n_axes))
            far = max(chosen["step"] * float(np.sqrt((moved**2).mean())), 0.5)
            near = np.exp(-cdist(centres / size, centres / size, "sqeuclidean") / (2 * far**2))
            near[near < FARTHEST] = 0
            passing = csr_array(near / near.sum(axis=1, keepdims=True))
        rates = rates[is_visited][:, is_active]
        return PlaceDecoder(centres, prior / prior.sum(), rates, is_active, passing, chosen["bins"], chosen["trust"])


@dataclasses.dataclass(frozen=True, eq=False)
class PlaceDecoder:
    """A fitted place decoder.

    Attributes:
        centres: (cell, axis) of the places that were visited.
        prior: (cell,) how probable they are beforehand.
        rates: (cell, input) expected counts of a bin.
        is_active: (input,) who was active in training, and is read.
        passing: (cell, cell) from each to each in one bin; None if neighbouring bins say nothing of each other.
        n_bins: up to now, that are read together.
        trust: the power that likelihoods are raised to.
    """

    centres: Array
    prior: Array
    rates: Array
    is_active: NDArray[np.bool_]
    passing: csr_array | None
    n_bins: int
    trust: float

    @property
    def n_parameters(self) -> int:
        return self.rates.size + self.prior.size

    def estimates(self, roots: Array, bins: Bins) -> Array:
        """See `Filter`."""
        counts, n_read = _summed(np.where(bins[..., None], roots[..., self.is_active] ** 2, 0), bins, self.n_bins)
        found = np.zeros((*bins.shape, self.centres.shape[1]))
        total = self.rates.sum(axis=1)
        belief = np.empty((0, len(self.prior)))
        for step, (trial, time) in enumerate(_pieces(bins) if self.passing is None else steps(bins)):
            logs = counts[trial, time] @ np.log(self.rates).T - n_read[trial, time, None] * total
            likelihood = np.exp(self.trust * (logs - logs.max(axis=1, keepdims=True)))
            prior = self.prior
            if step > 0 and self.passing is not None:
                prior = belief[: len(trial)] @ self.passing
            belief = likelihood * (prior + LEAST)
            belief /= belief.sum(axis=1, keepdims=True)
            found[trial, time] = belief @ self.centres
        return found


def _summed(counts: Array, bins: Bins, n_bins: int) -> tuple[Array, NDArray[np.int64]]:
    """(trial, time, input) counts of so many bins up to each, as far as its run goes, and (trial, time) of how many."""
    n_read = np.minimum(position_in_run(bins) + 1, n_bins)
    until = np.pad(np.cumsum(counts, axis=1), ((0, 0), (1, 0), (0, 0)))
    before = np.arange(1, bins.shape[1] + 1) - n_read
    return until[:, 1:] - np.take_along_axis(until, before[..., None], axis=1), n_read


def _pieces(bins: Bins) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Trials and times of all bins, some after the other."""
    trial, time = np.nonzero(bins)
    for first in range(0, len(trial), PIECE):
        yield trial[first : first + PIECE], time[first : first + PIECE]


PLACES = PlaceRival("place-decoder")
