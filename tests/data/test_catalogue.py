"""The catalogue: verified files from a folder or by download, and the real recordings where they are."""

from __future__ import annotations

import hashlib
import http.server
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pooch
import pytest

from motet.cli import main
from motet.data import catalogue
from motet.data.catalogue import CATALOGUE, DataFile, Entry, fetch, list_recordings, load
from motet.data.dataset import PopulationDataset
from motet.data.readers.sleep import read_sleep
from motet.data.recording import Recording
from motet.errors import InputError

# ---- files, on a small recording of our own -----------------------------------------------------


def array_bytes(folder: Path, array: np.ndarray) -> bytes:
    np.save(folder / "array.npy", array)
    return (folder / "array.npy").read_bytes()


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The files, by name, of a recording `sleep/small` put into the catalogue; the cache is a fresh folder."""
    (tmp_path / "made").mkdir()
    contents = {
        "counts.npy": array_bytes(tmp_path / "made", np.arange(12).reshape(3, 4)),
        "states.npy": array_bytes(tmp_path / "made", np.array([0.0, 1.0, 2.0, 1.0])),
    }
    files = tuple(
        DataFile(f"some/{name}", hashlib.sha256(data).hexdigest(), len(data)) for name, data in contents.items()
    )
    entry = Entry("sleep/small", "a small one", "mouse", files, read_sleep, "none")
    monkeypatch.setitem(CATALOGUE, "sleep/small", entry)
    monkeypatch.setattr(pooch, "os_cache", lambda _: tmp_path / "cache")
    monkeypatch.delenv("MOTET_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return contents


@pytest.fixture
def server(small: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Serves the small recording; what it sends may be changed. Counts requests."""
    state: dict[str, Any] = {"contents": dict(small), "missing_bytes": 0, "n_requests": 0}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state["n_requests"] += 1
            content = state["contents"].get(self.path.removeprefix("/data/some/"))
            if content is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) - state["missing_bytes"]])

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http_server:
        threading.Thread(target=http_server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        monkeypatch.setattr(catalogue, "SOURCE_URL", f"http://127.0.0.1:{http_server.server_port}/data/")
        yield state
        http_server.shutdown()


def cached(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache").glob("*"))


def write_all(folder: Path, contents: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)


@pytest.mark.parametrize("place", ["", "sleep"])
def test_files_in_motet_data_are_used_in_place(
    tmp_path: Path, small: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    write_all(tmp_path / "mine" / place, small)
    monkeypatch.setenv("MOTET_DATA", str(tmp_path / "mine"))
    assert fetch("sleep/small") == [tmp_path / "mine" / place / name for name in small]
    recording = load("sleep/small")
    assert (recording.name, recording.subject) == ("sleep/small", "mouse")
    assert not cached(tmp_path)


def test_a_tampered_file_in_motet_data_is_refused(
    tmp_path: Path, small: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    tampered = small["counts.npy"][:-1] + b"\x01"
    write_all(tmp_path / "mine", small | {"counts.npy": tampered})
    monkeypatch.setenv("MOTET_DATA", str(tmp_path / "mine"))
    expected, found = (hashlib.sha256(content).hexdigest() for content in (small["counts.npy"], tampered))
    with pytest.raises(InputError, match=rf"counts\.npy .*expected SHA-256 {expected}, found {found}"):
        load("sleep/small")


def test_motet_data_that_is_no_folder_is_refused(small: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTET_DATA", "no-such-folder")
    with pytest.raises(InputError, match="MOTET_DATA is 'no-such-folder'"):
        fetch("sleep/small")


def test_a_recording_is_downloaded_once(tmp_path: Path, server: dict[str, Any]) -> None:
    recording = load("sleep/small")
    assert np.array_equal(recording.values[0, :, :, 0], np.arange(12).reshape(3, 4))
    assert cached(tmp_path) == ["counts.npy", "states.npy"]
    assert fetch("sleep/small") == [tmp_path / "cache" / name for name in ("counts.npy", "states.npy")]
    assert server["n_requests"] == 2


def test_a_folder_without_the_file_is_passed_over(
    tmp_path: Path, server: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOTET_DATA", str(tmp_path))
    assert len(fetch("sleep/small")) == server["n_requests"] == 2


def test_a_damaged_file_in_the_cache_is_downloaded_again(tmp_path: Path, server: dict[str, Any]) -> None:
    write_all(tmp_path / "cache", {"counts.npy": b"half", "states.npy": server["contents"]["states.npy"]})
    load("sleep/small")
    assert server["n_requests"] == 1
    assert (tmp_path / "cache" / "counts.npy").read_bytes() == server["contents"]["counts.npy"]


def test_a_download_of_other_bytes_is_refused_and_not_kept(tmp_path: Path, server: dict[str, Any]) -> None:
    tampered = server["contents"]["counts.npy"] + b"!"
    expected = CATALOGUE["sleep/small"].files[0].sha256
    server["contents"]["counts.npy"] = tampered
    with pytest.raises(InputError, match=rf"expected {expected} but got {hashlib.sha256(tampered).hexdigest()}"):
        load("sleep/small")
    assert not cached(tmp_path)


def test_a_download_cut_short_is_refused_and_not_kept(tmp_path: Path, server: dict[str, Any]) -> None:
    server["missing_bytes"] = 7
    with pytest.raises(InputError, match="MOTET_DATA"):
        load("sleep/small")
    assert not cached(tmp_path)


def test_an_interrupted_download_leaves_nothing(
    tmp_path: Path, small: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def downloader(**_: object) -> Any:
        def interrupt(_url: str, path: str, _pooch: object) -> None:
            Path(path).write_bytes(b"half")
            raise KeyboardInterrupt

        return interrupt

    monkeypatch.setattr(pooch, "HTTPDownloader", downloader)
    with pytest.raises(KeyboardInterrupt):
        fetch("sleep/small")
    assert not cached(tmp_path)


def test_a_killed_download_does_not_stay(
    tmp_path: Path, server: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = f"""
import os, pathlib, pooch
from motet.cli import main
from motet.data import catalogue
pooch.os_cache = lambda _: pathlib.Path({str(tmp_path / "cache")!r})
class Downloader:
    def __init__(self, **_): pass
    def __call__(self, url, path, _):
        pathlib.Path(path).write_bytes(b"half")
        os.kill(os.getpid(), 9)
pooch.HTTPDownloader = Downloader
catalogue._download(catalogue.DataFile("some/counts.npy", "0" * 64, 1))
"""
    assert subprocess.run([sys.executable, "-c", killed]).returncode != 0
    (left,) = (tmp_path / "cache").iterdir()
    os.utime(left, (0, 0))
    load("sleep/small")
    assert cached(tmp_path) == ["counts.npy", "states.npy"]


def test_no_network_says_what_to_do(tmp_path: Path, server: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    server["contents"].clear()
    with pytest.raises(InputError, match=r"some/counts\.npy cannot be downloaded .*404.* set MOTET_DATA"):
        fetch("sleep/small")
    monkeypatch.setattr(catalogue, "SOURCE_URL", "http://127.0.0.1:1/")
    with pytest.raises(InputError, match=r"cannot be downloaded .*set MOTET_DATA"):
        fetch("sleep/small")
    monkeypatch.setattr(pooch, "os_cache", lambda _: tmp_path / "made" / "array.npy")
    with pytest.raises(InputError, match=r"set MOTET_DATA"):
        fetch("sleep/small")


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_bar_is_shown_only_on_a_terminal(
    small: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, is_terminal: bool
) -> None:
    asked = []

    def downloader(*, progressbar: bool) -> Any:
        asked.append(progressbar)
        return lambda _url, path, _pooch: Path(path).write_bytes(small["counts.npy"])

    monkeypatch.setattr(pooch, "HTTPDownloader", downloader)
    monkeypatch.setattr("sys.stderr.isatty", lambda: is_terminal)
    with pytest.raises(InputError):  # the second file gets the bytes of the first
        fetch("sleep/small")
    assert asked == [is_terminal, is_terminal]


def test_a_name_nearly_right_is_refused_with_the_right_one() -> None:
    with pytest.raises(InputError, match="did you mean 'reach/chewie-1'"):
        load("reach/chewy-1")
    with pytest.raises(InputError, match="did you mean 'sleep/mouse-ca1'"):
        fetch("sleep/mouse-ca")


def test_options_are_those_of_the_reader_and_what_the_file_fixes_stays(small: dict[str, bytes]) -> None:
    with pytest.raises(InputError, match="did you mean 'minimum_speed'"):
        load("reach/chewie-1", minimum_sped=5.0)
    for option in ("subject", "bin_seconds", "path"):
        with pytest.raises(InputError, match=f"unknown option for reach/chewie-1 '{option}'"):
            load("reach/chewie-1", **{option: 1})
    with pytest.raises(InputError, match="unknown option for hippocampus/linear-track 'subject'"):
        load("hippocampus/linear-track", subject="x")  # bin_seconds is the user's to choose there
    with pytest.raises(InputError, match="unknown option for sleep/small"):
        load("sleep/small", minimum_speed=5.0)


def test_what_no_address_offers_is_asked_for_by_its_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MOTET_DATA", str(tmp_path))
    with pytest.raises(
        InputError, match=r"no address offers it.* folder that holds it as hippocampus/linear-track\.npz"
    ):
        load("hippocampus/linear-track")


def test_every_entry_is_complete() -> None:
    for name, entry in CATALOGUE.items():
        assert entry.name == name
        assert entry.description
        assert "\n" not in entry.description
        assert entry.citation
        assert entry.licence
        assert entry.files
        for file in entry.files:
            assert len(file.sha256) == 64
            assert re.fullmatch(
                r"https://raw\.githubusercontent\.com/[\w-]+/[\w-]+/[0-9a-f]{40}/(data/)?",
                file.source or catalogue.SOURCE_URL,
            )
            assert file.n_bytes > 0
            assert "/" not in file.name
            assert file.path.endswith(file.name)
    assert list_recordings() == list(CATALOGUE)


def test_the_list_says_how_large_recordings_are_and_where_they_lie(
    small: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def row() -> str:
        assert main(["data", "list"]) == 0
        return next(line for line in capsys.readouterr().out.splitlines() if line.startswith("sleep/small"))

    assert "0.0 MB  to be downloaded" in row()
    monkeypatch.setenv("MOTET_DATA", str(tmp_path / "mine"))
    (tmp_path / "mine" / "sleep").mkdir(parents=True)
    for name, data in small.items():
        assert "to be downloaded" in row()
        (tmp_path / "mine" / "sleep" / name).write_bytes(data)
    assert row().endswith(f"  {tmp_path / 'mine' / 'sleep'}")
    monkeypatch.setenv("MOTET_DATA", str(tmp_path / "gone"))
    assert main(["data", "list"]) == 2
    assert "is not a folder" in capsys.readouterr().err


# ---- the real recordings ------------------------------------------------------------------------


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Loads a real recording, from MOTET_DATA or the shared folder beside the repository."""
    shared = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    folder = os.environ.get("MOTET_DATA") or (str(shared) if shared.is_dir() else "")
    if not folder:
        pytest.skip("needs the real recordings: set MOTET_DATA to their folder")
    monkeypatch.setenv("MOTET_DATA", folder)
    return load


# name: trials, neurons, fewest and most bins of a trial, trials with a gap inside, kinematics recorded
REACHES = {
    "reach/chewie-1": (159, 174, 9, 14, 0, {"position", "velocity", "acceleration", "force"}),
    "reach/chewie-2": (180, 155, 3, 9, 7, {"position", "velocity", "acceleration", "force"}),
    "reach/mihi-1": (209, 187, 4, 8, 5, {"velocity", "force"}),
}


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_real_file_has_the_size_that_the_list_says(real: Any, name: str) -> None:
    for file, path in zip(CATALOGUE[name].files, fetch(name), strict=True):
        assert path.stat().st_size == file.n_bytes


@pytest.mark.parametrize("name", REACHES)
def test_a_reach_recording_has_the_published_sizes(real: Any, name: str) -> None:
    n_trials, n_neurons, fewest, most, n_gaps, kinematics = REACHES[name]
    recording: Recording = real(name)
    assert recording.values.shape == (n_trials, n_neurons, most, 1)
    assert (recording.trial_lengths.min(), recording.trial_lengths.max()) == (fewest, most)
    assert recording.subject == name.removeprefix("reach/")[:-2]
    assert recording.bin_seconds == 0.1
    assert recording.individual_ids[17] == f"{name}/017"
    assert np.array_equal(recording.values, np.rint(recording.values))
    assert recording.values.min() == 0
    direction = recording.target("direction")
    assert direction.shape == (n_trials,)
    assert np.unique(direction).tolist() == list(range(8))
    assert set(recording.targets) == {"direction", "timestep", *kinematics}
    bins = recording.bin_is_observed
    for kinematic in kinematics:
        track = recording.target(kinematic)
        assert track.dtype == np.float64
        assert track.shape == (n_trials, most, 2)
        assert np.array_equal(~np.isnan(track).any(-1), bins)
    steps = recording.target("timestep")
    inside = np.diff(steps, axis=1)[bins[:, 1:]].reshape(-1)
    assert (inside >= 1).all()
    assert ((np.diff(steps, axis=1) > 1) & bins[:, 1:]).any(1).sum() == n_gaps


@pytest.mark.parametrize("name", REACHES)
def test_the_hand_moves_towards_the_target_clockwise_from_ahead(real: Any, name: str) -> None:
    recording: Recording = real(name)
    velocity, direction = recording.target("velocity"), recording.target("direction")
    for target in range(8):
        x, y = np.nanmean(velocity[direction == target], axis=(0, 1))
        error = np.degrees(np.arctan2(y, x)) - (90 - 45 * target)
        assert abs((error + 180) % 360 - 180) < 8


def test_slow_bins_can_be_left_out_as_in_the_other_public_files(real: Any) -> None:
    fast: Recording = real("reach/chewie-1", minimum_speed=5.0)
    speed = np.linalg.norm(fast.target("velocity")[fast.bin_is_observed], axis=-1)
    assert speed.min() > 5.0
    assert fast.n_trials == 159
    assert fast.trial_lengths.max() == 8


def test_the_sleep_recording_is_one_trial_of_twelve_hours(real: Any) -> None:
    recording: Recording = real("sleep/mouse-ca1")
    states = recording.target("state")
    assert recording.values.shape == (1, 42, 10800, 1)
    assert recording.observed.all()
    assert recording.n_bins * recording.bin_seconds == 12 * 3600
    assert recording.target_levels["state"] == "bin"
    assert np.bincount(states[0]).tolist() == [3832, 6206, 762]
    assert np.array_equal(recording.values, np.rint(recording.values))


def test_state_2_is_entered_from_state_1_only_as_rem_is_from_nrem(real: Any) -> None:
    states = real("sleep/mouse-ca1").target("state")[0]
    before, after = states[:-1], states[1:]
    entries = before[(after == 2) & (before != 2)]
    assert len(entries) == 21
    assert (entries == 1).all()


def test_the_rat_is_read_in_runs_that_split_in_time(real: Any) -> None:
    recording: Recording = real("hippocampus/linear-track")
    assert recording.bin_seconds == 0.25
    assert recording.n_individuals == 31
    assert recording.bin_is_observed.sum() == 1550  # of 7,929, most of them rest
    assert (np.diff(recording.trial_start_seconds) > 0).all()
    assert recording.trial_start_seconds.min() > 4397
    position = recording.target("position")[recording.bin_is_observed]
    assert np.isfinite(position).all()
    directions, counts = np.unique(recording.target("direction"), return_counts=True)
    assert (directions.tolist(), counts.min() > 1) == (["", "left", "right"], True)
    for train, test in PopulationDataset(recording).folds(5, by="time"):
        (before,), (held_out,) = train.recordings, test.recordings
        distance = np.abs(before.trial_start_seconds[:, None] - held_out.trial_start_seconds)
        assert distance.min() > recording.n_bins * recording.bin_seconds
    slower: Recording = real("hippocampus/linear-track", bin_seconds=0.5, minimum_pixels_per_second=30.0)
    assert slower.bin_seconds == 0.5
