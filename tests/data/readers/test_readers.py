"""Reading and writing recordings: exact round trips, damaged and foreign files refused by name."""

from __future__ import annotations

import gzip
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from motet.cli import main
from motet.data.readers import READERS, Reader, read_recording, write_recording
from motet.data.recording import Recording
from motet.errors import InputError
from motet.tasks.find import find_recording

FIELDS = ("values", "observed", "trial_ids", "trial_start_seconds")


def assert_same_bits(first: Recording, second: Recording) -> None:
    for field in ("individual_ids", "bin_seconds", "subject", "name", "target_levels", "metadata"):
        assert getattr(first, field) == getattr(second, field)
    assert list(first.targets) == list(second.targets)
    pairs = [(getattr(first, field), getattr(second, field)) for field in FIELDS]
    for one, other in (*pairs, *zip(first.targets.values(), second.targets.values(), strict=True)):
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        assert one.tobytes() == other.tobytes()


def example(n_trials: int = 6, n_individuals: int = 4, n_bins: int = 5, seed: int = 0) -> Recording:
    rng = np.random.default_rng(seed)
    return Recording.from_trials(
        [rng.poisson(2.0, (n_individuals, n_bins - trial % 2)) for trial in range(n_trials)],
        targets={
            "side": np.array(["left", "right"])[np.arange(n_trials) % 2],
            "speed": rng.normal(size=(n_trials, n_bins, 2)).astype(np.float32),
            "mass": rng.normal(size=(n_trials, n_individuals)),
            "linked": rng.random((n_trials, n_individuals, n_individuals)) > 0.5,
        },
        target_levels={"mass": "individual"},
        bin_seconds=0.1,
        subject="Ünit",
        name="a/b",
    )


def read_or_refused_by_name(path: Path) -> Recording | None:
    """The recording, or None if it is refused by an error that names the file; another error is one of ours."""
    try:
        return read_recording(path)
    except InputError as error:
        if path.name not in str(error):
            raise
        return None


@st.composite
def recordings(draw: st.DrawFn) -> Recording:
    shape = draw(st.tuples(*[st.integers(1, 3)] * 4))
    observed = draw(hnp.arrays(np.bool_, shape[:3]))
    finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
    text = st.text(st.characters(exclude_categories=("Cs",)), max_size=5).filter(lambda t: not t.endswith("\0"))
    leading: dict[Any, tuple[int, ...]] = {
        "trial": shape[:1],
        "bin": (shape[0], shape[2]),
        "individual": shape[:2],
        "pair": (*shape[:2], shape[1]),
    }
    levels = draw(st.dictionaries(text.filter(str.isprintable), st.sampled_from(sorted(leading)), max_size=3))
    kinds = st.sampled_from([np.int64, np.float32, np.float64, np.bool_, np.dtype("<U3"), np.dtype(">i2")])

    def target_arrays(size: tuple[int, ...]) -> st.SearchStrategy[Any]:
        return kinds.flatmap(lambda kind: hnp.arrays(kind, size)).filter(
            lambda array: array.dtype.kind != "f" or not np.isinf(array).any()
        )

    leaves = st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text | st.none()
    plain = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(text, inner), max_leaves=5)
    return Recording(
        values=draw(hnp.arrays(np.float32, shape, elements=finite)),
        observed=observed,
        individual_ids=tuple(draw(st.lists(text, min_size=shape[1], max_size=shape[1], unique=True))),
        targets={name: draw(target_arrays(leading[level])) for name, level in levels.items()},
        target_levels=levels,
        bin_seconds=draw(st.floats(1e-6, 1e6)),
        subject=draw(text),
        name=draw(text),
        trial_ids=draw(hnp.arrays(np.int64, shape[0])),
        trial_start_seconds=draw(hnp.arrays(np.float64, shape[0], elements=finite)),
        metadata=draw(st.dictionaries(text, plain, max_size=3)),
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(recording=recordings(), compressed=st.booleans())
def test_a_saved_recording_comes_back_bit_by_bit(tmp_path: Path, recording: Recording, compressed: bool) -> None:
    path = write_recording(recording, tmp_path / "saved.npz", compressed=compressed)
    assert_same_bits(read_recording(path), recording)


def test_two_files_of_one_recording_are_the_same_bytes_and_compression_saves_space(tmp_path: Path) -> None:
    silent = Recording.from_trials(np.zeros((20, 30, 40)))
    first, second, small = (
        write_recording(silent, tmp_path / f"{name}.npz", compressed=name == "small").read_bytes()
        for name in ("first", "second", "small")
    )
    assert first == second
    assert len(small) < len(first) / 10


def test_the_minimal_form_needs_only_values_and_reads_nan_as_not_observed(tmp_path: Path) -> None:
    values = np.ones((3, 2, 4))
    values[1, :, 2:] = np.nan
    np.savez(tmp_path / "mine.npz", values=values, target_side=[0, 1, 0], bin_seconds=0.5, subject="me")
    recording = read_recording(tmp_path / "mine.npz")
    assert (recording.name, recording.subject, recording.bin_seconds) == ("mine", "me", 0.5)
    assert recording.individual_ids == ("mine/0", "mine/1")
    assert recording.trial_lengths.tolist() == [4, 2, 4]
    assert recording.target("side").tolist() == [0, 1, 0]


def test_text_that_was_stored_as_bytes_is_text(tmp_path: Path) -> None:
    text = {"subject": b"mo", "individual_ids": [b"a", b"b"], "levels": [[b"side", b"trial"]]}
    np.savez(tmp_path / "a.npz", values=np.ones((2, 2, 3)), target_side=[0, 1], **text)
    recording = read_recording(tmp_path / "a.npz")
    assert (recording.subject, recording.individual_ids) == ("mo", ("a", "b"))
    assert recording.target_levels == {"side": "trial"}


def test_an_array_file_is_trials_or_one_trial(tmp_path: Path) -> None:
    np.save(tmp_path / "trials.npy", np.ones((3, 2, 4)))
    np.save(tmp_path / "one.npy", np.ones((2, 4), dtype=np.int32))
    assert read_recording(tmp_path / "trials.npy", subject="s").values.shape == (3, 2, 4, 1)
    one = read_recording(tmp_path / "one.npy", name="x", bin_seconds=4.0)
    assert one.values.shape == (1, 2, 4, 1)
    assert one.name == "x"
    assert one.bin_seconds == 4.0


@pytest.mark.parametrize("compressed", [False, True])
def test_a_changed_byte_is_refused_or_changes_nothing(tmp_path: Path, compressed: bool) -> None:
    recording = example(n_trials=2, n_individuals=2, n_bins=3)
    content = write_recording(recording, tmp_path / "whole.npz", compressed=compressed).read_bytes()
    path, n_refused = tmp_path / "changed.npz", 0
    positions = {*range(0, len(content), 31), *range(len(content) - 60, len(content))}
    for position in positions:
        path.write_bytes(content[:position] + bytes([content[position] ^ 0xFF]) + content[position + 1 :])
        if (read := read_or_refused_by_name(path)) is None:
            n_refused += 1
        else:
            assert_same_bits(read, recording)
    assert n_refused > len(positions) / 2


@pytest.mark.parametrize("fraction", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused_by_name(tmp_path: Path, fraction: float) -> None:
    content = write_recording(example(), tmp_path / "whole.npz").read_bytes()
    (tmp_path / "short.npz").write_bytes(content[: int(fraction * len(content))])
    with pytest.raises(InputError, match=r"short\.npz"):
        read_recording(tmp_path / "short.npz")


def test_foreign_files_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("hello")
    np.savez(tmp_path / "other.npz", weights=np.ones(3))
    np.savez(tmp_path / "objects.npz", values=np.array([{}, {}], dtype=object))
    np.savez(tmp_path / "newer.npz", motet_format_version=2, values=np.ones((1, 1, 1)))
    np.savez(tmp_path / "partial.npz", motet_format_version=1, values=np.ones((1, 1, 1)))
    np.savez(tmp_path / "double.npz", values=np.ones((1, 1, 1, 1)), observed=np.ones((1, 1, 1), bool))
    np.savez(tmp_path / "flat.npz", values=np.ones(3))
    np.save(tmp_path / "object.npy", np.array([{}], dtype=object))
    np.save(tmp_path / "flat.npy", np.ones(3))
    torch.save({"a": torch.ones(2)}, tmp_path / "model.pt")
    with (tmp_path / "model.pkl").open("wb") as file:
        pickle.dump({"data": [1, 2]}, file)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 11
    for name in (*names, "absent.npz", "."):
        with pytest.raises(InputError, match=str(tmp_path)):
            read_recording(tmp_path / name)
    with pytest.raises(InputError, match="newer motet"):
        read_recording(tmp_path / "newer.npz")


class Attack:
    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.witness}",)


def test_an_array_file_never_runs_code(tmp_path: Path) -> None:
    attack = np.array([Attack(tmp_path / "witness")], dtype=object)
    np.save(tmp_path / "attack.npy", attack)
    np.savez(tmp_path / "attack.npz", values=attack, target_side=attack)
    for name in ("attack.npy", "attack.npz"):
        with pytest.raises(InputError, match=f"{name} cannot be read"):
            read_recording(tmp_path / name)
        assert not (tmp_path / "witness").exists()
    np.load(tmp_path / "attack.npy", allow_pickle=True)  # the attack does work where pickles are let in
    assert (tmp_path / "witness").exists()


def test_an_unknown_option_is_refused_with_the_nearest(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((1, 2, 3)))
    with pytest.raises(InputError, match=r"option for a\.npy 'bin_second'; did you mean 'bin_seconds'"):
        read_recording(tmp_path / "a.npy", bin_second=1.0)
    np.savez(tmp_path / "a.npz", values=np.ones((1, 2, 3)))
    with pytest.raises(InputError, match="unknown option"):
        read_recording(tmp_path / "a.npz", name="b")


def test_trajectories_are_told_by_their_ending_or_their_arrays(tmp_path: Path) -> None:
    table = "fish,time,x\na,0,1\na,0.5,2\nb,0,3\n"
    (tmp_path / "a.csv").write_text(table)
    (tmp_path / "a.TSV").write_text(table.replace(",", "\t"))
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(table.encode()))
    for name in ("a.csv", "a.TSV", "a.csv.gz"):
        recording = read_recording(tmp_path / name, columns={"individual": "fish"}, subject="s")
        assert (recording.name, recording.subject, recording.individual_ids) == ("a", "s", ("a", "b"))
        assert recording.observed.tolist() == [[[True, True], [True, False]]]
    for name in ("positions", "values"):
        np.savez(tmp_path / "a.npz", **{name: np.ones((2, 3, 4, 2))}, interacts=np.zeros((3, 3), int))
        assert read_recording(tmp_path / "a.npz", bin_seconds=0.5).target_levels == {"interacts": "pair"}
    with pytest.raises(InputError, match=r"option for a\.csv 'feature'; did you mean 'features'"):
        read_recording(tmp_path / "a.csv", feature=["x"])
    (tmp_path / "a.nc").write_bytes(b"")
    with pytest.raises(InputError, match=r"a\.nc cannot be read as NetCDF"):
        read_recording(tmp_path / "a.nc")


def test_what_cannot_be_stored_exactly_is_refused(tmp_path: Path) -> None:
    odd = Recording.from_trials(np.ones((2, 1, 1)), targets={"a\nb": np.arange(2)})
    with pytest.raises(InputError, match="unprintable"):
        write_recording(odd, tmp_path / "a.npz")
    with pytest.raises(InputError, match="zero character"):
        write_recording(Recording.from_trials(np.ones((1, 1, 1)), name="a\0"), tmp_path / "a.npz")
    with pytest.raises(InputError, match=r"ending in \.npz"):
        write_recording(example(), tmp_path / "a.pkl")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="file-size limits are of Unix")
def test_a_full_disk_loses_nothing_already_saved(tmp_path: Path) -> None:
    import resource

    saved = example()
    path = write_recording(saved, tmp_path / "saved.npz")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))  # writing more fails as on a full disk
    try:
        with pytest.raises(InputError, match=r"cannot write .*saved\.npz"):
            write_recording(Recording.from_trials(np.ones((50, 50, 50))), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [file.name for file in tmp_path.iterdir()] == ["saved.npz"]
    assert_same_bits(read_recording(path), saved)


def test_a_folder_that_cannot_be_made_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        write_recording(example(), tmp_path / "file" / "saved.npz")


def test_a_reader_is_one_entry_of_the_registry(tmp_path, monkeypatch):
    def read_toy(path: Path, *, scale: float = 1.0) -> Recording:
        rows = [[float(number) for number in line.split()] for line in path.read_text().splitlines()[1:]]
        return Recording.from_trials(scale * np.array([rows]), name=path.stem)

    monkeypatch.setitem(READERS, "toy", Reader(lambda path, head: head.startswith(b"toy"), read_toy))
    path = tmp_path / "shoal.toy"
    path.write_text("toy\n1 2 3\n4 5 6\n")
    assert find_recording(str(path), {"scale": 2.0}).values[0, 1, :, 0].tolist() == [8, 10, 12]
    with pytest.raises(InputError, match="unknown option for shoal.toy 'scales'; did you mean 'scale'"):
        read_recording(path, scales=2.0)
    assert main(["data", "show", str(path), "--reading", "{scale: 3}"]) == 0
