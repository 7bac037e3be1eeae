"""Arrays from `.npy` and `.npz` files of strangers: sizes are checked before memory is taken, no pickle is opened."""

from __future__ import annotations

import math
import zipfile
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from motet.errors import InputError
from motet.memory import check_room

_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_HEADER_BYTES = 4096
_BYTES_PER_TEXT = 100  # of a Python string
_BYTES_PER_COPIED_NUMBER = 36  # several times float64, float32, masks


class _Header(NamedTuple):
    """What an array says of itself."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def bytes_in_memory(self, copied: Collection[str]) -> int:
        size = math.prod(self.shape)
        extra = _BYTES_PER_TEXT if self.dtype.kind in "SU" else _BYTES_PER_COPIED_NUMBER * (self.name in copied)
        return size * (self.dtype.itemsize + extra)


def array_names(path: Path) -> list[str]:
    """The names of the arrays of an `.npz` file, each once.

    Raises:
        InputError: if two arrays have one name.
    """
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
    name, n_times = next(iter(Counter(names).most_common(1)), ("", 0))
    if n_times > 1:
        raise InputError(f"{path} holds {n_times} arrays {name!r}; save each once.")
    return names


def load_arrays(path: Path, *, copied: Collection[str] = ()) -> dict[str, NDArray[Any]]:
    """The arrays of an `.npz` file by name; `copied` are those that the caller makes float64 of.

    Raises:
        InputError: if they would take more memory than there is to take, or are not plain numbers and text.
    """
    array_names(path)
    with zipfile.ZipFile(path) as archive:
        _check_size(path, _headers(archive), copied)
    with np.load(path, allow_pickle=False, max_header_size=_HEADER_BYTES) as arrays:
        return {name: arrays[name] for name in arrays.files}


def load_array(path: Path) -> NDArray[Any]:
    """The array of an `.npy` file, of which the caller makes float64.

    Raises:
        InputError: as `load_arrays`.
    """
    with path.open("rb") as file:
        header = _header(file, "array", path.stat().st_size)
    _check_size(path, [header], {"array"})
    array: NDArray[Any] = np.load(path, allow_pickle=False, max_header_size=_HEADER_BYTES)
    return array


def _check_size(path: Path, headers: Collection[_Header] | Iterator[_Header], copied: Collection[str]) -> None:
    n_bytes = sum(header.bytes_in_memory(copied) for header in headers)
    check_room(n_bytes, what=str(path), file_bytes=path.stat().st_size)


def _headers(archive: zipfile.ZipFile) -> Iterator[_Header]:
    for member in archive.infolist():
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InputError(f"array {member.filename!r} is compressed in a way that NumPy does not use.")
        with archive.open(member) as file:
            yield _header(file, member.filename.removesuffix(".npy"), member.file_size)


def _header(file: IO[bytes], name: str, n_bytes: int) -> _Header:
    """What stands before the numbers of an array, refused where it is not true of the bytes that follow."""
    version = npy.read_magic(file)
    if version not in _HEADERS:
        raise InputError(f"array {name!r} is of version {version}; save it as plain numbers or text.")
    shape, _, dtype = _HEADERS[version](file, max_header_size=_HEADER_BYTES)
    if dtype.kind not in "biufcSUmM":
        raise InputError(f"array {name!r} is of {dtype!s:.100}; save it as plain numbers or text.")
    size, n_stored = math.prod(shape), n_bytes - file.tell()
    if min(shape, default=0) < 0 or size * dtype.itemsize != n_stored or size > n_stored:
        raise InputError(f"array {name!r} should be {shape!s:.100} of {dtype}, but holds {n_stored} bytes.")
    return _Header(name, shape, dtype)
