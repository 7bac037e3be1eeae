from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motet.data.dataset import PopulationDataset
from motet.data.recording import Recording
from motet.data.windows import Windows


def ragged(lengths, n_individuals=2, name="a"):
    """Trials whose values and targets say which trial and bin they are of."""
    values = [np.stack([1000 * trial + np.arange(n)] * n_individuals) for trial, n in enumerate(lengths)]
    return Recording.from_trials(
        values,
        targets={"bin": [v[0] for v in values], "trial": np.arange(len(lengths))},
        target_levels={"bin": "bin", "trial": "trial"},
        trial_ids=np.arange(len(lengths)) + 7,
        name=name,
    )


@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=5),
    others=st.lists(st.integers(1, 60), min_size=1, max_size=3),
    n_bins=st.integers(8, 40),
)
@settings(max_examples=60, deadline=None)
def test_what_is_cut_and_joined_is_as_it_was(lengths, others, n_bins):
    dataset = PopulationDataset([ragged(lengths), ragged(others, n_individuals=3, name="b")])
    windows = Windows.cut(dataset, n_bins)
    assert max(recording.trial_lengths.max() for recording in windows.dataset.recordings) <= n_bins
    batch, whole = windows.dataset.batch(), dataset.batch()
    read = np.where(batch.bin_is_observed, batch.values[:, 0, :, 0], np.nan).astype(np.float64)
    expected = np.where(whole.bin_is_observed, whole.values[:, 0, :, 0], np.nan)
    np.testing.assert_array_equal(windows.join(read), expected)
    np.testing.assert_array_equal(windows.join(read[:, None], axis=2), expected[:, None])
    assert windows.n_bins == dataset.n_bins == expected.shape[1]
    by_trial = batch.targets["trial"].numpy().astype(np.float64)
    np.testing.assert_array_equal(windows.join(by_trial, axis=None), whole.targets["trial"].numpy())


def test_every_bin_but_those_at_the_ends_of_a_trial_is_read_from_within_a_window():
    windows = Windows.cut(PopulationDataset(ragged([100])), 16)
    lengths = windows.dataset.recordings[0].trial_lengths
    place = np.where(
        np.arange(16) < lengths[:, None], np.minimum(np.arange(16), lengths[:, None] - 1 - np.arange(16)), 0
    )
    from_edge = windows.join(place.astype(float))[0]
    assert from_edge[2:-2].min() == 2
    assert from_edge[:2].tolist() == from_edge[:-3:-1].tolist() == [0, 1]


def test_where_windows_begin_does_not_depend_on_what_follows():
    short, long = (Windows.cut(PopulationDataset(ragged([n])), 16).start for n in (60, 200))
    np.testing.assert_array_equal(long[: len(short)], short)


def test_windows_keep_the_names_targets_and_times_of_their_trials():
    recording = Windows.cut(PopulationDataset(ragged([5, 40])), 16).dataset.recordings[0]
    assert recording.trial_ids.tolist() == [7, 8, 8, 8]
    assert recording.trial_start_seconds.tolist() == [0, 40, 52, 64]
    assert recording.targets["trial"].tolist() == [0, 1, 1, 1]
    assert recording.targets["bin"][2].tolist() == list(range(1012, 1028))
    assert recording.trial_lengths.tolist() == [5, 16, 16, 16]


def test_trials_that_are_short_enough_are_not_copied():
    dataset = PopulationDataset(ragged([5, 9]))
    for n_bins in (9, None):
        windows, read = Windows.cut(dataset, n_bins), np.ones((2, 9))
        assert windows.dataset is dataset
        assert windows.join(read) is read


def test_predictions_for_a_trial_are_averaged_over_the_windows_that_have_any():
    windows = Windows.cut(PopulationDataset(ragged([40, 5])), 16)
    joined = windows.join(np.array([[1.0], [np.nan], [3.0], [np.nan]]), axis=None)
    np.testing.assert_array_equal(joined, [[2.0], [np.nan]])


@pytest.mark.parametrize("start", [-3, 0, 4])
def test_a_stretch_that_reaches_beyond_its_trial_is_not_observed_there(start):
    part = ragged([6]).stretches(np.array([0]), np.array([start]), 5)
    inside = (np.arange(5) + start >= 0) & (np.arange(5) + start < 6)
    np.testing.assert_array_equal(part.observed[0, 0], inside)
    np.testing.assert_array_equal(part.values[0, 0, inside, 0], (np.arange(5) + start)[inside])
    assert not part.values[0, 0, ~inside].any()
