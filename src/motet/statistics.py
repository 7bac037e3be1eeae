"""What every table needs: intervals over folds, paired comparisons, and a correction for many rows.

Scores of cross-validation folds are not independent, for their training sets overlap; treated as if they
were, twice two folds make any difference "significant". Nadeau and Bengio (Machine Learning 52, 2003)
correct the variance of their mean from s²/n to s² (1/n + n_test/n_train), which Bouckaert and Frank (PAKDD
2004) recommend for repeated K-fold too. It keeps to its level for random splits and is cautious for K-fold.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

from motet.errors import InputError, did_you_mean


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean over folds, its interval, and the p of a t-test that it is zero.

    Attributes:
        mean: over folds.
        interval: (low, high).
        p: two-sided.
    """

    mean: float
    interval: tuple[float, float]
    p: float


@dataclasses.dataclass(frozen=True)
class Row:
    """One method of a table.

    Attributes:
        method: its name.
        mean: score over folds.
        interval: 95 % interval of the mean.
        difference: mean paired difference, this method minus the reference; None for the reference itself.
        difference_interval: 95 % interval of the difference.
        p_holm: that the difference is zero, two-sided, corrected for the number of rows.
    """

    method: str
    mean: float
    interval: tuple[float, float]
    difference: float | None = None
    difference_interval: tuple[float, float] | None = None
    p_holm: float | None = None


def standard_error(scores: ArrayLike) -> float:
    """Standard error of the mean of independent scores (fold,): s / √n, with n - 1 in s.

    >>> round(standard_error([1.0, 2.0, 3.0, 4.0]), 3)
    0.645
    """
    folds = _folds(scores)
    return float(folds.std(ddof=1) / math.sqrt(len(folds)))


def estimate_mean(scores: ArrayLike, *, test_fraction: float | None, confidence: float = 0.95) -> Estimate:
    """Mean of scores over folds with Student's t interval.

    Args:
        scores: (fold,) one score, or one paired difference, per fold.
        test_fraction: of the trials, how many are in a test fold: .2 for 5-fold cross-validation,
            repeated or not. The variance is then corrected for overlapping training sets. None for
            independent scores, such as those of different animals.
        confidence: that the interval holds the mean.

    Raises:
        InputError: if there are fewer than two folds, a score is not finite, or a fraction is not in
            between 0 and 1.

    >>> low, high = estimate_mean([0.70, 0.75, 0.72, 0.79, 0.74], test_fraction=0.2).interval
    >>> round(low, 3), round(high, 3)
    (0.677, 0.803)
    """
    folds = _folds(scores)
    for name, fraction in (("test_fraction", test_fraction), ("confidence", confidence)):
        if fraction is not None and not 0 < fraction < 1:
            raise InputError(f"{name} is {fraction}; give a fraction between 0 and 1.")
    n_folds, mean = len(folds), float(folds.mean())
    overlap = 0.0 if test_fraction is None else test_fraction / (1 - test_fraction)
    error = math.sqrt(folds.var(ddof=1) * (1 / n_folds + overlap))
    half = float(stdtrit(n_folds - 1, (1 + confidence) / 2)) * error
    # Equal scores in every fold leave no doubt.
    t = abs(mean) / error if error > 0 else (0.0 if mean == 0 else math.inf)
    return Estimate(mean, (mean - half, mean + half), 2 * float(stdtr(n_folds - 1, -t)))


def compare(
    *, scores: ArrayLike, against: ArrayLike, test_fraction: float | None, confidence: float = 0.95
) -> Estimate:
    """Paired comparison of two methods on the same folds: the corrected resampled t-test.

    Args:
        scores: (fold,) of the method.
        against: (fold,) of the other, on the same folds in the same order.
        test_fraction: as in `estimate_mean`.
        confidence: as in `estimate_mean`.

    Returns:
        The difference, method minus other, its interval, and p that it is zero.

    Raises:
        InputError: as `estimate_mean`, and if the two have different numbers of folds.

    >>> round(compare(scores=[0.8, 0.9, 0.7], against=[0.7, 0.7, 0.6], test_fraction=None).p, 3)
    0.057
    """
    ours, theirs = _folds(scores), _folds(against)
    if len(ours) != len(theirs):
        raise InputError(f"one method has {len(ours)} folds and the other {len(theirs)}; score both on the same.")
    return estimate_mean(ours - theirs, test_fraction=test_fraction, confidence=confidence)


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Holm's step-down correction of (row,) p-values: all rows together err with the stated probability.

    Source: Holm, Scandinavian Journal of Statistics 6, 1979.

    >>> holm([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])
    """
    values = np.asarray(p, dtype=np.float64)
    if values.ndim != 1 or not ((values >= 0) & (values <= 1)).all():
        raise InputError(f"p-values are {np.asarray(p).tolist()}; give a list of numbers from 0 to 1.")
    order = np.argsort(values)
    stepped = values[order] * np.arange(len(values), 0, -1)
    corrected = np.empty_like(values)
    corrected[order] = np.maximum.accumulate(stepped).clip(max=1)
    return corrected


def compare_table(scores: Mapping[str, ArrayLike], *, against: str, test_fraction: float | None) -> list[Row]:
    """A row per method, in the order given, compared with the method `against` on the same folds.

    Args:
        scores: (fold,) by method.
        against: the reference, usually the best baseline.
        test_fraction: as in `estimate_mean`.

    Raises:
        InputError: as `compare`, and if `against` is not one of the methods.

    >>> folds = {"lda": [0.80, 0.81, 0.79, 0.82], "eit": [0.85, 0.87, 0.84, 0.86]}
    >>> reference, eit = compare_table(folds, against="lda", test_fraction=0.25)
    >>> round(eit.difference, 3), round(eit.p_holm, 3)
    (0.05, 0.004)
    """
    if against not in scores:
        raise did_you_mean(against, scores, what="method")
    means = {method: estimate_mean(folds, test_fraction=test_fraction) for method, folds in scores.items()}
    differences = {
        method: compare(scores=folds, against=scores[against], test_fraction=test_fraction)
        for method, folds in scores.items()
        if method != against
    }
    corrected = dict(zip(differences, holm([found.p for found in differences.values()]), strict=True))
    rows = []
    for method, mean in means.items():
        row = Row(method, mean.mean, mean.interval)
        if method != against:
            found = differences[method]
            row = Row(method, mean.mean, mean.interval, found.mean, found.interval, float(corrected[method]))
        rows.append(row)
    return rows


def markdown_table(
    rows: Sequence[Row], *, digits: int = 3, more: Mapping[str, Sequence[str]] = MappingProxyType({})
) -> str:
    """The rows as a Markdown table.

    Args:
        rows: see `compare_table`.
        digits: after the point.
        more: further columns, a text for each row.

    >>> rows = compare_table({"a": [1.0, 2.0], "b": [2.0, 3.5]}, against="a", test_fraction=None)
    >>> print(markdown_table(rows))
    | method | mean [95 %] | difference [95 %] | p (Holm) |
    |---|---|---|---|
    | a | 1.500 [-4.853, 7.853] | | |
    | b | 2.750 [-6.780, 12.280] | +1.250 [-1.927, 4.427] | 0.126 |
    """

    def cells(row: Row) -> tuple[str, ...]:
        name, (low, high) = row.method.replace("|", "\\|"), row.interval
        mean = f"{row.mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
        if row.difference is None or row.difference_interval is None or row.p_holm is None:
            return name, mean, "", ""
        low, high = row.difference_interval
        difference = f"{row.difference:+.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
        return name, mean, difference, "<0.001" if row.p_holm < 0.001 else f"{row.p_holm:.3f}"

    head = ("method", "mean [95 %]", "difference [95 %]", "p (Holm)", *more)
    table = [head, *((*cells(row), *extra) for row, *extra in zip(rows, *more.values(), strict=True))]
    lines = ["|" + "|".join(f" {cell} " if cell else " " for cell in line) + "|" for line in table]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def _folds(scores: ArrayLike) -> NDArray[np.float64]:
    """(fold,) checked scores."""
    folds = np.asarray(scores, dtype=np.float64)
    if folds.ndim != 1 or len(folds) < 2:
        raise InputError(f"scores have shape {folds.shape}; give one score per fold, two folds or more.")
    if not np.isfinite(folds).all():
        raise InputError("a score is NaN or infinite; score every method on every fold.")
    return folds
