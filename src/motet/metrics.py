"""Scores of predictions, over the entries that were observed.

Every function takes `prediction` and `target` by keyword and `observed`, a mask over their leading axes;
predictions may hold anything, NaN included, where it is False. scikit-learn does the arithmetic.
"""

from __future__ import annotations

import math
from typing import Any

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
