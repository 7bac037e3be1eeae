"""The simulated neural population: what is random, what is exact, and what it asks of a decoder."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from scipy.stats import ks_2samp
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import StratifiedKFold, cross_val_score

from motet.errors import InputError
from motet.systems import SYSTEMS, simulate
from motet.systems.population import (
    PEAK_SPEED_CM_S,
    REACH_CM,
    TYPES,
    PopulationSettings,
    expected_counts,
    population_rates,
    simulate_population,
)

SMALL = PopulationSettings(n_subjects=2, n_trials=40, n_neurons=30)
# Nothing varies but the direction of the reach and the tuning of the neurons.
STILL = PopulationSettings(
    n_subjects=1,
    n_neurons=120,
    baseline_rate_hz=2.0,
    gain_variability=0.0,
    shared_noise=0.0,
    reaction_jitter_seconds=0.0,
    speed_variability=0.0,
    curvature_cm=0.0,
)
TYPE = {kind.name: index for index, kind in enumerate(TYPES)}


def everything(settings: PopulationSettings) -> list[bytes]:
    return [
        array.tobytes()
        for recording in simulate_population(settings)
        for array in (recording.values, recording.observed, *recording.targets.values())
    ]


def still_log_rates(**changes: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log-rates (trial, neuron, time), the types of the neurons and the directions of the trials."""
    settings = dataclasses.replace(STILL, **changes)
    recording = simulate_population(settings)[0]
    return np.log(population_rates(settings)[0]), recording.target("type")[0], recording.target("direction")


# Seeds


def test_the_same_seed_gives_the_same_bytes() -> None:
    assert everything(SMALL) == everything(dataclasses.replace(SMALL))


def test_another_seed_gives_other_data() -> None:
    assert everything(SMALL)[0] != everything(dataclasses.replace(SMALL, seed=1))[0]


def test_subjects_share_no_neuron_and_no_trial() -> None:
    first, second = simulate_population(SMALL)
    assert not np.array_equal(first.values, second.values)
    assert not np.array_equal(first.target("direction"), second.target("direction"))
    assert not set(first.individual_ids) & set(second.individual_ids)


def test_a_subject_does_not_depend_on_how_many_others_there_are() -> None:
    more = everything(dataclasses.replace(SMALL, n_subjects=3))
    assert more[: len(everything(SMALL))] == everything(SMALL)


def test_simulating_leaves_the_global_random_state_alone() -> None:
    before = repr(np.random.get_state())  # noqa: NPY002
    simulate_population(SMALL)
    assert repr(np.random.get_state()) == before  # noqa: NPY002


# Shapes and names


def test_recordings_have_the_sizes_asked_for() -> None:
    settings = PopulationSettings(n_subjects=4, n_trials=9, n_neurons=(5, 25), n_bins=7, bin_seconds=0.05)
    recordings = simulate_population(settings)
    rates = population_rates(settings)
    assert [recording.name for recording in recordings] == [f"population/subject-{n}" for n in (1, 2, 3, 4)]
    for recording, rate in zip(recordings, rates, strict=True):
        n_neurons = recording.n_individuals
        assert 5 <= n_neurons <= 25
        assert recording.values.shape == (9, n_neurons, 7, 1)
        assert rate.shape == (9, n_neurons, 7)
        assert recording.individual_ids[-1] == f"{recording.name}/{n_neurons - 1}"
        assert recording.bin_seconds == 0.05
        assert recording.target("velocity").shape == recording.target("position").shape == (9, 7, 2)
        assert recording.target("type").shape == (9, n_neurons)
    assert len({recording.n_individuals for recording in recordings}) > 1


def test_one_of_everything_is_enough() -> None:
    settings = PopulationSettings(n_subjects=1, n_trials=1, n_neurons=1, n_directions=1, n_bins=1)
    assert simulate_population(settings)[0].values.shape == (1, 1, 1, 1)


def test_every_target_has_its_level_even_where_sizes_agree() -> None:
    recording = simulate_population(PopulationSettings(n_subjects=1, n_trials=10, n_neurons=10, n_bins=10))[0]
    levels = {"direction": "trial", "velocity": "bin", "position": "bin", "type": "individual"}
    assert dict(recording.target_levels) == levels


# Spikes


def test_counts_are_poisson_given_the_rates() -> None:
    settings = PopulationSettings(n_subjects=1)
    counts = simulate_population(settings)[0].values[..., 0]
    expected = population_rates(settings)[0] * settings.bin_seconds
    fano = ((counts - expected) ** 2 / expected).mean()
    fano_error = np.sqrt((2 + 1 / expected).mean() / expected.size)
    assert abs(fano - 1) < 4 * fano_error
    assert abs((counts - expected).sum()) < 4 * np.sqrt(expected.sum())
    silent = np.exp(-expected)
    assert abs(((counts == 0) - silent).sum()) < 4 * np.sqrt((silent * (1 - silent)).sum())


def test_spikes_of_two_neurons_are_independent_given_the_rates() -> None:
    settings = PopulationSettings(n_subjects=1)
    counts = simulate_population(settings)[0].values[..., 0]
    expected = population_rates(settings)[0] * settings.bin_seconds
    surprise = ((counts - expected) / np.sqrt(expected)).transpose(1, 0, 2).reshape(settings.n_neurons, -1)
    correlation = np.corrcoef(surprise)[np.triu_indices(len(surprise), k=1)]
    assert abs(correlation.mean()) < 0.003
    assert correlation.std() == pytest.approx(1 / np.sqrt(surprise.shape[1]), rel=0.1)


def test_the_rate_at_rest_is_the_one_asked_for() -> None:
    log_rates, types, _ = still_log_rates(n_neurons=4000, n_trials=8)
    at_rest = np.exp(log_rates[:, types == TYPE["untuned"]])
    assert at_rest.mean() == pytest.approx(STILL.baseline_rate_hz, rel=0.1)


def test_without_noise_untuned_neurons_never_change() -> None:
    log_rates, types, _ = still_log_rates()
    assert np.ptp(log_rates[:, types == TYPE["untuned"]], axis=(0, 2)).max() < 1e-12


@pytest.mark.parametrize(
    ("changes", "rank"), [({"shared_noise": 0.2}, 3), ({"shared_noise": 0.2, "gain_variability": 0.2}, 4)]
)
def test_what_neurons_share_is_low_dimensional(changes: dict[str, float], rank: int) -> None:
    log_rates, types, _ = still_log_rates(**changes)
    untuned = log_rates[:, types == TYPE["untuned"]].transpose(1, 0, 2).reshape(18, -1)
    assert np.linalg.matrix_rank(untuned - untuned.mean(axis=1, keepdims=True), tol=1e-6) == rank


def test_shared_noise_has_the_size_asked_for() -> None:
    log_rates, types, _ = still_log_rates(shared_noise=0.3, n_neurons=2000, n_trials=50)
    untuned = log_rates[:, types == TYPE["untuned"]]
    assert np.sqrt(untuned.var(axis=(0, 2)).mean()) == pytest.approx(0.3, rel=0.1)


def test_the_gain_of_a_trial_multiplies_every_rate() -> None:
    still, _, direction = still_log_rates()
    moved, _, same_direction = still_log_rates(gain_variability=0.2)
    gain = (moved - still)[:, :1, :1]
    assert np.array_equal(direction, same_direction)
    np.testing.assert_allclose(moved - still, np.broadcast_to(gain, still.shape), atol=1e-9)
    assert np.exp(gain).std() == pytest.approx(0.2, rel=0.2)


# The hand


def test_velocity_is_the_derivative_of_position() -> None:
    recording = simulate_population(PopulationSettings(n_subjects=1))[0]
    travelled = np.cumsum(recording.target("velocity"), axis=1) * recording.bin_seconds
    np.testing.assert_allclose(travelled, recording.target("position"), atol=1e-4)


def test_a_reach_without_variability_is_minimum_jerk() -> None:
    settings = dataclasses.replace(STILL, n_bins=100, bin_seconds=0.01, n_trials=8, n_neurons=4)
    recording = simulate_population(settings)[0]
    angle = recording.target("direction") * np.pi / 4
    target = REACH_CM * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    np.testing.assert_allclose(recording.target("position")[:, -1], target, atol=1e-4)

    speed = np.linalg.norm(recording.target("velocity"), axis=-1)
    assert speed.max() == pytest.approx(PEAK_SPEED_CM_S, rel=2e-3)
    # 0.3 s of reaction, then 8 cm in 0.5 s: the middle of the reach is the border of bins 54 and 55.
    assert set(speed.argmax(axis=1)) <= {54, 55}
    assert not speed[:, :30].any()
    assert not speed[:, 80:].any()
    # Flash and Hogan: 30 d / T (t^2 - 2 t^3 + t^4) at the fraction t of the movement time T.
    tau = (np.arange(50) + 0.5) / 50
    np.testing.assert_allclose(speed[0, 30:80], 30 * 16 * (tau**2 - 2 * tau**3 + tau**4), atol=0.03)


def test_reaction_speed_and_path_vary_as_asked() -> None:
    settings = PopulationSettings(n_subjects=1, n_trials=1000, n_neurons=1, n_bins=250, bin_seconds=0.01)
    recording = simulate_population(settings)[0]
    speed = np.linalg.norm(recording.target("velocity"), axis=-1)
    onset = (speed > 0).argmax(axis=1) * 0.01
    assert onset.mean() == pytest.approx(0.3, abs=0.02)
    assert onset.std() == pytest.approx(0.1, rel=0.15)
    # The bow adds a little to the speed.
    assert speed.max(axis=1).mean() == pytest.approx(PEAK_SPEED_CM_S, rel=0.05)
    assert speed.max(axis=1).std() == pytest.approx(0.2 * PEAK_SPEED_CM_S, rel=0.15)
    angle = recording.target("direction") * np.pi / 4
    x, y = np.moveaxis(recording.target("position"), -1, 0)
    across = y * np.cos(angle)[:, None] - x * np.sin(angle)[:, None]
    assert np.abs(across).max(axis=1).mean() == pytest.approx(0.8 * np.sqrt(2 / np.pi), rel=0.1)
    assert np.abs(across[:, -1]).max() < 1e-4


def test_gains_of_neurons_are_their_own_and_change_nothing_else() -> None:
    rates = population_rates(SMALL)[0]
    changed = population_rates(dataclasses.replace(SMALL, n_trials=40, neuron_gain_variability=0.3))[0]
    below = (rates < 150) & (changed < 150)  # of the ceiling
    gain = np.where(below, changed / rates, np.nan)
    np.testing.assert_allclose(np.nanmin(gain, axis=2), np.nanmax(gain, axis=2))  # one per trial and neuron
    gain = np.nanmean(gain, axis=2)
    assert np.nanmean(gain) == pytest.approx(1, abs=0.03)
    assert np.nanstd(gain) == pytest.approx(0.3, rel=0.1)
    between = np.corrcoef(np.nan_to_num(gain, nan=1.0).T)[np.triu_indices(30, 1)]
    assert abs(between.mean()) < 0.02


def test_latency_moves_all_neurons_of_a_trial_and_not_the_hand() -> None:
    settings = dataclasses.replace(STILL, n_trials=60, n_bins=250, bin_seconds=0.01)
    still, jittered = settings, dataclasses.replace(settings, latency_jitter_seconds=0.05)
    hands = [simulate_population(one)[0].target("velocity") for one in (still, jittered)]
    np.testing.assert_array_equal(*hands)
    ramps = simulate_population(still)[0].target("type")[0] == TYPE["ramp"]
    before, after = (np.log(population_rates(one)[0][:, ramps]) for one in (still, jittered))

    def onset(log_rate: np.ndarray) -> np.ndarray:
        """(trial, neuron) seconds at which half of the step is made."""
        rise = np.abs(log_rate - log_rate[..., :1]) / np.abs(log_rate[..., -1:] - log_rate[..., :1])
        return (rise > 0.5).argmax(axis=2) * 0.01

    shift = onset(after) - onset(before)
    assert np.median(np.ptp(shift, axis=1)) < 0.025  # all neurons of a trial alike, but for the bins
    assert shift.mean(axis=1).std() == pytest.approx(0.05, rel=0.25)


@pytest.mark.parametrize("n_trials", [200, 83, 5])
def test_directions_are_balanced_and_shuffled(n_trials: int) -> None:
    recording = simulate_population(PopulationSettings(n_subjects=1, n_trials=n_trials, n_neurons=4))[0]
    direction = recording.target("direction")
    frequency = np.bincount(direction, minlength=8)
    assert np.ptp(frequency) <= 1
    assert not np.array_equal(direction, np.arange(n_trials) % 8)


def test_ragged_trials_end_after_the_reach() -> None:
    whole_settings = PopulationSettings(n_subjects=1, n_neurons=10, n_bins=15)
    whole = simulate_population(whole_settings)[0]
    ragged = simulate_population(dataclasses.replace(whole_settings, trials_are_ragged=True))[0]
    assert whole.observed.all()
    assert len(set(ragged.trial_lengths)) > 3
    seen = ragged.bin_is_observed
    assert np.array_equal(seen, np.arange(15) < ragged.trial_lengths[:, None])
    np.testing.assert_array_equal(ragged.values, np.where(ragged.observed[..., None], whole.values, 0))
    for name in ("velocity", "position"):
        np.testing.assert_array_equal(ragged.target(name)[seen], whole.target(name)[seen])
        assert np.isnan(ragged.target(name)[~seen]).all()
    assert not whole.target("velocity")[~seen].any()


# Types of neuron


@pytest.mark.parametrize("n_neurons", [7, 20, 80, 333])
def test_every_subject_has_the_same_share_of_every_type(n_neurons: int) -> None:
    share = np.array([kind.share for kind in TYPES])
    assert share.sum() == pytest.approx(1.0)
    for recording in simulate_population(PopulationSettings(n_trials=2, n_neurons=n_neurons)):
        types = recording.target("type")
        assert (types == types[0]).all()
        assert np.abs(np.bincount(types[0], minlength=len(TYPES)) - share * n_neurons).max() <= 1
        assert not np.array_equal(types[0], np.sort(types[0]))


@pytest.mark.parametrize("name", ["speed", "ramp", "untuned"])
def test_types_without_direction_do_not_see_it(name: str) -> None:
    log_rates, types, _ = still_log_rates()
    rates = log_rates[:, types == TYPE[name]]
    np.testing.assert_allclose(rates, np.broadcast_to(rates[:1], rates.shape), atol=1e-9)


@pytest.mark.parametrize("name", ["velocity", "position"])
def test_cosine_types_are_antisymmetric_and_linear_in_the_hand(name: str) -> None:
    log_rates, types, direction = still_log_rates(n_trials=8)
    rates = log_rates[np.argsort(direction)][:, types == TYPE[name]]
    change = rates - rates.mean(axis=0)
    np.testing.assert_allclose(change[:4], -change[4:], atol=1e-9)
    harmonics = np.abs(np.fft.rfft(change, axis=0)) / 8
    assert harmonics[1].max() > 0.1
    assert np.delete(harmonics, 1, axis=0).max() < 1e-9


def test_only_position_and_ramp_neurons_remember_that_the_hand_has_moved() -> None:
    log_rates, types, _ = still_log_rates(n_bins=20)
    changed = np.abs(log_rates[..., -1] - log_rates[..., 0]).max(axis=0) > 0.3
    remembers = np.isin(types, [TYPE["position"], TYPE["ramp"]])
    preparing = types == TYPE["preparatory"]
    assert changed[remembers].mean() > 0.9
    assert not changed[~remembers & ~preparing].any()


def test_preparatory_neurons_fire_before_the_movement_and_sharply() -> None:
    log_rates, types, direction = still_log_rates(n_trials=8, n_bins=20)
    drive = log_rates[np.argsort(direction)][:, types == TYPE["preparatory"]]
    drive = drive - drive[..., -1:]
    assert (drive >= -1e-12).all()
    assert (drive.max(axis=0).argmax(axis=-1) < 4).all()  # 0.3 s of reaction, 0.1 s a bin
    assert (np.median(drive.max(axis=-1), axis=0) < 0.3 * drive.max(axis=(0, 2))).mean() > 0.9


def test_speed_and_ramp_neurons_are_excited_or_suppressed() -> None:
    log_rates, types, _ = still_log_rates(n_neurons=1000, n_trials=2)
    for name in ("speed", "ramp"):
        excited = (log_rates[0, types == TYPE[name]][:, 2:] > log_rates[0, types == TYPE[name]][:, :1]).any(-1)
        assert 0.35 < excited.mean() < 0.65


def test_neurons_lead_the_hand_by_zero_to_two_bins() -> None:
    log_rates, types, _ = still_log_rates(n_neurons=1000, n_trials=2, n_bins=12)
    rates = log_rates[0, types == TYPE["speed"]]
    peak = np.abs(rates - rates[:, -1:]).argmax(axis=-1)
    # The hand is fastest at 0.55 s, the middle of bin 5.
    assert set(peak) == {3, 4, 5}


def test_a_type_has_the_same_statistics_in_every_subject() -> None:
    # Still, since gain and noise differ between the trials of two subjects for all their neurons at once.
    settings = dataclasses.replace(STILL, n_subjects=2, n_neurons=900, n_trials=16)
    recordings, rates = simulate_population(settings), population_rates(settings)

    def statistics(subject: int) -> tuple[np.ndarray, np.ndarray]:
        """(3, neuron) mean rate, dependence of the log-rate on direction and on time; (neuron,) types."""
        log_rates, direction = np.log(rates[subject]), recordings[subject].target("direction")
        per_direction = np.stack([log_rates[direction == k].mean(axis=(0, 2)) for k in range(8)])
        over_time = log_rates.mean(axis=0).std(axis=-1)
        depends = [rates[subject].mean(axis=(0, 2)), per_direction.std(axis=0), over_time]
        return np.stack(depends).round(9), recordings[subject].target("type")[0]

    (first, first_types), (second, second_types) = statistics(0), statistics(1)
    for a, b in zip(first, second, strict=True):
        for kind in range(len(TYPES)):
            assert ks_2samp(a[first_types == kind], b[second_types == kind]).pvalue > 0.001
    by_direction = first[1]
    tuned, untuned = (by_direction[first_types == TYPE[name]] for name in ("preparatory", "untuned"))
    assert ks_2samp(tuned, untuned).pvalue < 1e-6


def test_a_linear_decoder_is_far_above_chance_and_below_ceiling() -> None:
    recording = simulate_population()[0]
    features = np.sqrt(recording.values).reshape(recording.n_trials, -1)
    accuracy = cross_val_score(
        LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
        features,
        recording.target("direction"),
        cv=StratifiedKFold(5, shuffle=True, random_state=0),
    ).mean()
    assert 0.8 < accuracy < 0.96


# Settings and names


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("n_subjects", 0, "n_subjects is 0; give a whole number, at least 1"),
        ("n_trials", 2.5, "n_trials is 2.5; give a whole number"),
        ("n_bins", True, "n_bins is True; give a whole number"),
        ("n_directions", -1, "n_directions is -1"),
        ("seed", -1, "seed is -1; give a whole number, at least 0"),
        ("n_neurons", 0, "n_neurons is 0; give a whole number, at least 1, or \\(a whole number"),
        ("n_neurons", (30, 20), r"n_neurons is \(30, 20\)"),
        ("n_neurons", (1, 2, 3), r"n_neurons is \(1, 2, 3\)"),
        ("n_neurons", "many", "n_neurons is 'many'"),
        ("bin_seconds", 0.0, "bin_seconds is 0.0; give a number, at least 0.001, at most 1"),
        ("baseline_rate_hz", 1e6, "baseline_rate_hz is 1000000.0; give a number, at least 0.01, at most 200"),
        ("gain_variability", -0.1, "gain_variability is -0.1"),
        ("shared_noise", float("nan"), "shared_noise is nan"),
        ("neuron_gain_variability", 1.5, "neuron_gain_variability is 1.5; give a number, at least 0, at most 1"),
        ("latency_jitter_seconds", -0.1, "latency_jitter_seconds is -0.1"),
        ("speed_variability", "0.2", "speed_variability is '0.2'"),
        ("reaction_jitter_seconds", None, "reaction_jitter_seconds is None"),
        ("curvature_cm", 80.0, "curvature_cm is 80.0; give a number, at least 0, at most 8"),
        ("trials_are_ragged", 1, "trials_are_ragged is 1; give True or False"),
    ],
)
def test_a_setting_out_of_range_is_refused_with_what_is_allowed(setting: str, value: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        PopulationSettings(**{setting: value})


def test_the_extremes_of_every_setting_give_finite_rates() -> None:
    for extreme in (
        *("gain_variability", "neuron_gain_variability", "shared_noise"),
        *("speed_variability", "reaction_jitter_seconds", "latency_jitter_seconds"),
    ):
        for bin_seconds in (0.001, 1.0):
            settings = dataclasses.replace(SMALL, bin_seconds=bin_seconds, baseline_rate_hz=200.0, **{extreme: 1.0})
            with np.errstate(all="raise", under="ignore"):
                rates = population_rates(settings)[0]
            assert np.isfinite(rates).all()
            assert (rates > 0).all()
            assert rates.max() <= 200


def test_simulate_finds_the_system_by_name() -> None:
    by_name = simulate("population", **dataclasses.asdict(SMALL))
    direct = simulate_population(SMALL)
    assert [recording.values.tobytes() for recording in by_name] == [r.values.tobytes() for r in direct]


def test_the_settings_of_every_system_are_frozen_and_have_defaults() -> None:
    for system in SYSTEMS.values():
        settings: Any = system.settings()
        with pytest.raises(dataclasses.FrozenInstanceError):
            settings.seed = 1


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("populaton", {}, "unknown system 'populaton'; did you mean 'population'"),
        (
            "population",
            {"n_neuron": 3},
            "unknown option of system 'population' 'n_neuron'; did you mean 'n_neurons'",
        ),
    ],
)
def test_a_near_miss_is_told_the_right_name(name: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        simulate(name, **options)


@pytest.mark.parametrize("width", [1, 2])
def test_what_to_expect_of_a_recording_is_what_it_has_on_average(width):
    settings = dataclasses.replace(
        SMALL, n_trials=1600, n_neurons=(8, 12), neuron_gain_variability=0.2, latency_jitter_seconds=0.05
    )
    for recording in simulate_population(settings):
        cut = recording.select(trials=np.arange(3, 1600), individuals=[5, 2], bins=slice(4, 8)).rebinned(width)
        expected = expected_counts(cut, n_trials=200)
        assert expected.shape == (8, 200, 2, 4 // width)
        for direction in range(8):
            seen = cut.values[cut.target("direction") == direction, ..., 0]
            error = np.sqrt(seen.var(axis=0) / len(seen) + expected[direction].var(axis=0) / 200)
            assert np.abs(seen.mean(axis=0) - expected[direction].mean(axis=0)).max() < (5 * error).max()
    with pytest.raises(InputError, match="motet simulate population"):
        expected_counts(dataclasses.replace(cut, metadata={}), n_trials=2)
