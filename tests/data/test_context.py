"""What individuals do, in numbers."""

from __future__ import annotations

import numpy as np
import pytest

from motet.data.context import LAGS, N_STATISTICS, PERIODS, context_statistics
from motet.data.recording import Recording

MEAN, SPREAD, BETWEEN, ALONG = range(4)


def a_recording(n_trials=8, n_individuals=5, n_bins=10, seed=0, share_missing=0.2):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n_trials, n_individuals, n_bins, 2)) + rng.normal(size=(n_trials, 1, 1, 1))
    values[rng.random(values.shape[:3]) < share_missing] = np.nan
    return Recording.from_trials(values, individual_ids=list("abcdefgh")[:n_individuals])


def test_they_follow_individuals_and_not_the_order_of_trials():
    recording, rng = a_recording(), np.random.default_rng(1)
    ids, found = context_statistics([recording])
    trials, order = rng.permutation(8), rng.permutation(5)
    ids_again, again = context_statistics([recording.select(trials=trials, individuals=order)])
    assert ids_again == tuple(ids[place] for place in order)
    np.testing.assert_allclose(again, found[order], atol=1e-12)


def test_trials_may_come_in_several_recordings_and_in_blocks(monkeypatch):
    recording = a_recording()
    ids, found = context_statistics([recording])
    parts = [recording.select(trials=slice(0, 3)), recording.select(trials=slice(3, 8), individuals=[4, 2, 0, 1, 3])]
    assert context_statistics(parts)[0] == ids
    np.testing.assert_allclose(context_statistics(parts)[1], found, atol=1e-12)
    monkeypatch.setattr("motet.data.context._BLOCK", 1)
    np.testing.assert_allclose(context_statistics([recording])[1], found, atol=1e-12)


def test_what_is_not_observed_changes_nothing():
    recording = a_recording()
    widths = [(0, 2), (0, 1), (0, 3)]
    observed = np.pad(recording.observed, widths)
    values = np.where(observed[..., None], np.pad(recording.values, [*widths, (0, 0)]), 1e6)
    garbled = Recording.from_trials(
        np.where(observed[..., None], values, np.nan), individual_ids=[*recording.individual_ids, "absent"]
    )
    object.__setattr__(garbled, "values", values)
    _, found = context_statistics([garbled])
    np.testing.assert_allclose(found[:-1], context_statistics([recording])[1], atol=1e-12)
    assert not found[-1].any()


@pytest.mark.parametrize("level", [0.0, 3.0, 0.1, 1e30])
def test_silent_and_lonely_individuals_have_finite_statistics(level):
    values = np.full((3, 2, 6), level)
    values[:, 1] = np.random.default_rng(0).normal(size=(3, 6)) * (level or 1)
    for individuals in ([0, 1], [0], [1]):
        found = context_statistics([Recording.from_trials(values[:, individuals])])[1]
        assert np.isfinite(found).all()
        assert not found[:, ALONG].any()
    assert not context_statistics([Recording.from_trials(values)])[1][0, SPREAD:].any()


def test_they_are_what_numpy_says_where_all_is_observed():
    recording = a_recording(share_missing=0.0)
    x = recording.values.astype(np.float64)
    found = context_statistics([recording])[1].reshape(5, 2, N_STATISTICS)
    away = x - x.mean(axis=(0, 2), keepdims=True)
    for individual in range(5):
        for feature in range(2):
            own, one = away[:, individual, :, feature], found[individual, feature]
            others = np.delete(away[..., feature], individual, axis=1).mean(axis=1)
            expected = [x[:, individual, :, feature].mean(), own.std(), np.sqrt((own.mean(axis=1) ** 2).mean())]
            expected.append((own * others).sum() / np.sqrt((own**2).sum() * (others**2).sum()))
            expected += [(own[:, lag:] * own[:, :-lag]).mean() / own.var() for lag in LAGS]
            angles = [2 * np.pi * np.arange(10) / period for period in PERIODS]
            expected += [(own.mean(axis=0) * wave(angle)).mean() for wave in (np.sin, np.cos) for angle in angles]
            np.testing.assert_allclose(one, expected, atol=1e-6)
