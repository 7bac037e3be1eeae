"""Arrays under names of somebody's own, in `.mat`, `.npz` and `.h5`: whoever saved them says what is what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat
from scipy.sparse import csc_array

from motet.cli import main
from motet.data.binning import count_spikes
from motet.data.readers import field_roles, read_recording
from motet.data.readers.matlab import names_of_mat
from motet.errors import InputError

h5py = pytest.importorskip("h5py")
N_TRIALS, N_UNITS, N_BINS = 8, 5, 6


def content() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "spikes": rng.poisson(2.0, (N_UNITS, N_BINS, N_TRIALS)).astype(float),
        "choice": (np.arange(N_TRIALS) % 2 + 1.0)[:, None],
        "rt": rng.random((1, N_TRIALS)),
        "pos": rng.normal(size=(N_BINS, N_TRIALS)),
        "label": np.array(["left", "right"] * 4, dtype=object),
    }


def cells(n_units: int = 4) -> tuple[Any, list[np.ndarray]]:
    rng = np.random.default_rng(1)
    times = [np.sort(rng.uniform(0, 40, 60 + 10 * unit)) for unit in range(n_units)]
    holder = np.empty((1, n_units), dtype=object)
    for unit, one in enumerate(times):
        holder[0, unit] = one[:, None]
    return holder, times


def save_hdf5(path: Path, arrays: dict[str, Any], *, as_matlab: bool) -> None:
    """As MATLAB 7.3 writes: a header before HDF5, axes reversed, text as numbers, cells as references."""
    with h5py.File(path, "w", userblock_size=512 if as_matlab else 0) as file:
        for name, array in arrays.items():
            if not as_matlab:
                file[name] = [str(one) for one in array] if array.dtype == object else array
            elif array.dtype == object:
                members = []
                for place, one in enumerate(array.ravel()):
                    is_text = isinstance(one, str)
                    stored = np.array([list(map(ord, one))], dtype=np.uint16).T if is_text else np.asarray(one).T
                    made = file.create_dataset(f"#refs#/{name}{place}", data=stored)
                    made.attrs["MATLAB_class"] = np.bytes_("char" if is_text else "double")
                    members.append(made.ref)
                made = file.create_dataset(name, data=np.array([members], dtype=h5py.ref_dtype).T, dtype=h5py.ref_dtype)
                made.attrs["MATLAB_class"] = np.bytes_("cell")
            else:
                made = file.create_dataset(name, data=array.T)
                made.attrs["MATLAB_class"] = np.bytes_("double")
    if as_matlab:
        with path.open("r+b") as raw:
            raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")


def saved(folder: Path, ending: str, arrays: dict[str, Any]) -> Path:
    path = folder / f"session{ending.removeprefix('7.3')}"
    match ending:
        case ".mat":
            savemat(path, arrays)
        case ".npz":
            np.savez(
                path, **{name: np.array(one.tolist()) if one.dtype == object else one for name, one in arrays.items()}
            )
        case _:
            save_hdf5(path, arrays, as_matlab=ending.startswith("7.3"))
    return path


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read files here, for speed; `tests/data/readers/test_isolated.py` reads them elsewhere."""
    monkeypatch.setattr(field_roles, "in_subprocess", lambda read, path: read(path))


ENDINGS = [".mat", "7.3.mat", ".npz", ".h5"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_values_and_targets_are_read_on_the_axes_that_are_named(
    in_this_process: None, tmp_path: Path, ending: str
) -> None:
    arrays = content()
    recording = read_recording(
        saved(tmp_path, ending, arrays),
        values="spikes",
        axes=["individual", "time", "trial"],
        targets=["choice", "rt", "pos", "label"],
        kinds={} if ending.endswith(".mat") else {"choice": "class"},
        bin_seconds=0.02,
        subject="rex",
    )
    assert (recording.name, recording.subject, recording.bin_seconds) == ("session", "rex", 0.02)
    assert np.array_equal(recording.values[..., 0], arrays["spikes"].transpose(2, 0, 1))
    assert recording.target_levels == {"choice": "trial", "rt": "trial", "pos": "bin", "label": "trial"}
    assert recording.target("choice").tolist() == [1, 2] * 4
    assert recording.target("choice").dtype.kind == "i"
    assert np.array_equal(recording.target("rt"), arrays["rt"].ravel())
    assert np.array_equal(recording.target("pos"), arrays["pos"].T)
    assert recording.target("label").tolist() == ["left", "right"] * 4


@pytest.mark.parametrize("ending", [".mat", "7.3.mat"])
@pytest.mark.parametrize("form", ["cells", "structures"])
def test_spike_times_in_cells_or_structures_are_counted_around_a_field_of_times(
    in_this_process: None, tmp_path: Path, ending: str, form: str
) -> None:
    holder, times = cells()
    starts = np.arange(2.0, 38.0, 3.0)
    name, path = "st", tmp_path / "session.mat"
    arrays: dict[str, Any] = {"cue": starts[:, None], "choice": (np.arange(12) % 3.0)[None]}
    if form == "structures" and ending == ".mat":
        units = np.array(
            [(one, f"u{place}") for place, one in enumerate(times)], dtype=[("ts", object), ("id", object)]
        )
        savemat(path, {"units": units[None], **arrays})
        name = "units.ts"
    else:
        saved(tmp_path, ending, {"st": holder, **arrays})
    recording = read_recording(
        path, spike_times=name, align="cue", window=[0, 1.0], targets=["choice"], kinds={"choice": "quantity"}
    )
    expected = count_spikes(times, starts[:, None] + np.arange(11) * 0.1).swapaxes(0, 1)
    assert np.array_equal(recording.values[..., 0], expected)
    assert recording.target("choice").tolist() == [0.0, 1.0, 2.0] * 4
    assert recording.target("choice").dtype.kind == "f"


def test_spikes_in_one_vector_have_the_unit_of_each(tmp_path: Path) -> None:
    _, times = cells(3)
    unit = np.repeat([7, 3, 12], [len(one) for one in times])
    order = np.argsort(np.concatenate(times))
    path = tmp_path / "a.npz"
    np.savez(path, spk=np.concatenate(times)[order], clu=unit[order])
    starts = np.arange(2.0, 38.0, 3.0)
    recording = read_recording(path, spike_times="spk", spike_units="clu", trials={"start": starts}, window=(0, 1))
    assert recording.individual_ids == ("a/3", "a/7", "a/12")
    expected = count_spikes([times[1], times[0], times[2]], starts[:, None] + np.arange(11) * 0.1)
    assert np.array_equal(recording.values[..., 0], expected.swapaxes(0, 1))
    assert read_recording(path, spike_times="spk", spike_units="clu", window=2.0).n_bins == 20


def test_values_without_trials_are_one_trial_with_targets_per_bin(in_this_process: None, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    traces, speed, place = rng.normal(size=(50, 4)), rng.normal(size=50), rng.normal(size=(2, 50))
    savemat(tmp_path / "a.mat", {"traces": traces, "speed": speed, "place": place, "names": csc_array(np.eye(2))})
    recording = read_recording(
        tmp_path / "a.mat", values="traces", axes=["time", "individual"], targets=["speed", "place"]
    )
    assert recording.values.shape == (1, 4, 50, 1)
    assert recording.target_levels == {"speed": "bin", "place": "bin"}
    assert np.array_equal(recording.target("place")[0], place.T)


def test_a_field_that_nobody_names_is_never_read(in_this_process: None, tmp_path: Path) -> None:
    path = saved(tmp_path, ".mat", content())
    for options in ({}, {"targets": ["choice"]}, {"bin_seconds": 0.1}):
        with pytest.raises(InputError, match=r"spikes \(5, 6, 8\), choice \(8, 1\), .*nobody says which field"):
            read_recording(path, **options)  # type: ignore[arg-type]
    read = read_recording(path, values="spikes", axes=["individual", "time", "trial"])
    assert read.targets == {}


def test_what_a_file_holds_is_listed_with_what_to_type(
    in_this_process: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(tmp_path, ".mat", content() | {"time": np.arange(N_BINS) * 0.02})
    assert main(["data", "show", str(path)]) == 0
    shown = capsys.readouterr().out
    options = "{values: spikes, axes: [individual, time, trial], bin_seconds: …, targets: [choice, rt, label]}"
    assert options in shown
    rows = [line.split("  ") for line in shown.splitlines()]
    roles = {row[0]: row[-1].strip() for row in rows if len(row) > 2}
    assert {name: roles[name] for name in ("spikes", "choice", "pos", "time")} == {
        "spikes": "values", "choice": "target per trial", "pos": "target per bin", "time": "time of each bin",
    }  # fmt: skip
    assert main(["data", "show", str(path), "--reading", options.replace("…", "0.02")]) == 0
    assert "8 trials of 6 bins of 0.02 s, 5 individuals" in capsys.readouterr().out
    holder, _ = cells()
    path = saved(tmp_path, "7.3.mat", {"st": holder, "cue": np.arange(2.0, 38.0, 3.0), "choice": np.arange(12) % 2})
    assert main(["data", "show", str(path)]) == 0
    assert "{spike_times: st, align: cue, window: [0, 0.8], targets: [choice]}" in capsys.readouterr().out
    assert main(["data", "show", str(path), "--reading", "{spike_times: ste}"]) == 2
    assert "did you mean 'st'" in capsys.readouterr().err


AXES = ["individual", "time", "trial"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"values": "spiks", "axes": AXES}, "unknown field of .* 'spiks'; did you mean 'spikes'"),
        ({"values": "spikes"}, r"axes is None; say what each axis is.*\['individual', 'time', 'trial'\], perhaps"),
        ({"values": "spikes", "axes": AXES[:2]}, r"'spikes' has shape \(5, 6, 8\), and axes is"),
        ({"values": "spikes", "axes": ["unit", "time", "trial"]}, "unknown axis 'unit'"),
        ({"values": "spikes", "axes": ["trial", "feature", "time"]}, "without individual"),
        ({"values": "label", "axes": ["individual", "time"]}, "holds no numbers"),
        ({"values": "spikes", "axes": AXES, "targets": ["chioce"]}, "unknown field .*did you mean 'choice'"),
        (
            {"values": "spikes", "axes": AXES, "targets": ["wrong"]},
            r"'wrong' has shape \(3, 1\); with 8 trials of",
        ),
        (
            {"values": "spikes", "axes": AXES, "targets": ["choice"], "kinds": {"rt": "class"}},
            "target that kinds names",
        ),
        ({"values": "spikes", "axes": AXES, "kinds": {"rt": "klass"}}, "kinds"),
        ({"values": "spikes", "axes": AXES, "window": [0, 1]}, "window is of spike_times, and values are given"),
        ({"values": "spikes", "axes": AXES, "spike_units": "rt"}, "spike_units goes with spike_times"),
        ({"values": "spikes", "spike_times": "st"}, "both values and spike_times"),
        ({"spike_times": "st", "axes": AXES}, "axes are of values"),
        ({"spike_times": "rt"}, "'rt' is one array of spikes"),
        ({"spike_times": "rt", "spike_units": "wrong"}, "8 spikes and 'wrong' 3 units"),
        ({"spike_times": "st", "align": "cu"}, "unknown field"),
        (
            {"spike_times": "st", "align": "choice", "targets": ["wrong"]},
            r"'wrong' has shape \(3, 1\); give one",
        ),
        ({"spike_times": "st", "individual_ids": "label"}, "4 units and 8 individual_ids"),
        ({"value": "spikes"}, "unknown option for session.mat 'value'; did you mean 'values'"),
    ],
)
def test_what_is_said_wrongly_of_arrays_is_refused(
    in_this_process: None, tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    path = saved(tmp_path, ".mat", content() | {"st": cells()[0], "wrong": np.ones((3, 1))})
    with pytest.raises(InputError, match=said) as refusal:
        read_recording(path, **options)
    assert "session.mat" in str(refusal.value)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_that_is_cut_short_is_refused_by_name(tmp_path: Path, ending: str) -> None:
    path = saved(tmp_path, ending, content())
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="session"):
        read_recording(path, values="spikes", axes=AXES)


def test_hdf5_that_leads_to_another_file_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.ones((2, 3))
        file["y"] = h5py.ExternalLink("b.h5", "/x")
    with pytest.raises(InputError, match=r"a\.h5.*link to elsewhere"):
        read_recording(tmp_path / "a.h5", values="x", axes=["individual", "time"])


@pytest.mark.parametrize("compressed", [False, True])
def test_names_of_variables_are_found_without_opening_them(tmp_path: Path, compressed: bool) -> None:
    arrays = content() | {"a_name_that_is_longer_than_four": 1, "out_struct": {"x": 1}, "abc": 2}
    savemat(tmp_path / "a.mat", arrays, do_compression=compressed)
    assert names_of_mat(tmp_path / "a.mat") == set(arrays)
    whole = (tmp_path / "a.mat").read_bytes()
    for n_bytes in range(0, len(whole), 97):
        (tmp_path / "a.mat").write_bytes(whole[:n_bytes])
        assert names_of_mat(tmp_path / "a.mat") <= set(arrays)
