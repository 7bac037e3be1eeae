"""Scores as functions of sums over test trials, so that they are known for any sample of these trials."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
N_RESAMPLED = 2000


@dataclasses.dataclass(frozen=True, eq=False)
class TrialSums:
    """What each test trial adds to a score, fold by fold.

    Attributes:
        metric: a key of `SCORES`.
        trials: for each fold (trial,) names; folds of repeats, and windows of one trial, share them.
        sums: for each fold (trial, sum), what each trial adds.
    """

    metric: str
    trials: Sequence[Sequence[str]]
    sums: Sequence[Sequence[Sequence[float]]]

    @property
    def is_share(self) -> bool:
        """Whether the score is a share of right answers."""
        return self.metric == "accuracy"

    @property
    def n_trials(self) -> int:
        return len(set().union(*self.trials))

    def resampled(self) -> Array:
        """(sample,) mean scores over folds, of trials drawn with replacement; every method has the same samples."""
        names, place = np.unique(np.concatenate(self.trials), return_inverse=True)
        rng = np.random.default_rng(0)
        weight = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), N_RESAMPLED).astype(np.float64)
        folds = np.split(place, np.cumsum([len(fold) for fold in self.trials])[:-1])
        with np.errstate(divide="ignore", invalid="ignore"):
            of_fold = [
                SCORES[self.metric](weight[:, fold] @ np.asarray(sums, dtype=np.float64))
                for fold, sums in zip(folds, self.sums, strict=True)
            ]
        return np.mean(of_fold, axis=0)


def sums_by_trial(
    metric: str, *, trial: NDArray[Any], truth: NDArray[Any], prediction: NDArray[Any]
) -> tuple[list[str], Array]:
    """The trials that are scored, and what each adds to the score.

    The name of the `trial` of each (entry,) goes with a `truth` (entry,) of classes, or (entry, …) of quantities.

    Example:
        >>> trial, truth, prediction = np.array(["a", "a", "b"]), np.array([0, 1, 1]), np.array([0, 0, 1])
        >>> names, sums = sums_by_trial("accuracy", trial=trial, truth=truth, prediction=prediction)
        >>> names, sums.tolist(), float(SCORES["accuracy"](sums.sum(axis=0)))
        (['a', 'b'], [[1.0, 2.0], [1.0, 1.0]], 0.6666666666666666)
    """
    names, place = np.unique(trial, return_inverse=True)
    parts = _PARTS[metric](truth, prediction)
    sums = np.zeros((len(names), parts.shape[1]))
    np.add.at(sums, place, parts)
    return [str(name) for name in names], sums


def _right(truth: NDArray[Any], prediction: NDArray[Any]) -> Array:
    return np.stack([truth == prediction, np.ones(len(truth))], axis=1).astype(np.float64)


def _confused(truth: NDArray[Any], prediction: NDArray[Any]) -> Array:
    """One entry of the confusion matrix, flat."""
    classes, codes = np.unique(np.concatenate([truth, prediction]), return_inverse=True)
    true, predicted = np.split(codes, 2)
    return np.eye(len(classes) ** 2)[true * len(classes) + predicted]


def _squares(truth: NDArray[Any], prediction: NDArray[Any]) -> Array:
    """Count, squared error, squared quantity, and the quantities, about their mean over all entries."""
    flat = truth.reshape(len(truth), -1).astype(np.float64)
    error = (flat - prediction.reshape(len(truth), -1)) ** 2
    flat = flat - flat.mean(axis=0)
    return np.column_stack([np.ones(len(flat)), error.sum(axis=1), (flat**2).sum(axis=1), flat])


def _macro_f1(sums: Array) -> Array:
    n_classes = round(sums.shape[-1] ** 0.5)
    confusion = sums.reshape(*sums.shape[:-1], n_classes, n_classes)
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    total = confusion.sum(axis=-1) + confusion.sum(axis=-2)
    return np.asarray(np.nanmean(np.where(total > 0, 2 * right / np.where(total > 0, total, 1), np.nan), axis=-1))


def _r2(sums: Array) -> Array:
    n, error, squares, quantities = sums[..., 0], sums[..., 1], sums[..., 2], sums[..., 3:]
    return np.asarray(1 - error / (squares - (quantities**2).sum(axis=-1) / n))


_PARTS: Mapping[str, Callable[[NDArray[Any], NDArray[Any]], Array]] = MappingProxyType(
    {"accuracy": _right, "macro_f1": _confused, "r2": _squares}
)
SCORES: Mapping[str, Callable[[Array], Array]] = MappingProxyType(
    {"accuracy": lambda sums: sums[..., 0] / sums[..., 1], "macro_f1": _macro_f1, "r2": _r2}
)
"""From sums (…, sum) to scores (…)."""
BOUNDS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"accuracy": (0.0, 1.0), "macro_f1": (0.0, 1.0), "r2": (-np.inf, 1.0)}
)
"""The least and the most that a score can be."""
