"""What every table needs: intervals over folds, paired comparisons, and a correction for many rows.

Scores of cross-validation folds are not independent, for their training sets overlap; treated as if they
were, twice two folds make any difference "significant". Nadeau and Bengio (Machine Learning 52, 2003)
correct the variance of their mean from s²/n to s² (1/n + n_test/n_train), which Bouckaert and Frank (PAKDD
2004) recommend for repeated K-fold too. It keeps to its level for random splits and is cautious for K-fold.

Fewer than five folds, or folds that all score the same, say nothing of what other trials would give. Then an interval
comes from the test trials: Wilson's for an accuracy, a bootstrap over trials for other scores and for differences.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtr, stdtrit
from scipy.stats import false_discovery_control

from motet.errors import InputError, did_you_mean
from motet.settings import Range, check_arguments
from motet.trial_sums import TrialSums

RUNAWAY = 1e100  # stands for infinity, so that quantiles can be interpolated
N_BLOCKS = 10  # of trials, whose scattering gives the interval of a score
FEWEST_FOLDS = 5  # that tell how much a score scatters
Interval = tuple[float, float]
_Inside = Annotated[float, Range(above=0, below=1)]
UNBOUNDED: Interval = (-math.inf, math.inf)


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean over folds, its interval, and the p of a test that it is zero.

    The interval and the two-sided p are None where neither folds nor trials tell them.
    """

    mean: float
    interval: Interval | None
    p: float | None


@dataclasses.dataclass(frozen=True)
class Score:
    """One score of one method.

    Attributes:
        value: over all test trials.
        interval: what it may be of other trials; None where nothing tells it.
        samples: its values on folds, or on blocks of trials, by which methods are compared.
    """

    value: float
    interval: Interval | None = None
    samples: tuple[float, ...] = ()


def estimate_mean(
    scores: ArrayLike,
    *,
    test_fraction: float | None,
    confidence: float = 0.95,
    bounds: Interval = UNBOUNDED,
    trials: TrialSums | None = None,
) -> Estimate:
    """Mean of scores over folds, with an interval that stays inside the bounds of the score.

    Student's t over folds; of fewer than `FEWEST_FOLDS`, or of folds that do not differ, over trials if they are given,
    and none otherwise.

    Args:
        scores: (fold,) one score per fold.
        test_fraction: of the trials in a test fold: .2 for 5-fold cross-validation, repeated or not, corrects for
            training sets that overlap; None is for independent scores, such as those of different animals.
        confidence: that the interval holds the mean.
        bounds: of the score, such as (0, 1).
        trials: what the score is of other test trials.

    Raises:
        InputError: if there is no fold, a score is not finite, or a fraction is not in between 0 and 1.

    >>> low, high = estimate_mean([0.70, 0.75, 0.72, 0.79, 0.74], test_fraction=0.2).interval
    >>> round(low, 3), round(high, 3)
    (0.677, 0.803)
    >>> print(estimate_mean([0.7, 0.8], test_fraction=0.5).interval)
    None
    """
    folds = _folds(scores)
    mean = float(folds.mean())
    interval, p = _over_folds(folds, test_fraction, confidence) or (None, None)
    if interval is None and trials is not None:
        if trials.is_share:
            interval = _wilson(mean, trials.n_trials, confidence)
        else:
            interval, p = _percentiles(trials.resampled(), confidence) or (None, None)
    return Estimate(mean, None if interval is None else _inside(interval, bounds, mean), p)


def blocks_of(trial_ids: ArrayLike) -> list[NDArray[np.int64]]:
    """Positions of trials in ten blocks, or as many as there are ids; those of one id are in one block.

    >>> [block.tolist() for block in blocks_of(["b", "a", "b"])]
    [[1], [0, 2]]
    """
    ids = np.unique(trial_ids)
    return [np.flatnonzero(np.isin(trial_ids, part)) for part in np.array_split(ids, min(N_BLOCKS, len(ids)))]


def blockwise(value: float, blocks: Sequence[float], *, bounds: Interval = UNBOUNDED) -> Score:
    """A score of all trials, with a 95 % interval from how its values scatter over blocks of them.

    Where the value of a block is NaN there is no interval.

    >>> low, high = blockwise(0.8, [0.7, 0.9, 0.8, 0.75, 0.85]).interval
    >>> round(low, 2), round(high, 2)
    (0.7, 0.9)
    """
    if not np.isfinite(blocks).all():
        return Score(value)
    found = _over_folds(np.asarray(blocks, dtype=np.float64), None)
    if found is None:
        return Score(value, None, tuple(blocks))
    half = (found[0][1] - found[0][0]) / 2
    return Score(value, (max(value - half, bounds[0]), min(value + half, bounds[1])), tuple(blocks))


def compare(
    *,
    scores: ArrayLike,
    against: ArrayLike,
    test_fraction: float | None,
    trials: tuple[TrialSums, TrialSums] | None = None,
) -> Estimate:
    """Paired comparison of two methods on the same folds: the corrected resampled t-test.

    Of fewer than `FEWEST_FOLDS`, or of differences all alike, a paired bootstrap over trials if they are given.

    Arguments are as in `estimate_mean`; `trials` are of the method and of the other.

    Returns:
        The difference, method minus other, its interval, and p that it is zero.

    Raises:
        InputError: as `estimate_mean`, and if the two have different numbers of folds.

    >>> ours, theirs = [0.8, 0.9, 0.7, 0.8, 0.9], [0.7, 0.7, 0.6, 0.8, 0.8]
    >>> round(compare(scores=ours, against=theirs, test_fraction=None).p, 3)
    0.034
    """
    ours, theirs = _folds(scores), _folds(against)
    if len(ours) != len(theirs):
        raise InputError(f"one method has {len(ours)} folds and the other {len(theirs)}; score both on the same.")
    found = _over_folds(ours - theirs, test_fraction)
    if found is None and trials is not None:
        found = _percentiles(trials[0].resampled() - trials[1].resampled())
    return Estimate(float((ours - theirs).mean()), *(found or (None, None)))


@dataclasses.dataclass(frozen=True)
class Effect:
    """How large a difference is beside how much it scatters over folds.

    Attributes:
        size: mean ÷ standard deviation of the differences; None where that says nothing: one fold, or no scatter.
        wins: folds on which the method scores higher than the other; `losses`: lower. The rest are ties.
    """

    size: float | None
    wins: int
    losses: int


def effect(*, scores: ArrayLike, against: ArrayLike) -> Effect:
    """Paired effect of a method against another on the same folds.

    >>> found = effect(scores=[0.8, 0.9, 0.7], against=[0.7, 0.7, 0.7])
    >>> round(found.size, 3), found.wins, found.losses
    (1.0, 2, 0)
    """
    ours, theirs = _folds(scores), _folds(against)
    differences = ours - theirs
    scatters = len(ours) > 1 and np.ptp(differences) > 1e-12 * max(1.0, float(np.abs(differences).max()))
    size = float(differences.mean() / differences.std(ddof=1)) if scatters else None
    return Effect(size, int((differences > 0).sum()), int((differences < 0).sum()))


def _over_folds(
    folds: NDArray[np.float64], test_fraction: _Inside | None, confidence: _Inside = 0.95
) -> tuple[Interval, float] | None:
    """Student's interval and p; None of too few folds, and of folds without spread, which is no certainty."""
    check_arguments(_over_folds, {"test_fraction": test_fraction, "confidence": confidence})
    n_folds, mean = len(folds), float(folds.mean())
    if n_folds < FEWEST_FOLDS or np.ptp(folds) <= 1e-12 * max(1.0, float(np.abs(folds).max())):
        return None
    overlap = 0.0 if test_fraction is None else test_fraction / (1 - test_fraction)
    error = math.sqrt(folds.var(ddof=1) * (1 / n_folds + overlap))
    half = float(stdtrit(n_folds - 1, (1 + confidence) / 2)) * error
    return (mean - half, mean + half), 2 * float(stdtr(n_folds - 1, -abs(mean) / error))


def _wilson(share: float, n_trials: int, confidence: float) -> Interval:
    """Wilson's interval of a share of so many trials (JASA 1927)."""
    z2 = float(ndtri((1 + confidence) / 2)) ** 2
    centre = (share + z2 / (2 * n_trials)) / (1 + z2 / n_trials)
    half = math.sqrt(z2 * (share * (1 - share) / n_trials + z2 / (4 * n_trials**2))) / (1 + z2 / n_trials)
    return centre - half, centre + half


def _percentiles(resampled: NDArray[np.float64], confidence: float = 0.95) -> tuple[Interval, float] | None:
    """The interval of a bootstrap, and p that its value is zero; None if nothing varies or is known."""
    known = resampled[np.isfinite(resampled)]
    if len(known) < len(resampled) / 2 or np.ptp(known) <= 1e-12 * max(1.0, float(np.abs(known).max())):
        return None
    low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    beyond = min(int((known <= 0).sum()), int((known >= 0).sum()))
    return (float(low), float(high)), min(1.0, 2 * (beyond + 1) / (len(known) + 1))


def _inside(interval: Interval, bounds: Interval, mean: float) -> Interval:
    low, high = interval
    return min(max(low, bounds[0]), mean), max(min(high, bounds[1]), mean)


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Holm's step-down correction of (row,) p-values: all rows together err with the stated probability.

    Source: Holm, Scandinavian Journal of Statistics 6, 1979.

    >>> holm([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])
    """
    values = _p_values(p)
    order = np.argsort(values)
    stepped = values[order] * np.arange(len(values), 0, -1)
    corrected = np.empty_like(values)
    corrected[order] = np.maximum.accumulate(stepped).clip(max=1)
    return corrected


def benjamini_hochberg(p: ArrayLike) -> NDArray[np.float64]:
    """The q of (row,) p-values: the least false-discovery rate at which each row is found.

    Source: Benjamini and Hochberg, JRSS B 57, 1995.

    >>> benjamini_hochberg([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.04, 0.04]
    """
    return np.asarray(false_discovery_control(_p_values(p)))


def compare_all(
    scores: Mapping[str, ArrayLike],
    *,
    against: str,
    test_fraction: float | None,
    trials: Mapping[str, TrialSums] = MappingProxyType({}),
) -> dict[str, Estimate]:
    """Every other method compared with one on the same folds; p is corrected for how many there are.

    Raises:
        InputError: as `compare`, and if `against` is not one of the methods.
    """
    if against not in scores:
        raise did_you_mean(against, scores, what="method")
    differences = {
        method: compare(
            scores=folds,
            against=scores[against],
            test_fraction=test_fraction,
            trials=(trials[method], trials[against]) if {method, against} <= trials.keys() else None,
        )
        for method, folds in scores.items()
        if method != against
    }
    tested = {method: found.p for method, found in differences.items() if found.p is not None}
    corrected = dict(zip(tested, holm(list(tested.values())).tolist(), strict=True))
    return {method: dataclasses.replace(found, p=corrected.get(method)) for method, found in differences.items()}


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells, the first of them the head, as a Markdown table.

    Example:
        >>> print(markdown([["method", "AUROC"], ["eit", ""]]))
        | method | AUROC |
        |---|---|
        | eit | |
    """
    lines = ["|" + "|".join(f" {cell} " if cell else " " for cell in row) + "|" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def quartiles(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """25, 50 and 75 % of errors (trial, …) that may be infinite; inf where those are, NaN where nothing is known.

    >>> quartiles(np.array([1.0, 2.0, 3.0, np.inf, np.nan]))
    array([1.75, 2.5 ,  inf])
    """
    found = np.full((3, *values.shape[1:]), np.nan)
    known = ~np.isnan(values).all(axis=0)
    found[:, known] = np.nanquantile(np.minimum(values[:, known], RUNAWAY), [0.25, 0.5, 0.75], axis=0)
    return np.where(found >= RUNAWAY / 4, np.inf, found)


def interval_text(interval: Interval | None, form: str = ".3f") -> str:
    """An interval as it stands behind its mean; nothing if it is not known.

    >>> interval_text((0.25, 0.5), ".2f")
    ' [0.25, 0.50]'
    """
    return "" if interval is None else f" [{interval[0]:{form}}, {interval[1]:{form}}]"


def p_text(p: float | None) -> str:
    """A p as a table has it; nothing if it is not known.

    >>> p_text(0.0004), p_text(0.04)
    ('<0.001', '0.040')
    """
    return "" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def _p_values(p: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(p, dtype=np.float64)
    if values.ndim != 1 or not ((values >= 0) & (values <= 1)).all():
        raise InputError(f"p-values are {np.asarray(p).tolist()}; give a list of numbers from 0 to 1.")
    return values


def _folds(scores: ArrayLike) -> NDArray[np.float64]:
    """(fold,) checked scores."""
    folds = np.asarray(scores, dtype=np.float64)
    if folds.ndim != 1 or len(folds) < 1:
        raise InputError(f"scores have shape {folds.shape}; give one score per fold, one fold or more.")
    if not np.isfinite(folds).all():
        raise InputError("a score is NaN or infinite; score every method on every fold.")
    return folds
