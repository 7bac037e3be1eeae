"""The estimator that forecasts motion."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from motet.data.dataset import PopulationDataset
from motet.data.motion import MotionSettings
from motet.data.recording import Recording
from motet.errors import InputError
from motet.estimators.forecaster import EITForecaster, last_bins
from motet.estimators.interactions import EITInteractions
from motet.models.eit import EITSettings
from motet.models.geometry import Geometry
from motet.models.pairs import PairSettings
from motet.systems import simulate
from motet.training.objectives import ForecastSettings
from motet.training.run import Run
from motet.training.settings import TrainingSettings

OBJECTIVE = ForecastSettings(context_bins=12, horizon_bins=6, n_substeps=(1, 4))
SMALL = {
    "model": EITSettings(identity="none", token_bins=1, width=8),
    "pairs": PairSettings(width=8, depth=2),
    "training": TrainingSettings(max_steps=4, batch_trials=16),
}


def orbits(group="2x2", n_trials=24, n_bins=18, seed=0):
    return simulate("gravity", groups=(group,), n_trials=n_trials, n_bins=n_bins, seed=seed, engine="numpy")[0]


@pytest.fixture(scope="module")
def forecaster():
    return EITForecaster(objective=OBJECTIVE, **SMALL).fit(orbits())


@pytest.fixture(scope="module")
def trained():
    """Long enough for the graph to show."""
    training = TrainingSettings(max_steps=50, batch_trials=32, learning_rate=1e-2, averaging=0.9)
    objective = dataclasses.replace(OBJECTIVE, context_bins=16)
    small = {**SMALL, "pairs": PairSettings(width=8, depth=2, laws=1), "training": training}
    return EITForecaster(objective=objective, **small).fit(orbits(n_trials=150, n_bins=22))


def test_it_learns_to_forecast_and_finds_the_graph_without_labels(trained):
    test = orbits(n_trials=40, n_bins=22, seed=1)
    context = test.select(bins=slice(0, 16))
    error = np.linalg.norm(trained.predict(context) - test.values[:, :, 16:], axis=-1)[:, :, -1]
    straight = 2 * context.values[:, :, -1:] - context.values[:, :, -2:-1]
    assert np.median(error) < 0.01
    assert np.median(error) < np.median(np.linalg.norm(straight - test.values[:, :, 16:17], axis=-1))
    couplings = np.abs(trained.predict_couplings(context))
    is_edge = test.targets["interacts"] == 1
    assert np.median(couplings[is_edge]) > 20 * np.median(couplings[test.targets["interacts"] == 0])
    assert trained.score(test) > 0.95


def test_couplings_come_in_the_units_of_the_recording():
    settings = {**SMALL, "training": TrainingSettings(max_steps=1, learning_rate=1e-9)}
    forecaster = EITForecaster(objective=OBJECTIVE, **settings).fit(orbits())
    g = forecaster.geometry_
    pull = forecaster._pull_at_unit(torch.tensor([1.3 / (g.acceleration * g.length**2), 0.0]))
    assert pull == pytest.approx(1.3 / g.length**2, rel=1e-4)  # a mass of 1.3, at a distance of one length
    couplings = forecaster.predict_couplings(orbits(n_trials=3))
    assert np.isnan(couplings[:, range(4), range(4)]).all()
    assert np.isfinite(couplings[:, 0, 1:]).all()


def test_forecasts_come_in_the_frame_and_units_of_the_recording(forecaster):
    test = orbits(n_trials=4, seed=3)
    moved = dataclasses.replace(test, values=test.values + np.float32([1000.0, -50.0]))
    places, velocities, couplings = forecaster.predict_motion(test)
    assert np.array_equal(couplings, forecaster.predict_couplings(test), equal_nan=True)
    assert places.shape == velocities.shape == (4, 4, 6, 2)
    gap = np.linalg.norm(places[:, :, 0] - test.values[:, :, -1], axis=-1)
    assert gap.max() < 1
    assert np.allclose(forecaster.predict(moved), places + np.array([1000.0, -50.0]), atol=0.02)
    assert np.allclose(np.diff(places, axis=2) / test.bin_seconds, velocities[:, :, 1:], atol=0.3)


def test_any_horizon_and_any_number_of_individuals(forecaster):
    large = orbits("3x2", n_trials=3, seed=5)
    assert forecaster.predict(large, horizon_bins=9).shape == (3, 6, 9, 2)
    assert np.allclose(forecaster.predict(large, horizon_bins=9)[:, :, :6], forecaster.predict(large), atol=1e-4)
    pair = large.select(individuals=[0, 1])
    assert forecaster.predict(pair).shape == (3, 2, 6, 2)


def test_several_recordings_are_scored_together(forecaster):
    few, many = orbits(n_trials=2, n_bins=18, seed=1), orbits("3x2", n_trials=5, n_bins=18, seed=2)
    n_places = [recording.n_trials * recording.n_individuals for recording in (few, many)]
    apart = [forecaster.score(recording) for recording in (few, many)]
    both = forecaster.score([few, dataclasses.replace(many, name="many")])
    assert both == pytest.approx(np.average(apart, weights=n_places))


def test_trials_that_are_too_short_are_not_counted_when_some_are_held_out():
    long = orbits(n_trials=10)
    ragged = Recording.from_trials([x if n < 4 else x[:, :9] for n, x in enumerate(long.values)], bin_seconds=0.2)
    settings = {**SMALL, "training": TrainingSettings(max_steps=1, validation=0.3)}
    for seed in range(4):
        EITForecaster(objective=OBJECTIVE, seed=seed, **settings).fit(ragged, on_epoch=lambda row: None)


def test_who_belongs_together_is_not_told(forecaster):
    """A forecast is learned from trajectories alone: targets of any kind change nothing."""
    plain = orbits()
    other = np.array(["a", "b"] * 12)
    odd = dataclasses.replace(plain, targets={"system": other}, target_levels={"system": "trial"})
    bare = dataclasses.replace(plain, targets={}, target_levels={})
    expected = forecaster.learner_.state_dict()
    for recording in (odd, bare):
        again = EITForecaster(objective=OBJECTIVE, **SMALL).fit(recording, on_epoch=lambda row: None)
        assert all(torch.equal(tensor, expected[name]) for name, tensor in again.learner_.state_dict().items())


def test_whoever_was_never_seen_in_the_context_does_not_count(forecaster):
    test = orbits(seed=3)
    observed = test.observed.copy()
    observed[:, 3, :12] = False
    late = dataclasses.replace(test, values=np.where(observed[..., None], test.values, 0), observed=observed)
    assert forecaster.score(late) == forecaster.score(late.select(individuals=[0, 1, 2]))


def test_embeddings_are_those_of_the_bins_that_a_forecast_reads(forecaster):
    test = orbits(n_trials=3, seed=3)
    of_last = forecaster.encode(test.select(bins=slice(6, None)))
    for stage, embedding in forecaster.encode(test).items():
        assert np.array_equal(embedding, of_last[stage])


def test_the_last_bins_of_every_trial_are_read(forecaster):
    test = orbits(n_trials=3, seed=3)
    short = [test.values[0], test.values[1, :, :14], test.values[2, :, :5]]
    ragged = Recording.from_trials(short, bin_seconds=test.bin_seconds)
    context = last_bins(ragged, 12)
    assert np.array_equal(context.values[1], test.values[1, :, 2:14])
    assert np.array_equal(context.values[2, :, 7:], test.values[2, :, :5])
    assert not context.observed[2, :, :7].any()
    assert context.trial_start_seconds[1] == pytest.approx(ragged.trial_start_seconds[1] + 2 * test.bin_seconds)
    found = forecaster.predict(ragged)
    alone = forecaster.predict(test.select(trials=[1], bins=slice(0, 14)))
    assert np.allclose(found[1], alone[0], atol=1e-3)
    assert np.isfinite(found).all()


def test_absent_individuals_are_not_forecast(forecaster):
    test = orbits(n_trials=4, seed=3)
    observed = test.observed.copy()
    observed[1:, 3] = False
    some = dataclasses.replace(test, values=np.where(observed[..., None], test.values, 0), observed=observed)
    places, velocities, _ = forecaster.predict_motion(some)
    assert np.isnan(places[1:, 3]).all()
    assert np.isnan(velocities[1:, 3]).all()
    three = forecaster.predict(test.select(trials=[1, 2, 3], individuals=[0, 1, 2]))
    assert np.allclose(places[1:, :3], three, atol=2e-3)
    assert np.isnan(forecaster.predict_couplings(some)[1:, 3]).all()


@pytest.mark.parametrize(
    ("system", "features", "options"),
    [
        ("springs", "position-velocity", {"n_particles": (3,)}),
        ("kuramoto", "phase", {"n_oscillators": (3,)}),
        ("kuramoto", "phase", {"n_oscillators": (3,), "with_frequency": False}),
    ],
)
def test_other_features_are_forecast_too(system, features, options):
    recording = simulate(system, n_trials=20, n_bins=18, **options)[0]
    settings = dataclasses.replace(OBJECTIVE, shoot=False)
    forecaster = EITForecaster(objective=settings, motion=MotionSettings(features=features), **SMALL).fit(recording)
    places, velocities, _ = forecaster.predict_motion(recording)
    assert places.shape == (20, 3, 6, 2)
    assert velocities.shape[-1] == (1 if features == "phase" else 2)
    if features == "phase":
        assert np.allclose(np.linalg.norm(places, axis=-1), 1)
    assert 0 <= forecaster.score(recording) <= 1


def test_recordings_without_any_target_teach():
    plain = dataclasses.replace(orbits(), targets={}, target_levels={})
    assert len(EITForecaster(objective=OBJECTIVE, **SMALL).fit(plain).history_) > 0


def test_interactions_are_learned_beside_where_they_are_known():
    objective = dataclasses.replace(OBJECTIVE, interactions_weight=1.0)
    forecaster = EITForecaster(objective=objective, **SMALL).fit([orbits(), orbits("2x3", seed=1)])
    assert len(forecaster.learner_.objective.parts) == 2
    assert forecaster.predict(orbits(n_trials=2)).shape == (2, 4, 6, 2)
    with pytest.raises(InputError, match="interact"):
        EITForecaster("interact", objective=objective, **SMALL).fit(orbits())


def test_what_is_saved_forecasts_the_same(forecaster, tmp_path):
    forecaster.save(tmp_path / "run")
    read = EITForecaster.load(tmp_path / "run")
    test = orbits(n_trials=3, seed=3)
    assert np.array_equal(read.predict(test), forecaster.predict(test))
    assert read.get_params() == forecaster.get_params()
    with pytest.raises(InputError, match="EITForecaster"):
        EITInteractions.load(tmp_path / "run")
    run = Run(tmp_path / "run")
    tensors, about = run.read_tensors("weights")
    run.write_tensors("weights", {**tensors, "more": torch.zeros(1)}, about)
    with pytest.raises(InputError, match="whole model"):
        EITForecaster.load(tmp_path / "run")


def test_an_interrupted_fit_ends_with_the_same_weights(tmp_path):
    settings = {**SMALL, "training": TrainingSettings(max_steps=4, batch_trials=16, checkpoint_seconds=0)}
    whole = EITForecaster(objective=OBJECTIVE, **settings).fit(orbits())

    class Stopped(Exception):  # noqa: N818
        pass

    def stop(row):
        if row.epoch == 1:
            raise Stopped

    with pytest.raises(Stopped):
        EITForecaster(objective=OBJECTIVE, **settings).fit(orbits(), run=tmp_path / "run", on_epoch=stop)
    continued = EITForecaster(objective=OBJECTIVE, **settings).fit(orbits(), run=tmp_path / "run")
    first, second = whole.learner_.state_dict(), continued.learner_.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_what_cannot_be_forecast_is_refused(forecaster):
    with pytest.raises(InputError, match="laws of force"):
        EITForecaster(objective=OBJECTIVE, motion=MotionSettings(features="none"), **SMALL).fit(orbits())
    with pytest.raises(InputError, match="window"):
        EITForecaster(objective=OBJECTIVE, **SMALL).fit(orbits(n_bins=17))
    with pytest.raises(InputError, match="one individual"):
        forecaster.predict(orbits().select(individuals=[0]))
    with pytest.raises(InputError, match="context of at least"):
        forecaster.predict(orbits().select(bins=slice(0, 3)))
    with pytest.raises(InputError, match="horizon_bins"):
        forecaster.predict(orbits(), horizon_bins=0)
    with pytest.raises(InputError, match="give no y"):
        EITForecaster().fit(orbits(), np.zeros(3))
    with pytest.raises(InputError, match="features"):
        forecaster.predict(Recording.from_trials(np.ones((1, 2, 12, 3)), bin_seconds=10 / 49))
    with pytest.raises(InputError, match="bins of"):
        forecaster.predict(dataclasses.replace(orbits(), bin_seconds=1.0))


@pytest.mark.parametrize(
    ("system", "features", "options"),
    [
        ("gravity", "position", {"groups": ("2x2",)}),
        ("springs", "position-velocity", {"n_particles": (3,)}),
        ("kuramoto", "phase", {"n_oscillators": (3,)}),
    ],
)
def test_contexts_of_training_windows_are_noisy_and_futures_are_not(system, features, options):
    recording = simulate(system, n_trials=200, n_bins=18, **options)[0]
    objective = dataclasses.replace(OBJECTIVE, noise=0.1)
    forecaster = EITForecaster(objective=objective, motion=MotionSettings(features=features), **SMALL)
    forecaster.seed_, forecaster.geometry_ = 0, Geometry.fit(PopulationDataset(recording), forecaster.motion)
    noisy = forecaster._noisy(PopulationDataset(recording)).recordings[0]
    assert np.array_equal(noisy.values, forecaster._noisy(PopulationDataset(recording)).recordings[0].values)
    assert np.array_equal(noisy.values[:, :, 12:], recording.values[:, :, 12:])
    off = (noisy.values - recording.values)[:, :, :12].astype(np.float64)
    size = np.sqrt((off[..., :2] ** 2).mean(axis=(1, 2, 3)))  # of a trial
    unit = 1 / np.sqrt(2) if features == "phase" else forecaster.geometry_.length
    assert size.max() == pytest.approx(0.1 * unit, rel=0.3)
    assert size.min() < 0.02 * unit
    if features == "phase":
        assert np.allclose(np.linalg.norm(noisy.values[..., :2], axis=-1), 1, atol=1e-5)
        assert np.array_equal(noisy.values[..., 3], recording.values[..., 3])
    if system == "springs":
        expected = 0.1 * forecaster.geometry_.velocity / np.sqrt(3)
        assert np.sqrt((off[..., 2:] ** 2).mean()) == pytest.approx(expected, rel=0.1)


def test_windows_of_one_trial_are_never_parted():
    settings = {**SMALL, "training": TrainingSettings(max_steps=1, validation=0.3)}
    objective = dataclasses.replace(OBJECTIVE, stride=1)
    forecaster = EITForecaster(objective=objective, **settings)
    forecaster.fit(orbits(n_bins=20), on_epoch=lambda row: None)
    _, held_out = forecaster._split(forecaster._cut(PopulationDataset(orbits(n_bins=20))))
    assert len(held_out) == 21
    assert len(set(held_out.recordings[0].trial_ids)) == 7
    assert np.isfinite(forecaster.history_[-1].validation_score)


def test_a_forecast_far_from_the_origin_is_that_near_it(forecaster):
    context = orbits().select(bins=slice(0, 12))
    far = Recording.from_trials(context.values.astype(np.float64) + 1e8, bin_seconds=context.bin_seconds)
    np.testing.assert_allclose(forecaster.predict(far) - 1e8, forecaster.predict(context), atol=1e-3)
