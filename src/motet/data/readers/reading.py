"""What readers of files share: whatever is wrong with a file is one `InputError` that names it, and sizes are checked.

Arrays are of strangers: their sizes are looked at before memory is taken, and no pickle is opened.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, ParamSpec, TypeVar

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from motet.errors import InputError
from motet.memory import GIB, available_bytes, check_room

P = ParamSpec("P")
R = TypeVar("R")
_MOST_CHARACTERS = 2000  # of a message


def file_reader(reader: Callable[P, R]) -> Callable[P, R]:
    """A reader that refuses what is no file, and raises only `InputError`; its positional arguments are paths."""
    return _reader(reader, refuse_no_file)


def folder_reader(reader: Callable[P, R]) -> Callable[P, R]:
    """A reader that refuses what is no folder, and raises only `InputError`; its positional arguments are paths."""
    return _reader(reader, refuse_no_folder)


def _reader(reader: Callable[P, R], refuse: Callable[[Any], None]) -> Callable[P, R]:
    signature = inspect.signature(reader)

    @functools.wraps(reader)
    def read(*args: P.args, **kwargs: P.kwargs) -> R:
        given = signature.bind(*args, **kwargs).arguments
        paths = [given[key] for key, one in signature.parameters.items() if one.kind is one.POSITIONAL_OR_KEYWORD]
        for path in paths:
            refuse(path)
        with one_refusal(*paths):
            return reader(*args, **kwargs)

    return read


@contextlib.contextmanager
def one_refusal(*paths: Any) -> Iterator[None]:
    """Whatever is raised below is one `InputError` that names these paths."""
    try:
        yield
    except Exception as error:
        refusal = refusal_of(error, [str(path) for path in paths])
        raise refusal from (None if refusal is error else error)


def refuse_no_file(path: Any) -> None:
    """Refuse what is not there, or is a folder, a pipe or a device: reading one may never end."""
    try:
        if Path(path).is_file():
            return
        Path(path).stat()
    except FileNotFoundError as error:
        raise InputError(f"{path} cannot be read (no such file); give the path of one.") from error
    except (OSError, ValueError, TypeError) as error:  # a circle of links, a zero character, no path at all
        raise InputError(f"{path!s:.200} cannot be read ({_reason(error)}); give the path of a file.") from error
    raise InputError(f"{path} is {'a folder' if Path(path).is_dir() else 'no file'}; give the path of one.")


def refuse_no_folder(path: Any) -> None:
    """Refuse what is no folder, or is not there."""
    if not Path(path).is_dir():
        raise InputError(f"{path!s:.200} is no folder; give the path of one.")


def refusal_of(error: Exception, paths: list[str]) -> InputError:
    """What a user is shown of an error below a reader: one line that names the file."""
    where, said = " or ".join(paths), str(error)
    if isinstance(error, InputError):
        if not any(path in said for path in paths):
            said = f"{where} cannot be read: {said}"
        plain = _printable(said if len(said) <= _MOST_CHARACTERS else f"{said[:_MOST_CHARACTERS]}…")
        return error if plain == str(error) else InputError(plain)
    if isinstance(error, MemoryError):
        return InputError(
            f"{where} needs more memory than there is ({available_bytes() / GIB:.2g} GiB); free some, or give a part."
        )
    return InputError(
        f"{where} cannot be read ({_reason(error)}); it is damaged, or not of the form that it seems to be: get it or "
        "save it again."
    )


def _reason(error: Exception) -> str:
    """The first line of what an error says."""
    said = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
    return _printable(next(iter(said.splitlines()), "")[:300])


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "�" for character in text)


_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_HEADER_BYTES = 4096
_BYTES_PER_TEXT = 100  # of a Python string
_BYTES_PER_COPIED_NUMBER = 36  # several times float64, float32, masks


def array_names(path: Path) -> list[str]:
    """The names of the arrays of an `.npz` file, each once."""
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
    name, n_times = next(iter(Counter(names).most_common(1)), ("", 0))
    if n_times > 1:
        raise InputError(f"{path} holds {n_times} arrays {name!r}; save each once.")
    return names


def load_arrays(path: Path, *, copied: Collection[str] = ()) -> dict[str, NDArray[Any]]:
    """The arrays of an `.npz` file by name; `copied` are those that the caller makes float64 of."""
    names, n_bytes = array_names(path), 0
    with zipfile.ZipFile(path) as archive:
        members = archive.namelist()
        for name, member in zip(names, archive.infolist(), strict=True):
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise InputError(f"array {member.filename!r} is compressed in a way that NumPy does not use.")
            with archive.open(member) as file:
                n_bytes += _bytes_in_memory(file, name, member.file_size, is_copied=name in copied)
    check_room(n_bytes, what=str(path), file_bytes=path.stat().st_size)
    with np.load(path, allow_pickle=False, max_header_size=_HEADER_BYTES) as arrays:
        return {name: arrays[member] for name, member in zip(names, members, strict=True)}  # one may be called "x.npy"


def load_array(path: Path) -> NDArray[Any]:
    """The array of an `.npy` file, of which the caller makes float64."""
    file_bytes = path.stat().st_size
    with path.open("rb") as file:
        n_bytes = _bytes_in_memory(file, "array", file_bytes, is_copied=True)
    check_room(n_bytes, what=str(path), file_bytes=file_bytes)
    array: NDArray[Any] = np.load(path, allow_pickle=False, max_header_size=_HEADER_BYTES)
    return array


def load_records(path: Path, fields: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """The named whole numbers of each record of an `.npy` file of records of such."""
    file_bytes = path.stat().st_size
    with path.open("rb") as file:
        version = npy.read_magic(file)
        if version not in _HEADERS:
            raise InputError(f"{path} is of version {version}; save it again.")
        shape, _, dtype = _HEADERS[version](file, max_header_size=_HEADER_BYTES)
        kinds = {dtype[name].kind for name in dtype.names or ()}
        if kinds - set("iu") or not set(fields) <= set(dtype.names or ()) or len(shape) != 1:
            raise InputError(
                f"{path} holds {dtype!s:.100}; records of {', '.join(fields)} are expected: save it again."
            )
        if shape[0] * dtype.itemsize != file_bytes - file.tell():
            raise InputError(f"{path} should hold {shape[0]} records, and is cut short; copy or save it again.")
    check_room(2 * file_bytes, what=str(path), file_bytes=file_bytes)
    records = np.load(path, allow_pickle=False, max_header_size=_HEADER_BYTES)
    return {name: records[name].astype(np.int64) for name in fields}


def _bytes_in_memory(file: IO[bytes], name: str, n_bytes: int, *, is_copied: bool) -> int:
    """What an array will take, by its header, which is refused where it is not true of the bytes that follow."""
    version = npy.read_magic(file)
    if version not in _HEADERS:
        raise InputError(f"array {name!r} is of version {version}; save it as plain numbers or text.")
    shape, _, dtype = _HEADERS[version](file, max_header_size=_HEADER_BYTES)
    if dtype.kind not in "biufcSUmM":
        raise InputError(f"array {name!r} is of {dtype!s:.100}; save it as plain numbers or text.")
    size, n_stored = math.prod(shape), n_bytes - file.tell()
    if min(shape, default=0) < 0 or size * dtype.itemsize != n_stored or size > n_stored:
        raise InputError(f"array {name!r} should be {shape!s:.100} of {dtype}, but holds {n_stored} bytes.")
    return size * (dtype.itemsize + (_BYTES_PER_TEXT if dtype.kind in "SU" else _BYTES_PER_COPIED_NUMBER * is_copied))
