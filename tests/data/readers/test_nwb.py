"""NWB files as pynwb writes them become recordings; whatever is wrong with one is one refusal that names it."""

from __future__ import annotations

import datetime
import functools
import http.server
import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from motet.cli import main
from motet.data.readers import nwb, read_recording, remote
from motet.data.readers.nwb import show_nwb
from motet.data.recording import Recording
from motet.errors import InputError
from motet.given import is_known

pynwb = pytest.importorskip("pynwb")
h5py = pytest.importorskip("h5py")

RNG = np.random.default_rng(0)
UNITS = [np.sort(RNG.uniform(0, 60, n)) for n in (400, 0, 250, 300)]
STARTS = np.append(np.arange(2.0, 56.0, 3.0), 0.0)[::-1]  # the first one last: in no order
CHOICE = np.where(np.arange(len(STARTS)) % 2, "left", "right")
CONTRAST = (np.arange(len(STARTS)) % 3).astype(float)
CUE = np.where(np.arange(len(STARTS)) == 4, np.nan, STARTS + 0.5)
SECONDS = np.arange(0, 60, 0.02)
HAND = np.stack([np.sin(SECONDS), np.cos(SECONDS)], axis=1)
CALCIUM = RNG.normal(size=(1800, 3)).astype(np.float32)
LFP = np.outer(np.arange(6000), [1, 2]).astype(np.int16)
Change = Callable[[Any], None]


def session() -> Any:
    """An empty session, and a subject."""
    file = pynwb.NWBFile(
        session_description="made for tests",
        identifier="made",
        session_start_time=datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC),
    )
    file.subject = pynwb.file.Subject(subject_id="rat-7")
    return file


def units(file: Any) -> None:
    file.add_unit_column("quality", "of the sorting")
    for number, times in enumerate(UNITS):
        quality = "good" if number != 2 else "mua"
        file.add_unit(spike_times=times, obs_intervals=[[0, 60.0 if number else 30.0]], quality=quality, id=number + 10)


def trials(file: Any) -> None:
    for name in ("choice", "contrast", "cue_time"):
        file.add_trial_column(name, name)
    for start, choice, contrast, cue in zip(STARTS, CHOICE, CONTRAST, CUE, strict=True):
        file.add_trial(start_time=start, stop_time=start + 2.0, choice=choice, contrast=contrast, cue_time=cue)


def behaviour(file: Any) -> None:
    behaviour = file.create_processing_module("behavior", "what it did")
    hand = pynwb.behavior.SpatialSeries(
        name="hand", data=HAND * 100, conversion=0.01, unit="meters", timestamps=SECONDS, reference_frame="screen"
    )
    head = pynwb.behavior.SpatialSeries(
        name="head", data=np.rad2deg(SECONDS % (2 * np.pi)), unit="degrees", rate=50.0, reference_frame="north"
    )
    wheel = pynwb.TimeSeries(
        name="wheel", data=np.where(SECONDS > 29.99, np.nan, SECONDS), unit="rad/s", timestamps=hand
    )
    licks = pynwb.TimeSeries(name="licks", data=np.ones(19), unit="n/a", timestamps=np.sort(STARTS) + 0.1)
    behaviour.add(pynwb.behavior.Position(spatial_series=hand))
    behaviour.add(pynwb.behavior.CompassDirection(spatial_series=head))
    behaviour.add(pynwb.behavior.BehavioralTimeSeries(time_series=wheel))
    behaviour.add(pynwb.behavior.BehavioralEvents(time_series=licks))


def events(file: Any) -> None:
    table = file.create_events_table(name="events", description="licks")
    table.add_column("side", "of the lick")
    for number, seconds in enumerate(np.sort(STARTS) + 0.1):
        table.add_row(timestamp=seconds, side="lr"[number % 2])


def states(file: Any) -> None:
    table = pynwb.epoch.TimeIntervals(name="states", description="of the brain")
    table.add_column("state", "which")
    for start, stop, state in ((0, 20, "wake"), (20, 40, "rem"), (45, 60, "wake")):
        table.add_interval(start_time=float(start), stop_time=float(stop), state=state)
    file.add_time_intervals(table)


def calcium(file: Any) -> None:
    device = file.create_device("microscope")
    channel = pynwb.ophys.OpticalChannel("red", "red", 500.0)
    plane = file.create_imaging_plane(
        name="plane", optical_channel=channel, description="p", device=device, excitation_lambda=600.0,
        indicator="GFP", location="V1", imaging_rate=30.0,
    )  # fmt: skip
    cells = pynwb.ophys.PlaneSegmentation(name="cells", description="c", imaging_plane=plane)
    cells.add_column("is_cell", "whether")
    for number in range(3):
        cells.add_roi(pixel_mask=[(number, 0, 1.0)], is_cell=number != 1, id=number + 5)
    rois = cells.create_roi_table_region("all", region=[0, 1, 2])
    module = file.create_processing_module("ophys", "o")
    module.add(pynwb.ophys.ImageSegmentation(plane_segmentations=[cells]))
    for kind in (pynwb.ophys.Fluorescence, pynwb.ophys.DfOverF):
        name = kind.__name__.lower()
        series = pynwb.ophys.RoiResponseSeries(name=name, data=CALCIUM, unit="au", rois=rois, rate=30.0)
        module.add(kind(roi_response_series=series))


def electrodes(file: Any) -> None:
    device = file.create_device("probe")
    group = file.create_electrode_group("shank", "s", "CA1", device)
    for location in ("CA1", "CA3"):
        file.add_electrode(group=group, location=location)
    region = file.create_electrode_table_region([0, 1], "all")
    series = pynwb.ecephys.ElectricalSeries(
        name="lfp", data=LFP, electrodes=region, rate=100.0, conversion=0.5, starting_time=0.0
    )
    file.create_processing_module("ecephys", "e").add(pynwb.ecephys.LFP(electrical_series=series))


@pytest.fixture(scope="module")
def write(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Files as pynwb writes them, each once."""
    folder = tmp_path_factory.mktemp("nwb")

    @functools.cache
    def written(*parts: Change) -> Path:
        path = folder / ("-".join(part.__name__ for part in parts) + ".nwb")
        file = session()
        for part in parts:
            part(file)
        with pynwb.NWBHDF5IO(path, "w") as io:
            io.write(file)
        return path

    return written


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Files that pynwb wrote are read here, which is faster, but where a test wants a process of its own."""

    def read(function: Callable[..., Any], source: Any, *asked: Any, **_: Any) -> Any:
        return {name: np.asarray(array) for name, array in function(source, *json.loads(json.dumps(asked))).items()}

    if "own_process" not in request.fixturenames:
        monkeypatch.setattr(nwb, "in_subprocess", read)


@pytest.fixture
def own_process() -> None:
    """Read in a process of its own, as users do."""


def test_units_and_trials_are_trials_with_their_columns_as_targets(write: Callable[..., Path]) -> None:
    recording = read_recording(write(units, trials, behaviour))
    lasts = np.stack([STARTS, STARTS + 2], axis=1)
    plain = Recording.from_spikes(UNITS, lasts, behaviour={"hand": (SECONDS, HAND)})
    assert np.array_equal(recording.values[:, 1:], plain.values[:, 1:])
    assert recording.individual_ids == tuple(f"units-trials-behaviour/{number}" for number in (10, 11, 12, 13))
    assert recording.subject == "rat-7"
    assert recording.target_levels == {
        "choice": "trial", "contrast": "trial", "hand": "bin", "head": "bin", "wheel": "bin",
    }  # fmt: skip
    assert recording.targets["choice"].tolist() == CHOICE.tolist()
    assert np.allclose(recording.targets["hand"], plain.targets["hand"])
    ends = recording.trial_start_seconds[:, None] + (np.arange(20) + 1) * 0.1
    assert np.array_equal(recording.observed[:, 0], ends < 30 + 1e-6), "observed only within its obs_intervals"
    assert recording.observed[:, 1].all(), "a unit without spikes is silent, and observed"
    middle = ends - 0.05
    assert np.allclose(recording.targets["head"][..., 1], np.sin(middle), atol=0.015), "cosine and sine of a compass"
    assert np.array_equal(np.isnan(recording.targets["wheel"]), middle > 30), "NaN in behaviour is unknown"


def test_options_say_what_is_read(write: Callable[..., Path]) -> None:
    recording = read_recording(
        write(units, trials, behaviour),
        where={"quality": ["good"]},
        align="cue_time",
        window=(-0.2, 0.6),
        bin_seconds=0.05,
        targets=["contrast", "hand"],
        kinds={"contrast": "class"},
        name="day 1",
        subject="s",
    )
    assert recording.individual_ids == ("day 1/10", "day 1/11", "day 1/13")
    kept = ~np.isnan(CUE)
    assert np.allclose(recording.trial_start_seconds, CUE[kept] - 0.2)
    assert np.array_equal(recording.trial_ids, np.flatnonzero(kept))
    assert recording.values.shape == (kept.sum(), 3, 16, 1)
    assert recording.targets["contrast"].dtype == np.int64
    assert set(recording.targets) == {"contrast", "hand"}
    for trials_are in ("licks", "events"):
        licks = read_recording(write(units, trials, behaviour, events), trials=trials_are, window=(0, 1))
        assert np.allclose(licks.trial_start_seconds, np.sort(STARTS) + 0.1)
    assert licks.targets["side"].tolist() == ["l", "r"] * 9 + ["l"]


def test_without_trials_there_are_windows_and_states_per_bin(write: Callable[..., Path]) -> None:
    recording = read_recording(write(units, states, behaviour), window=1.0)
    assert np.unique(recording.trial_ids).size == 1
    assert recording.target_levels["states.state"] == "bin"
    state = recording.targets["states.state"].ravel()
    middle = (recording.trial_start_seconds[:, None] + (np.arange(10) + 0.5) * 0.1).ravel()
    assert set(state[middle < 20]) == {"wake"}
    assert set(state[(middle > 20) & (middle < 40)]) == {"rem"}
    assert not is_known(state[(middle > 40) & (middle < 45)]).any()


def test_signals_of_cells_and_electrodes_are_averaged_in_bins(write: Callable[..., Path]) -> None:
    path = write(calcium, trials)
    recording = read_recording(path, where={"is_cell": True})
    assert recording.individual_ids == ("calcium-trials/5", "calcium-trials/7")
    assert recording.metadata["nwb"]["values"] == "dfoverf"
    trial = int(np.argmin(STARTS))
    wanted = CALCIUM[:60].reshape(20, 3, 3).mean(axis=1)[:, [0, 2]]
    assert np.allclose(recording.values[trial, :, :, 0].T, wanted, atol=1e-6)
    windows = read_recording(path, values="fluorescence", trials="none", window=1.0)
    assert np.allclose(windows.values[0, :, :, 0].T, CALCIUM[:30].reshape(10, 3, 3).mean(axis=1), atol=1e-6)
    lfp = read_recording(write(electrodes), window=1.0, where={"location": "CA3"})
    assert np.allclose(lfp.values[0, 0, :, 0], LFP[:100, 1].reshape(10, 10).mean(axis=1) * 0.5)


def test_what_a_file_holds_is_shown_with_the_lines_that_read_it(
    write: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(units, trials, behaviour)
    assert main(["data", "show", str(path)]) == 0
    shown = capsys.readouterr().out
    for words in (
        "4 units (1 of none), 950 spikes", "where: quality", "19 intervals, 0 to 55 s; align: start_time, cue",
        "SpatialSeries in Position: 3,000 × 2 float64, 50 Hz, 0 to 59.98 s, meters",
        "2 classes (left, right)", "kinds={'contrast': 'class'}", f"motet decode {path} --target choice --reading",
    ):  # fmt: skip
        assert words in shown, words
    line = re.search(r"motet\.(read_recording\(.*\))", shown)
    assert line is not None
    again = eval(line[1], {"read_recording": read_recording})
    assert np.array_equal(again.values, read_recording(path).values)
    assert again.targets.keys() == read_recording(path).targets.keys()


def test_the_real_file_of_another_program_is_read(own_process: None) -> None:
    path = Path(os.environ.get("MOTET_DATA", "nowhere"), "nwb", "A8604-211122.nwb")
    if not path.is_file():
        pytest.skip("MOTET_DATA does not hold it")
    recording = read_recording(path, window=1.0)
    assert (recording.n_individuals, recording.n_bins) == (3, 10)
    with h5py.File(path) as file:
        spikes = file["units/spike_times"][:]
    start, end = recording.trial_start_seconds[0], recording.trial_start_seconds[-1] + 1.0
    assert recording.values.sum() == ((spikes >= start) & (spikes < end)).sum()
    assert "21,354 spikes" in show_nwb(path)


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("parts", "options", "said"),
    [
        ((units, trials), {"values": "spikes"}, "unknown values of .*'spikes'.*Allowed: units"),
        ((units, trials), {"trials": "trial"}, "did you mean 'trials'"),
        ((units, trials), {"align": "go_time"}, "column of times in trials.*cue_time"),
        ((units, trials), {"targets": ["choise"]}, "did you mean 'choice'"),
        ((units, trials), {"where": {"kind": "good"}}, "unknown column in where.*quality"),
        ((units, trials), {"where": {"quality": "best"}}, "there are good, mua"),
        ((units, trials), {"kinds": {"side": "class"}}, "kinds names 'side'"),
        ((units, trials), {"kinds": {"choice": "quantity"}}, "but it is text"),
        ((units, trials), {"window": 1.0}, "of trials give two numbers"),
        ((units, trials), {"window": (0, 4.0)}, "overlap the one before"),
        ((units, trials), {"bin_seconds": 5.0}, "no interval of trials has a start and lasts a bin of 5 s"),
        ((units, trials), {"bin": 0.1}, "unknown option .*bin_seconds"),
        ((units,), {"window": (0, 1.0)}, "there are no trials"),
        ((units,), {"align": "cue_time"}, "there are no trials"),
        ((behaviour,), {}, "neither units with spike times nor signals.*values=: wheel, head, hand"),
        ((trials,), {}, "neither units.*there is nothing to read"),
    ],
    ids=lambda one: str(one) if isinstance(one, dict) else None,
)
def test_what_a_file_does_not_hold_is_one_refusal(
    write: Callable[..., Path], parts: tuple[Change, ...], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        read_recording(write(*parts), **options)


def in_milliseconds(file: Any) -> None:
    file["units/spike_times"][...] = file["units/spike_times"][:] * 1000


def of_another_clock(file: Any) -> None:
    file["units/spike_times"][...] = file["units/spike_times"][:] + 5000


def external_link(file: Any) -> None:
    del file["units/spike_times"]
    file["units/spike_times"] = h5py.ExternalLink("other.nwb", "/units/spike_times")


def external_units(file: Any) -> None:
    del file["units"]
    file["units"] = h5py.ExternalLink("other.nwb", "/units")


def external_storage(file: Any) -> None:
    n = len(file["units/spike_times"])
    del file["units/spike_times"]
    file["units"].create_dataset("spike_times", (n,), "f8", external=[("/etc/passwd", 0, 8 * n)])


def virtual(file: Any) -> None:
    n = len(file["units/spike_times"])
    del file["units/spike_times"]
    layout = h5py.VirtualLayout((n,), "f8")
    layout[:] = h5py.VirtualSource("other.nwb", "x", (n,))
    file["units"].create_virtual_dataset("spike_times", layout)


def index_beyond(file: Any) -> None:
    file["units/spike_times_index"][-1] = 60_000


def never_written(file: Any) -> None:
    del file["units/spike_times"]
    file["units"].create_dataset("spike_times", (1 << 42,), "f8", chunks=(1 << 20,))


def of_version_1(file: Any) -> None:
    del file.attrs["nwb_version"]
    file["nwb_version"] = "NWB-1.0.6"


def no_nwb(file: Any) -> None:
    del file.attrs["nwb_version"]


def compound(file: Any) -> None:
    del file["units/spike_times"]
    file["units"]["spike_times"] = np.zeros(950, dtype=[("a", "f4"), ("b", "i4")])


def stops_before_starts(file: Any) -> None:
    file["intervals/trials/stop_time"][...] = file["intervals/trials/start_time"][:] - 1


def samples_without_times(file: Any) -> None:
    stamps = file["processing/behavior/Position/hand"]
    del stamps["timestamps"]
    stamps["timestamps"] = np.arange(7.0)


def times_in_no_order(file: Any) -> None:
    stamps = file["processing/behavior/Position/hand/timestamps"]
    stamps[...] = stamps[:][::-1]


def circle(file: Any) -> None:
    file["processing/again"] = file["processing"]
    file["units/spike_times_index"][0] = 10_000


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (in_milliseconds, "milliseconds or samples"),
        (of_another_clock, "never meet"),
        (external_link, "lies in another file"),
        (external_units, "neither units|in another file"),
        (external_storage, "lies in another file"),
        (virtual, "lies in another file"),
        (index_beyond, "does not part the 950 spike_times"),
        (never_written, "GiB of memory"),
        (of_version_1, "NWB of version 1"),
        (no_nwb, "no NWB file"),
        (compound, "cannot be read"),
        (stops_before_starts, "no interval of trials has a start and lasts a bin"),
        (samples_without_times, "3000 samples and .7,. timestamps"),
        (times_in_no_order, "timestamps of (hand|wheel) do not increase"),
        (circle, "does not part"),
    ],
)
def test_a_damaged_or_crafted_file_is_one_refusal_that_names_it(
    write: Callable[..., Path], tmp_path: Path, change: Change, said: str
) -> None:
    path = tmp_path / "odd.nwb"
    shutil.copy(write(units, trials, behaviour), path)
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(InputError, match=rf"odd\.nwb.*({said})") as caught:
        read_recording(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_a_file_that_is_cut_short_is_refused_by_name(write: Callable[..., Path], tmp_path: Path, share: float) -> None:
    content = write(units, trials).read_bytes()
    (tmp_path / "short.nwb").write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=r"short\.nwb cannot be read"):
        read_recording(tmp_path / "short.nwb")


def test_several_signals_of_one_kind_must_be_named(write: Callable[..., Path], tmp_path: Path) -> None:
    path = tmp_path / "two.nwb"
    shutil.copy(write(calcium, trials), path)
    with h5py.File(path, "r+") as file:
        file.copy("processing/ophys/DfOverF", "processing/ophys/Second")
    with pytest.raises(InputError, match=r"several signals, .*; name one: values='"):
        read_recording(path)
    assert "has no default" in show_nwb(path)


def test_h5py_that_is_not_installed_is_named(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("nwb_arrays", "nwb_file"):
        monkeypatch.delitem(__import__("sys").modules, f"motet.data.readers.{module}", raising=False)
        monkeypatch.delattr(f"motet.data.readers.{module}", raising=False)
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(InputError, match=r"h5py is not installed; pip install 'motet\[nwb\]'"):
        read_recording(write(units, trials))


# ------------------------------------------------------------------ files elsewhere


class Parts(http.server.BaseHTTPRequestHandler):
    """A server that gives parts of one file, as object stores do, behind a redirection."""

    content = b""
    gives_parts = True

    def do_GET(self) -> None:
        if self.path.endswith("/download/"):
            self.send_response(302)
            self.send_header("Location", "/store/file.nwb")
            self.end_headers()
            return
        if not self.path.endswith("file.nwb"):
            self.send_error(404)
            return
        begin, end = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
        part = self.content[begin : end + 1] if self.gives_parts else self.content
        self.send_response(206 if self.gives_parts else 200)
        if self.gives_parts:
            self.send_header("Content-Range", f"bytes {begin}-{begin + len(part) - 1}/{len(self.content)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)

    def log_message(self, *args: Any) -> None:
        """Nothing."""


@pytest.fixture
def server(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Parts, "content", write(units, trials, behaviour).read_bytes())
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Parts) as one:
        thread = threading.Thread(target=one.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{one.server_port}"
        one.shutdown()
        thread.join()


def test_a_file_elsewhere_is_read_in_parts(
    server: str, own_process: None, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = read_recording(write(units, trials, behaviour), name="same")
    assert np.array_equal(read_recording(f"{server}/file.nwb", name="same").values, here.values)
    monkeypatch.setattr(remote, "DANDI_API", f"{server}/api")
    assert remote.url_of("dandi:000006/8a82f7f5-4f2a-4b4e-9f5c-6b0b5d3e4a21").startswith(f"{server}/api/assets/8a82")
    file = remote.RemoteFile("dandi:000006/8a82f7f5-4f2a-4b4e-9f5c-6b0b5d3e4a21")
    file.seek(100)
    assert file.read(50) == Parts.content[100:150]
    assert file.seek(-8, 2) == len(Parts.content) - 8
    assert file.read() == Parts.content[-8:]


def test_what_cannot_be_had_from_elsewhere_is_one_refusal(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for address, said in {
        f"{server}/nothing": "HTTP Error 404",
        "http://127.0.0.1:1/file.nwb": "cannot be read.*download the file",
        "dandi:6/file": "give dandi:DANDISET/ASSET-ID",
    }.items():
        with pytest.raises(InputError, match=said):
            read_recording(address)
    monkeypatch.setattr(Parts, "gives_parts", False)
    with pytest.raises(InputError, match="does not give parts of files; download it"):
        read_recording(f"{server}/file.nwb")
