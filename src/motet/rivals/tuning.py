"""How the options of a rival are chosen: on inner folds of its training trials."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motet.data.recording import Recording
from motet.errors import InputError

Options = Mapping[str, Any]
N_FOLDS = 5  # of the training trials, for all that is tuned


def inner_folds(train: Recording, labels: NDArray[Any] | None = None, *, n_folds: int = N_FOLDS) -> NDArray[np.int64]:
    """(trial, time) the fold of each bin, by which options are tuned.

    Trials that have classes are dealt out class by class. Others may follow one another without a break, and what is
    near is alike: their folds are stretches of time. Windows of one trial stay together. Where there are fewer trials
    than folds, the bins are cut into stretches instead.

    Args:
        train: training trials.
        labels: (trial,) classes by which folds are balanced; None if there are none.
        n_folds: how many.

    Example:
        >>> recording = Recording.from_trials(np.ones((6, 1, 2)))
        >>> inner_folds(recording, np.array([0, 1, 0, 1, 0, 1]), n_folds=3)[:, 0]
        array([0, 0, 1, 1, 2, 2])
        >>> inner_folds(recording, n_folds=2)[:, 0]
        array([0, 0, 0, 1, 1, 1])
        >>> inner_folds(recording.select(trials=[0]), n_folds=2)
        array([[0, 1]])
    """
    ids, first, position = np.unique(train.trial_ids, return_index=True, return_inverse=True)
    if len(ids) < n_folds:
        start = np.asarray(train.trial_start_seconds)[:, None]
        time = start + np.arange(train.n_bins) * train.bin_seconds
        edges = np.quantile(time[train.bin_is_observed], np.arange(1, n_folds) / n_folds)
        return np.asarray(np.searchsorted(edges, time), dtype=np.int64)
    fold = np.empty(len(ids), dtype=np.int64)
    if labels is not None:
        fold[np.argsort(labels[first], kind="stable")] = np.arange(len(ids)) % n_folds
    else:
        start = np.full(len(ids), np.inf)
        np.minimum.at(start, position, np.asarray(train.trial_start_seconds, dtype=np.float64))
        fold[np.argsort(start, kind="stable")] = np.arange(len(ids)) * n_folds // len(ids)
    return np.repeat(fold[position][:, None], train.n_bins, axis=1)


def tune(
    options: Mapping[str, Sequence[Any]], loss: Callable[[Options], float], *, start: Options | None = None
) -> dict[str, Any]:
    """The options of least loss: one is changed after the other, the others as they are, until none gains.

    Args:
        options: by name, the values to try.
        loss: of one value per option. An `InputError` refuses these values.
        start: the values to begin with; by default the first of each.

    Raises:
        InputError: the first refusal, if all are refused.

    Example:
        >>> tune({"x": (0, 1, 2), "y": (0, 1)}, lambda at: (at["x"] - 1) ** 2 - at["y"])
        {'x': 1, 'y': 1}
    """
    refused: list[InputError] = []

    def tried(candidate: Options) -> tuple[bool, float]:
        try:
            return False, loss(candidate)
        except InputError as error:
            refused.append(error)
            return True, math.inf

    best = dict(start or {name: values[0] for name, values in options.items()})
    seen, least, gains = [best], tried(best), True
    while gains:
        gains = False
        for name, value in [(name, value) for name, values in options.items() for value in values]:
            if (candidate := best | {name: value}) not in seen:
                seen.append(candidate)
                if (found := tried(candidate)) < least:
                    least, best, gains = found, candidate, True
    if least[0]:
        raise refused[0]
    return best
