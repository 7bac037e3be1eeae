"""Groups by Newton's third law alone: forces within a group never bend the path of its centre of mass."""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray

from motet.data.gaps import bridged_array
from motet.data.motion import Features, Motion, MotionSettings
from motet.data.recording import Recording
from motet.errors import InputError
from motet.rivals.force_fit import noise_variance

Array = NDArray[np.float64]
MASS_SPREAD = 0.2  # what is taken to be known of masses: their standard deviation, relative to their mean
MOST_SUBSETS = 20_000
BLOCK_SIZE = 2**21  # numbers held at once, 16 MB of float64


def straight_centres(
    recording: Recording, size: int, *, features: Features = "position"
) -> tuple[NDArray[np.int64], Array]:
    """How well each subset of individuals moves as a closed system: its centre of mass goes straight.

    What forces within a group do to its centre of mass is nothing, whatever the law. So the departures from uniform
    motion, weighted by mass, add up to noise. Score: twice the log-evidence of that, masses being unknown with a
    spread of 20 % about their mean.

    Args:
        recording: trials of one length.
        size: individuals per subset.
        features: what the recording's features are.

    Returns:
        subsets (subset, size) of positions, and scores (trial, subset), −inf where one is absent.

    Raises:
        InputError: if there are fewer individuals than that, or more than 20 000 subsets.
    """
    n = recording.n_individuals
    if not 2 <= size <= n or math.comb(n, size) > MOST_SUBSETS:
        raise InputError(
            f"of {n} individuals there are {math.comb(n, size)} groups of {size}; give a size from 2 to {n} with at "
            f"most {MOST_SUBSETS}."
        )
    motion = Motion.of(recording, MotionSettings(features=features))
    position, observed = motion.position, motion.observed
    subsets = np.array(list(itertools.combinations(range(n), size)))
    flat = departures(position, observed).reshape(recording.n_trials, n, -1)
    product = flat @ flat.swapaxes(1, 2) / (size * noise_variance(position, observed))[:, None, None]
    scores = np.empty((recording.n_trials, len(subsets)))
    n_together = max(1, BLOCK_SIZE // subsets.size // size)
    # Evidence of Σ w x = noise under masses w ~ N(1, spread²): the exponent is a parabola, its top at matrix⁻¹ prior.
    prior = np.full((size, 1), 1 / MASS_SPREAD**2)
    for start in range(0, recording.n_trials, n_together):
        block = slice(start, start + n_together)
        matrix = product[block, subsets[:, :, None], subsets[:, None]] + np.eye(size) / MASS_SPREAD**2
        top = (prior * np.linalg.solve(matrix, np.broadcast_to(prior, (*matrix.shape[:-1], 1)))).sum((-2, -1))
        scores[block] = top - prior.sum() - np.linalg.slogdet(matrix)[1]
    is_there = np.asarray(observed.any(axis=-1))[:, subsets].all(axis=-1)
    return subsets, np.where(is_there, scores, -np.inf)


def departures(position: Array, observed: NDArray[np.bool_]) -> Array:
    """(trial, individual, time, coordinate) what is left of positions without uniform motion; gaps are bridged.

    Raises:
        InputError: if trials are shorter than three bins.
    """
    n_bins = position.shape[2]
    if n_bins < 3:
        raise InputError(f"trials last {n_bins} bins; three are needed to tell a curve from a line.")
    basis, _ = np.linalg.qr(np.stack([np.ones(n_bins), np.arange(n_bins)], axis=1))
    there = bridged_array(position, observed)
    return there - basis @ (basis.T @ there)
