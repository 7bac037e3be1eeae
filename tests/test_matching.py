"""A match is as sure as it is right, and where nothing is shared none is declared."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from motet.errors import InputError
from motet.matching import Embedding, _paired, clusters, match_by_distance, match_by_evidence
from motet.statistics import benjamini_hochberg

DIMS, NOISE = 8, 0.4


def evidence(n_shared: int, n_each: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Log Bayes factors between noisy readings of individuals from N(0, 1), some of them shared, in closed form."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(2 * n_each - n_shared, DIMS))
    own = np.arange(n_each), np.arange(n_each) + n_each - n_shared
    own = own[0], rng.permutation(own[1])
    a, b = (truth[side] + NOISE * rng.normal(size=(n_each, DIMS)) for side in own)
    one = 1 + NOISE**2
    det = one**2 - 1
    a, b = a[:, None], b[None]
    same = -0.5 * ((one * a**2 - 2 * a * b + one * b**2) / det + np.log(det))
    apart = -0.5 * ((a**2 + b**2) / one + 2 * np.log(one))
    return (same - apart).sum(axis=2), own[0][:, None] == own[1]


def places(n: int, seed: int, spread: float = 0.1) -> Embedding:
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 2 * np.pi, n)  # a circle in many dimensions: components depend on each other
    mean = np.stack([f(k * angle) for k in (1, 2, 3, 4) for f in (np.cos, np.sin)], axis=1)
    return Embedding(mean + 0.05 * rng.normal(size=mean.shape), np.tile(spread**2 * np.eye(DIMS), (n, 1, 1)))


def mixed(embedding: Embedding, seed: int) -> Embedding:
    return Embedding(np.random.default_rng(seed).permuted(embedding.mean, axis=0), embedding.covariance)


# ------------------------------------------------------------------ guards: nothing is found where nothing is


def test_where_nobody_is_shared_a_match_is_declared_in_at_most_five_of_a_hundred_runs():
    runs = [match_by_evidence(evidence(0, 25, seed)[0]).is_declared.any() for seed in range(200)]
    assert np.mean(runs) <= 0.05


def test_where_components_are_shuffled_a_match_is_declared_in_at_most_five_of_a_hundred_runs():
    runs = [
        match_by_distance(
            places(25, seed), mixed(places(25, 1000 + seed), seed), seed=seed, n_null=99
        ).is_declared.any()
        for seed in range(60)
    ]
    assert np.sum(runs) <= 3


def test_one_coincidence_among_many_is_not_declared():
    log = np.full((40, 40), -5.0)
    log[3, 8] = 11.0
    assert not match_by_evidence(log).is_declared.any()
    log[np.arange(10), np.arange(10)] = 11.0
    log[3, 8] = -5.0
    assert match_by_evidence(log).is_declared.sum() == 10


def test_who_is_shared_is_found_and_few_of_what_is_declared_is_wrong():
    found = [(match_by_evidence(log), is_same) for log, is_same in (evidence(20, 30, seed) for seed in range(20))]
    right = [is_same[np.arange(30), one.partner] for one, is_same in found]
    wrong = np.mean(
        [(~r & one.is_declared).sum() / max(one.is_declared.sum(), 1) for r, (one, _) in zip(right, found, strict=True)]
    )
    assert wrong <= 0.07
    assert np.mean([one.is_declared.sum() for one, _ in found]) > 9
    sure, right = np.concatenate([one.confidence for one, _ in found]), np.concatenate(right)
    for low, high in ((0.0, 0.5), (0.5, 0.9), (0.9, 1.01)):
        here = (sure >= low) & (sure < high)
        assert sure[here].mean() == pytest.approx(right[here].mean(), abs=0.1)


def test_roles_that_are_there_are_found():
    found = match_by_distance(places(40, 0), places(40, 1))
    assert found.is_declared.mean() > 0.5
    assert found.p_shared <= 0.05


def test_who_is_not_known_has_no_match_that_is_declared_and_is_nobodys():
    a, b = places(40, 0), places(40, 1)
    known_a, known_b = np.arange(40) % 2 == 0, np.arange(40) % 3 > 0
    found = match_by_distance(dataclasses.replace(a, is_known=known_a), dataclasses.replace(b, is_known=known_b))
    assert found.is_declared.any()
    assert known_a[found.is_declared].all()
    assert known_b[found.partner[found.is_declared]].all()
    nobody = dataclasses.replace(b, is_known=np.zeros(40, dtype=bool))
    assert not match_by_distance(a, nobody).is_declared.any()


# ------------------------------------------------------------------ oracles and invariants


def test_the_probability_of_a_pair_is_that_of_all_pairings_counted_one_by_one():
    odds = np.exp(np.random.default_rng(0).normal(-1, 1.5, (3, 3)))
    weights, inside = 0.0, np.zeros((3, 3))
    for columns in itertools.product((-1, 0, 1, 2), repeat=3):
        taken = [c for c in columns if c >= 0]
        if len(set(taken)) == len(taken):
            weight = np.prod([odds[row, c] for row, c in enumerate(columns) if c >= 0])
            weights += weight
            for row, c in enumerate(columns):
                if c >= 0:
                    inside[row, c] += weight
    np.testing.assert_allclose(_paired(odds), inside / weights, atol=0.06)
    np.testing.assert_allclose(_paired(odds[:1]), odds[:1] / (1 + odds[:1].sum()))  # where nothing competes: exact


def test_one_partner_is_not_given_to_two():
    log = np.array([[30.0, -9], [29.0, -9]])
    assert match_by_evidence(log).confidence.sum() < 1.01


def test_the_order_of_individuals_never_matters():
    log, _ = evidence(20, 30, 0)
    rng = np.random.default_rng(0)
    rows, columns = rng.permutation(30), rng.permutation(30)
    plain, turned = match_by_evidence(log), match_by_evidence(log[rows][:, columns])
    np.testing.assert_array_equal(columns[turned.partner], plain.partner[rows])
    np.testing.assert_allclose(turned.confidence, plain.confidence[rows], rtol=1e-5, atol=1e-9)
    a, b = places(20, 0), places(20, 1)
    order = rng.permutation(20)
    plain = match_by_distance(a, b, n_null=19)
    turned = match_by_distance(Embedding(a.mean[order], a.covariance[order]), b, n_null=19)
    np.testing.assert_array_equal(turned.partner, plain.partner[order])


def test_q_values_are_those_of_benjamini_and_hochberg():
    p = np.array([0.001, 0.008, 0.039, 0.041, 0.042, 0.06, 0.074, 0.205, 0.212, 0.216])
    expected = np.minimum.accumulate((p * 10 / np.arange(1, 11))[::-1])[::-1]
    order = np.random.default_rng(0).permutation(10)
    np.testing.assert_allclose(benjamini_hochberg(p[order]), expected[order])


@pytest.mark.parametrize("pairing", ["one-to-one", "unbalanced", "relational"])
def test_partners_are_chosen_as_asked(pairing):
    if pairing != "one-to-one":
        pytest.importorskip("ot")
    a = places(12, 0)
    order = np.random.default_rng(0).permutation(12)
    found = match_by_distance(a, Embedding(a.mean[order], a.covariance[order]), pairing=pairing, n_null=9)
    has = found.partner >= 0
    assert has.sum() >= 6
    assert len(set(found.partner[has])) == has.sum()
    if pairing != "relational":
        np.testing.assert_array_equal(order[found.partner[has]], np.flatnonzero(has))


def test_clusters_are_those_that_there_are():
    rng = np.random.default_rng(0)
    group = rng.integers(0, 3, 40)
    points = 10 * group[:, None] + rng.normal(size=(40, 2))
    found = clusters(np.linalg.norm(points[:, None] - points, axis=2))
    assert len(set(zip(group, found, strict=True))) == 3
    assert clusters(np.zeros((2, 2))).tolist() == [0, 0]


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="one number per pair"):
        match_by_evidence(np.full((2, 2), np.nan))
    small = Embedding(np.zeros((3, 2)), np.tile(np.eye(2), (3, 1, 1)))
    with pytest.raises(InputError, match="8 and 2 dimensions"):
        match_by_distance(places(3, 0), small)
