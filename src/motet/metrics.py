"""Scores of predictions, over the entries that were observed.

Every function takes `prediction` and `target` by keyword, as any array or list that `motet.given` reads, and
`observed`, a mask over their leading axes; predictions may hold anything, NaN included, where it is False. A target
that is unknown is not scored. Arithmetic is in float64.
Pairs of individuals are scored with `observed=known_pairs(target)`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn import metrics

from motet import given
from motet.errors import InputError
from motet.settings import Count, check_arguments


def accuracy(
    *, prediction: ArrayLike, target: ArrayLike, observed: ArrayLike | None = None, weight: ArrayLike | None = None
) -> float:
    """Fraction of entries (…) whose class is predicted; `weight` (…) is how much each counts.

    Raises:
        InputError: if shapes disagree or no entry counts.

    >>> accuracy(prediction=[0, 1, 1, 2], target=[0, 1, 2, 2])
    0.75
    """
    predicted, true, counted = _classes(prediction, target, observed)
    return float(np.average(predicted == true, weights=_weights(weight, counted)))


def macro_f1(*, prediction: ArrayLike, target: ArrayLike, observed: ArrayLike | None = None) -> float:
    """F1 of each class that is in the target or predicted, averaged over classes; otherwise as `accuracy`.

    >>> round(macro_f1(prediction=[0, 0, 1, 1], target=[0, 0, 0, 1]), 3)
    0.733
    """
    predicted, true, _ = _classes(prediction, target, observed)
    _, codes = np.unique(np.concatenate([true, predicted]), return_inverse=True)
    return float(metrics.f1_score(*np.split(codes, 2), average="macro"))


def r2(
    *, prediction: ArrayLike, target: ArrayLike, observed: ArrayLike | None = None, weight: ArrayLike | None = None
) -> float:
    """R², the fraction of variance explained, with the variances of all dimensions added up.

    1 - Σ (target - prediction)² / Σ (target - mean target)², sums over counted entries and dimensions,
    the mean of each dimension over counted entries. NaN where no dimension of the target varies, or fewer than two
    entries count.

    Args:
        prediction: (…, dim) quantities, with as many trailing axes as the target; none for a scalar.
        target: (…, dim) quantities; an entry with a NaN is unknown and does not count.
        observed: (…) bool, such as `recording.bin_is_observed`; by default all, along the first axis.
        weight: (…) how much each entry counts; by default all the same.

    Raises:
        InputError: if shapes disagree, or a prediction is not finite where it counts.

    >>> velocity = np.array([[[1.0, 0.0], [3.0, 2.0], [np.nan, np.nan]]])
    >>> r2(prediction=velocity + 0.5, target=velocity, observed=[[True, True, False]])
    0.75
    """
    predicted, true = given.numbers(prediction, what="prediction"), given.numbers(target, what="target")
    counted = _mask(np.ones(true.shape[:1], dtype=bool) if observed is None else observed, predicted, true)
    counted = counted & given.is_known(true).reshape(*counted.shape, -1).all(-1)
    if counted.sum() < 2:
        return float("nan")
    predicted, true = (array[counted].reshape(counted.sum(), -1) for array in (predicted, true))
    _check_finite(predicted)
    _check_finite(true, what="targets")
    weights = _weights(weight, counted)
    weighed = true if weights is None else true[weights > 0]
    if (weighed == weighed[0]).all():
        return float("nan")
    residual, spread = (
        np.average(np.square(true - reference).sum(axis=1), weights=weights)
        for reference in (predicted, np.average(true, axis=0, weights=weights))
    )
    return float(1 - residual / spread)


def known_pairs(target: ArrayLike, *, are_directed: bool = False) -> NDArray[np.bool_]:
    """Which pairs count: (trial, individual, individual), those that are known (target ≥ 0), each once.

    With `are_directed`, (i, j) and (j, i) are two pairs.

    >>> known_pairs([[[-1, 1, 0], [1, -1, -1], [0, -1, -1]]])[0].astype(int)
    array([[0, 1, 1],
           [0, 0, 0],
           [0, 0, 0]])
    """
    true = given.labels(target, what="target")
    if true.ndim != 3 or true.shape[1] != true.shape[2] or true.dtype.kind != "i":
        raise InputError(
            f"a target per pair has shape {true.shape} and type {true.dtype}; give integers "
            "(trial, individual, individual), -1 where unknown."
        )
    each_once = ~np.eye(true.shape[1], dtype=bool)
    return (true >= 0) & (each_once if are_directed else np.triu(each_once))


def differs_by_order(target: ArrayLike) -> bool:
    """Whether any pair of (trial, individual, individual) is known to be one thing one way and another the other way.

    >>> differs_by_order([[[-1, 1], [0, -1]]]), differs_by_order([[[-1, 1], [-1, -1]]])
    (True, False)
    """
    true = given.labels(target, what="target")
    other_way = true.swapaxes(1, 2)
    return bool(((true != other_way) & (true >= 0) & (other_way >= 0)).any())


def auroc(*, prediction: ArrayLike, target: ArrayLike, observed: ArrayLike | None = None) -> float:
    """Area under the ROC curve: how often an entry of class 1 is scored above one of class 0 (ties count half).

    Args:
        prediction: (…) scores, probabilities or log-odds; higher means class 1.
        target: (…) 0 and 1.
        observed: (…) bool, such as `known_pairs(target)`; by default all.

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

    @classmethod
    def of(cls, probability: ArrayLike, happened: ArrayLike, n_intervals: int = 10) -> Reliability:
        """Means over intervals of equal width from 0 to 1, of probabilities (entry,) and what happened (entry,)."""
        sure, true = (np.asarray(one, dtype=np.float64) for one in (probability, happened))
        interval = np.minimum((sure * n_intervals).astype(np.int64), n_intervals - 1)
        n_entries = np.bincount(interval, minlength=n_intervals)
        n_or_nan = np.where(n_entries, n_entries, np.nan)
        mean, share = (np.bincount(interval, one, n_intervals) / n_or_nan for one in (sure, true))
        return cls(mean, share, n_entries)

    @property
    def error(self) -> float:
        """The mean distance of probability from frequency, weighted by entries; 0 without any."""
        distance = np.nan_to_num(np.abs(self.probability - self.frequency))
        return float(distance @ self.n_entries / max(self.n_entries.sum(), 1))


def reliability(
    *, prediction: ArrayLike, target: ArrayLike, observed: ArrayLike | None = None, n_intervals: Count = 15
) -> Reliability:
    """Mean probability and frequency of class 1, in intervals of equal width from 0 to 1.

    >>> reliability(prediction=[0.1, 0.2, 0.9, 0.9], target=[0, 1, 1, 1], n_intervals=2).frequency
    array([0.5, 1. ])
    """
    true, probability = _scored(prediction, target, observed)
    if probability.min() < 0 or probability.max() > 1:
        raise InputError(
            f"probabilities are from {probability.min():g} to {probability.max():g}; give numbers from 0 to 1."
        )
    check_arguments(reliability, {"n_intervals": n_intervals})
    return Reliability.of(probability, true, n_intervals)


def expected_calibration_error(
    *, prediction: ArrayLike, target: ArrayLike, observed: ArrayLike | None = None, n_intervals: Count = 15
) -> float:
    """Mean distance between probability and frequency over intervals, weighted by entries: 0 is calibrated.

    Arguments and errors as `reliability` (Naeini et al., AAAI 2015).

    >>> round(expected_calibration_error(prediction=[0.1, 0.2, 0.9, 0.9], target=[0, 1, 1, 1], n_intervals=2), 6)
    0.225
    """
    return reliability(prediction=prediction, target=target, observed=observed, n_intervals=n_intervals).error


def confidence_error(
    *, log_probability: ArrayLike, classes: ArrayLike, target: ArrayLike, n_intervals: Count = 15
) -> float:
    """Expected calibration error of classifiers: how far the probability of the predicted class is from being right.

    Mean distance between that probability and how often it is right, over intervals of it, weighted by entries (Guo et
    al., ICML 2017). NaN without entries.

    Args:
        log_probability: (entry, class).
        classes: (class,) that these are of.
        target: (entry,) known classes.
        n_intervals: of equal width, from 0 to 1.

    >>> p = np.log([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8], [0.2, 0.8]])
    >>> round(confidence_error(log_probability=p, classes=[0, 1], target=[0, 0, 1, 0]), 3)
    0.2
    """
    logs, names, true = np.asarray(log_probability, np.float64), np.asarray(classes), np.asarray(target)
    if logs.shape != (len(true), len(names)):
        raise InputError(
            f"log-probabilities have shape {logs.shape}, for {len(true)} entries and {len(names)} classes; give "
            "(entry, class)."
        )
    _check_finite(logs, what="log-probabilities")
    if not len(true):
        return float("nan")
    return Reliability.of(np.exp(logs.max(axis=1)), names[logs.argmax(axis=1)] == true, n_intervals).error


def adjusted_rand(*, prediction: ArrayLike, target: ArrayLike) -> float:
    """Adjusted Rand index of groups, the mean over trials: 1 for the same groups, 0 at chance.

    Args:
        prediction: (trial, individual) group labels; their names do not matter.
        target: (trial, individual) group labels; -1 for individuals that do not count.

    Raises:
        InputError: if shapes disagree, an individual that counts is in no predicted group (-1), or a trial has fewer
            than two individuals that count.

    >>> adjusted_rand(prediction=[[0, 0, 1, 1], [0, 1, 0, 1]], target=[[5, 5, 2, 2], [0, 0, 1, 1]])
    0.25
    """
    return float(_rand(prediction, target).mean())


def partition_accuracy(*, prediction: ArrayLike, target: ArrayLike) -> float:
    """Fraction of trials whose groups are all as in truth; otherwise as `adjusted_rand`.

    >>> partition_accuracy(prediction=[[0, 0, 1, 1], [0, 1, 0, 1]], target=[[5, 5, 2, 2], [0, 0, 1, 1]])
    0.5
    """
    return float((_rand(prediction, target) == 1).mean())


def _classes(
    prediction: ArrayLike, target: ArrayLike, observed: ArrayLike | None
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]]:
    """(entry,) predicted and true classes where observed and known, and where that is."""
    predicted, true = given.labels(prediction, what="prediction"), given.labels(target, what="target")
    counted = _mask(np.ones(true.shape, dtype=bool) if observed is None else observed, predicted, true)
    if counted.shape != true.shape:
        raise InputError(f"observed has shape {counted.shape} and the classes {true.shape}; give one shape.")
    if (predicted.dtype.kind == "U") != (true.dtype.kind == "U"):
        raise InputError(
            f"predictions are of type {predicted.dtype} and the target of type {true.dtype}; give both as text, or "
            "both as numbers."
        )
    counted = counted & given.is_known(true)
    if not counted.any():
        raise InputError("no entry is observed and known, so there is nothing to score.")
    return predicted[counted], true[counted], counted


def _scored(prediction: ArrayLike, target: ArrayLike, observed: ArrayLike | None) -> tuple[NDArray[Any], NDArray[Any]]:
    """(entry,) classes 0 and 1, and their scores, where observed."""
    score, true, _ = _classes(given.numbers(prediction, what="scores"), target, observed)
    _check_finite(score, what="scores")
    if not np.array_equal(found := np.unique(true), [0, 1]):
        raise InputError(f"the classes that are observed are {found.tolist()}; give 0 and 1, both of them.")
    return true, score


def _weights(weight: ArrayLike | None, counted: NDArray[np.bool_]) -> NDArray[np.float64] | None:
    """(entry,) of the entries that count."""
    if weight is None:
        return None
    weights = given.numbers(weight, what="weight")
    if weights.shape != counted.shape or not (weights[counted] >= 0).all() or not 0 < weights[counted].sum() < np.inf:
        raise InputError(
            f"weights have shape {weights.shape}, for entries {counted.shape}; give finite ones from 0, not all 0."
        )
    return weights[counted]


def _rand(prediction: ArrayLike, target: ArrayLike) -> NDArray[np.float64]:
    """(trial,) adjusted Rand index by counts of pairs (Hubert & Arabie 1985); 1 only where the groups are the same."""
    predicted, true = given.labels(prediction, what="prediction"), given.labels(target, what="target")
    if true.ndim != 2 or not predicted.dtype.kind == true.dtype.kind == "i":
        raise InputError(
            f"groups have shape {true.shape} and types {predicted.dtype} and {true.dtype}; give whole numbers "
            "(trial, individual)."
        )
    counted = _mask(true >= 0, predicted, true)
    if counted.sum(1).min(initial=2) < 2 or not len(true):
        raise InputError("a trial has fewer than two individuals of a known group; leave it out.")
    if (predicted[counted] < 0).any():
        raise InputError("an individual of a known group is in no predicted group (-1); give each a group.")
    pairs = np.triu(counted[:, :, None] & counted[:, None], k=1)
    same, truly_same = (labels[:, :, None] == labels[:, None] for labels in (predicted, true))
    both, neither, only_predicted, only_true = (
        (chosen & pairs).sum((1, 2)).astype(np.float64)
        for chosen in (same & truly_same, ~same & ~truly_same, same & ~truly_same, ~same & truly_same)
    )
    chance = (neither + only_predicted) * (only_predicted + both) + (neither + only_true) * (only_true + both)
    index = 2 * (neither * both - only_predicted * only_true) / np.where(chance > 0, chance, 1)
    return np.where(only_predicted + only_true == 0, 1, index)


def _mask(observed: ArrayLike, prediction: NDArray[Any], target: NDArray[Any]) -> NDArray[np.bool_]:
    """A mask over the leading axes of two arrays of one shape, checked."""
    mask = given.labels(observed, what="observed")
    if prediction.shape != target.shape or mask.shape != target.shape[: mask.ndim]:
        raise InputError(
            f"prediction has shape {prediction.shape}, target {target.shape} and observed {mask.shape}; "
            "give prediction and target of one shape and a mask over its leading axes."
        )
    if mask.dtype.kind != "b":
        raise InputError(f"observed is of type {mask.dtype}; give booleans, True for what counts.")
    return mask


def _check_finite(array: NDArray[Any], *, what: str = "predictions") -> None:
    if not np.isfinite(array).all():
        raise InputError(f"{what} are NaN or infinite where observed; check the model or the mask.")
