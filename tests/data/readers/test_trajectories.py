"""Trajectories of the user's own: one grid of time, pairs, and faults named by line or by sample."""

from __future__ import annotations

import gzip
import importlib.util
import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from motet.data.readers import write_recording
from motet.data.readers.trajectories import from_xarray, read_trajectories
from motet.data.recording import Recording
from motet.errors import InputError
from motet.given import is_known

quick = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def rows(*cells: str, header: str = "individual,time,x") -> str:
    return "\n".join([header, *cells]) + "\n"


def test_a_table_of_ones_own_is_read_by_its_own_names(tmp_path: Path) -> None:
    text = '\ufeffrun, fish_id ,t,,note,X,Y\r\nA,"b,1",0,7,ok,1,2\r\n\r\nA,c,0,8,,3,4\r\nA ,"b,1 ",0.5,9,,5,\r\n'
    columns = {"trial": "run", "individual": "fish_id", "time": "t"}
    path = write(tmp_path / "mine.csv", text)
    recording = read_trajectories(path, columns=columns, features=["X", "Y"], subject="cod")
    assert recording.trial_ids.tolist() == ["A"]
    assert (recording.name, recording.subject, recording.bin_seconds) == ("mine", "cod", 0.5)
    assert recording.individual_ids == ("b,1", "c")
    assert recording.observed.tolist() == [[[True, False], [True, False]]]  # without Y, and without a row
    assert recording.values[0, :, 0].tolist() == [[1, 2], [3, 4]]
    chosen = read_trajectories(path, columns=columns, features=["Y", "X"], name="n")
    assert chosen.values[0, 0, 0].tolist() == [2, 1]
    assert chosen.name == "n"


def test_individuals_differ_between_trials_and_frames_are_missing(tmp_path: Path) -> None:
    text = rows("p,a,0,1", "p,a,1,2", "p,b,3,3", "q,b,10,4", "q,c,11,5", "q,b,12,NA", header="trial,individual,time,x")
    recording = read_trajectories(write(tmp_path / "gaps.csv", text))
    assert recording.individual_ids == ("a", "b", "c")
    assert recording.observed.astype(int).tolist() == [
        [[1, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]],
        [[0, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0]],
    ]
    assert recording.trial_ids.tolist() == ["p", "q"]
    assert recording.trial_start_seconds.tolist() == [0, 10]


def test_trials_that_share_times_follow_one_another(tmp_path: Path) -> None:
    text = rows("1,a,0,1", "1,a,1,2", "2,a,0,3", "2,a,1,4", header="trial,individual,time,x")
    recording = read_trajectories(write(tmp_path / "own_clocks.csv", text))
    assert recording.trial_ids.tolist() == [1, 2]
    assert recording.trial_start_seconds.tolist() == [0, 2]


@pytest.mark.parametrize("rate", [24, 25, 29.97, 30, 50, 60])
def test_stamps_in_whole_milliseconds_are_regular(tmp_path: Path, rate: float) -> None:
    frames = np.delete(np.arange(3000), np.arange(700, 1200))  # with a gap of 500 frames
    text = rows(*(f"a,{time:.3f},{frame}" for time, frame in zip(frames / rate, frames, strict=True)))
    recording = read_trajectories(write(tmp_path / "camera.csv", text))
    assert recording.bin_seconds == pytest.approx(1 / rate, rel=1e-4)
    assert np.array_equal(np.flatnonzero(recording.observed[0, 0]), frames)
    assert np.array_equal(recording.values[0, 0, frames, 0], frames)
    assert read_trajectories(tmp_path / "camera.csv", bin_seconds=1 / rate).bin_seconds == 1 / rate


def test_a_stamp_lies_within_a_tenth_of_a_step(tmp_path: Path) -> None:
    for shift in (0.09, -0.09, 0.11, -0.11):
        lines = rows(*(f"a,{time + shift * (time == 7)},{time}" for time in range(20)))
        path = write(tmp_path / "shaken.csv", lines)
        if abs(shift) < 0.1:
            assert read_trajectories(path).values[0, 0, :, 0].tolist() == list(range(20))
        else:
            with pytest.raises(InputError, match=f"time {7 + shift} s lies {7 + shift} steps of 1 s"):
                read_trajectories(path)


def test_a_given_step_shows_the_frames_that_most_stamps_skip(tmp_path: Path) -> None:
    path = write(tmp_path / "sparse.csv", rows("a,0,1", "a,2,1", "a,4,1", "a,5,1", "a,7,1"))
    with pytest.raises(InputError, match=r"sparse\.csv, line 5: trial '0', individual 'a', time 5 s lies 2\.5 steps"):
        read_trajectories(path)
    assert read_trajectories(path, bin_seconds=1).observed[0, 0].astype(int).tolist() == [1, 0, 1, 0, 1, 1, 0, 1]


def test_irregular_and_unequal_stamps_are_refused_by_name(tmp_path: Path) -> None:
    irregular = rows("a,0,1", "a,0.1,1", "a,0.2,1", "a,0.37,1", "a,0.4,1")
    with pytest.raises(InputError, match=r"individual 'a', time 0\.37 s lies 3\.7 steps of 0\.1 s .* resample_seconds"):
        read_trajectories(write(tmp_path / "irregular.csv", irregular))
    unequal = rows("a,0,1", "b,0.05,1", "a,0.1,1", "b,0.15,1")
    with pytest.raises(InputError, match=r"individual 'b', time 0\.05 s lies 0\.5 steps of 0\.1 s"):
        read_trajectories(write(tmp_path / "unequal.csv", unequal))
    noise = np.sort(np.random.default_rng(0).uniform(0, 10, 300).round(3))  # on a grid of 1 ms, and mostly empty there
    with pytest.raises(InputError, match="whole steps"):
        read_trajectories(write(tmp_path / "noise.csv", rows(*(f"a,{t},1" for t in dict.fromkeys(noise)))))


def test_two_samples_of_one_frame_are_refused(tmp_path: Path) -> None:
    for second in ("0.5", "0.501"):
        path = write(tmp_path / "twice.csv", rows("a,0,1", "a,0.5,1", "b,0.5,1", f"a,{second},2", "a,1,1", "a,1.5,1"))
        with pytest.raises(InputError, match=rf"individual 'a', time {second} s has two samples for one time"):
            read_trajectories(path)
    with pytest.raises(InputError, match="two samples"):
        read_trajectories(write(tmp_path / "twice.csv", rows("a,0,1", "a,0,1")), **RESAMPLED)


RESAMPLED: dict[str, Any] = {"resample_seconds": 0.25, "longest_gap_seconds": 1.0}


@quick
@given(data=st.data(), step=st.sampled_from([0.1, 0.25, 1.0]), longest=st.sampled_from([0.3, 1.0, 9.0]))
def test_resampling_agrees_with_plain_interpolation(tmp_path: Path, data: st.DataObject, step: float, longest: float):
    times = st.lists(st.integers(0, 300), min_size=2, max_size=12, unique=True)
    stamps = {pair: sorted(data.draw(times)) for pair in itertools.product("pq", "ab")}
    lines = [f"{t},{i},{k / 100},{k**2 % 91}" for (t, i), ticks in stamps.items() for k in ticks]
    path = write(tmp_path / "loose.csv", rows(*lines, header="trial,individual,time,x"))
    read = read_trajectories(path, resample_seconds=step, longest_gap_seconds=longest)
    for (trial, individual), ticks in stamps.items():
        at = np.array(ticks) / 100
        start = min(ticks[0] for (t, _), ticks in stamps.items() if t == trial) / 100
        bins = start + np.arange(read.n_bins) * step
        observed = np.zeros(read.n_bins, bool)
        for left, right in itertools.pairwise(at):
            observed |= (right - left <= longest + 1e-9) & (bins >= left - 1e-9) & (bins <= right + 1e-9)
        observed |= np.isclose(bins[:, None], at, rtol=0, atol=1e-9).any(axis=1)
        place = "pq".index(trial), "ab".index(individual)
        assert np.array_equal(read.observed[place], observed)
        expected = np.interp(bins, at, [k**2 % 91 for k in ticks])[observed]
        np.testing.assert_allclose(read.values[place][observed, 0], expected, rtol=1e-5, atol=1e-4)


def test_resampling_leaves_gaps_that_are_too_long_and_passes_over_empty_cells(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", rows("a,0,0", "a,0.3,", "a,0.9,9", "a,2.5,25", "a,2.6,26"))
    recording = read_trajectories(path, **RESAMPLED)
    assert recording.bin_seconds == 0.25
    assert recording.observed[0, 0].astype(int).tolist() == [1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1]
    np.testing.assert_allclose(recording.values[0, 0, [0, 1, 2, 3, 10], 0], [0, 2.5, 5, 7.5, 25], rtol=1e-6)


def test_a_wrong_stamp_does_not_fill_the_memory(tmp_path: Path) -> None:
    path = write(tmp_path / "typo.csv", rows("a,0,0", "a,0.01,1", "a,0.02,1", "a,2e9,2"))
    for options in ({}, RESAMPLED):
        with pytest.raises(InputError, match=r"time 2000000000 s, the last of all, is one of 4 samples"):
            read_trajectories(path, **options)


def test_systems_and_quantities_are_targets(tmp_path: Path) -> None:
    lines = ["1,a,0,1,red,2,", "1,a,1,1,,,", "1,b,0,1,blue,3,-1", "1,c,0,1,,,", "1,d,1,1,red,,"]
    path = write(tmp_path / "groups.csv", rows(*lines, header="trial,individual,time,x,system,mass,charge"))
    recording = read_trajectories(path)
    assert recording.target("system").tolist() == [["red", "blue", "", "red"]]
    assert recording.target("interacts").tolist() == [[[-1, 0, -1, 1], [0, -1, -1, 0], [-1] * 4, [1, 0, -1, -1]]]
    assert recording.target_levels == {
        "system": "individual", "mass": "individual", "charge": "individual", "interacts": "pair",
    }  # fmt: skip
    np.testing.assert_array_equal(recording.target("mass"), np.array([[2, 3, np.nan, np.nan]], np.float32))
    moving = read_trajectories(path, features=["x", "mass"])
    assert moving.values[0, 0, 0].tolist() == [1, 2]
    assert "mass" not in moving.targets
    write(path, path.read_text() + "1,a,2,1,blue,2,\n")
    with pytest.raises(
        InputError, match=r"line [27]: system of individual 'a' in trial '1' is not what other rows say"
    ):
        read_trajectories(path)


@pytest.fixture
def four(tmp_path: Path) -> Path:
    lines = [f"{trial},{one},{time},1" for trial in "pq" for one in "abcd" for time in (0, 1)]
    return write(tmp_path / "four.csv", rows(*lines[:-2], header="trial,individual,time,x"))  # no d in q


def pairs(path: Path, *lines: str, header: str = "individual_a,individual_b,interacts") -> None:
    write(path.with_name("four.pairs.csv"), rows(*lines, header=header))


def test_listed_pairs_hold_for_both_orders_and_the_rest_is_unknown_or_has_no_edge(four: Path) -> None:
    pairs(four, "a,b,1", "c,a,2", "d,c,0")
    first, second = read_trajectories(four).target("interacts")
    assert first.tolist() == [[-1, 1, 2, -1], [1, -1, -1, -1], [2, -1, -1, 0], [-1, -1, 0, -1]]
    assert second.tolist() == [[-1, 1, 2, -1], [1, -1, -1, -1], [2, -1, -1, -1], [-1] * 4]
    first, second = read_trajectories(four, absent_pairs="no edge").target("interacts")
    assert first.tolist() == [[-1, 1, 2, 0], [1, -1, 0, 0], [2, 0, -1, 0], [0, 0, 0, -1]]
    assert second.tolist() == [[-1, 1, 2, -1], [1, -1, 0, -1], [2, 0, -1, -1], [-1] * 4]  # d is not there
    directed = read_trajectories(four, absent_pairs="no edge", pairs_are_directed=True).target("interacts")[0]
    assert directed.tolist() == [[-1, 1, 0, 0], [0, -1, 0, 0], [2, 0, -1, 0], [0, 0, 0, -1]]


def test_pairs_may_differ_between_trials_and_have_a_coupling(four: Path) -> None:
    pairs(four, "p,a,b,1,-2.5", "q,a,b,0,", header="run,one,individual_b,interacts,coupling")
    columns = {"individual_a": "one", "trial": "run"}
    write(four, four.read_text().replace("trial", "run"))
    recording = read_trajectories(four, columns=columns)
    assert recording.target("interacts")[:, 0, 1].tolist() == [1, 0]
    assert recording.target("coupling").dtype == np.float64
    np.testing.assert_array_equal(recording.target("coupling")[:, 1, 0], [-2.5, np.nan])
    assert np.isnan(recording.target("coupling")[:, 0, 0]).all()
    full = read_trajectories(four, columns=columns, absent_pairs="no edge").target("coupling")
    assert full[0, 2, 3] == 0
    assert np.isnan(full[1, 2, 3])


def test_pairs_replace_what_systems_say_and_an_empty_table_lists_none(four: Path) -> None:
    lines = [f"{line},{'s' if place else 'system'}" for place, line in enumerate(four.read_text().splitlines())]
    write(four, "\n".join(lines))
    assert read_trajectories(four).target("interacts")[0, 0].tolist() == [-1, 1, 1, 1]
    pairs(four)
    assert read_trajectories(four, absent_pairs="no edge").target("interacts")[0, 0].tolist() == [-1, 0, 0, 0]
    pairs(four, "a,b,2", header="individual_a,individual_b,coupling")
    recording = read_trajectories(four)
    assert recording.target("interacts")[0, 0].tolist() == [-1, 1, 1, 1]
    assert recording.target("coupling")[0, 1, 0] == 2


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a,b,1", "b,a,0"], r"line [23]: interacts differs between the two orders .* pairs_are_directed=True"),
        (["a,b,1", "c,d,1", "a,b,1"], r"line 4: this is a second row for its pair"),
        (["a,b,1", "c,c,1"], r"line 3: .* an individual with itself"),
        (["a,e,1"], r"unknown individual_b in .*four\.pairs\.csv: 'e'"),
        (["a,b,0.5"], r"line 2: interacts is not a whole number"),
        (["a,b,yes"], r"line 2: column 'interacts' holds 'yes'"),
        (["a,,1"], r"line 2: column 'individual_b' is empty"),
    ],
)
def test_faults_of_pairs_are_named(four: Path, lines: list[str], message: str) -> None:
    pairs(four, *lines)
    with pytest.raises(InputError, match=message):
        read_trajectories(four)


def test_options_about_pairs_need_pairs(four: Path) -> None:
    for options in ({"absent_pairs": "no edge"}, {"pairs_are_directed": True}, {"columns": {"coupling": "k"}}):
        with pytest.raises(InputError, match="no table of pairs beside it"):
            read_trajectories(four, **options)
    with pytest.raises(InputError, match="did you mean 'no edge'"):
        read_trajectories(four, absent_pairs="no_edge")
    pairs(four, "q,a,d,1", header="trial,individual_a,individual_b,interacts")
    with pytest.raises(InputError, match="line 2: one of these individuals has no row in this trial"):
        read_trajectories(four)
    pairs(four, "a,b", header="individual_a,individual_b")
    with pytest.raises(InputError, match="no column 'interacts'"):
        read_trajectories(four)
    write(four.with_name("four.pairs.tsv"), "")
    with pytest.raises(InputError, match="both give the pairs"):
        read_trajectories(four)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("individual,time,x\n", "has 0 rows"),
        (rows("a,0,1", header="indvidual,time,x"), r"no column 'individual'; did you mean 'indvidual'\?"),
        (rows("a;0;1", header="individual;time;x"), r"separated by semicolons \(';'\)"),
        (rows("a;0;1,5", header="individual;time;x,y"), r"separated by semicolons \(';'\)"),
        (rows("a\t0\t1", header="individual\ttime\tx"), "separated by tabs"),
        (rows('a,0,"1,5"'), r"line 2: column 'x' holds '1,5'; give a number with a decimal point"),
        (rows("a,0,1", "a,1e300,1"), r"line 3: .* is no time of a clock"),
        (rows("a,0,1", "a,-1e300,1"), r"line 3: .* is no time of a clock"),
        (rows("a,0,1", "a,-inf,1"), r"line 3: column 'time' is infinite"),
        (rows("a\0,0,1", "a\0,1,1"), "line 2: there is a zero character"),
        (rows("a,0,1,7", "a,1,1,7", header="individual,time,x,"), "column 4 has no name"),
        (rows("a,0,1,7", "a,1,1,b", header="individual,time,x,"), "column 4 has no name"),
        (rows("a,0,1,2", header="individual,individual,time,x"), "two columns for 'individual'"),
        (rows("a,0,1", "a,1,one"), r"line 3: column 'x' holds 'one'"),
        ("individual,time,x\n\na,0,1\n\n\na,1,2\n\na,2,1.2.3\n", r"line 8: column 'x' holds '1\.2\.3'"),
        ('individual,time,x\n"a\nb",0,1\na,1,oh\n', r"line 4: column 'x' holds 'oh'"),
        (rows("a,0,1", "a,1,inf"), r"line 3: column 'x' is infinite"),
        (rows("a,0,1", "a,,1"), r"line 3: column 'time' is empty"),
        (rows("a,0,1", "a,nan,1"), r"line 3: column 'time' is empty"),
        (rows("a,0,1", "a,noon,1"), r"line 3: column 'time' holds 'noon'"),
        (rows("a,0,1", " ,1,1"), r"line 3: column 'individual' is empty"),
        (rows("a,0,1", "a,1"), r"line 3: there are 2 cells under 3 columns"),
        (rows("a,0,1", "b,0,1"), "no individual has a second time"),
        (rows("a,0,red", "a,1,blue"), "line 2: column 'x' holds 'red'"),
        (rows("a,0", "a,1", header="individual,time"), "no column left to be a feature"),
        (rows("a,0,1,", "a,1,,2", header="individual,time,x,y"), "no sample of which all features are known"),
        (rows("a,0,1,2", header="individual,time,x,x"), "two columns for 'x'"),
        (rows('a,0,"1'), "cannot be read as a table"),
        (rows("a,0,0", "a,1,1e300"), r"values\[0, 0, 1, 0\] is 1e\+300"),
    ],
)
def test_faults_of_a_table_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=rf"(?s)bad\.csv.*{message}|{message}.*bad\.csv"):
        read_trajectories(write(tmp_path / "bad.csv", text))


def test_a_fault_beyond_the_first_rows_is_named_by_its_line(tmp_path: Path) -> None:
    lines = [f"a,{time},1" for time in range(5000)]
    lines[4321] = "a,4321,x"
    with pytest.raises(InputError, match="line 4323: column 'x' holds 'x'"):
        read_trajectories(write(tmp_path / "long.csv", rows(*lines)))
    lines[2500] = "a,2500"
    with pytest.raises(InputError, match="line 2502: there are 2 cells"):
        read_trajectories(write(tmp_path / "long.csv", rows(*lines)))


def test_a_constant_feature_is_no_matter_of_precision(tmp_path: Path) -> None:
    path = write(tmp_path / "flat.csv", rows("a,0,0.3", "a,1,0.30000000000000004", "a,2,0.3"))
    np.testing.assert_allclose(read_trajectories(path).values, 0.3, rtol=1e-15)
    path = write(tmp_path / "loose.csv", rows("a,0,0.1", "a,0.7,0.1", "a,1,0.1"))
    np.testing.assert_allclose(read_trajectories(path, **RESAMPLED).values, 0.1, rtol=1e-15)


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.xlsx").touch()
    with pytest.raises(InputError, match=r"unknown ending.*\.csv\.gz"):
        read_trajectories(tmp_path / "mine.xlsx")
    whole = gzip.compress(rows(*(f"a,{t},1" for t in range(99))).encode())
    (tmp_path / "cut.csv.gz").write_bytes(whole[:60])
    (tmp_path / "latin.csv").write_bytes("individual,time,größe\n".encode("latin-1"))
    (tmp_path / "wide.csv").write_text(rows("a,0,1"), encoding="utf-16")
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "text.nc").write_text("hello")
    for name in ("cut.csv.gz", "latin.csv", "wide.csv", "text.npz", "text.nc"):
        with pytest.raises(InputError, match=rf"{name} cannot be read"):
            read_trajectories(tmp_path / name)
    for name in ("absent.csv", "absent.npz", "absent.nc"):
        with pytest.raises(InputError, match=rf"{name} .*no such file"):
            read_trajectories(tmp_path / name)


def test_wrong_options_are_refused_with_what_to_do(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", rows("a,0,1", "a,1,2"))
    for options, message in [
        ({"columns": {"indvidual": "x"}}, "key of columns 'indvidual'; did you mean 'individual'"),
        ({"columns": {"individual": "indvidual"}}, "did you mean 'individual'"),
        ({"columns": {"individual": "x", "time": "individual"}}, "two columns for 'time'"),
        ({"columns": {"mass": "time"}}, "no column 'time'"),
        ({"columns": {"time": "x"}}, "two columns for 'time'"),
        ({"features": ["X"]}, "unknown feature of .* 'X'"),
        ({"features": ["x", "x"]}, "each once"),
        ({"features": "x"}, "features is 'x'; give a list"),
        ({"targets": "x"}, "targets is 'x'; give a list"),
        ({"targets": ["choice"]}, "unknown target of .* 'choice'"),
        ({"targets": ["time"]}, "unknown target"),
        ({"features": ["x"], "targets": ["x"]}, "in both features and targets"),
        ({"columns": ["individual"]}, "give the source's names by motet's"),
        ({"columns": {"individual": 3}}, "give the source's names by motet's"),
        ({"features": ["time"]}, "unknown feature"),
        ({"bin_seconds": 0}, "bin_seconds is 0; give a number, above 0"),
        ({"bin_seconds": float("nan")}, "bin_seconds is nan"),
        ({"resample_seconds": 1}, "without the other"),
        ({"longest_gap_seconds": 1}, "without the other"),
        (RESAMPLED | {"bin_seconds": 1}, "give one of them"),
    ]:
        with pytest.raises(InputError, match=message):
            read_trajectories(path, **options)
    assert read_trajectories(write(path, rows("a,3,1", "b,3,1")), bin_seconds=2).values.shape == (1, 2, 1, 1)


def test_arrays_are_read_with_their_stamps_and_targets(tmp_path: Path) -> None:
    positions = np.random.default_rng(0).normal(size=(2, 3, 5, 2))
    positions[1, 2] = np.nan
    observed = np.ones((2, 3, 5), bool)
    observed[0, 0, 1] = False
    interacts = np.arange(9).reshape(3, 3) % 2
    stamps = np.array([1.0, 1.2, 1.4, 2.0, 1.8])  # in any order, with a gap
    np.savez(
        tmp_path / "mine.npz", positions=positions, observed=observed, time=stamps, interacts=interacts,
        system=["x", "y", "x"], mass=np.ones((2, 3)), individual_ids=["a", "b", "c"], trial_ids=[7, 7],
    )  # fmt: skip
    recording = read_trajectories(tmp_path / "mine.npz", subject="s")
    assert recording.values.shape == (2, 3, 6, 2)
    assert recording.bin_seconds == pytest.approx(0.2)
    assert np.array_equal(recording.values[0, 1, [0, 1, 2, 5, 4]], positions[0, 1].astype(np.float32))
    assert recording.observed[:, :, 3].sum() == 0
    assert recording.observed.sum() == 24
    assert recording.individual_ids == ("a", "b", "c")
    assert recording.trial_ids.tolist() == [7, 7]
    assert recording.target("system").tolist() == [["x", "y", "x"]] * 2
    assert recording.target("interacts").tolist() == [[[-1, 1, 0], [1, -1, 1], [0, 1, -1]]] * 2
    assert recording.target("mass").dtype == np.float64
    resampled = read_trajectories(tmp_path / "mine.npz", resample_seconds=0.1, longest_gap_seconds=0.5)
    assert resampled.n_bins == 11
    np.testing.assert_allclose(resampled.values[0, 1, 1], positions[0, 1, :2].mean(axis=0), rtol=1e-4, atol=1e-6)


def test_arrays_of_one_trial_need_no_axis_of_trials(tmp_path: Path) -> None:
    for name in ("positions", "values"):
        np.savez(tmp_path / "one.npz", **{name: np.ones((3, 5, 2))}, time=np.arange(5) / 2, charge=[1, -1, 1])
        recording = read_trajectories(tmp_path / "one.npz")
        assert recording.values.shape == (1, 3, 5, 2)
        assert recording.trial_start_seconds.tolist() == [0]
        assert recording.individual_ids == ("one/0", "one/1", "one/2")
        assert recording.target("charge").tolist() == [[1, -1, 1]]
    np.savez(tmp_path / "one.npz", positions=np.ones((3, 5, 2)))
    assert read_trajectories(tmp_path / "one.npz", bin_seconds=0.1).bin_seconds == 0.1


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"time": np.arange(5)}, "neither positions and values"),
        ({"positions": np.ones((3, 5, 2)), "values": np.ones((3, 5, 2))}, "both positions and values"),
        ({"values": np.ones((3, 5, 2)), "mass": np.ones(3)}, "name them positions"),
        ({"values": np.ones((3, 5, 5)), "time": np.arange(5)}, "name them positions"),
        ({"positions": np.ones((5, 2))}, r"give \(\[trial,\] individual, time, feature\)"),
        ({"positions": np.ones((3, 0, 2))}, "at least one of each axis"),
        ({"positions": np.ones((3, 5, 2)), "masses": np.ones(3)}, "'masses'; did you mean 'mass'"),
        ({"positions": np.ones((3, 5, 2)), "mass": np.ones(4)}, r"mass has shape \(4,\); give \(1, 3\)"),
        ({"positions": np.ones((3, 5, 2)), "interacts": np.ones((3, 3)) / 2}, "not made of whole numbers"),
        ({"positions": np.ones((3, 5, 2)), "mass": np.full(3, np.inf)}, "or infinite"),
        ({"positions": np.ones((3, 5, 2)), "mass": ["1", "2", "3"]}, "give finite numbers"),
        ({"positions": np.ones((3, 5, 2)), "time": np.arange(4)}, r"time has shape \(4,\)"),
        ({"positions": np.ones((3, 5, 2)), "time": [0, 1, 2, 3, np.nan]}, "time 4 is nan"),
        ({"positions": np.ones((3, 5, 2)), "time": [0, 1, 2, 3.4, 4]}, r"time 3\.4 s lies 3\.4 steps"),
        ({"positions": np.ones((3, 5, 2)), "observed": np.ones((3, 5))}, "observed has shape"),
        ({"positions": np.ones((3, 5, 2)), "individual_ids": ["a"]}, "give 3, one for each"),
        ({"positions": np.full((3, 5, 2), np.inf)}, r"values\[0, 0, 0, 0\] is inf; give finite numbers"),
        ({"positions": np.full((3, 5, 2), 1j)}, "complex128"),
        ({"positions": np.array([{}], dtype=object)}, "save it as plain numbers or text"),
    ],
)
def test_faults_of_arrays_are_named(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(InputError, match=rf"bad\.npz.*{message}|{message}.*bad\.npz"):
        read_trajectories(tmp_path / "bad.npz")


def test_a_recording_that_motet_saved_is_none_of_trajectories(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"read it by motet\.read_recording"):
        read_trajectories(write_recording(Recording.from_trials(np.ones((2, 3, 4))), tmp_path / "saved.npz"))


def test_options_that_do_not_apply_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", positions=np.ones((3, 5, 2)))
    for options in ({"features": ["x"]}, {"columns": {"time": "t"}}, {"absent_pairs": "no edge"}, RESAMPLED):
        with pytest.raises(InputError, match=r"a\.npz"):
            read_trajectories(tmp_path / "a.npz", **options)


def dataset() -> Any:
    xarray = pytest.importorskip("xarray")
    values = np.random.default_rng(1).normal(size=(5, 2, 3))
    return xarray.Dataset(
        {
            "x": (("time", "trial", "individual"), values),
            "y": (("individual", "time"), values[:, 0].T + 1),
            "mass": (("individual", "trial"), np.ones((3, 2))),
            "interacts": (("trial", "individual", "other"), np.zeros((2, 3, 3), int)),
        },
        coords={"time": np.arange(5) * 0.2, "individual": ["a", "b", "c"], "trial": [4, 2]},
    )


def test_a_dataset_is_read_whatever_the_order_of_its_dimensions() -> None:
    data = dataset()
    recording = from_xarray(data, name="shoal")
    assert recording.values.shape == (2, 3, 5, 2)
    for trial, individual, time in np.ndindex(2, 3, 5):
        assert recording.values[trial, individual, time, 0] == np.float32(data.x.values[time, trial, individual])
        assert recording.values[trial, individual, time, 1] == np.float32(data.y.values[individual, time])
    assert (recording.name, recording.individual_ids) == ("shoal", ("a", "b", "c"))
    assert recording.trial_ids.tolist() == [4, 2]
    assert recording.bin_seconds == pytest.approx(0.2)
    assert recording.target_levels == {"mass": "individual", "interacts": "pair"}
    assert from_xarray(data, features=["y"]).n_features == 1
    masked = data.assign(observed=(("individual", "time"), np.arange(15).reshape(3, 5) > 3))
    assert from_xarray(masked).observed.sum() == 22
    resampled = from_xarray(data, resample_seconds=0.1, longest_gap_seconds=1)
    np.testing.assert_allclose(resampled.values[:, :, ::2], recording.values, rtol=1e-5, atol=1e-6)


def test_one_array_of_other_names_and_dates_is_read() -> None:
    xarray = pytest.importorskip("xarray")
    stamps = np.datetime64("2024-01-01T10:00") + np.array([0, 40, 80, 160]) * np.timedelta64(1, "ms")
    array = xarray.DataArray(
        np.arange(24.0).reshape(4, 2, 3), dims=("frame", "space", "animals"), coords={"frame": stamps}, name="position"
    )
    columns = {"time": "frame", "feature": "space", "individual": "animals"}
    recording = from_xarray(array, columns=columns)
    assert recording.values.shape == (1, 3, 5, 2)
    assert recording.bin_seconds == pytest.approx(0.04)
    assert recording.name == "position"
    assert recording.values[0, 2, 1].tolist() == [8, 11]
    assert recording.observed[0, 0].tolist() == [True, True, True, False, True]
    durations = array.assign_coords(frame=stamps - stamps[0])
    assert from_xarray(durations, columns=columns).bin_seconds == pytest.approx(0.04)
    assert from_xarray(array.drop_vars("frame"), columns=columns, bin_seconds=0.5).bin_seconds == 0.5


def test_faults_of_a_dataset_are_named() -> None:
    data = dataset()
    for wrong, options, message in [
        (data.rename(individual="individuals"), {}, "no dimension 'individual'; did you mean 'individuals'"),
        (data.assign(size=("individual", np.ones(3))), {}, r"variables 'x', 'y', 'size' may be inputs or labels"),
        (data, {"features": ["x"], "targets": ["x"]}, "'x' is in both features and targets"),
        (data, {"features": ["mass"], "targets": []}, "a feature has an individual and a time"),
        (data, {"features": ["x"], "targets": ["y"]}, "target 'y' has an individual and a time"),
        (data.assign(z=(("individual", "time", "node"), np.ones((3, 5, 2)))), {}, "'z' has dimension 'node'"),
        (data.assign(z=(("individual", "time"), np.full((3, 5), "a"))), {}, "'z': text such as"),
        (data.assign(mass=(("individual", "time"), np.ones((3, 5)))), {}, "mass has shape"),
        (data.assign_coords(time=("time", np.arange(5), {"units": "ms"})), {}, "time is in 'ms'"),
        (data.assign_coords(time=["a", "b", "c", "d", "e"]), {}, "time: text such as"),
        (data[["mass"]].expand_dims(time=2), {}, "no variable left to be a feature"),
        (data, {"features": ["w"]}, "unknown feature"),
        (data, {"columns": {"individual": "fish"}}, "'fish'"),
        (data, {"columns": {"individual": "other"}}, "two columns for 'individual'"),
        (data, {"columns": {"individuals": "fish"}}, "did you mean 'individual'"),
        (np.ones((3, 4)), {}, "is a ndarray; give an xarray Dataset"),
    ]:
        with pytest.raises(InputError, match=message):
            from_xarray(wrong, **options)


@pytest.mark.parametrize("engine", ["scipy", "h5netcdf"])
def test_a_netcdf_file_is_read_as_its_dataset(tmp_path: Path, engine: Any, assert_same: Any) -> None:
    if engine == "h5netcdf" and not (importlib.util.find_spec("h5netcdf") and importlib.util.find_spec("h5py")):
        pytest.skip("needs h5netcdf and h5py")
    data = dataset()
    for stamps in (data.time.values, np.arange(5) * np.timedelta64(200, "ms")):
        data = data.assign_coords(time=stamps)
        data.to_netcdf(tmp_path / "shoal.nc", engine=engine)
        assert_same(read_trajectories(tmp_path / "shoal.nc"), from_xarray(data))
    data.rename(time="t").to_netcdf(tmp_path / "other.nc", engine=engine)
    assert_same(read_trajectories(tmp_path / "other.nc", columns={"time": "t"}), from_xarray(data))


def character_array(words: list[str], width: int) -> Any:
    return np.array([list(word.ljust(width)) for word in words], "S1")


def test_characters_of_netcdf_3_are_text(tmp_path: Path) -> None:
    pytest.importorskip("xarray")
    netcdf = pytest.importorskip("scipy.io").netcdf_file
    with netcdf(tmp_path / "a.nc", "w") as file:
        for name, size in {"trial": 2, "individual": 3, "time": 4, "width": 5}.items():
            file.createDimension(name, size)
        file.createVariable("x", "f8", ("trial", "individual", "time"))[:] = 1
        file.createVariable("time", "f8", ("time",))[:] = np.arange(4)
        file.createVariable("fish", "S1", ("individual", "width"))[:] = character_array(["cod", "eel", "trout"], 5)
        file.createVariable("trial", "S1", ("trial",))[:] = np.array(["p", "q"], "S1")
        file.createVariable("choice", "S1", ("trial", "width"))[:] = character_array(["left", "right"], 5)
        side = file.createVariable("side", "i4", ("trial",))
        side[:] = [3, -9]
        side._FillValue = np.int32(-9)
    options: Any = {"columns": {"individual": "fish"}, "features": ["x"]}
    recording = read_trajectories(tmp_path / "a.nc", targets=["choice", "side"], **options)
    assert recording.individual_ids == ("cod", "eel", "trout")
    assert recording.trial_ids.tolist() == ["p", "q"]
    assert recording.target("choice").tolist() == ["left", "right"]
    assert recording.target("side").dtype == np.int64
    assert is_known(recording.target("side")).tolist() == [True, False]


def long_form(ids: int, frames: int, *, spread: int = 0) -> str:
    """Rows of individuals that are there for some frames, each `spread` later than the one before."""
    stamps = range(frames)
    return rows(*(f"{one},{one * spread + t},1" for one in range(ids) for t in stamps))


def new_ids_in_every_clip(n: int) -> str:
    lines = (f"{clip},{10 * clip + one},{t},1" for clip in range(n) for one in range(10) for t in range(10))
    return rows(*lines, header="trial,individual,time,x")


@pytest.mark.parametrize(
    ("text", "pairs", "message"),
    [
        (long_form(6000, 2).replace("x\n", "x,system\n", 1).replace(",1\n", ",1,s\n"), "", r"0\.268 GiB.*targets=\[\]"),
        (long_form(6000, 2), "individual_a,individual_b,interacts\n0,1,1\n", r"6000 individuals.*0\.268 GiB"),
        (long_form(6000, 2, spread=1), "", r"6000 individuals × 6001 bins"),
        (new_ids_in_every_clip(600), "", r"600 trials × 6000 individuals × 10 bins would take 0\.268 GiB"),
    ],
)
def test_memory_is_bounded_by_what_a_table_holds(tmp_path: Path, text: str, pairs: str, message: str) -> None:
    path = write(tmp_path / "ids.csv", text)
    if pairs:
        write(tmp_path / "ids.pairs.csv", pairs)
    with pytest.raises(InputError, match=message):
        read_trajectories(path)


def test_one_graph_for_many_trials_is_bounded_by_what_the_trials_hold(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", positions=np.ones((300, 400, 2, 1)), interacts=np.zeros((400, 400)))
    with pytest.raises(InputError, match=r"400 individuals in 300 trials would take 0\.358 GiB"):
        read_trajectories(tmp_path / "a.npz")


def test_a_group_label_that_would_take_too_much_is_left_out(tmp_path: Path) -> None:
    lines = [f"{one},{t},1,{one % 2}" for one in range(6000) for t in range(2)]
    path = write(tmp_path / "ids.csv", rows(*lines, header="individual,time,x,system"))
    assert read_trajectories(path, features=["x"], targets=[]).n_individuals == 6000


def test_a_zipped_table_holds_what_its_size_lets_expect(tmp_path: Path) -> None:
    line = b"a,0," + b" " * 1000 + b"1\n"
    (tmp_path / "bomb.csv.gz").write_bytes(gzip.compress(b"individual,time,x\n" + line * 20_000))
    with pytest.raises(InputError, match=r"bomb\.csv\.gz unzips to more than 50 times its size"):
        read_trajectories(tmp_path / "bomb.csv.gz")
    few = b"".join(b"a,%d,%s1\n" % (t, b" " * 1000) for t in range(1000))
    (tmp_path / "few.csv.gz").write_bytes(gzip.compress(b"individual,time,x\n" + few))
    assert read_trajectories(tmp_path / "few.csv.gz").n_bins == 1000


def test_a_message_about_many_columns_is_short(tmp_path: Path) -> None:
    names = [f"c{place}" for place in range(20_000)]
    path = write(tmp_path / "wide.csv", f"individual,time,{','.join(names)}\na,0,{','.join('1' * 20_000)}\n")
    with pytest.raises(InputError, match=r"'c0', 'c1', .* \(20000 in all\) may be inputs") as refusal:
        read_trajectories(path)
    assert len(str(refusal.value)) < 600


@pytest.mark.parametrize(
    ("trials", "expected"),
    [
        (["goB", "goA"], ["goB", "goA"]),
        (["3.0", "1.0"], ["3.0", "1.0"]),
        (["007", "7"], ["007", "7"]),
        (["10", "ctrl"], ["10", "ctrl"]),
        (["12", "-3"], [12, -3]),
        (["NA", "null"], ["NA", "null"]),
    ],
)
def test_trials_and_systems_come_back_as_they_are_called(
    tmp_path: Path, trials: list[str], expected: list[Any]
) -> None:
    lines = [f"{trial},{one},{t},{t},group {one}" for trial in trials for one in "ab" for t in range(3)]
    path = write(tmp_path / "a.csv", rows(*lines, header="trial,individual,time,x,system"))
    recording = read_trajectories(path)
    assert recording.trial_ids.tolist() == expected
    assert recording.target("system").tolist() == [["group a", "group b"]] * 2
    assert recording.target("interacts")[0].tolist() == [[-1, 0], [0, -1]]


def test_a_row_of_source_and_target_says_what_one_does_to_the_other(four: Path) -> None:
    pairs(four, "a,b,1,0.5", "b,a,0,0", "c,a,1,-2", header="source,target,interacts,coupling")
    recording = read_trajectories(four, absent_pairs="no edge")
    assert recording.target("interacts")[0].tolist() == [[-1, 0, 1, 0], [1, -1, 0, 0], [0, 0, -1, 0], [0, 0, 0, -1]]
    coupling = recording.target("coupling")[0]
    assert (coupling[1, 0], coupling[0, 2]) == (0.5, -2)  # [i, j] is what j does to i
    pairs(four, "a,b,1,x", header="source,target,interacts,weight")
    with pytest.raises(InputError, match=r"columns 'weight' are none of a table of pairs"):
        read_trajectories(four)


def test_without_xarray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.nc").write_bytes(b"CDF")
    monkeypatch.setitem(sys.modules, "xarray", None)
    for read in (read_trajectories, from_xarray):
        with pytest.raises(InputError, match=r"install .motet\[xarray\]"):
            read(tmp_path / "a.nc")
