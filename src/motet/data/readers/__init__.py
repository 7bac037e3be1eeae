"""Ways into a `Recording` from a file: `read_recording` asks one reader after another whether a file is its own.

| reader | files |
|---|---|
| track | `.npz`: spikes and tracked positions on one clock (`motet.data.readers.track`) |
| recording | `.npz`: saved by `write_recording`, or of the minimal form (`motet.data.readers.recordings`) |
| array | `.npy`: (trial, individual, time[, feature]), or (individual, time) for one trial; NaN = not observed |
| raw reach | `.mat`: a raw reach recording (`motet.data.readers.reach`) |
| reach | `.pkl`: a public reach recording (`motet.data.readers.reach`) |
| trajectories | `.csv`, `.tsv`, either gzipped, `.npz`, `.nc` (`motet.data.readers.trajectories`) |

A reader is a file here and a line in `READERS`. None runs code from a file, and none takes more memory than there is
(SECURITY.md).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from motet.data.readers.reach import is_pickle, read_reach_mat, read_reach_pickle
from motet.data.readers.reading import file_reader
from motet.data.readers.recordings import is_npz, read_npy, read_npz, write_recording
from motet.data.readers.track import is_track, read_track
from motet.data.readers.trajectories import is_trajectories, read_trajectories
from motet.data.recording import Recording
from motet.errors import InputError, did_you_mean

__all__ = ["READERS", "Reader", "read_recording", "refuse_unknown_options", "write_recording"]

_HEAD_BYTES = 16


class Reader(NamedTuple):
    """One form of files; the keyword-only arguments of `read` are its options."""

    sniff: Callable[[Path, bytes], bool]  # from a path and how the file begins, where no earlier reader's it is
    read: Callable[..., Recording]


READERS: dict[str, Reader] = {
    "track": Reader(is_track, read_track),
    "recording": Reader(is_npz, read_npz),
    "array": Reader(lambda path, head: head.startswith(b"\x93NUMPY"), read_npy),
    "raw reach": Reader(lambda path, head: head.startswith(b"MATLAB"), read_reach_mat),
    "reach": Reader(is_pickle, read_reach_pickle),
    "trajectories": Reader(is_trajectories, read_trajectories),
}


@file_reader
def read_recording(path: Path | str, **options: Any) -> Recording:
    """Read a recording from a file of any form that `READERS` know.

    Args:
        path: the file.
        **options: the keyword-only arguments of the reader of its form.

    Raises:
        InputError: if the file cannot be read, is damaged or of no known form, or an option is unknown.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> path = Path(tempfile.mkdtemp()) / "counts.npz"
        >>> np.savez(path, values=np.ones((4, 3, 6)), target_side=np.arange(4) % 2)
        >>> read_recording(path)
        Recording('counts': 4 trials × 3 individuals × 6 bins of 1 s; targets: side per trial)
    """
    path = Path(path)
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    for reader in READERS.values():
        if reader.sniff(path, head):
            refuse_unknown_options(reader.read, options, what=f"option for {path.name}")
            return reader.read(path, **options)
    raise InputError(
        f"{path} is cut short or of a form that motet does not know; give .npz or .npy arrays, "
        "trajectories (.csv, .tsv, .nc), a public reach recording (.pkl) or a raw one (.mat)."
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
