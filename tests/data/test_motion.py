"""Motion from positions: exact on polynomials, blind to what is not observed, noise as in closed form."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.signal import savgol_coeffs

from motet.data.dataset import PopulationDataset
from motet.data.motion import Motion, MotionSettings, derive_motion, local_derivatives
from motet.data.recording import Recording
from motet.errors import InputError

BIN_SECONDS = 0.2
SECONDS = np.arange(20) * BIN_SECONDS


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def cubics(rng, shape=(6, 5, 2)):
    """Cubic trajectories (trial, individual, time, coordinate) and their first two derivatives."""
    powers = SECONDS[:, None] ** np.arange(4)
    coefficients = rng.normal(size=(*shape, 4))
    orders = [powers, powers[:, :3] * [1, 2, 3], powers[:, :2] * [2, 6]]
    return [np.einsum("...ck,tk->...tc", coefficients[..., order:], basis) for order, basis in enumerate(orders)]


def recording_of(values, observed=None, **fields):
    if observed is not None:
        values = np.where(observed[..., None], values, np.nan)
    return Recording.from_trials(values, bin_seconds=BIN_SECONDS, **fields)


@pytest.mark.parametrize("gaps", [0.0, 0.25], ids=["complete", "with gaps"])
@pytest.mark.parametrize("smooth", [False, True])
def test_derivatives_are_exact_on_polynomials_up_to_the_ends(rng, gaps, smooth):
    x, v, a = cubics(rng)
    observed = rng.random(x.shape[:3]) >= gaps
    observed[..., 5:9] = True  # enough bins for a cubic in every window
    observed[..., 12:16] = True
    derived = derive_motion(recording_of(x, observed), MotionSettings(smooth=smooth))
    expected = np.where(observed[..., None], np.concatenate([x, v, a], axis=-1), 0)
    np.testing.assert_allclose(derived.values, expected, rtol=2e-4, atol=2e-3)  # positions are float32
    exact = local_derivatives(x, observed, bin_seconds=BIN_SECONDS)
    np.testing.assert_allclose(exact, np.where(observed[..., None], np.stack([x, v, a]), 0), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("degree", [2, 3, 5])
@pytest.mark.parametrize("half_width", [3, 6])
def test_weights_are_those_of_savitzky_and_golay_shifted_at_the_ends(degree, half_width):
    n_bins, width = 20, 2 * half_width + 1
    impulses = np.eye(n_bins)[..., None]
    observed = np.ones((n_bins, n_bins), dtype=bool)
    weights = local_derivatives(impulses, observed, half_width=half_width, degree=degree)[..., 0]
    for bin_, order in [(0, 1), (1, 2), (n_bins // 2, 0), (n_bins // 2, 2), (n_bins - 2, 1), (n_bins - 1, 2)]:
        start = min(max(bin_ - half_width, 0), n_bins - width)
        expected = np.zeros(n_bins)
        expected[start : start + width] = savgol_coeffs(width, degree, deriv=order, pos=bin_ - start, use="dot")
        np.testing.assert_allclose(weights[order, :, bin_], expected, atol=1e-9)


def test_noise_on_positions_becomes_the_noise_on_accelerations_of_the_closed_form(rng):
    sigma, settings = 0.01, MotionSettings(half_width=4, degree=3)
    noise = sigma * rng.normal(size=(4000, 1, 9, 1))
    motion = Motion.of(recording_of(noise), settings)
    n = settings.half_width
    # For degree 2 or 3 the second derivative at the centre is Σ (k² − mean k²) x_k · 2 / Σ (k² − mean k²)².
    squares = np.arange(-n, n + 1) ** 2
    expected = 2 * sigma / np.sqrt(((squares - squares.mean()) ** 2).sum()) / BIN_SECONDS**2
    assert motion.acceleration[:, 0, n].std() == pytest.approx(expected, rel=0.05)


def test_what_is_not_observed_never_changes_the_motion(rng):
    observed = rng.random((8, 3, 20)) < 0.6
    recording = recording_of(rng.normal(size=(8, 3, 20, 2)), observed)
    junk = dataclasses.replace(recording, values=np.where(observed[..., None], recording.values, np.float32(1e6)))
    for features in ("position", "position-velocity", "phase"):
        for smooth in (False, True):
            settings = MotionSettings(features=features, smooth=smooth)
            derived = derive_motion(recording, settings)
            assert np.array_equal(derived.values, derive_motion(junk, settings).values)
            assert not derived.values[~observed].any()
            assert np.array_equal(derived.observed, observed)
            for part in ("position", "velocity", "acceleration"):
                motions = [getattr(Motion.of(given, settings), part) for given in (recording, junk)]
                assert np.array_equal(*motions)
                assert not motions[0][~observed].any()


@pytest.mark.parametrize("features", ["position", "position-velocity", "phase"])
def test_a_ragged_trial_moves_as_it_does_alone(rng, features):
    settings = MotionSettings(features=features)
    trials = [rng.normal(size=(3, n_bins, 2)) for n_bins in (20, 7, 12, 3, 1, 20)]
    together = derive_motion(Recording.from_trials(trials), settings)
    for number, trial in enumerate(trials):
        alone = derive_motion(Recording.from_trials([trial]), settings).values[0]
        np.testing.assert_allclose(together.values[number, :, : trial.shape[1]], alone, rtol=1e-5, atol=1e-6)


def test_the_order_of_trials_and_individuals_does_not_matter(rng):
    observed = rng.random((9, 4, 12)) < 0.8
    recording = recording_of(rng.normal(size=(9, 4, 12, 2)), observed)
    trials, individuals = rng.permutation(9), rng.permutation(4)
    derived = derive_motion(recording, MotionSettings())
    shuffled = derive_motion(recording.select(trials=trials, individuals=individuals), MotionSettings())
    assert np.array_equal(shuffled.values, derived.select(trials=trials, individuals=individuals).values)


def test_blocks_of_rows_and_patterns_make_no_difference(rng, monkeypatch):
    values, observed = rng.normal(size=(30, 15, 2)), rng.random((30, 15)) < 0.8
    observed[::2] = True
    expected = local_derivatives(values, observed)
    monkeypatch.setattr("motet.data.motion.BLOCK_SIZE", 100)
    np.testing.assert_allclose(local_derivatives(values, observed), expected, atol=1e-12)


@pytest.mark.parametrize(("n_seen", "slope", "curvature"), [(0, 0, 0), (1, 0, 0), (2, 3, 0), (3, 3, 8), (5, 3, 8)])
def test_few_observed_bins_lower_the_degree(n_seen, slope, curvature):
    time = np.arange(9.0)
    x = 3 * (time - 4) + curvature / 2 * (time - 4) ** 2
    observed = np.isin(np.arange(9), [4, 6, 1, 8, 0][:n_seen])
    fit, first, second = local_derivatives(x[:, None], observed)[:, 4, 0]
    assert (fit, first, second) == pytest.approx((0, slope, curvature), abs=1e-9)


def test_measured_velocities_stay_and_give_the_acceleration(rng):
    x, v, a = cubics(rng)
    recording = recording_of(np.concatenate([x, v], axis=-1))
    derived = derive_motion(recording, MotionSettings(features="position-velocity", half_width=1, degree=2))
    assert np.array_equal(derived.values[..., :4], recording.values)
    np.testing.assert_allclose(derived.values[..., 4:], a, rtol=1e-3, atol=1e-3)


def test_phases_turn_at_their_rate_over_many_turns_and_gaps(rng):
    rate = rng.uniform(2, 9, (5, 4, 1))  # up to 1.8 radians a bin
    phase = rng.uniform(0, 6, (5, 4, 1)) + rate * SECONDS + 0.3 * SECONDS**2 / 2
    observed = np.ones(phase.shape, dtype=bool)
    observed[..., 7:9] = False  # windows reach across
    observed[..., 13:18] = False
    recording = recording_of(np.stack([np.cos(phase), np.sin(phase)], axis=-1), observed)
    motion = Motion.of(recording, MotionSettings(features="phase"))
    np.testing.assert_allclose(motion.velocity[..., 0][observed], (rate + 0.3 * SECONDS)[observed], rtol=1e-5)
    np.testing.assert_allclose(motion.acceleration[..., 0][observed], 0.3, atol=1e-4)
    derived = derive_motion(recording, MotionSettings(features="phase"))
    assert derived.n_features == 3
    assert np.array_equal(derived.values[..., :2], recording.values)


def test_a_measured_rate_and_an_own_frequency_stay(rng):
    values = rng.normal(size=(3, 4, 10, 4))
    values[..., 3] = rng.uniform(1, 10, (3, 4, 1))
    recording = recording_of(values)
    assert np.array_equal(derive_motion(recording, MotionSettings(features="phase")).values, recording.values)
    own_frequency = Motion.of(recording, MotionSettings(features="phase")).own_frequency
    np.testing.assert_allclose(own_frequency, values[:, :, 0, 3], rtol=1e-6)


def test_without_geometry_nothing_changes(rng):
    recording = recording_of(rng.normal(size=(3, 4, 10, 5)))
    assert derive_motion(recording, MotionSettings(features="none")) is recording
    with pytest.raises(InputError, match="motion.features is 'none'"):
        Motion.of(recording, MotionSettings(features="none"))


def test_a_dataset_is_derived_recording_by_recording(rng):
    recordings = [recording_of(rng.normal(size=(4, n, 10, 2)), name=f"system/{n}") for n in (2, 3)]
    dataset = PopulationDataset(recordings).map(lambda recording: derive_motion(recording, MotionSettings()))
    assert dataset.n_features == 6


@pytest.mark.parametrize(
    ("features", "n_features"), [("position", 4), ("position-velocity", 3), ("phase", 1), ("phase", 5)]
)
def test_another_number_of_features_is_an_input_error(features, n_features):
    recording = recording_of(np.zeros((2, 3, 10, n_features)))
    with pytest.raises(InputError, match=f"has {n_features} features, but motion.features='{features}' needs"):
        derive_motion(recording, MotionSettings(features=features))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"half_width": 2, "degree": 5}, "degree from 2 to twice"),
        ({"degree": 1}, "degree from 2 to twice"),
        ({"half_width": 0}, "motion.half_width is 0; give a whole number, at least 1"),
        ({"features": "positions"}, "did you mean 'position'"),
        ({"half_width": 2.5}, "a whole number"),
    ],
)
def test_settings_that_cannot_be_are_input_errors(settings, message):
    with pytest.raises(InputError, match=message):
        MotionSettings(**settings)
