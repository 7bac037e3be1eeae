from __future__ import annotations

import numpy as np
import pytest

from motet.data.dataset import PopulationDataset
from motet.data.preprocess import Preprocess, PreprocessSettings, varies
from motet.data.recording import Recording
from motet.errors import InputError


def a_dataset(seed=0, n_trials=30, name="a", rate=3.0):
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rate, (n_trials, 5, 8)).astype(float)
    counts[::3, :, 6:] = np.nan
    return PopulationDataset(Recording.from_trials(counts, name=name))


def test_statistics_come_from_the_training_part_only():
    train, test = a_dataset().split(test=0.3)
    fitted = Preprocess.fit(train)
    poisoned = PopulationDataset(test.recordings[0].select(trials=slice(None)))
    poisoned.recordings[0].values[:] = 1e6
    again = Preprocess.fit(train)
    np.testing.assert_array_equal(fitted.mean, again.mean)
    train_values = np.sqrt(train.recordings[0].values[..., 0])
    observed = train.recordings[0].observed
    expected = [train_values[:, i][observed[:, i]].mean() for i in range(5)]
    np.testing.assert_allclose(fitted.mean[:, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("centre", ["individual", "shared", "none"])
@pytest.mark.parametrize("scale", ["individual", "shared", "none"])
def test_observed_training_values_get_the_moments_asked_for(centre, scale):
    dataset = a_dataset(rate=np.arange(1.0, 6.0)[None, :, None])
    prepared = Preprocess.fit(dataset, PreprocessSettings("none", centre, scale))(dataset).recordings[0]
    flat = [prepared.values[:, i, :, 0][prepared.observed[:, i]] for i in range(5)]
    if centre == "individual":
        np.testing.assert_allclose([values.mean() for values in flat], 0, atol=1e-5)
    if centre == "shared" and scale != "individual":
        assert abs(np.concatenate(flat).mean()) < 1e-5
    if scale == "individual" and centre == "individual":
        np.testing.assert_allclose([values.std() for values in flat], 1, rtol=1e-5)
    if scale == "shared":
        assert np.isclose(np.concatenate(flat).std(), 1, rtol=1e-5) or centre == "none"
    assert not prepared.values[~prepared.observed].any()


def test_individuals_silent_in_training_are_dropped_and_strangers_refused():
    counts = np.random.default_rng(0).poisson(2.0, (10, 4, 5)).astype(float)
    counts[:8, 1] = 0
    dataset = PopulationDataset(Recording.from_trials(counts, name="a"))
    fitted = Preprocess.fit(dataset.select(range(8)))
    assert fitted(dataset).recordings[0].individual_ids == ("a/0", "a/2", "a/3")
    stranger = Recording.from_trials(counts, name="b")
    with pytest.raises(InputError, match="never saw individual 'b/0'"):
        fitted(PopulationDataset(stranger))
    unobserved = Recording.from_trials(
        np.concatenate([counts, np.full((10, 1, 5), np.nan)], axis=1),
        individual_ids=["a/0", "a/1", "a/2", "a/3", "new"],
    )
    assert fitted(PopulationDataset(unobserved)).recordings[0].individual_ids == ("a/0", "a/2", "a/3")


def test_statistics_travel_with_the_id():
    dataset = a_dataset()
    fitted = Preprocess.fit(dataset)
    order = [3, 1, 4, 0, 2]
    shuffled = dataset.map(lambda recording: recording.select(individuals=order))
    np.testing.assert_array_equal(fitted(shuffled).recordings[0].values, fitted(dataset).recordings[0].values[:, order])


def test_one_individual_in_two_recordings_has_one_mean():
    counts = np.random.default_rng(0).poisson(4.0, (20, 3, 6)).astype(float)
    ids = ["x", "y", "z"]
    halves = [
        Recording.from_trials(counts[:12], individual_ids=ids, name="a"),
        Recording.from_trials(counts[12:, ::-1], individual_ids=ids[::-1], name="b"),
    ]
    whole = Recording.from_trials(counts, individual_ids=ids, name="a")
    np.testing.assert_allclose(
        Preprocess.fit(PopulationDataset(halves)).mean, Preprocess.fit(PopulationDataset(whole)).mean, rtol=1e-6
    )


def test_a_constant_feature_of_an_active_individual_stays_finite():
    values = np.random.default_rng(0).poisson(3.0, (20, 2, 4, 2)).astype(float)
    values[..., 1] = 5
    dataset = PopulationDataset(Recording.from_trials(values))
    settings = PreprocessSettings(scale="individual")
    prepared = Preprocess.fit(dataset, settings)(dataset).recordings[0]
    np.testing.assert_allclose(prepared.values[..., 1], 0, atol=1e-6)


@pytest.mark.parametrize("unit", [1e-100, 1e-9, 1e-5, 1.0, 1e12])
@pytest.mark.parametrize("scale", ["individual", "shared"])
def test_who_is_silent_and_what_is_read_do_not_depend_on_the_unit(unit, scale):
    values = np.random.default_rng(0).normal(size=(20, 5, 6)) * np.array([1, 1e-4, 0, 1e3, 1])[:, None]
    values[:, 4] = 0.1 + 0.2 * (values[:, 4] > 9)  # constant, and not a binary fraction
    settings = PreprocessSettings(transform="none", scale=scale)
    datasets = [PopulationDataset(Recording.from_trials(values * u)) for u in (1.0, unit)]
    plain, scaled = (Preprocess.fit(dataset, settings) for dataset in datasets)
    assert plain.silent_ids == scaled.silent_ids == ("array/2", "array/4")
    one, other = (fitted(d).recordings[0].values for fitted, d in zip((plain, scaled), datasets, strict=True))
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_rounding_is_no_activity_and_one_event_is():
    values = np.full((200, 4, 50), 0.3)
    values[:, 0] = np.random.default_rng(0).choice([0.3, 0.1 + 0.2], (200, 50))
    values[:, 1, 0] = np.where(np.arange(200) == 7, 0.3 + 1e-9, 0.3)
    values[7, 2, 0] = 1e6
    recording = Recording.from_trials(values)
    assert varies([recording])[:, 0].tolist() == [False, True, True, False]


def test_an_individual_that_is_constant_in_each_recording_may_vary_between_them():
    first = Recording.from_trials(np.full((2, 2, 3), 1), individual_ids=["x", "y"], name="a")
    second = Recording.from_trials(np.full((2, 2, 3), 2), individual_ids=["x", "z"], name="b")
    assert varies([first, second])[:, 0].tolist() == [True, False, False]
    unseen = Recording.from_trials(np.full((2, 1, 3), np.nan), individual_ids=["x"], name="c")
    assert varies([first, unseen])[:, 0].tolist() == [False, False]


@pytest.mark.parametrize("offset", [1e8, -3e9])
def test_values_far_from_zero_are_read_as_those_near_zero(offset):
    values = np.random.default_rng(0).normal(size=(30, 4, 6)).round(3)
    settings = PreprocessSettings(transform="none", scale="individual")
    near, far = (PopulationDataset(Recording.from_trials(values + by)) for by in (0, offset))
    read = [Preprocess.fit(part.select(range(20)), settings)(part).recordings[0].values for part in (near, far)]
    np.testing.assert_allclose(read[0], read[1], atol=1e-5)
    one = Recording.from_trials(values[25:26, :, :1] + offset)  # a test trial of one bin
    fitted = Preprocess.fit(far.select(range(20)), settings)
    np.testing.assert_allclose(fitted(PopulationDataset(one)).recordings[0].values, read[0][25:26, :, :1], atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"transform": "sqr"}, "did you mean 'sqrt'"),
        ({"centre": "each"}, "Allowed: individual, none, shared"),
        ({"scale": None}, "preprocess.scale is None"),
    ],
)
def test_a_bad_way_to_prepare_is_refused_at_once(settings, words):
    with pytest.raises(InputError, match=words):
        PreprocessSettings(**settings)


@pytest.mark.parametrize(
    ("values", "words"),
    [(np.zeros((4, 3, 5)), "silent"), (np.full((4, 3, 5), np.nan), "silent"), (-np.ones((4, 3, 5)), "negative")],
)
def test_bad_input_is_one_clear_error(values, words):
    with pytest.raises(InputError, match=words):
        Preprocess.fit(PopulationDataset(Recording.from_trials(values)), PreprocessSettings(transform="sqrt"))


def test_values_that_are_no_rates_are_read_as_they_are_each_in_its_own_unit():
    values = np.random.default_rng(0).normal(size=(6, 3, 5)) * np.array([1.0, 10.0, 100.0])[:, None]
    dataset = PopulationDataset(Recording.from_trials(values))
    prepare = Preprocess.fit(dataset)
    assert (prepare.settings.transform, prepare.settings.scale) == ("none", "individual")
    np.testing.assert_allclose(prepare(dataset).recordings[0].values.std(axis=(0, 2, 3)), 1, rtol=1e-5)
    rates = Preprocess.fit(PopulationDataset(Recording.from_trials(np.abs(values))))
    assert (rates.settings.transform, rates.settings.scale) == ("sqrt", "shared")
