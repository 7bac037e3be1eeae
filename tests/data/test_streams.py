"""Spikes, signals and behaviour of one clock become trials or windows, or one refusal."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from motet.data.binning import count_in_trials, count_spikes
from motet.data.cut import average_rows, cut_windows, per_bin
from motet.data.dataset import PopulationDataset
from motet.data.recording import Recording
from motet.errors import InputError
from motet.given import is_known

RNG = np.random.default_rng(0)
UNITS = [np.sort(RNG.uniform(0, 100, n)) for n in (900, 0, 300)]
STARTS = np.arange(1.0, 96.0, 2.5)
SECONDS = np.arange(0, 100, 0.02)


def test_counts_in_trials_are_those_of_each_trial_alone() -> None:
    overlapping, side_by_side = np.append(RNG.uniform(-1, 101, 60), [5.0, 5.0, 5.1]), np.arange(50) * 0.8 + 0.3
    for starts in (overlapping, side_by_side):
        edges = starts[:, None] + np.arange(9) * 0.1
        units = [np.append(times, edges[3]) for times in UNITS]  # in no order, some of them on edges
        found = count_in_trials(units, edges)
        assert found.dtype == np.float32
        assert np.array_equal(found.swapaxes(0, 1), count_spikes(units, edges))


def test_spikes_around_trials_are_a_recording() -> None:
    recording = Recording.from_spikes(
        dict(zip("abc", UNITS, strict=True)),
        STARTS,
        window=(-0.5, 1.5),
        targets={"side": np.arange(len(STARTS)) % 2},
        behaviour={"speed": (SECONDS, np.sin(SECONDS)), "hand": (SECONDS, np.ones((len(SECONDS), 2)))},
        name="rat",
        subject="r1",
    )
    assert recording.values.shape == (len(STARTS), 3, 20, 1)
    assert recording.individual_ids == ("rat/a", "rat/b", "rat/c")
    assert recording.observed.all(), "a unit without spikes is silent, and observed"
    assert recording.target_levels == {"side": "trial", "speed": "bin", "hand": "bin"}
    assert np.allclose(recording.trial_start_seconds, STARTS - 0.5)
    middle = recording.trial_start_seconds[:, None] + (np.arange(20) + 0.5) * 0.1
    assert np.allclose(recording.targets["speed"], np.sin(middle), atol=0.02)
    spikes = UNITS[0][(UNITS[0] >= STARTS[3] - 0.5) & (UNITS[0] < STARTS[3] + 1.5)]
    assert recording.values[3, 0].sum() == len(spikes)


def test_the_order_of_trials_is_free_and_stays() -> None:
    order = RNG.permutation(len(STARTS))
    one, other = (Recording.from_spikes(UNITS, starts, window=(0, 1)) for starts in (STARTS, STARTS[order]))
    assert np.array_equal(one.values[order], other.values)


def test_trials_with_ends_last_until_then() -> None:
    lasting = np.where(np.arange(len(STARTS)) % 2, 1.0, 0.72)
    recording = Recording.from_spikes(UNITS, np.stack([STARTS, STARTS + lasting], axis=1))
    assert recording.trial_lengths.tolist() == np.where(np.arange(len(STARTS)) % 2, 10, 7).tolist()
    assert not recording.values[:, :, 7:][~recording.observed[:, :, 7:]].any()


def test_bins_in_which_a_unit_could_not_be_seen_are_not_observed() -> None:
    seen = [[[0, 50], [50, 100]], [[0, 10.25], [30, 100]], np.zeros((0, 2))]
    recording = Recording.from_spikes(UNITS, STARTS, window=(0, 1), seen=seen)
    begin = recording.trial_start_seconds[:, None] + np.arange(10) * 0.1
    wanted = (begin + 0.1 <= 10.25 + 1e-9) | (begin >= 30 - 1e-9)
    assert np.array_equal(recording.observed[:, 1], wanted)
    assert not recording.observed[:, 2].any()
    split = np.floor(begin * 10 + 1e-6) == 500
    assert np.array_equal(recording.observed[:, 0], np.ones_like(split))


def test_what_is_continuous_becomes_windows_that_are_split_in_time_with_a_gap() -> None:
    recording = Recording.from_continuous(UNITS, behaviour={"speed": (SECONDS, np.sin(SECONDS))}, window=1.0)
    assert recording.n_bins == 10
    assert (np.asarray(recording.trial_ids) == 0).all()
    train, test = PopulationDataset(recording).split(by="time")
    last = max(train.recordings[0].trial_start_seconds) + 1.0
    assert min(test.recordings[0].trial_start_seconds) - last >= 1.0 - 1e-9
    with pytest.raises(InputError, match="by='time'"):
        PopulationDataset(recording).split(by="trial")


@pytest.mark.parametrize("form", ["bins", "samples"])
def test_signals_become_windows(form: str) -> None:
    signal = RNG.normal(size=(3, 400))
    signal[1, 7] = np.nan
    if form == "bins":
        recording = Recording.from_continuous(signal, behaviour={"place": np.arange(400.0)}, window=0.5)
        whole = signal
    else:
        times = 5 + (np.arange(400) + 0.5) * 0.05
        recording = Recording.from_continuous(
            signal, times=times, behaviour={"place": (times, np.arange(400.0))}, window=0.5, within=(5, 25)
        )
        whole = np.nanmean(signal.reshape(3, 200, 2), axis=2)
        assert recording.trial_start_seconds[0] == 5
    joined = np.where(recording.observed, recording.values[..., 0], np.nan).swapaxes(0, 1).reshape(3, -1)
    assert np.allclose(joined, whole, equal_nan=True, atol=1e-6)
    place = recording.targets["place"].ravel()
    assert np.allclose(np.diff(place), 1 if form == "bins" else 2)


def test_signals_around_trials_are_a_recording() -> None:
    seconds = np.arange(0, 80, 1 / 30)
    signals = np.stack([seconds, -seconds])
    side = np.arange(len(STARTS)) % 2
    recording = Recording.from_signals(
        signals, STARTS, times=seconds, window=(-0.5, 0.5), targets={"side": side}, trial_ids=np.arange(38) + 100
    )
    n_seen = (STARTS - 0.5 < 80).sum()
    assert recording.values.shape == (n_seen, 2, 10, 1), "trials that were not recorded are left out"
    assert np.array_equal(recording.targets["side"], side[:n_seen])
    assert np.array_equal(recording.trial_ids, np.arange(n_seen) + 100)
    middle = recording.trial_start_seconds[:, None] + (np.arange(10) + 0.5) * 0.1
    is_seen = recording.observed[:, 0]
    assert np.allclose(recording.values[:, 0, :, 0][is_seen], middle[is_seen], atol=0.02)
    with pytest.raises(InputError, match="give times="):
        Recording.from_signals(signals, STARTS)


def test_windows_in_which_nothing_was_seen_are_left_out() -> None:
    times = np.append(np.arange(0, 10, 0.1), np.arange(20, 30, 0.1))
    recording = Recording.from_continuous(np.ones((2, 200)), times=times + 0.05, window=1.0)
    assert recording.n_trials == 20
    assert recording.observed.all()


def test_behaviour_is_resampled_as_it_is_said() -> None:
    cut = cut_windows(np.array([[0.0, 1.0]]), 1.0, 0.1)
    slow = np.array([0.0, 0.25, 0.5, 0.75])
    assert np.allclose(per_bin(slow, 2 * slow, cut)[0, 1:7], [0.3, 0.5, 0.7, 0.9, 1.0, 1.3])
    assert np.isnan(per_bin(slow, slow, cut)[0, 8:]).all(), "nothing is known after the last sample"
    gap = np.append(np.arange(0, 0.2, 0.01), np.arange(0.8, 1.0, 0.01))
    assert np.isnan(per_bin(gap, gap, cut)[0]).tolist() == [False] * 2 + [True] * 6 + [False] * 2
    lost = np.where(np.abs(SECONDS - 0.45) < 0.03, np.nan, SECONDS)
    assert np.isfinite(per_bin(SECONDS, lost, cut)).all(), "a few samples that are NaN are not there"
    state = per_bin(np.array([0.12, 0.52]), np.array(["run", "rest"]), cut)[0]
    assert state.tolist() == ["", *["run"] * 4, *["rest"] * 4, ""] or state.tolist() == [
        "",
        *["run"] * 4,
        *["rest"] * 5,
    ]
    moving = per_bin(np.array([0.3, 0.6]), np.array([True, False]), cut)
    assert moving.dtype == np.int64
    assert is_known(moving)[0].tolist() == [False] * 3 + [True] * 7 or not is_known(moving)[0, :3].any()


def test_averages_of_rows_read_in_parts_are_those_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("motet.data.cut._BYTES_AT_ONCE", 8 * 2 * 7)
    rows = RNG.normal(size=(300, 2))
    rows[17] = np.nan
    before = np.sort(RNG.integers(0, 300, (9, 6)), axis=1)
    read: list[int] = []

    def some(begin: int, end: int) -> Any:
        read.append(end - begin)
        return rows[begin:end]

    found = average_rows(some, before, 2)
    for trial, bounds in enumerate(before):
        for place, (low, high) in enumerate(itertools.pairwise(bounds)):
            wanted = np.nanmean(rows[low:high], axis=0) if high > low else [np.nan] * 2
            assert np.allclose(found[trial, place], wanted, equal_nan=True)
    assert len(read) > 9


def times(scale: float = 1.0, shift: float = 0.0) -> Any:
    return [one * scale + shift for one in UNITS]


SPEED = np.sin(SECONDS)
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "spikes in milliseconds": ({"spike_times": times(1000)}, "fire once in .* s, .*milliseconds or samples"),
    "all in milliseconds": ({"spike_times": times(1000), "trial_starts": STARTS * 1000}, "fire once in .* s, .*divide"),
    "few spikes in milliseconds": ({"spike_times": [UNITS[0][::50] * 1000]}, "one lasts .* times.*milliseconds"),
    "spikes in samples": ({"spike_times": [np.rint(t * 30000) for t in UNITS]}, "whole numbers.*divide samples by"),
    "trials in milliseconds": ({"trial_starts": STARTS * 1000}, "one lasts 926 times"),
    "another clock": ({"spike_times": times(shift=5000)}, "never meet"),
    "half of the trials elsewhere": ({"trial_starts": STARTS + 60}, "only 16 of 38 trials are where"),
    "a clock that is late": ({"spike_times": times(shift=20)}, "of 38 trials, such as the one from .* far from all"),
    "one flat list": ({"spike_times": UNITS[0]}, "one flat list"),
    "NaN among spikes": ({"spike_times": [[0.1, np.nan]]}, "unit 0 are nested, NaN"),
    "trials that overlap": ({"window": (0, 3.0)}, "37 of 38 trials overlap the one before, as trial 1 does by 0.5 s"),
    "two trials at once": ({"trial_starts": [5.0, 5.0, 9.0]}, "1 of 3 trials overlap"),
    "NaN among trials": ({"trial_starts": [5.0, np.nan]}, "NaN or infinite"),
    "ends before starts": ({"trial_starts": [[5.0, 4.0]]}, "number 0 goes from 5 to 4"),
    "trials of three numbers": ({"trial_starts": np.ones((4, 3))}, r"\(trial, 2\)"),
    "no bin": ({"window": (0, 0.05)}, "less than one bin"),
    "a window backwards": ({"window": (1.0, 0.0)}, "the later one last"),
    "a bin of nothing": ({"bin_seconds": 0}, "bin_seconds is 0"),
    "behaviour of another clock": ({"behaviour": {"v": (SECONDS + 5000, SPEED)}}, "'v' go from 5000.*never meet"),
    "behaviour in milliseconds": ({"behaviour": {"v": (SECONDS * 1000, SPEED)}}, "milliseconds or samples"),
    "behaviour without end": ({"behaviour": {"v": (SECONDS, np.full_like(SPEED, np.inf))}}, "'v' is infinite"),
    "behaviour in no order": ({"behaviour": {"v": (SECONDS[::-1], SPEED)}}, "times of behaviour 'v' do not increase"),
    "behaviour without times": ({"behaviour": {"v": [SPEED]}}, r"give a pair \(times, samples\)"),
    "behaviour of other length": ({"behaviour": {"v": (SECONDS[1:], SPEED)}}, "give as many of both"),
    "behaviour is no mapping": ({"behaviour": [SPEED]}, "behaviour is a list"),
    "a name twice": ({"behaviour": {"v": (SECONDS, SPEED)}, "targets": {"v": np.ones(38)}}, "both a target and"),
    "seen of other units": ({"seen": [[[0, 1]]]}, "intervals of 1 units, but there are 3"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_one_refusal(case: str) -> None:
    changed, said = REFUSED[case]
    with pytest.raises(InputError, match=said):
        Recording.from_spikes(**{"spike_times": UNITS, "trial_starts": STARTS, "window": (0, 1), **changed})


@pytest.mark.parametrize(
    ("values", "options", "said"),
    [
        (UNITS, {"behaviour": {"v": (SECONDS + 5000, SPEED)}}, "never meet"),
        (UNITS, {"behaviour": {"v": (SECONDS * 1000, SPEED)}}, "milliseconds or samples"),
        (UNITS, {"window": 500.0}, "less than a window of 5000 bins"),
        (UNITS, {"window": 0.25}, "whole number of bins"),
        (UNITS, {"within": [5.0, 6.0, 7.0]}, "starts without ends"),
        ([[], []], {}, "there are no spike times"),
        (np.ones(4), {}, r"shape \(4,\)"),
        (np.ones((2, 40)), {"times": np.ones(3)}, "one for each sample"),
        (np.ones((2, 40)), {"within": (0, 40)}, "beyond the 40 bins"),
        (np.full((2, 40), np.inf), {}, "infinite"),
        (np.ones((2, 40)), {"times": np.arange(40) * 33.3}, "33.3 s apart .* milliseconds .* bins of 33.3 s"),
        (np.ones((2, 40)), {"seen": [[0, 1]]}, "seen belongs to spikes"),
        (np.full((2, 40), np.nan), {}, "no sample is in any trial or window"),
    ],
)
def test_what_cannot_be_continuous_is_one_refusal(values: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Recording.from_continuous(values, **options)


def test_trials_that_overlap_may_if_no_split_can_part_them() -> None:
    recording = Recording.from_spikes(UNITS, STARTS, window=(0, 3.0), trial_ids=np.zeros(len(STARTS), int))
    assert recording.n_bins == 30


def test_objects_of_pynapple_go_in_and_come_out() -> None:
    nap = pytest.importorskip("pynapple")
    group = nap.TsGroup({number: nap.Ts(unit) for number, unit in zip((3, 7), (UNITS[0], UNITS[2]), strict=True)})
    trials = nap.IntervalSet(STARTS, STARTS + 1.0, metadata={"side": np.where(np.arange(len(STARTS)) % 2, "l", "r")})
    speed = nap.TsdFrame(t=SECONDS, d=np.stack([SPEED, -SPEED], 1))
    recording = Recording.from_spikes(group, trials, behaviour={"speed": speed})
    arrays = {3: UNITS[0], 7: UNITS[2]}
    plain = Recording.from_spikes(arrays, STARTS, window=(0, 1), behaviour={"speed": (SECONDS, speed.d)})
    assert np.array_equal(recording.values, plain.values)
    assert recording.individual_ids == ("spikes/3", "spikes/7")
    assert np.array_equal(recording.targets["speed"], plain.targets["speed"])
    assert recording.targets["side"].tolist()[:2] == ["r", "l"]
    out = recording.to_pynapple()
    assert list(out.values.columns) == list(recording.individual_ids)
    assert out.trials["side"].tolist() == recording.targets["side"].tolist()
    assert np.allclose(out.values.d.reshape(len(STARTS), 10, 2), recording.values[..., 0].swapaxes(1, 2))
    assert np.allclose(out.targets["speed"].d.reshape(len(STARTS), 10, 2), recording.targets["speed"])
    # Its own counts, averaged over trials, are the same.
    counted = group.count(0.1, trials)
    assert np.array_equal(counted.d, out.values.d)

    windows = Recording.from_continuous(group, behaviour={"speed": speed}, window=1.0)
    adjoining = windows.to_pynapple()
    again = Recording.from_continuous(adjoining.values, window=1.0, within=adjoining.trials)
    assert np.array_equal(again.values, windows.values)
    overlapping = windows.windows(5, stride=2)
    with pytest.raises(InputError, match="overlap by 0.3 s"):
        overlapping.to_pynapple()


def test_pynapple_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pynapple", None)
    with pytest.raises(InputError, match=r"motet\[pynapple\]"):
        Recording.from_spikes(UNITS, STARTS).to_pynapple()
