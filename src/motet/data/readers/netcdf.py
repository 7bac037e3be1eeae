"""Datasets from NetCDF files of strangers, read in a process of their own: `dataset_of_netcdf`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from motet.data.readers.isolated import in_subprocess
from motet.errors import InputError

if TYPE_CHECKING:
    import xarray

_LAYOUT = "layout"


class _Variable(NamedTuple):
    """A variable as it is stored; the attributes of the file are those of one called ""."""

    name: str
    dimensions: tuple[str, ...]
    values: Any
    attributes: Mapping[str, Any]


def dataset_of_netcdf(path: Path) -> xarray.Dataset:
    """The dataset of a NetCDF file, version 3 or 4, as it is stored: for `xarray.decode_cf` to decode.

    Raises:
        InputError: if it cannot be read within the limits of `in_subprocess`, or xarray is not installed.
    """
    try:
        import xarray
    except ImportError as error:
        raise InputError("xarray is not installed; install motet[xarray].") from error
    arrays = in_subprocess(arrays_of_netcdf, path)
    variables, about = {}, {}
    for place, (name, dimensions, keys) in enumerate(json.loads(arrays[_LAYOUT].item())):
        attributes = {key: _plain(arrays[f"{place}.{number}"]) for number, key in enumerate(keys)}
        if name:
            variables[name] = (dimensions, arrays[str(place)], attributes)
        else:
            about = attributes
    return xarray.Dataset(variables, attrs=about)


def arrays_of_netcdf(path: Path) -> dict[str, NDArray[Any]]:
    """The variables of a file and their attributes as numbered arrays, beside their layout as JSON.

    Raises:
        InputError: if the file is damaged or foreign, or refers to other files.
    """
    with path.open("rb") as file:
        head = file.read(8)
    form = _variables_of_3 if head.startswith(b"CDF") else _variables_of_4 if head == b"\x89HDF\r\n\x1a\n" else None
    if form is None:
        raise InputError(f"{path} cannot be read as NetCDF (it begins as no such file); give a NetCDF file.")
    arrays: dict[str, NDArray[Any]] = {}
    layout = []
    for place, variable in enumerate(form(path)):
        arrays[str(place)] = _array(variable.values, variable.name)
        values = {key: _attribute(value) for key, value in variable.attributes.items()}
        known = {key: value for key, value in values.items() if value is not None}
        arrays |= {f"{place}.{number}": value for number, value in enumerate(known.values())}
        layout.append((variable.name, variable.dimensions, list(known)))
    return arrays | {_LAYOUT: np.array(json.dumps(layout))}


def _variables_of_3(path: Path) -> Iterator[_Variable]:
    import scipy.io  # slow to import

    with scipy.io.netcdf_file(path, mmap=False) as file:
        yield _Variable("", (), 0, file._attributes)
        for name, variable in file.variables.items():
            yield _Variable(name, variable.dimensions, variable.data, variable._attributes)


def _variables_of_4(path: Path) -> Iterator[_Variable]:
    try:
        import h5netcdf
        import h5py
    except ImportError as error:
        raise InputError(f"{path} is NetCDF-4, and {error.name} is not installed; install motet[xarray].") from error

    with h5py.File(path, "r") as stored:
        for name in stored:
            if isinstance(stored.get(name, getlink=True), h5py.ExternalLink) or (
                isinstance(one := stored.get(name), h5py.Dataset) and (one.external or one.is_virtual)
            ):
                raise InputError(f"{path}: {name!r} lies in another file; save it as one file.")
        with h5netcdf.File(stored, "r") as file:
            yield _Variable("", (), 0, file.attrs)
            for name, variable in file.variables.items():
                yield _Variable(name, variable.dimensions, variable[...], variable.attrs)


def _array(values: Any, name: str) -> NDArray[Any]:
    """Numbers in this machine's byte order, or text."""
    array = np.asarray(values)
    if array.dtype.kind == "O" and all(isinstance(one, str | bytes) for one in array.ravel()):
        array = np.array([_decoded(one) for one in array.ravel()], dtype=np.str_).reshape(array.shape)
    if array.dtype.kind not in "biufSU":
        raise InputError(f"variable {name!r} is of {array.dtype}; save it as numbers or text.")
    return array.astype(np.dtype(array.dtype.str).newbyteorder("="))


def _attribute(value: Any) -> NDArray[Any] | None:
    """An attribute that is of numbers or text; None for another, which says nothing to anyone here."""
    if isinstance(value, bytes):
        return np.array(_decoded(value))
    try:
        return _array(value, "")
    except (InputError, ValueError, TypeError):
        return None


def _decoded(text: str | bytes) -> str:
    return text if isinstance(text, str) else text.decode("utf-8", "replace")


def _plain(value: NDArray[Any]) -> Any:
    """An attribute as the engines of xarray give it: text, a number or an array."""
    if value.dtype.kind == "U":
        return value.tolist()
    return value if value.ndim else value[()]
