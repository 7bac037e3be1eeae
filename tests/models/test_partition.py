"""Groups from pairs: the best partition, whoever is absent and whatever the order."""

from __future__ import annotations

import math

import numpy as np
import pytest

from motet.errors import InputError
from motet.models import partition
from motet.models.partition import assign_groups, assign_groups_of_sizes


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def random_pairs(rng, n_trials, n_individuals):
    one_way = rng.normal(size=(n_trials, n_individuals, n_individuals))
    return one_way + one_way.swapaxes(1, 2)


def planted(rng, n_trials, n_individuals, n_groups, noise):
    """Groups, and log-odds that are ±3 with noise."""
    groups = rng.permuted(np.tile(np.arange(n_individuals) % n_groups, (n_trials, 1)), axis=1)
    return groups, np.where(same(groups), 3.0, -3.0) + noise * random_pairs(rng, n_trials, n_individuals)


def same(labels):
    return labels[:, :, None] == labels[:, None]


def total(log_odds, labels):
    """Sum over the pairs within groups."""
    pairs = np.triu(same(labels), k=1)
    return np.where(pairs, log_odds, 0).sum((1, 2))


def every_partition(n_individuals):
    """All partitions, by plain recursion."""
    if n_individuals == 0:
        return [[]]
    smaller = every_partition(n_individuals - 1)
    return [[*labels, group] for labels in smaller for group in range(max(labels, default=-1) + 2)]


@pytest.mark.parametrize("n_individuals", [1, 2, 5, 7])
def test_few_individuals_get_the_best_of_all_partitions(rng, n_individuals):
    log_odds = random_pairs(rng, 40, n_individuals)
    all_totals = [total(log_odds, np.tile(labels, (40, 1))) for labels in every_partition(n_individuals)]
    np.testing.assert_allclose(total(log_odds, assign_groups(log_odds)), np.max(all_totals, axis=0))


@pytest.mark.parametrize("sizes", [(2, 2), (1, 3, 2), (3, 3), (1, 1, 1, 1)])
def test_groups_of_sizes_are_the_best_of_all_with_these_sizes(rng, sizes):
    n_individuals = sum(sizes)
    log_odds = random_pairs(rng, 40, n_individuals)
    allowed = [p for p in every_partition(n_individuals) if sorted(np.bincount(p).tolist()) == sorted(sizes)]
    all_totals = [total(log_odds, np.tile(labels, (40, 1))) for labels in allowed]
    assert len(allowed) == partition.n_partitions(tuple(sorted(sizes, reverse=True)))
    labels = assign_groups_of_sizes(log_odds, sizes)
    np.testing.assert_allclose(total(log_odds, labels), np.max(all_totals, axis=0))
    assert all(sorted(np.bincount(row).tolist()) == sorted(sizes) for row in labels)


@pytest.mark.parametrize(("sizes", "n_partitions"), [((2, 2), 3), ((3, 3), 10), ((3, 3, 3), 280), ((2,) * 6, 10395)])
def test_partitions_into_sizes_are_as_many_as_combinatorics_says(sizes, n_partitions):
    assert len(partition.partitions(sum(sizes), sizes)) == n_partitions == partition.n_partitions(sizes)
    assert len(np.unique(partition.partitions(sum(sizes), sizes), axis=0)) == n_partitions


def test_search_by_moves_reaches_the_best_or_nearly(rng):
    log_odds = random_pairs(rng, 300, 8)
    best, found = (
        total(log_odds, assign_groups(log_odds)),
        total(log_odds, partition._by_moves(partition._affinity(log_odds))),
    )
    assert (found <= best + 1e-9).all()
    assert found.sum() > 0.98 * best.sum()


@pytest.mark.parametrize("sizes", [(2,) * 6, (5, 4, 3)])
def test_search_by_swaps_reaches_the_best_or_nearly(rng, sizes):
    log_odds = random_pairs(rng, 100, 12)
    best = total(log_odds, assign_groups_of_sizes(log_odds, sizes))
    labels = partition._by_swaps(partition._affinity(log_odds), sizes)
    found = total(log_odds, labels)
    assert (np.sort(np.apply_along_axis(np.bincount, 1, labels, minlength=len(sizes)), 1) == sorted(sizes)).all()
    assert (found <= best + 1e-9).all()
    assert np.isclose(found, best).mean() > 0.95


@pytest.mark.parametrize(("n_individuals", "n_groups"), [(6, 2), (9, 3), (20, 10), (40, 8)])
def test_planted_groups_are_found_without_their_number_or_sizes(rng, n_individuals, n_groups):
    groups, log_odds = planted(rng, 100, n_individuals, n_groups, noise=0.4)
    assert np.array_equal(same(assign_groups(log_odds)), same(groups))
    sizes = np.bincount(groups[0])
    assert np.array_equal(same(assign_groups_of_sizes(log_odds, sizes)), same(groups))


@pytest.mark.parametrize("n_individuals", [6, 15])
def test_what_no_single_merge_or_move_improves_is_returned(rng, n_individuals):
    log_odds = random_pairs(rng, 60, n_individuals)
    labels = assign_groups(log_odds)
    best = total(log_odds, labels)
    for individual in range(n_individuals):
        for group in range(n_individuals):
            moved = labels.copy()
            moved[:, individual] = group
            assert (total(log_odds, moved) <= best + 1e-9).all()
            merged = np.where(labels == group, 0, labels)
            assert (total(log_odds, merged) <= best + 1e-9).all()


@pytest.mark.parametrize("n_individuals", [5, 12])
def test_absent_individuals_never_change_the_groups_of_the_others(rng, n_individuals):
    log_odds = random_pairs(rng, 50, n_individuals)
    expected = assign_groups(log_odds)
    everyone = n_individuals + 4
    places = rng.permuted(np.tile(np.arange(everyone), (50, 1)), axis=1)[:, :n_individuals]
    places.sort(axis=1)
    padded = np.full((50, everyone, everyone), np.nan)
    padded[np.arange(50)[:, None, None], places[:, :, None], places[:, None]] = log_odds
    observed = np.zeros((50, everyone), dtype=bool)
    np.put_along_axis(observed, places, True, axis=1)
    for junk in (np.nan, 99.0, np.inf):
        labels = assign_groups(np.where(np.isnan(padded), junk, padded), observed)
        assert np.array_equal(np.take_along_axis(labels, places, axis=1), expected)
        assert (labels[~observed] == -1).all()


def test_each_trial_is_grouped_as_it_is_alone(rng):
    log_odds, observed = random_pairs(rng, 20, 11), rng.random((20, 11)) < 0.8
    together, of_sizes = assign_groups(log_odds, observed), assign_groups_of_sizes(log_odds, [2] * 4 + [3])
    for trial in range(20):
        alone = slice(trial, trial + 1)
        assert np.array_equal(assign_groups(log_odds[alone], observed[alone]), together[alone])
        assert np.array_equal(assign_groups_of_sizes(log_odds[alone], [3, 2, 2, 2, 2]), of_sizes[alone])


@pytest.mark.parametrize("n_individuals", [6, 14])
def test_the_order_of_individuals_does_not_matter(rng, n_individuals):
    log_odds = random_pairs(rng, 50, n_individuals)
    order = rng.permutation(n_individuals)
    shuffled = assign_groups(log_odds[:, order][:, :, order])
    assert np.array_equal(same(shuffled), same(assign_groups(log_odds))[:, order][:, :, order])


def test_labels_are_numbered_by_first_appearance(rng):
    for n_individuals in (6, 14):
        labels = assign_groups(random_pairs(rng, 50, n_individuals))
        newest = np.maximum.accumulate(labels, axis=1)
        assert (labels[:, 0] == 0).all()
        assert (labels[:, 1:] <= newest[:, :-1] + 1).all()


def test_undecided_or_unknown_pairs_stay_apart_and_certain_ones_together():
    for n_individuals in (4, 12):
        undecided = np.zeros((1, n_individuals, n_individuals))
        assert assign_groups(undecided)[0].tolist() == list(range(n_individuals))
        assert assign_groups(undecided * math.nan)[0].tolist() == list(range(n_individuals))
        certain = undecided - np.inf
        certain[0, 0, 1] = certain[0, 1, 0] = np.inf
        assert assign_groups(certain)[0].tolist() == [0, *range(n_individuals - 1)]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: assign_groups(np.zeros((2, 3, 4))), "individual, individual"),
        (lambda: assign_groups(np.zeros((3, 3))), "individual, individual"),
        (lambda: assign_groups(np.zeros((2, 3, 3)), np.ones((2, 4), dtype=bool)), "observed has shape"),
        (lambda: assign_groups(np.zeros((2, 3, 3)), np.ones((2, 3))), "booleans"),
        (lambda: assign_groups_of_sizes(np.zeros((2, 4, 4)), [2, 3]), "add up"),
        (lambda: assign_groups_of_sizes(np.zeros((2, 4, 4)), [4, 0]), "at least 1"),
        (lambda: assign_groups_of_sizes(np.zeros((2, 4, 4)), []), "add up"),
    ],
)
def test_what_cannot_be_grouped_is_an_input_error(call, message):
    with pytest.raises(InputError, match=message):
        call()
