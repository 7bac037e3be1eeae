from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motet.data.recording import Recording
from motet.errors import InputError
from motet.given import UNKNOWN_INTEGER

pandas = pytest.importorskip("pandas")
xarray = pytest.importorskip("xarray")


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


VALUES = np.random.default_rng(3).poisson(3.0, (4, 3, 5)).astype(float)


@pytest.mark.parametrize(
    "container",
    [
        *[VALUES.astype(dtype) for dtype in ("i1", ">u2", "f2", ">f4", ">f8", "g", "O")],
        VALUES.tolist(),
        list(VALUES.astype(">f4")),
        {f"trial {number}": trial for number, trial in enumerate(VALUES)},
        pandas.Series(list(VALUES), index=[9, 8, 7, 6]),
        (trial for trial in VALUES),
        [pandas.DataFrame(trial) for trial in VALUES],
        [pandas.DataFrame(trial.T, index=pandas.Index(range(5), name="time")) for trial in VALUES],
        np.ma.masked_array(VALUES),
        xarray.DataArray(VALUES.transpose(2, 0, 1), dims=("time", "trial", "individual")),
        xarray.DataArray(VALUES[None].transpose(2, 0, 1, 3), dims=("individual", "feature", "trial", "time")),
        [xarray.DataArray(trial.T, dims=("time", "individual")) for trial in VALUES],
        xarray.DataArray(VALUES),
    ],
)
def test_values_come_in_any_type_order_and_container(container):
    recording = Recording.from_trials(container)
    np.testing.assert_array_equal(recording.values[..., 0], VALUES)
    assert recording.values.dtype == np.float32


def test_masked_and_missing_values_are_not_observed():
    masked = np.ma.masked_greater(VALUES, 4)
    objects = np.where(VALUES > 4, None, VALUES)
    ragged = [np.ma.masked_greater(trial, 4) for trial in VALUES]
    for container in (masked, objects, ragged, masked.tolist(), masked.astype(">i2")):
        recording = Recording.from_trials(container)
        np.testing.assert_array_equal(recording.observed, VALUES <= 4)
        np.testing.assert_array_equal(recording.values[..., 0], np.where(VALUES <= 4, VALUES, 0))


def test_names_that_come_with_an_array_are_kept():
    cube = xarray.DataArray(
        VALUES, dims=("trial", "individual", "time"), coords={"individual": list("xyz"), "trial": [4, 2, 9, 7]}
    )
    recording = Recording.from_trials(cube)
    assert recording.individual_ids == ("x", "y", "z")
    assert recording.trial_ids.tolist() == [4, 2, 9, 7]
    assert Recording.from_trials(cube, individual_ids=list("abc")).individual_ids == ("a", "b", "c")


def test_targets_with_named_axes_say_their_level():
    square = np.arange(9.0).reshape(3, 3)
    fields = {"n_trials": 3, "n_individuals": 3, "n_bins": 3}
    for dims, level in (
        (("time", "trial"), "bin"),
        (("individual", "trial"), "individual"),
        (("axis", "trial"), "trial"),
    ):
        recording = a_recording(**fields, targets={"y": xarray.DataArray(square, dims=dims)})
        assert recording.target_levels == {"y": level}
        np.testing.assert_array_equal(recording.targets["y"], square.T)
    for dims in (("time", "individual"), ("time", "feature")):
        with pytest.raises(InputError, match="give trial, then time or individual"):
            a_recording(**fields, targets={"y": xarray.DataArray(square, dims=dims)})


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (["l", "r", None, "l", "r", "l"], ["l", "r", "", "l", "r", "l"]),
        (np.array([b"l", b"r"] * 3), ["l", "r"] * 3),
        (pandas.Series([1, 2, None, 1, 2, 1], dtype="Int16"), [1, 2, UNKNOWN_INTEGER, 1, 2, 1]),
        (np.ma.masked_equal([1, 2, 9, 1, 2, 1], 9), [1, 2, UNKNOWN_INTEGER, 1, 2, 1]),
        ([True, None, False, True, True, True], [1, UNKNOWN_INTEGER, 0, 1, 1, 1]),
        ({f"t{n}": n for n in range(6)}, [0, 1, 2, 3, 4, 5]),
        (np.arange(6, dtype=np.uint64) + np.uint64(2**53), [2**53 + n for n in range(6)]),
    ],
)
def test_targets_of_every_kind_are_kept_as_they_are(target, expected):
    recording = a_recording(targets={"y": target})
    assert recording.targets["y"].tolist() == expected
    assert recording.select(trials=slice(0, 3)).targets["y"].tolist() == expected[:3]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([["a"], ["b", None]], [["a", ""], ["b", ""]]),
        ([[1], [None, 2]], [[1, UNKNOWN_INTEGER], [UNKNOWN_INTEGER, 2]]),
        ([[None], [True, False]], [[UNKNOWN_INTEGER, UNKNOWN_INTEGER], [1, 0]]),
        ([np.ma.masked_equal([9], 9), np.array([1, 2], ">i2")], [[UNKNOWN_INTEGER] * 2, [1, 2]]),
        ([[True], [True, True]], [[True, False], [True, True]]),
    ],
)
def test_labels_per_bin_of_trials_of_different_length_are_unknown_where_missing(rows, expected):
    values = [np.ones((2, 1)), np.ones((2, 2))]
    recording = Recording.from_trials(values, targets={"y": rows}, target_levels={"y": "bin"})
    assert recording.targets["y"].tolist() == expected
    with pytest.raises(InputError, match="text in some trials and numbers in others"):
        Recording.from_trials(values, targets={"y": [["a"], [1, 2]]}, target_levels={"y": "bin"})


@pytest.mark.parametrize(
    ("offset", "scale", "dtype"),
    [(0, 1, np.float32), (1e3, 1, np.float32), (1e8, 1, np.float64), (0, 1e-60, np.float64), (0, 1e60, np.float64)],
)
def test_values_are_float64_only_where_float32_would_blur_how_an_individual_differs(offset, scale, dtype):
    values = np.random.default_rng(0).normal(size=(6, 3, 5)) * 5
    values[:, 1] = (values[:, 1] + offset) * scale  # beside others for which float32 suffices
    recording = Recording.from_trials(values)
    assert recording.values.dtype == dtype
    np.testing.assert_allclose(recording.values[:, 1, :, 0] - offset * scale, values[:, 1] - offset * scale, rtol=1e-2)
    for part in (recording.select(trials=[0]), recording.windows(2)):
        assert part.values.dtype == dtype


def test_trials_that_would_be_padded_beyond_the_memory_are_refused_at_once():
    trials = [np.ones((1, 1))] * 20_000 + [np.ones((1, 10**7), dtype=np.uint8)]
    with pytest.raises(InputError, match="20001 trials, padded to 10000000 bins each, would take .* GiB"):
        Recording.from_trials(trials)


def test_a_single_number_far_from_zero_is_kept():
    assert Recording.from_trials([[[1e8 + 1]]]).values.item() == 1e8 + 1


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
        (lambda: Recording.from_trials(np.ones((2, 3, 4)) + 1j), "values of recording 'array': .*complex128"),
        (lambda: Recording.from_trials(np.ones((2, 3, 4)).astype("m8[s]")), "timedelta64"),
        (lambda: Recording.from_trials("text"), "a str where a list or an array"),
        (lambda: Recording.from_trials(xarray.Dataset({"a": ("x", [1.0])})), "a Dataset where"),
        (lambda: Recording.from_trials(xarray.DataArray(VALUES, dims=("trial", "unit", "time"))), "no individual"),
        (lambda: Recording.from_trials(xarray.DataArray(VALUES[0], dims=("individual", "time"))), "no trial"),
        (lambda: a_recording(bin_seconds="fast"), "bin_seconds: text"),
        (lambda: a_recording(bin_seconds=[1.0]), "bin_seconds is .*give a positive number"),
        (lambda: a_recording(name=None), "name: a name is missing"),
        (lambda: a_recording(individual_ids="abc"), "the one text 'abc'"),
        (lambda: a_recording(targets={"y": np.zeros(6, "M8[D]")}), "target 'y' of recording 'array': .*datetime64"),
        (lambda: a_recording(targets={"y": [0, 1, "a", 0, 1, 0]}), "text beside integer"),
        (lambda: a_recording(targets={"y": [0, 1, 2**64, 0, 1, 0]}), "64 bits"),
        (lambda: a_recording(trial_ids=["a", "b", "c", "d", "e", None]), "a name is missing"),
        (lambda: a_recording(trial_start_seconds=list("012345")), "text such as .* numbers are wanted"),
        (lambda: a_recording(trial_start_seconds=[0, 1, 2, 3, 4, np.nan]), "one finite number per trial"),
        (lambda: a_recording().select(trials=[True] * 5), "recording 'array'.*there are 6: .* mask of that many"),
        (lambda: a_recording().select(trials=[0, 6]), "0 to 6; there are 6: give positions from 0 to 5"),
        (lambda: a_recording().select(trials=[-7]), "positions from 0 to 5"),
        (lambda: a_recording().select(trials=[0.0]), "positions from 0 to 5"),
        (lambda: a_recording().select(trials=np.ma.masked_array([True] * 6, [0, 1] * 3)), "give positions from 0 to 5"),
        (lambda: a_recording().select(trials=["a"]), "an array .1,. of <U1; there are 6"),
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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_are_zero_where_nothing_is_observed(dtype):
    values = np.arange(1, 13, dtype=dtype).reshape(1, 2, 3, 2)
    observed = np.array([[[True, False, True], [False, False, False]]])
    recording = Recording(values, observed, ("a", "b"), {})
    assert recording.values.dtype == dtype
    np.testing.assert_array_equal(recording.values[0, 0], [[1, 2], [0, 0], [5, 6]])
    assert not recording.values[0, 1].any()
    assert values.all()


def test_metadata_are_plain_values_that_stay_with_every_part():
    recording = a_recording(metadata={"law": {"exponent": np.float64(-2)}, "axes": ("x", "y")})
    expected = {"law": {"exponent": -2.0}, "axes": ["x", "y"]}
    assert recording.metadata == expected
    for part in (recording.select(trials=[1, 2], bins=slice(0, 3)), recording.windows(2)):
        assert part.metadata == expected


@pytest.mark.parametrize("metadata", [["law"], {"a": {1: 2}}, {"a": np.nan}, {"a": np.ones(2)}, {"a": b"x"}])
def test_metadata_that_no_text_could_hold_are_refused(metadata):
    with pytest.raises(InputError, match="metadata of recording"):
        a_recording(metadata=metadata)


def test_wide_bins_hold_what_their_bins_hold():
    recording = a_recording(targets={"clock": np.tile(np.arange(5.0), (6, 1)), "phase": np.tile(np.arange(5), (6, 1))})
    recording = dataclasses.replace(recording, observed=recording.observed & (np.arange(5) != 3))
    wide = recording.rebinned(2)
    assert (wide.n_bins, wide.bin_seconds) == (2, 2.0)
    np.testing.assert_array_equal(wide.values[:, :, 0], recording.values[:, :, :2].sum(axis=2))
    assert wide.observed[0, 0].tolist() == [True, False]
    assert not wide.values[:, :, 1].any()
    assert wide.targets["clock"][0].tolist() == [0.5, 2.5]
    assert wide.targets["phase"][0].tolist() == [1, 3]
    with pytest.raises(InputError, match="fewer than n=6"):
        recording.rebinned(6)
