"""Scores: masks hide what is not observed, and closed forms hold."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import poisson

from motet.errors import InputError
from motet.metrics import accuracy, balanced_accuracy, confusion_matrix, macro_f1, poisson_bits_per_spike, r2

CLASS_SCORES = {"accuracy": accuracy, "balanced": balanced_accuracy, "macro_f1": macro_f1}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("score", CLASS_SCORES.values(), ids=CLASS_SCORES)
def test_what_is_not_observed_never_changes_a_score_of_classes(score, rng):
    target, prediction, garbage = rng.integers(0, 3, (3, 6, 10))
    observed = rng.random((6, 10)) < 0.6
    expected = score(prediction=prediction[observed], target=target[observed])
    assert score(prediction=prediction, target=target, observed=observed) == expected
    hidden = np.where(observed, prediction, garbage)
    assert score(prediction=hidden, target=np.where(observed, target, 99), observed=observed) == expected


@pytest.mark.parametrize("score", CLASS_SCORES.values(), ids=CLASS_SCORES)
def test_a_perfect_prediction_of_classes_scores_one_whatever_their_type(score):
    for classes in ([0, 2, 2, 1], [True, False, True], ["left", "up", "left"]):
        assert score(prediction=classes, target=classes) == 1.0


def test_class_scores_follow_from_the_confusion_matrix(rng):
    target, prediction = rng.integers(0, 4, (2, 200))
    matrix = confusion_matrix(prediction=prediction, target=target, labels=range(4))
    hits, n_true, n_predicted = np.diag(matrix), matrix.sum(1), matrix.sum(0)
    assert matrix.sum() == 200
    assert accuracy(prediction=prediction, target=target) == pytest.approx(hits.sum() / 200)
    assert balanced_accuracy(prediction=prediction, target=target) == pytest.approx((hits / n_true).mean())
    assert macro_f1(prediction=prediction, target=target) == pytest.approx((2 * hits / (n_true + n_predicted)).mean())


def test_rows_of_a_confusion_matrix_are_true_classes():
    matrix = confusion_matrix(prediction=["b", "b", "a"], target=["a", "a", "a"], labels=["b", "a"])
    assert matrix.tolist() == [[0, 0], [2, 1]]


def test_a_class_that_is_only_predicted_is_no_row_of_balanced_accuracy():
    assert balanced_accuracy(prediction=[0, 2, 1, 1], target=[0, 0, 1, 1]) == 0.75


def test_r2_is_one_minus_the_error_over_the_variance_of_all_dimensions_together(rng):
    target = rng.normal(size=(5, 8, 2)) * [1.0, 10.0]
    prediction = target + rng.normal(size=(5, 8, 2)) * [2.0, 1.0]
    observed = rng.random((5, 8)) < 0.7
    true, predicted = target[observed], prediction[observed]
    expected = 1 - ((true - predicted) ** 2).sum() / ((true - true.mean(0)) ** 2).sum()
    hidden = np.where(observed[..., None], prediction, np.nan)
    assert r2(prediction=hidden, target=target, observed=observed) == pytest.approx(expected)


def test_r2_of_the_mean_is_zero_and_does_not_depend_on_units(rng):
    target, everything = rng.normal(size=(4, 6, 3)), np.ones((4, 6), dtype=bool)
    mean = np.broadcast_to(target.mean((0, 1)), target.shape)
    assert r2(prediction=mean, target=target, observed=everything) == pytest.approx(0.0)
    noisy = target + 0.3
    assert r2(prediction=noisy, target=target, observed=everything) == pytest.approx(
        r2(prediction=100 * noisy, target=100 * target, observed=everything)
    )


def test_r2_leaves_out_unknown_targets(rng):
    target, everything = rng.normal(size=(4, 6, 2)), np.ones((4, 6), dtype=bool)
    prediction, unknown = target + 0.1, target.copy()
    unknown[1, :, 0] = np.nan
    kept = np.arange(4) != 1
    assert r2(prediction=prediction, target=unknown, observed=everything) == pytest.approx(
        r2(prediction=prediction[kept], target=target[kept], observed=everything[kept])
    )


def test_r2_takes_a_scalar_per_bin(rng):
    target, everything = rng.normal(size=(4, 6)), np.ones((4, 6), dtype=bool)
    assert r2(prediction=0 * target + target.mean(), target=target, observed=everything) == pytest.approx(0.0)


def test_bits_per_spike_is_the_gain_in_poisson_log_likelihood(rng):
    rate = rng.uniform(0.2, 3.0, (4, 3, 7))
    counts = rng.poisson(rate)
    observed = rng.random(counts.shape) < 0.8
    mean = np.array([counts[:, i][observed[:, i]].mean() for i in range(3)])[None, :, None]
    gain = (poisson.logpmf(counts, rate) - poisson.logpmf(counts, mean))[observed].sum()
    expected = gain / counts[observed].sum() / np.log(2)
    hidden = np.where(observed, rate, np.nan)
    bits = poisson_bits_per_spike(prediction=hidden, target=counts, observed=observed)
    assert bits == pytest.approx(expected)
    with_feature = {"prediction": hidden[..., None], "target": counts[..., None]}
    assert poisson_bits_per_spike(**with_feature, observed=observed) == pytest.approx(expected)


def test_the_best_constant_rate_has_zero_bits_and_any_other_constant_fewer(rng):
    counts = rng.poisson(1.5, (6, 4, 9))
    counts[:, 0] = 0  # a silent neuron adds nothing
    observed = np.ones(counts.shape, dtype=bool)
    mean = np.broadcast_to(counts.mean((0, 2), keepdims=True), counts.shape)
    assert poisson_bits_per_spike(prediction=mean, target=counts, observed=observed) == pytest.approx(0.0)
    assert poisson_bits_per_spike(prediction=mean * 1.2, target=counts, observed=observed) < 0


def test_a_spike_that_was_impossible_costs_infinitely_many_bits():
    counts = np.ones((1, 1, 2))
    bits = poisson_bits_per_spike(prediction=counts * [0, 1], target=counts, observed=counts > 0)
    assert bits == -np.inf


ONE = np.ones((2, 3), dtype=bool)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: accuracy(prediction=[0, 1], target=[0]), "one shape"),
        (lambda: accuracy(prediction=[0, 1], target=[0, 1], observed=[False, False]), "no entry"),
        (lambda: accuracy(prediction=[[0, 1]], target=[[0, 1]], observed=[True]), "one shape"),
        (lambda: accuracy(prediction=[0, 1], target=[0, 1], observed=[1, 0]), "booleans"),
        (lambda: confusion_matrix(prediction=[0, 3], target=[0, 1], labels=[0, 1]), "class 3"),
        (lambda: r2(prediction=np.full((2, 3), np.nan), target=np.zeros((2, 3)), observed=ONE), "mask"),
        (lambda: r2(prediction=np.zeros((2, 3)), target=np.zeros((2, 3)), observed=~ONE), "two observed"),
        (lambda: r2(prediction=np.zeros((2, 3, 2)), target=np.zeros((2, 3)), observed=ONE), "one shape"),
        (
            lambda: poisson_bits_per_spike(
                prediction=-np.ones((1, 2, 3)), target=np.ones((1, 2, 3)), observed=ONE[None]
            ),
            "negative",
        ),
        (
            lambda: poisson_bits_per_spike(
                prediction=np.ones((1, 2, 3)), target=np.zeros((1, 2, 3)), observed=ONE[None]
            ),
            "no observed spike",
        ),
        (lambda: poisson_bits_per_spike(prediction=ONE, target=ONE, observed=ONE), "individual"),
    ],
)
def test_what_cannot_be_scored_is_an_input_error(call, message):
    with pytest.raises(InputError, match=message):
        call()
