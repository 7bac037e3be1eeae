"""Wasserstein distances are those of closed forms and of POT; plans pair who belongs together."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.stats import spearmanr

from motet.errors import InputError
from motet.transport import (
    Clouds,
    assignment,
    gaussian_wasserstein,
    mutual,
    relational_plan,
    unbalanced_plan,
    wasserstein,
)

WAYS = ("gaussian", "sliced", "exact")


def clouds(seed: int, n: int = 4, n_points: int = 30, dims: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 1, dims)) + rng.normal(size=(n, n_points, dims)) * rng.uniform(0.2, 2, (n, 1, dims))


def covariances(n: int, dims: int, seed: int) -> np.ndarray:
    root = np.random.default_rng(seed).normal(size=(n, dims, dims))
    return root @ root.swapaxes(1, 2)


# ------------------------------------------------------------------ oracles


@pytest.mark.parametrize("way", WAYS)
def test_clouds_that_differ_by_a_shift_are_as_far_apart_as_the_shift_is_long(way):
    (cloud,) = clouds(0, n=1)
    shifts = np.array([[3.0, 0, 4], [0, 0, 0], [1, 2, 2]])
    found = wasserstein([cloud], cloud + shifts[:, None], way=way)
    np.testing.assert_allclose(found[0], [5, 0, 3], atol=1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_the_square_is_given_only_when_it_is_asked_for(way):
    a, b = clouds(0), clouds(1)
    np.testing.assert_allclose(wasserstein(a, b, way=way) ** 2, wasserstein(a, b, way=way, squared=True))


@pytest.mark.parametrize("way", ["sliced", "exact"])
def test_in_one_dimension_points_are_carried_in_their_order(way):
    a, b = clouds(0, dims=1), clouds(1, dims=1)
    expected = [[np.sqrt(np.mean((np.sort(x[:, 0]) - np.sort(y[:, 0])) ** 2)) for y in b] for x in a]
    np.testing.assert_allclose(wasserstein(a, b, way=way), expected, rtol=1e-9)


def test_normal_distributions_are_as_far_apart_as_their_closed_form_says():
    rng = np.random.default_rng(0)
    mean_a, mean_b = rng.normal(size=(2, 3, 4))
    variance_a, variance_b = rng.uniform(0.1, 3, (2, 3, 4))  # along the axes: (σ - τ)² each
    found = gaussian_wasserstein(
        mean_a, np.stack([np.diag(v) for v in variance_a]), mean_b, np.stack([np.diag(v) for v in variance_b])
    )
    apart = np.sqrt(variance_a)[:, None] - np.sqrt(variance_b)
    np.testing.assert_allclose(found**2, ((mean_a[:, None] - mean_b) ** 2 + apart**2).sum(axis=2))


def test_normal_distributions_are_as_far_apart_as_pot_says():
    ot = pytest.importorskip("ot")
    rng = np.random.default_rng(0)
    mean_a, mean_b = rng.normal(size=(2, 3, 4))
    cov_a, cov_b = covariances(3, 4, 1), covariances(3, 4, 2)
    found = gaussian_wasserstein(mean_a, cov_a, mean_b, cov_b)
    expected = [
        [ot.gaussian.bures_wasserstein_distance(m, n, s, t) for n, t in zip(mean_b, cov_b, strict=True)]
        for m, s in zip(mean_a, cov_a, strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_exact_distances_are_those_of_pot_whatever_the_sizes_and_weights():
    ot = pytest.importorskip("ot")
    rng = np.random.default_rng(0)
    a, b = clouds(0, n_points=12), [rng.normal(size=(n, 3)) for n in (5, 12, 20)]
    weights = rng.uniform(0, 1, (4, 12))
    found = wasserstein(Clouds(a, weights), b, way="exact")
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            mass = weights[i] / weights[i].sum()
            expected = ot.emd2(mass, np.full(len(y), 1 / len(y)), ot.dist(x, y))
            np.testing.assert_allclose(found[i, j] ** 2, expected, rtol=1e-7)


def test_equal_clouds_need_no_pot(monkeypatch):
    monkeypatch.setitem(sys.modules, "ot", None)
    a, b = clouds(0, n_points=12), clouds(1, n_points=12)
    cost = ((a[0][:, None] - b[1]) ** 2).sum(axis=2)
    expected = cost[linear_sum_assignment(cost)].mean()
    np.testing.assert_allclose(wasserstein(a, b, way="exact", squared=True)[0, 1], expected)
    with pytest.raises(InputError, match=r"POT.*pip install 'motet\[ot\]'"):
        wasserstein(a, clouds(1, n_points=13), way="exact")
    for plan in (lambda: unbalanced_plan(np.ones((2, 2))), lambda: relational_plan(np.eye(2), np.eye(2))):
        with pytest.raises(InputError, match="POT"):
            plan()


def test_sliced_and_gaussian_distances_rank_pairs_as_exact_ones_do():
    a, b = clouds(0, n=12, n_points=60), clouds(1, n=12, n_points=60)
    exact = wasserstein(a, b, way="exact").ravel()
    for way in ("sliced", "gaussian"):
        assert spearmanr(wasserstein(a, b, way=way).ravel(), exact).statistic > 0.95


# ------------------------------------------------------------------ invariants


@pytest.mark.parametrize("way", WAYS)
def test_the_order_of_individuals_and_of_points_never_matters(way):
    a, b = clouds(0), clouds(1)
    plain = wasserstein(a, b, way=way)
    order, points = np.array([2, 0, 3, 1]), np.random.default_rng(0).permutation(30)
    np.testing.assert_allclose(wasserstein(a[order][:, points], b, way=way), plain[order], rtol=1e-9)
    np.testing.assert_allclose(wasserstein(b, a, way="gaussian"), wasserstein(a, b, way="gaussian").T, rtol=1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_a_weight_is_as_good_as_a_repeated_point_and_nan_is_no_point(way):
    a, b = clouds(0, n_points=6), clouds(1, n_points=8)
    twice = np.concatenate([a, a[:, :2]], axis=1)
    weights = np.tile([2.0, 2, 1, 1, 1, 1], (4, 1))
    np.testing.assert_allclose(wasserstein(Clouds(a, weights), b, way=way), wasserstein(twice, b, way=way), rtol=1e-6)
    padded = np.concatenate([b, np.full((4, 3, 3), np.nan)], axis=1)
    np.testing.assert_allclose(wasserstein(a, padded, way=way), wasserstein(a, b, way=way), rtol=0.02)


def test_plans_pair_who_belongs_together():
    pytest.importorskip("ot")
    rng = np.random.default_rng(0)
    places, order = rng.normal(size=(12, 2)), rng.permutation(12)
    moved = places[order] + 0.01 * rng.normal(size=(12, 2))
    cost = ((places[:, None] - moved) ** 2).sum(axis=2)
    expected = np.argsort(order)
    np.testing.assert_array_equal(assignment(cost), expected)
    partly = mutual(unbalanced_plan(cost, matched=0.5))
    np.testing.assert_array_equal(partly[partly >= 0], expected[partly >= 0])
    assert (partly >= 0).sum() == 6
    turned = moved @ np.array([[0.0, 1], [-1, 0]]) + 5.0  # relations alone are left
    within = [np.linalg.norm(p[:, None] - p, axis=2) for p in (places, turned)]
    assert relational_plan(*within).shape == (12, 12)
    np.testing.assert_allclose(relational_plan(*within).sum(axis=1), 1 / 12)


@pytest.mark.parametrize(
    ("points", "weights", "why"),
    [
        (np.ones((2, 3)), None, "one .point, dim. per individual"),
        (np.full((2, 3, 1), np.nan), None, "individual 0 has no point"),
        (np.full((2, 3, 1), np.inf), None, "infinite"),
        (np.ones((2, 3, 1)), np.ones((2, 2)), "one per point"),
        (np.ones((2, 3, 1)), -np.ones((2, 3)), "below 0"),
        (3, None, "give .individual, point, dim."),
    ],
)
def test_what_is_no_cloud_is_refused(points, weights, why):
    with pytest.raises(InputError, match=why):
        Clouds(points, weights)


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="3 and 2 dimensions"):
        wasserstein(clouds(0), clouds(0, dims=2))
    with pytest.raises(InputError, match="did you mean 'sliced'"):
        wasserstein(clouds(0), clouds(0), way="slice")
    with pytest.raises(InputError, match="one number per pair"):
        assignment(np.full((2, 2), np.nan))
    with pytest.raises(InputError, match="within one population"):
        relational_plan(np.ones((2, 3)), np.ones((2, 2)))
