"""Closed systems: whatever the forces within a group, its centre of mass goes straight."""

from __future__ import annotations

import numpy as np
import pytest

from motet.data.recording import Recording
from motet.errors import InputError
from motet.rivals.force_fit import noise_variance
from motet.rivals.straight_centres import departures, straight_centres

N_BINS, BIN_SECONDS = 25, 0.2


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def closed_systems(rng, sizes, n_trials=40, noise=0.003):
    """Bodies that wiggle by some law of their own, their momentum conserved: a recording, and their groups."""
    seconds = np.arange(N_BINS) * BIN_SECONDS
    bodies = []
    for size in sizes:
        mass = rng.uniform(0.8, 1.6, (n_trials, size, 1, 1))
        waves = rng.normal(size=(n_trials, size, 3, 2)) / np.array([1, 2, 4])[:, None]
        phase = rng.uniform(0, 6, (n_trials, size, 3))
        swing = np.einsum("bikd,bikt->bitd", waves, np.sin(phase[..., None] + np.array([1, 2, 3])[:, None] * seconds))
        swing -= (mass * swing).sum(1, keepdims=True) / mass.sum(1, keepdims=True)
        drift = rng.normal(size=(n_trials, 1, 1, 2)) + rng.normal(size=(n_trials, 1, 1, 2)) * seconds[:, None]
        bodies.append(swing + drift)
    positions = np.concatenate(bodies, axis=1)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    order = rng.permutation(len(groups))
    positions = (positions + noise * rng.normal(size=positions.shape))[:, order]
    return Recording.from_trials(positions, bin_seconds=BIN_SECONDS), np.tile(groups[order], (n_trials, 1))


@pytest.mark.parametrize("sizes", [(2, 2), (3, 3), (3, 3, 3)])
def test_closed_systems_are_found_whatever_their_law_and_masses(sizes, rng):
    recording, groups = closed_systems(rng, sizes)
    subsets, scores = straight_centres(recording, sizes[0])
    best = np.take_along_axis(groups, subsets[scores.argmax(axis=1)], axis=1)
    assert (best == best[:, :1]).all(axis=1).mean() >= 0.95


def test_the_score_is_twice_the_log_evidence_over_masses_and_noise(rng):
    recording, _ = closed_systems(rng, (2, 2), n_trials=3, noise=0.05)
    subsets, scores = straight_centres(recording, 2)
    noise = noise_variance(recording.values.astype(float), recording.observed)
    x = departures(recording.values.astype(float), recording.observed)
    grid = np.linspace(-1.5, 3.5, 401)
    one, other = np.meshgrid(grid, grid)
    prior = np.exp(-((one - 1) ** 2 + (other - 1) ** 2) / 2 / 0.2**2)
    for trial in range(3):
        evidence = []
        for i, j in subsets:
            a, b = x[trial, i].ravel(), x[trial, j].ravel()
            left = one**2 * (a @ a) + other**2 * (b @ b) + 2 * one * other * (a @ b)
            evidence.append(np.log((prior * np.exp(-left / 2 / (2 * noise[trial]))).sum()))
        expected = 2 * np.array(evidence)
        np.testing.assert_allclose(scores[trial] - scores[trial, 0], expected - expected[0], atol=0.02)


def test_subsets_are_all_once_and_absent_individuals_are_in_none(rng):
    recording, _ = closed_systems(rng, (3, 3), n_trials=2)
    values = np.where(np.arange(6)[:, None, None] == 4, np.nan, recording.values)
    subsets, scores = straight_centres(Recording.from_trials(values, bin_seconds=BIN_SECONDS), 3)
    assert len(np.unique(subsets, axis=0)) == 20
    has_absent = (subsets == 4).any(axis=1)
    assert np.isneginf(scores[:, has_absent]).all()
    assert np.isfinite(scores[:, ~has_absent]).all()


def test_uniform_motion_leaves_nothing_and_gaps_are_bridged(rng):
    line = rng.normal(size=(4, 3, 1, 2)) + rng.normal(size=(4, 3, 1, 2)) * np.arange(9.0)[:, None]
    observed = np.ones((4, 3, 9), dtype=bool)
    observed[:, 1, 3:5] = False
    left = departures(np.where(observed[..., None], line, 0), observed)
    np.testing.assert_allclose(left, 0, atol=1e-12)


@pytest.mark.parametrize("size", [1, 7])
def test_a_size_of_groups_that_cannot_be_is_an_input_error(size, rng):
    recording, _ = closed_systems(rng, (2, 2), n_trials=2)
    with pytest.raises(InputError, match="size from 2 to 4"):
        straight_centres(recording, size)
