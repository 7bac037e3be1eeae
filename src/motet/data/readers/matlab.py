"""What stands in files of MATLAB (version 5 to 7, and 7.3, which is HDF5) and in HDF5: fields by name, as plain arrays.

Fields of structures are called after both, `session.choice`. A cell array of texts is an array of text; one of vectors,
or a field of an array of structures, such as units(i).ts, is a list. Both come back numbered, beside their layout.
"""

from __future__ import annotations

import contextlib
import json
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from motet.errors import InputError

Fields = dict[str, Any]  # an array, or a list of flat arrays
_LAYOUT = "layout"
_MATRIX, _COMPRESSED = 14, 15  # types of an element
_NAME_BYTES = 512  # of an element, in which its name stands
_MOST_DEPTH = 8


def names_of_mat(path: Path) -> set[str]:
    """The names of the variables of a file of version 5 to 7; those that damage hides are left out."""
    names = set()
    with contextlib.suppress(OSError, struct.error, zlib.error, UnicodeDecodeError), path.open("rb") as file:
        end = "<" if file.read(128)[126:128] == b"IM" else ">"
        while len(tag := file.read(8)) == 8:
            kind, size = struct.unpack(f"{end}II", tag)
            place, begin = file.tell(), file.read(min(size, _NAME_BYTES))
            if kind == _COMPRESSED:
                begin = zlib.decompressobj().decompress(begin, _NAME_BYTES)[8:]
            (n_dimension_bytes,) = struct.unpack(f"{end}I", begin[20:24])
            at = 24 + -(-n_dimension_bytes // 8) * 8
            kind_of_name, n = struct.unpack(f"{end}II", begin[at : at + 8])
            at, n = (at + 4, kind_of_name >> 16) if kind_of_name >> 16 else (at + 8, n)
            if len(name := begin[at : at + n]) == n:
                names.add(name.decode("ascii"))
            file.seek(place + size)
    return names


def unpacked(arrays: Mapping[str, NDArray[Any]]) -> Fields:
    """The fields of what `arrays_of_matlab` gives."""
    fields: Fields = {}
    for place, (name, is_list) in enumerate(json.loads(arrays[_LAYOUT].item())):
        array = arrays[str(place)]
        fields[name] = np.split(array, np.cumsum(arrays[f"{place}.lengths"])[:-1]) if is_list else array
    return fields


def arrays_of_matlab(path: Path) -> dict[str, NDArray[Any]]:
    """The fields of a file as numbered arrays, beside their layout; called in a process of its own."""
    with path.open("rb") as file:
        head = file.read(20)
    is_hdf5 = head.startswith((b"\x89HDF", b"MATLAB 7.3"))
    arrays: dict[str, NDArray[Any]] = {}
    layout: list[tuple[str, bool]] = []
    for name, value in _of_hdf5(path) if is_hdf5 else _of_version_5(path):
        place = str(len(layout))
        if isinstance(value, list):
            arrays[place] = np.concatenate([np.empty(0), *value])
            arrays[f"{place}.lengths"] = np.array([len(one) for one in value], dtype=np.int64)
        else:
            arrays[place] = value
        layout.append((name, isinstance(value, list)))
    return arrays | {_LAYOUT: np.array(json.dumps(layout))}


def _of_version_5(path: Path) -> Iterator[tuple[str, Any]]:
    import scipy.io  # slow to import

    content = scipy.io.loadmat(path, struct_as_record=False, chars_as_strings=True)
    for name, value in content.items():
        if not name.startswith("__"):
            yield from _flat(name, value, 0)


def _flat(name: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    """What can be read of a value: arrays, lists of vectors, and the fields of structures."""
    if depth > _MOST_DEPTH:
        return
    if hasattr(value, "_fieldnames"):
        for field in value._fieldnames:
            yield from _flat(f"{name}.{field}", getattr(value, field), depth + 1)
    elif hasattr(value, "toarray"):
        yield name, np.asarray(value.toarray())
    elif isinstance(value, np.ndarray) and value.dtype.kind in "biufUS":
        yield name, value
    elif isinstance(value, np.ndarray) and value.dtype.kind == "O" and value.size:
        members = list(value.ravel(order="F"))
        if all(hasattr(one, "_fieldnames") for one in members):
            if len(members) == 1:
                yield from _flat(name, members[0], depth)
            else:
                for field in members[0]._fieldnames:
                    yield from _listed(f"{name}.{field}", [getattr(one, field, None) for one in members])
        else:
            yield from _listed(name, members)


def _listed(name: str, members: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """The members of a cell array, as text or as a list of vectors; nothing if they are neither."""
    arrays = [np.asarray(one) for one in members if one is not None]
    if len(arrays) < len(members):
        return
    if all(one.dtype.kind in "US" and one.size <= 1 for one in arrays):
        yield name, np.array([str(one.item()) if one.size else "" for one in arrays], dtype=np.str_)
    elif all((one.dtype.kind in "biuf" and one.size == max(one.shape, default=1)) or not one.size for one in arrays):
        yield name, [one.ravel().astype(np.float64) if one.size else np.empty(0) for one in arrays]


def _of_hdf5(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        import h5py
    except ImportError as error:
        raise InputError(f"{path} is HDF5, and h5py is not installed; pip install 'motet[nwb]'.") from error

    def of(one: Any) -> NDArray[Any]:
        """A dataset as MATLAB has it: text for its characters, and axes in its order."""
        kind = one.attrs.get("MATLAB_class", b"")
        if one.external or one.is_virtual:
            raise InputError(f"{path}: {one.name!r} lies in another file; save it as one file.")
        if "MATLAB_empty" in one.attrs:
            return np.empty(0)
        array = np.asarray(one[()])
        if kind == b"char":
            return np.array("".join(map(chr, array.ravel(order="F").tolist())))
        if h5py.check_string_dtype(one.dtype) is not None:
            return np.asarray(one.asstr()[()], dtype=np.str_)
        array = array.astype(bool) if kind == b"logical" else array
        return array.T if kind else array

    def walk(name: str, one: Any, depth: int) -> Iterator[tuple[str, Any]]:
        if depth > _MOST_DEPTH:
            return
        if isinstance(one, h5py.Group):
            for key in one:
                if not isinstance(one.get(key, getlink=True), h5py.HardLink):
                    raise InputError(f"{path}: {name}.{key} is a link to elsewhere; save it as one file.")
                if not key.startswith("#"):
                    yield from walk(f"{name}.{key}" if name else key, one[key], depth + 1)
        elif h5py.check_ref_dtype(one.dtype) is not None:
            members = [file[reference] for reference in np.asarray(one[()]).T.ravel(order="F") if reference]
            if all(isinstance(member, h5py.Dataset) and not h5py.check_ref_dtype(member.dtype) for member in members):
                yield from _listed(name, [of(member) for member in members])
        elif one.dtype.kind in "biuf" or h5py.check_string_dtype(one.dtype) is not None:
            yield name, of(one)

    with h5py.File(path, "r") as file:
        yield from walk("", file, 0)
