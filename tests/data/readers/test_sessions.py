"""Sessions of suite2p, Kilosort, Phy, SpikeInterface and MNE, as these programs write them."""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motet.data.binning import count_spikes
from motet.data.readers import frames, read_recording
from motet.data.readers.safe_pickle import numbers_in_pickle
from motet.data.recording import Recording
from motet.errors import InputError

FIXTURES = Path(__file__).parents[2] / "fixtures"
SUITE2P, PHY = FIXTURES / "suite2p-1.1.0", FIXTURES / "phy-of-spikeinterface-0.105.3"
TRIALS = {"start": np.array([1.0, 4.0, 8.0, 12.0, 16.0]), "side": ["l", "r", "l", "r", "l"], "gain": np.arange(5) / 2}


@pytest.fixture
def phy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(PHY, tmp_path / "phy"))


@pytest.fixture
def suite2p(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SUITE2P, tmp_path / "mouse"))


# ------------------------------------------------------------------ trials beside a session


@pytest.mark.parametrize("form", ["columns", "csv", "pandas", "polars", "parquet", "starts"])
def test_trials_are_a_table_in_any_form(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "in_subprocess", lambda read, path: read(path))
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    trials: Any = TRIALS
    match form:
        case "csv":
            pandas.DataFrame(TRIALS).to_csv(tmp_path / "trials.csv", index=False)
            trials = str(tmp_path / "trials.csv")
        case "pandas":
            trials = pandas.DataFrame(TRIALS)
        case "polars":
            trials = polars.DataFrame(TRIALS)
        case "parquet":
            polars.DataFrame(TRIALS).write_parquet(tmp_path / "trials.parquet")
            trials = tmp_path / "trials.parquet"
        case "starts":
            trials = TRIALS["start"]
    recording = read_recording(PHY, trials=trials, window=[-0.5, 1.0], bin_seconds=0.25, subject="m")
    assert (recording.n_trials, recording.n_bins, recording.subject) == (5, 6, "m")
    assert recording.trial_start_seconds.tolist() == (np.asarray(TRIALS["start"]) - 0.5).tolist()
    if form != "starts":
        assert recording.target("side").tolist() == TRIALS["side"]
        assert recording.target("gain").tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]
        assert set(read_recording(PHY, trials=trials, targets=["side"]).targets) == {"side"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"trials": {"begin": [1.0], "x": [2]}}, "of the columns of trials, 'begin', 'x', none may be the start"),
        ({"trials": {"start": [1.0], "onset": [2.0]}}, "several may be the start"),
        ({"trials": TRIALS, "align": "strt"}, "unknown column of trials 'strt'; did you mean 'start'"),
        ({"trials": TRIALS, "targets": ["sid"]}, "unknown target of the trials 'sid'; did you mean 'side'"),
        ({"trials": [1.0, 5.0], "targets": ["side"]}, "targets is a column of trials, which are starts alone"),
        ({"targets": ["side"]}, "targets is a column of trials, which are not given"),
        ({"trials": {"start": [1.0, 2.0], "x": [1]}}, r"different length: start \(2,\), x \(1,\)"),
        ({"trials": {"start": [1.0, np.nan]}}, "NaN"),
        ({"trials": {"start": [1000.0, 4000.0, 8000.0, 12000.0]}}, "milliseconds|on one clock"),
        ({"trials": "trials.txt"}, "trials.txt is no table"),
        ({"trials": "absent.csv"}, "absent.csv cannot be read"),
        ({"trials": TRIALS, "window": (1.0, 0.0)}, "window is"),
        ({"trials": TRIALS, "window": 2.0}, "window is 2.0"),
        ({"bin_seconds": 0}, "bin_seconds is 0"),
        ({"behaviour": {"speed": np.ones(3)}}, "behaviour has no column 'time'"),
        ({"trals": TRIALS}, "unknown option for .* 'trals'; did you mean 'trials'"),
    ],
)
@pytest.mark.parametrize("folder", [PHY, SUITE2P])
def test_what_is_said_wrongly_of_a_session_is_refused(folder: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_recording(folder, **options)


def test_behaviour_beside_a_session_is_a_target_per_bin(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    seconds = np.arange(0, 20, 0.05)
    pandas.DataFrame({"time": seconds, "speed": seconds * 2.0, "state": (seconds > 10).astype(int)}).to_csv(
        tmp_path / "wheel.csv", index=False
    )
    for folder in (PHY, SUITE2P):
        recording = read_recording(folder, behaviour=tmp_path / "wheel.csv", bin_seconds=0.5, window=2.0)
        assert recording.target_levels == {"speed": "bin", "state": "bin"}
        centres = recording.trial_start_seconds[:, None] + (np.arange(recording.n_bins) + 0.45) * 0.5
        np.testing.assert_allclose(recording.target("speed"), 2 * centres, atol=0.06)


# ------------------------------------------------------------------ Kilosort and Phy


def test_spikes_of_phy_are_counted_by_cluster() -> None:
    recording = read_recording(PHY, trials=TRIALS, window=(0.0, 1.0), bin_seconds=0.1)
    samples, clusters = np.load(PHY / "spike_times.npy").ravel(), np.load(PHY / "spike_clusters.npy").ravel()
    edges = TRIALS["start"][:, None] + np.arange(11) * 0.1
    assert recording.individual_ids == tuple(f"{PHY.name}/{cluster}" for cluster in np.unique(clusters))
    for place, cluster in enumerate(np.unique(clusters)):
        expected = count_spikes(samples[clusters == cluster] / 25_000, edges)
        assert np.array_equal(recording.values[:, place, :, 0], expected)


def test_good_clusters_are_read_and_what_a_person_said_counts(phy: Path) -> None:
    (phy / "cluster_KSLabel.tsv").write_text("cluster_id\tKSLabel\n0\tgood\n1\tgood\n2\tmua\n3\tgood\n")
    (phy / "cluster_group.tsv").write_text("cluster_id\tgroup\n1\tnoise\n2\tgood\n")
    names = ["phy/0", "phy/2", "phy/3"]
    assert list(read_recording(phy).individual_ids) == names
    assert list(read_recording(phy, groups=["good", "noise"]).individual_ids) == sorted([*names, "phy/1"])
    with pytest.raises(InputError, match=r"unknown group .* 'mua'.*Allowed: good, noise, unsorted"):
        read_recording(phy, groups=["mua"])


def test_parameters_of_phy_are_text_and_are_never_run(phy: Path, tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    (phy / "params.py").write_text(f"open({str(witness)!r}, 'w')\nsample_rate = 25000.  # Hz\n")
    assert read_recording(phy, trials=TRIALS).n_trials == 5
    assert not witness.exists()
    for line in ("sample_rate = 5 * 5000", "", "sample_rate = 1\nsample_rate = 2", "sample_rate = __import__('os')"):
        (phy / "params.py").write_text(line)
        with pytest.raises(InputError, match="say rate_hz=…"):
            read_recording(phy)
    assert read_recording(phy, rate_hz=25_000, trials=TRIALS).n_trials == 5


# ------------------------------------------------------------------ suite2p


def test_a_folder_of_suite2p_is_its_cells_frame_by_frame(suite2p: Path) -> None:
    plane = suite2p / "plane0"
    is_cell = np.load(plane / "iscell.npy")
    is_cell[1, 0] = 0
    np.save(plane / "iscell.npy", is_cell)
    events = np.load(plane / "spks.npy")
    recording = read_recording(suite2p, window=2.0)
    assert (recording.name, recording.bin_seconds) == ("mouse", 0.08)
    assert recording.individual_ids == ("mouse/0", "mouse/2", "mouse/3", "mouse/4")
    flat = recording.values[..., 0].swapaxes(0, 1).reshape(4, -1)
    np.testing.assert_array_equal(flat, events[[0, 2, 3, 4], : flat.shape[1]])
    dff = read_recording(plane, signal="F-0.7Fneu", only_cells=False, window=2.0)
    expected = np.load(plane / "F.npy") - 0.7 * np.load(plane / "Fneu.npy")
    np.testing.assert_allclose(dff.values[0, :, :, 0], expected[:, :25], rtol=1e-6)


def test_trials_of_suite2p_hold_the_frames_after_their_start() -> None:
    events = np.load(SUITE2P / "plane0" / "spks.npy")
    recording = read_recording(
        SUITE2P, trials={**TRIALS, "start": np.array([1, 4, 8, 12, 16]) * 1.04}, window=(-0.4, 2)
    )
    first = np.array([1, 4, 8, 12, 16]) * 13 - 5
    expected = np.stack([events[:, start : start + 30] for start in first])
    np.testing.assert_array_equal(recording.values[..., 0], expected)


def test_planes_are_one_population(suite2p: Path) -> None:
    shutil.copytree(suite2p / "plane0", suite2p / "suite2p" / "plane1")
    shutil.move(suite2p / "plane0", suite2p / "suite2p" / "plane0")
    recording = read_recording(suite2p)
    assert recording.n_individuals == 10
    assert recording.individual_ids[0] == "mouse/plane0/0"


def test_settings_of_suite2p_are_looked_up_and_never_run(suite2p: Path, tmp_path: Path) -> None:
    class Spy:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "witness"),)

    path = suite2p / "plane0" / "settings.npy"
    assert numbers_in_pickle(path, "fs") == [12.5]
    np.save(path, {"spy": Spy(), "fs": 25, "other": {"tau": 1.0}}, allow_pickle=True)  # type: ignore[arg-type]
    assert read_recording(suite2p).bin_seconds == 0.04
    assert not (tmp_path / "witness").exists()
    np.save(path, {"a": {"fs": 25}, "fs": 30}, allow_pickle=True)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"do not say one frame rate; say rate_hz=…"):
        read_recording(suite2p)
    assert read_recording(suite2p, rate_hz=10).bin_seconds == 0.1


@pytest.mark.parametrize("name", ["spks.npy", "iscell.npy", "settings.npy"])
def test_a_folder_of_suite2p_that_is_cut_short_is_refused_by_name(suite2p: Path, name: str) -> None:
    path = suite2p / "plane0" / name
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match="mouse"):
        read_recording(suite2p)
    path.unlink()
    with pytest.raises(InputError, match="spks.npy is not there|do not say one frame rate|is a folder of no form"):
        read_recording(suite2p)


# ------------------------------------------------------------------ SpikeInterface


@pytest.fixture
def sorting() -> Any:
    core = pytest.importorskip("spikeinterface.core")
    return core.generate_sorting(num_units=4, durations=[20.0], sampling_frequency=30_000.0, seed=0)


def test_a_sorting_is_the_same_as_an_object_and_as_a_folder(tmp_path: Path, sorting: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sorting.save(folder=tmp_path / "sorted")
    options: dict[str, Any] = {"trials": TRIALS, "window": (0, 1), "name": "s"}
    recordings = [read_recording(source, **options) for source in (sorting, tmp_path / "sorted")]
    assert recordings[0].individual_ids == recordings[1].individual_ids == ("s/0", "s/1", "s/2", "s/3")
    assert np.array_equal(recordings[0].values, recordings[1].values)
    first = sorting.get_unit_spike_train(sorting.unit_ids[0], return_times=True)
    expected = count_spikes(first, TRIALS["start"][:, None] + np.arange(11) * 0.1)
    assert np.array_equal(recordings[0].values[:, 0, :, 0], expected)
    spikes = tmp_path / "sorted" / "spikes.npy"
    spikes.write_bytes(spikes.read_bytes()[:-10])
    with pytest.raises(InputError, match=r"spikes\.npy should hold [0-9]+ records, and is cut short"):
        read_recording(tmp_path / "sorted")
    np.save(spikes, np.ones((4, 3)))
    with pytest.raises(InputError, match="records of sample_index, unit_index, segment_index are expected"):
        read_recording(tmp_path / "sorted")


def test_one_of_several_segments_is_chosen() -> None:
    core = pytest.importorskip("spikeinterface.core")
    sorting = core.generate_sorting(num_units=2, durations=[20.0, 20.0], seed=0)
    with pytest.raises(InputError, match="has 2 segments; say segment=…"):
        read_recording(sorting)
    with pytest.raises(InputError, match="from 0 to 1"):
        read_recording(sorting, segment=2)
    first, second = (read_recording(sorting, segment=one, trials=TRIALS) for one in (0, 1))
    assert not np.array_equal(first.values, second.values)


# ------------------------------------------------------------------ MNE


def epochs(kinds: Any = "eeg", n_epochs: int = 6) -> Any:
    mne = pytest.importorskip("mne")
    pandas = pytest.importorskip("pandas")
    info = mne.create_info(["A1", "A2", "A3"], 100.0, kinds, verbose="error")
    data = np.random.default_rng(0).normal(size=(n_epochs, 3, 41)) * 1e-6
    events = np.stack([np.arange(n_epochs) * 100 + 500, np.zeros(n_epochs, int), np.arange(n_epochs) % 2 + 1], axis=1)
    metadata = pandas.DataFrame({"rt": np.arange(n_epochs) / 4, "hand": ["left", None] * (n_epochs // 2)})
    return mne.EpochsArray(
        data, info, events, tmin=-0.1, event_id={"tone": 1, "flash/red": 2}, metadata=metadata, verbose="error"
    )


def test_epochs_are_trials_of_channels_and_a_file_is_its_object(tmp_path: Path) -> None:
    made = epochs()
    made.drop([2], verbose="error")
    made.info["bads"] = ["A2"]
    made.save(tmp_path / "s1-epo.fif", verbose="error")
    recording = read_recording(made, bin_seconds=0.05, name="s1-epo", subject="p1")
    assert recording.individual_ids == ("s1-epo/A1", "s1-epo/A3")
    assert (recording.values.shape, recording.bin_seconds) == ((5, 2, 8, 1), 0.05)
    expected = made.get_data(copy=True)[:, [0, 2], :40].reshape(5, 2, 8, 5).mean(-1)
    np.testing.assert_allclose(recording.values[..., 0], expected, rtol=1e-5, atol=1e-12)
    assert recording.target("event").tolist() == ["tone", "flash/red", "flash/red", "tone", "flash/red"]
    assert recording.target("hand").tolist() == ["left", "", "", "left", ""]
    assert recording.target("rt").tolist() == [0, 0.25, 0.75, 1.0, 1.25]
    assert recording.trial_ids.tolist() == [0, 1, 3, 4, 5]
    np.testing.assert_allclose(recording.trial_start_seconds, np.array([5, 6, 8, 9, 10]) - 0.1)
    stored = read_recording(tmp_path / "s1-epo.fif", bin_seconds=0.05, subject="p1")
    np.testing.assert_allclose(stored.values, recording.values, rtol=1e-5, atol=1e-12)
    assert stored.individual_ids == recording.individual_ids
    assert {name: target.tolist() for name, target in stored.targets.items()} == {
        name: target.tolist() for name, target in recording.targets.items()
    }
    path = tmp_path / "s1-epo.fif"
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(InputError, match=r"s1-epo\.fif"):
        read_recording(path)


@pytest.mark.parametrize(
    ("kinds", "options", "said"),
    [
        (["eeg", "eeg", "mag"], {}, "several kinds and units: 2 eeg, 1 mag; say picks='eeg'"),
        ("eeg", {"picks": ["B7"]}, r"picks is \['B7'\]"),
        ("eeg", {"bin_seconds": 0.033}, "3.3 samples at 100 Hz; give a whole number of them, such as 0.03"),
        ("eeg", {"bin_seconds": 2.0}, "longer than epochs"),
        ("eeg", {"targets": ["evnt"]}, "unknown target of the epochs 'evnt'; did you mean 'event'"),
        ("eeg", {"targets": "event"}, "give a list"),
    ],
)
def test_epochs_that_are_asked_for_wrongly_are_refused(kinds: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_recording(epochs(kinds), **options)


def test_kinds_of_channels_are_picked() -> None:
    recording = read_recording(epochs(["eeg", "mag", "eeg"]), picks="eeg", targets=["event"])
    assert (recording.n_individuals, set(recording.targets)) == (2, {"event"})


# ------------------------------------------------------------------ what is missing


@pytest.mark.parametrize(("file", "module", "extra"), [("a-epo.fif", "mne", "mne"), ("a.parquet", "polars", "tables")])
def test_an_extra_that_is_not_installed_is_named(
    tmp_path: Path, file: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / f"{module}.py").write_text(f"raise ImportError(name={module!r})")
    monkeypatch.syspath_prepend(tmp_path / "path")
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / file).write_bytes(b"PAR1" if module == "polars" else b"\0" * 20)
    with pytest.raises(InputError, match=rf"{module}.* is not installed; pip install 'motet\[{extra}\]'|MNE, which is"):
        read_recording(tmp_path / file)


def test_a_folder_of_no_known_form_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder of no form that motet knows; give the path of"):
        read_recording(tmp_path)


def test_what_is_read_has_the_names_that_are_given() -> None:
    recording: Recording = read_recording(PHY, name="probe", subject="rat-3")
    assert (recording.name, recording.subject, recording.individual_ids[0]) == ("probe", "rat-3", "probe/0")
