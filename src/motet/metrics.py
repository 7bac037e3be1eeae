"""Scores of predictions, over the entries that were observed.

Every function takes `prediction` and `target` by keyword and `observed`, a mask over their leading axes;
predictions may hold anything, NaN included, where it is False. scikit-learn does the arithmetic.
Pairs of individuals are scored with `observed=known_pairs(target)`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import xlogy
from sklearn import metrics

from motet.errors import InputError


def accuracy(*, prediction: ArrayLike, target: ArrayLike, observed: ArrayLike | None = None) -> float:
    """Fraction of entries whose class is predicted.

    Args:
        prediction: (…) classes.
        target: (…) classes.
        observed: (…) bool, the entries that count; by default all.

    Raises:
        InputError: if shapes disagree or no entry counts.

    >>> accuracy(prediction=[0, 1, 1, 2], target=[0, 1, 2, 2])
    0.75
    """
    prediction, target = _classes(prediction, target, observed)
    return float(metrics.accuracy_score(target, prediction))


def balanced_accuracy(*, prediction: ArrayLike, target: ArrayLike, observed: ArrayLike | None = None) -> float:
    """Mean over the classes of the target of the fraction predicted: chance is 1 / n_classes.

    Shapes and errors as `accuracy`.

    >>> balanced_accuracy(prediction=[0, 0, 0, 0], target=[0, 0, 0, 1])
    0.5
    """
    prediction, target = _classes(prediction, target, observed)
    # Not balanced_accuracy_score, which warns of classes that are predicted only.
    return float(metrics.recall_score(target, prediction, labels=np.unique(target), average="macro"))


def macro_f1(*, prediction: ArrayLike, target: ArrayLike, observed: ArrayLike | None = None) -> float:
    """F1 of each class that is in the target or predicted, averaged over classes.

    Shapes and errors as `accuracy`.

    >>> round(macro_f1(prediction=[0, 0, 1, 1], target=[0, 0, 0, 1]), 3)
    0.733
    """
    prediction, target = _classes(prediction, target, observed)
    return float(metrics.f1_score(target, prediction, average="macro"))


def confusion_matrix(
    *, prediction: ArrayLike, target: ArrayLike, labels: ArrayLike, observed: ArrayLike | None = None
) -> NDArray[np.int64]:
    """Entries by true class (row) and predicted class (column), in the order of `labels`.

    Shapes and errors as `accuracy`, and an `InputError` for a class which is not in `labels`.

    >>> confusion_matrix(prediction=[0, 1, 1], target=[0, 0, 1], labels=[0, 1, 2])
    array([[1, 1, 0],
           [0, 1, 0],
           [0, 0, 0]])
    """
    prediction, target = _classes(prediction, target, observed)
    known = np.asarray(labels)
    strange = np.setdiff1d(np.union1d(prediction, target), known)
    if len(strange):
        raise InputError(f"class {strange[0]} is not among the labels {known.tolist()}; give all classes.")
    return metrics.confusion_matrix(target, prediction, labels=known)


def r2(*, prediction: ArrayLike, target: ArrayLike, observed: ArrayLike) -> float:
    """R², the fraction of variance explained, with the variances of all dimensions added up.

    1 - Σ (target - prediction)² / Σ (target - mean target)², sums over counted entries and dimensions,
    the mean of each dimension over counted entries.

    Args:
        prediction: (…, dim) quantities, with as many trailing axes as the target; none for a scalar.
        target: (…, dim) quantities; an entry with a NaN is unknown and does not count.
        observed: (…) bool, the entries that count, such as `recording.bin_is_observed`.

    Raises:
        InputError: if shapes disagree, a prediction is not finite where it counts, or fewer than two
            entries count.

    >>> velocity = np.array([[[1.0, 0.0], [3.0, 2.0], [np.nan, np.nan]]])
    >>> r2(prediction=velocity + 0.5, target=velocity, observed=[[True, True, False]])
    0.75
    """
    prediction, target, observed = _same_shape(prediction, target, observed)
    counted = observed & ~np.isnan(target).reshape(*observed.shape, -1).any(-1)
    if counted.sum() < 2:
        raise InputError(f"R² needs two observed entries with a known target, there are {counted.sum()}.")
    predicted, true = (array[counted].reshape(counted.sum(), -1) for array in (prediction, target))
    _check_finite(predicted)
    return float(metrics.r2_score(true, predicted, multioutput="variance_weighted"))


def poisson_bits_per_spike(*, prediction: ArrayLike, target: ArrayLike, observed: ArrayLike) -> float:
    """Poisson log-likelihood of predicted counts above that of each individual's mean, in bits per spike.

    The mean is that of the very entries which are scored, so that 0 is as good as the best constant
    rate per individual (Pei et al., NeurIPS Datasets and Benchmarks 2021, "co-smoothing").

    Args:
        prediction: (trial, individual, time, …) expected counts per bin.
        target: (trial, individual, time, …) counts per bin.
        observed: (trial, individual, time) bool, the entries that count.

    Returns:
        Bits per spike; -inf where a count has probability zero.

    Raises:
        InputError: if shapes disagree, values are negative or not finite where they count, or there
            is no spike.

    >>> counts = np.array([[[0, 2, 0, 2]]])
    >>> round(poisson_bits_per_spike(prediction=counts, target=counts, observed=counts >= 0), 6)
    1.0
    """
    prediction, target, observed = _same_shape(prediction, target, observed)
    if observed.ndim != 3:
        raise InputError(f"observed has shape {observed.shape}; give (trial, individual, time).")
    counted = np.broadcast_to(observed.reshape(*observed.shape, *[1] * (target.ndim - 3)), target.shape)
    for name, array in (("predictions", prediction), ("counts", target)):
        _check_finite(array[counted], what=name)
        if (array[counted] < 0).any():
            raise InputError(f"{name} are negative in places; give counts per bin, not their logarithm.")
    prediction, target = (np.where(counted, array, 0.0) for array in (prediction, target))
    n_spikes = target.sum()
    if n_spikes == 0:
        raise InputError("there is no observed spike, so bits per spike are undefined; score other entries.")
    n_counted = counted.sum((0, 2), keepdims=True)
    mean = np.where(counted, target.sum((0, 2), keepdims=True) / np.maximum(n_counted, 1), 0.0)
    # log k! is the same for both.
    gain = xlogy(target, prediction) - prediction - xlogy(target, mean) + mean
    return float(gain.sum() / n_spikes / math.log(2))


def known_pairs(target: ArrayLike, *, are_directed: bool = False) -> NDArray[np.bool_]:
    """Which pairs count: (trial, individual, individual), those that are known (target ≥ 0), each once.

    Args:
        target: (trial, individual, individual) int; -1 on the diagonal and where unknown.
        are_directed: whether (i, j) and (j, i) are two pairs.

    Raises:
        InputError: if the target has another shape or type.

    >>> known_pairs([[[-1, 1, 0], [1, -1, -1], [0, -1, -1]]])[0].astype(int)
    array([[0, 1, 1],
           [0, 0, 0],
           [0, 0, 0]])
    """
    target = np.asarray(target)
    if target.ndim != 3 or target.shape[1] != target.shape[2] or target.dtype.kind not in "iu":
        raise InputError(
            f"a target per pair has shape {target.shape} and type {target.dtype}; give integers "
            "(trial, individual, individual), -1 where unknown."
        )
    each_once = ~np.eye(target.shape[1], dtype=bool)
    return (target >= 0) & (each_once if are_directed else np.triu(each_once))


def edge_accuracy(*, prediction: ArrayLike, target: ArrayLike, are_directed: bool = False) -> float:
    """Fraction of known pairs whose edge, or kind of edge, is predicted.

    Args:
        prediction: (trial, individual, individual) classes.
        target: (trial, individual, individual) int; -1 where unknown.
        are_directed: as in `known_pairs`.

    Raises:
        InputError: if shapes disagree or no pair is known.

    >>> edge_accuracy(prediction=[[[0, 1], [1, 0]]], target=[[[-1, 1], [1, -1]]])
    1.0
    """
    return accuracy(prediction=prediction, target=target, observed=known_pairs(target, are_directed=are_directed))


def auroc(*, prediction: ArrayLike, target: ArrayLike, observed: ArrayLike | None = None) -> float:
    """Area under the ROC curve: how often an entry of class 1 is scored above one of class 0 (ties count half).

    Args:
        prediction: (…) scores, probabilities or log-odds; higher means class 1.
        target: (…) 0 and 1.
        observed: (…) bool, the entries that count, such as `known_pairs(target)`; by default all.

    Raises:
        InputError: if shapes disagree, a counted score is not finite, or the counted classes are not 0 and 1.

    >>> auroc(prediction=[0.1, 0.4, 0.35, 0.8], target=[0, 0, 1, 1])
    0.75
    """
    return float(metrics.roc_auc_score(*_scored(prediction, target, observed)))


def average_precision(*, prediction: ArrayLike, target: ArrayLike, observed: ArrayLike | None = None) -> float:
    """Precision averaged over recall, by steps: where edges are rare it tells more than the area under the ROC curve.

    Arguments and errors as `auroc`. Chance is the fraction of class 1.

    >>> round(average_precision(prediction=[0.1, 0.4, 0.35, 0.8], target=[0, 0, 1, 1]), 3)
    0.833
    """
    return float(metrics.average_precision_score(*_scored(prediction, target, observed)))


class Reliability(NamedTuple):
    """Probabilities by interval beside what happened: three arrays (interval,), NaN where no entry fell."""

    probability: NDArray[np.float64]
    frequency: NDArray[np.float64]
    n_entries: NDArray[np.int64]


def reliability(
    *, prediction: ArrayLike, target: ArrayLike, observed: ArrayLike | None = None, n_intervals: int = 15
) -> Reliability:
    """Mean probability and frequency of class 1, in intervals of equal width from 0 to 1.

    Args:
        prediction: (…) probabilities of class 1.
        target: (…) 0 and 1.
        observed: (…) bool, the entries that count; by default all.
        n_intervals: of probability.

    Raises:
        InputError: as `auroc`, and if a counted probability is outside 0 to 1.

    >>> reliability(prediction=[0.1, 0.2, 0.9, 0.9], target=[0, 1, 1, 1], n_intervals=2).frequency
    array([0.5, 1. ])
    """
    true, probability = _scored(prediction, target, observed)
    if probability.min() < 0 or probability.max() > 1:
        raise InputError(
            f"probabilities are from {probability.min():g} to {probability.max():g}; give numbers from 0 to 1."
        )
    if n_intervals < 1:
        raise InputError(f"n_intervals is {n_intervals}; give at least one interval.")
    interval = np.minimum((probability * n_intervals).astype(np.int64), n_intervals - 1)
    n_entries = np.bincount(interval, minlength=n_intervals)
    n_or_nan = np.where(n_entries, n_entries, np.nan)
    return Reliability(
        np.bincount(interval, probability, n_intervals) / n_or_nan,
        np.bincount(interval, true, n_intervals) / n_or_nan,
        n_entries,
    )


def expected_calibration_error(
    *, prediction: ArrayLike, target: ArrayLike, observed: ArrayLike | None = None, n_intervals: int = 15
) -> float:
    """Mean distance between probability and frequency over intervals, weighted by entries: 0 is calibrated.

    Arguments and errors as `reliability` (Naeini et al., AAAI 2015).

    >>> round(expected_calibration_error(prediction=[0.1, 0.2, 0.9, 0.9], target=[0, 1, 1, 1], n_intervals=2), 6)
    0.225
    """
    curve = reliability(prediction=prediction, target=target, observed=observed, n_intervals=n_intervals)
    distance = np.nan_to_num(np.abs(curve.probability - curve.frequency))
    return float((distance * curve.n_entries).sum() / curve.n_entries.sum())


def adjusted_rand(*, prediction: ArrayLike, target: ArrayLike) -> float:
    """Adjusted Rand index of groups, the mean over trials: 1 for the same groups, 0 at chance.

    Args:
        prediction: (trial, individual) group labels; their names do not matter.
        target: (trial, individual) group labels; -1 for individuals that do not count.

    Raises:
        InputError: if shapes disagree, an individual that counts is in no predicted group (-1), or a trial has fewer
            than two individuals that count.

    Source: Hubert & Arabie, Journal of Classification 1985, by counts of pairs.

    >>> adjusted_rand(prediction=[[0, 0, 1, 1], [0, 1, 0, 1]], target=[[5, 5, 2, 2], [0, 0, 1, 1]])
    0.25
    """
    same, truly_same, counted = _same_group(prediction, target)
    both, neither, only_predicted, only_true = (
        (chosen & counted).sum((1, 2)).astype(np.float64)
        for chosen in (same & truly_same, ~same & ~truly_same, same & ~truly_same, ~same & truly_same)
    )
    chance = (neither + only_predicted) * (only_predicted + both) + (neither + only_true) * (only_true + both)
    index = 2 * (neither * both - only_predicted * only_true) / np.where(chance > 0, chance, 1)
    return float(np.where(only_predicted + only_true == 0, 1, index).mean())


def partition_accuracy(*, prediction: ArrayLike, target: ArrayLike) -> float:
    """Fraction of trials whose groups are all as in truth.

    Arguments and errors as `adjusted_rand`.

    >>> partition_accuracy(prediction=[[0, 0, 1, 1], [0, 1, 0, 1]], target=[[5, 5, 2, 2], [0, 0, 1, 1]])
    0.5
    """
    same, truly_same, counted = _same_group(prediction, target)
    return float(((same == truly_same) | ~counted).all((1, 2)).mean())


def _classes(prediction: ArrayLike, target: ArrayLike, observed: ArrayLike | None) -> tuple[NDArray[Any], NDArray[Any]]:
    """(entry,) predicted and true classes where observed."""
    shape = np.shape(target)
    prediction, target, observed = _same_shape(
        prediction, target, np.ones(shape, dtype=bool) if observed is None else observed
    )
    if observed.shape != shape:
        raise InputError(f"observed has shape {observed.shape} and the classes {shape}; give one shape.")
    if not observed.any():
        raise InputError("no entry is observed, so there is nothing to score.")
    return prediction[observed], target[observed]


def _scored(prediction: ArrayLike, target: ArrayLike, observed: ArrayLike | None) -> tuple[NDArray[Any], NDArray[Any]]:
    """(entry,) classes 0 and 1, and their scores, where observed."""
    score, true = _classes(prediction, target, observed)
    _check_finite(score, what="scores")
    if not np.array_equal(found := np.unique(true), [0, 1]):
        raise InputError(f"the classes that are observed are {found.tolist()}; give 0 and 1, both of them.")
    return true, score


def _same_group(
    prediction: ArrayLike, target: ArrayLike
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """(trial, individual, individual): who is in one group as predicted, in truth, and which pairs count."""
    prediction, target, counted = _same_shape(prediction, target, np.asarray(target) >= 0)
    if target.ndim != 2 or not {prediction.dtype.kind, target.dtype.kind} <= set("iu"):
        raise InputError(
            f"groups have shape {target.shape} and types {prediction.dtype} and {target.dtype}; give whole numbers "
            "(trial, individual)."
        )
    if counted.sum(1).min(initial=2) < 2 or not len(target):
        raise InputError("a trial has fewer than two individuals of a known group; leave it out.")
    if (prediction[counted] < 0).any():
        raise InputError("an individual of a known group is in no predicted group (-1); give each a group.")
    pairs = np.triu(counted[:, :, None] & counted[:, None], k=1)
    same, truly_same = (labels[:, :, None] == labels[:, None] for labels in (prediction, target))
    return same, truly_same, pairs


def _same_shape(
    prediction: ArrayLike, target: ArrayLike, observed: ArrayLike
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]]:
    """As arrays, checked: a mask over the leading axes of two arrays of one shape."""
    prediction, target, observed = np.asarray(prediction), np.asarray(target), np.asarray(observed)
    if prediction.shape != target.shape or observed.shape != target.shape[: observed.ndim]:
        raise InputError(
            f"prediction has shape {prediction.shape}, target {target.shape} and observed {observed.shape}; "
            "give prediction and target of one shape and a mask over its leading axes."
        )
    if observed.dtype != np.bool_:
        raise InputError(f"observed is of type {observed.dtype}; give booleans, True for what counts.")
    return prediction, target, observed


def _check_finite(array: NDArray[Any], *, what: str = "predictions") -> None:
    if not np.isfinite(array).all():
        raise InputError(f"{what} are NaN or infinite where observed; check the model or the mask.")
