"""Tables that are written are read back exactly, and hold nothing that cannot be."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from motet.data.readers.trajectories import read_trajectories
from motet.data.readers.write_trajectories import write_trajectories_csv
from motet.data.recording import Recording
from motet.errors import InputError
from motet.systems.kuramoto import oscillator_phases

quick = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@st.composite
def recordings(draw: st.DrawFn) -> Recording:
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(2, 5), st.integers(1, 3)))
    n_trials, n_individuals, n_bins, _ = shape
    observed = draw(hnp.arrays(np.bool_, shape[:3]))
    observed[0, 0, 0] = True
    numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)
    values = np.where(observed[..., None], draw(hnp.arrays(np.float32, shape, elements=numbers)), np.float32(0))
    text = st.builds(
        str.__add__,
        st.sampled_from(["", "", "=", "'=", "''-", "+", "@", "-"]),
        st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=4),
    )
    known = st.one_of(numbers, st.just(np.nan))
    targets: dict[str, Any] = {}
    for name in ("mass", "charge", "frequency"):
        if draw(st.booleans()):
            targets[name] = draw(hnp.arrays(np.float32, shape[:2], elements=known))
    if draw(st.booleans()):
        names = st.sampled_from(["", "red", "=blue", "3.0", "007"])
        labels = draw(st.sampled_from([(np.int64, st.integers(-1, 3)), ("<U6", names)]))
        targets["system"] = draw(hnp.arrays(labels[0], shape[:2], elements=labels[1]))
        if not np.any(targets["system"] != ""):  # cells without content are no text
            del targets["system"]
    diagonal = np.arange(n_individuals)
    square = (n_trials, n_individuals, n_individuals)
    if "system" in targets or draw(st.booleans()):
        targets["interacts"] = draw(hnp.arrays(np.int64, square, elements=st.integers(-1, 2)))
        targets["interacts"][:, diagonal, diagonal] = -1
        if draw(st.booleans()):
            targets["interacts"] = np.maximum(targets["interacts"], targets["interacts"].swapaxes(1, 2))
        if draw(st.booleans()):
            targets["coupling"] = draw(hnp.arrays(np.float32, square, elements=known))
            targets["coupling"][:, diagonal, diagonal] = np.nan
    bin_seconds = draw(st.sampled_from([1.0, 0.1, 1 / 30, 0.04, 7e-5]))
    spare = draw(st.integers(0, 3))
    start = draw(st.sampled_from([0.0, -3.0, 12.5]))
    return Recording(
        values=values,
        observed=observed,
        individual_ids=tuple(draw(st.lists(text, min_size=n_individuals, max_size=n_individuals, unique=True))),
        targets=targets,
        target_levels={name: "pair" if name in ("interacts", "coupling") else "individual" for name in targets},
        bin_seconds=bin_seconds,
        trial_ids=draw(
            st.one_of(
                hnp.arrays(np.int64, n_trials, unique=True, elements=st.integers(-5, 10**6)),
                st.lists(text, min_size=n_trials, max_size=n_trials, unique=True).map(np.array),
            )
        ),
        trial_start_seconds=start + np.arange(n_trials) * (n_bins + spare) * bin_seconds,
    )


@quick
@given(recording=recordings(), ending=st.sampled_from([".csv", ".tsv", ".csv.gz", ".tsv.gz"]))
def test_a_written_recording_is_read_back_exactly(
    tmp_path: Path, recording: Recording, ending: str, assert_same: Any
) -> None:
    for old in tmp_path.iterdir():
        old.unlink()
    path = write_trajectories_csv(recording, tmp_path / f"mine{ending}")
    assert_same(read_trajectories(path), recording)


@quick
@given(recording=recordings(), seed=st.integers(0, 99))
def test_the_order_of_rows_only_orders_trials_and_individuals(tmp_path: Path, recording: Recording, seed: int) -> None:
    for old in tmp_path.iterdir():
        old.unlink()
    path = write_trajectories_csv(recording, tmp_path / "mine.tsv", leave_out=recording.targets)
    header, *lines = path.read_text().splitlines(keepends=True)
    order = np.random.default_rng(seed).permutation(len(lines))
    path.write_text("".join([header, *(lines[place] for place in order)]))
    read = read_trajectories(path)
    trials = [read.trial_ids.tolist().index(one) for one in recording.trial_ids.tolist()]
    individuals = [read.individual_ids.index(one) for one in recording.individual_ids]
    again = read.select(trials=trials, individuals=individuals)
    assert np.array_equal(again.values, recording.values)
    assert np.array_equal(again.observed, recording.observed)
    assert np.array_equal(again.trial_start_seconds, recording.trial_start_seconds)


def example(**targets: Any) -> Recording:
    levels = {name: "pair" if target.ndim == 3 else "individual" for name, target in targets.items()}
    return Recording.from_trials(np.ones((2, 3, 4)), targets=targets, target_levels=levels, name="n")


def test_no_name_that_is_written_is_a_formula(tmp_path: Path) -> None:
    recording = Recording.from_trials(
        np.ones((1, 2, 2)), individual_ids=["=cmd|x", "-3.0"], trial_ids=["@SUM(A1)"],
        targets={"system": np.array([["+1+1", ""]])}, target_levels={"system": "individual"},
    )  # fmt: skip
    path = write_trajectories_csv(recording, tmp_path / "a.csv", features=["-x"])
    header, first, _, other, _ = path.read_text().splitlines()
    assert header == "trial,individual,time,'-x,system"
    assert first == "'@SUM(A1),'=cmd|x,0.0,1.0,'+1+1"
    assert other == "'@SUM(A1),-3.0,0.0,1.0,"
    again = read_trajectories(path, features=["-x"])
    assert (again.individual_ids, again.trial_ids.tolist()) == (("=cmd|x", "-3.0"), ["@SUM(A1)"])
    assert again.target("system").tolist() == [["+1+1", ""]]


def test_numbers_are_written_short_and_files_alike(tmp_path: Path) -> None:
    recording = Recording.from_trials(np.array([[[0.1, 0.2]]]), bin_seconds=0.1, individual_ids=["a"])
    path = write_trajectories_csv(recording, tmp_path / "a.csv", features=["x"])
    assert path.read_text() == "trial,individual,time,x\n0,a,0.0,0.1\n0,a,0.1,0.2\n"
    close = np.nextafter(
        np.float32(1), np.float32([[[0, 1, 2]]])
    )  # short digits would not tell these from their origin
    again = read_trajectories(write_trajectories_csv(Recording.from_trials(close), tmp_path / "a.csv"))
    assert np.array_equal(again.values[..., 0], close)
    first, second = (write_trajectories_csv(recording, tmp_path / f"{n}.csv.gz").read_bytes() for n in "bc")
    assert first == second
    assert gzip.decompress(first).startswith(b"trial,individual,time,feature_0\n")


def test_pairs_are_written_only_where_systems_do_not_tell_them(tmp_path: Path) -> None:
    system = np.array([[0, 0, 1]] * 2)
    interacts = np.array([[[-1, 1, 0], [1, -1, 0], [0, 0, -1]]] * 2)
    path = write_trajectories_csv(example(system=system, interacts=interacts), tmp_path / "a.csv")
    assert [file.name for file in tmp_path.iterdir()] == ["a.csv"]
    write_trajectories_csv(example(system=system, interacts=1 - np.eye(3, dtype=int)[None].repeat(2, 0)), path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.csv", "a.pairs.csv"]
    lines = (tmp_path / "a.pairs.csv").read_text().splitlines()
    assert lines[:3] == ["trial,individual_a,individual_b,interacts", "0,n/0,n/1,1", "0,n/0,n/2,1"]
    assert len(lines) == 7  # each pair once
    with pytest.raises(InputError, match=r"a\.pairs\.csv would be read as the pairs of .*a\.csv; remove it"):
        write_trajectories_csv(example(system=system), path)


def test_the_source_of_a_written_pair_acts_on_its_target(tmp_path: Path) -> None:
    coupling = np.array([[[0.0, 2.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]])  # the first is pulled by the second
    phases, _ = oscillator_phases(np.array([[0.0, 1.0, 2.0]]), np.ones((1, 3)), coupling, n_bins=30)
    drift = phases[0] - phases[0, :, :1] - np.arange(30) * 0.1
    assert [bool(np.abs(one).max() > 0.1) for one in drift] == [True, False, False]  # only the first is moved
    recording = Recording.from_trials(
        np.stack([np.cos(phases), np.sin(phases)], -1), bin_seconds=0.1, individual_ids=["moved", "mover", "alone"],
        targets={"coupling": coupling}, target_levels={"coupling": "pair"},
    )  # fmt: skip
    path = write_trajectories_csv(recording, tmp_path / "a.csv", features=["cos", "sin"])
    lines = (tmp_path / "a.pairs.csv").read_text().splitlines()
    assert lines[0] == "trial,source,target,coupling"
    assert [line for line in lines if line.endswith("2.0")] == ["0,mover,moved,2.0"]
    assert read_trajectories(path).target("coupling")[0, 0, 1] == 2.0


def test_what_a_table_cannot_hold_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    energy = Recording.from_trials(
        np.ones((2, 3, 4)), targets={"energy": np.ones((2, 4))}, target_levels={"energy": "bin"}
    )
    windows = Recording.from_trials(np.ones((2, 3, 4))).windows(2)
    named = [Recording.from_trials(np.ones((1, 1, 2)), individual_ids=[text]) for text in ("", " a", "a\nb", "\0")]
    far = Recording.from_trials(np.ones((1, 1, 2)), bin_seconds=0.01, trial_start_seconds=np.array([1e12]))
    for recording, options, message in [
        (energy, {}, r"no target 'energy' per bin; say leave_out=\['energy'\]"),
        (energy, {"leave_out": ["enrgy"]}, "did you mean 'energy'"),
        (windows, {}, "several trials share an id"),
        (Recording.from_trials(np.full((1, 1, 2), np.nan)), {}, "nothing in it is observed"),
        (far, {}, "stamps are too large"),
        (example(), {"features": ["x", "y"]}, "give 1 names"),
        (example(), {"features": ["time"]}, "names of their own"),
        (example(system=np.array([["a", "b", "NA"]] * 2)), {}, "system 'NA' would be read as unknown"),
        (Recording.from_trials(np.ones((1, 1, 2)), trial_ids=["a "]), {}, "name 'a ' is empty, unprintable or has"),
        (example(system=np.ones((2, 3)) / 2), {}, "not made of whole numbers"),
        *((one, {}, "is empty, unprintable or has a blank") for one in named),
    ]:
        with pytest.raises(InputError, match=message):
            write_trajectories_csv(recording, path, **options)
    with pytest.raises(InputError, match="unknown ending"):
        write_trajectories_csv(example(), tmp_path / "a.txt")
    assert not list(tmp_path.iterdir())
    assert read_trajectories(write_trajectories_csv(energy, path, leave_out=["energy"])).n_trials == 2


def test_neither_table_changes_if_one_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interacts = np.ones((2, 3, 3), int)
    path = write_trajectories_csv(example(interacts=interacts), tmp_path / "a.csv")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert len(before) == 2
    write_whole = Path.write_bytes

    def fail_on_pairs(file: Path, content: bytes) -> int:
        if ".pairs" in file.name:
            raise OSError(28, "No space left on device")
        return write_whole(file, content)

    monkeypatch.setattr(Path, "write_bytes", fail_on_pairs)
    with pytest.raises(InputError, match=r"cannot write .*a\.pairs\.csv \(No space left"):
        write_trajectories_csv(example(interacts=0 * interacts), path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
