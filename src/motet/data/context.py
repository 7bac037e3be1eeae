"""What individuals do, in numbers: by these an individual is known that has no index.

No label is looked at. The numbers are of the individual over all trials given, whatever the order of trials and of
individuals, and rest on observed bins alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from motet.data.recording import Recording

LAGS = (1, 2, 4)  # bins
PERIODS = (8.0, 16.0, 32.0)  # bins of the waves that mean courses are read at
N_STATISTICS = 4 + len(LAGS) + 2 * len(PERIODS)
WITH_UNIT = np.array([True, True, True, False, *[False] * len(LAGS), *[True] * (2 * len(PERIODS))])
SPREAD = 1  # the place of the spread
_CONSTANT = 1e-6  # of the size of values: what varies less does not vary
_BLOCK = 1 << 22  # values that are looked at at once


def context_statistics(recordings: Sequence[Recording]) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Statistics of every individual over the trials of some recordings; those of one id are one individual.

    1. Its mean; its spread, a standard deviation; that of its means over trials.
    2. How far it goes along with the mean of the others, a correlation.
    3. Its autocorrelation at `LAGS`.
    4. Its mean course over a trial, about its mean, read at slow waves: a sine and a cosine of each of `PERIODS`.

    Where there is nothing to say (an individual that is constant, alone, or never observed) they are 0.

    Returns:
        The ids, in order of appearance, and (individual, feature × statistic); 1 and 4 in the unit of the values.

    Example:
        >>> wave = np.sin(2 * np.pi * np.arange(16) / 8)
        >>> ids, found = context_statistics([Recording.from_trials(np.stack([[wave, 2 * wave, 0 * wave + 3]] * 2))])
        >>> found[:, [0, 1, 3]].round(2).tolist()
        [[0.0, 0.71, 1.0], [0.0, 1.41, 1.0], [3.0, 0.0, 0.0]]
    """
    ids = tuple(dict.fromkeys(one for recording in recordings for one in recording.individual_ids))
    place = {one: row for row, one in enumerate(ids)}
    n_features = recordings[0].n_features

    def zeros(*more: int) -> NDArray[np.float64]:
        return np.zeros((*more, len(ids), n_features))

    def blocks() -> Iterator[tuple[list[int], NDArray[np.float64], NDArray[np.bool_]]]:
        for recording in recordings:
            rows = [place[one] for one in recording.individual_ids]
            size = max(1, _BLOCK // max(1, recording.values[:1].size))
            for first in range(0, recording.n_trials, size):
                part = slice(first, first + size)
                yield rows, recording.values[part].astype(np.float64), recording.observed[part, ..., None]

    # 1. Mean and spread
    count, total, squares, n_trials, between = zeros(), zeros(), zeros(), zeros(), zeros()
    for rows, values, observed in blocks():
        count[rows] += observed.sum(axis=(0, 2))
        total[rows] += np.where(observed, values, 0.0).sum(axis=(0, 2))
    mean = total / np.maximum(count, 1)
    for rows, values, observed in blocks():
        squares[rows] += np.square(np.where(observed, values - mean[rows][:, None], 0.0)).sum(axis=(0, 2))
    spread = np.sqrt(squares / np.maximum(count, 1))
    is_varying = spread > _CONSTANT * np.abs(mean)
    spread = np.where(is_varying, spread, 0.0)

    along, own, others = zeros(), zeros(), zeros()
    products, pairs = zeros(len(LAGS)), zeros(len(LAGS))
    course = zeros(2 * len(PERIODS))
    for rows, values, observed in blocks():
        away = np.where(observed & is_varying[rows][:, None], values - mean[rows][:, None], 0.0)
        n_observed = observed.sum(axis=2)
        of_trial = away.sum(axis=2) / np.maximum(n_observed, 1)
        n_trials[rows] += (n_observed > 0).sum(axis=0)
        between[rows] += np.square(of_trial).sum(axis=0)

        # 2. Along with the others
        n_others = observed.sum(axis=1, keepdims=True) - observed
        rest = np.where(observed, (away.sum(axis=1, keepdims=True) - away) / np.maximum(n_others, 1), 0.0)
        along[rows] += (away * rest).sum(axis=(0, 2))
        own[rows] += np.square(np.where(n_others > 0, away, 0.0)).sum(axis=(0, 2))
        others[rows] += np.square(rest).sum(axis=(0, 2))

        # 3. Over time
        for number, lag in enumerate(LAGS):
            products[number, rows] += (away[:, :, lag:] * away[:, :, :-lag]).sum(axis=(0, 2))
            pairs[number, rows] += (observed[:, :, lag:] & observed[:, :, :-lag]).sum(axis=(0, 2))

        # 4. Course
        course[:, rows] += np.einsum("wt,itf->wif", _waves(away.shape[2]), away.sum(axis=0))

    between = np.sqrt(between / np.maximum(n_trials, 1))
    correlation = _share(along, np.sqrt(own) * np.sqrt(others))
    autocorrelation = _share(products / np.maximum(pairs, 1), np.square(spread))
    course = course / np.maximum(count, 1)
    found = np.stack([mean, spread, between, correlation, *autocorrelation, *course], axis=-1)
    return ids, found.reshape(len(ids), n_features * N_STATISTICS)


def _waves(n_bins: int) -> NDArray[np.float64]:
    """Sines, then cosines: (wave, time)."""
    angle = 2 * np.pi * np.arange(n_bins) / np.array(PERIODS)[:, None]
    return np.concatenate((np.sin(angle), np.cos(angle)))


def _share(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """Their ratio, from -1 to 1; 0 where there is nothing."""
    ratio = np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
    return np.clip(ratio, -1.0, 1.0)
