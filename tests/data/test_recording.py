from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motet.data.recording import Recording
from motet.errors import InputError


def a_recording(n_trials=6, n_individuals=3, n_bins=5, **fields):
    rng = np.random.default_rng(1)
    return Recording.from_trials(rng.poisson(2.0, (n_trials, n_individuals, n_bins)), **fields)


def test_nan_is_not_observed_and_zero_is():
    values = np.ones((2, 3, 4))
    values[0, 1, 2], values[1] = np.nan, 0.0
    recording = Recording.from_trials(values)
    assert not recording.observed[0, 1, 2]
    assert recording.values[0, 1, 2] == 0
    assert recording.observed[1].all()


def test_ragged_trials_are_padded_as_not_observed():
    recording = Recording.from_trials(
        [np.ones((2, 3)), np.ones((2, 5))], targets={"speed": [np.zeros(3), np.zeros(5)], "state": [[1] * 3, [1] * 5]}
    )
    assert recording.trial_lengths.tolist() == [3, 5]
    assert np.isnan(recording.targets["speed"][0, 3:]).all()
    assert recording.target_levels == {"speed": "bin", "state": "bin"}


@given(length=st.integers(1, 5), stride=st.integers(1, 3))
def test_windows_hold_the_bins_of_their_trial(length, stride):
    recording = a_recording(targets={"clock": np.tile(np.arange(5.0), (6, 1))})
    windows = recording.windows(length, stride=stride)
    starts = range(0, 5 - length + 1, stride)
    assert windows.n_trials == 6 * len(starts)
    for window, (start, trial) in enumerate((s, t) for s in starts for t in range(6)):
        assert windows.trial_ids[window] == trial
        np.testing.assert_array_equal(windows.values[window], recording.values[trial, :, start : start + length])
        np.testing.assert_array_equal(windows.targets["clock"][window], np.arange(start, start + length))
        assert windows.trial_start_seconds[window] == recording.trial_start_seconds[trial] + start


def test_windows_leave_out_bins_past_the_end_of_a_trial():
    windows = Recording.from_trials([np.ones((2, 3)), np.ones((2, 5))]).windows(3)
    assert windows.trial_ids.tolist() == [0, 1, 1, 1]


def test_selecting_individuals_takes_their_ids_and_targets_along():
    recording = a_recording(targets={"mass": np.arange(18.0).reshape(6, 3)})
    selected = recording.select(individuals=[2, 0], trials=slice(1, 3))
    assert selected.individual_ids == ("array/2", "array/0")
    np.testing.assert_array_equal(selected.targets["mass"], recording.targets["mass"][1:3][:, [2, 0]])


def test_a_target_level_is_read_off_its_shape():
    recording = a_recording(
        targets={"a": np.arange(6), "b": np.zeros((6, 5, 2)), "c": np.zeros((6, 3)), "d": np.zeros((6, 3, 3))}
    )
    assert recording.target_levels == {"a": "trial", "b": "bin", "c": "individual", "d": "pair"}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: a_recording(n_trials=0), "no trials"),
        (lambda: a_recording(n_bins=0), "no time bins"),
        (lambda: a_recording(n_individuals=0), "no individuals"),
        (lambda: Recording.from_trials([]), "no trials"),
        (lambda: Recording.from_trials(np.ones((3, 4))), "axes"),
        (lambda: Recording.from_trials([np.ones((2, 3)), np.ones((4, 3))]), "cannot be stacked"),
        (lambda: Recording.from_trials(np.full((2, 2, 2), np.inf)), "infinite"),
        (lambda: Recording.from_trials([["a", "b"]]), "cannot be stacked"),
        (lambda: a_recording(individual_ids=["a", "b", "a"]), "'a' twice"),
        (lambda: a_recording(individual_ids=["a", "b"]), "3 individuals but 2"),
        (lambda: a_recording(bin_seconds=0.0), "bin_seconds"),
        (lambda: a_recording(targets={"y": np.arange(5)}), "per trial"),
        (lambda: a_recording(n_bins=3, targets={"y": np.zeros((6, 3))}), "target_levels"),
        (lambda: a_recording(targets={"y": np.zeros((6, 5))}, target_levels={"y": "individual"}), "per individual"),
        (lambda: a_recording(targets={"y": np.zeros((6, 2))}), "target_levels"),
        (lambda: a_recording(trial_ids=np.arange(5)), "trial_ids"),
        (lambda: a_recording().windows(6), "do not fit"),
        (lambda: a_recording(targets={"velocity": np.arange(6)}).target("velocty"), "did you mean 'velocity'"),
    ],
)
def test_bad_input_is_one_clear_error(make, words):
    with pytest.raises(InputError, match=words):
        make()


def test_values_that_are_not_finite_are_refused_where_observed():
    recording = a_recording()
    values = recording.values.copy()
    values[0, 0, 0] = np.nan
    with pytest.raises(InputError, match="infinite or NaN"):
        Recording(values, recording.observed, recording.individual_ids, {})
