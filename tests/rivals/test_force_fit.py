"""Fits of forces: couplings are recovered from motion that obeys the law, and the solver is exact."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import nnls

from motet.data.motion import Motion, MotionSettings
from motet.data.recording import Recording
from motet.errors import InputError
from motet.rivals.force_fit import (
    expected_charges,
    fit_accelerations,
    fit_forces,
    noise_variance,
    nonnegative_least_squares,
)
from motet.systems import FORCES

BIN_SECONDS, N_BINS = 0.1, 30
OFF_DIAGONAL = ~np.eye(4, dtype=bool)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def moved(pull, couplings, rng, *, n_bins=N_BINS):
    """Positions and velocities (individual, time, coordinate) under x_i'' = Σ c_ij pull(x_j − x_i), by scipy."""
    n = len(couplings)
    angle = 2 * np.pi * np.arange(n) / n
    start = np.stack([np.cos(angle), np.sin(angle)], axis=1) * 1.5 + 0.1 * rng.normal(size=(n, 2))

    def change(_, state):
        x, v = state.reshape(2, n, 2)
        return np.stack([v, (couplings[..., None] * pull(x[None] - x[:, None])).sum(axis=1)]).ravel()

    state = np.stack([start, 0.3 * rng.normal(size=(n, 2))]).ravel()
    times = np.arange(n_bins) * BIN_SECONDS
    solution = solve_ivp(change, (0, times[-1]), state, t_eval=times, rtol=1e-10, atol=1e-12)
    return solution.y.T.reshape(n_bins, 2, n, 2).transpose(1, 2, 0, 3)


def coupled(rng, *, is_attractive, n=4):
    couplings = rng.uniform(0.5, 1.0, (n, n)) * (rng.random((n, n)) < 0.5)
    if not is_attractive:
        couplings *= rng.choice([-1, 1], (n, n))
    return couplings * ~np.eye(n, dtype=bool)


def simulated(law, rng, n_trials=4, **fields):
    couplings = np.stack([coupled(rng, is_attractive=FORCES[law].is_attractive) for _ in range(n_trials)])
    motions = np.stack([moved(FORCES[law].pull, c, rng) for c in couplings])
    return couplings, motions


@pytest.fixture(params=["gravity", "springs", "charged"])
def law(request):
    """A law whose positions are not smoothed and whose couplings are of size 1, so that the fit is exact."""
    return request.param


def exact(law):
    return dataclasses.replace(FORCES[law], half_width=0, typical_coupling=1.0)


@pytest.mark.parametrize("features", ["position", "position-velocity"])
def test_couplings_of_motion_that_obeys_the_law_are_recovered(law, features, rng):
    couplings, motions = simulated(law, rng)
    values = motions[:, 0] if features == "position" else np.concatenate([motions[:, 0], motions[:, 1]], axis=-1)
    recording = Recording.from_trials(values, bin_seconds=BIN_SECONDS)
    fitted = fit_forces(recording, exact(law), features=features)
    assert np.isnan(fitted[:, ~OFF_DIAGONAL]).all()
    np.testing.assert_allclose(fitted[:, OFF_DIAGONAL], couplings[:, OFF_DIAGONAL], atol=0.03)


def test_accelerations_give_the_couplings_too_where_bins_are_fine(law, rng):
    couplings, motions = simulated(law, rng)
    recording = Recording.from_trials(motions[:, 0], bin_seconds=BIN_SECONDS)
    motion = Motion.of(recording, MotionSettings(half_width=3, degree=4))
    fitted = fit_accelerations(motion, FORCES[law], ridge=1e-9)
    assert np.median(np.abs(fitted - couplings)[:, OFF_DIAGONAL]) < 0.02


def phases_of(rng, couplings, frequency):
    def change(_, phase):
        return frequency + (couplings * np.sin(phase[None] - phase[:, None])).sum(axis=1)

    times = np.arange(N_BINS) * BIN_SECONDS
    start = rng.uniform(0, 2 * np.pi, len(frequency))
    phases = solve_ivp(change, (0, times[-1]), start, t_eval=times, rtol=1e-10, atol=1e-12).y
    rates = np.stack([change(0, phase) for phase in phases.T], axis=1)
    known = np.broadcast_to(frequency[:, None], phases.shape)
    return np.stack([np.cos(phases), np.sin(phases), rates, known], axis=-1)


@pytest.mark.parametrize("n_features", [2, 3, 4])
def test_oscillators_need_neither_rates_nor_own_frequencies(n_features, rng):
    couplings = coupled(rng, is_attractive=True)
    values = phases_of(rng, couplings, rng.uniform(1, 5, 4))[None, ..., :n_features]
    recording = Recording.from_trials(values, bin_seconds=BIN_SECONDS)
    fitted = fit_forces(recording, FORCES["kuramoto"], features="phase")[0]
    np.testing.assert_allclose(fitted[OFF_DIAGONAL], couplings[OFF_DIAGONAL], atol=0.05)
    motion = Motion.of(recording, MotionSettings(features="phase", half_width=2, degree=4))
    by_rates = fit_accelerations(motion, FORCES["kuramoto"], ridge=1e-9)[0]
    np.testing.assert_allclose(by_rates[OFF_DIAGONAL], couplings[OFF_DIAGONAL], atol=0.15)


def test_integrals_beat_accelerations_under_noise(rng):
    couplings, motions = simulated("gravity", rng, n_trials=10)
    noisy = Recording.from_trials(motions[:, 0] + 0.005 * rng.normal(size=motions[:, 0].shape), bin_seconds=BIN_SECONDS)
    motion = Motion.of(noisy, MotionSettings())

    def error(fitted):
        return np.abs(fitted - couplings)[:, OFF_DIAGONAL].mean()

    assert error(fit_forces(noisy, FORCES["gravity"])) < 0.6 * error(fit_accelerations(motion, FORCES["gravity"]))


def test_a_kick_in_one_bin_is_found_and_loses_weight(rng, monkeypatch):
    couplings, motions = simulated("gravity", rng)
    kicked = motions[:, 0].copy()
    kicked[:, :, 15:] += 0.3 * (np.arange(N_BINS - 15) + 0.5)[:, None] * rng.normal(size=(4, 4, 1, 2))
    recording = Recording.from_trials(kicked + 0.001 * rng.normal(size=kicked.shape), bin_seconds=BIN_SECONDS)

    def errors(n_reweightings):
        monkeypatch.setattr("motet.rivals.force_fit.N_REWEIGHTINGS", n_reweightings)
        fitted = fit_forces(recording, FORCES["gravity"])
        return np.abs(fitted - couplings)[:, OFF_DIAGONAL].mean()

    assert errors(3) < 0.5 * errors(0)


def test_bins_that_are_missing_explain_nothing_and_junk_in_them_changes_nothing(rng, monkeypatch):
    monkeypatch.setattr("motet.rivals.force_fit.N_REWEIGHTINGS", 0)
    couplings, motions = simulated("springs", rng)
    observed = rng.random((4, 4, N_BINS)) < 0.9
    recording = Recording.from_trials(np.where(observed[..., None], motions[:, 0], np.nan), bin_seconds=BIN_SECONDS)
    fitted = fit_forces(recording, exact("springs"))
    np.testing.assert_allclose(fitted[:, OFF_DIAGONAL], couplings[:, OFF_DIAGONAL], atol=0.15)
    junk = dataclasses.replace(recording, values=np.where(observed[..., None], recording.values, np.float32(1e4)))
    assert np.array_equal(fit_forces(junk, exact("springs")), fitted, equal_nan=True)


def test_absent_individuals_pull_nobody_and_trials_do_not_know_each_other(rng):
    _, motions = simulated("gravity", rng)
    values = np.full((4, 6, N_BINS, 2), np.nan)
    values[:, [0, 2, 3, 5]] = motions[:, 0]
    padded = fit_forces(Recording.from_trials(values, bin_seconds=BIN_SECONDS), FORCES["gravity"])
    alone = [fit_forces(Recording.from_trials(m[:1], bin_seconds=BIN_SECONDS), FORCES["gravity"])[0] for m in motions]
    kept = np.ix_([0, 2, 3, 5], [0, 2, 3, 5])
    np.testing.assert_allclose(np.stack([one[kept] for one in padded]), np.stack(alone), rtol=1e-9, atol=1e-12)
    assert np.isnan(padded[:, [1, 4]]).all()
    assert np.isnan(padded[:, :, [1, 4]]).all()


def test_blocks_make_no_difference(rng, monkeypatch):
    _, motions = simulated("gravity", rng)
    recording = Recording.from_trials(motions[:, 0], bin_seconds=BIN_SECONDS)
    expected = fit_forces(recording, FORCES["gravity"])
    monkeypatch.setattr("motet.rivals.force_fit.BLOCK_SIZE", 1)
    np.testing.assert_allclose(fit_forces(recording, FORCES["gravity"]), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("n", "n_rows"), [(1, 3), (5, 20), (12, 8), (30, 40)])
def test_nonnegative_least_squares_is_that_of_lawson_and_hanson(n, n_rows, rng):
    inputs, outputs = rng.normal(size=(50, n_rows, n)), rng.normal(size=(50, n_rows))
    inputs[..., -1] = inputs[..., 0] + 1e-2 * inputs[..., -1]  # two that are hard to tell apart
    inputs = np.concatenate([inputs, np.broadcast_to(0.01 * np.eye(n), (50, n, n))], axis=1)
    outputs = np.concatenate([outputs, np.zeros((50, n))], axis=1)
    expected = [nnls(one, other)[0] for one, other in zip(inputs, outputs, strict=True)]
    gram, toward = inputs.swapaxes(1, 2) @ inputs, (inputs.swapaxes(1, 2) @ outputs[..., None])[..., 0]
    np.testing.assert_allclose(nonnegative_least_squares(gram, toward), expected, atol=1e-7)


def test_noise_is_estimated_from_smooth_motion_with_outliers_and_gaps(rng):
    time = np.arange(60) * 0.1
    smooth = np.sin(time + rng.uniform(0, 6, (20, 3, 1)))[..., None]
    sigma = np.linspace(0.01, 0.1, 20)
    noisy = smooth + sigma[:, None, None, None] * rng.normal(size=(20, 3, 60, 1))
    noisy[:, 0, 30:] += 5
    observed = rng.random((20, 3, 60)) < 0.95
    estimate = np.sqrt(noise_variance(noisy, observed))
    np.testing.assert_allclose(estimate, sigma, rtol=0.35)
    observed[4] = False
    assert noise_variance(noisy, observed)[4] == pytest.approx(np.median(np.delete(noise_variance(noisy, observed), 4)))


def test_charges_are_found_behind_products_of_which_many_are_wrong(rng):
    charges = rng.choice([-1.0, 1.0], (30, 10))
    attraction = -charges[:, :, None] * charges[:, None] + 0.8 * rng.normal(size=(30, 10, 10))
    attraction[:, np.arange(10), np.arange(10)] = np.nan
    found = expected_charges(attraction)
    assert (np.sign(found) == charges * charges[:, :1]).mean() > 0.98


def test_what_cannot_be_fitted_is_an_input_error(rng):
    recording = Recording.from_trials(rng.normal(size=(2, 3, 20, 2)))
    with pytest.raises(InputError, match="must be 'phase'"):
        fit_forces(recording, FORCES["kuramoto"])
    with pytest.raises(InputError, match="five bins"):
        fit_forces(recording.select(bins=slice(0, 4)), FORCES["gravity"])
