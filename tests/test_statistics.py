"""Intervals and tests over folds: scipy's closed forms, and their level in simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.model_selection import RepeatedKFold, ShuffleSplit

from motet.errors import InputError
from motet.statistics import (
    compare,
    compare_all,
    estimate_mean,
    holm,
)
from motet.trial_sums import TrialSums, sums_by_trial


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_independent_scores_have_students_interval(rng):
    scores = rng.normal(0.8, 0.1, 12)
    estimate = estimate_mean(scores, test_fraction=None, confidence=0.9)
    expected = stats.t.interval(0.9, 11, scores.mean(), stats.sem(scores))
    assert estimate.mean == pytest.approx(scores.mean())
    assert estimate.interval == pytest.approx(expected)
    assert estimate.p == pytest.approx(stats.ttest_1samp(scores, 0).pvalue)


def test_independent_pairs_have_the_paired_t_test(rng):
    ours, theirs = rng.normal(0.8, 0.1, (2, 9))
    expected = stats.ttest_rel(ours, theirs)
    comparison = compare(scores=ours, against=theirs, test_fraction=None)
    assert comparison.p == pytest.approx(expected.pvalue)
    assert comparison.interval == pytest.approx(tuple(expected.confidence_interval(0.95)))


def test_the_correction_widens_the_interval_by_the_closed_form(rng):
    """Ten folds that each test a fifth: √(1 + 10 · .2/.8) = √3.5 times as wide."""
    scores = rng.normal(size=10)
    plain = np.ptp(estimate_mean(scores, test_fraction=None).interval)
    assert np.ptp(estimate_mean(scores, test_fraction=0.2).interval) == pytest.approx(plain * np.sqrt(3.5))


def test_the_interval_excludes_zero_exactly_when_p_is_below_its_level(rng):
    for mean in np.linspace(0, 1.5, 40):
        estimate = estimate_mean(rng.normal(mean, 1, 10), test_fraction=0.2)
        low, high = estimate.interval
        assert (low > 0 or high < 0) == (estimate.p < 0.05)


def test_exchanging_two_methods_changes_the_sign_only(rng):
    ours, theirs = rng.normal(size=(2, 10))
    forth = compare(scores=ours, against=theirs, test_fraction=0.2)
    back = compare(scores=theirs, against=ours, test_fraction=0.2)
    assert (forth.mean, forth.p) == pytest.approx((-back.mean, back.p))
    assert forth.interval == pytest.approx((-back.interval[1], -back.interval[0]))


# ------------------------------------------------------------------ what few or equal folds tell


@pytest.mark.parametrize("n_folds", [1, 2, 4])
def test_fewer_than_five_folds_tell_no_interval(n_folds, rng):
    found = estimate_mean(rng.normal(size=n_folds), test_fraction=0.5)
    assert (found.interval, found.p) == (None, None)


@pytest.mark.parametrize("difference", [0.0, 0.25])
def test_no_spread_is_no_certainty(difference):
    found = compare(scores=np.full(6, 0.5 + difference), against=np.full(6, 0.5), test_fraction=0.2)
    assert (found.mean, found.interval, found.p) == (difference, None, None)


@pytest.mark.parametrize(("bounds", "scores"), [((0, 1), [0.9, 1, 1, 1, 1]), ((0, 1), [0, 0.3, 0, 0, 0])])
def test_intervals_stay_inside_the_bounds_of_the_score(bounds, scores):
    low, high = estimate_mean(scores, test_fraction=0.2, bounds=bounds).interval
    assert bounds[0] <= low <= np.mean(scores) <= high <= bounds[1]
    assert (low, high) != estimate_mean(scores, test_fraction=0.2).interval


def of_accuracy(*folds, names=None):
    """The sums of an accuracy of so many right and wrong trials in each fold."""
    right = [np.arange(n) < n_right for n_right, n in folds]
    names = names or [[f"{fold}/{i}" for i in range(len(r))] for fold, r in enumerate(right)]
    return TrialSums("accuracy", names, [np.stack([r, np.ones(len(r))], axis=1) for r in right])


def test_an_accuracy_of_few_folds_has_wilsons_interval_over_trials():
    found = estimate_mean([0.75, 0.85], test_fraction=0.5, trials=of_accuracy((15, 20), (17, 20)))
    expected = stats.binomtest(32, 40).proportion_ci(0.95, method="wilson")
    assert found.interval == pytest.approx((expected.low, expected.high))
    low, high = estimate_mean([1.0, 1.0], test_fraction=0.5, trials=of_accuracy((20, 20), (20, 20))).interval
    assert low < 0.95
    assert high == pytest.approx(1)


def test_windows_and_repeats_of_a_trial_are_not_more_trials():
    names = [["a", "b", "c"], ["a", "b", "c"]]
    assert of_accuracy((1, 3), (2, 3), names=names).n_trials == 3


def test_wilsons_interval_of_folds_without_spread_holds_the_truth_as_often_as_it_says(rng):
    covered = []
    for _ in range(400):
        right = rng.binomial(1, 0.9, (3, 40)).sum(axis=1)
        trials = of_accuracy(*[(int(n), 40) for n in right])
        low, high = estimate_mean(right / 40, test_fraction=None, trials=trials).interval
        covered.append(low <= 0.9 <= high)
    assert 0.92 < np.mean(covered) < 0.98


def quantities(rng, slope, *, n_folds=3, n=60):
    """Test trials of a quantity of two dimensions that a prediction tells with so much slope."""
    trials, sums, scores = [], [], []
    for fold in range(n_folds):
        truth = rng.normal(size=(n, 2)) + 100
        names = np.array([f"{fold}/{i // 3}" for i in range(n)])
        found = sums_by_trial("r2", trial=names, truth=truth, prediction=100 + slope * (truth - 100))
        trials.append(found[0])
        sums.append(found[1])
        scores.append(1 - ((1 - slope) ** 2 * ((truth - 100) ** 2).sum()) / ((truth - truth.mean(0)) ** 2).sum())
    return TrialSums("r2", trials, sums), np.array(scores)


def test_a_bootstrap_over_trials_is_around_the_score(rng):
    trials, scores = quantities(rng, 0.7)
    found = estimate_mean(scores, test_fraction=0.3, bounds=(-np.inf, 1), trials=trials)
    low, high = found.interval
    assert scores.mean() - 0.05 < low < scores.mean() < high < scores.mean() + 0.05
    assert found.mean == pytest.approx(scores.mean())


def test_a_paired_bootstrap_sees_what_is_the_same_in_every_trial():
    (better, a), (worse, b) = (quantities(np.random.default_rng(3), slope) for slope in (0.8, 0.7))
    found = compare(scores=a, against=b, test_fraction=0.3, trials=(better, worse))
    assert 0 < found.interval[0] < found.mean < found.interval[1]
    assert found.p < 0.01
    assert compare(scores=a, against=a, test_fraction=0.3, trials=(better, better)).p is None


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "r2"])
def test_sums_over_all_trials_give_the_score(metric, rng):
    from motet import metrics
    from motet.trial_sums import SCORES

    trial = rng.integers(0, 7, 50).astype(str)
    if metric == "r2":
        truth, prediction = rng.normal(size=(2, 50, 2)) + 1e6
        expected = metrics.r2(prediction=prediction, target=truth, observed=np.ones(50, dtype=bool))
    else:
        truth, prediction = rng.choice(list("abc"), (2, 50))
        expected = getattr(metrics, metric)(prediction=prediction, target=truth)
    names, sums = sums_by_trial(metric, trial=trial, truth=truth, prediction=prediction)
    assert names == sorted(set(trial))
    assert SCORES[metric](sums.sum(axis=0)) == pytest.approx(expected)


def _false_positives(splits, *, n_trials: int, test_fraction: float | None, n_simulations: int = 1500) -> float:
    """How often a test at 5 % parts two methods that are equally good.

    The target is the sum of two inputs and noise; each method regresses it on one of them, by least
    squares on the training trials, and is scored by its squared error on the test trials.
    """
    rng = np.random.default_rng(1)
    inputs = rng.normal(size=(2, n_simulations, n_trials))
    target = inputs.sum(0) + rng.normal(size=(n_simulations, n_trials))

    def scores(one_input, train, test):
        slope = (one_input[:, train] * target[:, train]).sum(1) / (one_input[:, train] ** 2).sum(1)
        return -((target[:, test] - slope[:, None] * one_input[:, test]) ** 2).mean(1)

    ours, theirs = (np.stack([scores(one, *split) for split in splits], axis=1) for one in inputs)
    p = [compare(scores=a, against=b, test_fraction=test_fraction).p for a, b in zip(ours, theirs, strict=True)]
    return float(np.mean(np.array(p) < 0.05))


def test_the_corrected_test_keeps_its_level_over_random_splits_where_the_plain_one_does_not():
    splits = list(ShuffleSplit(10, test_size=0.2, random_state=0).split(np.arange(80)))
    assert 0.03 < _false_positives(splits, n_trials=80, test_fraction=0.2) < 0.07
    assert _false_positives(splits, n_trials=80, test_fraction=None) > 0.2


def test_the_corrected_test_is_cautious_over_repeated_k_fold():
    splits = list(RepeatedKFold(n_splits=5, n_repeats=2, random_state=0).split(np.arange(80)))
    assert _false_positives(splits, n_trials=80, test_fraction=0.2) < 0.05
    assert _false_positives(splits, n_trials=80, test_fraction=None) > 0.08


def test_the_corrected_test_is_exact_for_folds_that_correlate_by_the_test_fraction():
    """Nadeau and Bengio's assumption: the correlation of two folds is n_test / (n_test + n_train)."""
    rng, fraction = np.random.default_rng(2), 0.2
    shared, own = rng.normal(size=(2000, 1)), rng.normal(size=(2000, 10))
    folds = np.sqrt(fraction) * shared + np.sqrt(1 - fraction) * own
    p = np.array([estimate_mean(row, test_fraction=fraction).p for row in folds])
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_holm_agrees_with_the_definition_row_by_row():
    p = [0.01, 0.04, 0.03, 0.005]
    assert holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == pytest.approx([1.0, 1.0])
    assert holm([]).shape == (0,)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.randoms())
def test_holm_lies_between_p_and_bonferroni_keeps_the_order_and_follows_the_rows(p, random):
    corrected = holm(p)
    assert np.all(corrected >= p)
    assert np.all(corrected <= np.minimum(1, np.array(p) * len(p)) + 1e-15)
    assert np.all(np.diff(corrected[np.argsort(p, kind="stable")]) >= 0)
    shuffled = list(range(len(p)))
    random.shuffle(shuffled)
    assert holm([p[i] for i in shuffled]).tolist() == [corrected[i] for i in shuffled]


def test_holm_keeps_the_error_of_a_whole_table_at_its_level(rng):
    assert np.mean([holm(rng.random(6)).min() < 0.05 for _ in range(4000)]) == pytest.approx(0.05, abs=0.012)


def test_every_other_method_is_compared_with_the_reference_on_the_same_folds(rng):
    lda, eit, chance = rng.normal([[0.9], [0.93], [0.1]], 0.02, (3, 10))
    found = compare_all({"chance": chance, "lda": lda, "eit": eit}, against="lda", test_fraction=0.2)
    assert list(found) == ["chance", "eit"]
    alone = {name: compare(scores=s, against=lda, test_fraction=0.2) for name, s in (("chance", chance), ("eit", eit))}
    for name, one in alone.items():
        assert (found[name].mean, found[name].interval) == (one.mean, one.interval)
    assert [one.p for one in found.values()] == pytest.approx(holm([one.p for one in alone.values()]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: estimate_mean([], test_fraction=None), "one fold or more"),
        (lambda: estimate_mean([[1.0, 2.0]], test_fraction=None), "one fold or more"),
        (lambda: estimate_mean([1.0, np.nan], test_fraction=None), "NaN"),
        (lambda: estimate_mean([1.0, 2.0], test_fraction=1.0), "above 0, below 1"),
        (lambda: estimate_mean([1.0, 2.0], test_fraction=None, confidence=95), "above 0, below 1"),
        (lambda: compare(scores=[1.0, 2.0], against=[1.0, 2.0, 3.0], test_fraction=None), "2 folds"),
        (lambda: holm([0.1, np.nan]), "from 0 to 1"),
        (
            lambda: compare_all({"lda": [0.1, 0.2]}, against="ldaa", test_fraction=None),
            "did you mean 'lda'",
        ),
    ],
)
def test_what_cannot_be_compared_is_an_input_error(call, message):
    with pytest.raises(InputError, match=message):
        call()
