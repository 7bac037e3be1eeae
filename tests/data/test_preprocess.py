from __future__ import annotations

import numpy as np
import pytest

from motet.data.dataset import PopulationDataset
from motet.data.preprocess import Preprocess, PreprocessSettings
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


@pytest.mark.parametrize(
    ("values", "words"),
    [(np.zeros((4, 3, 5)), "silent"), (np.full((4, 3, 5), np.nan), "silent"), (-np.ones((4, 3, 5)), "negative")],
)
def test_bad_input_is_one_clear_error(values, words):
    with pytest.raises(InputError, match=words):
        Preprocess.fit(PopulationDataset(Recording.from_trials(values)))
