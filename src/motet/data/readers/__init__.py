"""Ways into a `Recording`: `read_recording` asks one reader after another whether what it is given is its own.

| reader | takes |
|---|---|
| track | `.npz`: spikes and tracked positions on one clock (`motet.data.readers.track`) |
| recording | `.npz`: saved by `write_recording`, or of the minimal form (`motet.data.readers.recordings`) |
| array | `.npy`: (trial, individual, time[, feature]), or (individual, time) for one trial; NaN = not observed |
| raw reach | `.mat`: a raw reach recording (`motet.data.readers.reach`) |
| reach | `.pkl`: a public reach recording (`motet.data.readers.reach`) |
| trajectories | `.csv`, `.tsv`, either gzipped, `.npz`, `.nc` (`motet.data.readers.trajectories`) |
| columnar table | `.parquet`, `.feather` (`motet.data.readers.frames`) |
| named arrays | `.mat`, `.npz`, `.h5`: whoever saved them says what is what (`motet.data.readers.named_arrays`) |
| epochs | `-epo.fif` files, and Epochs of MNE (`motet.data.readers.mne_epochs`) |
| sorting | folders and objects of SpikeInterface (`motet.data.readers.spikeinterface`) |
| kilosort | folders of Kilosort and Phy (`motet.data.readers.kilosort`) |
| suite2p | folders of suite2p (`motet.data.readers.suite2p`) |
| data frame | a DataFrame of pandas or polars (`motet.data.readers.frames`) |
| nwb | `.nwb`, or an address of one: https://… or dandi:… (`motet.data.readers.nwb`) |
| xarray | a Dataset or DataArray (`motet.data.readers.trajectories.from_xarray`) |

A reader is a file here and a line in `READERS`. None runs code from a file, and none takes more memory than there is
(SECURITY.md).
"""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from motet.data.readers.field_roles import contents_of_arrays
from motet.data.readers.frames import is_frame, is_frame_file, read_frame
from motet.data.readers.kilosort import is_kilosort, read_kilosort
from motet.data.readers.mne_epochs import is_epochs, is_fif, read_epochs
from motet.data.readers.named_arrays import is_named_arrays, is_raw_reach, read_named_arrays
from motet.data.readers.nwb import is_nwb, read_nwb, show_nwb
from motet.data.readers.reach import is_pickle, read_reach_mat, read_reach_pickle
from motet.data.readers.reading import file_reader, folder_reader, one_refusal
from motet.data.readers.recordings import is_npz, read_npy, read_npz, write_recording
from motet.data.readers.remote import is_address
from motet.data.readers.spikeinterface import is_sorting, is_sorting_folder, read_sorting
from motet.data.readers.suite2p import is_suite2p, read_suite2p
from motet.data.readers.track import is_track, read_track
from motet.data.readers.trajectories import from_xarray, is_trajectories, is_xarray, read_trajectories
from motet.data.recording import Recording
from motet.errors import InputError, did_you_mean

__all__ = ["READERS", "Reader", "read_recording", "refuse_unknown_options", "write_recording"]

_HEAD_BYTES = 16


class Reader(NamedTuple):
    """One form of what holds a recording; the keyword-only arguments of `read` are its options.

    Attributes:
        sniff: whether it is of this form, and of no earlier one: from a path and how the file begins (nothing, of a
            folder), or from an object and nothing.
        read: makes the recording.
        takes: "file", "folder" or "object", what it is asked about.
        contents: of a file that may be read in several ways, what it holds and what to type, in lines.
    """

    sniff: Callable[[Any, bytes], bool]
    read: Callable[..., Recording]
    takes: Literal["file", "folder", "object"] = "file"
    contents: Callable[[Path | str], str] | None = None


READERS: dict[str, Reader] = {
    "nwb": Reader(is_nwb, read_nwb, contents=show_nwb),
    "track": Reader(is_track, read_track),
    "recording": Reader(is_npz, read_npz),
    "array": Reader(lambda path, head: head.startswith(b"\x93NUMPY"), read_npy),
    "raw reach": Reader(is_raw_reach, read_reach_mat),
    "reach": Reader(is_pickle, read_reach_pickle),
    "trajectories": Reader(is_trajectories, read_trajectories),
    "columnar table": Reader(is_frame_file, read_frame),
    "epochs file": Reader(is_fif, read_epochs),
    "named arrays": Reader(is_named_arrays, read_named_arrays, contents=contents_of_arrays),
    "sorting folder": Reader(is_sorting_folder, read_sorting, takes="folder"),
    "kilosort": Reader(is_kilosort, read_kilosort, takes="folder"),
    "suite2p": Reader(is_suite2p, read_suite2p, takes="folder"),
    "sorting": Reader(is_sorting, read_sorting, takes="object"),
    "epochs": Reader(is_epochs, read_epochs, takes="object"),
    "data frame": Reader(is_frame, read_frame, takes="object"),
    "xarray": Reader(is_xarray, from_xarray, takes="object"),
}


def read_recording(source: Any, **options: Any) -> Recording:
    """Read a recording from a file, a folder or an object of any form that `READERS` know.

    Args:
        source: the path of a file or folder, or the address of an NWB file; or an object, as a DataFrame of pandas or
            polars, or an xarray Dataset.
        **options: the keyword-only arguments of the reader of its form.

    Raises:
        InputError: if it cannot be read, is damaged or of no known form, or an option is unknown.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> path = Path(tempfile.mkdtemp()) / "counts.npz"
        >>> np.savez(path, values=np.ones((4, 3, 6)), target_side=np.arange(4) % 2)
        >>> read_recording(path)
        Recording('counts': 4 trials × 3 individuals × 6 bins of 1 s; targets: side per trial)
    """
    reader, source = find_reader(source)
    what = f"option for {source.name}" if isinstance(source, Path) else f"option for a {type(source).__name__}"
    refuse_unknown_options(reader.read, options, what=what)
    with one_refusal(source) if isinstance(source, Path | str) else contextlib.nullcontext():
        return reader.read(source, **options)


def find_reader(source: Any) -> tuple[Reader, Any]:
    """The reader of a file, folder or object; and the path of it, the address, or the object.

    Raises:
        InputError: if it cannot be read, or is of no known form.
    """
    if is_address(source):
        return READERS["nwb"], source
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        return (_of_folder(path) if os.path.isdir(path) else _of_file(path)), path
    for reader in READERS.values():
        if reader.takes == "object" and reader.sniff(source, b""):
            return reader, source
    raise InputError(
        f"a {type(source).__name__} ({source!r:.100}) is of no form that motet knows; give the path of a file or "
        "folder, a DataFrame of pandas or polars, a Dataset of xarray, Epochs of MNE, a sorting of SpikeInterface, or "
        "arrays to Recording.from_trials, and objects of pynapple to Recording.from_spikes or from_continuous."
    )


@file_reader
def _of_file(path: Path) -> Reader:
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    for reader in READERS.values():
        if reader.takes == "file" and reader.sniff(path, head):
            return reader
    raise InputError(
        f"{path} is cut short or of a form that motet does not know; give arrays (.npz, .npy, .mat, .h5), a table "
        "(.csv, .tsv, .parquet, .feather), .nc, Epochs of MNE (.fif) or a public reach recording (.pkl)."
    )


@folder_reader
def _of_folder(path: Path) -> Reader:
    for reader in READERS.values():
        if reader.takes == "folder" and reader.sniff(path, b""):
            return reader
    raise InputError(
        f"{path} is a folder of no form that motet knows; give the path of a file, or the folder of suite2p, "
        "Kilosort, Phy or a sorting of SpikeInterface."
    )


def refuse_unknown_options(
    reader: Callable[..., Recording], options: Iterable[str], *, what: str, fixed: Iterable[str] = ()
) -> None:
    """Refuse an option that is no keyword-only argument of a reader, or a fixed one."""
    parameters = inspect.signature(reader).parameters
    allowed = {name for name, parameter in parameters.items() if parameter.kind is parameter.KEYWORD_ONLY}
    for option in options:
        if option not in allowed - set(fixed):
            raise did_you_mean(option, allowed - set(fixed), what=what)
