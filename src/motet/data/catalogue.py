"""Public recordings by name: `load("reach/chewie-1")`.

A file is looked for in the folder that the environment variable MOTET_DATA names, flat or in a folder for its
group (`reach/`, `sleep/`, `hippocampus/`), and otherwise downloaded once into the user's cache, if an address offers
it. Either way it is used only if its SHA-256 is the one written here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pooch

from motet.data.readers import refuse_unknown_options
from motet.data.readers.nwb import read_nwb
from motet.data.readers.reach import read_reach_pickle
from motet.data.readers.sleep import read_sleep
from motet.data.readers.track import read_track
from motet.data.recording import Recording
from motet.errors import InputError, did_you_mean
from motet.files import atomic_path

# One commit of each public repository, so that what an address gives cannot change.
PYNAPPLE_URL = "https://raw.githubusercontent.com/pynapple-org/pynapple/77e4805331713ccd57b5070ae5be8cd3e54e709c/"
SOURCE_URL = "https://raw.githubusercontent.com/nerdslab/myow-neuro/4af5f184bfb223ad813fef1d52cf29b4647960c3/data/"


@dataclasses.dataclass(frozen=True)
class DataFile:
    """A public file.

    Attributes:
        path: its place below the source.
        sha256: of its bytes.
        n_bytes: how many these are.
        made_from: where no address offers the file itself, what it was made from, in words.
        source: the address that paths are below; by default `SOURCE_URL`.
    """

    path: str
    sha256: str
    n_bytes: int
    made_from: str | None = None
    source: str | None = None

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


@dataclasses.dataclass(frozen=True)
class Entry:
    """A public recording: what it is, where its files are and how they are read.

    Attributes:
        name: "<group>/<recording>".
        files: in the order in which the reader takes them.
        reader: makes the recording from the paths of the files.
        fixed: arguments of the reader that are the entry's or the files', and not the user's to choose.
    """

    name: str
    description: str
    subject: str
    files: tuple[DataFile, ...]
    reader: Callable[..., Recording]
    citation: str
    licence: str = "Apache-2.0"
    fixed: tuple[str, ...] = ("name", "subject", "bin_seconds")


def _reach(name: str, description: str, file: str, sha256: str, n_bytes: int) -> Entry:
    return Entry(
        name,
        f"macaque motor cortex, reaches to 8 targets, bins of 0.1 s: {description}",
        name.removeprefix("reach/").partition("-")[0],
        (DataFile(f"mihi-chewie/processed/{file}", sha256, n_bytes),),
        read_reach_pickle,
        "Dyer et al., A cryptography-based approach for movement decoding, "
        "Nature Biomedical Engineering 1, 967–976 (2017)",
    )


_ENTRIES = (
    _reach(
        "reach/chewie-1",
        "159 trials, 174 neurons, whole movements",
        "full-chewie-10032013-bin0.10-vel_thresh0.00.pkl",
        "d3c38319c0fd66b794a9480dcf8030e1e73c9b976913af09fa6e1bdf20a13888",
        1_622_108,
    ),
    _reach(
        "reach/chewie-2",
        "180 trials, 155 neurons, bins faster than 5 cm/s",
        "full-chewie-12192013-bin0.10-vel_thresh5.00.pkl",
        "62057a140c8c0e660b8cca2515317d583f83d2e362d04b166c789ba57aeca9b3",
        996_327,
    ),
    _reach(
        "reach/mihi-1",
        "209 trials, 187 neurons, bins faster than 5 cm/s",
        "full-mihi-03032014-bin0.10-vel_thresh5.00.pkl",
        "aa53dffd7c7fea6787843221f2d4d01881befbc4c53a655fa9989cd5c837f729",
        1_372_265,
    ),
    Entry(
        "sleep/mouse-ca1",
        "mouse hippocampus CA1, 12 h of wake, nREM and REM in bins of 4 s: 42 neurons",
        "mouse-ca1",
        (
            DataFile(
                "rodent/fr_bins_n_4full.npy",
                "75eb62fecd81899be546cf4770c0cf66afe4ae9f957b9bfdd5ebe5d0a00317bc",
                1_814_528,
            ),
            DataFile(
                "rodent/behav_states_n_4full.npy",
                "7d0679a2a1b3a221b060cd7aa76ac59d371d74a8aad4c496b2559c3e23abd1ca",
                86_528,
            ),
        ),
        read_sleep,
        "Ma et al., Cortical circuit dynamics are homeostatically tuned to criticality in vivo, "
        "Neuron 104, 655–664 (2019)",
    ),
    Entry(
        "hippocampus/linear-track",
        "rat hippocampus, 15 min of running to and fro and 15 min of rest, cut into runs: 31 units, bins of 0.25 s",
        "rat",
        (
            DataFile(
                "hippocampus/linear-track.npz",
                "733bb6ccdf8768543a503e35ccdbdc2c953761b031cbb582c02bfeaa70870dae",
                711_189,
                made_from="the folder linear-track of https://github.com/nelpy/example-data",
            ),
        ),
        read_track,
        "nelpy example data, folder linear-track, https://github.com/nelpy/example-data",
        "MIT",
        ("name", "subject"),
    ),
    Entry(
        "nwb/pynapple-a8604",
        "an NWB file to try readers on, not for science: 18 min, 3 units, no behaviour and no trials",
        "A8604",
        (
            DataFile(
                "tests/nwbfilestest/phy/pynapplenwb/A8604-211122.nwb",
                "6c9913f1a36c43dc627a541f4e521eb17e305879eb4d9bce949f77970994ac22",
                442_304,
                source=PYNAPPLE_URL,
            ),
        ),
        read_nwb,
        "tests of pynapple, https://github.com/pynapple-org/pynapple",
        "MIT",
        ("name", "subject"),
    ),
)
CATALOGUE: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}


def list_recordings() -> list[str]:
    """The names that `load` knows; `CATALOGUE[name]` tells more about each.

    Example:
        >>> list_recordings()[:5]
        ['reach/chewie-1', 'reach/chewie-2', 'reach/mihi-1', 'sleep/mouse-ca1', 'hippocampus/linear-track']
    """
    return list(CATALOGUE)


def load(name: str, **options: Any) -> Recording:
    """The public recording of that name, downloaded if need be.

    Args:
        name: one of `list_recordings()`.
        **options: for `reach/…`, minimum_speed in cm/s (see `motet.data.readers.reach.read_reach_pickle`); for
            `hippocampus/linear-track`, how it is cut into bins and runs (see `motet.data.readers.track.read_track`).

    Raises:
        InputError: if the name or an option is unknown, or a file cannot be had or is not the public one.

    Example:
        >>> load("reach/chewie-1")  # doctest: +SKIP
        Recording('reach/chewie-1': 159 trials × 174 individuals × …)
        >>> load("reach/chewi-1")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        motet.errors.InputError: unknown recording 'reach/chewi-1'; did you mean 'reach/chewie-1'? Allowed: ...
    """
    entry = _entry(name)
    refuse_unknown_options(entry.reader, options, what=f"option for {name}", fixed=entry.fixed)
    return entry.reader(*fetch(name), name=entry.name, subject=entry.subject, **options)


def fetch(name: str) -> list[Path]:
    """The verified local files of a public recording, downloaded if need be.

    Raises:
        InputError: if the name is unknown, or a file cannot be had or is not the public one.

    Example:
        >>> fetch("reach/chewie-1")  # doctest: +SKIP
        [PosixPath('…/full-chewie-10032013-bin0.10-vel_thresh0.00.pkl')]
        >>> fetch("sleep/mouse")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        motet.errors.InputError: unknown recording 'sleep/mouse'; did you mean 'sleep/mouse-ca1'? Allowed: ...
    """
    group = name.partition("/")[0]
    return [_find_local(file, group) or _download(file) for file in _entry(name).files]


def cache_folder() -> Path:
    """Where downloads are kept."""
    return Path(pooch.os_cache("motet"))


def is_here(name: str) -> bool:
    """Whether all files of a public recording are here, in MOTET_DATA or the cache, and need no download.

    Raises:
        InputError: if the name is unknown, or a file is not the public one.
    """
    group, files = name.partition("/")[0], _entry(name).files
    return all(_find_local(file, group) is not None or _is_cached(file) for file in files)


def _is_cached(file: DataFile) -> bool:
    path = cache_folder() / file.name
    return path.is_file() and _sha256(path) == file.sha256


def found_files(name: str) -> list[Path | None]:
    """Where the files of a public recording lie, before anything is verified; None for those to be downloaded."""
    group = name.partition("/")[0]
    places = [[*_places(file, group), _in_cache(file)] for file in _entry(name).files]
    return [next((path for path in one if path.is_file()), None) for one in places]


def _entry(name: str) -> Entry:
    if name in CATALOGUE:
        return CATALOGUE[name]
    raise did_you_mean(name, CATALOGUE, what="recording")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _find_local(file: DataFile, group: str) -> Path | None:
    """The file in MOTET_DATA, verified; None if it is not there."""
    for path in _places(file, group):
        if path.is_file():
            if (found := _sha256(path)) != file.sha256:
                raise InputError(
                    f"{path} is not the public file: expected SHA-256 {file.sha256}, found {found}; "
                    "delete it to download it again."
                )
            return path
    return None


def _places(file: DataFile, group: str) -> list[Path]:
    """Where a file may lie in MOTET_DATA."""
    if not (setting := os.environ.get("MOTET_DATA")):
        return []
    folder = Path(setting).expanduser()
    if not folder.is_dir():
        raise InputError(f"MOTET_DATA is {setting!r}, which is not a folder; set it to one, or unset it.")
    return [folder / file.name, folder / group / file.name]


def _in_cache(file: DataFile) -> Path:
    return Path(pooch.os_cache("motet")) / file.name


def _download(file: DataFile) -> Path:
    """The file in the cache, verified; nothing is kept there of a download that fails or is killed."""
    if file.made_from is not None:
        raise InputError(
            f"{file.name} cannot be downloaded: no address offers it, it was made from {file.made_from}; set "
            f"MOTET_DATA to a folder that holds it as {file.path}, or read one that you made."
        )
    path, url = cache_folder() / file.name, SOURCE_URL + file.path
    if _is_cached(file):
        return path
    advice = "try again, or set MOTET_DATA to a folder that holds the file"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            try:
                pooch.HTTPDownloader(progressbar=sys.stderr.isatty())(url, str(temporary), None)
            except OSError as error:  # the errors of requests are among them
                raise InputError(f"{url} cannot be downloaded to {path.parent} ({error}); {advice}.") from error
            if (found := _sha256(temporary)) != file.sha256:
                raise InputError(
                    f"{url} did not give the public file (expected {file.sha256} but got {found}); {advice}."
                )
    except OSError as error:
        raise InputError(f"{path.parent} cannot hold downloads ({error.strerror}); {advice}.") from error
    return path
