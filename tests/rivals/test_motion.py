"""Rivals of motion."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from motet.data.dataset import PopulationDataset
from motet.data.motion import MotionSettings
from motet.data.recording import Recording
from motet.errors import InputError
from motet.models.continuation import distance
from motet.models.geometry import Geometry
from motet.rivals.method import MotionQuestion
from motet.rivals.motion import MOTION_RIVALS, FittedMotion, MotionRival, extrapolated
from motet.systems import simulate
from motet.systems.laws import Law

N_CONTEXT, N_AHEAD = 20, 8
RIVALS: dict[str, MotionRival] = {rival.name: rival for rival in MOTION_RIVALS}


def question_of(recording, features="position"):
    geometry = Geometry.fit(PopulationDataset(recording), MotionSettings(features=features))
    return MotionQuestion(geometry, N_CONTEXT, N_AHEAD, shoots=False)


def with_options(name: str, question: MotionQuestion, **options) -> FittedMotion:
    """The rival with these options, not tuned."""
    return RIVALS[name].fitted([], question, options)


def learned(name: str, recording: Recording, question: MotionQuestion) -> FittedMotion:
    return RIVALS[name].learn(PopulationDataset(recording), question)


def halves(recording):
    return recording.select(bins=slice(0, N_CONTEXT)), recording.select(bins=slice(N_CONTEXT, N_CONTEXT + N_AHEAD))


@pytest.fixture(scope="module")
def orbits():
    return simulate("gravity", groups=("2x2",), n_trials=30, n_bins=N_CONTEXT + N_AHEAD, seed=4, engine="numpy")[0]


@pytest.mark.parametrize(("name", "degree"), [("constant velocity", 1), ("constant acceleration", 2)])
@pytest.mark.parametrize("n_last", [3, 10])
def test_polynomials_go_on_exactly_even_with_gaps(name, degree, n_last):
    time = np.arange(N_CONTEXT + N_AHEAD) * 0.5
    curve = 1 - 0.5 * time + (0.3 * time**2 if degree == 2 else 0)
    x = np.stack([curve, 2 * curve, -curve])[None, ..., None] * [1.0, 0.2]
    x[0, 2, [4, 14]] = np.nan
    recording = Recording.from_trials(x, bin_seconds=0.5)
    context, ahead = halves(recording)
    found = with_options(name, question_of(recording), n_last=n_last).forecast(context)
    assert found.couplings is None
    assert np.nanmax(distance(found.places, ahead, question_of(recording).geometry)) < 1e-3
    slope = np.diff(ahead.values.astype(np.float64), axis=2) / 0.5
    assert np.allclose((found.velocities[:, :, 1:] + found.velocities[:, :, :-1]) / 2, slope, atol=1e-2)


def test_phases_turn_on_beyond_a_turn():
    phase = 1.3 * np.arange(N_CONTEXT + N_AHEAD) * np.array([1.0, -0.5])[:, None]
    recording = Recording.from_trials(np.stack([np.cos(phase), np.sin(phase)], axis=-1)[None], bin_seconds=0.1)
    context, ahead = halves(recording)
    question = MotionQuestion(Geometry(MotionSettings(features="phase"), 2, 3, bin_seconds=0.1), N_CONTEXT, N_AHEAD)
    found = with_options("constant velocity", question, n_last=2).forecast(context)
    assert distance(found.places, ahead, question.geometry).max() < 1e-4
    assert np.allclose(found.velocities[0, :, :, 0], np.array([[13.0], [-6.5]]), atol=1e-3)


@pytest.mark.parametrize("name", ["constant velocity", "constant acceleration"])
def test_after_a_gap_lines_go_on_from_where_an_individual_was_seen_last(name):
    x = 20 + np.arange(N_CONTEXT + N_AHEAD)[None, None, :, None] * np.array([1.0, -0.5])[None, :, None, None]
    x[0, 1, 8:N_CONTEXT] = np.nan
    context, ahead = halves(Recording.from_trials(x))
    for n_last in (3, 6):
        found = with_options(name, question_of(context), n_last=n_last).forecast(context)
        assert np.allclose(found.places, ahead.values, atol=1e-3)


def test_measured_velocities_are_used_by_lines_and_parabolas():
    time = np.arange(N_CONTEXT + N_AHEAD) * 0.5
    x, v = 1 + 2 * time + 0.3 * time**2, 2 + 0.6 * time
    recording = Recording.from_trials(np.stack([x, v], axis=-1)[None, None].repeat(2, axis=1), bin_seconds=0.5)
    context, ahead = halves(recording)
    question = question_of(recording, "position-velocity")
    parabola = with_options("constant acceleration", question, n_last=2).forecast(context)
    assert np.allclose(parabola.places, ahead.values[..., :1], atol=1e-3)
    line = with_options("constant velocity", question, n_last=1).forecast(context)
    ahead_seconds = 0.5 * np.arange(1, N_AHEAD + 1)
    assert np.allclose(line.places[0, 0, :, 0], x[N_CONTEXT - 1] + v[N_CONTEXT - 1] * ahead_seconds, atol=1e-3)
    phases = np.stack([np.cos(time), np.sin(time), np.full_like(time, 0.7)], axis=-1)[None, None].repeat(2, axis=1)
    rates = Recording.from_trials(phases, bin_seconds=0.5)
    question = MotionQuestion(Geometry(MotionSettings(features="phase"), 3, 3, bin_seconds=0.5), N_CONTEXT, N_AHEAD)
    found = with_options("constant velocity", question, n_last=1).forecast(halves(rates)[0])
    assert np.allclose(found.velocities, 0.7, atol=1e-3)


def test_so_few_bins_that_a_parabola_is_a_line_are_no_choice(orbits):
    context, _ = halves(orbits)
    with pytest.raises(InputError, match="2 bins do not determine a polynomial of degree 2"):
        extrapolated(context, question_of(orbits), 2, degree=2)
    assert learned("constant acceleration", orbits, question_of(orbits)).chosen["n_last"] > 2


def test_fewer_observed_bins_lower_the_degree():
    x = np.full((1, 2, N_CONTEXT, 1), np.nan)
    x[0, 0], x[0, 1, -1] = np.arange(N_CONTEXT)[:, None], 7.0
    recording = Recording.from_trials(x)
    found = extrapolated(recording, question_of(recording.select(individuals=[0])), 10, degree=2)
    assert np.allclose(found.places[0, 1], 7.0)
    assert np.allclose(found.places[0, 0, :, 0], np.arange(N_CONTEXT, N_CONTEXT + N_AHEAD), atol=1e-3)


def test_the_more_a_rival_is_given_the_better_it_forecasts(orbits):
    context, ahead = halves(orbits)
    question = question_of(orbits)
    error = {}
    for name in RIVALS:
        found = learned(name, orbits.select(trials=slice(0, 10)), question).forecast(context)
        error[name] = np.median(distance(found.places, ahead, question.geometry)[:, :, -1])
    assert error["true couplings"] < error["force fit"] < error["constant acceleration"] < error["constant velocity"]
    assert error["true couplings"] < 1e-3


def damped(rng, features="position", n_trials=40, n_bins=N_CONTEXT + N_AHEAD):
    """Individuals that are drawn to their common mean, and slow down: linear, of order two."""
    x, v = rng.normal(size=(2, n_trials, 3, 2))
    places = []
    for _ in range(n_bins):
        places.append(np.concatenate([x, v / 0.5], axis=-1) if features == "position-velocity" else x)
        v = 0.9 * v + 0.2 * (x.mean(axis=1, keepdims=True) - x)
        x = x + v
    return Recording.from_trials(np.stack(places, axis=2), bin_seconds=0.5)


@pytest.mark.parametrize("features", ["position", "position-velocity"])
def test_an_autoregression_learns_linear_motion_from_training_trials(features):
    rng = np.random.default_rng(0)
    train, test = damped(rng, features), damped(rng, features)
    question = question_of(train, features)
    tuned = learned("linear autoregression", train, question)
    context, ahead = halves(test)
    found = tuned.forecast(context)
    assert tuned.n_parameters == tuned.learned[0].coef_.size + N_AHEAD
    assert distance(found.places, ahead, question.geometry).max() < 0.02
    assert np.allclose(np.diff(found.places, axis=2) / 0.5, found.velocities[:, :, 1:], atol=1e-6)
    line = learned("constant velocity", train, question)
    assert np.median(distance(line.forecast(context).places, ahead, question.geometry)[:, :, -1]) > 0.2


def test_an_autoregression_needs_the_bins_that_it_reads(orbits):
    question = dataclasses.replace(question_of(orbits), n_context=1)
    with pytest.raises(InputError, match=r"bins|longer"):
        learned("linear autoregression", orbits.select(bins=slice(0, 9)), question)


def test_the_law_is_chosen_on_training_trials(orbits):
    springs = simulate("springs", n_particles=(3,), n_trials=12, n_bins=N_CONTEXT + N_AHEAD, engine="numpy")[0]
    for recording, features, law in ((orbits, "position", "gravity"), (springs, "position-velocity", "springs")):
        assert learned("force fit", recording, question_of(recording, features)).chosen == {"law": law}


def test_a_rival_that_does_not_apply_says_so(orbits):
    (context, _), question = halves(orbits), question_of(orbits)
    with pytest.raises(InputError, match="phase"):
        with_options("force fit", question, law="kuramoto").forecast(context)
    with pytest.raises(InputError, match="not known"):
        with_options("true couplings", question).forecast(dataclasses.replace(context, metadata={}))
    nobody = dataclasses.replace(context, observed=np.zeros_like(context.observed), values=0 * context.values)
    with pytest.raises(InputError, match="nobody is observed"):
        with_options("constant velocity", question, n_last=2).forecast(nobody)


@pytest.mark.parametrize("name", RIVALS)
def test_forecasts_go_on_from_the_end_of_each_trial(name, orbits):
    fitted, (context, _) = learned(name, orbits, question_of(orbits)), halves(orbits.select(trials=slice(0, 4)))
    observed = context.observed.copy()
    observed[[1, 3], :, 17:] = False
    ragged = dataclasses.replace(context, observed=observed, values=np.where(observed[..., None], context.values, 0))
    found = fitted.predict(PopulationDataset(ragged))
    for trial, end in enumerate([20, 17, 20, 17]):
        alone = fitted.predict(PopulationDataset(context.select(trials=[trial], bins=slice(0, end))))
        for key, array in alone.items():
            np.testing.assert_allclose(found[key][trial], array[0], rtol=1e-3, atol=1e-3)


def test_pulls_are_masses_of_partners_and_repulsion_is_negative(orbits):
    couplings = Law.of(orbits).couplings(orbits)
    assert np.allclose(couplings[:, 0, 1], orbits.targets["mass"][:, 1], rtol=1e-5)
    assert np.allclose(couplings[:, 0, 2], 0)
    charged = simulate("charged", n_particles=(3,), n_trials=5, n_bins=2, engine="numpy")[0]
    couplings = Law.of(charged).couplings(charged)
    assert (np.sign(couplings[:, 0, 1]) == 2 * charged.targets["interacts"][:, 0, 1] - 1).all()


@pytest.mark.parametrize("name", [name for name in RIVALS if name != "true couplings"])
def test_absent_individuals_change_nothing_and_are_not_forecast(name, orbits):
    context, _ = halves(orbits.select(trials=slice(0, 4)))
    values = np.concatenate([context.values, np.zeros_like(context.values[:, :1])], axis=1)
    observed = np.concatenate([context.observed, np.zeros_like(context.observed[:, :1])], axis=1)
    more = Recording(values, observed, tuple("abcde"), {}, bin_seconds=context.bin_seconds)
    fitted = learned(name, orbits, question_of(orbits))
    found, alone = fitted.forecast(more), fitted.forecast(context)
    assert np.isnan(found.places[:, 4]).all()
    assert np.isnan(found.velocities[:, 4]).all()
    assert np.allclose(found.places[:, :4], alone.places, atol=1e-3)
    if found.couplings is not None:
        assert np.isnan(found.couplings[:, 4]).all()
        assert np.allclose(found.couplings[:, :4, :4], alone.couplings, atol=1e-3, equal_nan=True)


def test_distances_are_measured_where_the_truth_is_known():
    truth = Recording.from_trials(np.array([[[[0.0, 0.0], [np.nan, np.nan]], [[3.0, 4.0], [0.0, 1.0]]]]))
    geometry = Geometry(MotionSettings(), 2, 6)
    places = np.zeros((1, 2, 2, 2))
    places[0, 1, 1] = np.nan
    assert np.array_equal(distance(places, truth, geometry), [[[0, np.nan], [5, np.inf]]], equal_nan=True)
    circle = Geometry(MotionSettings(features="phase"), 2, 3)
    opposite = distance(np.array([[[[-1.0, 0.0]]]]), Recording.from_trials(np.array([[[[1.0, 0.0]]]])), circle)
    assert opposite == pytest.approx(np.pi)
    with pytest.raises(InputError, match="shape"):
        distance(places[:, :1], truth, geometry)
