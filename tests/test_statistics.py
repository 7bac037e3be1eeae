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
    Row,
    compare,
    compare_table,
    estimate_mean,
    holm,
    markdown_table,
    standard_error,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_independent_scores_have_students_interval(rng):
    scores = rng.normal(0.8, 0.1, 12)
    estimate = estimate_mean(scores, test_fraction=None, confidence=0.9)
    assert standard_error(scores) == pytest.approx(stats.sem(scores))
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


def test_methods_that_agree_or_differ_alike_in_every_fold_leave_no_doubt():
    same = compare(scores=[0.5, 0.75], against=[0.5, 0.75], test_fraction=0.5)
    assert (same.mean, same.interval, same.p) == (0.0, (0.0, 0.0), 1.0)
    assert compare(scores=[0.75, 1.0], against=[0.5, 0.75], test_fraction=0.5).p == 0.0


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


def test_a_table_compares_every_other_row_with_the_reference_on_the_same_folds(rng):
    lda, eit, chance = rng.normal([[0.9], [0.93], [0.1]], 0.02, (3, 10))
    rows = compare_table({"chance": chance, "lda": lda, "eit": eit}, against="lda", test_fraction=0.2)
    assert [row.method for row in rows] == ["chance", "lda", "eit"]
    expected = compare(scores=eit, against=lda, test_fraction=0.2)
    assert rows[2].difference == expected.mean
    assert rows[2].difference_interval == expected.interval
    assert rows[2].interval == estimate_mean(eit, test_fraction=0.2).interval
    assert (rows[1].difference, rows[1].difference_interval, rows[1].p_holm) == (None, None, None)
    alone = [compare(scores=scores, against=lda, test_fraction=0.2).p for scores in (chance, eit)]
    assert [rows[0].p_holm, rows[2].p_holm] == pytest.approx(holm(alone))


def test_a_markdown_table_has_a_line_per_row_and_four_cells_per_line():
    rows = [Row("lda", 0.8, (0.7, 0.9)), Row("a|b", 0.7, (0.6, 0.8), -0.1, (-0.2, 0.0), 1e-5)]
    lines = markdown_table(rows, digits=2).splitlines()
    assert lines == [
        "| method | mean [95 %] | difference [95 %] | p (Holm) |",
        "|---|---|---|---|",
        "| lda | 0.80 [0.70, 0.90] | | |",
        r"| a\|b | 0.70 [0.60, 0.80] | -0.10 [-0.20, 0.00] | <0.001 |",
    ]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: estimate_mean([1.0], test_fraction=None), "two folds"),
        (lambda: estimate_mean([[1.0, 2.0]], test_fraction=None), "two folds"),
        (lambda: estimate_mean([1.0, np.nan], test_fraction=None), "NaN"),
        (lambda: estimate_mean([1.0, 2.0], test_fraction=1.0), "between 0 and 1"),
        (lambda: estimate_mean([1.0, 2.0], test_fraction=None, confidence=95), "between 0 and 1"),
        (lambda: compare(scores=[1.0, 2.0], against=[1.0, 2.0, 3.0], test_fraction=None), "2 folds"),
        (lambda: holm([0.1, np.nan]), "from 0 to 1"),
        (
            lambda: compare_table({"lda": [0.1, 0.2]}, against="ldaa", test_fraction=None),
            "did you mean 'lda'",
        ),
    ],
)
def test_what_cannot_be_compared_is_an_input_error(call, message):
    with pytest.raises(InputError, match=message):
        call()
