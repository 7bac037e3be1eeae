"""Oscillators: closed forms, scipy's phases, and recordings that are what their settings say."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from motet.errors import InputError
from motet.systems.kuramoto import KuramotoSettings, oscillator_phases, simulate_kuramoto

SMALL = KuramotoSettings(n_oscillators=(3, 5), n_trials=60, n_bins=20)


def test_phases_and_rates_are_those_of_scipy() -> None:
    random = np.random.default_rng(0)
    n_trials, n = 10, 10
    coupling = random.integers(2, size=(n_trials, n, n)).astype(float)
    coupling[:, range(n), range(n)] = 0  # not symmetric: the first of a pair feels the second
    frequency, phase = random.uniform(1, 10, (n_trials, n)), random.uniform(0, 2 * np.pi, (n_trials, n))
    phases, rates = oscillator_phases(phase, frequency, coupling, n_bins=49)
    for trial in range(n_trials):

        def change(_: float, y: np.ndarray, trial: int = trial) -> np.ndarray:
            return frequency[trial] + (coupling[trial] * np.sin(y[None] - y[:, None])).sum(axis=1)

        times = np.arange(49) / 10
        expected = solve_ivp(change, (0, 5), phase[trial], "DOP853", times, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(phases[trial], expected.y, atol=1e-8)
        exact = np.stack([change(0, column) for column in expected.y.T], axis=1)
        np.testing.assert_allclose(rates[trial], exact, atol=1e-7)


def test_alone_an_oscillator_keeps_its_frequency() -> None:
    frequency, phase = np.array([[1.5, 9.0]]), np.array([[0.3, 5.0]])
    phases, rates = oscillator_phases(phase, frequency, np.zeros((1, 2, 2)), n_bins=30)
    np.testing.assert_allclose(phases, phase[..., None] + frequency[..., None] * np.arange(30) / 10, rtol=1e-12)
    np.testing.assert_allclose(rates, frequency[..., None].repeat(30, axis=2))


def test_two_alike_meet_as_the_closed_form_says() -> None:
    """Δ' = -2 sin Δ: tan(Δ/2) decays by exp(-2t)."""
    coupling = np.array([[[0.0, 1], [1, 0]]])
    phases, _ = oscillator_phases(np.array([[0.0, 2.5]]), np.full((1, 2), 4.0), coupling, n_bins=40)
    expected = np.tan(2.5 / 2) * np.exp(-2 * np.arange(40) / 10)
    np.testing.assert_allclose(np.tan((phases[0, 1] - phases[0, 0]) / 2), expected, rtol=1e-8)


def test_recordings_are_what_their_settings_say() -> None:
    for recording, n in zip(simulate_kuramoto(SMALL), (3, 5), strict=True):
        assert recording.name == f"kuramoto/{n}"
        assert recording.values.shape == (60, n, 20, 4)
        assert recording.bin_seconds == 0.1
        cosine, sine, rate, natural = np.moveaxis(recording.values, -1, 0)
        np.testing.assert_allclose(cosine**2 + sine**2, 1, atol=1e-6)
        frequency, interacts = recording.target("frequency"), recording.target("interacts")
        assert np.array_equal(natural, frequency[..., None].repeat(20, axis=2))
        assert 1 <= frequency.min() < frequency.max() < 10
        # Pulls are mutual: their sum is none.
        np.testing.assert_allclose(rate.sum(axis=1), frequency.sum(axis=1, keepdims=True).repeat(20, axis=1), rtol=1e-5)
        off = ~np.eye(n, dtype=bool)
        assert (interacts[:, ~off] == -1).all()
        assert np.array_equal(interacts, interacts.transpose(0, 2, 1))
        assert abs(interacts[:, off].mean() - 0.5) < 0.1
        assert np.array_equal(recording.target("coupling")[:, off], interacts[:, off])
        apart = np.arctan2(sine, cosine)[:, None] - np.arctan2(sine, cosine)[:, :, None]
        pull = (np.where(interacts == 1, 1.0, 0.0)[..., None] * np.sin(apart)).sum(axis=2)
        np.testing.assert_allclose(rate, frequency[..., None] + pull, atol=1e-5)


def test_the_natural_frequency_may_be_left_out() -> None:
    with_it, without = (simulate_kuramoto(dataclasses.replace(SMALL, with_frequency=w))[0] for w in (True, False))
    assert np.array_equal(with_it.values[..., :3], without.values)
    assert "frequency" in without.targets


def test_noise_is_added_to_phases_and_rates_of_the_same_oscillators() -> None:
    clean, noisy = (simulate_kuramoto(dataclasses.replace(SMALL, noise=noise))[1] for noise in (0.0, 0.03))
    turned = (noisy.values[..., 0] + 1j * noisy.values[..., 1]) / (clean.values[..., 0] + 1j * clean.values[..., 1])
    assert np.angle(turned).std() == pytest.approx(0.03, rel=0.05)
    assert (noisy.values[..., 2] - clean.values[..., 2]).std() == pytest.approx(0.03, rel=0.05)
    assert np.array_equal(noisy.values[..., 3], clean.values[..., 3])


def test_the_seed_says_all() -> None:
    first, again, other = (simulate_kuramoto(dataclasses.replace(SMALL, seed=seed)) for seed in (0, 0, 1))
    assert np.array_equal(first[0].values, again[0].values)
    assert not np.array_equal(first[0].values, other[0].values)
    alone = simulate_kuramoto(dataclasses.replace(SMALL, n_oscillators=(5,)))[0]
    assert np.array_equal(alone.values, first[1].values)


def test_many_trials_are_simulated_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = dataclasses.replace(SMALL, n_trials=200)
    whole = simulate_kuramoto(settings)[1]
    monkeypatch.setattr("motet.systems.kuramoto.PART_NUMBERS", 1)
    np.testing.assert_allclose(simulate_kuramoto(settings)[1].values, whole.values, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_oscillators": (1,)}, "at least 2"),
        ({"n_oscillators": ()}, "one or more"),
        ({"n_oscillators": (4, 4)}, "each once"),
        ({"n_trials": 0}, "n_trials is 0"),
        ({"n_bins": 0}, "n_bins is 0"),
        ({"noise": -0.1}, "noise is -0.1"),
        ({"seed": -1}, "seed is -1"),
        ({"with_frequency": 1}, "True or False"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        KuramotoSettings(**change)
