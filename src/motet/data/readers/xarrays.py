"""Datasets of xarray, and NetCDF files of strangers read in a process of their own, as plain arrays."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from motet.data.labelled import ROLE
from motet.data.readers.arrays import AXES, LEVELS, Leveled
from motet.data.readers.isolated import in_subprocess
from motet.data.readers.tables import absent, check_keys, claim, own_names
from motet.data.recording import Level
from motet.errors import InputError
from motet.given import labels, numbers

if TYPE_CHECKING:
    import xarray

_LAYOUT = "layout"
_TARGET = "target per "


# Name, dimensions, values and attributes as they are stored; the attributes of the file are those of one called "".
_Variable = tuple[str, tuple[str, ...], Any, Mapping[str, Any]]


def dataset_of_netcdf(path: Path) -> xarray.Dataset:
    """The dataset of a NetCDF file, version 3 or 4, as it is stored: for `xarray.decode_cf` to decode."""
    xr = import_xarray()
    arrays = in_subprocess(arrays_of_netcdf, path)
    variables, about = {}, {}
    for place, (name, dimensions, keys) in enumerate(json.loads(arrays[_LAYOUT].item())):
        attributes = {key: _plain(arrays[f"{place}.{number}"]) for number, key in enumerate(keys)}
        if name:
            variables[name] = (dimensions, arrays[str(place)], attributes)
        else:
            about = attributes
    stored: xarray.Dataset = xr.Dataset(variables, attrs=about)
    return stored


def arrays_of_netcdf(path: Path) -> dict[str, NDArray[Any]]:
    """The variables of a file and their attributes as numbered arrays, beside their layout as JSON."""
    with path.open("rb") as file:
        head = file.read(8)
    form = _variables_of_3 if head.startswith(b"CDF") else _variables_of_4 if head == b"\x89HDF\r\n\x1a\n" else None
    if form is None:
        raise InputError(f"{path} cannot be read as NetCDF (it begins as no such file); give a NetCDF file.")
    arrays: dict[str, NDArray[Any]] = {}
    layout = []
    for place, (name, dimensions, values, attributes) in enumerate(form(path)):
        arrays[str(place)] = _array(values, name)
        known = {key: array for key, value in attributes.items() if (array := _attribute(value)) is not None}
        arrays |= {f"{place}.{number}": value for number, value in enumerate(known.values())}
        layout.append((name, dimensions, list(known)))
    return arrays | {_LAYOUT: np.array(json.dumps(layout))}


def _variables_of_3(path: Path) -> Iterator[_Variable]:
    import scipy.io  # slow to import

    with scipy.io.netcdf_file(path, mmap=False) as file:
        yield "", (), 0, file._attributes
        for name, variable in file.variables.items():
            yield name, variable.dimensions, variable.data, variable._attributes


def _variables_of_4(path: Path) -> Iterator[_Variable]:
    try:
        import h5netcdf
        import h5py
    except ImportError as error:
        raise InputError(
            f"{path} is NetCDF-4, and {error.name} is not installed; pip install 'motet[xarray]'."
        ) from error

    with h5py.File(path, "r") as stored:
        for name in stored:
            if isinstance(stored.get(name, getlink=True), h5py.ExternalLink) or (
                isinstance(one := stored.get(name), h5py.Dataset) and (one.external or one.is_virtual)
            ):
                raise InputError(f"{path}: {name!r} lies in another file; save it as one file.")
        with h5netcdf.File(stored, "r") as file:
            yield "", (), 0, file.attrs
            for name, variable in file.variables.items():
                yield name, variable.dimensions, variable[...], variable.attrs


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
    try:
        return np.array(_decoded(value)) if isinstance(value, bytes) else _array(value, "")
    except (InputError, ValueError, TypeError):
        return None


def _decoded(text: str | bytes) -> str:
    return text if isinstance(text, str) else text.decode("utf-8", "replace")


def _plain(value: NDArray[Any]) -> Any:
    """An attribute as the engines of xarray give it: text, a number or an array."""
    if value.dtype.kind == "U":
        return value.tolist()
    return value if value.ndim else value[()]


def arrays_of_xarray(
    data: Any,
    columns: Mapping[str, str] | None,
    features: Sequence[str] | None,
    targets: Sequence[str] | None,
    *,
    source: str,
    targets_are_optional: bool,
) -> tuple[dict[str, NDArray[Any]], dict[str, Leveled]]:
    """The arrays of a Dataset or DataArray, values (trial, individual, time, feature), and its targets.

    `motet.data.readers.trajectories.from_xarray` says how they are laid out.
    """
    xarray = import_xarray()
    if isinstance(data, xarray.DataArray):
        data = data.to_dataset(name="values")
    if not isinstance(data, xarray.Dataset):
        raise InputError(f"{source} is a {type(data).__name__}; give an xarray Dataset or DataArray.")
    columns = check_keys(columns, (*AXES, "observed", *LEVELS))
    for axis, name in columns.items():
        if axis in AXES and name in data.variables and name not in data.dims and data[name].ndim == 1:
            data = data.swap_dims({data[name].dims[0]: name})  # a variable that names the places of a dimension
    found = list(dict.fromkeys(map(str, (*data.dims, *data.variables))))
    own = own_names(found, columns, source=source)
    data = data.rename({theirs: name for theirs, name in zip(found, own, strict=True) if theirs != name})
    for axis in ("individual", "time"):
        if axis not in data.dims:
            raise absent(axis, map(str, data.dims), what="dimension", source=source)
    roles = {str(name): str(data[name].attrs.get(ROLE, "")) for name in data.variables}  # if it was a recording before
    if "feature" in roles.values():
        features = [name for name, role in roles.items() if role == "feature"] if features is None else features
        targets = [name for name, role in roles.items() if role.startswith(_TARGET)] if targets is None else targets
    candidates = [name for name in roles if name not in (*data.dims, "observed") and roles[name] != "start"]
    inputs, goals = claim(
        [name for name in candidates if data[name].ndim or name in (targets or ())],  # one value for all is no label
        features=features,
        targets=targets,
        known_targets=LEVELS,
        source=source,
        what="variable",
        targets_are_optional=targets_are_optional,
    )
    for name in inputs:
        if not {"individual", "time"} <= set(data[name].dims):
            raise InputError(
                f"{source}: {name!r} has dimensions {data[name].dims}; a feature has an individual and a time."
            )
    values = [numbers(_on_axes(data, name, AXES, source), what=f"{source}: {name!r}") for name in inputs]
    arrays: dict[str, NDArray[Any]] = {"values": np.concatenate(values, axis=-1)}
    if "trial_start_seconds" in roles and roles["trial_start_seconds"] == "start":
        arrays["trial_start_seconds"] = _as_stored(data["trial_start_seconds"])
    if "observed" in data.variables:
        arrays["observed"] = _on_axes(data, "observed", AXES[:3], source)
    if "time" in data.coords:
        arrays["time"] = data["time"].values
        if (unit := data["time"].attrs.get("units", "s")) not in ("s", "sec", "second", "seconds"):
            raise InputError(f"{source}: time is in {unit!r}; give seconds, datetime64 or timedelta64.")
    arrays |= {f"{axis}_ids": _as_stored(data[axis]) for axis in ("individual", "trial") if axis in data.coords}
    return arrays, {key: _leveled(data, key, source) for key in goals}


def _leveled(data: xarray.Dataset, name: str, source: str) -> Leveled:
    """A variable as a target, of what its dimensions say."""
    variable = data[name].transpose("trial", "individual", "time", ..., missing_dims="ignore")
    if name in LEVELS:
        return LEVELS[name], _as_stored(variable)
    others = [str(dim) for dim in variable.dims if dim not in AXES[:3]]
    level: Level = "trial"
    role = str(variable.attrs.get(ROLE, ""))
    if role.startswith(_TARGET) and "trial" in variable.dims:
        level = cast(Level, role.removeprefix(_TARGET))
        return level, labels(_as_stored(variable), what=f"{source}: target {name!r}")
    if {"individual", "time"} <= set(variable.dims):
        raise InputError(
            f"{source}: target {name!r} has an individual and a time; give one of them, or say that it is a feature."
        )
    if "time" in variable.dims:
        level = "bin"
    elif "individual" in variable.dims:
        is_pair = [data.sizes[other] for other in others] == [data.sizes["individual"]]
        level = "pair" if is_pair and others[0].startswith(("individual", "other")) else "individual"
    array = labels(_as_stored(variable), what=f"{source}: target {name!r}")
    if "trial" not in variable.dims:
        array = np.repeat(array[None], data.sizes.get("trial", 1), axis=0)
    return level, array


def _as_stored(variable: xarray.DataArray) -> Any:
    """The content of a variable: whole numbers stay such where a file marks some as missing, text has no padding."""
    stored, array = variable.encoding.get("dtype"), variable.values
    if array.dtype.kind == "S":
        return np.char.rstrip(array)
    if array.dtype.kind == "f" and stored is not None and np.dtype(stored).kind in "iu":
        return np.ma.masked_array(np.nan_to_num(array).astype(np.int64), np.isnan(array))
    return array


def _on_axes(data: xarray.Dataset, name: str, axes: Sequence[str], source: str) -> NDArray[Any]:
    """A variable as an array of these axes: the same in every trial, and one feature, if it does not have them."""
    variable = data[name]
    if foreign := [str(dim) for dim in variable.dims if dim not in axes]:
        raise InputError(
            f"{source}: {name!r} has dimension {foreign[0]!r}; select one place along it, or rename it: "
            f"dimensions are {', '.join(axes)}."
        )
    lacking = {axis: data.sizes.get("trial", 1) if axis == "trial" else 1 for axis in axes if axis not in variable.dims}
    return np.asarray(variable.drop_vars(list(variable.coords)).expand_dims(lacking).transpose(*axes).values)


def import_xarray() -> Any:
    """The module, which is an extra."""
    try:
        import xarray
    except ImportError as error:
        raise InputError("xarray is not installed; pip install 'motet[xarray]'.") from error
    return xarray
