"""Scores: masks hide what is not observed, and closed forms hold."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import mannwhitneyu
from sklearn.metrics import accuracy_score, adjusted_rand_score, f1_score

from motet.errors import InputError
from motet.metrics import (
    accuracy,
    adjusted_rand,
    auroc,
    average_precision,
    expected_calibration_error,
    known_pairs,
    macro_f1,
    partition_accuracy,
    r2,
    reliability,
)

CLASS_SCORES = {"accuracy": accuracy, "macro_f1": macro_f1}


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


def test_class_scores_are_those_of_scikit_learn(rng):
    target, prediction = rng.integers(0, 4, (2, 200))
    target[target == 3] = 2  # a class that is only predicted
    weight = rng.random(200)
    assert accuracy(prediction=prediction, target=target) == pytest.approx((prediction == target).mean())
    assert macro_f1(prediction=prediction, target=target) == pytest.approx(
        f1_score(target, prediction, average="macro")
    )
    expected = accuracy_score(target, prediction, sample_weight=weight)
    assert accuracy(prediction=prediction, target=target, weight=weight) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("target", "prediction"),
    [
        (["l", None, "r", "r"], ["l", "l", "r", "l"]),
        (np.ma.masked_less([1, -9, 2, 2], 0), np.array([1, 1, 2, 1], dtype=">i2")),
        ([True, None, False, False], [1, 1, 0, 1]),
        ([0.5, np.nan, 1.5, 1.5], np.array([0.5, 1, 1.5, 0.5], dtype=np.float16)),
        (np.array([b"l", b"", b"r", b"r"]), ["l", "l", "r", "l"]),
    ],
)
def test_labels_of_every_kind_are_scored_where_they_are_known(target, prediction):
    assert accuracy(prediction=prediction, target=target) == pytest.approx(2 / 3)
    assert macro_f1(prediction=prediction, target=target) == pytest.approx(2 / 3)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.longdouble, ">f8", np.int8, object])
def test_r2_is_the_same_whatever_the_type(dtype, rng):
    target, noise = rng.integers(-9, 9, (2, 3000, 2))
    prediction = target + noise // 4
    everything = np.ones(3000, dtype=bool)
    expected = 1 - np.square(noise // 4).sum() / np.square(target - target.mean(0)).sum()
    found = r2(prediction=prediction.astype(dtype), target=target.astype(dtype), observed=everything)
    assert found == pytest.approx(expected, abs=1e-12)


def test_r2_far_from_zero_is_that_near_zero(rng):
    target, noise = rng.normal(size=(2, 5000, 2))
    near = r2(prediction=target + noise, target=target, observed=np.ones(5000, dtype=bool))
    far = r2(prediction=1e9 + target + noise, target=1e9 + target, observed=np.ones(5000, dtype=bool))
    assert far == pytest.approx(near, abs=1e-5)


def test_errors_in_a_dimension_that_is_constant_lower_r2():
    target = np.c_[np.arange(9.0), np.full(9, 3.0)]
    prediction = np.c_[np.arange(9.0), np.full(9, 5.0)]
    assert r2(prediction=prediction, target=target, observed=np.ones(9, dtype=bool)) == pytest.approx(1 - 36 / 60)


def test_r2_with_weights_is_that_of_repeated_entries(rng):
    target, prediction, times = rng.normal(size=(30, 2)), rng.normal(size=(30, 2)), rng.integers(0, 4, 30)
    repeated = {"prediction": prediction.repeat(times, 0), "target": target.repeat(times, 0)}
    expected = r2(**repeated, observed=np.ones(times.sum(), dtype=bool))
    found = r2(prediction=prediction, target=target, observed=np.ones(30, dtype=bool), weight=times)
    assert found == pytest.approx(expected)


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


@pytest.mark.parametrize("more", [{"observed": [False, True]}, {"observed": [False] * 2}, {"weight": [0, 1]}])
def test_r2_of_what_does_not_vary_is_nan(more):
    assert np.isnan(r2(prediction=[0, 1], target=[0, 1], **more))
    assert np.isnan(r2(prediction=np.zeros((2, 3)), target=np.full((2, 3), 4.1)))


def test_r2_takes_a_scalar_per_bin(rng):
    target, everything = rng.normal(size=(4, 6)), np.ones((4, 6), dtype=bool)
    assert r2(prediction=0 * target + target.mean(), target=target, observed=everything) == pytest.approx(0.0)


def pairs_of(rng, n_trials=40, n_individuals=6):
    """Symmetric scores and edges, some unknown: (trial, individual, individual)."""
    upper = np.triu(np.ones((n_individuals, n_individuals), dtype=bool), k=1)
    target = np.where(upper, rng.integers(-1, 2, (n_trials, n_individuals, n_individuals)), -1)
    score = np.where(upper, rng.normal(size=target.shape) + target, -np.inf)
    return np.maximum(score, score.swapaxes(1, 2)), np.maximum(target, target.swapaxes(1, 2))


def test_every_known_pair_counts_once_or_per_direction(rng):
    _, target = pairs_of(rng)
    once, directed = known_pairs(target), known_pairs(target, are_directed=True)
    assert np.array_equal(once | once.swapaxes(1, 2), directed)
    assert directed.sum() == 2 * once.sum() == (target >= 0).sum()
    assert not known_pairs(np.zeros((1, 3, 3), dtype=int), are_directed=True)[0].diagonal().any()


@pytest.mark.parametrize("score", [auroc, average_precision])
def test_scores_of_pairs_do_not_depend_on_unknown_pairs_order_or_scale(score, rng):
    prediction, target = pairs_of(rng)
    observed = known_pairs(target)
    expected = score(prediction=prediction[observed], target=target[observed])
    hidden = np.where(target >= 0, prediction, np.nan)
    assert score(prediction=hidden, target=target, observed=observed) == expected
    order = rng.permutation(6)
    shuffled = {"prediction": np.exp(prediction)[:, order][:, :, order], "target": target[:, order][:, :, order]}
    assert score(**shuffled, observed=known_pairs(shuffled["target"])) == pytest.approx(expected)


def test_auroc_is_the_probability_of_ranking_an_edge_above_none(rng):
    score, target = rng.integers(0, 6, 200), rng.integers(0, 2, 200)
    u = mannwhitneyu(score[target == 1], score[target == 0]).statistic
    expected = u / (target == 1).sum() / (target == 0).sum()
    assert auroc(prediction=score, target=target) == pytest.approx(expected)


def test_average_precision_of_a_constant_score_is_the_share_of_edges(rng):
    target = rng.integers(0, 2, 300)
    assert average_precision(prediction=np.zeros(300), target=target) == pytest.approx(target.mean())


def test_the_adjusted_rand_index_is_the_mean_of_scikit_learns(rng):
    prediction, target = rng.integers(0, 3, (2, 50, 8))
    target[:, 6:] = np.where(rng.random((50, 2)) < 0.5, -1, target[:, 6:])
    prediction[0], target[0] = 1, 2  # one group, rightly
    expected = [adjusted_rand_score(t[t >= 0], p[t >= 0]) for t, p in zip(target, prediction, strict=True)]
    assert adjusted_rand(prediction=prediction, target=target) == pytest.approx(np.mean(expected))


def test_the_names_of_groups_and_absent_individuals_do_not_matter(rng):
    target = rng.integers(0, 3, (30, 6))
    prediction = (target + 1) % 3
    prediction[:, 5], absent = -1, np.where(np.arange(6) == 5, -1, target)
    assert partition_accuracy(prediction=prediction, target=absent) == 1.0
    assert adjusted_rand(prediction=prediction, target=absent) == 1.0
    two_absent = {"prediction": [[1, 1, 1, 2]], "target": [[0, 0, -1, -1]]}
    assert partition_accuracy(**two_absent) == adjusted_rand(**two_absent) == 1.0
    prediction[:3, 0] = 7  # alone: wrong unless it was alone
    wrong = (target[:3, :1] == target[:3, 1:5]).any(1).sum()
    assert partition_accuracy(prediction=prediction, target=absent) == pytest.approx(1 - wrong / 30)


def test_calibrated_probabilities_have_no_calibration_error_and_shifted_ones_their_shift(rng):
    probability = rng.uniform(0.2, 0.8, 200_000)
    target = (rng.random(200_000) < probability).astype(int)
    assert expected_calibration_error(prediction=probability, target=target) < 0.005
    assert expected_calibration_error(prediction=probability - 0.15, target=target) == pytest.approx(0.15, abs=0.005)
    curve = reliability(prediction=probability, target=target, n_intervals=10)
    np.testing.assert_allclose(curve.frequency[2:8], np.arange(0.25, 0.8, 0.1), atol=0.02)
    assert curve.n_entries.sum() == 200_000
    assert np.isnan(curve.probability[0])


def test_probability_one_belongs_to_the_last_interval():
    curve = reliability(prediction=[0.0, 1.0], target=[0, 1], n_intervals=4)
    assert curve.n_entries.tolist() == [1, 0, 0, 1]


ONE = np.ones((2, 3), dtype=bool)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: accuracy(prediction=[0, 1], target=[0]), "one shape"),
        (lambda: accuracy(prediction=[0, 1], target=[0, 1], observed=[False, False]), "no entry"),
        (lambda: accuracy(prediction=[[0, 1]], target=[[0, 1]], observed=[True]), "one shape"),
        (lambda: accuracy(prediction=[0, 1], target=[0, 1], observed=[1, 0]), "booleans"),
        (lambda: r2(prediction=np.full((2, 3), np.nan), target=np.zeros((2, 3)), observed=ONE), "mask"),
        (lambda: r2(prediction=np.zeros((2, 3, 2)), target=np.zeros((2, 3)), observed=ONE), "one shape"),
        (lambda: r2(prediction=1j * ONE, target=1.0 * ONE, observed=ONE), "complex128"),
        (lambda: r2(prediction=[[0, 1, 2]] * 2, target=[["a", "b", "c"]] * 2, observed=ONE), "text such as"),
        (lambda: r2(prediction=np.zeros(2), target=np.array([0, np.inf]), observed=[True] * 2), "targets are NaN"),
        (lambda: r2(prediction=[0, 1], target=[0, 1], observed=[True] * 2, weight=[0, 0]), "not all 0"),
        (lambda: accuracy(prediction=[0, 1], target=["0", "1"]), "both as text"),
        (lambda: accuracy(prediction=[0, 1], target=[None, None]), "nothing to score"),
        (lambda: accuracy(prediction=np.zeros(2, "M8[s]"), target=np.zeros(2, "M8[s]")), "datetime64"),
        (lambda: known_pairs(np.zeros((2, 3, 4), dtype=int)), "individual, individual"),
        (lambda: known_pairs(np.zeros((2, 3, 3))), "integers"),
        (lambda: auroc(prediction=[0.1, 0.2], target=[1, 1]), "both of them"),
        (lambda: auroc(prediction=[0.1, np.nan], target=[0, 1]), "scores are NaN"),
        (lambda: average_precision(prediction=[0.1, 0.2, 0.3], target=[0, 1, 2]), "give 0 and 1"),
        (lambda: reliability(prediction=[0.1, 1.2], target=[0, 1]), "from 0 to 1"),
        (lambda: expected_calibration_error(prediction=[0.1, 0.2], target=[0, 1], n_intervals=0), "n_intervals is 0"),
        (lambda: adjusted_rand(prediction=[[0, 0]], target=[[0, -1]]), "fewer than two"),
        (lambda: adjusted_rand(prediction=[[0, -1]], target=[[0, 1]]), "no predicted group"),
        (lambda: partition_accuracy(prediction=[0, 1], target=[0, 1]), "(trial, individual)"),
        (lambda: partition_accuracy(prediction=[[0.5, 1]], target=[[0, 1]]), "whole numbers"),
    ],
)
def test_what_cannot_be_scored_is_an_input_error(call, message):
    with pytest.raises(InputError, match=message):
        call()
