from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
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


def plain_windows(recording, length, stride, last_start):
    """Values, targets, trials and starts of the windows, one after another."""
    cut = []
    for start in range(0, min(last_start, recording.n_bins - length) + 1, stride):
        bins = slice(start, start + length)
        for trial in range(recording.n_trials):
            if all(recording.observed[trial, :, bin].any() for bin in range(start, start + length)):
                targets = {
                    name: target[trial, bins] if recording.target_levels[name] == "bin" else target[trial]
                    for name, target in recording.targets.items()
                }
                begin = recording.trial_start_seconds[trial] + start * recording.bin_seconds
                values, observed = recording.values[trial, :, bins], recording.observed[trial, :, bins]
                cut.append((values, observed, recording.trial_ids[trial], begin, targets))
    return cut


@given(
    n_bins=st.integers(1, 7),
    length=st.integers(1, 7),
    stride=st.integers(1, 4),
    last_start=st.integers(0, 7),
    n_features=st.integers(1, 2),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=80, deadline=None)
def test_windows_are_those_of_a_plain_loop(n_bins, length, stride, last_start, n_features, seed):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(5, 3, n_bins, n_features))
    values[rng.random((5, 3, n_bins)) < 0.4] = np.nan
    levels = {"a": "trial", "b": "bin", "c": "bin", "d": "individual", "e": "pair"}
    targets = {
        "a": np.array(list("vwxyz")),
        "b": rng.integers(0, 9, (5, n_bins)),
        "c": rng.normal(size=(5, n_bins, 2)),
        "d": rng.normal(size=(5, 3)),
        "e": rng.random((5, 3, 3)) > 0.5,
    }
    fields = {"trial_ids": rng.integers(0, 3, 5), "trial_start_seconds": rng.normal(size=5), "bin_seconds": 0.1}
    recording = Recording.from_trials(values, targets=targets, target_levels=levels, **fields)
    expected = plain_windows(recording, length, stride, last_start)
    if not expected:
        with pytest.raises(InputError, match="do not fit|observed bins in a row"):
            recording.windows(length, stride=stride, last_start=last_start)
        return
    windows = recording.windows(length, stride=stride, last_start=last_start)
    assert windows.target_levels == levels
    found = (windows.values, windows.observed, windows.trial_ids, windows.trial_start_seconds)
    for array, wanted in zip(found, list(zip(*expected, strict=True))[:4], strict=True):
        np.testing.assert_array_equal(array, np.stack(wanted))
        assert array.flags.c_contiguous
    for name, target in windows.targets.items():
        np.testing.assert_array_equal(target, np.stack([row[4][name] for row in expected]))
        assert target.dtype == targets[name].dtype


def test_a_long_recording_is_cut_into_windows_without_one_recording_per_start(monkeypatch):
    recording = a_recording(n_trials=1, n_bins=2000)
    made = []
    check = Recording.__post_init__
    monkeypatch.setattr(Recording, "__post_init__", lambda self: (made.append(1), check(self))[1])
    assert recording.windows(4).n_trials == 1997
    assert len(made) == 1


def test_windows_leave_out_bins_past_the_end_of_a_trial():
    windows = Recording.from_trials([np.ones((2, 3)), np.ones((2, 5))]).windows(3)
    assert windows.trial_ids.tolist() == [0, 1, 1, 1]


def test_selecting_individuals_takes_their_ids_and_targets_along():
    mass = np.arange(18.0).reshape(6, 3)
    recording = a_recording(targets={"mass": mass}, target_levels={"mass": "individual"})
    selected = recording.select(individuals=[2, 0], trials=slice(1, 3))
    assert selected.individual_ids == ("array/2", "array/0")
    np.testing.assert_array_equal(selected.targets["mass"], recording.targets["mass"][1:3][:, [2, 0]])


def test_a_target_level_is_read_off_its_shape():
    recording = a_recording(
        n_individuals=4,
        targets={
            "a": np.arange(6),
            "b": np.zeros((6, 5, 2)),
            "c": np.zeros((6, 4)),
            "d": np.zeros((6, 4, 4)),
            "e": np.zeros((6, 5)),
        },
    )
    assert recording.target_levels == {"a": "trial", "b": "bin", "c": "individual", "d": "pair", "e": "bin"}


@pytest.mark.parametrize("n_bins", [1, 2, 3])
@pytest.mark.parametrize("level", ["trial", "bin"])
def test_floats_that_may_be_coordinates_or_bins_need_their_level_named(n_bins, level):
    fields = {"n_individuals": 7, "n_bins": n_bins, "targets": {"place": np.zeros((6, n_bins))}}
    with pytest.raises(InputError, match="per bin or per trial; say which with target_levels"):
        a_recording(**fields)
    assert a_recording(**fields, target_levels={"place": level}).target_levels == {"place": level}
    classes = {**fields, "targets": {"state": np.zeros((6, n_bins), dtype=int)}}
    assert a_recording(**classes).target_levels == {"state": "bin"}


def test_ids_and_starts_of_trials_are_arrays_whatever_they_were_given_as():
    recording = a_recording(trial_ids=list(range(6)), trial_start_seconds=[0, 1, 2, 3, 4, 5])
    assert recording.trial_ids.dtype == np.int64
    assert recording.trial_start_seconds.dtype == np.float64
    assert recording.select(trials=[-1, 0]).trial_ids.tolist() == [5, 0]


@pytest.mark.parametrize(
    ("given_ids", "kept"),
    [
        (["3.0", "ctrl", "07", "1", "1", "2"], ["3.0", "ctrl", "07", "1", "1", "2"]),
        (["5", "4", "3", "-2", "1", "0"], [5, 4, 3, -2, 1, 0]),
        (np.array([b"a", b"b", b"c", b"d", b"e", b"f"]), list("abcdef")),
        (np.arange(6, dtype=">u2"), list(range(6))),
        ([*range(5), "x"], ["0", "1", "2", "3", "4", "x"]),
    ],
)
def test_names_of_trials_are_kept(given_ids, kept):
    recording = a_recording(trial_ids=given_ids)
    assert recording.trial_ids.tolist() == kept
    assert recording.windows(2).select(trials=slice(0, 6)).trial_ids.tolist() == kept


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
        (lambda: Recording.from_trials([["a", "b"]]), "text such as .*'a'"),
        (lambda: a_recording(individual_ids=["a", "b", "a"]), "'a' twice"),
        (lambda: a_recording(individual_ids=["a", "b"]), "3 individuals but 2"),
        (lambda: a_recording(bin_seconds=0.0), "bin_seconds"),
        (lambda: a_recording(targets={"y": np.arange(5)}), "per trial"),
        (lambda: a_recording(n_bins=3, targets={"y": np.zeros((6, 3))}), "target_levels"),
        (lambda: a_recording(targets={"y": np.zeros((6, 5))}, target_levels={"y": "individual"}), "per individual"),
        (lambda: a_recording(targets={"y": np.zeros((6, 2))}), "target_levels"),
        (lambda: a_recording(targets={"y": np.full((6, 5), np.inf)}), "infinite in places"),
        (lambda: a_recording(n_bins=7, targets={"y": np.zeros((6, 3))}), "per individual or per trial"),
        (lambda: a_recording(trial_ids=np.arange(5)), "trial_ids"),
        (lambda: a_recording(trial_ids=["a", "b", "c", "d", "e", None]), "a name is missing"),
        (lambda: a_recording(trial_start_seconds=list("012345")), "text such as .* numbers are wanted"),
        (lambda: a_recording(trial_start_seconds=[0, 1, 2, 3, 4, np.nan]), "one finite number per trial"),
        (lambda: a_recording().select(trials=[True] * 5), "recording 'array'.*there are 6: .* mask of that many"),
        (lambda: a_recording().select(trials=[0, 6]), "0 to 6; there are 6: give positions from 0 to 5"),
        (lambda: a_recording().select(trials=[-7]), "positions from 0 to 5"),
        (lambda: a_recording().select(trials=[0.0]), "positions from 0 to 5"),
        (lambda: a_recording().select(trials=0), "positions from 0 to 5"),
        (lambda: a_recording().select(individuals=[]), "nothing is selected of the individuals.*there are 3"),
        (lambda: a_recording().select(individuals=np.zeros(3, dtype=bool)), "nothing is selected"),
        (lambda: a_recording().select(individuals=[3]), "individuals of recording 'array'"),
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
